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
	cardID = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	path   = "/v3/marketing/membercard-open/cards/"
	code   = "478515832665"

	// card is the document's example of an answer.
	card = `{
  "card_id" : "pbLatjvWOibDc5-TBnbUk1pD12o0",
  "code" : "478515832665",
  "openid" : "obLatjnx9gnqzS4myYGmLZ7LgLBA",
  "membership_number" : "316510891298",
  "level" : "钻石会员",
  "nickname" : "周星星",
  "head_image_url" : "http://wx.qlogo.cn/xxx",
  "balance" : 888,
  "user_card_status" : "EFFECTIVE",
  "user_information" : {"common_field_list" : [{"name" : "USER_FORM_FLAG_CITY", "value" : "深圳市南山区"}]},
  "bonus_value" : 600
}`
)

// get is a request for a card.
func get(cardID, code string) gatewaytest.Event {
	return gatewaytest.Request("GET "+path+"{card_id}/codes/{code}", "", cardID, code)
}

func TestTheCardIsAskedFor(t *testing.T) {
	for _, row := range []struct{ rule, cardID, code string }{
		{"the document's example", cardID, code},
		{"a code of 32", cardID, strings.Repeat("c", 32)},
		{"a card_id of 32", strings.Repeat("p", 32), "VIP-0001_a"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Sends(t, get(row.cardID, row.code), "GET "+path+row.cardID+"/codes/"+row.code, card)
			o.RequireNotLogged(t, row.code, "周星星")
		})
	}
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	for _, row := range []struct{ rule, cardID, code, query, field, issue string }{
		{"card_id is required", "", code, "", "/path/card_id", "is required"},
		{"card_id of 33", strings.Repeat("p", 33), code, "", "/path/card_id", "1 to 32"},
		{"card_id with a slash", "p/q", code, "", "/path/card_id", "1 to 32"},
		{"code is required", cardID, "", "", "/path/code", "is required"},
		{"code of 33", cardID, strings.Repeat("c", 33), "", "/path/code", "1 to 32"},
		{"code with an escape", cardID, "a%2Fb", "", "/path/code", "1 to 32"},
		{"a query", cardID, code, "openid=obLatjnx9gnqzS4myYGmLZ7LgLBA", "/query/openid", "not a parameter"},
		{"a name alone", cardID, code, "openid", "/query/openid", "not a parameter"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			event := get(row.cardID, row.code)
			event.RawQueryString = row.query
			o := operation.Refuses(t, event, row.field, row.issue)
			o.RequireNotRepeated(t, code, "obLatjnx9gnqzS4myYGmLZ7LgLBA")
		})
	}
}

func TestAnAnswerThatIsNoCardIsInvalid(t *testing.T) {
	operation.RejectsAnswers(t, get(cardID, code), signingtest.Answers{{"the card in an array", `[` + card + `]`}, {"cut off", card[:len(card)-1]}})
}

func TestWeChatsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, get(cardID, code), nil)
}

func TestWeChatsQuotesAreNotLogged(t *testing.T) {
	operation.LogsNoQuotes(t, get(cardID, code), code)
}
