package main

import (
	"strings"
	"testing"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing/signingtest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = signingtest.Of(query)

const (
	path   = "/v3/brand/partner/card-member/user-cards/"
	code   = "478515832665"
	openid = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	good   = "brand_id=1004&card_id=pbLatjvWOibDc5-TBnbUk1pD12o0&openid=" + openid

	// card is the document's example of an answer.
	card = `{
  "user_card_code" : "478515832665",
  "card_id" : "pbLatjvWOibDc5-TBnbUk1pD12o0",
  "openid" : "obLatjnx9gnqzS4myYGmLZ7LgLBA",
  "card_color" : "#FFFF00",
  "card_picture_url" : "https://wxpaylogo.qpic.cn/wxpaylogo/xxxxx/0",
  "brand_id" : "1004",
  "card_type" : "PURCHASE",
  "phone_number" : "vvysDQeEaH3I+wRh14St0abIkvQyFgh/fbWY==",
  "level" : "钻石会员",
  "valid_date_information" : {"type" : "FIX_TIME_RANGE", "available_begin_time" : "2020-05-20T13:29:35.120+08:00", "available_end_time" : "2030-05-20T13:29:35.120+08:00"},
  "pickup_time" : "2020-05-20T13:29:35.120+08:00",
  "user_information" : {"common_field_list" : [{"name" : "USER_FORM_FLAG_SEX", "value" : "vvysDQeEaH3I+wRh14St0abIkvQyFgh/fbWY=="}]},
  "attach" : "自定义数据说明",
  "user_card_state" : "UNACTIVATED"
}`
)

// get is a request for a card.
func get(code, query string) gatewaytest.Event {
	event := gatewaytest.Request("GET "+path+"{user_card_code}", "", code)
	event.RawQueryString = query
	return event
}

func TestTheQueryIsSent(t *testing.T) {
	for _, row := range []struct{ rule, code, query, sent string }{
		{"the document's example", code, good, good},
		{"in another order", code, "openid=o&card_id=p&brand_id=1", "brand_id=1&card_id=p&openid=o"},
		{"brand_id of 32", code, "brand_id=" + strings.Repeat("1", 32) + "&card_id=p&openid=o", "brand_id=" + strings.Repeat("1", 32) + "&card_id=p&openid=o"},
		{"openid of 128", code, "brand_id=1&card_id=p&openid=" + strings.Repeat("o", 128), "brand_id=1&card_id=p&openid=" + strings.Repeat("o", 128)},
		{"openid encoded", code, "brand_id=1&card_id=p&openid=%E5%8D%A1+%2B", "brand_id=1&card_id=p&openid=%E5%8D%A1%20%2B"},
		{"a code of 32", strings.Repeat("c", 32), good, good},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Sends(t, get(row.code, row.query), "GET "+path+row.code+"?"+row.sent, card)
			o.RequireNotLogged(t, openid, row.code)
		})
	}
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	for _, row := range []struct{ rule, code, query, field, issue string }{
		{"no query", code, "", "/query/brand_id", "is required"},
		{"no brand_id", code, "card_id=p&openid=o", "/query/brand_id", "is required"},
		{"no card_id", code, "brand_id=1&openid=o", "/query/card_id", "is required"},
		{"no openid", code, "brand_id=1&card_id=p", "/query/openid", "is required"},
		{"brand_id of 33", code, "brand_id=" + strings.Repeat("1", 33) + "&card_id=p&openid=o", "/query/brand_id", "at most 32"},
		{"card_id of 33", code, "brand_id=1&openid=o&card_id=" + strings.Repeat("p", 33), "/query/card_id", "1 to 32"},
		{"card_id with a blank", code, "brand_id=1&openid=o&card_id=p+q", "/query/card_id", "1 to 32"},
		{"openid of 129", code, "brand_id=1&card_id=p&openid=" + strings.Repeat("o", 129), "/query/openid", "at most 128"},
		{"openid twice", code, good + "&openid=" + openid, "/query/openid", "twice"},
		{"another name", code, good + "&user_card_code=" + code, "/query/user_card_code", "not a parameter"},
		{"user_card_code is required", "", good, "/path/user_card_code", "is required"},
		{"user_card_code of 33", strings.Repeat("c", 33), good, "/path/user_card_code", "1 to 32"},
		{"user_card_code with a slash", "a/b", good, "/path/user_card_code", "1 to 32"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Refuses(t, get(row.code, row.query), row.field, row.issue)
			o.RequireNotRepeated(t, openid, code)
		})
	}
}

func TestAnAnswerThatIsNoCardIsInvalid(t *testing.T) {
	operation.RejectsAnswers(t, get(code, good), signingtest.Answers{{"the card in an array", `[` + card + `]`}, {"cut off", card[:len(card)-1]}})
}

func TestWeChatsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, get(code, good), nil)
}

func TestWeChatsQuotesAreNotLogged(t *testing.T) {
	operation.LogsNoQuotes(t, get(code, good), openid, code)
}
