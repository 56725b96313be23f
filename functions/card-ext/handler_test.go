package main

import (
	"context"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"membercard/shared/gateway/gatewaytest"
)

// The signatures of TestSignature were made with a shell:
//
//	printf '%s\n' VALUE… | LC_ALL=C sort | tr -d '\n' | sha1sum
func TestSignature(t *testing.T) {
	const ticket = "bxLdikRXVbTPdHSM05e5u5sUoQNKd8"
	for _, row := range []struct {
		what, text, want string
		of               cardExt
	}{
		{
			"every value",
			"1795255200" + "198374613512" + "5K8264ILTKCH16CQ2502SI8ZNM" + ticket + openid + cardID,
			"b9825924d91e22d360db5ba190ddbbe9c064a404",
			cardExt{Timestamp: "1795255200", NonceStr: "5K8264ILTKCH16CQ2502SI8ZNM", Code: "198374613512", OpenID: openid},
		},
		{
			"code and openid are absent; outer_str and fixed_begintimestamp are not signed",
			"1795255200" + "5K8264ILTKCH16CQ2502SI8ZNM" + ticket + cardID,
			"e28df80f1ce5086f7c9638a4204f08555e1be087",
			cardExt{Timestamp: "1795255200", NonceStr: "5K8264ILTKCH16CQ2502SI8ZNM", OuterStr: "szwxtd", FixedBeginTimestamp: new(int64)},
		},
	} {
		if got := fmt.Sprintf("%x", sha1.Sum([]byte(row.text))); got != row.want {
			t.Errorf("%s: the text's own SHA-1 is %s", row.what, got)
		}
		row.of.sign(ticket, cardID)
		if row.of.Signature != row.want {
			t.Errorf("%s: %s, want %s", row.what, row.of.Signature, row.want)
		}
	}
}

// signatureOf is a second implementation of the signature.
func signatureOf(ticket, cardID string, ext map[string]any) string {
	values := []string{ticket, cardID}
	for _, name := range []string{"timestamp", "nonce_str", "code", "openid"} {
		if value, ok := ext[name]; ok {
			values = append(values, value.(string))
		}
	}
	sort.Strings(values)
	digest := sha1.New()
	for _, value := range values {
		_, _ = io.WriteString(digest, value)
	}
	return fmt.Sprintf("%x", digest.Sum(nil))
}

// signed returns the ID and the cardExt of each card in an answer. Their signatures
// must be valid for the ticket.
func (o outcome) signed(t testing.TB, ticket string) (cardIDs []string, exts []map[string]any) {
	t.Helper()
	var answer struct {
		CardList []map[string]any `json:"cardList"`
	}
	decoder := json.NewDecoder(strings.NewReader(o.Body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&answer); err != nil || o.Status != 200 || len(answer.CardList) == 0 {
		t.Fatalf("%d %s: %v", o.Status, o.Body, err)
	}
	for _, entry := range answer.CardList {
		cardID, isID := entry["cardId"].(string)
		text, isText := entry["cardExt"].(string) // a string of JSON, not an object
		var ext map[string]any
		if !isID || !isText || len(entry) != 2 || json.Unmarshal([]byte(text), &ext) != nil {
			t.Fatalf("the entry is %v", entry)
		}
		if want := signatureOf(ticket, cardID, ext); ext["signature"] != want {
			t.Errorf("the signature of %s is not %s", text, want)
		}
		stamp, _ := ext["timestamp"].(string)
		if at, err := strconv.ParseInt(stamp, 10, 64); err != nil || time.Since(time.Unix(at, 0)).Abs() > time.Hour {
			t.Errorf("timestamp is %q, want seconds as a string", stamp)
		}
		if nonce, _ := ext["nonce_str"].(string); len(nonce) < 16 || len(nonce) > 32 {
			t.Errorf("nonce_str is %q", nonce)
		}
		cardIDs, exts = append(cardIDs, cardID), append(exts, ext)
	}
	return cardIDs, exts
}

// text returns a JSON string that repeats s n times.
func text(s string, n int) string { return `"` + strings.Repeat(s, n) + `"` }

func TestOneCard(t *testing.T) {
	one := func(members string) string { return `{"card_id":"` + cardID + `"` + members + `}` }
	i := newInstance(startManager(t, ends(oldTicket, time.Hour)), gatewaytest.Nowhere)
	for _, row := range []struct {
		rule, members string
		want          map[string]any // beside timestamp, nonce_str and signature
	}{
		{"card_id alone", ``, map[string]any{}},
		{"code", `,"code":"198374613512"`, map[string]any{"code": "198374613512"}},
		{"code that sorts first", `,"code":"-1"`, map[string]any{"code": "-1"}},
		{"code that sorts last", `,"code":"zz卡"`, map[string]any{"code": "zz卡"}},
		{"openid", `,"openid":"` + openid + `"`, map[string]any{"openid": openid}},
		{"outer_str", `,"outer_str":"szwxtd"`, map[string]any{"outer_str": "szwxtd"}},
		{"outer_str of all kinds of characters", `,"outer_str":"门店 <&>\u2028\"\\\ud83c\udf89"`, map[string]any{"outer_str": "门店 <&>\u2028\"\\🎉"}},
		{"fixed_begintimestamp", `,"fixed_begintimestamp":1795255200`, map[string]any{"fixed_begintimestamp": 1795255200.0}},
		{"fixed_begintimestamp of 1", `,"fixed_begintimestamp":1`, map[string]any{"fixed_begintimestamp": 1.0}},
		{"all", `,"code":"1","openid":"` + openid + `","outer_str":"o","fixed_begintimestamp":1795255200`,
			map[string]any{"code": "1", "openid": openid, "outer_str": "o", "fixed_begintimestamp": 1795255200.0}},
		{"code of 32", `,"code":` + text("1", 32), map[string]any{"code": strings.Repeat("1", 32)}},
		{"code of 32 Chinese characters", `,"code":` + text("卡", 32), map[string]any{"code": strings.Repeat("卡", 32)}},
		{"openid of 128", `,"openid":` + text("o", 128), map[string]any{"openid": strings.Repeat("o", 128)}},
		{"outer_str of 128", `,"outer_str":` + text("店", 128), map[string]any{"outer_str": strings.Repeat("店", 128)}},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := i.post(t, one(row.members), "")
			cardIDs, exts := o.signed(t, oldTicket)
			if len(cardIDs) != 1 || cardIDs[0] != cardID {
				t.Errorf("cards %q", cardIDs)
			}
			for _, name := range []string{"timestamp", "nonce_str", "signature"} {
				if _, ok := exts[0][name].(string); !ok {
					t.Errorf("%s is %v", name, exts[0][name])
				}
				delete(exts[0], name)
			}
			if !reflect.DeepEqual(exts[0], row.want) {
				t.Errorf("cardExt has %v, want %v", exts[0], row.want)
			}
			if strings.Contains(o.Body, `u003c`) || strings.Contains(o.Body, `u0026`) {
				t.Errorf("escapes: %s", o.Body)
			}
			if o.record["Code"] != "OK" {
				t.Errorf("the record is %s", o.Log)
			}
		})
	}
}

// list returns a body with n cards that have the same members.
func list(n int, members string) string {
	return `{"cardList":[` + strings.TrimSuffix(strings.Repeat(`{`+members+`},`, n), ",") + `]}`
}

func TestSeveralCards(t *testing.T) {
	i := newInstance(startManager(t, ends(oldTicket, time.Hour)), gatewaytest.Nowhere)
	o := i.post(t, `{"cardList":[{"card_id":"p2","code":"7"},{"card_id":"p1","openid":"`+openid+`"},{"card_id":"p2","code":"8","outer_str":"o","fixed_begintimestamp":2}]}`, "")
	cardIDs, exts := o.signed(t, oldTicket)
	if fmt.Sprint(cardIDs) != "[p2 p1 p2]" || exts[0]["code"] != "7" || exts[1]["openid"] != openid || exts[2]["code"] != "8" || exts[2]["outer_str"] != "o" || exts[2]["fixed_begintimestamp"] != 2.0 {
		t.Errorf("%s", o.Body)
	}
	if len(exts[0]) != 4 || len(exts[1]) != 4 || len(exts[2]) != 6 {
		t.Errorf("members of one card are in another: %s", o.Body)
	}
	for _, n := range []int{1, maxCards} {
		if cardIDs, _ := i.post(t, list(n, `"card_id":"p"`), "").signed(t, oldTicket); len(cardIDs) != n {
			t.Errorf("of %d cards %d are signed", n, len(cardIDs))
		}
	}
}

func TestANonceNeverRepeats(t *testing.T) {
	m := startManager(t, ends(oldTicket, time.Hour))
	instances := []instance{newInstance(m, gatewaytest.Nowhere), newInstance(m, gatewaytest.Nowhere)}
	seen := map[any]bool{}
	for n := range 100 {
		_, exts := instances[n%2].post(t, list(maxCards, `"card_id":"p"`), "").signed(t, oldTicket)
		for _, ext := range exts {
			if seen[ext["nonce_str"]] {
				t.Fatalf("%v came twice", ext["nonce_str"])
			}
			seen[ext["nonce_str"]] = true
		}
	}
}

func TestBadInputIsRefusedByName(t *testing.T) {
	const good = `"card_id":"` + cardID + `"`
	one := func(members string) string { return `{` + good + `,` + members + `}` }
	m := startManager(t, ends(oldTicket, time.Hour))
	i := newInstance(m, gatewaytest.Nowhere)
	for _, row := range []struct{ rule, body, field, issue string }{
		{"card_id is required", `{}`, "/body/card_id", "is required"},
		{"card_id is required beside others", `{"code":"1"}`, "/body/card_id", "is required"},
		{"an empty card_id", `{"card_id":""}`, "/body/card_id", "empty"},
		{"card_id of 33", `{"card_id":` + text("p", 33) + `}`, "/body/card_id", "1 to 32"},
		{"card_id of another alphabet", `{"card_id":"p/q"}`, "/body/card_id", "1 to 32"},
		{"card_id as a number", `{"card_id":1}`, "/body/card_id", "a string"},
		{"card_id null", `{"card_id":null}`, "/body/card_id", "null"},
		{"code of 33", one(`"code":"` + code + text("1", 33)[1:]), "/body/code", "at most 32"},
		{"an empty code", one(`"code":""`), "/body/code", "empty"},
		{"code as a number", one(`"code":198374613512`), "/body/code", "a string"},
		{"openid of 129", one(`"openid":` + text("o", 129)), "/body/openid", "at most 128"},
		{"an empty openid", one(`"openid":""`), "/body/openid", "empty"},
		{"openid null", one(`"openid":null`), "/body/openid", "null"},
		{"openid in an object", one(`"openid":{"` + openid + `":1}`), "/body/openid", "a string"},
		{"outer_str of 129", one(`"outer_str":` + text("店", 129)), "/body/outer_str", "at most 128"},
		{"an empty outer_str", one(`"outer_str":""`), "/body/outer_str", "empty"},
		{"broken Unicode", one(`"outer_str":"\ud800"`), "/body/outer_str", "Unicode"},
		{"fixed_begintimestamp 0", one(`"fixed_begintimestamp":0`), "/body/fixed_begintimestamp", "Unix time in seconds"},
		{"fixed_begintimestamp below 0", one(`"fixed_begintimestamp":-1`), "/body/fixed_begintimestamp", "Unix time in seconds"},
		{"fixed_begintimestamp as a string", one(`"fixed_begintimestamp":"1795255200"`), "/body/fixed_begintimestamp", "a whole number"},
		{"fixed_begintimestamp with a fraction", one(`"fixed_begintimestamp":1795255200.5`), "/body/fixed_begintimestamp", "a whole number"},
		{"fixed_begintimestamp over 64 bits", one(`"fixed_begintimestamp":9223372036854775808`), "/body/fixed_begintimestamp", "a whole number"},
		{"fixed_begintimestamp null", one(`"fixed_begintimestamp":null`), "/body/fixed_begintimestamp", "null"},

		{"no cards", `{"cardList":[]}`, "/body/cardList", "1 to 20"},
		{"21 cards", list(21, good), "/body/cardList", "1 to 20"},
		{"cardList null", `{"cardList":null}`, "/body/cardList", "null"},
		{"cardList as an object", `{"cardList":{` + good + `}}`, "/body/cardList", "an array"},
		{"cardList as a string, as an answer has cardExt", `{"cardList":"[]"}`, "/body/cardList", "an array"},
		{"a card null", `{"cardList":[{` + good + `},null]}`, "/body/cardList/1", "null"},
		{"a card as a string", `{"cardList":["` + cardID + `"]}`, "/body/cardList/0", "an object"},
		{"a card without card_id", `{"cardList":[{` + good + `},{"code":"1"}]}`, "/body/cardList/1/card_id", "is required"},
		{"a card with card_id of 33", `{"cardList":[{"card_id":` + text("p", 33) + `}]}`, "/body/cardList/0/card_id", "1 to 32"},
		{"a card with code of 33", `{"cardList":[{` + good + `},{` + good + `,"code":"` + code + text("1", 33)[1:] + `}]}`, "/body/cardList/1/code", "at most 32"},
		{"a card with openid of 129", `{"cardList":[{` + good + `,"openid":` + text("o", 129) + `}]}`, "/body/cardList/0/openid", "at most 128"},
		{"a card with outer_str of 129", `{"cardList":[{` + good + `,"outer_str":` + text("o", 129) + `}]}`, "/body/cardList/0/outer_str", "at most 128"},
		{"a card with fixed_begintimestamp 0", `{"cardList":[{` + good + `},{` + good + `,"fixed_begintimestamp":0}]}`, "/body/cardList/1/fixed_begintimestamp", "Unix time"},
		{"the last of 20 cards", `{"cardList":[` + strings.Repeat(`{`+good+`},`, 19) + `{}]}`, "/body/cardList/19/card_id", "is required"},
		{"a card with an unknown field", `{"cardList":[{` + good + `,"cardId":"x"}]}`, "/body/cardList/0/cardId", "not a field"},
		{"a list in a card", `{"cardList":[{"cardList":[]}]}`, "/body/cardList/0/cardList", "not a field"},
		{"cardList beside card_id", one(`"cardList":[{` + good + `}]`), "/body/cardList", "beside the fields of a card"},
		{"cardList beside fixed_begintimestamp", `{"fixed_begintimestamp":1,"cardList":[{` + good + `}]}`, "/body/cardList", "beside the fields of a card"},
		{"no cards beside card_id", one(`"cardList":[]`), "/body/cardList", "beside the fields of a card"},

		{"an unknown field", one(`"appid":"x"`), "/body/appid", "not a field"},
		{"what is ours to set", one(`"timestamp":"1"`), "/body/timestamp", "not a field"},
		{"a ticket", one(`"api_ticket":"x"`), "/body/api_ticket", "not a field"},
		{"a Go name", `{"CardID":"p"}`, "/body/CardID", "not a field"},
		{"no name", one(`"":1`), "/body/", "not a field"},
		{"cardList in another case", `{"cardlist":[{` + good + `}]}`, "/body/cardlist", "not a field"},
		{"a duplicate", one(good), "/body/card_id", "twice"},
		{"an escaped duplicate", one(`"\u0063ard_id":"x"`), "/body/card_id", "twice"},
		{"trailing data", `{` + good + `}x`, "/body", "one JSON object"},
		{"an array", `[{` + good + `}]`, "/body", "an object"},
		{"null", `null`, "/body", "null"},
		{"no body", ``, "/body", "empty"},
		{"over 16 KiB", `{` + good + `}` + strings.Repeat(" ", 16<<10), "/body", "16 KiB"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := i.post(t, row.body, "")
			o.RequireParamError(t, row.field, row.issue)
			o.RequireNotRepeated(t, openid, code)
		})
	}
	m.counts(t, 0, 0)
}

// The log is checked by post.
func TestAnOpenIDIsNotRepeated(t *testing.T) {
	i := newInstance(startManager(t, ends(oldTicket, time.Hour)), gatewaytest.Nowhere)
	for _, members := range []string{
		`"openid":"` + strings.Repeat(openid, 5) + `"`,
		`"openid":["` + openid + `"]`,
		`"openid":"` + openid + `\ud800"`,
		`"openid":"` + openid + `","openid":"` + openid + `"`,
		`"openid":"` + openid + `","code":"` + openid + openid + `"`,
	} {
		for _, body := range []string{`{"card_id":"p",` + members + `}`, `{"cardList":[{"card_id":"p"},{"card_id":"p",` + members + `}]}`} {
			if o := i.post(t, body, ""); o.Status != 400 || strings.Contains(o.Body, openid) {
				t.Errorf("%s: %d %s", body, o.Status, o.Body)
			}
		}
	}
}

// TestWhatAPageMayChoose: a user who has logged in gets no signature for a code, and none
// for another's openid. A signed code passes as an openid, and the other way round.
func TestWhatAPageMayChoose(t *testing.T) {
	m := startManager(t, ends(oldTicket, time.Hour))
	i := newInstance(m, gatewaytest.Nowhere)
	login := func(e gatewaytest.Event) gatewaytest.Event { return gatewaytest.LoggedIn(e, openid) }
	claim := func(e gatewaytest.Event) gatewaytest.Event {
		return gatewaytest.WithJWT(e, map[string]string{"sub": "7", "openid": openid})
	}
	noClaim := func(e gatewaytest.Event) gatewaytest.Event {
		return gatewaytest.WithJWT(e, map[string]string{"sub": openid})
	}
	nobody := func(e gatewaytest.Event) gatewaytest.Event { return e }
	const mismatch, noCode = "OPENID_MISMATCH", "CODE_NOT_ALLOWED"
	for _, row := range []struct {
		what              string
		by                func(gatewaytest.Event) gatewaytest.Event
		body, code, field string // code "" is a yes
	}{
		{"openid left out", login, `{"card_id":"p"}`, "", ""},
		{"the same openid", login, `{"card_id":"p","openid":"` + openid + `"}`, "", ""},
		{"the same openid and left out", login, `{"cardList":[{"card_id":"p","openid":"` + openid + `"},{"card_id":"p"}]}`, "", ""},
		{"another openid", login, `{"card_id":"p","openid":"` + foreign + `"}`, mismatch, "/body/openid"},
		{"a part of it", login, `{"card_id":"p","openid":"` + openid[:20] + `"}`, mismatch, "/body/openid"},
		{"in another case", login, `{"card_id":"p","openid":"` + strings.ToLower(openid) + `"}`, mismatch, "/body/openid"},
		{"another openid in the list", login, `{"cardList":[{"card_id":"p","openid":"` + openid + `"},{"card_id":"p","openid":"` + foreign + `"}]}`, mismatch, "/body/cardList/1/openid"},
		{"another's openid as the code", login, `{"card_id":"p","code":"` + foreign + `"}`, noCode, "/body/code"},
		{"a code in the list", login, `{"cardList":[{"card_id":"p"},{"card_id":"p","code":"1"}]}`, noCode, "/body/cardList/1/code"},
		{"their own openid as the code", login, `{"card_id":"p","code":"` + openid + `"}`, noCode, "/body/code"},
		{"a JWT, and its own openid", claim, `{"card_id":"p","openid":"` + openid + `"}`, "", ""},
		{"a JWT, and another openid", claim, `{"card_id":"p","openid":"` + foreign + `"}`, mismatch, "/body/openid"},
		{"a JWT, and a code", claim, `{"card_id":"p","code":"1"}`, noCode, "/body/code"},
		{"a JWT without the claim", noClaim, `{"card_id":"p"}`, "", ""},
		{"a JWT without the claim, and an openid", noClaim, `{"card_id":"p","openid":"` + openid + `"}`, mismatch, "/body/openid"},
		{"a JWT without the claim, and a code", noClaim, `{"card_id":"p","code":"1"}`, noCode, "/body/code"},
		{"IAM", gatewaytest.ByIAM, `{"card_id":"p","code":"1","openid":"` + foreign + `"}`, "", ""},
		{"no authorizer", nobody, `{"card_id":"p","code":"1","openid":"` + foreign + `"}`, "", ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			o := i.send(t, row.by(event(row.body, "")))
			if row.code == "" {
				_, exts := o.signed(t, oldTicket)
				for _, ext := range exts { // a card is bound to a user only if that is asked for
					if got, ok := ext["openid"]; ok && !strings.Contains(row.body, got.(string)) {
						t.Errorf("%s", o.Body)
					}
				}
				return
			}
			if o.Status != 403 || o.Error.Code != row.code || o.Error.Detail == nil || o.Error.Detail.Field != row.field || o.Error.Detail.Value != nil {
				t.Errorf("%d %s, want %s at %s", o.Status, o.Body, row.code, row.field)
			}
			o.RequireNotRepeated(t, openid[:20], foreign)
		})
	}
	m.counts(t, 1, 0)
}

const card1 = `{"card_id":"` + cardID + `"}`

func (o outcome) unavailable(t *testing.T) {
	t.Helper()
	if o.Status != 503 || o.Error.Code != "TICKET_UNAVAILABLE" || o.Headers["Retry-After"] != "60" || o.Error.Solution == "" {
		t.Errorf("%d %s %v, want 503 TICKET_UNAVAILABLE with Retry-After 60", o.Status, o.Body, o.Headers)
	}
	if cure, _ := o.record["cure"].(string); o.record["level"] != "ERROR" || o.record["Code"] != "TICKET_UNAVAILABLE" || !strings.Contains(cure, `{"action": "refresh"}`) {
		t.Errorf("the record is %s", o.Log)
	}
}

// Without a valid ticket, requests are refused, and after the first one the secret is
// read once a minute at most.
func TestWithoutATicket(t *testing.T) {
	for _, row := range []struct {
		what   string
		stored func() string
	}{
		{"none is stored yet", func() string { return `{}` }},
		{"it has ended", func() string { return ends(oldTicket, -time.Second) }},
		{"it has ended long ago", func() string { return ends(oldTicket, -100*24*time.Hour) }},
		{"it ends now", func() string { return ends(oldTicket, 0) }},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, row.stored())
				i := newInstance(m, gatewaytest.Nowhere)
				i.post(t, card1, "").unavailable(t)
				m.counts(t, 2, 0) // as it does for the first time, and because that proved wrong
				for range 10 {
					i.post(t, card1, "").unavailable(t)
				}
				m.counts(t, 2, 0)
				for n := range 3 {
					time.Sleep(time.Minute)
					for range 10 {
						i.post(t, card1, "").unavailable(t)
					}
					m.counts(t, 3+n, 0)
				}
				m.stores(ends(newTicket, 2*time.Hour))
				i.post(t, card1, "").unavailable(t)
				time.Sleep(time.Minute)
				i.post(t, card1, "").signed(t, newTicket)
			})
		})
	}
}

// A valid ticket is read again every five minutes, and the next one as soon as it
// has expired.
func TestATicketIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, ends(oldTicket, 2*time.Minute))
		i := newInstance(m, gatewaytest.Nowhere)
		i.post(t, card1, "").signed(t, oldTicket)
		m.stores(ends(newTicket, time.Hour))
		time.Sleep(2*time.Minute - time.Second)
		i.post(t, card1, "").signed(t, oldTicket)
		m.counts(t, 1, 0)
		time.Sleep(time.Second)
		i.post(t, card1, "").signed(t, newTicket)
		m.counts(t, 2, 0)
		time.Sleep(5 * time.Minute)
		i.post(t, card1, "").signed(t, newTicket)
		m.counts(t, 3, 0)
	})
}

func TestASecretThatCantBeRead(t *testing.T) {
	for _, row := range []struct{ what, stored, refusal string }{
		{"it may not be read", `{}`, `{"__type":"AccessDeniedException","message":"not authorized"}`},
		{"it is no JSON", oldTicket, ""},
		{"it has another key", `{"api_ticket":"` + oldTicket + `"}`, ""},
	} {
		m := startManager(t, row.stored)
		if row.refusal != "" {
			m.refuses["GetSecretValue"] = row.refusal
		}
		o := newInstance(m, gatewaytest.Nowhere).post(t, card1, "")
		if o.Status != 500 || o.Error.Code != "CONFIG_ERROR" || strings.Contains(o.Body, "ticket") {
			t.Errorf("%s: %d %s", row.what, o.Status, o.Body)
		}
	}
}

// However many instances start at once, requests never ask WeChat for a ticket.
func TestRequestsNeverFetchATicket(t *testing.T) {
	const instances = 50
	m, w := startManager(t, ends(oldTicket, time.Minute)), startWeChat(t, "")
	payload, err := json.Marshal(event(card1, openid))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range instances {
		all.Go(func() {
			i := newInstance(m, w.URL)
			for range 5 {
				if raw, err := i.Invoke(t.Context(), payload); err != nil || !strings.Contains(string(raw), `"statusCode":200`) {
					t.Errorf("%s, %v", raw, err)
				}
			}
		})
	}
	all.Wait()
	w.asked(t, 0)
	m.counts(t, instances, 0)
}

// noTickets has no ticket.
type noTickets struct{}

func (noTickets) Get(context.Context) (*ticket, error) {
	return nil, errors.New("there is no ticket here")
}

func (noTickets) Refresh(context.Context, *ticket) (*ticket, error) {
	return nil, errors.New("there is no ticket here")
}

// FuzzRequest compares validation with a second implementation of the rules.
func FuzzRequest(f *testing.F) {
	f.Add(card1)
	f.Add(`{}`)
	f.Add(`{"card_id":"p","code":"1","openid":"` + openid + `","outer_str":"o","fixed_begintimestamp":1795255200}`)
	f.Add(list(2, `"card_id":"p","openid":"`+openid+`"`))
	f.Add(list(21, `"card_id":"p"`))
	f.Add(`{"card_id":"p","cardList":[]}`)
	f.Add(`{"card_id":"p","fixed_begintimestamp":-1}`)
	f.Add(`{"":{"":1}}`)
	f.Add(`{"cardList":[{"":1}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		gatewaytest.SkipUnlessUTF8(t, body)
		o := gatewaytest.Call[tickets](t, noTickets{}, sign, event(body, ""))
		if !o.PassedValidation(t, "/body") {
			if strings.HasSuffix(o.Error.Detail.Field, "/openid") && o.Error.Detail.Value != nil && o.Error.Detail.Value != "" {
				t.Fatalf("an openid is repeated: %s", o.Body)
			}
			return
		}
		var sent map[string]any
		if err := json.Unmarshal([]byte(body), &sent); err != nil || len(body) > 16<<10 {
			t.Fatalf("let pass: %q", body)
		}
		cards := []any{sent}
		if several, ok := sent["cardList"].([]any); ok {
			if cards = several; len(sent) != 1 || len(cards) < 1 || len(cards) > 20 {
				t.Fatalf("let pass: %q", body)
			}
		}
		for _, c := range cards {
			members, _ := c.(map[string]any)
			if members["card_id"] == nil {
				t.Fatalf("let pass: %q", body)
			}
			for name, value := range members {
				most := map[string]int{"card_id": 32, "code": 32, "openid": 128, "outer_str": 128}[name]
				text, isText := value.(string)
				number, isNumber := value.(float64)
				length := utf8.RuneCountInString(text)
				if !(isText && 0 < length && length <= most) && !(isNumber && name == "fixed_begintimestamp" && number >= 1) {
					t.Fatalf("let pass: %s in %q", name, body)
				}
				if name == "openid" && length >= 20 && strings.Contains(o.Log, text) {
					t.Fatalf("an openid is logged: %s", o.Log)
				}
			}
		}
	})
}
