package main

import (
	"encoding/json"
	"strings"
	"testing"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing/signingtest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = signingtest.Of(activate)

// post is a request for a user's card.
func post(card, code, body string) gatewaytest.Event {
	return gatewaytest.Request("POST /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/activate", body, card, code)
}

const (
	cardID = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	code   = "478515832665201811291234"
	path   = "/v3/marketing/membercard-open/cards/" + cardID + "/codes/" + code + "/activate"
	number = "VIP-2026/000123"
)

func numbered(number string) string { return `{"membership_number":"` + number + `"}` }

func TestWeChats204IsOurs(t *testing.T) {
	for _, row := range []struct{ rule, body, sent string }{
		{"a membership number", `{ "membership_number": "` + number + `" }`, numbered(number)},
		{"32 characters", numbered(strings.Repeat("9", 32)), numbered(strings.Repeat("9", 32))},
		{"half-width punctuation", numbered(`!#$%&'()*+,-./:;<=>?@[]^_{|}~`), numbered(`!#$%&'()*+,-./:;<=>?@[]^_{|}~`)},
		{"no number", `{}`, `{}`},
		{"no body", ``, `{}`},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Sends(t, post(cardID, code, row.body), "POST "+path+" "+row.sent, "")
			o.RequireNotLogged(t, code, number)
		})
	}
	t.Run("in base64", func(t *testing.T) { operation.Accepts(t, gatewaytest.InBase64(post(cardID, code, numbered(number)))) })
	t.Run("no body, in base64", func(t *testing.T) { operation.Accepts(t, gatewaytest.InBase64(post(cardID, code, ""))) })
}

func TestA200IsPassedOnToo(t *testing.T) {
	operation.Sends(t, post(cardID, code, ""), "POST "+path+" {}", `{"card_id":"pbLatjvWOibDc5"}`)
}

func TestAnAnswerThatIsNoObjectIsInvalid(t *testing.T) {
	operation.RejectsNonObjects(t, post(cardID, code, ""))
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	for _, row := range []struct{ rule, card, code, body, field, issue string }{
		{"card_id is required", "", code, "", "/path/card_id", "is required"},
		{"card_id of 33", strings.Repeat("p", 33), code, "", "/path/card_id", "1 to 32"},
		{"card_id with a slash", "p/q", code, "", "/path/card_id", "1 to 32"},
		{"code is required", cardID, "", "", "/path/code", "is required"},
		{"code of 33", cardID, strings.Repeat("1", 33), "", "/path/code", "1 to 32"},
		{"code with a slash", cardID, "123456/789", "", "/path/code", "1 to 32"},
		{"code with an escape", cardID, "123456%2F789", "", "/path/code", "1 to 32"},
		{"code with a blank", cardID, "1 2", "", "/path/code", "1 to 32"},

		{"membership_number of 33", cardID, code, numbered(strings.Repeat("9", 33)), "/body/membership_number", "at most 32"},
		{"membership_number with a blank", cardID, code, numbered("1 2"), "/body/membership_number", "without blanks"},
		{"membership_number in Chinese", cardID, code, numbered("会员会员会员"), "/body/membership_number", "half-width"},
		{"membership_number with full-width punctuation", cardID, code, numbered("123456，"), "/body/membership_number", "half-width"},
		{"an empty membership_number", cardID, code, numbered(""), "/body/membership_number", "empty"},
		{"membership_number null", cardID, code, `{"membership_number":null}`, "/body/membership_number", "null"},
		{"membership_number as a number", cardID, code, `{"membership_number":123456}`, "/body/membership_number", "a string"},

		{"an unknown field", cardID, code, `{"init_bonus":100}`, "/body/init_bonus", "not a field"},
		{"a duplicate", cardID, code, `{"membership_number":"1","membership_n\u0075mber":"2"}`, "/body/membership_number", "twice"},
		{"trailing data", cardID, code, `{}{}`, "/body", "one JSON object"},
		{"an array", cardID, code, `[]`, "/body", "an object"},
		{"null", cardID, code, `null`, "/body", "null"},
		{"a blank body", cardID, code, ` `, "/body", "empty"},
		{"over 16 KiB", cardID, code, strings.Repeat(" ", 16<<10) + `{}`, "/body", "16 KiB"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Refuses(t, post(row.card, row.code, row.body), row.field, row.issue)
			if o.Error.Detail.Value != nil && row.field != "/path/card_id" && row.issue != "empty" {
				t.Errorf("%s repeats the value", o.Body)
			}
			o.RequireNotLogged(t, code)
		})
	}
}

func TestARefusalAfterAForgedAnswerIsDoubted(t *testing.T) {
	operation.DoubtsRefusals(t, post(cardID, code, ""))
}

func TestWeChatsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, post(cardID, code, ""), nil)
}

func TestWeChatsQuotesAreNotLogged(t *testing.T) {
	operation.LogsNoQuotes(t, post(cardID, code, numbered(number)), code, number)
}

// FuzzRequest holds the decoder against the rules, written another way.
func FuzzRequest(f *testing.F) {
	f.Add(cardID, code, "")
	f.Add(cardID, code, numbered(number))
	f.Add("p/../q", "1.2", `{}`)
	f.Add(cardID, code, numbered("会员"))
	f.Fuzz(func(t *testing.T, card, code, body string) {
		gatewaytest.SkipUnlessUTF8(t, card, code, body)
		if _, passed := operation.Validate(t, post(card, code, body), "/body", "/path/card_id", "/path/code"); !passed || body == "" {
			return
		}
		var sent map[string]string
		if err := json.Unmarshal([]byte(body), &sent); err != nil || len(card) == 0 || len(card) > 32 || len(code) == 0 || len(code) > 32 {
			t.Fatalf("let pass: %q for %q %q", body, card, code)
		}
		number, is := sent["membership_number"]
		if len(sent) > 1 || len(sent) == 1 && !is || is && number == "" || len(number) > 32 || strings.ContainsFunc(number, func(c rune) bool { return c < '!' || c > '~' }) {
			t.Fatalf("let pass: %q", body)
		}
	})
}
