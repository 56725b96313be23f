package main

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/cardplan"
	"membercard/shared/deadline"
	"membercard/shared/plansync"
	"membercard/shared/signing"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
)

const (
	// resendAge is the age after which a module that was applied is sent again, because
	// somebody else may have changed it: what a card has can't be read.
	resendAge = 24 * time.Hour
	// maxResent limits the modules that a run sends again.
	maxResent = 250
	// minTimeToCall is the minimum time left for a call.
	minTimeToCall = time.Second
)

// has reports whether the sync is for a card with these links.
func has(links cardplan.Links) bool { return links.ServiceModules != nil }

// syncer brings the service modules of cards in line with the plan.
type syncer struct {
	wechatpay *signing.Client
	memory    plansync.Object
	log       *telemetry.Log
}

// run is one run of a syncer.
type run struct {
	plansync.Job
	calls  *calls
	memory *memory
	resend map[moduleKey]bool // what was applied long ago, and is sent again
}

// moduleKey identifies a service module of a card.
type moduleKey struct{ cardID, moduleID string }

// sync applies the plan. What differs from what is remembered goes first, then what was
// applied long ago.
func (s *syncer) sync(ctx context.Context, job plansync.Job) *plansync.Report {
	m := &memory{object: s.memory, log: s.log}
	m.read(ctx)
	r := &run{Job: job, calls: newCalls(s.wechatpay), memory: m}
	first := r.order()
	if !job.DryRun {
		if job.InS3 {
			m.forgetUnplanned(job.Plan)
		}
		defer m.writeRegularly(ctx)()
	}
	report, _ := plansync.Run(ctx, job, first, r.card)
	return report
}

// order chooses what is sent again, and returns the cards that have to be called for.
func (r *run) order() (first []string) {
	old := map[moduleKey]time.Time{} // when what was applied long ago was applied
	for i := range r.Plan.Cards {
		card := &r.Plan.Cards[i]
		differs := false
		for id, wanted := range card.At(r.Now).ServiceModules {
			known, at := r.memory.has(moduleKey{card.CardID, id}, wanted)
			if !known {
				differs = true
			} else if age := r.Now.Sub(at); age > resendAge || age < -resendAge {
				old[moduleKey{card.CardID, id}] = at
			}
		}
		if differs {
			first = append(first, card.CardID)
		}
	}
	if len(first) > 0 { // each card gets its turn, also if others fail in each run, or end it
		at := rand.IntN(len(first))
		first = slices.Concat(first[at:], first[:at])
	}
	oldest := slices.SortedFunc(maps.Keys(old), func(a, b moduleKey) int { return old[a].Compare(old[b]) })
	r.resend = map[moduleKey]bool{}
	again := map[string]bool{}
	for _, module := range oldest[:min(len(oldest), maxResent)] {
		r.resend[module], again[module.cardID] = true, true
	}
	for i := range r.Plan.Cards {
		if id := r.Plan.Cards[i].CardID; again[id] {
			first = append(first, id)
		}
	}
	return first
}

// card brings one card in line with the plan. report is deferred. A module that fails does
// not stop the others, unless every call would fail.
func (r *run) card(ctx context.Context, planned *cardplan.Card, report *plansync.Card) {
	wanted := planned.At(r.Now).ServiceModules
	var first error
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		at := moduleKey{planned.CardID, id}
		known, _ := r.memory.has(at, wanted[id])
		if known && (!r.resend[at] || r.DryRun) {
			continue
		}
		if !r.DryRun {
			err := r.apply(ctx, at, wanted[id])
			if errors.Is(err, upstream.ErrNoTime) {
				if first != nil {
					break
				}
				return // deferred, with what was changed
			}
			if err != nil {
				if first == nil {
					first = err
				}
				if plansync.EndsRun(apierror.From(err)) {
					first = err
					break
				}
				continue
			}
		}
		if !known {
			report.Changed = append(report.Changed, id)
		}
	}
	changed := report.Changed
	switch {
	case first != nil:
		report.Fail(first)
		report.Changed = changed
	case len(changed) > 0:
		report.Status = plansync.Updated
	default:
		report.Status = plansync.Unchanged
	}
}

// apply makes a card have a module, or not have it if wanted is nil, and remembers that. The
// error is [upstream.ErrNoTime] if there was no time for it.
func (r *run) apply(ctx context.Context, at moduleKey, wanted *cardplan.Module) error {
	var err error
	if wanted == nil {
		err = r.calls.remove(ctx, at)
	} else {
		err = r.calls.change(ctx, at, wanted)
		if isRefusal(err, notAdded) {
			r.memory.forget(at)
			err = r.calls.add(ctx, at, wanted)
		}
		if isRefusal(err, addedAlready) {
			err = r.calls.change(ctx, at, wanted)
		}
	}
	if err == nil || wanted == nil && isRefusal(err, notAdded) {
		r.memory.remember(at, wanted, r.Now)
		return nil
	}
	if errors.Is(err, upstream.ErrNoTime) {
		return err
	}
	// What was refused has not been done, but what was sent again is not what the card has.
	e := apierror.From(err)
	unknown := e.Status >= 500 && !plansync.EndsRun(e)
	if unknown || r.resend[at] && !plansync.EndsRun(e) {
		r.memory.forget(at)
	}
	if e.Code == "UPSTREAM_TIMEOUT" && !deadline.Leaves(ctx, minTimeToCall) {
		return upstream.ErrNoTime // the run's own time was up
	}
	return err
}
