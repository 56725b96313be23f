package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = officialaccounttest.Of(decrypt)

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
		{"characters that JSON can spell in two ways", with(`a\u002b\u002F\/b`), with(`a+//b`)},
		{"still percent-encoded", with("XXIzTtMqCxwOaawoE91%2BVJdsFmv7b8g0VZIZkqf4GWA60Fzpc8ksZ%2f5ZZ0DVkXdE"), with(encrypted)},
		{"encoded in part, with a + of its own", with("a+b%3D="), with("a+b==")},
		{"256 characters, each encoded", with(strings.Repeat("%61", 256)), with(strings.Repeat("a", 256))},
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
		{"257 characters", with(strings.Repeat("a", 257)), "/body/encrypt_code", "1 to 256"},
		{"257 characters, encoded", with(strings.Repeat("%61", 257)), "/body/encrypt_code", "1 to 256"},
		{"encoded twice", with("XXIzTtMqCxwO%252BVJdsFmv7b8g0"), "/body/encrypt_code", "1 to 256"},
		{"a % that encodes nothing", with("XXIzTtMqCxwO%VJ"), "/body/encrypt_code", "1 to 256"},
		{"a blank that was a +", with("XXIzTtMqCxwO VJ"), "/body/encrypt_code", "1 to 256"},
		{"a line feed, encoded", with("XXIzTtMqCxwO%0A"), "/body/encrypt_code", "1 to 256"},
		{"a Chinese character", with("卡"), "/body/encrypt_code", "1 to 256"},
		{"a raw control character", with("XXIz\x14TtMq"), "/body", "one JSON object"},
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

func TestAnswersWithACode(t *testing.T) {
	for _, code := range []string{"7", "751234212312", strings.Repeat("~", 64), "A!#z-_"} {
		operation.Sends(t, post(with(encrypted)), "/card/code/decrypt", `{"errcode":0,"errmsg":"ok","code":"`+code+`"}`)
	}
}

func TestTheCodeIsNotLogged(t *testing.T) {
	w := officialaccounttest.Start(t, func(officialaccounttest.Call) string { return answer })
	operation.Invoke(t, post(with(encrypted)), w.URL).RequireNotLogged(t, "751234212312", encrypted)
}

func TestWeChatsErrors(t *testing.T) {
	t.Parallel()
	operation.PassesErrorsOn(t, post(with(encrypted)), officialaccounttest.Errors{
		{"a wrong code", `{"errcode":40056,"errmsg":"invalid serial code"}`, 400, "WECHAT_40056", ""},
		{"no code", `{"errcode":0,"errmsg":"ok"}`, 502, "INVALID_RESPONSE", ""},
		{"an empty code", `{"errcode":0,"errmsg":"ok","code":""}`, 502, "INVALID_RESPONSE", ""},
		{"code null", `{"errcode":0,"errmsg":"ok","code":null}`, 502, "INVALID_RESPONSE", ""},
		{"code as a number", `{"errcode":0,"errmsg":"ok","code":751234212312}`, 502, "INVALID_RESPONSE", ""},
		{"a code with broken bytes", "{\"errcode\":0,\"errmsg\":\"ok\",\"code\":\"75\xff12\"}", 502, "INVALID_RESPONSE", ""},
		{"a code with a control character", "{\"errcode\":0,\"errmsg\":\"ok\",\"code\":\"75\x1412\"}", 502, "INVALID_RESPONSE", ""},
		{"a code with a blank", `{"errcode":0,"errmsg":"ok","code":"75 12"}`, 502, "INVALID_RESPONSE", ""},
		{"a code in Chinese", `{"errcode":0,"errmsg":"ok","code":"锟斤拷"}`, 502, "INVALID_RESPONSE", ""},
		{"a code of 65", `{"errcode":0,"errmsg":"ok","code":"` + strings.Repeat("7", 65) + `"}`, 502, "INVALID_RESPONSE", ""},
	})
}

func TestWeChatsQuotesAreNotLogged(t *testing.T) {
	operation.LogsNoQuotes(t, post(with(encrypted)), encrypted)
}

// encryptCode is the pattern of openapi.yaml.
var encryptCode = regexp.MustCompile("^(?:[A-Za-z0-9+/=_-]|%(?:2[BbDdFf]|3[0-9Dd]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9Aa])){1,256}$")

// FuzzRequest holds the decoder against the rules, written another way.
func FuzzRequest(f *testing.F) {
	f.Add(with(encrypted))
	f.Add(with("a%2B"))
	f.Add(with(""))
	f.Add(`{"encrypt_code":"a","encrypt_code":"b"}`)
	f.Fuzz(func(t *testing.T, body string) {
		gatewaytest.SkipUnlessUTF8(t, body)
		if _, passed := operation.Validate(t, post(body), "/body"); !passed {
			return
		}
		var sent map[string]string
		if err := json.Unmarshal([]byte(body), &sent); err != nil || len(sent) != 1 || !encryptCode.MatchString(sent["encrypt_code"]) {
			t.Fatalf("let pass: %q", body)
		}
	})
}
