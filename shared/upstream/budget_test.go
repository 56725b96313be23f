package upstream

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestBudget is the arithmetic of the budget: how many attempts an instance makes
// for calls that all fail.
func TestBudget(t *testing.T) {
	for _, row := range []struct {
		what     string
		a, b     string
		calls    int
		pause    time.Duration // between two calls
		attempts int
	}{
		// Four attempts of the first call leave 6 tokens of 10. The next failure
		// leaves 5, which is half: no more retries.
		{"500, one call", "500", "500", 1, 0, 4},
		{"500", "500", "500", 30, 0, 33},
		{"500, for a long time", "500", "500", 300, time.Second, 303},
		{"refused", "refused", "refused", 30, 0, 33},
		{"broken", "broken", "broken", 30, 0, 33},
		{"429", "429", "429", 30, 0, 30},
		// Each attempt takes half a token: five calls are made twice.
		{"forged", "forged", "forged", 30, 0, 35},
		{"forged, for a long time", "forged", "forged", 300, time.Second, 305},
		{"forged, a call in a minute", "forged", "forged", 60, time.Minute, 67},
		// The first call has two hedges and a retry, the second a hedge.
		{"all hang", "hang", "hang", 30, 0, 34},
		// All calls succeed, but late: after 0.9 tokens for each of the first 6,
		// a hedge for every tenth.
		{"slow", "slow:900", "slow:900", 100, 0, 115},
		// Time fills the bucket after 30 s without a failure, then 60 s, then 120 s,
		// and so on. Where WeChat is down all the time, that comes to an end, too.
		{"500, a call in a minute", "500", "500", 60, time.Minute, 69},
		{"500, a call in ten minutes", "500", "500", 600, 10 * time.Minute, 618},
		{"refused, a call in ten minutes", "refused", "refused", 600, 10 * time.Minute, 618},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted(row.a, row.b)
				attempts := 0
				for range row.calls {
					s.call(t.Context(), false)
					attempts += len(s.asked)
					time.Sleep(row.pause)
				}
				if attempts != row.attempts {
					t.Errorf("%d attempts for %d calls, want %d", attempts, row.calls, row.attempts)
				}
				if row.calls > 1 && float64(attempts) > 1.2*float64(row.calls) {
					t.Errorf("%.2f attempts a call", float64(attempts)/float64(row.calls))
				}
			})
		})
	}
}

// TestTheBudgetRecovers by successes, and by time.
func TestTheBudgetRecovers(t *testing.T) {
	now := time.Now()
	b := newBudget()
	wants := func(what string, want bool) {
		t.Helper()
		if got := b.allows(now); got != want {
			t.Fatalf("%s: allows %v, want %v (%d tokens)", what, got, want, b.tokens)
		}
	}
	wants("at first", true)
	for range 4 {
		b.spend(failureCost, now)
	}
	wants("after 4 failures", true)
	b.spend(failureCost, now)
	wants("after 5 failures", false)
	b.spend(-successGain, now)
	wants("after a success", true)
	for range 20 {
		b.spend(failureCost, now)
	}
	for range 50 {
		wants("empty, after up to 49 successes", false)
		b.spend(-successGain, now)
	}
	wants("after 50 successes", false)
	b.spend(-successGain, now)
	wants("after 51 successes", true)

	for _, recovery := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute} {
		for range 20 {
			b.spend(failureCost, now)
		}
		now = now.Add(recovery - time.Second)
		wants(fmt.Sprint("just before ", recovery), false)
		now = now.Add(time.Second)
		wants(fmt.Sprint("after ", recovery), true)
		if b.tokens != fullBucket {
			t.Errorf("after %v there are %d tokens", recovery, b.tokens)
		}
	}
	b.spend(-successGain, now)
	for range 20 {
		b.spend(failureCost, now)
	}
	now = now.Add(30 * time.Second)
	wants("after a success it takes 30 s again", true)
	for range 200 {
		b.spend(-successGain, now)
	}
	if b.tokens != fullBucket {
		t.Errorf("a full bucket has %d tokens", b.tokens)
	}
}

// TestAfterAnOutage: calls are failed over again.
func TestAfterAnOutage(t *testing.T) {
	for _, row := range []struct {
		what  string
		heals func(t *testing.T, s *scripted)
	}{
		{"nothing was called for 30 s", func(*testing.T, *scripted) { time.Sleep(30 * time.Second) }},
		{"61 calls succeeded", func(t *testing.T, s *scripted) {
			s.scripts["a"], s.scripts["b"] = script{"200"}, script{"200"}
			for range 61 {
				s.call(t.Context(), false)
			}
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScripted("500", "500")
			for range 30 {
				s.call(t.Context(), false)
			}
			s.scripts["b"] = script{"200"}
			if result, _ := s.call(t.Context(), false); result != "500" {
				t.Errorf("%s right after the outage", result)
			}
			row.heals(t, s)
			s.scripts["a"], s.scripts["b"] = script{"500"}, script{"200"}
			if result, attempts := s.call(t.Context(), false); result != "200" || attempts != "a b" {
				t.Errorf("%s: %s after %q", row.what, result, attempts)
			}
		})
	}
}
