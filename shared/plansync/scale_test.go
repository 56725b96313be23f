package plansync

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"membercard/shared/cardplan"
)

// TestRunsForALargePlan simulates the runs that it takes until a plan has reached all its
// cards. docs/scale.md has the figures.
func TestRunsForALargePlan(t *testing.T) {
	const (
		call    = 250 * time.Millisecond // of WeChat
		timeout = 240 * time.Second      // of the function, in template.yaml
		rate    = 5 * time.Minute        // SyncRate
	)
	page, err := os.ReadFile("../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		what  string
		calls int // for each card: a changed one is read, updated and read again
	}{{"nothing changed", 1}, {"all changed", 3}} {
		for _, n := range []int{1000, 5000, 10000} {
			var line string
			synctest.Test(t, func(t *testing.T) {
				p := &cardplan.Plan{}
				for i := range n {
					p.Cards = append(p.Cards, cardplan.Card{CardID: fmt.Sprintf("p%d", i)})
				}
				began := time.Now()
				var next []string
				var reached atomic.Int32
				var took time.Duration // until the last card was reached
				runs := 0
				for ; took == 0; runs++ {
					time.Sleep(time.Until(began.Add(time.Duration(runs) * rate)))
					ctx, cancel := context.WithTimeout(t.Context(), timeout-500*time.Millisecond) // as deadline.WithReserve does
					_, next = Run(ctx, Job{Plan: p}, next, func(_ context.Context, _ *cardplan.Card, c *Card) {
						time.Sleep(time.Duration(row.calls) * call)
						c.Status = Unchanged
						if reached.Add(1) == int32(n) {
							took = time.Since(began)
						}
					})
					cancel()
				}
				line = fmt.Sprintf("| %d | %s | %d | %s |", n, row.what, runs, took.Round(time.Second))
			})
			t.Log(line)
			if !strings.Contains(string(page), line) {
				t.Errorf("docs/scale.md does not have the line %s", line)
			}
		}
	}
}
