package main

import (
	"strings"
	"testing"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing/signingtest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = signingtest.Of(information)

// get is a request with a ticket, which API Gateway has decoded.
func get(ticket string) gatewaytest.Event {
	return gatewaytest.Request("GET /v3/marketing/membercard-open/activate-informations/{activate_ticket+}", "", ticket)
}

const (
	path   = "/v3/marketing/membercard-open/activate-informations/"
	ticket = "abDS/Qpo+m7s3Rzb=="
	sent   = "abDS%2FQpo%2Bm7s3Rzb%3D%3D"

	// filledIn is an answer as documented.
	filledIn = `{"nickname": "张三", "head_image_url": "https://wx.qlogo.cn/mmhead/x/0",
		"user_information": {"common_field_list": [{"name": "USER_FORM_INFO_FLAG_MOBILE", "value": "13800138000"}],
			"custom_field_list": [{"name": "爱好", "value": "", "value_list": ["读书"]}]}}`
)

func TestTheTicketIsOneSegment(t *testing.T) {
	for _, row := range []struct{ rule, ticket, sent string }{
		{"base64", ticket, sent},
		{"base64 for URLs", "abDS_Qpo-m7s3Rzb", "abDS_Qpo-m7s3Rzb"},
		{"a slash before", "/abDSQpo", "%2FabDSQpo"},
		{"a slash behind", "abDSQpo/", "abDSQpo%2F"},
		{"two slashes", "abDS//Qpo", "abDS%2F%2FQpo"},
		{"slashes alone", "//", "%2F%2F"},
		{"one character", "a", "a"},
		{"256 characters", strings.Repeat("a/", 128), strings.Repeat("a%2F", 128)},
		{"one that is still encoded", sent, sent},
		{"256 characters that are still encoded", strings.Repeat("%2B", 256), strings.Repeat("%2B", 256)},
		{"an escape in lower case", "abDS%2fQpo%3d", "abDS%2FQpo%3D"},
		{"an escaped letter", "abDS%51po", "abDSQpo"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Sends(t, get(row.ticket), "GET "+path+row.sent, filledIn)
			o.RequireNotLogged(t, "张三", "13800138000", "读书")
			if len(row.ticket) > 2 {
				o.RequireNotLogged(t, row.ticket, row.sent)
			}
		})
	}
	t.Run("slashes that the parameter lost", func(t *testing.T) {
		event := get("//abDS//Qpo/")
		event.PathParameters["activate_ticket"] = "abDS/Qpo"
		operation.Sends(t, event, "GET "+path+"%2F%2FabDS%2F%2FQpo%2F", filledIn)
	})
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	for _, row := range []struct{ rule, ticket, issue string }{
		{"no ticket", "", "is required"},
		{"257 characters", strings.Repeat("a", 257), "1 to 256"},
		{"257 characters that are still encoded", strings.Repeat("%2B", 257), "1 to 256"},
		{"encoded three times", "abDS%252FQpo", "1 to 256"},
		{"a broken escape", "abDSQpo%2", "1 to 256"},
		{"an escape that is none", "abDSQpo%zz", "1 to 256"},
		{"an escaped query", "abDSQpo%3Fa", "1 to 256"},
		{"a query", "abDSQpo?a=b", "1 to 256"},
		{"a full stop", "../abDSQpo", "1 to 256"},
		{"an escaped full stop", "%2E%2E/abDSQpo", "1 to 256"},
		{"a fragment", "abDSQpo#", "1 to 256"},
		{"a blank", "abDS Qpo", "1 to 256"},
		{"a newline at the end", "abDSQpo\n", "1 to 256"},
		{"an escaped NUL", "abDSQpo%00", "1 to 256"},
		{"Chinese", "会员会员会员", "1 to 256"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Refuses(t, get(row.ticket), "/path/activate_ticket", row.issue)
			if row.ticket != "" {
				o.RequireNotRepeated(t, row.ticket)
			}
		})
	}
}

func TestAnAnswerThatIsNoObjectIsInvalid(t *testing.T) {
	operation.RejectsAnswers(t, get(ticket), signingtest.Answers{
		{"the object in an array", `[` + filledIn + `]`},
		{"a string", `"张三"`},
		{"cut off", filledIn[:len(filledIn)-1]},
		{"invalid UTF-8", "{\"nickname\":\"\xff\"}"},
	})
}

func TestA204IsInvalid(t *testing.T) {
	endpoint, _ := signingtest.WeChatPay(t, 204, "")
	if o := operation.Invoke(t, get(ticket), endpoint); o.Status != 502 || o.Error.Code != "INVALID_RESPONSE" {
		t.Errorf("%d %s, want INVALID_RESPONSE", o.Status, o.Body)
	}
}

func TestWeChatsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, get(ticket), nil)
}

func TestWeChatsQuotesAreNotLogged(t *testing.T) {
	operation.LogsNoQuotes(t, get(ticket), ticket, sent)
}

// FuzzRequest holds the ticket against the rules, written another way.
func FuzzRequest(f *testing.F) {
	f.Add(ticket)
	f.Add(sent)
	f.Add("/a//b/")
	f.Add("a%252F")
	f.Add("../a")
	f.Fuzz(func(t *testing.T, ticket string) {
		gatewaytest.SkipUnlessUTF8(t, ticket)
		if _, passed := operation.Validate(t, get(ticket), "/path/activate_ticket"); !passed {
			return
		}
		if len(ticket) == 0 || len(ticket) > 3*256 || strings.Trim(ticket, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_%") != "" {
			t.Fatalf("let pass: %q", ticket)
		}
	})
}
