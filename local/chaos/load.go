package chaos

// This file has the requests and decides whether their answers are right.

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/lambda"
)

const (
	openidPrefix = "oChaosVisitor" // of every openid
	forgedToken  = "FORGED"        // in forged answers
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

// merchantTokens requests a merchant card's permission_token.
func merchantTokens(r *rig, n int) request {
	card := fmt.Sprintf("pChaos%d", n)
	path := "/v3/marketing/membercard-open/cards/" + card + "/permission-tokens"
	call := httpCall{
		route: "POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens", path: path,
		parameters: map[string]string{"card_id": card}, body: `{"activate_type": "AUTO_ACTIVATE", "outer_str": "chaos"}`,
	}
	return request{"functions/merchant-token", call.event(), func(result *lambda.Result) (string, string) {
		return r.judgeHTTP(call, result, func(body []byte) string {
			var answer struct {
				Token string `json:"permission_token"`
			}
			if madeFor, ok := r.watch.madeFor(token(body, &answer, &answer.Token)); !ok || madeFor != path {
				return fmt.Sprintf("WeChat did not issue this token for card %s", card)
			}
			return ""
		})
	}}
}

// brandTokens requests a token with which a user can open a brand card.
func brandTokens(r *rig, n int) request {
	const path = "/v3/brand/partner/card-member/pre-auth-tokens"
	call := httpCall{route: "POST " + path, path: path,
		body: fmt.Sprintf(`{"brand_id": "%d", "card_id": "pChaos%d", "openid": "%s%08d"}`, 10000+n%7, n, openidPrefix, n)}
	return request{"functions/brand-token", call.event(), func(result *lambda.Result) (string, string) {
		return r.judgeHTTP(call, result, func(body []byte) string {
			var answer struct {
				Token string `json:"token"`
			}
			madeFor, ok := r.watch.madeFor(token(body, &answer, &answer.Token))
			if !ok || !sameRequest(madeFor, path, call.body) {
				return "WeChat did not issue this token for this brand, card and user"
			}
			return ""
		})
	}}
}

// token decodes an answer and returns the token in it.
func token(body []byte, into any, token *string) string {
	_ = json.Unmarshal(body, into) // on an error the token is empty
	return *token
}

// sameRequest reports whether a token was issued for a request with this path and an
// equivalent body.
func sameRequest(madeFor, path, body string) bool {
	sent, ok := strings.CutPrefix(madeFor, path)
	var a, b struct{ BrandID, CardID, OpenID string }
	decode := func(text string, into any) error {
		return json.Unmarshal([]byte(strings.ReplaceAll(text, "_", "")), into)
	}
	return ok && decode(sent, &a) == nil && decode(body, &b) == nil && a == b && a.OpenID != ""
}

// logins requests an authorizer's decision for a user of the mini program.
func logins(r *rig, n int) request {
	openid := fmt.Sprintf("%s%08d", openidPrefix, n)
	event, _ := json.Marshal(map[string]any{ // strings always marshal
		"version": "2.0", "type": "REQUEST", "routeKey": "POST /card/ext",
		"identitySource": []string{"WeChat-MiniProgram " + r.OfficialAccount.LoginCode(openid)},
	})
	return request{"functions/wechat-authorizer", event, func(result *lambda.Result) (string, string) {
		if result.FunctionError != nil {
			return documented(result.FunctionError.Message)
		}
		var answer struct {
			IsAuthorized bool `json:"isAuthorized"`
			Context      struct {
				OpenID string `json:"openid"`
			} `json:"context"`
		}
		switch err := json.Unmarshal(result.Payload, &answer); {
		case err != nil:
			return "", "the decision is not JSON"
		case !answer.IsAuthorized:
			return "NOT_AUTHORIZED", ""
		case answer.Context.OpenID != openid:
			return "", "the openid is another user's"
		}
		return "", ""
	}}
}

// syncs requests a sync that changes a link of a card.
func syncs(r *rig, n int) request {
	card := r.cards[n%len(r.cards)]
	link := fmt.Sprintf("pages/chaos%d", n)
	event := fmt.Sprintf(`{"action": "sync", "plan": {"cards": [{"card_id": %q, "fields": {"promotion_url_name": "更多", "promotion_url": "https://example.com/",
		"promotion_app_brand_user_name": "gh_86a091e50ad4@app", "promotion_app_brand_pass": %q}}]}}`, card, link)
	return request{"functions/card-sync", []byte(event), func(result *lambda.Result) (string, string) {
		if result.FunctionError != nil {
			return "", result.FunctionError.Error()
		}
		var report struct {
			Updated int
			Cards   []struct {
				Status string
				Error  *struct{ Code string }
			}
		}
		if err := json.Unmarshal(result.Payload, &report); err != nil || len(report.Cards) != 1 {
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

// codes are the documented error codes that a fault can lead to, with their HTTP status.
var codes = map[string]int{
	"FREQUENCY_LIMITED":    http.StatusTooManyRequests,
	"RATELIMIT_EXCEEDED":   http.StatusTooManyRequests,
	"CONFIG_ERROR":         http.StatusInternalServerError,
	"SYSTEM_ERROR":         http.StatusBadGateway,
	"SIGN_ERROR":           http.StatusBadGateway,
	"INVALID_RESPONSE":     http.StatusBadGateway,
	"UPSTREAM_UNREACHABLE": http.StatusBadGateway,
	"WECHAT_-1":            http.StatusBadGateway,
	"UPSTREAM_TIMEOUT":     http.StatusGatewayTimeout,
}

// documented returns the code if it is documented.
func documented(code string) (known, wrong string) {
	if codes[code] == 0 {
		return "", fmt.Sprintf("%.100q is not a documented code", code)
	}
	return code, ""
}

// httpCall is a request to the API.
type httpCall struct {
	route, path, body string
	parameters        map[string]string
	query             string
	headers           map[string]string
}

// event returns the call as an event of API Gateway.
func (c httpCall) event() []byte {
	event := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: c.route, RawPath: c.path, RawQueryString: c.query,
		PathParameters: c.parameters, Headers: c.headers, Body: c.body,
	}
	event.RequestContext.HTTP.Method, _, _ = strings.Cut(c.route, " ")
	payload, _ := json.Marshal(event) // strings always marshal
	return payload
}

// answer is what a function returns to API Gateway.
type answer struct {
	StatusCode int
	Headers    map[string]string
	Body       string
}

func readAnswer(result *lambda.Result) (a answer, wrong string) {
	if result.FunctionError != nil {
		return a, result.FunctionError.Error()
	}
	if err := json.Unmarshal(result.Payload, &a); err != nil {
		return a, "the answer is not a response for API Gateway"
	}
	return a, ""
}

// judgeHTTP judges the answer to an HTTP request. check returns what is wrong with the
// body of a 200.
func (r *rig) judgeHTTP(call httpCall, result *lambda.Result, check func(body []byte) string) (code, wrong string) {
	a, wrong := readAnswer(result)
	if wrong != "" {
		return "", wrong
	}
	var refused struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	err := json.Unmarshal([]byte(a.Body), &refused)
	switch {
	case err != nil:
		return "", fmt.Sprintf("the body of a %d is not JSON", a.StatusCode)
	case a.Headers["Cache-Control"] != "no-store":
		return "", "the answer does not have Cache-Control: no-store"
	case strings.Contains(a.Body, forgedToken):
		return "", "the answer has the content of a forged one"
	case a.StatusCode == http.StatusOK:
		wrong = check([]byte(a.Body))
	case codes[refused.Code] != a.StatusCode || refused.Message == "":
		return "", fmt.Sprintf("%d %.50q is not documented", a.StatusCode, refused.Code)
	case a.StatusCode == http.StatusTooManyRequests && a.Headers["Retry-After"] == "":
		return "", "a 429 has no Retry-After"
	case strings.Contains(a.Body, openidPrefix):
		return "", "an error contains the openid"
	default:
		code = refused.Code
	}
	if wrong == "" {
		wrong = r.checkContract(call, a, refused.Code)
	}
	return code, wrong
}

// checkContract returns how an answer violates openapi.yaml. It checks one answer of each
// kind, because a check takes longer than a request.
func (r *rig) checkContract(call httpCall, a answer, code string) string {
	kind := fmt.Sprint(call.route, a.StatusCode, code)
	r.mu.Lock()
	defer r.mu.Unlock()
	if wrong, ok := r.violations[kind]; ok {
		return wrong
	}
	method, _, _ := strings.Cut(call.route, " ")
	sent, _ := http.NewRequest(method, "https://api.example"+call.path, nil)
	response := &http.Response{StatusCode: a.StatusCode, Header: http.Header{}}
	for name, value := range a.Headers {
		response.Header.Set(name, value)
	}
	r.violations[kind] = ""
	if err := r.contract.Check(sent, []byte(call.body), response, []byte(a.Body)); err != nil {
		r.violations[kind] = err.Error()
	}
	return r.violations[kind]
}
