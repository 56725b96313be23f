package apierror

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestFromErrcode(t *testing.T) {
	for _, row := range []struct {
		cause           string
		errcode, status int
		code            string
		again           bool   // says when to try again
		tells           string // in the solution
	}{
		{"busy", -1, 502, "WECHAT_-1", false, "try again"},
		{"the token is dead", 40001, 502, "WECHAT_40001", false, "try again"},
		{"the token is malformed", 40014, 502, "WECHAT_40014", false, "try again"},
		{"the token has expired", 42001, 502, "WECHAT_42001", false, "try again"},
		{"the appid is wrong", 40013, 500, "CONFIG_ERROR", false, ""},
		{"the secret is wrong", 40125, 500, "CONFIG_ERROR", false, ""},
		{"our IP is not allowed", 40164, 502, "WECHAT_40164", false, ""},
		{"the daily quota is used up", 45009, 429, "WECHAT_45009", true, "tomorrow"},
		{"too often", 45011, 429, "WECHAT_45011", true, "Retry-After"},
		{"too often, said otherwise", 45061, 429, "WECHAT_45061", true, "Retry-After"},
		{"no such card", 40053, 400, "WECHAT_40053", false, "card_id"},
		{"malformed data", 47001, 400, "WECHAT_47001", false, "documented fields"},
		{"no permission", 48001, 400, "WECHAT_48001", false, "PATCH /v3/marketing/membercard-open/cards/{card_id}"},
		{"any other", 40079, 400, "WECHAT_40079", false, ""},
		{"one of another length", 9300501, 400, "WECHAT_9300501", false, ""},
	} {
		t.Run(row.cause, func(t *testing.T) {
			const words = "WeChat's words rid: 5f0c2b8e"
			e := FromErrcode(row.errcode, words)
			if e.Status != row.status || e.Code != row.code || e.Errcode != row.errcode || !strings.Contains(e.Solution, row.tells) {
				t.Errorf("%+v, want %d %s", e, row.status, row.code)
			}
			if (e.RetryAfter >= time.Second) != row.again {
				t.Errorf("again after %v", e.RetryAfter)
			}
			if own := row.code == "CONFIG_ERROR" || row.errcode == 40164 || row.tells == "try again" && row.errcode > 0; (e.Message == words) == own || e.Message == "" {
				t.Errorf("the message is %q", e.Message)
			}
			if e.Cause == nil || !strings.Contains(e.Cause.Error(), strconv.Itoa(row.errcode)) || strings.Contains(e.Cause.Error(), words) || e.Cure == "" {
				t.Errorf("cause %v, cure %q: the operator needs the errcode and a cure, but not WeChat's words", e.Cause, e.Cure)
			}
			if own := e.WithoutErrmsg(); own.Status != row.status || own.Code != row.code || own.Message == "" || strings.Contains(own.Message, words) {
				t.Errorf("without errmsg: %+v", own)
			}
			told, err := json.Marshal(e)
			if err != nil || strings.Contains(string(told), "rrcode") || e.Cure != e.Solution && strings.Contains(string(told), e.Cure) {
				t.Errorf("the caller is told %s, %v", told, err)
			}
			if row.code == "CONFIG_ERROR" && strings.Contains(string(told), words) {
				t.Errorf("the caller is told of the secret: %s", told)
			}
		})
	}
}

// The message names the IP address in the form in which the allow-list takes it.
func TestTheMessageNamesTheIPToAllow(t *testing.T) {
	for _, row := range []struct{ errmsg, ip string }{
		{"invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist rid: 66e8b1a2-2f3c4d5e-6a7b8c9d", "203.0.113.7"},
		{"invalid ip 203.0.113.7, not in whitelist hint: [req_id]", "203.0.113.7"},
		{"invalid ip ::ffff:203.0.113.7, not in whitelist", "203.0.113.7"},
		{"invalid ip 2001:db8::7, not in whitelist", "2001:db8::7"},
		{"invalid ip 2001:db8::7%obLatjnx9gnqzS4myYGmLZ7LgLBA, not in whitelist", "2001:db8::7"},
		{"invalid ip, not in whitelist", ""},
		{"", ""},
	} {
		e := FromErrcode(40164, row.errmsg)
		if row.ip != "" && !strings.Contains(e.Message, " "+row.ip+" ") {
			t.Errorf("%q: %s, want %s", row.errmsg, e.Message, row.ip)
		}
		if strings.Contains(e.Message, "ffff") || strings.Contains(e.Message, "; add ") != (row.ip != "") || e.Status != 502 {
			t.Errorf("%q: %d %s", row.errmsg, e.Status, e.Message)
		}
	}
}
