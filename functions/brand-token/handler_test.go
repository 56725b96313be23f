package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing/signingtest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = signingtest.Of(mint)

func post(body string) gatewaytest.Event {
	return gatewaytest.Request("POST "+openUserCardTokens, body)
}

// example is the document's example request.
const example = `{
   "brand_id" : "1004",
   "card_id" : "pbLatjvWOibDc5-TBnbUk1pD12o0",
   "openid" : "obLatjnx9gnqzS4myYGmLZ7LgLBA"
}`

const (
	openid = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	// sent is the body that WeChat gets for the example.
	sent = `{"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"` + openid + `"}`
	// minted is the document's answer.
	minted = `{ "token" : "d2df23f2f4fasf3gws", "expire_time" : "2020-05-20T13:29:35.120+08:00" }`
)

// body returns the example with one field's JSON replaced, or without the field.
func body(field, value string) string {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(example), &members); err != nil {
		panic(err)
	}
	if members[field] = json.RawMessage(value); value == "" {
		delete(members, field)
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		list = append(list, strconv.Quote(name)+":"+string(members[name]))
	}
	return "{" + strings.Join(list, ",") + "}"
}

// text returns a JSON string that repeats s n times.
func text(s string, n int) string { return `"` + strings.Repeat(s, n) + `"` }

func TestDocumentedRequestsAreAccepted(t *testing.T) {
	for _, row := range []struct{ rule, body string }{
		{"the document's example", example},
		{"brand_id of 32", body("brand_id", text("1", 32))},
		{"brand_id of 32 Chinese characters", body("brand_id", text("牌", 32))},
		{"card_id of 1", body("card_id", text("p", 1))},
		{"card_id of 32", body("card_id", text("p", 32))},
		{"openid of 1", body("openid", text("o", 1))},
		{"openid of 128", body("openid", text("o", 128))},
	} {
		t.Run(row.rule, func(t *testing.T) { operation.Accepts(t, post(row.body)) })
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
			operation.Refuses(t, post(row.body), row.field, row.issue).RequireNotRepeated(t, openid)
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
			operation.Refuses(t, post(body("openid", row.value)), "/body/openid", "").RequireNotRepeated(t, row.private)
		})
	}
}

func TestWeChatsQuotesAreNotLogged(t *testing.T) {
	operation.LogsNoQuotes(t, post(example), openid)
	operation.LogsNoQuotes(t, gatewaytest.LoggedIn(post(body("openid", "")), openid), openid)
}

// If the authorizer has proven who calls, openid may be left out, and users get no
// token for other users.
func TestTheProvenOpenID(t *testing.T) {
	const (
		foreign = "obLatjForeignForeignForeign1"
		call    = "POST " + openUserCardTokens + " " + sent
	)
	user := func(body string) gatewaytest.Event { return gatewaytest.LoggedIn(post(body), openid) }
	for _, row := range []struct {
		rule   string
		event  gatewaytest.Event
		status int
		code   string
		came   string // what WeChat gets
	}{
		{"a user may leave their openid out", user(body("openid", "")), 200, "", call},
		{"a user may send their own openid", user(example), 200, "", call},
		{"another openid", user(body("openid", `"`+foreign+`"`)), 403, "OPENID_MISMATCH", ""},
		{"a part of their openid", user(body("openid", `"`+openid[:20]+`"`)), 403, "OPENID_MISMATCH", ""},
		{"their openid in another case", user(body("openid", `"`+strings.ToUpper(openid)+`"`)), 403, "OPENID_MISMATCH", ""},
		{"their openid with a blank", user(body("openid", `"`+openid+` "`)), 403, "OPENID_MISMATCH", ""},
		{"an empty openid", user(body("openid", `""`)), 400, "PARAM_ERROR", ""},
		{"openid null", user(body("openid", `null`)), 400, "PARAM_ERROR", ""},
		{"openid given twice", user(body("openid", `"`+foreign+`","openid":"`+openid+`"`)), 400, "PARAM_ERROR", ""},
		{"another openid beside another fault", user(`{"openid":"` + foreign + `"}`), 400, "PARAM_ERROR", ""},
		{"nobody is logged in, and openid is left out", post(body("openid", "")), 400, "PARAM_ERROR", ""},
		{"the authorizer has an empty openid, and openid is left out", gatewaytest.LoggedIn(post(body("openid", "")), ""), 400, "PARAM_ERROR", ""},
		{"nobody is logged in", post(example), 200, "", call},
		{"the merchant's own system", gatewaytest.ByIAM(post(example)), 200, "", call},
		{"the authorizer proved nothing", gatewaytest.LoggedIn(post(example), ""), 403, "OPENID_MISMATCH", ""},
		{"a JWT with the claim openid, which is left out", gatewaytest.WithJWT(post(body("openid", "")), map[string]string{"openid": openid}), 200, "", call},
		{"a JWT with the claim openid", gatewaytest.WithJWT(post(example), map[string]string{"openid": openid}), 200, "", call},
		{"a JWT with another openid", gatewaytest.WithJWT(post(example), map[string]string{"openid": foreign}), 403, "OPENID_MISMATCH", ""},
		{"a JWT with an empty openid", gatewaytest.WithJWT(post(example), map[string]string{"openid": ""}), 403, "OPENID_MISMATCH", ""},
		{"a JWT without the claim", gatewaytest.WithJWT(post(example), map[string]string{"sub": foreign}), 200, "", call},
		{"a JWT without the claim, and openid is left out", gatewaytest.WithJWT(post(body("openid", "")), map[string]string{"sub": openid}), 400, "PARAM_ERROR", ""},
	} {
		t.Run(row.rule, func(t *testing.T) {
			endpoint, came := signingtest.WeChatPay(t, 200, minted)
			o := operation.Invoke(t, row.event, endpoint)
			if o.Status != row.status || o.Error.Code != row.code {
				t.Errorf("%d %s, want %d %s", o.Status, o.Body, row.status, row.code)
			}
			if got := came(); got != row.came {
				t.Errorf("WeChat got %q, want %q", got, row.came)
			}
			if row.code == "OPENID_MISMATCH" && (o.Error.Detail == nil || o.Error.Detail.Field != "/body/openid" || o.Error.Detail.Value != nil || o.Error.Solution == "") {
				t.Errorf("told: %s", o.Body)
			}
			o.RequireNotRepeated(t, openid, foreign, openid[:20], strings.ToUpper(openid))
		})
	}
}

func TestWeChatIsCalledAtThePathOfTheRequest(t *testing.T) {
	for _, row := range []struct{ rule, routeKey, rawPath, path string }{
		{"the name of June 2025", "POST " + openUserCardTokens, "/stage" + openUserCardTokens, openUserCardTokens},
		{"the name since November 2025", "POST " + preAuthTokens, preAuthTokens, preAuthTokens},
		{"a route that takes every path", "$default", preAuthTokens, preAuthTokens},
	} {
		t.Run(row.rule, func(t *testing.T) {
			event := gatewaytest.Event{RouteKey: row.routeKey, RawPath: row.rawPath, Body: example}
			operation.Sends(t, event, "POST "+row.path+" "+sent, minted).RequireNotLogged(t, openid)
		})
	}
}

func TestAnotherPathIsNotFound(t *testing.T) {
	for _, row := range []struct{ rule, routeKey, rawPath string }{
		{"a path without partner", "POST /v3/brand/card-member/pre-auth-tokens", "/v3/brand/card-member/pre-auth-tokens"},
		{"a slash at the end", "POST " + preAuthTokens + "/", preAuthTokens + "/"},
		{"the root", "$default", "/"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			endpoint, came := signingtest.WeChatPay(t, 200, minted)
			o := operation.Invoke(t, gatewaytest.Event{RouteKey: row.routeKey, RawPath: row.rawPath, Body: example}, endpoint)
			if got := came(); o.Status != 404 || o.Error.Code != "NOT_FOUND" || got != "" {
				t.Errorf("%d %s, and WeChat got %q", o.Status, o.Body, got)
			}
		})
	}
}

func TestAnAnswerOfAnotherShapeIsInvalid(t *testing.T) {
	const valid = "2020-05-20T13:29:35+08:00"
	operation.RejectsAnswers(t, post(example), signingtest.Answers{
		{"an empty object", `{}`},
		{"trailing data", minted + "x"},
		{"an empty token", `{"token":"","expire_time":"` + valid + `"}`},
		{"no token", `{"expire_time":"` + valid + `"}`},
		{"token as a number", `{"token":1,"expire_time":"` + valid + `"}`},
		{"no expire_time", `{"token":"x"}`},
		{"an empty expire_time", `{"token":"x","expire_time":""}`},
		{"expire_time null", `{"token":"x","expire_time":null}`},
		{"expire_time as a number", `{"token":"x","expire_time":1589952575}`},
		{"expire_time in another format", `{"token":"x","expire_time":"2020-05-20 13:29:35"}`},
		{"expire_time with an hour of one digit", `{"token":"x","expire_time":"2020-05-20T3:29:35+08:00"}`},
		{"expire_time without an offset", `{"token":"x","expire_time":"2020-05-20T13:29:35"}`},
		{"expire_time of no month", `{"token":"x","expire_time":"2020-13-20T13:29:35+08:00"}`},
	})
}

func TestTheDocumentsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, post(example), signingtest.Errors{
		{400, "INVALID_REQUEST", "会员卡模版ID不属于该品牌", "brand_id and card_id"},
		{400, "PARAM_ERROR", "OpenID有误", "AppID"},
	})
}

// FuzzRequest compares validation with a second implementation of the rules.
func FuzzRequest(f *testing.F) {
	f.Add(example)
	f.Add(`{}`)
	f.Add(body("openid", "1234567890123"))
	f.Add(body("openid", text(openid, 5)))
	f.Add(body("card_id", `"p/q"`))
	f.Add(`{"brand_id":"x",` + example[1:])
	f.Fuzz(func(t *testing.T, body string) {
		gatewaytest.SkipUnlessUTF8(t, body)
		o, passed := operation.Validate(t, post(body), "/body")
		if !passed {
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
