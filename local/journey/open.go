package journey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"membercard/local/guard"
	"membercard/local/sample"
	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// The kinds of cards that Open opens.
const (
	Brand    = "brand"
	Merchant = "merchant" // with JUMP_ACTIVATE
)

const (
	permissionTokens = "/v3/marketing/membercard-open/cards/" + sample.CardID + "/permission-tokens"
	preAuthTokens    = "/v3/brand/partner/card-member/pre-auth-tokens"

	brandCreated      = "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE"
	merchantAccepted  = "MEMBERCARD.ACCEPT_CARD"
	merchantActivated = "MEMBERCARD.ACTIVATE_CARD"
)

// Open takes a card from the token to a member. If the card is not EFFECTIVE when ctx ends,
// the error says what is missing, and the story is incomplete.
func Open(ctx context.Context, s *stack.Stack, kind string) (Story, error) {
	path, body := preAuthTokens, sample.BrandBody
	if kind == Merchant {
		path, body = permissionTokens, `{"activate_type": "JUMP_ACTIVATE", "activate_url": "https://w.url.cn/s/Ahz3p2C", "outer_str": "szwxtd"}`
	}
	token := Step{ID: Token, Time: time.Now(), What: Token, Name: "POST " + path, Status: http.StatusOK}
	card, jump, err := open(ctx, s, path, body)
	if err != nil {
		return Story{}, err
	}
	story, err := follow(ctx, s, card, jump)
	story.Steps = slices.Insert(story.Steps, 0, token)
	return story, err
}

// OpenBrandCard requests a token and opens a brand card with it. It does not wait until the
// card is confirmed.
func OpenBrandCard(ctx context.Context, s *stack.Stack) (wechatpay.UserCard, error) {
	card, _, err := open(ctx, s, preAuthTokens, sample.BrandBody)
	return card, err
}

// open requests a token and opens a card with it.
func open(ctx context.Context, s *stack.Stack, path, body string) (wechatpay.UserCard, *wechatpay.Jump, error) {
	token, err := requestToken(ctx, s, path, body)
	if err != nil {
		return wechatpay.UserCard{}, nil, err
	}
	return s.WeChatPay.OpenCard(token, sample.OpenID)
}

// follow waits until a card is EFFECTIVE. If there is a jump, it activates the card once
// the merchant has been notified of it. At last it asks for the card, as the merchant's
// backend does.
func follow(ctx context.Context, s *stack.Stack, card wechatpay.UserCard, jump *wechatpay.Jump) (story Story, err error) {
	event, query := brandCreated, queryBrand
	if jump != nil {
		if story, err = until(ctx, s, card.Code, merchantAccepted, card.State); err == nil {
			err = activateCard(ctx, s, jump)
		}
		event, query = merchantActivated, queryMerchant
	}
	if err == nil {
		story, err = until(ctx, s, card.Code, event, wechatpay.Effective)
	}
	if err == nil {
		_, err = backend(ctx, s, http.MethodGet, query, card, "")
		story, _ = Tell(s, card.Code)
	}
	return story, err
}

// until waits until nothing is missing for a card to have a state, after an event.
func until(ctx context.Context, s *stack.Stack, code, event, state string) (Story, error) {
	for {
		story, _ := Tell(s, code)
		missing := story.missing(event, state)
		if missing == "" {
			return story, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return story, errors.New(missing)
		}
	}
}

// activateCard does what the merchant's page and backend do with the parameters of the
// jump: it requests the code and the customer's activation information, activates the
// card, and confirms it.
func activateCard(ctx context.Context, s *stack.Stack, jump *wechatpay.Jump) error {
	_, query, _ := strings.Cut(jump.URL, "?")
	var card wechatpay.UserCard
	for parameter := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(parameter, "=")
		switch name {
		case "card_id":
			card.CardID, _ = url.QueryUnescape(value)
		case "activate_ticket":
			card.ActivateTicket, _ = url.QueryUnescape(value)
		case "encrypt_code":
			card.EncryptCode = value // not unescaped
		}
	}
	answer, err := backend(ctx, s, http.MethodGet, decryptCode, card, "")
	if err != nil {
		return err
	}
	var decrypted struct{ Code string }
	if err := json.Unmarshal(answer, &decrypted); err != nil {
		return err
	}
	card.Code = decrypted.Code
	if _, err := backend(ctx, s, http.MethodGet, information, card, ""); err != nil {
		return err
	}
	if _, err := backend(ctx, s, http.MethodPost, activate, card, `{"membership_number": "VIP-20260001"}`); err != nil {
		return err
	}
	_, err = backend(ctx, s, http.MethodPost, confirmMerchant, card, `{"user_card_confirm_state": "CREATE_CARD_SUCCESS"}`)
	return err
}

// requestToken calls an operation that returns a token, with the authorization of a
// frontend.
func requestToken(ctx context.Context, s *stack.Stack, path, body string) (string, error) {
	answer, err := call(ctx, s, http.MethodPost, path, body, func(r *http.Request) error {
		switch s.Auth {
		case stack.AuthIAM:
			return stack.Sign(r, []byte(body))
		case stack.AuthJWT:
			r.Header.Set("Authorization", "Bearer "+s.Token())
		case stack.AuthWechat:
			r.Header.Set("Authorization", "WeChat-MiniProgram "+s.OfficialAccount.LoginCode(sample.OpenID))
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("POST %s: %w", path, err)
	}
	var token struct {
		Token           string
		PermissionToken string `json:"permission_token"`
	}
	err = json.Unmarshal(answer, &token)
	return token.Token + token.PermissionToken, err
}

// backend calls an operation on a card as the merchant's backend does.
func backend(ctx context.Context, s *stack.Stack, method, operation string, card wechatpay.UserCard, body string) ([]byte, error) {
	answer, err := call(ctx, s, method, uri(operation, card), body, func(r *http.Request) error { return stack.Sign(r, []byte(body)) })
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, operation, err)
	}
	return answer, nil
}

// call sends a request to the API. A status other than 2xx is an error.
func call(ctx context.Context, s *stack.Stack, method, path, body string, authorize func(*http.Request) error) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if s.Guard.Token != "" {
		request.Header.Set(guard.TokenHeader, s.Guard.Token)
	}
	if err := authorize(request); err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		return nil, fmt.Errorf("answered %d %s", response.StatusCode, answer)
	}
	return answer, nil
}
