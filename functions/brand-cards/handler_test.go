package main

import (
	"strings"
	"testing"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing/signingtest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = signingtest.Of(list)

const (
	path   = "/v3/brand/partner/card-member/user-cards"
	openid = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	good   = "brand_id=1004&openid=" + openid

	// cards is the document's example of an answer, with what a card must have.
	cards = `{
  "data" : [{
    "user_card_code" : "478515832665",
    "card_id" : "pbLatjvWOibDc5-TBnbUk1pD12o0",
    "openid" : "obLatjnx9gnqzS4myYGmLZ7LgLBA",
    "brand_id" : "1004",
    "card_type" : "PURCHASE",
    "phone_number" : "vvysDQeEaH3I+wRh14St0abIkvQyFgh/fbWY==",
    "valid_date_information" : {"type" : "PERMANENT"},
    "pickup_time" : "2020-05-20T13:29:35.120+08:00",
    "user_card_state" : "EFFECTIVE"
  }],
  "total_count" : 20,
  "offset" : 1,
  "limit" : 20
}`
)

// get is a request for a page.
func get(query string) gatewaytest.Event {
	event := gatewaytest.Request("GET "+path, "")
	event.RawQueryString = query
	return event
}

func TestTheQueryIsSent(t *testing.T) {
	for _, row := range []struct{ rule, query, sent string }{
		{"the document's example", good + "&user_card_state=UNACTIVATED&offset=1&limit=20", good + "&user_card_state=UNACTIVATED&offset=1&limit=20"},
		{"the required parameters", good, good + "&offset=0&limit=20"},
		{"a page", good + "&limit=5&offset=10", good + "&limit=5&offset=10"},
		{"openid of 128", "brand_id=1&openid=" + strings.Repeat("o", 128), "brand_id=1&openid=" + strings.Repeat("o", 128) + "&offset=0&limit=20"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Sends(t, get(row.query), "GET "+path+"?"+row.sent, cards)
			o.RequireNotLogged(t, openid)
		})
	}
	t.Run("no cards", func(t *testing.T) {
		operation.Sends(t, get(good), "GET "+path+"?"+good+"&offset=0&limit=20", `{"total_count":0,"offset":0,"limit":20}`)
	})
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	for _, row := range []struct{ rule, query, field, issue string }{
		{"no brand_id", "openid=o", "/query/brand_id", "is required"},
		{"brand_id of 33", "openid=o&brand_id=" + strings.Repeat("1", 33), "/query/brand_id", "at most 32"},
		{"no openid", "brand_id=1", "/query/openid", "is required"},
		{"openid of 129", "brand_id=1&openid=" + strings.Repeat("o", 129), "/query/openid", "at most 128"},
		{"a state of merchant cards", good + "&user_card_state=NOT_ACTIVATE", "/query/user_card_state", "must be"},
		{"a state in lower case", good + "&user_card_state=effective", "/query/user_card_state", "must be"},
		{"two states", good + "&user_card_state=EFFECTIVE&user_card_state=INVALID", "/query/user_card_state", "twice"},
		{"an empty state", good + "&user_card_state=", "/query/user_card_state", "empty"},
		{"offset below 0", good + "&offset=-1", "/query/offset", "whole number"},
		{"limit of 21", good + "&limit=21", "/query/limit", "whole number"},
		{"card_id", good + "&card_id=p", "/query/card_id", "not a parameter"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Refuses(t, get(row.query), row.field, row.issue)
			o.RequireNotRepeated(t, openid)
			if o.Error.Detail.Value != nil {
				t.Errorf("%s repeats the value", o.Body)
			}
		})
	}
}

func TestAnAnswerThatIsNoListIsInvalid(t *testing.T) {
	operation.RejectsAnswers(t, get(good), signingtest.Answers{{"the cards alone", `[{}]`}, {"cut off", cards[:len(cards)-1]}})
}

func TestWeChatsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, get(good), nil)
}

func TestWeChatsQuotesAreNotLogged(t *testing.T) {
	operation.LogsNoQuotes(t, get(good), openid)
}
