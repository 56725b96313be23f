package main

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	wechattest "membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/plansync"
	"membercard/shared/plansync/plansynctest"
)

// One sync at a time holds the lease. Whatever else the object is, it is free.
func TestTheLease(t *testing.T) {
	until := func(d time.Duration) string {
		return `{"holder":"h","until":"` + time.Now().Add(d).Format(time.RFC3339) + `"}`
	}
	held := until(time.Minute)
	for _, row := range []struct {
		what, event, kept string
		held              bool
		after             string // the lease; "" is none
		theirs            string // another sync's lease, of while this one runs
	}{
		{"none", `{"action":"sync"}`, "", false, "{}", ""},
		{"free", `{"action":"sync"}`, "{}", false, "{}", ""},
		{"held", `{"action":"sync"}`, held, true, held, ""},
		{"held, for a plan in the event", `{"action":"sync","plan":` + plan(3) + `}`, held, true, held, ""},
		{"held, for a dry run", `{"action":"sync","dry_run":true}`, held, false, held, ""},
		{"none, for a dry run", `{"action":"sync","dry_run":true}`, "", false, "", ""},
		{"expired", `{"action":"sync"}`, until(-time.Second), false, "{}", ""},
		{"for longer than an invocation takes", `{"action":"sync"}`, until(time.Hour), false, "{}", ""},
		{"taken over meanwhile", `{"action":"sync"}`, "", false, held, held},
		{"no JSON", `{"action":"sync"}`, "held", false, "{}", ""},
		{"JSON of another shape", `{"action":"sync"}`, `{"until":7}`, false, "{}", ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			q, b := startQuota(t), plansynctest.NewBucket(plan(3))
			q.reads(3)
			if row.kept != "" {
				b.Put(plansync.CardSyncLease, row.kept)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			deadline, _ := ctx.Deadline()
			b.Refuse = func(_, name string) (int, string) {
				lease := b.Content(plansync.CardSyncLease)
				if name != plansynctest.Plan || lease == row.kept || lease == row.after || lease == "{}" {
					return 0, ""
				}
				// The plan is read again under the lease, which outlives the invocation.
				var mine struct{ Until time.Time }
				if row.theirs != "" {
					b.Put(plansync.CardSyncLease, row.theirs)
				} else if err := json.Unmarshal([]byte(lease), &mine); err != nil || !mine.Until.After(deadline) {
					t.Errorf("the lease is %s, %v, and the deadline %s", lease, err, deadline)
				}
				return 0, ""
			}
			f, records := newFunction(wechattest.Source(), q.URL, b.Start(t))
			a := plansynctest.Invoke(ctx, t, f, row.event)
			reads := len(q.Received("/card/get"))
			if row.held != (a.Error != nil && a.Error.Code == "SYNC_RUNNING") || row.held != (reads == 0) {
				t.Errorf("%+v after %d reads", a, reads)
			}
			if all := records.All(t); len(all) != 1 || all[0]["level"] != "INFO" || all[0]["SyncFailures"] != nil {
				t.Errorf("the record is %s", records)
			}
			if got := b.Content(plansync.CardSyncLease); got != row.after {
				t.Errorf("the lease is %q, want %q", got, row.after)
			}
		})
	}
}

// A lease that S3 refuses stops nothing, and is a failure that the operator sees.
func TestALeaseThatCannotBeTaken(t *testing.T) {
	for _, row := range []struct {
		what, method string
		status       int
		code         string
	}{
		{"S3 refuses to read it", "GET", 403, "AccessDenied"},
		{"S3 refuses to write it", "PUT", 403, "AccessDenied"},
		{"S3 says each time that somebody else wrote it, and nobody holds it", "PUT", 412, "PreconditionFailed"},
	} {
		t.Run(row.what, func(t *testing.T) {
			q, b := startQuota(t), plansynctest.NewBucket(plan(3))
			b.Refuse = func(method, name string) (int, string) {
				if method == row.method && name == plansync.CardSyncLease {
					return row.status, row.code
				}
				return 0, ""
			}
			q.reads(3)
			f, records := newFunction(wechattest.Source(), q.URL, b.Start(t))
			if a := plansynctest.Invoke(t.Context(), t, f, `{"action":"sync"}`); a.Unchanged != 3 {
				t.Errorf("%+v", a)
			}
			if record := records.All(t)[0]; record["SyncFailures"] != 1.0 || !strings.Contains(record["cure"].(string), "card-sync.lease.json") {
				t.Errorf("the record is %v", record)
			}
		})
	}
}

// A storage may be compatible with S3, and not know conditions of GET or not have ETags. Its
// plan is applied once.
func TestAPlanWithoutConditions(t *testing.T) {
	for _, get := range []string{"without conditions", "without ETags"} {
		t.Run(get, func(t *testing.T) {
			q, b := startQuota(t), plansynctest.NewBucket(plan(3))
			b.Get = get
			q.reads(3)
			f, _ := newFunction(wechattest.Source(), q.URL, b.Start(t))
			if a := plansynctest.Invoke(t.Context(), t, f, `{"action":"sync"}`); a.Unchanged != 3 || len(q.Received("/card/get")) != 3 {
				t.Errorf("%+v", a)
			}
		})
	}
}

// A plan that is put while a sync runs is applied by that sync, because its own finds the
// lease held.
func TestAPlanThatIsPutMeanwhile(t *testing.T) {
	const second, beforeTheLease = `{"cards":[{"card_id":"p0","fields":{"center_title":"second"}}]}`, "another plan, before the lease is taken"
	for _, row := range []struct {
		what, event, next string
		want              string // center_title of the updates
	}{
		{"another plan", `{"action":"sync"}`, second, "first second"},
		{beforeTheLease, `{"action":"sync"}`, second, "second"},
		{"the same plan again", `{"action":"sync"}`, "", "first"},
		{"a plan with faults, which the next sync reports", `{"action":"sync"}`, `{}`, "first"},
		{"while the plan of an event is applied", `{"action":"sync","plan":{"cards":[{"card_id":"p0","fields":{"center_title":"first"}}]}}`, second, "first"},
	} {
		t.Run(row.what, func(t *testing.T) {
			b := plansynctest.NewBucket(`{"cards":[{"card_id":"p0","fields":{"center_title":"first"}}]}`)
			var updates []string
			var puts atomic.Int32
			current := ""
			w := wechattest.Start(t, func(c wechattest.Call) string {
				if c.Path != "/card/update" {
					return shown(current)
				}
				current = `"center_title":"` + titleOf(c.Body) + `"`
				updates = append(updates, titleOf(c.Body))
				if puts.Add(1) == 1 && row.next != "" {
					b.Put(plansynctest.Plan, row.next)
				}
				return taken
			})
			b.Refuse = func(method, name string) (int, string) {
				if row.what == beforeTheLease && method == "GET" && name == plansync.CardSyncLease {
					b.Put(plansynctest.Plan, row.next)
				}
				return 0, ""
			}
			f, _ := newFunction(wechattest.Source(), w.URL, b.Start(t))
			a := plansynctest.Invoke(t.Context(), t, f, row.event)
			if got := strings.Join(updates, " "); got != row.want || a.Updated != 1 || b.Content(plansync.CardSyncLease) != "{}" {
				t.Errorf("the updates are %s, want %s; %+v; the lease is %s", got, row.want, a, b.Content(plansync.CardSyncLease))
			}
		})
	}
}

func titleOf(update string) string {
	_, rest, _ := strings.Cut(update, `"center_title":"`)
	title, _, _ := strings.Cut(rest, `"`)
	return title
}
