package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation officialaccounttest.Operation = decrypt

func post(body string) gatewaytest.Event {
	return gatewaytest.Request("POST /card/code/decrypt", body)
}

// with is the body with an encrypt_code.
func with(encrypted string) string { return `{"encrypt_code":"` + encrypted + `"}` }

const (
	encrypted = "XXIzTtMqCxwOaawoE91+VJdsFmv7b8g0VZIZkqf4GWA60Fzpc8ksZ/5ZZ0DVkXdE"
	answer    = `{"errcode":0,"errmsg":"ok","code":"751234212312"}`
)

func TestWeChatGetsTheDocumentedBody(t *testing.T) {
	for _, row := range []struct{ rule, body, sent string }{
		{"the document's example", `{ "encrypt_code": "` + encrypted + `" }`, with(encrypted)},
		{"256 characters", with(strings.Repeat("a", 256)), with(strings.Repeat("a", 256))},
		{"characters that JSON can spell in two ways", with(`a\u002b\u003c&\/b`), with(`a+<&/b`)},
	} {
		t.Run(row.rule, func(t *testing.T) {
			if sent := operation.Sends(t, post(row.body), "/card/code/decrypt", answer); sent != row.sent {
				t.Errorf("WeChat got %s, want %s", sent, row.sent)
			}
		})
	}
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	for _, row := range []struct{ rule, body, field, issue string }{
		{"encrypt_code is required", `{}`, "/body/encrypt_code", "is required"},
		{"an empty encrypt_code", with(""), "/body/encrypt_code", "empty"},
		{"257 characters", with(strings.Repeat("a", 257)), "/body/encrypt_code", "at most 256"},
		{"encrypt_code null", `{"encrypt_code":null}`, "/body/encrypt_code", "null"},
		{"encrypt_code as a number", `{"encrypt_code":1}`, "/body/encrypt_code", "a string"},
		{"an unknown field", `{"code":"1",` + with(encrypted)[1:], "/body/code", "not a field"},
		{"a duplicate", `{"encrypt_cod\u0065":"x",` + with(encrypted)[1:], "/body/encrypt_code", "twice"},
		{"trailing data", with(encrypted) + "x", "/body", "one JSON object"},
		{"an array", "[" + with(encrypted) + "]", "/body", "an object"},
		{"no body", "", "/body", "empty"},
		{"over 16 KiB", with(encrypted) + strings.Repeat(" ", 16<<10), "/body", "16 KiB"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Refuses(t, post(row.body), row.field, row.issue)
			o.RequireNotRepeated(t, encrypted, strings.Repeat("a", 60))
		})
	}
}

func TestTheCodeIsNotLogged(t *testing.T) {
	w := officialaccounttest.Start(t, func(officialaccounttest.Call) string { return answer })
	operation.Invoke(t, post(with(encrypted)), w.URL).RequireNotLogged(t, "751234212312", encrypted)
}

func TestWeChatsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, post(with(encrypted)), officialaccounttest.Errors{
		{"a wrong code", `{"errcode":40056,"errmsg":"invalid serial code"}`, 400, "WECHAT_40056", ""},
		{"no code", `{"errcode":0,"errmsg":"ok"}`, 502, "INVALID_RESPONSE", ""},
		{"an empty code", `{"errcode":0,"errmsg":"ok","code":""}`, 502, "INVALID_RESPONSE", ""},
		{"code null", `{"errcode":0,"errmsg":"ok","code":null}`, 502, "INVALID_RESPONSE", ""},
		{"code as a number", `{"errcode":0,"errmsg":"ok","code":751234212312}`, 502, "INVALID_RESPONSE", ""},
	})
}

// TestNoErrorRepeatsTheCode: WeChat's errmsg may.
func TestNoErrorRepeatsTheCode(t *testing.T) {
	for _, row := range []struct {
		errcode, status int
		code            string
	}{
		{40056, 400, "WECHAT_40056"},
		{-1, 502, "WECHAT_-1"}, // the record names the failed attempts, too
	} {
		t.Run(row.code, func(t *testing.T) {
			w := officialaccounttest.Start(t, func(officialaccounttest.Call) string {
				return fmt.Sprintf(`{"errcode":%d,"errmsg":"not decrypted: %s"}`, row.errcode, encrypted)
			})
			o := operation.Invoke(t, post(with(encrypted)), w.URL)
			if o.Status != row.status || o.Error.Code != row.code {
				t.Errorf("%d %s", o.Status, o.Body)
			}
			o.RequireNotRepeated(t, encrypted)
		})
	}
}

// FuzzRequest holds the decoder against the rules, written another way.
func FuzzRequest(f *testing.F) {
	f.Add(with(encrypted))
	f.Add(with(""))
	f.Add(`{"encrypt_code":"a","encrypt_code":"b"}`)
	f.Fuzz(func(t *testing.T, body string) {
		gatewaytest.SkipUnlessUTF8(t, body)
		if _, passed := operation.Validate(t, post(body)); !passed {
			return
		}
		var sent map[string]string
		if err := json.Unmarshal([]byte(body), &sent); err != nil || len(sent) != 1 || sent["encrypt_code"] == "" || utf8.RuneCountInString(sent["encrypt_code"]) > 256 {
			t.Fatalf("let pass: %q", body)
		}
	})
}
