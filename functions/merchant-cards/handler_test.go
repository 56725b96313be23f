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
	path   = "/v3/marketing/membercard-open/user/cards"
	openid = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	good   = "openid=" + openid

	// cards is the document's example of an answer.
	cards = `{
  "data" : [{"card_id" : "pbLatjvWOibDc5-TBnbUk1pD12o0", "code" : "478515832665"}],
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
		{"the document's example", good + "&appid=wxea9c30890f48d5ae&offset=1&limit=20", good + "&appid=wxea9c30890f48d5ae&offset=1&limit=20"},
		{"the required parameter", good, good + "&offset=0&limit=20"},
		{"appid of 32", "openid=o&appid=" + strings.Repeat("w", 32), "openid=o&appid=" + strings.Repeat("w", 32) + "&offset=0&limit=20"},
		{"openid of 128", "openid=" + strings.Repeat("o", 128), "openid=" + strings.Repeat("o", 128) + "&offset=0&limit=20"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Sends(t, get(row.query), "GET "+path+"?"+row.sent, cards)
			o.RequireNotLogged(t, openid)
		})
	}
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	for _, row := range []struct{ rule, query, field, issue string }{
		{"no openid", "", "/query/openid", "is required"},
		{"openid of 129", "openid=" + strings.Repeat("o", 129), "/query/openid", "at most 128"},
		{"appid of 33", good + "&appid=" + strings.Repeat("w", 33), "/query/appid", "at most 32"},
		{"an empty appid", good + "&appid=", "/query/appid", "empty"},
		{"offset with a leading zero", good + "&offset=00", "/query/offset", "whole number"},
		{"limit of 0", good + "&limit=0", "/query/limit", "whole number"},
		{"limit twice", good + "&limit=1&limit=1", "/query/limit", "twice"},
		{"brand_id", good + "&brand_id=1004", "/query/brand_id", "not a parameter"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Refuses(t, get(row.query), row.field, row.issue)
			o.RequireNotRepeated(t, openid)
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
