package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"membercard/shared/gateway/gatewaytest"
)

func TestParseTicket(t *testing.T) {
	const at = "2026-11-01T10:00:00+08:00"
	for _, row := range []struct {
		what, secret string
		names        string // what the error names; "" is a good secret
	}{
		{"a ticket", `{"ticket":"` + oldTicket + `","expires_at":"` + at + `"}`, ""},
		{"in UTC", `{"ticket":"` + oldTicket + `","expires_at":"2026-11-01T02:00:00Z"}`, ""},
		{"none yet", `{}`, ""},
		{"none yet, with blanks", " {\n} ", ""},
		{"no ticket", `{"expires_at":"` + at + `"}`, "ticket"},
		{"no expires_at", `{"ticket":"` + oldTicket + `"}`, "expires_at"},
		{"an empty ticket", `{"ticket":"","expires_at":"` + at + `"}`, "ticket"},
		{"an empty expires_at", `{"ticket":"` + oldTicket + `","expires_at":""}`, "expires_at"},
		{"ticket null", `{"ticket":null,"expires_at":"` + at + `"}`, "ticket"},
		{"expires_at as a number", `{"ticket":"` + oldTicket + `","expires_at":1793498400}`, "expires_at"},
		{"expires_at without an offset", `{"ticket":"` + oldTicket + `","expires_at":"2026-11-01T10:00:00"}`, "expires_at"},
		{"expires_at of no day", `{"ticket":"` + oldTicket + `","expires_at":"2026-02-30T10:00:00Z"}`, "expires_at"},
		{"WeChat's own answer", `{"ticket":"` + oldTicket + `","expires_in":7200}`, "expires_in"},
		{"a key in another case", `{"Ticket":"` + oldTicket + `","expires_at":"` + at + `"}`, "Ticket"},
		{"a key twice", `{"ticket":"x","ticket":"` + oldTicket + `","expires_at":"` + at + `"}`, "ticket"},
		{"a key without a name", `{"":{}}`, "not a field"},
		{"a key without a name, in it another", `{"":{"":1}}`, "not a field"},
		{"the bare ticket", oldTicket, "JSON object"},
		{"an array", `["` + oldTicket + `"]`, "JSON object"},
		{"null", `null`, "JSON object"},
		{"trailing data", `{}` + oldTicket, "JSON object"},
		{"nothing", ``, "JSON object"},
		{"a byte-order mark", "\ufeff{}", "byte-order mark"},
		{"a line break after the ticket", `{"ticket":"` + oldTicket + `\n","expires_at":"` + at + `"}`, "ticket"},
	} {
		t.Run(row.what, func(t *testing.T) {
			defer func() {
				if value := recover(); value != nil {
					t.Errorf("it ends the process: %v", value)
				}
			}()
			got, err := parseTicket([]byte(row.secret))
			if row.names == "" {
				if err != nil || (got.Ticket == "") != got.expiresAt.IsZero() || got.Ticket != "" && (got.Ticket != oldTicket || got.expiresAt.Unix() != 1793498400) {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err == nil || got != nil || !strings.Contains(err.Error(), row.names) || !strings.Contains(err.Error(), "card ticket") || strings.Contains(err.Error(), oldTicket) {
				t.Errorf("%+v, %v, want an error that names %s", got, err, row.names)
			}
		})
	}
}

func FuzzParseTicket(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(ends(oldTicket, time.Hour)))
	f.Add([]byte(`{"ticket":"x","expires_at":"x"}`))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, secret []byte) {
		got, err := parseTicket(secret)
		if (got == nil) != (err != nil) || got != nil && (got.Ticket == "") != (got.ExpiresAt == "") {
			t.Errorf("%q: %+v, %v", secret, got, err)
		}
	})
}

func TestValidFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, row := range []struct {
			left, while time.Duration
			want        bool
		}{
			{time.Second, 0, true},
			{0, 0, false},
			{-time.Second, 0, false},
			{renewBefore + time.Second, renewBefore, true},
			{renewBefore - time.Second, renewBefore, false},
		} {
			held := ticket{Ticket: oldTicket, expiresAt: time.Now().Add(row.left)}
			if got := held.validFor(row.while); got != row.want {
				t.Errorf("with %v left, for %v: %v", row.left, row.while, got)
			}
		}
		if (&ticket{expiresAt: time.Now().Add(time.Hour)}).validFor(0) {
			t.Error("no ticket lives")
		}
	})
	if renewBefore != 15*time.Minute {
		t.Errorf("a ticket is renewed %v before its end", renewBefore)
	}
}

const granted = `{"errcode":0,"errmsg":"ok","ticket":"` + newTicket + `","expires_in":7200}`

// refresh invokes the action, and checks that nothing private is in the answer, the
// log or the error.
func (i instance) refresh(t *testing.T) (answer, log string, err error) {
	t.Helper()
	i.log.Reset()
	raw, err := i.Invoke(t.Context(), []byte(`{"action":"refresh"}`))
	private(t, string(raw)+i.log.String()+fmt.Sprint(err))
	return string(raw), i.log.String(), err
}

func TestRefresh(t *testing.T) {
	for _, row := range []struct {
		what, stored, answer string
		renewed              bool
	}{
		{"none is stored yet", `{}`, granted, true},
		{"two hours are left", ends(oldTicket, 2*time.Hour), granted, false},
		{"16 minutes are left", ends(oldTicket, 16*time.Minute), granted, false},
		{"14 minutes are left", ends(oldTicket, 14*time.Minute), granted, true},
		{"it has ended", ends(oldTicket, -time.Hour), granted, true},
		{"what is stored is the bare ticket", oldTicket, granted, true},
		{"what is stored has another key", `{"ticket":"` + oldTicket + `","expires_in":7200}`, granted, true},
		{"what is stored has no expires_at", `{"ticket":"` + oldTicket + `"}`, granted, true},
		{"what is stored is null", `null`, granted, true},
		{"nothing is stored", ``, granted, true},
		{"WeChat's answer has no errcode", `{}`, `{"ticket":"` + newTicket + `","expires_in":7200}`, true},
		{"WeChat's answer has more", `{}`, `{"x":{},` + granted[1:], true},
	} {
		t.Run(row.what, func(t *testing.T) {
			m, w := startManager(t, row.stored), startWeChat(t, row.answer)
			before := time.Now()
			i := newInstance(m, w.URL)
			answer, log, err := i.refresh(t)
			if err != nil || answer != fmt.Sprintf(`{"renewed":%v}`, row.renewed) {
				t.Fatalf("%s, %v\n%s", answer, err, log)
			}
			if record := i.last(t); record["Code"] != "OK" || record["level"] != "INFO" || record["renewed"] != row.renewed {
				t.Errorf("the record is %s", log)
			}
			m.mu.Lock()
			puts := m.puts
			m.mu.Unlock()
			if !row.renewed {
				w.asked(t, 0)
				if len(puts) != 0 {
					t.Errorf("stored was %q", puts)
				}
				newInstance(m, gatewaytest.Nowhere).post(t, card1, "").signed(t, oldTicket)
				return
			}
			w.asked(t, 1)
			var stored map[string]string
			if len(puts) != 1 || json.Unmarshal([]byte(puts[0]), &stored) != nil || len(stored) != 2 || stored["ticket"] != newTicket {
				t.Fatalf("stored was %q", puts)
			}
			at, err := time.Parse(time.RFC3339, stored["expires_at"])
			if err != nil || at.Before(before.Add(2*time.Hour-2*time.Second)) || at.After(time.Now().Add(2*time.Hour)) {
				t.Errorf("stored was %q, %v", puts, err)
			}
			newInstance(m, gatewaytest.Nowhere).post(t, card1, "").signed(t, newTicket)
		})
	}
}

// If a refresh fails, the stored ticket stays and is used.
func TestARefreshThatFails(t *testing.T) {
	for _, row := range []struct {
		what, answer string
		code, tells  string // the code, and what the record's cure has
	}{
		{"the quota", `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`, "WECHAT_45009", "quota"},
		{"the frequency", `{"errcode":45011,"errmsg":"api minute-quota reach limit"}`, "WECHAT_45011", "limit is WeChat's"},
		{"our address", `{"errcode":40164,"errmsg":"invalid ip 203.0.113.7, not in whitelist"}`, "WECHAT_40164", "allow-list"},
		{"no permission", `{"errcode":48001,"errmsg":"api unauthorized"}`, "WECHAT_48001", ""},
		{"busy", `{"errcode":-1,"errmsg":"system error"}`, "WECHAT_-1", "busy"},
		{"an error beside a ticket", `{"errcode":45009,"errmsg":"` + accessToken + `","ticket":"` + newTicket + `","expires_in":7200}`, "WECHAT_45009", "quota"},
		{"no ticket", `{"errcode":0,"errmsg":"ok","expires_in":7200}`, "INVALID_RESPONSE", ""},
		{"an empty ticket", `{"errcode":0,"ticket":"","expires_in":7200}`, "INVALID_RESPONSE", ""},
		{"a ticket with a broken byte", "{\"errcode\":0,\"ticket\":\"a\xff\",\"expires_in\":7200}", "INVALID_RESPONSE", ""},
		{"ticket null", `{"errcode":0,"ticket":null,"expires_in":7200}`, "INVALID_RESPONSE", ""},
		{"ticket in another case", `{"errcode":0,"Ticket":"` + newTicket + `","expires_in":7200}`, "INVALID_RESPONSE", ""},
		{"no expires_in", `{"errcode":0,"ticket":"` + newTicket + `"}`, "INVALID_RESPONSE", ""},
		{"expires_in 0", `{"errcode":0,"ticket":"` + newTicket + `","expires_in":0}`, "INVALID_RESPONSE", ""},
		{"expires_in below 0", `{"errcode":0,"ticket":"` + newTicket + `","expires_in":-7200}`, "INVALID_RESPONSE", ""},
		{"expires_in as a string", `{"errcode":0,"ticket":"` + newTicket + `","expires_in":"7200"}`, "INVALID_RESPONSE", ""},
		{"HTML", `<html>` + newTicket, "INVALID_RESPONSE", ""},
		{"nothing", ``, "INVALID_RESPONSE", ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			stored := ends(oldTicket, 10*time.Minute)
			m, w := startManager(t, stored), startWeChat(t, row.answer)
			i := newInstance(m, w.URL)
			answer, log, err := i.refresh(t)
			if err == nil || err.Error() != row.code || answer != "" {
				t.Errorf("%s, %v, want the error %s", answer, err, row.code)
			}
			record := i.last(t)
			cure, _ := record["cure"].(string)
			if record["level"] != "ERROR" || record["Code"] != row.code || record["TicketFailures"] != 1.0 || cure == "" || !strings.Contains(cure, row.tells) || record["cause"] == nil {
				t.Errorf("the record is %s", log)
			}
			m.mu.Lock()
			if m.ticket != stored || len(m.puts) != 0 {
				t.Errorf("stored is %s", m.ticket)
			}
			m.mu.Unlock()
			i.post(t, card1, "").signed(t, oldTicket)
			newInstance(m, gatewaytest.Nowhere).post(t, card1, "").signed(t, oldTicket)
		})
	}
}

func TestATicketThatCantBeStored(t *testing.T) {
	for _, row := range []struct{ what, refusal, cause string }{
		{"it may not", `{"__type":"AccessDeniedException","message":"not authorized to perform: secretsmanager:PutSecretValue"}`, "AccessDeniedException"},
		{"the secret is gone", `{"__type":"ResourceNotFoundException","message":"can't find the specified secret"}`, "ResourceNotFoundException"},
		{"the refusal quotes what was sent", `{"__type":"ValidationException","message":"Value '` + newTicket + `' at 'secretString' failed to satisfy constraint"}`, "ValidationException"},
	} {
		t.Run(row.what, func(t *testing.T) {
			m, w := startManager(t, ends(oldTicket, time.Minute)), startWeChat(t, granted)
			m.refuses["PutSecretValue"] = row.refusal
			i := newInstance(m, w.URL)
			answer, log, err := i.refresh(t)
			record := i.last(t)
			if err == nil || answer != "" || record["level"] != "ERROR" || record["TicketFailures"] != 1.0 || !strings.Contains(fmt.Sprint(record["cause"]), row.cause) || record["cure"] == nil {
				t.Errorf("%s, %v: %s", answer, err, log)
			}
			i.post(t, card1, "").signed(t, oldTicket)
		})
	}
}

// If the secret can't be read, nobody knows whether a ticket is due. WeChat is not
// asked for one, which would cost quota on every schedule.
func TestASecretThatMayNotBeReadCostsNoQuota(t *testing.T) {
	m, w := startManager(t, ends(oldTicket, time.Hour)), startWeChat(t, granted)
	m.refuses["GetSecretValue"] = `{"__type":"AccessDeniedException","message":"not authorized to perform: secretsmanager:GetSecretValue"}`
	answer, log, err := newInstance(m, w.URL).refresh(t)
	if err == nil || err.Error() != "CONFIG_ERROR" {
		t.Errorf("%s, %v: %s", answer, err, log)
	}
	w.asked(t, 0)
}

// Schedules deliver at least once, and an operator may invoke the action as well.
func TestARefreshTwice(t *testing.T) {
	const elsewhere = "another instance has renewed it"
	for what, stored := range map[string]string{"none is stored yet": `{}`, "it ends soon": ends(oldTicket, time.Minute), "what is stored is malformed": oldTicket, elsewhere: ends(oldTicket, time.Minute)} {
		m, w := startManager(t, stored), startWeChat(t, granted)
		i := newInstance(m, w.URL)
		second := i
		if what == elsewhere {
			second = newInstance(m, w.URL)
			second.post(t, card1, "").signed(t, oldTicket) // which it has in its cache from then on
		}
		for n, want := range []string{`{"renewed":true}`, `{"renewed":false}`} {
			if n == 1 {
				i = second
			}
			if answer, log, err := i.refresh(t); err != nil || answer != want {
				t.Errorf("%s, time %d: %s, %v, want %s\n%s", what, n+1, answer, err, want, log)
			}
		}
		w.asked(t, 1)
		m.mu.Lock()
		if len(m.puts) != 1 {
			t.Errorf("%s: stored %d times", what, len(m.puts))
		}
		m.mu.Unlock()
	}
}

// The cure of TICKET_UNAVAILABLE, and of a stored ticket that somebody has changed, is to invoke
// the action by hand. The instance that does it can sign at once, and so can a new one: what
// is stored counts, not what the instance has cached.
func TestTheInstanceThatRenewedSignsAtOnce(t *testing.T) {
	good := ends(oldTicket, time.Hour)
	for what, row := range map[string]struct{ cached, stored string }{
		"none is stored yet":           {`{}`, `{}`},
		"it has ended":                 {ends(oldTicket, -time.Second), ends(oldTicket, -time.Second)},
		"somebody has made it rubbish": {good, `{`},
		"somebody has emptied it":      {good, `{}`},
		"somebody has put an old one":  {good, ends(oldTicket, -time.Hour)},
	} {
		t.Run(what, func(t *testing.T) {
			m, w := startManager(t, row.cached), startWeChat(t, granted)
			i := newInstance(m, w.URL)
			i.post(t, card1, "")
			m.mu.Lock()
			m.ticket = row.stored
			m.mu.Unlock()
			if o := newInstance(m, gatewaytest.Nowhere).post(t, card1, ""); o.Status < 500 {
				t.Errorf("a new instance answers %d", o.Status)
			}
			if answer, log, err := i.refresh(t); err != nil || answer != `{"renewed":true}` {
				t.Fatalf("%s, %v\n%s", answer, err, log)
			}
			i.post(t, card1, "").signed(t, newTicket)
			newInstance(m, gatewaytest.Nowhere).post(t, card1, "").signed(t, newTicket)
		})
	}
}

func TestOtherEventsAreErrors(t *testing.T) {
	m, w := startManager(t, `{}`), startWeChat(t, granted)
	for _, payload := range []string{`{"action":"renew"}`, `{"action":"Refresh"}`, `{"action":"refresh","force":true}`, `{"action":"refresh","action":"refresh"}`, `{}`, `{"source":"aws.events","detail":{"action":"refresh"}}`} {
		if answer, err := newInstance(m, w.URL).Invoke(t.Context(), []byte(payload)); err == nil || answer != nil {
			t.Errorf("%s: %s, %v", payload, answer, err)
		}
	}
	// A request can't start the action.
	newInstance(m, w.URL).post(t, `{"action":"refresh"}`, "")
	w.asked(t, 0)
	m.counts(t, 0, 0)
}
