package main

import (
	"strings"
	"testing"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing/signingtest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = signingtest.Of(decrypt)

// get is a request for a card with a query.
func get(card, query string) gatewaytest.Event {
	event := gatewaytest.Request("GET /v3/marketing/membercard-open/cards/{card_id}/decrypt-code", "", card)
	event.RawQueryString = query
	return event
}

const (
	cardID    = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	path      = "/v3/marketing/membercard-open/cards/" + cardID + "/decrypt-code"
	encrypted = "XXIzTtMqCxwOaawoE91+VJdsFmv7b8g0VZIZkqf4GWA60Fzpc8ksZ/5ZZ0DVkXdE=="
	answer    = `{"code": "478515832665201811291234"}`
)

func TestTheQueryIsSentByteForByte(t *testing.T) {
	for _, row := range []struct{ rule, value string }{
		{"as it is, with + and /", encrypted},
		{"percent-encoded", "XXIzTtMqCxwOaawoE91%2BVJdsFmv7b8g0%2F5ZZ0DVkXdE%3D%3D"},
		{"percent-encoded in lower case", "XXIzTtMq%2bVJds%2f5ZZ0DVkXdE%3d"},
		{"encoded in part", "XXIzTtMq+VJds%2F5ZZ0DVkXdE="},
		{"encoded twice", "XXIzTtMq%252BVJds"},
		{"an escaped letter", "XXIzTtMq%41"},
		{"what is no escape", "XXIzTtMq%zz%"},
		{"base64 for URLs", "XXIzTtMq-VJds_5ZZ0"},
		{"encrypt_code in the value", "encrypt_code=XXIzTtMq"},
		{"one byte", "="},
		{"384 bytes", strings.Repeat("%2B", 128)},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Sends(t, get(cardID, "encrypt_code="+row.value), "GET "+path+"?encrypt_code="+row.value, answer)
			if len(row.value) > 1 {
				o.RequireNotLogged(t, row.value)
			}
		})
	}
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	const good = "encrypt_code=" + encrypted
	for _, row := range []struct{ rule, card, query, field, issue string }{
		{"card_id is required", "", good, "/path/card_id", "is required"},
		{"card_id of 33", strings.Repeat("p", 33), good, "/path/card_id", "1 to 32"},
		{"card_id with a slash", "p/q", good, "/path/card_id", "1 to 32"},
		{"card_id with a query", "p?a=b", good, "/path/card_id", "1 to 32"},

		{"no query", cardID, "", "/query/encrypt_code", "is required"},
		{"no value", cardID, "encrypt_code=", "/query/encrypt_code", "is required"},
		{"a name alone", cardID, "encrypt_code", "/query/encrypt_code", "is required"},
		{"another name", cardID, "code=" + encrypted, "/query/encrypt_code", "is required"},
		{"a name in another case", cardID, "Encrypt_Code=" + encrypted, "/query/encrypt_code", "is required"},
		{"an escaped name", cardID, "encrypt%5Fcode=" + encrypted, "/query/encrypt_code", "is required"},
		{"another parameter before", cardID, "a=b&" + good, "/query/encrypt_code", "only parameter"},
		{"another parameter behind", cardID, good + "&a=b", "/query/encrypt_code", "only parameter"},
		{"encrypt_code twice", cardID, good + "&" + good, "/query/encrypt_code", "only parameter"},
		{"an ampersand behind", cardID, good + "&", "/query/encrypt_code", "only parameter"},
		{"another parameter behind a semicolon", cardID, good + ";a=b", "/query/encrypt_code", "1 to 384"},
		{"an escape of another character", cardID, good + "%26a", "/query/encrypt_code", "decoded"},
		{"an escape of a byte that is no character", cardID, good + "%ff%zz", "/query/encrypt_code", "decoded"},
		{"385 bytes", cardID, "encrypt_code=" + strings.Repeat("a", 385), "/query/encrypt_code", "1 to 384"},
		{"a blank", cardID, "encrypt_code=XXIzTt MqCx", "/query/encrypt_code", "1 to 384"},
		{"a fragment", cardID, good + "#a", "/query/encrypt_code", "1 to 384"},
		{"a question mark", cardID, good + "?a", "/query/encrypt_code", "1 to 384"},
		{"a newline", cardID, good + "\n", "/query/encrypt_code", "1 to 384"},
		{"a quotation mark", cardID, good + `"`, "/query/encrypt_code", "1 to 384"},
		{"Chinese", cardID, "encrypt_code=会员会员会员", "/query/encrypt_code", "1 to 384"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Refuses(t, get(row.card, row.query), row.field, row.issue)
			o.RequireNotRepeated(t, encrypted)
			if row.field == "/query/encrypt_code" && o.Error.Detail.Value != nil {
				t.Errorf("%s repeats the value", o.Body)
			}
		})
	}
}

func TestAnAnswerWithoutACodeIsInvalid(t *testing.T) {
	operation.RejectsAnswers(t, get(cardID, "encrypt_code="+encrypted), signingtest.WithoutText("code", signingtest.Answers{
		{"a code of another name", `{"Code":"478515832665"}`},
	}...))
}

func TestWeChatsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, get(cardID, "encrypt_code="+encrypted), nil)
}

func TestWeChatsQuotesAreNotLogged(t *testing.T) {
	operation.LogsNoQuotes(t, get(cardID, "encrypt_code="+encrypted), encrypted)
}

// FuzzRequest holds the query against the rules, written another way.
func FuzzRequest(f *testing.F) {
	f.Add(cardID, "encrypt_code="+encrypted)
	f.Add(cardID, "encrypt_code=a&a=b")
	f.Add("p/../q", "encrypt_code=%zz")
	f.Add(cardID, "")
	f.Fuzz(func(t *testing.T, card, query string) {
		gatewaytest.SkipUnlessUTF8(t, card, query)
		if _, passed := operation.Validate(t, get(card, query), "/query/encrypt_code", "/path/card_id"); !passed {
			return
		}
		const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_%"
		if len(query) < len("encrypt_code=a") || len(query) > len("encrypt_code=")+384 || strings.Trim(query, characters) != "" || len(card) == 0 || len(card) > 32 {
			t.Fatalf("let pass: %q for %q", query, card)
		}
	})
}
