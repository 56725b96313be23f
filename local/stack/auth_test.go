package stack_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"membercard/local/stack"
)

// as returns the header that authorizes a user of WeChat.
func as(scheme, code string) map[string]string {
	return map[string]string{"Authorization": scheme + " " + code}
}

const (
	miniProgram = "WeChat-MiniProgram"
	oauth       = "WeChat-OAuth"
	cardExt     = "/card/ext"
	updatePath  = "/card/update"
)

// A login authorizes a user of WeChat for their own openid only. A code is valid
// once, and as long as API Gateway caches the decision.
func TestWechatLogin(t *testing.T) {
	t.Parallel()
	r := startAs(t, stack.Config{Unthrottled: true, Auth: stack.AuthWechat})
	if err := r.RenewTicket(t.Context()); err != nil {
		t.Fatal(err)
	}
	const somebody = "oSomebodyElse_000000000000000"
	withoutOpenID := `{"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0"}`
	foreign := strings.Replace(brandExample, openid, somebody, 1)
	login := func() map[string]string { return as(miniProgram, r.OfficialAccount.LoginCode(openid)) }
	kept := login()
	for _, row := range []struct {
		name    string
		path    string
		body    string
		headers map[string]string
		status  int
		code    string
		message string
	}{
		{"mini program", preAuthTokens, brandExample, kept, 200, "", ""},
		{"its code again, kept by API Gateway", openUserCardTokens, brandExample, kept, 200, "", ""},
		{"H5 page", preAuthTokens, brandExample, as(oauth, r.OfficialAccount.OAuthCode(openid)), 200, "", ""},
		{"merchant token", permissionTokens, merchantExample, login(), 200, "", ""},
		{"openid left out", preAuthTokens, withoutOpenID, login(), 200, "", ""},
		{"a foreign openid", preAuthTokens, foreign, login(), 403, "OPENID_MISMATCH", "openid is not that of the user who is logged in"},
		{"a foreign openid for a card", cardExt, `{"card_id":"p","openid":"` + somebody + `"}`, login(), 403, "OPENID_MISMATCH", "openid is not that of the user who is logged in"},
		{"no login", preAuthTokens, brandExample, nil, 401, "", "Unauthorized"},
		{"an unknown code", preAuthTokens, brandExample, as(miniProgram, "033xyz"), 403, "", "Forbidden"},
		{"a code of the other kind", preAuthTokens, brandExample, as(oauth, r.OfficialAccount.LoginCode(openid)), 403, "", "Forbidden"},
		{"another scheme", preAuthTokens, brandExample, as("Bearer", "x"), 403, "", "Forbidden"},
		{"card-update is not for users", updatePath, "{}", login(), 403, "", "Forbidden"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := &running{r.Stack, t, r.log}
			r.WeChatPay.ClearRequests()
			a := r.call("POST", row.path, row.body, row.headers)
			if a.status != row.status || a.Code != row.code || a.Message != row.message {
				t.Errorf("answered %d %s", a.status, a.body)
			}
			received := r.WeChatPay.Requests()
			if reached := len(received) > 0; reached != (row.status == 200) {
				t.Errorf("reached WeChat Pay: %v", reached)
			}
			if row.status == 200 && strings.HasPrefix(row.path, "/v3/brand") && !strings.Contains(string(received[0].Body), openid) {
				t.Errorf("WeChat Pay received %s", received[0].Body)
			}
			if strings.Contains(string(a.body), somebody) {
				t.Errorf("an openid is repeated: %s", a.body)
			}
		})
	}
	for _, private := range []string{openid, somebody, strings.TrimPrefix(kept["Authorization"], miniProgram+" ")} {
		if strings.Contains(r.log.String(), private) {
			t.Errorf("the log has %s", private)
		}
	}
}

// Without API Gateway's cache a used code is refused.
func TestUsedCode(t *testing.T) {
	t.Parallel()
	r := startAs(t, stack.Config{Unthrottled: true, Auth: stack.AuthWechat, Parameters: map[string]string{"LoginCacheSeconds": "0"}})
	login := as(miniProgram, r.OfficialAccount.LoginCode(openid))
	for _, want := range []int{200, 403} {
		if a := r.call("POST", preAuthTokens, brandExample, login); a.status != want {
			t.Errorf("answered %d %s, want %d", a.status, a.body, want)
		}
	}
}

// A temporary failure is a 500 that is not cached: the next call with the same code
// succeeds.
func TestLoginTryAgain(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		errcode int
	}{{"busy", -1}, {"too often", 45011}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := startAs(t, stack.Config{Unthrottled: true, Auth: stack.AuthWechat})
			r.OfficialAccount.Errcode("/sns/jscode2session", "", row.errcode, "later", -1)
			login := as(miniProgram, r.OfficialAccount.LoginCode(openid))
			if a := r.call("POST", preAuthTokens, brandExample, login); a.status != 500 || a.Message != "Internal Server Error" {
				t.Errorf("answered %d %s", a.status, a.body)
			}
			r.OfficialAccount.Heal()
			if a := r.call("POST", preAuthTokens, brandExample, login); a.status != 200 {
				t.Errorf("answered %d %s", a.status, a.body)
			}
		})
	}
}

// JWT and IAM authorize only callers with a token or a signature.
func TestOtherAuth(t *testing.T) {
	t.Parallel()
	withJWT := startAs(t, stack.Config{Unthrottled: true, Auth: stack.AuthJWT})
	withIAM := startAs(t, stack.Config{Unthrottled: true, Auth: stack.AuthIAM})
	for _, row := range []struct {
		name    string
		stack   *running
		path    string
		body    string
		headers map[string]string
		status  int
	}{
		{"a token", withJWT, preAuthTokens, brandExample, as("Bearer", withJWT.Token()), 200},
		{"a token for somebody else", withJWT, preAuthTokens, brandExample, as("Bearer", withJWT.JWT.Sign(map[string]any{"aud": "another", "exp": time.Now().Add(time.Hour).Unix()})), 401},
		{"no token", withJWT, preAuthTokens, brandExample, nil, 401},
		{"card-update is not for tokens", withJWT, updatePath, "{}", as("Bearer", withJWT.Token()), 403},
		{"no signature", withIAM, preAuthTokens, brandExample, nil, 403},
		{"no signature for card-update", withIAM, updatePath, "{}", nil, 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := &running{row.stack.Stack, t, row.stack.log}
			if a := r.call("POST", row.path, row.body, row.headers); a.status != row.status {
				t.Errorf("answered %d %s, want %d", a.status, a.body, row.status)
			}
		})
	}
}

// A page of a configured origin reads the API's answers and errors. Pages of others are
// refused: see [TestSandboxesAreGuarded].
func TestOrigins(t *testing.T) {
	t.Parallel()
	const ours = "https://shop.example.com"
	r := startAs(t, stack.Config{Unthrottled: true, Auth: stack.AuthWechat, Origins: []string{ours}})
	preflight := map[string]string{"Origin": ours, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
	login := as(miniProgram, r.OfficialAccount.LoginCode(openid))
	login["Origin"] = ours
	for _, row := range []struct {
		name          string
		answer        *answer
		status        int
		header, lists string // a header that says what the page may send or read, and names in it
	}{
		{"preflight", r.call("OPTIONS", preAuthTokens, "", preflight), 204, "Access-Control-Allow-Headers", "authorization,content-type"},
		{"success", r.call("POST", preAuthTokens, brandExample, login), 200, "Access-Control-Expose-Headers", "x-wechat-request-id"},
		{"our error", r.call("POST", preAuthTokens, "{}", login), 400, "Access-Control-Expose-Headers", "retry-after"},
		{"the gateway's error", r.call("POST", preAuthTokens, brandExample, map[string]string{"Origin": ours}), 401, "Access-Control-Expose-Headers", "retry-after"},
	} {
		header := row.answer.header
		if row.answer.status != row.status || header.Get("Access-Control-Allow-Origin") != ours || !strings.Contains(header.Get(row.header), row.lists) {
			t.Errorf("%s: %d %v", row.name, row.answer.status, header)
		}
	}
}

// card-ext answers the parameters of wx.addCard, and many new instances request no
// further ticket.
func TestCardExt(t *testing.T) {
	t.Parallel()
	r := startAs(t, stack.Config{})
	if a := r.post(cardExt, `{"card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0"}`); a.status != 503 || a.Code != "TICKET_UNAVAILABLE" || a.header.Get("Retry-After") == "" {
		t.Errorf("without a ticket: %d %s", a.status, a.body)
	}
	if err := r.RenewTicket(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.OfficialAccount.ClearRequests()
	answers := make(chan *answer)
	const burst = 8
	for range burst {
		go func() {
			answers <- r.post(cardExt, `{"cardList":[{"card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","outer_str":"szwxtd"},{"card_id":"pbLatjGroupon"}]}`)
		}()
	}
	for range burst {
		a := <-answers
		var got struct {
			CardList []struct{ CardID, CardExt string }
		}
		if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 || len(got.CardList) != 2 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		var ext map[string]any
		if err := json.Unmarshal([]byte(got.CardList[0].CardExt), &ext); err != nil || ext["outer_str"] != "szwxtd" || len(ext["signature"].(string)) != 40 {
			t.Errorf("cardExt is %s", got.CardList[0].CardExt)
		}
	}
	if n := len(r.OfficialAccount.Requests()); n != 0 {
		t.Errorf("the official account received %d requests", n)
	}
}
