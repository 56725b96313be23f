package plansync

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"membercard/shared/apierror"
	"membercard/shared/cardplan"
	"membercard/shared/deadline"
)

const (
	// atOnce is the number of cards that a run works on at the same time.
	atOnce = 4
	// minTimePerCard is the minimum time left for a card to be begun.
	minTimePerCard = 1500 * time.Millisecond
)

// Run brings the cards of a job in line with its plan, four at a time: do does it for one card,
// whose report is deferred before. The cards are begun in the plan's order, except that
// those in first go first, and after the last of them it goes on, once round.
//
// The run ends before it has begun all cards when the time is up, or with an error that
// every card would get. In either case the cards under way are finished, and next are the
// cards that the next run should begin with: those that were begun and are still deferred,
// or got such an error, and the first that was not begun.
func Run(ctx context.Context, job Job, first []string, do func(context.Context, *cardplan.Card, *Card)) (r *Report, next []string) {
	ctx, cancel := deadline.WithReserve(ctx) // for what follows, such as writing where it stopped
	defer cancel()
	p := job.Plan
	r = newReport(p.Cards, job.DryRun)
	order := inTurn(p.Cards, first)
	slots := semaphore.NewWeighted(atOnce)
	var underWay sync.WaitGroup
	var over atomic.Bool
	begun := 0
	for ; begun < len(order); begun++ {
		if begun > 0 && order[begun] < order[begun-1] {
			underWay.Wait() // no card is begun again before all others were reached
		}
		if slots.Acquire(ctx, 1) != nil || over.Load() || !deadline.Leaves(ctx, minTimePerCard) {
			break
		}
		planned, report := &p.Cards[order[begun]], &r.Cards[order[begun]]
		underWay.Go(func() {
			defer slots.Release(1)
			if err := apierror.Catch(ctx, func() { do(ctx, planned, report) }); err != nil {
				report.Fail(err)
			}
			if EndsRun(report.Error) {
				over.Store(true)
			}
		})
	}
	underWay.Wait()
	r.count()
	for i, at := range order {
		if i > begun {
			break
		}
		if c := r.Cards[at]; c.Status == Deferred || EndsRun(c.Error) {
			next = append(next, c.CardID)
		}
	}
	return r, next
}

// inTurn returns the indexes of cards in the order in which a run begins them; see [Run].
func inTurn(cards []cardplan.Card, first []string) (order []int) {
	index := make(map[string]int, len(cards))
	for i := range cards {
		index[cards[i].CardID] = i
	}
	taken := map[int]bool{}
	from := 0
	for _, id := range first {
		if i, ok := index[id]; ok && !taken[i] {
			order, taken[i], from = append(order, i), true, i+1
		}
	}
	for n := range cards {
		if i := (from + n) % len(cards); !taken[i] {
			order = append(order, i)
		}
	}
	return order
}

// EndsRun reports whether an error concerns the account and not a single card: a limit, a
// refused signature or access token, an IP address that is not allowed, or no valid secret.
func EndsRun(e *apierror.Error) bool {
	if e == nil {
		return false
	}
	ofAccount := e.Errcode > 0 && e.Status == http.StatusBadGateway // −1, busy, is not
	return e.Status == http.StatusTooManyRequests || e.Code == "SIGN_ERROR" || e.Code == "CONFIG_ERROR" || ofAccount
}
