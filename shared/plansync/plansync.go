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
	"membercard/shared/invocation"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

const (
	maxPlan   = 4 << 20 // bytes of a plan in S3
	maxLogged = 20      // maximum number of faults, or of failed cards, in the log record
)

// Sync handles the action {"action": "sync"}. It reads the plan, has Apply bring the cards
// in line with it that Has reports, and returns the report. A failed card and a bad plan are part of the
// report and not an error, because repeating the invocation would not help.
type Sync struct {
	Plan  Object
	Has   func(*cardplan.Card) bool
	Apply func(ctx context.Context, p *cardplan.Plan, now time.Time, dryRun bool) *Report
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
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Faults  []planFault `json:"faults,omitempty"`
}

type planFault struct {
	Path  string `json:"path"` // JSON pointer into the plan
	Issue string `json:"issue"`
}

// Invoke is an [invocation.Action].
func (s Sync) Invoke(ctx context.Context, record *telemetry.Record, document []byte) ([]byte, error) {
	var e event
	if err := invocation.Decode(document, &e); err != nil {
		return nil, err
	}
	text := []byte(e.Plan)
	if text == nil {
		var err error
		text, err = s.Plan.Read(ctx, maxPlan)
		switch {
		case errors.Is(err, ErrNoObject):
			record.End(ctx, slog.LevelInfo, "not synced: there is no plan yet", "OK")
			return strictjson.Encode(newReport(nil, e.DryRun))
		case err != nil:
			return reportPlanError(ctx, record, planError{Code: "PLAN_UNREADABLE", Message: "the plan can't be read: " + err.Error()},
				"put the plan where CARD_PLAN_BUCKET and CARD_PLAN_KEY say, and let the function's role read it and list its bucket")
		}
	}
	p, err := cardplan.Parse(text)
	if faults, ok := errors.AsType[strictjson.Faults](err); ok {
		return reportPlanError(ctx, record, invalidPlan(faults), "correct the plan at the places named, or restore its last good version")
	}
	if err != nil {
		return nil, err
	}
	p.Cards = slices.DeleteFunc(p.Cards, func(c cardplan.Card) bool { return !s.Has(&c) })
	report := s.Apply(ctx, p, time.Now(), e.DryRun)
	report.end(ctx, record)
	return strictjson.Encode(report)
}

func invalidPlan(faults strictjson.Faults) planError {
	e := planError{Code: "INVALID_PLAN", Message: fmt.Sprintf("nothing was changed; faults in the plan: %d", len(faults))}
	if len(faults) == strictjson.MaxFaults {
		e.Message += " or more"
	}
	for _, fault := range faults {
		e.Faults = append(e.Faults, planFault{fault.Path, fault.Issue})
	}
	return e
}

func reportPlanError(ctx context.Context, record *telemetry.Record, e planError, cure string) ([]byte, error) {
	record.Count(telemetry.SyncFailures)
	record.End(ctx, slog.LevelError, "not synced", e.Code, slog.String("cause", e.Message), slog.Any("faults", e.Faults[:min(len(e.Faults), maxLogged)]), slog.String("cure", cure))
	return strictjson.Encode(map[string]any{"error": e})
}
