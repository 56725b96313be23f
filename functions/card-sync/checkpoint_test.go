package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"membercard/shared/gateway/gatewaytest"
	wechattest "membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/plansync"
	"membercard/shared/plansync/plansynctest"
)

// quota is a WeChat whose cards are as planned, and of which a number of cards can be read
// before the day's quota is used up. A card that is asked for again, because the answer was
// slow, counts once.
type quota struct {
	*wechattest.WeChat
	mu          sync.Mutex
	left        int
	asked, read []string // card_ids
	// The first answer waits until so many cards are asked for.
	together int
	begun    chan struct{}
}

func startQuota(t *testing.T) *quota {
	q := &quota{}
	q.WeChat = wechattest.Start(t, func(c wechattest.Call) string {
		select {
		case <-q.ask(idOf(c)):
		case <-t.Context().Done():
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if !slices.Contains(q.read, idOf(c)) {
			if q.left--; q.left < 0 {
				return `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`
			}
			q.read = append(q.read, idOf(c))
		}
		return shown(`"center_title":"x"`)
	})
	q.reads(0)
	return q
}

// ask returns when a card may be answered.
func (q *quota) ask(id string) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.asked, id) {
		if q.asked = append(q.asked, id); len(q.asked) == max(q.together, 1) {
			close(q.begun)
		}
	}
	return q.begun
}

// reads sets the number of cards that can be read, and returns those that were read since
// the last call.
func (q *quota) reads(left int) []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	read := q.read
	q.left, q.read, q.asked, q.begun = left, nil, nil, make(chan struct{})
	return read
}

// plan returns a plan for the cards p0 to p<n-1>.
func plan(n int) string {
	var cards []string
	for i := range n {
		cards = append(cards, fmt.Sprintf(`{"card_id":"p%d","fields":{"center_title":"x"}}`, i))
	}
	return `{"cards":[` + strings.Join(cards, ",") + `]}`
}

// Each run is that of a new instance and manages a third of the plan. Whether the plan is
// the object's or the event's, every card is reached before any is read twice.
func TestEveryCardGetsItsTurn(t *testing.T) {
	t.Parallel()
	const cards, perRun, rounds = 120, 37, 3
	for event, b := range map[string]*plansynctest.Bucket{
		`{"action":"sync"}`:                            plansynctest.NewBucket(plan(cards)),
		`{"action":"sync","plan":` + plan(cards) + `}`: plansynctest.NewBucket(""),
	} {
		q, at := startQuota(t), b.Start(t)
		var read []string
		for len(read) < rounds*cards {
			q.reads(perRun)
			f, _ := newFunction(wechattest.Source(), q.URL, at)
			a := plansynctest.Invoke(t.Context(), t, f, event)
			if a.Unchanged != perRun || a.Failed == 0 || a.Failed > 4 || a.Deferred == 0 {
				t.Fatalf("%s", statuses(&a.Report))
			}
			for i, c := range a.Cards {
				if c.CardID != fmt.Sprintf("p%d", i) {
					t.Fatalf("card %d of the report is %s", i, c.CardID)
				}
			}
			if n := len(b.Written()); n != 1 {
				t.Fatalf("the checkpoint was written %d times", n)
			}
			read = append(read, q.reads(0)...)
		}
		for round := range slices.Chunk(read[:rounds*cards], cards) {
			slices.Sort(round)
			if n := len(slices.Compact(round)); n != cards {
				t.Errorf("of %d cards %d were read before one was read twice", cards, n)
			}
		}
	}
}

func TestWhereARunBegins(t *testing.T) {
	const all = 12
	for _, row := range []struct {
		what, event, kept string
		first             string   // the card that is read first
		reads             int      // of which WeChat answers so many
		written           []string // afterwards
	}{
		{"a first run that reaches all", `{"action":"sync"}`, "", "p0", all, nil},
		{"a first run that ends early", `{"action":"sync"}`, "", "p0", 0, []string{`{"next":["p0","p1","p2","p3","p4"]}`}},
		{"a run that goes on, and catches up", `{"action":"sync"}`, `{"next":["p7"]}`, "p7", all, []string{`{}`}},
		{"a run that goes on at the last card", `{"action":"sync"}`, `{"next":["p11"]}`, "p11", all, []string{`{}`}},
		{"a run that gets no further", `{"action":"sync"}`, `{"next":["p7","p8","p9","p10","p11"]}`, "p7", 0, nil},
		{"one that had caught up", `{"action":"sync"}`, `{}`, "p0", all, nil},
		{"a dry run", `{"action":"sync","dry_run":true}`, `{"next":["p7"]}`, "p0", all, nil},
		{"a dry run that ends early", `{"action":"sync","dry_run":true}`, `{"next":["p7"]}`, "p0", 0, nil},
		{"a plan in the event", `{"action":"sync","plan":` + plan(8) + `}`, `{"next":["p7"]}`, "p7", 8, []string{`{}`}},
		{"a plan in the event, of other cards", `{"action":"sync","plan":` + plan(7) + `}`, `{"next":["p7"]}`, "p0", 7, nil},
		{"a card that is planned no more", `{"action":"sync"}`, `{"next":["gone"]}`, "p0", all, nil},
		{"no JSON", `{"action":"sync"}`, `p7`, "p0", all, nil},
		{"deleted", `{"action":"sync"}`, "", "p0", all, nil},
		{"nothing", `{"action":"sync"}`, ` `, "p0", all, nil},
		{"JSON of another shape", `{"action":"sync"}`, `{"next":"p7"}`, "p0", all, nil},
		{"one card twice", `{"action":"sync"}`, `{"next":["p7","p7"]}`, "p7", all, []string{`{}`}},
		{"an array", `{"action":"sync"}`, `["p7"]`, "p0", all, nil},
		{"spoilt, and a run that ends early", `{"action":"sync"}`, `]`, "p0", 0, []string{`{"next":["p0","p1","p2","p3","p4"]}`}},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			q, b := startQuota(t), plansynctest.NewBucket(plan(all))
			planned := all
			if n := strings.Count(row.event, "card_id"); n > 0 {
				planned = n
			}
			begins, _ := strconv.Atoi(strings.TrimPrefix(row.first, "p"))
			q.together = min(4, planned-begins) // after the last card, a run waits before it begins anew
			b.Deleted = strings.HasPrefix(row.what, "deleted")
			if row.kept != "" {
				b.Put(plansync.CardSync, row.kept)
			}
			q.reads(row.reads)
			f, records := newFunction(wechattest.Source(), q.URL, b.Start(t))
			a := plansynctest.Invoke(t.Context(), t, f, row.event)
			if a.Unchanged != row.reads {
				t.Errorf("%s", statuses(&a.Report))
			}
			first := q.asked[:min(q.together, len(q.asked))] // in any order
			if !slices.Contains(first, row.first) {
				t.Errorf("the run begins with %q, want %s", first, row.first)
			}
			if written := b.Written(); !slices.Equal(written, row.written) {
				t.Errorf("written is %q, want %q", written, row.written)
			}
			if row.reads > 0 && strings.Contains(records.String(), "ERROR") {
				t.Errorf("the record is %s", records)
			}
		})
	}
}

// A checkpoint that can't be read or written stops nothing, and is a failure that the operator
// sees.
func TestAPlaceThatCannotBeKept(t *testing.T) {
	q, b := startQuota(t), plansynctest.NewBucket(plan(12))
	b.Refuse = func(_, name string) (int, string) {
		if name != plansynctest.Plan {
			return 403, "AccessDenied"
		}
		return 0, ""
	}
	q.reads(5)
	f, records := newFunction(wechattest.Source(), q.URL, b.Start(t))
	if a := plansynctest.Invoke(t.Context(), t, f, `{"action":"sync"}`); a.Unchanged != 5 {
		t.Errorf("%s", statuses(&a.Report))
	}
	all := records.All(t)
	if len(all) != 4 {
		t.Fatalf("want four records:\n%s", records)
	}
	for _, record := range all[1:3] {
		if record["SyncFailures"] != 1.0 || !strings.Contains(fmt.Sprint(record["cause"]), "AccessDenied") || !strings.Contains(fmt.Sprint(record["cure"]), plansync.CardSync) {
			t.Errorf("the record is %v", record)
		}
	}
}

// The checkpoint is in the plan's folder.
func TestThePlaceIsBesideThePlan(t *testing.T) {
	for key, want := range map[string]string{"plan.json": "card-sync.json", "a/plan.json": "a/card-sync.json", "a/b/c": "a/b/card-sync.json", "a//x": "a//card-sync.json"} {
		at := plansynctest.At(gatewaytest.Nowhere)
		at.Key = key
		if got := at.Beside(plansync.CardSync); got.Key != want || got.Bucket != at.Bucket {
			t.Errorf("%s: %+v", key, got)
		}
	}
}
