package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing/signingtest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = signingtest.Of(confirm)

// post is a request for a user's card.
func post(card, code, body string) gatewaytest.Event {
	return gatewaytest.Request("POST /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/confirm", body, card, code)
}

const (
	cardID = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	code   = "478515832665201811291234"
	path   = "/v3/marketing/membercard-open/cards/" + cardID + "/codes/" + code + "/confirm"

	success = `{"user_card_confirm_state":"CREATE_CARD_SUCCESS"}`
	exists  = `{"user_card_confirm_state":"CREATE_CARD_ALREADY_EXISTS"}`
)

// fail is the body for a failure, with another field.
func fail(field string) string {
	return `{"user_card_confirm_state":"CREATE_CARD_FAIL",` + field + `}`
}

func TestWeChatGetsTheBodyThatItDocuments(t *testing.T) {
	for _, row := range []struct{ rule, body, sent string }{
		{"a success", `{ "user_card_confirm_state": "CREATE_CARD_SUCCESS" }`, success},
		{"a member already", exists, exists},
		{"a failure without a reason", `{"user_card_confirm_state":"CREATE_CARD_FAIL"}`, `{"user_card_confirm_state":"CREATE_CARD_FAIL"}`},
		{"a failure with a reason", fail(`"fail_reason":"黑名单 <&>"`), fail(`"fail_reason":"黑名单 <&>"`)},
		{"a reason of 128 characters", fail(`"fail_reason":"` + strings.Repeat("因", 128) + `"`), fail(`"fail_reason":"` + strings.Repeat("因", 128) + `"`)},
	} {
		t.Run(row.rule, func(t *testing.T) {
			operation.Sends(t, post(cardID, code, row.body), "POST "+path+" "+row.sent, `{}`).RequireNotRepeated(t, code)
		})
	}
}

func TestAnAnswerThatIsNoObjectIsInvalid(t *testing.T) {
	operation.RejectsNonObjects(t, post(cardID, code, success))
}

// TestAnyObjectIsPassedOn: the document does not describe the answer.
func TestAnyObjectIsPassedOn(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
	}{
		{200, `{"card_id": "` + cardID + `"}`},
		{200, ``},
		{204, ``},
	} {
		endpoint, _ := signingtest.WeChatPay(t, row.status, row.body)
		o := operation.Invoke(t, post(cardID, code, success), endpoint)
		if o.Status != row.status || o.Body != row.body || o.Headers["X-WeChat-Request-Id"] != signingtest.RequestID {
			t.Errorf("%d %q %v, want %d %q", o.Status, o.Body, o.Headers, row.status, row.body)
		}
		o.RequireNotLogged(t, code)
	}
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	for _, row := range []struct{ rule, card, code, body, field, issue string }{
		{"card_id is required", "", code, success, "/path/card_id", "is required"},
		{"card_id of 33", strings.Repeat("p", 33), code, success, "/path/card_id", "1 to 32"},
		{"card_id with a slash", "p/q", code, success, "/path/card_id", "1 to 32"},
		{"code is required", cardID, "", success, "/path/code", "is required"},
		{"code of 33", cardID, strings.Repeat("1", 33), success, "/path/code", "1 to 32"},
		{"code with a slash", cardID, "123456/../789", success, "/path/code", "1 to 32"},
		{"code with a full stop", cardID, "1.2", success, "/path/code", "1 to 32"},
		{"code with an escape", cardID, "123456%2F789", success, "/path/code", "1 to 32"},
		{"code with a query", cardID, "123456?a=b", success, "/path/code", "1 to 32"},
		{"code in Chinese", cardID, "会员会员会员", success, "/path/code", "1 to 32"},

		{"user_card_confirm_state is required", cardID, code, `{}`, "/body/user_card_confirm_state", "is required"},
		{"an empty user_card_confirm_state", cardID, code, `{"user_card_confirm_state":""}`, "/body/user_card_confirm_state", "empty"},
		{"DEFAULT has no meaning", cardID, code, `{"user_card_confirm_state":"DEFAULT"}`, "/body/user_card_confirm_state", "CREATE_CARD_SUCCESS or CREATE_CARD_FAIL or CREATE_CARD_ALREADY_EXISTS"},
		{"another state", cardID, code, `{"user_card_confirm_state":"create_card_success"}`, "/body/user_card_confirm_state", "CREATE_CARD_SUCCESS"},
		{"user_card_confirm_state as a number", cardID, code, `{"user_card_confirm_state":1}`, "/body/user_card_confirm_state", "a string"},
		{"fail_reason of 129", cardID, code, fail(`"fail_reason":"` + strings.Repeat("因", 129) + `"`), "/body/fail_reason", "at most 128"},
		{"an empty fail_reason", cardID, code, fail(`"fail_reason":""`), "/body/fail_reason", "empty"},
		{"a reason for a success", cardID, code, `{"fail_reason":"张三 13800138000",` + success[1:], "/body/fail_reason", "CREATE_CARD_FAIL only"},
		{"a reason for a member already", cardID, code, `{"fail_reason":"张三 13800138000",` + exists[1:], "/body/fail_reason", "CREATE_CARD_FAIL only"},

		{"an unknown field", cardID, code, fail(`"reason":"x"`), "/body/reason", "not a field"},
		{"code in the body", cardID, code, fail(`"code":"` + code + `"`), "/body/code", "not a field"},
		{"a duplicate", cardID, code, fail(`"user_card_confirm_stat\u0065":"CREATE_CARD_SUCCESS"`), "/body/user_card_confirm_state", "twice"},
		{"null", cardID, code, fail(`"fail_reason":null`), "/body/fail_reason", "null"},
		{"trailing data", cardID, code, success + `{}`, "/body", "one JSON object"},
		{"an array", cardID, code, `[]`, "/body", "an object"},
		{"no body", cardID, code, ``, "/body", "empty"},
		{"over 16 KiB", cardID, code, success + strings.Repeat(" ", 16<<10), "/body", "16 KiB"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Refuses(t, post(row.card, row.code, row.body), row.field, row.issue)
			o.RequireNotLogged(t, code, "13800138000")
			if private := row.field == "/path/code" || row.field == "/body/fail_reason" && row.issue != "empty"; private && o.Error.Detail.Value != nil {
				t.Errorf("%s repeats the value", o.Body)
			}
		})
	}
}

func TestARefusalAfterAForgedAnswerIsDoubted(t *testing.T) {
	operation.DoubtsRefusals(t, post(cardID, code, success))
}

func TestWeChatsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, post(cardID, code, success), nil)
}

func TestWeChatsQuotesAreNotLogged(t *testing.T) {
	const reason = "张三 13800138000"
	operation.LogsNoQuotes(t, post(cardID, code, fail(`"fail_reason":"`+reason+`"`)), code, reason)
}

// FuzzRequest holds the decoder against the rules, written another way.
func FuzzRequest(f *testing.F) {
	f.Add(cardID, code, success)
	f.Add("p/../q", code, fail(`"fail_reason":"x"`))
	f.Add(cardID, "1.2", exists)
	f.Add(cardID, code, `{"fail_reason":"x",`+success[1:])
	f.Fuzz(func(t *testing.T, card, code, body string) {
		gatewaytest.SkipUnlessUTF8(t, card, code, body)
		if _, passed := operation.Validate(t, post(card, code, body), "/body", "/path/card_id", "/path/code"); !passed {
			return
		}
		var sent map[string]string
		if err := json.Unmarshal([]byte(body), &sent); err != nil || len(card) == 0 || len(card) > 32 || len(code) == 0 || len(code) > 32 {
			t.Fatalf("let pass: %q for %q %q", body, card, code)
		}
		state, reason := sent["user_card_confirm_state"], sent["fail_reason"]
		delete(sent, "user_card_confirm_state")
		delete(sent, "fail_reason")
		if len(sent) > 0 || !strings.HasPrefix(state, "CREATE_CARD_") || utf8.RuneCountInString(reason) > 128 || reason != "" && state != "CREATE_CARD_FAIL" {
			t.Fatalf("let pass: %q", body)
		}
	})
}
