package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"membercard/shared/cardplan"
	"membercard/shared/officialaccount"
	wechattest "membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/plansync"
	"membercard/shared/plansync/plansynctest"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/wallclock"
)

// planFor returns a plan that gives n cards, p0 and so on, the same fields.
func planFor(t *testing.T, n int, fields string) *cardplan.Plan {
	t.Helper()
	var cards []string
	for i := range n {
		cards = append(cards, fmt.Sprintf(`{"card_id":"p%d","fields":{%s}}`, i, fields))
	}
	return mustParse(t, `{"cards":[`+strings.Join(cards, ",")+`]}`)
}

func job(p *cardplan.Plan, dryRun bool) plansync.Job {
	return plansync.Job{Plan: p, Now: time.Now(), DryRun: dryRun}
}

func statuses(r *plansync.Report) string {
	var list []string
	for _, c := range r.Cards {
		list = append(list, c.Status)
	}
	return strings.Join(list, " ")
}

func newSyncer(t *testing.T, from officialaccount.Source, w *wechattest.WeChat) *syncer {
	log, _ := telemetrytest.New()
	return &syncer{wechat: wechattest.Client(from, w.URL), checkpoint: plansynctest.NewBucket("").Start(t).Beside(plansync.CardSync), log: log}
}

// Whatever fails for one card, the others are updated.
func TestOneCardsFailureDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what, get, update string // WeChat's answers for the card at fault
		code              string
		updates           int
	}{
		{"no such card", `{"errcode":40053,"errmsg":"invalid actioninfo, please check card_id"}`, "", "WECHAT_40053", 0},
		{"no card in the answer", `{"errcode":0,"errmsg":"ok"}`, "", "INVALID_RESPONSE", 0},
		{"card null", `{"errcode":0,"errmsg":"ok","card":null}`, "", "INVALID_RESPONSE", 0},
		{"no card_type", `{"errcode":0,"errmsg":"ok","card":{"member_card":{"base_info":{}}}}`, "", "INVALID_RESPONSE", 0},
		{"a card_type that there is not", `{"errcode":0,"errmsg":"ok","card":{"card_type":"SOMETHING","something":{"base_info":{}}}}`, "", "INVALID_RESPONSE", 0},
		{"the object of another type", `{"errcode":0,"errmsg":"ok","card":{"card_type":"CASH","gift":{"base_info":{}}}}`, "", "INVALID_RESPONSE", 0},
		{"no base_info", `{"errcode":0,"errmsg":"ok","card":{"card_type":"MEMBER_CARD","member_card":{}}}`, "", "INVALID_RESPONSE", 0},
		{"base_info null", `{"errcode":0,"errmsg":"ok","card":{"card_type":"MEMBER_CARD","member_card":{"base_info":null}}}`, "", "INVALID_RESPONSE", 0},
		{"no JSON", `ok`, "", "INVALID_RESPONSE", 0},
		{"a refused update", shown(``), `{"errcode":47001,"errmsg":"data format error"}`, "WECHAT_47001", 1},
		{"busy", `{"errcode":-1,"errmsg":"system error"}`, "", "WECHAT_-1", 0},
		{"a card that was upgraded", shown(``), `{"errcode":48001,"errmsg":"api unauthorized"}`, "WECHAT_48001", 1},
		{"an update answered with something else", shown(``), `<html>`, "INVALID_RESPONSE", 1},
		{"activate_url for a gift", `{"errcode":0,"errmsg":"ok","card":{"card_type":"GIFT","gift":{"base_info":{}}}}`, "", "PARAM_ERROR", 0},
	} {
		t.Run(row.what, func(t *testing.T) {
			updates := 0
			w := wechattest.Start(t, func(c wechattest.Call) string {
				switch {
				case idOf(c) != "p1":
					return `{"errcode":0,"errmsg":"ok","card":{"card_type":"MEMBER_CARD","member_card":{"base_info":{},"activate_url":"http://www.qq.com"}}}`
				case c.Path == "/card/get":
					return row.get
				}
				updates++
				return row.update
			})
			const n = 60 // so many that the run could not end unnoticed
			r := newSyncer(t, wechattest.Source(), w).sync(t.Context(), job(planFor(t, n, `"activate_url":"http://www.qq.com"`), false))
			if r.Cards[1].Status != plansync.Failed || r.Failed != 1 || r.Unchanged != n-1 {
				t.Fatalf("%s", statuses(r))
			}
			if e := r.Cards[1].Error; e == nil || e.Code != row.code || e.Message == "" || updates != row.updates {
				t.Errorf("%+v after %d updates, want %s after %d", e, updates, row.code, row.updates)
			}
			if c := r.Cards[1]; len(c.Changed) != 0 || c.SendCheck != nil {
				t.Errorf("the failed card is said to have changed in %v", c.Changed)
			}
		})
	}
}

// An error that every card would get ends the run. No further card is begun, and the next
// run begins with the card that got the error.
func TestErrorsThatEndTheRun(t *testing.T) {
	for errcode, code := range map[int]string{
		45009: "WECHAT_45009", 45011: "WECHAT_45011", 45061: "WECHAT_45061",
		40001: "WECHAT_40001", 40014: "WECHAT_40014", 42001: "WECHAT_42001", 40164: "WECHAT_40164",
		40013: "CONFIG_ERROR", 40125: "CONFIG_ERROR",
	} {
		for _, refused := range []string{"/card/get", "/card/update"} {
			t.Run(fmt.Sprintf("%d from %s", errcode, refused), func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				current := map[string]string{}
				w := wechattest.Start(t, func(c wechattest.Call) string {
					mu.Lock()
					defer mu.Unlock()
					card := idOf(c)
					switch {
					case card == "p2" && c.Path == refused:
						return fmt.Sprintf(`{"errcode":%d,"errmsg":"no"}`, errcode)
					case c.Path == "/card/update":
						current[card] = `"center_title":"x"`
						return taken
					}
					return shown(current[card])
				})
				const n = 300
				b := plansynctest.NewBucket("")
				s := newSyncer(t, wechattest.Source(), w)
				s.checkpoint = b.Start(t).Beside(plansync.CardSync)
				r := s.sync(t.Context(), job(planFor(t, n, `"center_title":"x"`), false))
				if r.Cards[2].Status != plansync.Failed || r.Failed != 1 || r.Deferred < n/2 || r.Updated != n-1-r.Deferred {
					t.Fatalf("%s", statuses(r))
				}
				if e := r.Cards[2].Error; e == nil || e.Code != code || strings.Contains(e.Solution, "Retry-After") { // a report has no headers
					t.Errorf("%+v", e)
				}
				for _, c := range w.Calls() {
					if number, _ := strconv.Atoi(idOf(c)[1:]); r.Cards[number].Status == plansync.Deferred {
						t.Errorf("%s: WeChat got %s %s", r.Cards[number].Status, c.Path, c.Body)
					}
				}
				if puts, want := b.Written(), fmt.Sprintf(`{"next":["p2","p%d"]}`, n-r.Deferred); len(puts) != 1 || puts[0] != want {
					t.Errorf("written is %q, want %s", puts, want)
				}
			})
		}
	}
}

// idOf returns the card_id of a call.
func idOf(c wechattest.Call) string {
	var body struct {
		CardID string `json:"card_id"`
	}
	_ = json.Unmarshal([]byte(c.Body), &body)
	return body.CardID
}

// If no time is left, a card for which nothing was sent is deferred, not failed.
func TestNoTimeLeft(t *testing.T) {
	t.Parallel()
	t.Run("to begin", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w := emptyCard(t)
		if r := newSyncer(t, wechattest.Source(), w).sync(ctx, job(planFor(t, 5, `"center_title":"x"`), false)); r.Deferred != 5 || len(w.Received("/card/get")) != 0 {
			t.Errorf("%s", statuses(r))
		}
	})
	t.Run("at all", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w := emptyCard(t)
		if r := newSyncer(t, wechattest.Source(), w).sync(ctx, job(planFor(t, 5, `"center_title":"x"`), false)); r.Deferred != 5 || len(w.Received("/card/get")) != 0 {
			t.Errorf("%s", statuses(r))
		}
	})
	t.Run("to send the update", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		w := emptyCard(t)
		// The account is asked for before each call. The second time, no time is left
		// for a call.
		from := wechattest.Source()
		from.OnGet = func(ctx context.Context, n int) {
			if deadline, _ := ctx.Deadline(); n == 2 {
				late, cancel := context.WithDeadline(ctx, deadline.Add(-10*time.Millisecond))
				defer cancel()
				<-late.Done()
			}
		}
		s := newSyncer(t, from, w)
		r := s.sync(ctx, job(planFor(t, 1, `"center_title":"x"`), false))
		if len(w.Received("/card/update")) != 0 {
			t.Fatalf("an update was sent: %s", statuses(r))
		}
		if r.Deferred != 1 || len(r.Cards[0].Changed) != 0 {
			t.Errorf("%+v", r.Cards[0])
		}
	})
}

// A change that WeChat does not show is sent again after a day, or when the plan
// has another value.
func TestAChangeThatDoesNotShow(t *testing.T) {
	w := emptyCard(t)
	s := newSyncer(t, wechattest.Source(), w)
	synced := func(value, status string, updates int) {
		t.Helper()
		r := s.sync(t.Context(), job(planFor(t, 1, `"center_title":"`+value+`"`), false))
		if r.Cards[0].Status != status || len(w.Received("/card/update")) != updates {
			t.Errorf("%+v after %d updates, want %s after %d", r.Cards[0], len(w.Received("/card/update")), status, updates)
		}
		if status == plansync.NotApplied && (r.NotApplied != 1 || !slices.Equal(r.Cards[0].Changed, []string{"center_title"}) || r.Cards[0].CardStatus != "CARD_STATUS_VERIFY_OK") {
			t.Errorf("%+v", r.Cards[0])
		}
	}
	later := func(d time.Duration) {
		for id, held := range s.sent.Range {
			c := held.(change)
			c.at = c.at.Add(-d)
			s.sent.Store(id, c)
		}
	}
	synced("x", plansync.NotApplied, 1)
	synced("x", plansync.NotApplied, 1)
	later(23 * time.Hour)
	synced("x", plansync.NotApplied, 1)
	later(2 * time.Hour)
	synced("x", plansync.NotApplied, 2)
	synced("y", plansync.NotApplied, 3) // another change
	synced("y", plansync.NotApplied, 3)
	synced("", plansync.Unchanged, 3) // it shows, so nothing is left to remember
	for id, c := range s.sent.Range {
		t.Errorf("%v of %v is remembered since %v", c, id, wallclock.Now())
	}
}

// Another instance has only the card's status to go by.
func TestACardInReviewIsNotUpdated(t *testing.T) {
	w := wechattest.Start(t, func(wechattest.Call) string { return shown(`"status":"CARD_STATUS_NOT_VERIFY"`) })
	r := newSyncer(t, wechattest.Source(), w).sync(t.Context(), job(planFor(t, 1, `"center_title":"x"`), false))
	if r.NotApplied != 1 || r.Cards[0].CardStatus != inReview || len(w.Received("/card/update")) != 0 {
		t.Errorf("%+v", r.Cards[0])
	}
}

// A dry run does not count as sending.
func TestADryRunRemembersNothing(t *testing.T) {
	w := emptyCard(t)
	s := newSyncer(t, wechattest.Source(), w)
	for range 2 {
		if r := s.sync(t.Context(), job(planFor(t, 3, `"center_title":"x"`), true)); r.Updated != 3 || !r.DryRun || r.Cards[0].SendCheck != nil {
			t.Errorf("%+v", r)
		}
	}
	for id, c := range s.sent.Range {
		t.Errorf("%v of %v is remembered", c, id)
	}
	if len(w.Received("/card/update")) != 0 {
		t.Errorf("%d updates", len(w.Received("/card/update")))
	}
}

// send_check in the report is WeChat's, if its answer has one.
func TestSendCheckIsWeChatsWord(t *testing.T) {
	for answer, want := range map[string]bool{taken: false, `{"errcode":0,"errmsg":"ok","send_check":true}`: true, `{"errcode":0,"errmsg":"ok"}`: false} {
		changed := false
		w := wechattest.Start(t, func(c wechattest.Call) string {
			if c.Path == "/card/update" {
				changed = true
				return answer
			}
			if changed {
				return shown(`"center_title":"x"`)
			}
			return shown(`"center_title":"old"`)
		})
		r := newSyncer(t, wechattest.Source(), w).sync(t.Context(), job(planFor(t, 1, `"center_title":"x"`), false))
		if c := r.Cards[0]; c.Status != plansync.Updated || c.SendCheck == nil || *c.SendCheck != want || !slices.Equal(c.Changed, []string{"center_title"}) {
			t.Errorf("%s: %+v", answer, c)
		}
	}
}

// WeChat may replace an object of member_card, so an update has it whole.
func TestAnObjectIsSentWhole(t *testing.T) {
	for _, row := range []struct{ what, shown, fields, changed, update string }{
		{"a link, beside what the card shows",
			`"custom_cell1":{"name":"n","tips":"old","url":"https://old.example/","other":[12345678901234567890,{"a":"x"}]}`,
			`"custom_cell1.url":"https://new.example/"`, "custom_cell1.url",
			`"custom_cell1":{"name":"n","other":[12345678901234567890,{"a":"x"}],"tips":"old","url":"https://new.example/"}`},
		{"all that the plan has of it", `"custom_cell1":{"name":"n","tips":"t","url":"https://old.example/"}`,
			`"custom_cell1.tips":"t","custom_cell1.url":"https://new.example/","custom_cell1.app_brand_user_name":"","custom_cell1.app_brand_pass":""`, "custom_cell1.url",
			`"custom_cell1":{"app_brand_pass":"","app_brand_user_name":"","name":"n","tips":"t","url":"https://new.example/"}`},
		{"the objects that differ only", `"custom_cell1":{"name":"n"},"custom_field2":{"name_type":"FIELD_NAME_TYPE_LEVEL","url":"https://old.example/"}`,
			`"custom_cell1.name":"n","custom_field2.url":""`, "custom_field2.url", `"custom_field2":{"name_type":"FIELD_NAME_TYPE_LEVEL","url":""}`},
		{"an object that the card does not have", ``, `"custom_cell2.name":"n","bonus_url":"https://bonus.example/"`, "bonus_url custom_cell2.name", `"bonus_url":"https://bonus.example/","custom_cell2":{"name":"n"}`},
		{"an object that is none", `"custom_cell2":"x"`, `"custom_cell2.name":"n"`, "custom_cell2.name", `"custom_cell2":{"name":"n"}`},
		{"nothing that differs", `"custom_cell1":{"name":"n","url":"https://old.example/"},"balance_url":"https://b.example/"`,
			`"custom_cell1.name":"n","custom_cell1.app_brand_user_name":"","custom_cell1.app_brand_pass":"","balance_url":"https://b.example/"`, "", ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			card := map[string]json.RawMessage{}
			replace := func(members string) {
				if err := json.Unmarshal([]byte(`{`+members+`}`), &card); err != nil {
					t.Fatal(err)
				}
			}
			replace(`"base_info":{}`)
			replace(row.shown)
			w := wechattest.Start(t, func(c wechattest.Call) string {
				if c.Path == "/card/update" {
					replace(row.update)
					return taken
				}
				text, _ := json.Marshal(card)
				return `{"errcode":0,"errmsg":"ok","card":{"card_type":"MEMBER_CARD","member_card":` + string(text) + `}}`
			})
			r := newSyncer(t, wechattest.Source(), w).sync(t.Context(), job(planFor(t, 1, row.fields), false))
			var want []string
			if row.update != "" {
				want = []string{`{"card_id":"p0","member_card":{` + row.update + `}}`}
			}
			if got := w.Received("/card/update"); !slices.Equal(got, want) || strings.Join(r.Cards[0].Changed, " ") != row.changed || r.NotApplied+r.Failed > 0 {
				t.Errorf("WeChat got %q, want %q; the report is %+v", got, want, r.Cards[0])
			}
		})
	}
}

// What people typed into a card does not stop its sync, and neither does a number that no
// float64 holds.
func TestACardWithTextsThatPeopleTyped(t *testing.T) {
	for title, wantUpdates := range map[string]int{"x": 0, "x\x14": 1, "x\n": 1, "x\xff": 1} {
		w := wechattest.Start(t, func(c wechattest.Call) string {
			if c.Path == "/card/update" {
				title = "x"
				return taken
			}
			return shown("\"get_limit\":1e999,\"title\":\"\x14\xff\n\",\"center_title\":\"" + title + `"`)
		})
		r := newSyncer(t, wechattest.Source(), w).sync(t.Context(), job(planFor(t, 1, `"center_title":"x"`), false))
		if n := len(w.Received("/card/update")); n != wantUpdates || r.Failed != 0 || r.Updated != wantUpdates {
			t.Errorf("%q: %d updates, %+v", title, n, r)
		}
	}
}

// A panic is the failure of one card.
func TestAPanicFailsOneCard(t *testing.T) {
	w := wechattest.Start(t, func(wechattest.Call) string { return shown(`"center_title":"x"`) })
	from := wechattest.Source()
	from.OnGet = func(_ context.Context, n int) {
		if n == 2 {
			panic(wechattest.AppSecret)
		}
	}
	s := newSyncer(t, from, w)
	r := s.sync(t.Context(), job(planFor(t, 5, `"center_title":"x"`), false))
	if r.Failed != 1 || r.Unchanged != 4 {
		t.Errorf("%s", statuses(r))
	}
	for _, c := range r.Cards {
		if c.Error != nil && (c.Error.Code != "SYSTEM_ERROR" || strings.Contains(c.Error.Error()+c.Error.Message, wechattest.AppSecret)) {
			t.Errorf("%+v", c.Error)
		}
	}
}
