package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"membercard/shared/cardplan"
	"membercard/shared/plansync"
	"membercard/shared/plansync/plansynctest"
)

const (
	day       = 24 * time.Hour
	unchanged = "unchanged "
)

// What differs from what was applied is sent, and what WeChat Pay says is remembered.
func TestModules(t *testing.T) {
	t.Parallel()
	answers := func(to string, status int, body string) func(string) (int, string) {
		return func(call string) (int, string) {
			if call == to {
				return status, body
			}
			return 0, ""
		}
	}
	_, notYet := refused("请求失败：会员卡暂未添加该会员服务项，请先添加")
	_, unknownID := refused("该会员服务项id不存在")
	noAuth := `{"code":"NO_AUTH","message":"无权限"}`
	failed := `{"code":"SYSTEM_ERROR","message":"系统错误"}`
	for _, row := range []struct {
		what, plan, memory string // modules of p0
		card               string // its modules at WeChat Pay
		answer             func(call string) (int, string)
		calls, report      string // of the report: status, changed, and the code of the error
		after, remembered  string
	}{
		{"one that the card does not have is added", `"666":` + offers, ``, ``, nil, "PATCH p0/666, POST p0/666", "updated 666", "p0/666", "p0/666=pages/offers"},
		{"one that the card has is changed", `"666":` + offers, ``, `666`, nil, "PATCH p0/666", "updated 666", "p0/666", "p0/666=pages/offers"},
		{"one that was applied is not sent", `"666":` + offers, `"666":` + applied(offers, day/2), `666`, nil, "", unchanged, "p0/666", "p0/666=pages/offers"},
		{"one that was applied with another path", `"666":` + offers, `"666":` + applied(newYear, 0), `666`, nil, "PATCH p0/666", "updated 666", "p0/666", "p0/666=pages/offers"},
		{"one that was removed", `"666":` + offers, `"666":` + applied("null", 0), ``, nil, "PATCH p0/666, POST p0/666", "updated 666", "p0/666", "p0/666=pages/offers"},
		{"null takes one off", `"666":null`, `"666":` + applied(offers, 0), `666`, nil, "DELETE p0/666", "updated 666", "", "p0/666=-"},
		{"null, and it is not there", `"666":null`, ``, ``, nil, "DELETE p0/666", "updated 666", "", "p0/666=-"},
		{"null, and it was taken off", `"666":null`, `"666":` + applied("null", 0), ``, nil, "", unchanged, "", "p0/666=-"},
		{"somebody else adds it meanwhile", `"666":` + offers, ``, `666`, func() func(string) (int, string) {
			patches := 0
			return func(call string) (int, string) {
				if patches++; patches == 1 {
					return 400, notYet
				}
				return 0, ""
			}
		}(), "PATCH p0/666, POST p0/666, PATCH p0/666", "updated 666", "p0/666", "p0/666=pages/offers"},
		{"one is refused, the others are not", `"0":` + offers + `,"666":` + offers + `,"7":null`, ``, `666`, answers("PATCH p0/0", 400, unknownID),
			"PATCH p0/0, PATCH p0/666, DELETE p0/7", "failed 666 7 INVALID_REQUEST", "p0/666", "p0/666=pages/offers p0/7=-"},
		{"no authorization for the card", `"666":` + offers, `"666":` + applied(newYear, 0), `666`, answers("PATCH p0/666", 403, noAuth),
			"PATCH p0/666", "failed NO_AUTH", "p0/666", "p0/666=pages/new-year"},
		{"what a call left unknown is forgotten", `"666":` + offers, `"666":` + applied(newYear, 0), `666`, answers("PATCH p0/666", 500, failed),
			"PATCH p0/666, PATCH p0/666, PATCH p0/666, PATCH p0/666", "failed SYSTEM_ERROR", "p0/666", ""},
		{"one that was applied more than a day ago is sent again", `"666":` + offers, `"666":` + applied(offers, day+time.Minute), `666`, nil, "PATCH p0/666", unchanged, "p0/666", "p0/666=pages/offers"},
		{"one that was applied in the far future too", `"666":` + offers, `"666":` + applied(offers, -day-time.Hour), `666`, nil, "PATCH p0/666", unchanged, "p0/666", "p0/666=pages/offers"},
		{"one that is sent again and refused is not what the card has", `"666":` + offers, `"666":` + applied(offers, 2*day), `666`, answers("PATCH p0/666", 400, unknownID),
			"PATCH p0/666", "failed INVALID_REQUEST", "p0/666", ""},
		{"one that is named no more is forgotten", `"666":` + offers, `"666":` + applied(offers, 0) + `,"7":` + applied(offers, 0), `666 7`, nil, "", unchanged, "p0/666 p0/7", "p0/666=pages/offers"},
		{"one that only a campaign names is not", `"666":` + offers + `},"campaigns":[{"until":"2020-01-01T00:00:00Z","service_modules":{"7":null}}],"fields":{"center_title":"x"`,
			`"666":` + applied(offers, 0) + `,"7":` + applied(offers, 0), `666 7`, nil, "", unchanged, "p0/666 p0/7", "p0/666=pages/offers p0/7=pages/offers"},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w, b := startWeChatPay(t), plansynctest.NewBucket(planOf(row.plan))
			w.answer = row.answer
			for _, id := range strings.Fields(row.card) {
				w.cards["p0/"+id] = newYear
			}
			if row.memory != "" {
				b.Put(plansync.ServiceModules, kept(row.memory))
			}
			f, records := newFunction(t, w, b.Start(t))
			a := plansynctest.Invoke(t.Context(), t, f, byHand)
			if len(a.Cards) != 1 {
				t.Fatalf("%+v", a)
			}
			c := a.Cards[0]
			report := c.Status + " " + strings.Join(c.Changed, " ")
			if c.Error != nil {
				report = strings.TrimSuffix(report, " ") + " " + c.Error.Code
			}
			if got := w.received(); got != row.calls || report != row.report || w.has() != row.after {
				t.Errorf("the calls are %s, the report %q, the card has %s", got, report, w.has())
			}
			if got := remembers(t, b.Content(plansync.ServiceModules)); got != row.remembered {
				t.Errorf("%q is remembered, want %q", got, row.remembered)
			}
			if n := strings.Count(records.String(), `"SyncFailures":1`); (n > 0) != (c.Error != nil) || n > 1 {
				t.Errorf("the records are %s", records)
			}
		})
	}
}

// A dry run compares with what was applied. It sends and writes nothing.
func TestADryRun(t *testing.T) {
	w, b := startWeChatPay(t), plansynctest.NewBucket(planOf(`"6":null,"66":`+offers+`,"666":`+newYear))
	memory := kept(`"6":` + applied("null", 2*day) + `,"66":` + applied(offers, 0) + `,"gone":` + applied(offers, 0))
	b.Put(plansync.ServiceModules, memory)
	f, _ := newFunction(t, w, b.Start(t))
	a := plansynctest.Invoke(t.Context(), t, f, `{"action":"sync","dry_run":true}`)
	if a.Updated != 1 || !a.DryRun || !slices.Equal(a.Cards[0].Changed, []string{"666"}) || w.received() != "" || b.Written() != nil {
		t.Errorf("%+v", a)
	}
}

// A plan in the event is remembered as any other. What it does not name is not forgotten.
func TestAPlanInTheEvent(t *testing.T) {
	w, b := startWeChatPay(t), plansynctest.NewBucket(planOf(`"666":`+newYear))
	b.Put(plansync.ServiceModules, kept(`"666":`+applied(newYear, 0)+`,"7":`+applied(offers, 0)))
	f, _ := newFunction(t, w, b.Start(t))
	a := plansynctest.Invoke(t.Context(), t, f, `{"action":"sync","plan":`+planOf(`"666":`+offers)+`}`)
	if got := remembers(t, b.Content(plansync.ServiceModules)); a.Updated != 1 || got != "p0/666=pages/offers p0/7=pages/offers" {
		t.Errorf("%+v; %s is remembered", a, got)
	}
}

// A plan is refused for all its faults, also for those in what card-sync applies.
func TestFaultsOfBothSyncs(t *testing.T) {
	const bad = `{"cards":[
		{"card_id":"p0","service_modules":{"too-long-an-id":null,"666":{"appid":"wx","url":"x"},"7":false}},
		{"card_id":"p1","fields":{"custom_url":"x","colour":"red"}},
		{"card_id":"p0","fields":{}},
		{"card_id":"p2","campaigns":[{"from":"tomorrow","service_modules":{"666":null}}]}]}`
	w, b := startWeChatPay(t), plansynctest.NewBucket(bad)
	f, records := newFunction(t, w, b.Start(t))
	a := plansynctest.Invoke(t.Context(), t, f, byHand)
	if a.Error == nil || a.Error.Code != "INVALID_PLAN" {
		t.Fatalf("%+v", a)
	}
	var at []string
	for _, fault := range a.Error.Faults {
		at = append(at, fault.Path)
	}
	slices.Sort(at)
	want := []string{
		"/cards/0/service_modules/666/path", "/cards/0/service_modules/666/url", "/cards/0/service_modules/7", "/cards/0/service_modules/too-long-an-id",
		"/cards/1/fields/colour", "/cards/1/fields/custom_url", "/cards/2/card_id", "/cards/3/campaigns/0/from",
	}
	if !slices.Equal(at, want) {
		t.Errorf("faults at %q, want %q", at, want)
	}
	if w.received() != "" || b.Written() != nil || !strings.Contains(records.String(), "INVALID_PLAN") {
		t.Errorf("the record is %s", records)
	}
}

// One sync at a time holds the lease. TestTheLease of card-sync has what else counts as free.
func TestTheLease(t *testing.T) {
	lease := func(ends time.Duration) string {
		return `{"holder":"h","until":"` + time.Now().Add(ends).Format(time.RFC3339) + `"}`
	}
	for _, row := range []struct {
		what, lease string
		held        bool
	}{
		{"held", lease(time.Minute), true},
		{"expired", lease(-time.Second), false},
		{"spoilt", lease(time.Hour)[1:], false},
	} {
		t.Run(row.what, func(t *testing.T) {
			w, b := startWeChatPay(t), plansynctest.NewBucket(planOf(`"666":null`))
			b.Put(plansync.ServiceModulesLease, row.lease)
			f, records := newFunction(t, w, b.Start(t))
			a := plansynctest.Invoke(t.Context(), t, f, byHand)
			calls, after := "DELETE p0/666", "{}"
			if row.held {
				calls, after = "", row.lease
			}
			if (a.Error != nil && a.Error.Code == "SYNC_RUNNING") != row.held || w.received() != calls || b.Content(plansync.ServiceModulesLease) != after {
				t.Errorf("%+v; the lease is %s", a, b.Content(plansync.ServiceModulesLease))
			}
			if strings.Contains(records.String(), "ERROR") {
				t.Errorf("the record is %s", records)
			}
		})
	}
}

// planFor returns a plan for n cards, p0 and so on, with the same service modules.
func planFor(n int, modules string) string {
	var cards []string
	for i := range n {
		cards = append(cards, fmt.Sprintf(`{"card_id":"p%d","service_modules":{%s}}`, i, modules))
	}
	return `{"cards":[` + strings.Join(cards, ",") + `]}`
}

// A run that its deadline ends leaves cards to the next one, which sends what is not
// remembered and nothing else.
func TestADeadline(t *testing.T) {
	t.Parallel()
	const cards = 10 // more than a run of 3.5 s has calls for
	w, b := startWeChatPay(t), plansynctest.NewBucket(planFor(cards, `"666":null`))
	f, _ := newFunction(t, w, b.Start(t))
	ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
	defer cancel()
	a := plansynctest.Invoke(ctx, t, f, byHand)
	var done, left []string
	for _, c := range a.Cards {
		switch c.Status {
		case plansync.Updated:
			done = append(done, c.CardID+"/666=-")
		case plansync.Deferred:
			left = append(left, "DELETE "+c.CardID+"/666")
		}
	}
	slices.Sort(done)
	if got := remembers(t, b.Content(plansync.ServiceModules)); len(left) == 0 || len(done)+len(left) != cards || got != strings.Join(done, " ") {
		t.Fatalf("%+v; %s is remembered", a, got)
	}
	w.received()
	a = plansynctest.Invoke(t.Context(), t, f, byHand)
	calls := strings.Split(w.received(), ", ")
	slices.Sort(calls)
	slices.Sort(left)
	if !slices.Equal(slices.Compact(calls), left) || a.Updated != len(left) || a.Unchanged != len(done) {
		t.Errorf("the calls are %q, want %q; %+v", calls, left, a)
	}
	if plansynctest.Invoke(t.Context(), t, f, byHand); w.received() != "" {
		t.Error("a third run sends something")
	}
}

// order returns what a run of a plan does first, and what it sends again.
func order(t *testing.T, plan string, m modules) (first []string, resend map[moduleKey]bool) {
	t.Helper()
	p, faults := cardplan.Parse([]byte(plan))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	r := &run{Job: plansync.Job{Plan: p, Now: time.Now()}, memory: &memory{current: m}}
	return r.order(), r.resend
}

// What was applied more than a day ago is sent again, the oldest first, at most 250 modules a
// run. It goes behind what differs.
func TestWhatIsSentAgain(t *testing.T) {
	const cards = 300
	m := modules{}
	for i := range cards { // the oldest is the last card's; p0 differs, and p1 is not old
		ago := day + time.Duration(i)*time.Minute
		if i == 1 {
			ago = day - time.Minute
		}
		m[moduleKey{fmt.Sprintf("p%d", i), "666"}] = remembered{At: time.Now().Add(-ago)}
	}
	m[moduleKey{"p0", "666"}] = remembered{&cardplan.Module{AppID: "wx", Path: "pages/other"}, time.Now()}
	first, resend := order(t, planFor(cards, `"666":null`), m)
	want := []string{"p0"}
	for i := cards - maxResent; i < cards; i++ {
		id := fmt.Sprintf("p%d", i)
		if want = append(want, id); !resend[moduleKey{id, "666"}] {
			t.Errorf("%s is not sent again", id)
		}
	}
	if len(resend) != maxResent || !slices.Equal(first, want) {
		t.Errorf("%d are sent again; first are %q", len(resend), first)
	}
}

// Runs begin at different cards: some may fail again and again, and a run may be cut short by
// its deadline or a limit.
func TestWhereARunBegins(t *testing.T) {
	began := map[string]bool{}
	for range 20 { // all 20 begin at the same card once in 20^19 times
		first, _ := order(t, planFor(20, `"666":null`), modules{})
		began[first[0]] = true
		if len(first) != 20 {
			t.Fatalf("%q", first)
		}
	}
	if len(began) == 1 {
		t.Errorf("20 runs begin at %v", began)
	}
}
