// Package plansync has what the functions share that bring cards in line with the card
// plan: their event, the plan in S3, a run over the cards, and its report.
package plansync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"membercard/shared/cardplan"
	"membercard/shared/deadline"
	"membercard/shared/invocation"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

const (
	maxPlan   = 4 << 20 // bytes of a plan in S3
	maxLogged = 20      // maximum number of faults, or of failed cards, in the log record
)

// Sync handles the action {"action": "sync"}. It reads the plan, has Apply bring the cards
// in line with it that Has reports, and returns the report. A failed card and a bad plan are
// part of the report and not an error, because repeating the invocation would not help.
//
// Two syncs never run at the same time: one holds the lease, and the other reports
// SYNC_RUNNING. A sync whose plan was replaced meanwhile applies the new one as well. A dry
// run takes no lease.
type Sync struct {
	Log   *telemetry.Log
	Plan  Object
	Lease string                    // name of the object with the lease, beside the plan
	Has   func(cardplan.Links) bool // of the card itself, or of a campaign
	Apply func(ctx context.Context, job Job) *Report
}

// Job is what a run has to do.
type Job struct {
	Plan   *cardplan.Plan // the cards that the sync is for
	Now    time.Time      // of which the campaigns are in force
	DryRun bool           // nothing may be changed
	InS3   bool           // the plan is the object in S3, not the event's
}

// event is the event of a sync, from a schedule or by hand:
// {"action": "sync", "dry_run": true, "plan": {…}}.
type event struct {
	Action string          `json:"action"`
	DryRun bool            `json:"dry_run"`
	Plan   json.RawMessage `json:"plan"` // instead of the object in S3
}

// planError is the report of a sync whose plan can't be read or is not valid. Such a sync
// changes nothing.
type planError struct {
	Code    string            `json:"code"`
	Message string            `json:"message"`
	Faults  strictjson.Faults `json:"faults,omitempty"` // places in the plan

	cure string
}

// Invoke is the Do of an [invocation.Action].
func (s Sync) Invoke(ctx context.Context, record *telemetry.Record, document []byte) ([]byte, error) {
	var e event
	if err := invocation.Decode(document, &e); err != nil {
		return nil, err
	}
	var done *Report // of a run whose plan was replaced meanwhile
	for {
		p, tag, bad := s.read(ctx, e)
		switch {
		case p == nil && done != nil: // it is bad or gone, which the next sync reports
			return done.end(ctx, record)
		case bad != nil:
			return reportPlanError(ctx, record, *bad, e.DryRun)
		case p == nil:
			record.End(ctx, slog.LevelInfo, "not synced: there is no plan yet", "OK")
			return strictjson.Encode(newReport(nil, e.DryRun)), nil
		}
		job := Job{Plan: p, Now: time.Now(), DryRun: e.DryRun, InS3: e.Plan == nil}
		if e.DryRun {
			return s.Apply(ctx, job).end(ctx, record)
		}
		release, err := s.Plan.Beside(s.Lease).acquire(ctx)
		switch {
		case errors.Is(err, errHeld) && done != nil: // the other sync applies the new plan
			return done.end(ctx, record)
		case errors.Is(err, errHeld):
			record.End(ctx, slog.LevelInfo, "not synced: another sync is running", syncRunning)
			return strictjson.Encode(map[string]any{"error": planError{Code: syncRunning, Message: errHeld.Error() + "; it applies the plan"}}), nil
		case err != nil:
			s.Log.Failure(ctx, telemetry.SyncFailures, "the sync runs without a lease, so another one may run as well", err,
				"let the function's role read and write "+s.Lease+" in the folder of the plan")
		}
		report := s.underLease(ctx, job, tag, release)
		if report == nil {
			continue
		}
		done = report
		if !job.InS3 || !deadline.Leaves(ctx, minTimePerCard+deadline.Reserve) || !s.Plan.isChanged(ctx, tag) {
			return done.end(ctx, record)
		}
	}
}

const syncRunning = "SYNC_RUNNING"

// underLease has Apply carry out a job, and releases the lease, also after a panic. It
// returns nil if the plan was replaced before the lease was acquired.
func (s Sync) underLease(ctx context.Context, job Job, tag string, release func()) *Report {
	defer release()
	if job.InS3 && s.Plan.isChanged(ctx, tag) {
		return nil
	}
	return s.Apply(ctx, job)
}

// read reads the plan, and leaves the cards in it that the sync is for. tag is the ETag of
// the object in S3. There is no plan if p is nil, and none that can be used if bad is not.
func (s Sync) read(ctx context.Context, e event) (p *cardplan.Plan, tag string, bad *planError) {
	text := []byte(e.Plan)
	if text == nil {
		var err error
		text, tag, err = s.Plan.Read(ctx, maxPlan)
		switch {
		case errors.Is(err, ErrNoObject):
			return nil, "", nil
		case err != nil:
			return nil, "", &planError{Code: "PLAN_UNREADABLE", Message: "the plan can't be read: " + err.Error(),
				cure: "put the plan where CARD_PLAN_BUCKET and CARD_PLAN_KEY say, and let the function's role read it and list its bucket"}
		}
	}
	p, faults := cardplan.Parse(text)
	if len(faults) > 0 {
		return nil, "", invalidPlan(faults)
	}
	p.Cards = slices.DeleteFunc(p.Cards, func(c cardplan.Card) bool { return !slices.ContainsFunc(c.All(), s.Has) })
	return p, tag, nil
}

func invalidPlan(faults strictjson.Faults) *planError {
	e := &planError{Code: "INVALID_PLAN", Message: fmt.Sprintf("nothing was changed; faults in the plan: %d", len(faults)), Faults: faults,
		cure: "correct the plan at the places named, or restore its last good version"}
	if len(faults) == strictjson.MaxFaults {
		e.Message += " or more"
	}
	return e
}

func reportPlanError(ctx context.Context, record *telemetry.Record, e planError, dryRun bool) ([]byte, error) {
	countFailure(record, dryRun)
	record.End(ctx, slog.LevelError, "not synced", e.Code, slog.String("cause", e.Message), slog.Any("faults", e.Faults[:min(len(e.Faults), maxLogged)]), slog.String("cure", e.cure))
	return strictjson.Encode(map[string]any{"error": e}), nil
}
