package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"membercard/shared/gateway"
	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing"
	"membercard/shared/signing/signingtest"
	"membercard/shared/tlsdial/tlsdialtest"
)

// example is the document's.
const example = `{
   "brand_id" : "1004",
   "card_id" : "pbLatjvWOibDc5-TBnbUk1pD12o0",
   "openid" : "obLatjnx9gnqzS4myYGmLZ7LgLBA"
}`

const (
	openid = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	minted = `{ "token" : "d2df23f2f4fasf3gws", "expire_time" : "2020-05-20T13:29:35.120+08:00" }`
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var function signingtest.Function = func(wechatpay *signing.Client) func(context.Context, *gateway.Request) (*gateway.Response, error) {
	return (&handler{wechatpay}).mint
}

func post(body string) events.APIGatewayV2HTTPRequest {
	return events.APIGatewayV2HTTPRequest{RouteKey: "POST " + openUserCardTokens, RawPath: "/stage" + openUserCardTokens, Body: body}
}

// body is the example with one field's JSON replaced, or taken out where it is "".
func body(field, value string) string {
	fields := []string{`"brand_id":"1004"`, `"card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0"`, `"openid":"` + openid + `"`}
	var kept []string
	for _, f := range fields {
		if !strings.HasPrefix(f, `"`+field+`"`) {
			kept = append(kept, f)
		} else if value != "" {
			kept = append(kept, `"`+field+`":`+value)
		}
	}
	return "{" + strings.Join(kept, ",") + "}"
}

// text is a JSON string of n times s.
func text(s string, n int) string { return `"` + strings.Repeat(s, n) + `"` }

func TestWhatTheDocumentAllows(t *testing.T) {
	for _, row := range []struct{ rule, body string }{
		{"the document's example", example},
		{"brand_id of 32", body("brand_id", text("1", 32))},
		{"brand_id of 32 Chinese characters", body("brand_id", text("牌", 32))},
		{"card_id of 1", body("card_id", text("p", 1))},
		{"card_id of 32", body("card_id", text("p", 32))},
		{"openid of 1", body("openid", text("o", 1))},
		{"openid of 128", body("openid", text("o", 128))},
	} {
		t.Run(row.rule, func(t *testing.T) { function.Accepts(t, post(row.body)) })
	}
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	for _, row := range []struct{ rule, body, field, issue string }{
		{"brand_id is required", body("brand_id", ""), "/body/brand_id", "is required"},
		{"brand_id of 33", body("brand_id", text("1", 33)), "/body/brand_id", "at most 32"},
		{"brand_id as a number", body("brand_id", "1004"), "/body/brand_id", "a string"},
		{"an empty brand_id", body("brand_id", `""`), "/body/brand_id", "empty"},
		{"card_id is required", body("card_id", ""), "/body/card_id", "is required"},
		{"card_id of 33", body("card_id", text("p", 33)), "/body/card_id", "1 to 32"},
		{"card_id of another alphabet", body("card_id", `"p/q"`), "/body/card_id", "1 to 32"},
		{"card_id with a blank", body("card_id", `"p "`), "/body/card_id", "1 to 32"},
		{"an empty card_id", body("card_id", `""`), "/body/card_id", "empty"},
		{"openid is required", body("openid", ""), "/body/openid", "is required"},
		{"openid of 129", body("openid", text("o", 129)), "/body/openid", "at most 128"},
		{"an empty openid", body("openid", `""`), "/body/openid", "empty"},
		{"openid null", body("openid", `null`), "/body/openid", "null"},
		{"openid in an object", body("openid", `{"openid":"`+openid+`"}`), "/body/openid", "a string"},
		{"the first of several faults", `{"brand_id":"","card_id":"p/q"}`, "/body/brand_id", "empty"},
		{"nothing", `{}`, "/body/brand_id", "is required"},
		{"an unknown field", `{"appid":"x",` + example[1:], "/body/appid", "not a field"},
		{"a Go name", `{"BrandID":"x",` + example[1:], "/body/BrandID", "not a field"},
		{"a duplicate", `{"brand_id":"x",` + example[1:], "/body/brand_id", "twice"},
		{"an escaped duplicate", `{"\u006fpenid":"x",` + example[1:], "/body/openid", "twice"},
		{"trailing data", example + "x", "/body", "one JSON object"},
		{"an array", "[" + example + "]", "/body", "an object"},
		{"no body", "", "/body", "empty"},
		{"over 16 KiB", example + strings.Repeat(" ", 16<<10), "/body", "16 KiB"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := function.Refuses(t, post(row.body), row.field, row.issue)
			if strings.Contains(o.Body+o.Log, openid) {
				t.Errorf("an openid is repeated: %s\n%s", o.Body, o.Log)
			}
		})
	}
}

func TestABadOpenIDIsNeverRepeated(t *testing.T) {
	for _, row := range []struct{ fault, value, private string }{
		{"too long", text(openid, 5), openid},
		{"a number", "1234567890123", "1234567890123"},
		{"a fraction", "-1234567890123.5", "1234567890123"},
		{"in an array", `["` + openid + `"]`, openid},
		{"in an object", `{"` + openid + `":1}`, openid},
		{"broken Unicode", `"` + openid + `\ud800"`, openid},
		{"given twice", `"` + openid + `","openid":"` + openid + `x"`, openid},
	} {
		t.Run(row.fault, func(t *testing.T) {
			o := function.Refuses(t, post(body("openid", row.value)), "/body/openid", "")
			if strings.Contains(o.Body, row.private) {
				t.Errorf("told: %s", o.Body)
			}
			if strings.Contains(o.Log, row.private) {
				t.Errorf("logged: %s", o.Log)
			}
		})
	}
}

func TestTheOpenIDIsNotRepeatedFromWeChatsAnswer(t *testing.T) {
	endpoint, _ := signingtest.WeChatPay(t, 400, `{"code":"PARAM_ERROR","message":"OpenID有误: `+openid+`","detail":{"field":"/body/openid","value":"`+openid+`","issue":"`+openid+`","location":"body"}}`)
	o := function.Invoke(t, post(example), &signingtest.Source{Merchant: signingtest.Merchant(t)}, endpoint)
	if o.Status != 400 || o.Error.Code != "PARAM_ERROR" || !strings.Contains(o.Error.Solution, "openid") || o.Error.Detail == nil || o.Error.Detail.Field != "/body/openid" {
		t.Errorf("%d %s", o.Status, o.Body)
	}
	if strings.Contains(o.Body+o.Log, openid) {
		t.Errorf("repeated: %s\n%s", o.Body, o.Log)
	}
}

// TestTheProvenOpenID: where the authorizer has proven who calls, openid may be
// left out, and nobody gets a token for somebody else.
func TestTheProvenOpenID(t *testing.T) {
	const (
		foreign = "obLatjForeignForeignForeign1"
		sent    = "POST " + openUserCardTokens + ` {"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"` + openid + `"}`
	)
	for _, row := range []struct {
		what   string
		proven any // nil is no authorizer of ours
		body   string
		status int
		code   string
		came   string // what WeChat gets
	}{
		{"left out", openid, body("openid", ""), 200, "", sent},
		{"the same", openid, example, 200, "", sent},
		{"another", openid, body("openid", `"`+foreign+`"`), 403, "OPENID_MISMATCH", ""},
		{"a part of it", openid, body("openid", `"`+openid[:20]+`"`), 403, "OPENID_MISMATCH", ""},
		{"in another case", openid, body("openid", `"`+strings.ToUpper(openid)+`"`), 403, "OPENID_MISMATCH", ""},
		{"with a blank", openid, body("openid", `"`+openid+` "`), 403, "OPENID_MISMATCH", ""},
		{"empty", openid, body("openid", `""`), 400, "PARAM_ERROR", ""},
		{"null", openid, body("openid", `null`), 400, "PARAM_ERROR", ""},
		{"given twice", openid, body("openid", `"`+foreign+`","openid":"`+openid+`"`), 400, "PARAM_ERROR", ""},
		{"another, with another fault", openid, `{"openid":"` + foreign + `"}`, 400, "PARAM_ERROR", ""},
		{"none is proven, and it is left out", nil, body("openid", ""), 400, "PARAM_ERROR", ""},
		{"an empty one is proven, and it is left out", "", body("openid", ""), 400, "PARAM_ERROR", ""},
		{"none is proven", nil, example, 200, "", sent},
	} {
		t.Run(row.what, func(t *testing.T) {
			endpoint, came := signingtest.WeChatPay(t, 200, minted)
			event := post(row.body)
			if row.proven != nil {
				event.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{
					Lambda: map[string]any{"openid": row.proven, "appid": "wx5f0c2b8e7d4a9361"},
				}
			}
			o := function.Invoke(t, event, &signingtest.Source{Merchant: signingtest.Merchant(t)}, endpoint)
			if o.Status != row.status || o.Error.Code != row.code {
				t.Errorf("%d %s, want %d %s", o.Status, o.Body, row.status, row.code)
			}
			if got := came(); got != row.came {
				t.Errorf("WeChat got %q, want %q", got, row.came)
			}
			if row.code == "OPENID_MISMATCH" && (o.Error.Detail == nil || o.Error.Detail.Field != "/body/openid" || o.Error.Detail.Value != nil || o.Error.Solution == "") {
				t.Errorf("told: %s", o.Body)
			}
			for _, private := range []string{openid, foreign, openid[:20], strings.ToUpper(openid)} {
				if strings.Contains(o.Body+o.Log, private) {
					t.Errorf("%s is repeated: %s\n%s", private, o.Body, o.Log)
				}
			}
		})
	}
}

func TestTheProvenOpenIDIsNotRepeatedFromWeChatsAnswer(t *testing.T) {
	endpoint, _ := signingtest.WeChatPay(t, 400, `{"code":"PARAM_ERROR","message":"OpenID有误: `+openid+`"}`)
	event := post(body("openid", ""))
	event.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{Lambda: map[string]any{"openid": openid}}
	o := function.Invoke(t, event, &signingtest.Source{Merchant: signingtest.Merchant(t)}, endpoint)
	if o.Status != 400 || strings.Contains(o.Body+o.Log, openid) {
		t.Errorf("%d %s\n%s", o.Status, o.Body, o.Log)
	}
}

func TestTheOperationHasTwoNames(t *testing.T) {
	for _, row := range []struct {
		routeKey, rawPath string
		path              string // where the call goes; "" is gatewaytest.Nowhere
	}{
		{"POST " + openUserCardTokens, "/stage" + openUserCardTokens, openUserCardTokens},
		{"POST " + preAuthTokens, preAuthTokens, preAuthTokens},
		{"$default", preAuthTokens, preAuthTokens},
		{"POST /v3/brand/card-member/pre-auth-tokens", "/v3/brand/card-member/pre-auth-tokens", ""},
		{"POST " + preAuthTokens + "/", preAuthTokens + "/", ""},
		{"$default", "/", ""},
	} {
		endpoint, came := signingtest.WeChatPay(t, 200, minted)
		o := function.Invoke(t, events.APIGatewayV2HTTPRequest{RouteKey: row.routeKey, RawPath: row.rawPath, Body: example}, &signingtest.Source{Merchant: signingtest.Merchant(t)}, endpoint)
		got := came()
		if row.path == "" {
			if o.Status != 404 || o.Error.Code != "NOT_FOUND" || got != "" {
				t.Errorf("%s: %d %s, and WeChat got %+v", row.routeKey, o.Status, o.Body, got)
			}
			continue
		}
		if o.Status != 200 || o.Body != minted || o.Headers["X-WeChat-Request-Id"] != "08F78BB5AF0610D302" {
			t.Errorf("%s: %d %s %v", row.routeKey, o.Status, o.Body, o.Headers)
		}
		if got != "POST "+row.path+` {"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"obLatjnx9gnqzS4myYGmLZ7LgLBA"}` {
			t.Errorf("%s: WeChat got %+v", row.routeKey, got)
		}
		if strings.Contains(o.Log, openid) || strings.Contains(o.Log, "d2df23f2f4fasf3gws") {
			t.Errorf("logged: %s", o.Log)
		}
	}
}

func TestAnAnswerOfAnotherShapeIsInvalid(t *testing.T) {
	const valid = "2020-05-20T13:29:35+08:00"
	for _, answer := range []string{
		``, `{}`, `null`, `[]`, minted + "x",
		`{"token":"","expire_time":"` + valid + `"}`,
		`{"expire_time":"` + valid + `"}`,
		`{"token":1,"expire_time":"` + valid + `"}`,
		`{"token":"x"}`,
		`{"token":"x","expire_time":""}`,
		`{"token":"x","expire_time":null}`,
		`{"token":"x","expire_time":1589952575}`,
		`{"token":"x","expire_time":"2020-05-20 13:29:35"}`,
		`{"token":"x","expire_time":"2020-05-20T13:29:35"}`,
		`{"token":"x","expire_time":"2020-13-20T13:29:35+08:00"}`,
	} {
		endpoint, _ := signingtest.WeChatPay(t, 200, answer)
		if o := function.Invoke(t, post(example), &signingtest.Source{Merchant: signingtest.Merchant(t)}, endpoint); o.Status != 502 || o.Error.Code != "INVALID_RESPONSE" || o.Error.RequestID != "08F78BB5AF0610D302" {
			t.Errorf("%s: %d %s", answer, o.Status, o.Body)
		}
	}
}

// TestTheDocumentsErrors is the document's table of errors of this operation.
func TestTheDocumentsErrors(t *testing.T) {
	for _, row := range []struct{ code, message, tells string }{
		{"INVALID_REQUEST", "会员卡模版ID不属于该品牌", "brand_id and card_id"},
		{"PARAM_ERROR", "OpenID有误", "AppID"},
		{"INVALID_REQUEST", "HTTP 请求不符合微信支付 APIv3 接口规则", "compare the request"},
		{"PARAM_ERROR", "参数错误", "correct the field"},
	} {
		answer, _ := json.Marshal(map[string]string{"code": row.code, "message": row.message})
		endpoint, _ := signingtest.WeChatPay(t, 400, string(answer))
		o := function.Invoke(t, post(example), &signingtest.Source{Merchant: signingtest.Merchant(t)}, endpoint)
		if o.Status != 400 || o.Error.Code != row.code || o.Error.Message != row.message || !strings.Contains(o.Error.Solution, row.tells) {
			t.Errorf("%s: %d %s, want a solution with %q", row.message, o.Status, o.Body, row.tells)
		}
	}
}

// FuzzRequest holds the decoder against the rules, written another way.
func FuzzRequest(f *testing.F) {
	f.Add(example)
	f.Add(`{}`)
	f.Add(body("openid", "1234567890123"))
	f.Add(body("openid", text(openid, 5)))
	f.Add(body("card_id", `"p/q"`))
	f.Add(`{"brand_id":"x",` + example[1:])
	f.Fuzz(func(t *testing.T, body string) {
		if !utf8.ValidString(body) {
			t.Skip("API Gateway's events are JSON")
		}
		from := &signingtest.Source{}
		o := function.Invoke(t, post(body), from, gatewaytest.Nowhere)
		if !from.Asked {
			if o.Status != 400 || o.Error.Code != "PARAM_ERROR" || o.Error.Detail == nil || o.Error.Detail.Issue == "" || !strings.HasPrefix(o.Error.Detail.Field, "/body") {
				t.Fatalf("%d %s", o.Status, o.Body)
			}
			if o.Error.Detail.Field == "/body/openid" && o.Error.Detail.Value != nil && o.Error.Detail.Value != "" {
				t.Fatalf("an openid is repeated: %s", o.Body)
			}
			return
		}
		var sent map[string]string
		if err := json.Unmarshal([]byte(body), &sent); err != nil || len(sent) != 3 || len(body) > 16<<10 {
			t.Fatalf("let pass: %q", body)
		}
		for name, most := range map[string]int{"brand_id": 32, "card_id": 32, "openid": 128} {
			if n := utf8.RuneCountInString(sent[name]); n == 0 || n > most {
				t.Fatalf("let pass: %s in %q", name, body)
			}
		}
		if strings.Contains(o.Body+o.Log, sent["openid"]) && len(sent["openid"]) >= 20 {
			t.Fatalf("an openid is repeated: %s\n%s", o.Body, o.Log)
		}
	})
}
