package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"membercard/shared/cardplan"
	wechattest "membercard/shared/officialaccount/officialaccounttest"
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

func statuses(r *report) string {
	var list []string
	for _, c := range r.Cards {
		list = append(list, c.Status)
	}
	return strings.Join(list, " ")
}

func newSyncer(w *wechattest.WeChat) *syncer {
	return &syncer{wechat: wechattest.Client(&wechattest.Source{}, w.URL)}
}

// Whatever fails for one card, the others are updated.
func TestOneCardsFailureDoesNotStopTheOthers(t *testing.T) {
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
		{"a limit on the rate", shown(``), `{"errcode":45011,"errmsg":"api minute-quota reach limit"}`, "WECHAT_45011", 1},
		{"a card that was upgraded", shown(``), `{"errcode":48001,"errmsg":"api unauthorized"}`, "WECHAT_48001", 1},
		{"an update answered with something else", shown(``), `<html>`, "INVALID_RESPONSE", 1},
		{"activate_url for a gift", `{"errcode":0,"errmsg":"ok","card":{"card_type":"GIFT","gift":{"base_info":{}}}}`, "", "PARAM_ERROR", 0},
	} {
		t.Run(row.what, func(t *testing.T) {
			updates := 0
			w := wechattest.Start(t, func(c wechattest.Call) string {
				switch {
				case !strings.Contains(c.Body, `"p1"`):
					return `{"errcode":0,"errmsg":"ok","card":{"card_type":"MEMBER_CARD","member_card":{"base_info":{},"activate_url":"http://www.qq.com"}}}`
				case c.Path == "/card/get":
					return row.get
				}
				updates++
				return row.update
			})
			const n = 60 // so many that the run could not end unnoticed
			r := newSyncer(w).sync(t.Context(), planFor(t, n, `"activate_url":"http://www.qq.com"`), time.Now(), false)
			if r.Cards[1].Status != failed || r.Failed != 1 || r.Unchanged != n-1 {
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

// A failure that every card would have ends the run: that card failed, and the rest
// are deferred.
func TestErrorsThatEndTheRun(t *testing.T) {
	for errcode, code := range map[int]string{
		45009: "WECHAT_45009", 40001: "WECHAT_40001", 40014: "WECHAT_40014", 42001: "WECHAT_42001", 40164: "WECHAT_40164",
		40013: "CONFIG_ERROR", 40125: "CONFIG_ERROR",
	} {
		for _, refused := range []string{"/card/get", "/card/update"} {
			t.Run(fmt.Sprintf("%d from %s", errcode, refused), func(t *testing.T) {
				current := map[string]string{}
				w := wechattest.Start(t, func(c wechattest.Call) string {
					card := c.Body[strings.Index(c.Body, `"p`):][:len(`"p0"`)]
					switch {
					case card == `"p2"` && c.Path == refused:
						return fmt.Sprintf(`{"errcode":%d,"errmsg":"no"}`, errcode)
					case c.Path == "/card/update":
						current[card] = `"center_title":"x"`
						return taken
					}
					return shown(current[card])
				})
				r := newSyncer(w).sync(t.Context(), planFor(t, 5, `"center_title":"x"`), time.Now(), false)
				if got := statuses(r); got != "updated updated failed deferred deferred" || r.Updated != 2 || r.Failed != 1 || r.Deferred != 2 {
					t.Errorf("%s: %+v", got, r)
				}
				if e := r.Cards[2].Error; e == nil || e.Code != code {
					t.Errorf("%+v", e)
				}
				for _, body := range append(w.Received("/card/get"), w.Received("/card/update")...) {
					if strings.Contains(body, `"p3"`) || strings.Contains(body, `"p4"`) {
						t.Errorf("after the end of the run WeChat got %s", body)
					}
				}
			})
		}
	}
}

// If no time is left, a card for which nothing was sent is deferred, not failed.
func TestNoTimeLeft(t *testing.T) {
	t.Run("to begin", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), minTimePerCard-time.Millisecond)
		defer cancel()
		w := emptyCard(t)
		if r := newSyncer(w).sync(ctx, planFor(t, 5, `"center_title":"x"`), time.Now(), false); r.Deferred != 5 || len(w.Received("/card/get")) != 0 {
			t.Errorf("%s", statuses(r))
		}
	})
	t.Run("at all", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w := emptyCard(t)
		if r := newSyncer(w).sync(ctx, planFor(t, 5, `"center_title":"x"`), time.Now(), false); r.Deferred != 5 || len(w.Received("/card/get")) != 0 {
			t.Errorf("%s", statuses(r))
		}
	})
	t.Run("to send the update", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), minTimePerCard+500*time.Millisecond)
		defer cancel()
		w := emptyCard(t)
		// The account is asked for before each call. The second time, no time is left
		// for a call.
		from := &wechattest.Source{OnGet: func(ctx context.Context, n int) {
			if deadline, _ := ctx.Deadline(); n == 2 {
				late, cancel := context.WithDeadline(ctx, deadline.Add(-10*time.Millisecond))
				defer cancel()
				<-late.Done()
			}
		}}
		s := &syncer{wechat: wechattest.Client(from, w.URL)}
		r := s.sync(ctx, planFor(t, 1, `"center_title":"x"`), time.Now(), false)
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
	s := newSyncer(w)
	sync := func(value, status string, updates int) {
		t.Helper()
		r := s.sync(t.Context(), planFor(t, 1, `"center_title":"`+value+`"`), time.Now(), false)
		if r.Cards[0].Status != status || len(w.Received("/card/update")) != updates {
			t.Errorf("%+v after %d updates, want %s after %d", r.Cards[0], len(w.Received("/card/update")), status, updates)
		}
		if status == notApplied && (r.NotApplied != 1 || !slices.Equal(r.Cards[0].Changed, []string{"center_title"}) || r.Cards[0].CardStatus != "CARD_STATUS_VERIFY_OK") {
			t.Errorf("%+v", r.Cards[0])
		}
	}
	later := func(d time.Duration) {
		for id, c := range s.sent {
			c.at = c.at.Add(-d)
			s.sent[id] = c
		}
	}
	sync("x", notApplied, 1)
	sync("x", notApplied, 1)
	later(23 * time.Hour)
	sync("x", notApplied, 1)
	later(2 * time.Hour)
	sync("x", notApplied, 2)
	sync("y", notApplied, 3) // another change
	sync("y", notApplied, 3)
	sync("", unchanged, 3) // it shows, so nothing is left to remember
	if len(s.sent) != 0 {
		t.Errorf("%v is remembered since %v", s.sent, wallclock.Now())
	}
}

// A dry run does not count as sending.
func TestADryRunRemembersNothing(t *testing.T) {
	w := emptyCard(t)
	s := newSyncer(w)
	for range 2 {
		if r := s.sync(t.Context(), planFor(t, 3, `"center_title":"x"`), time.Now(), true); r.Updated != 3 || !r.DryRun || r.Cards[0].SendCheck != nil {
			t.Errorf("%+v", r)
		}
	}
	if len(w.Received("/card/update")) != 0 || len(s.sent) != 0 {
		t.Errorf("%d updates, %v remembered", len(w.Received("/card/update")), s.sent)
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
		r := newSyncer(w).sync(t.Context(), planFor(t, 1, `"center_title":"x"`), time.Now(), false)
		if c := r.Cards[0]; c.Status != updated || c.SendCheck == nil || *c.SendCheck != want || !slices.Equal(c.Changed, []string{"center_title"}) {
			t.Errorf("%s: %+v", answer, c)
		}
	}
}

// What people typed into a card does not stop its sync.
func TestACardWithTextsThatPeopleTyped(t *testing.T) {
	for title, wantUpdates := range map[string]int{"x": 0, "x\x14": 1, "x\n": 1, "x\xff": 1} {
		w := wechattest.Start(t, func(c wechattest.Call) string {
			if c.Path == "/card/update" {
				title = "x"
				return taken
			}
			return shown("\"title\":\"\x14\xff\n\",\"center_title\":\"" + title + `"`)
		})
		r := newSyncer(w).sync(t.Context(), planFor(t, 1, `"center_title":"x"`), time.Now(), false)
		if n := len(w.Received("/card/update")); n != wantUpdates || r.Failed != 0 || r.Updated != wantUpdates {
			t.Errorf("%q: %d updates, %+v", title, n, r)
		}
	}
}

// A panic is the failure of one card.
func TestAPanicFailsOneCard(t *testing.T) {
	w := wechattest.Start(t, func(wechattest.Call) string { return shown(`"center_title":"x"`) })
	from := &wechattest.Source{OnGet: func(_ context.Context, n int) {
		if n == 2 {
			panic(wechattest.AppSecret)
		}
	}}
	s := &syncer{wechat: wechattest.Client(from, w.URL)}
	r := s.sync(t.Context(), planFor(t, 5, `"center_title":"x"`), time.Now(), false)
	if r.Failed != 1 || r.Unchanged != 4 {
		t.Errorf("%s", statuses(r))
	}
	for _, c := range r.Cards {
		if c.Error != nil && (c.Error.Code != "SYSTEM_ERROR" || strings.Contains(c.Error.Error()+c.Error.Message, wechattest.AppSecret)) {
			t.Errorf("%+v", c.Error)
		}
	}
}
