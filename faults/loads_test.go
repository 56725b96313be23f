//go:build unix

package faults

// This file has the requests and decides whether their answers are right.

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/lambda"
	"membercard/local/sample"
	"membercard/wechat/wechatpay"
)

const (
	openidPrefix = "oFaultyVisitor" // of every openid
	forgedToken  = "FORGED"         // in forged answers

	permissionTokens   = "POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens"
	preAuthTokens      = "POST /v3/brand/partner/card-member/pre-auth-tokens"
	notificationsRoute = "POST /wechatpay/notifications"
)

// load makes the n-th request. No two are for the same card or user.
type load func(r *rig, n int) request

// request is an event for a function.
type request struct {
	function string
	event    []byte
	// judge returns the code of a documented error, or "" for a right answer, and why
	// an answer is neither.
	judge func(*lambda.Result) (code, wrong string)
}

func openid(n int) string { return fmt.Sprintf("%s%08d", openidPrefix, n) }

// merchantTokens requests a merchant card's permission_token.
func merchantTokens(r *rig, n int) request {
	asked := r.requests[permissionTokens].With("card_id", fmt.Sprintf("pFault%d", n))
	return request{"functions/merchant-token", asked.Event(permissionTokens), func(result *lambda.Result) (string, string) {
		return r.judgeHTTP(permissionTokens, asked, result, func(body answer) string {
			if madeFor := r.watch.madeFor(body.PermissionToken); madeFor != asked.URI(permissionTokens) {
				return fmt.Sprintf("WeChat did not issue this token for card pFault%d", n)
			}
			return ""
		})
	}}
}

// brandTokens requests a token with which a user can open a brand card.
func brandTokens(r *rig, n int) request { return brandToken(r, n, func(string) string { return "" }) }

// brandToken is brandTokens, and calls then with a right token. It returns what is wrong.
func brandToken(r *rig, n int, then func(token string) (wrong string)) request {
	asked := r.requests[preAuthTokens]
	asked.Body = fmt.Sprintf(`{"brand_id":"%d","card_id":"pFault%d","openid":"%s"}`, 10000+n%7, n, openid(n))
	return request{"functions/brand-token", asked.Event(preAuthTokens), func(result *lambda.Result) (string, string) {
		return r.judgeHTTP(preAuthTokens, asked, result, func(body answer) string {
			if madeFor := r.watch.madeFor(body.Token); madeFor != asked.URI(preAuthTokens)+asked.Body {
				return "WeChat did not issue this token for this brand, card and user"
			}
			return then(body.Token)
		})
	}}
}

// members requests a brand token and opens the card with it. Every tenth answer to a
// notification is lost, every tenth notification comes twice, and every tenth is forged.
func members(r *rig, n int) request {
	switch n % 10 {
	case 3:
		r.WeChatPay.Next(wechatpay.LostAnswer)
	case 5:
		r.WeChatPay.Next(wechatpay.Twice)
	case 7:
		r.WeChatPay.Forge("1004", "pForged", openid(n))
	case 9:
		r.WeChatPay.Next(wechatpay.Probe)
	}
	return brandToken(r, n, func(token string) string {
		if _, _, err := r.WeChatPay.OpenCard(token, openid(n)); err != nil {
			return err.Error()
		}
		return ""
	})
}

// allAreMembers waits until every card that was opened is confirmed. Each must have been
// confirmed once, by at most five calls in any second, and no forgery have an effect.
func (r *rig) allAreMembers() {
	const timeout, allowed = 2 * time.Minute, 5
	var waiting, all int
	for begin := time.Now(); time.Since(begin) < timeout && (all == 0 || waiting > 0 || len(r.Queues.Get("ConfirmQueue").Messages()) > 0); time.Sleep(100 * time.Millisecond) {
		waiting, all = 0, 0
		for _, card := range r.WeChatPay.UserCards() {
			switch {
			case !strings.HasPrefix(card.OpenID, openidPrefix): // a sample
			case card.CardID == "pForged":
				if card.State != wechatpay.Unactivated {
					r.t.Errorf("a forged notification made a card %s", card.State)
				}
			case card.Confirmations > 1:
				r.t.Error("a card was confirmed twice")
			default:
				all++
				if card.State != wechatpay.Effective {
					waiting++
				}
			}
		}
	}
	var calls []time.Time
	answered := 0
	for _, q := range r.WeChatPay.Requests() {
		if strings.HasPrefix(q.URI, userCards) { // a confirmation, or a query after a refusal
			if calls = append(calls, q.Time); q.Status == 200 {
				answered++
			}
		}
	}
	for i := range calls[min(allowed, len(calls)):] {
		if calls[i+allowed].Sub(calls[i]) < time.Second {
			r.t.Errorf("more than %d calls in a second", allowed)
			break
		}
	}
	// Each event is confirmed until that is done, or a query says that it was, and then no more.
	if taken := len(r.Events.History()); waiting > 0 || all == 0 || answered > taken {
		r.t.Errorf("%d of %d cards are not confirmed after %d events and %d calls", waiting, all, taken, answered)
	}
	if letters := r.Queues.Get("ConfirmDeadLetters").Messages(); len(letters) > 0 {
		r.t.Errorf("%d dead letters: %v", len(letters), letters[0].Attributes)
	}
}

const userCards = "/v3/brand/partner/card-member/user-cards/"

func isConfirmation(uri string) bool {
	return strings.HasPrefix(uri, userCards) && strings.HasSuffix(uri, "/confirm")
}

// logins requests an authorizer's decision for a user of the mini program.
func logins(r *rig, n int) request {
	event := fmt.Appendf(nil, `{"version": "2.0", "type": "REQUEST", "routeKey": "POST /card/ext", "identitySource": ["WeChat-MiniProgram %s"]}`, r.OfficialAccount.LoginCode(openid(n)))
	return request{"functions/wechat-authorizer", event, func(result *lambda.Result) (string, string) {
		if result.FunctionError != nil {
			return documented(result.FunctionError.Message)
		}
		var answer struct {
			IsAuthorized bool
			Context      struct{ OpenID string }
		}
		switch err := json.Unmarshal(result.Payload, &answer); {
		case err != nil:
			return "", "the decision is not JSON"
		case !answer.IsAuthorized:
			return "NOT_AUTHORIZED", ""
		case answer.Context.OpenID != openid(n):
			return "", "the openid is another user's"
		}
		return "", ""
	}}
}

// syncs requests a sync that changes a link of a card.
func syncs(r *rig, n int) request {
	card, link := r.cards[n%len(r.cards)], fmt.Sprintf("pages/fault%d", n)
	event := fmt.Appendf(nil, `{"action": "sync", "plan": {"cards": [{"card_id": %q, "fields": {"promotion_url_name": "更多", "promotion_url": "https://example.com/",
		"promotion_app_brand_user_name": "gh_86a091e50ad4@app", "promotion_app_brand_pass": %q}}]}}`, card, link)
	return request{"functions/card-sync", event, func(result *lambda.Result) (string, string) {
		if result.FunctionError != nil {
			return "", result.FunctionError.Error()
		}
		var report struct {
			Error struct{ Code string }
			Cards []struct {
				Status string
				Error  *struct{ Code string }
			}
		}
		err := json.Unmarshal(result.Payload, &report)
		if report.Error.Code == "SYNC_RUNNING" {
			return "", "" // one at a time
		}
		if err != nil || len(report.Cards) != 1 {
			return "", "the report is not the documented JSON"
		}
		switch c := report.Cards[0]; {
		case c.Error != nil:
			return documented(c.Error.Code)
		case c.Status == "not_applied" || c.Status == "deferred":
			return strings.ToUpper(c.Status), ""
		case c.Status != "updated" && c.Status != "unchanged":
			return "", "the status is " + c.Status
		case r.OfficialAccount.Card(card).BaseInfo["promotion_app_brand_pass"] != link:
			return "", "the report says " + c.Status + ", but the card does not have the link"
		}
		return "", ""
	}}
}

// notifications sends a notification that a user opened a card. The right answer is 204,
// after the event is on the bus. A forged one has the signature of another.
func notifications(r *rig, n int) request {
	var event, other events.APIGatewayV2HTTPRequest
	var body struct{ ID string }
	_ = json.Unmarshal(sample.Notification(r.Stack, notificationsRoute), &event) // always valid
	forged, status := n%2 == 1 && r.forges.Load(), http.StatusInternalServerError
	if forged {
		_ = json.Unmarshal(sample.Notification(r.Stack, notificationsRoute), &other)
		event.Headers, status = other.Headers, http.StatusUnauthorized
	}
	_ = json.Unmarshal([]byte(event.Body), &body)
	payload, _ := json.Marshal(event)
	return request{"functions/card-events", payload, func(result *lambda.Result) (code, wrong string) {
		var a events.APIGatewayV2HTTPResponse
		var refused struct{ Code, Message string }
		switch taken := r.watch.isTaken(body.ID); {
		case result.FunctionError != nil:
			return "", result.FunctionError.Error()
		case json.Unmarshal(result.Payload, &a) != nil:
			return "", "the answer is not a response for API Gateway"
		case forged && (taken || a.StatusCode == http.StatusNoContent):
			return "", "a forged notification was accepted"
		case a.StatusCode == http.StatusNoContent && !taken:
			return "", "answered 204, but the event is not on the bus"
		case a.StatusCode == http.StatusNoContent:
			return "", ""
		case a.StatusCode != status || json.Unmarshal([]byte(a.Body), &refused) != nil || refused.Code != "FAIL" || refused.Message == "":
			return "", fmt.Sprintf("%d %.100s is not documented", a.StatusCode, a.Body)
		}
		return refused.Code, ""
	}}
}

// codes are the documented error codes that a fault can lead to, with their HTTP status.
var codes = map[string]int{
	"FREQUENCY_LIMITED":    http.StatusTooManyRequests,
	"CONFIG_ERROR":         http.StatusInternalServerError,
	"SYSTEM_ERROR":         http.StatusBadGateway,
	"SIGN_ERROR":           http.StatusBadGateway,
	"INVALID_RESPONSE":     http.StatusBadGateway,
	"UPSTREAM_UNREACHABLE": http.StatusBadGateway,
	"UPSTREAM_TIMEOUT":     http.StatusGatewayTimeout,
}

// documented returns the code if it is documented.
func documented(code string) (known, wrong string) {
	if codes[code] == 0 {
		return "", fmt.Sprintf("%.100q is not a documented code", code)
	}
	return code, ""
}

// answer is the body of an answer.
type answer struct {
	PermissionToken string `json:"permission_token"`
	Token           string `json:"token"`
	Code            string `json:"code"`
	Message         string `json:"message"`
}

// judgeHTTP judges the answer to an HTTP request. check returns what is wrong with the
// body of a 200.
func (r *rig) judgeHTTP(route string, asked sample.Request, result *lambda.Result, check func(answer) string) (code, wrong string) {
	var a events.APIGatewayV2HTTPResponse
	var body answer
	switch {
	case result.FunctionError != nil:
		return "", result.FunctionError.Error()
	case json.Unmarshal(result.Payload, &a) != nil:
		return "", "the answer is not a response for API Gateway"
	case json.Unmarshal([]byte(a.Body), &body) != nil:
		return "", fmt.Sprintf("the body of a %d is not JSON", a.StatusCode)
	case a.Headers["Cache-Control"] != "no-store":
		return "", "the answer does not have Cache-Control: no-store"
	case strings.Contains(a.Body, forgedToken):
		return "", "the answer has the content of a forged one"
	case a.StatusCode == http.StatusOK:
		wrong = check(body)
	case codes[body.Code] != a.StatusCode || body.Message == "":
		return "", fmt.Sprintf("%d %.50q is not documented", a.StatusCode, body.Code)
	case a.StatusCode == http.StatusTooManyRequests && a.Headers["Retry-After"] == "":
		return "", "a 429 has no Retry-After"
	default:
		code = body.Code
	}
	if wrong == "" {
		wrong = r.checkContract(route, asked, a, body.Code)
	}
	return code, wrong
}

// checkContract returns how an answer violates openapi.yaml. It checks one answer of each
// kind, because a check takes longer than a request.
func (r *rig) checkContract(route string, asked sample.Request, a events.APIGatewayV2HTTPResponse, code string) string {
	kind := fmt.Sprint(route, a.StatusCode, code)
	r.mu.Lock()
	defer r.mu.Unlock()
	if wrong, ok := r.violations[kind]; ok {
		return wrong
	}
	method, _, _ := strings.Cut(route, " ")
	sent, _ := http.NewRequest(method, "https://api.example"+asked.URI(route), nil)
	response := &http.Response{StatusCode: a.StatusCode, Header: http.Header{}}
	for name, value := range a.Headers {
		response.Header.Set(name, value)
	}
	r.violations[kind] = ""
	if err := agreed.Check(sent, []byte(asked.Body), response, []byte(a.Body)); err != nil {
		r.violations[kind] = err.Error()
	}
	return r.violations[kind]
}
