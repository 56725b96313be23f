package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

// maxPlan is the size of a plan above which it is not read: 4 MiB.
const maxPlan = 4 << 20

// A report has room for maxFaults faults of a plan, a record for a few.
const (
	maxFaults       = 1000
	maxLoggedFaults = 20
)

// readTimeout is for reading the plan, with the SDK's retries.
const readTimeout = 10 * time.Second

// invocation is the event of a sync, by a schedule or by hand:
// {"action": "sync", "dry_run": true, "plan": {…}}.
type invocation struct {
	DryRun bool
	Plan   json.RawMessage // instead of the object in S3
}

// parseInvocation is as strict as a plan: a dry_run that is misspelt or null would
// be a sync.
func parseInvocation(payload []byte) (event invocation, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(payload, &members); err != nil {
		return event, fmt.Errorf("the invocation: %w", err)
	}
	for name, value := range members {
		switch {
		case name == "action":
		case name == "plan":
			event.Plan = value
		case name == "dry_run" && (string(value) == "true" || string(value) == "false"):
			event.DryRun = string(value) == "true"
		default:
			return event, fmt.Errorf("the invocation has %.32q: there are action, dry_run (true or false) and plan", name)
		}
	}
	return event, nil
}

// syncing is what a sync needs.
type syncing struct {
	syncer *syncer
	plans  planObject
}

// planError is the report of a sync that did not take place.
type planError struct {
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Faults  []planFault `json:"faults,omitempty"`
}

type planFault struct {
	Path  string `json:"path"`
	Issue string `json:"issue"`
}

// sync reads the plan, carries it out and reports. Its outcome is in the report;
// there is no error that a retry of the invocation would cure.
func (f *syncing) sync(ctx context.Context, record *telemetry.Record, payload []byte) ([]byte, error) {
	event, err := parseInvocation(payload)
	if err != nil {
		return nil, err
	}
	document := []byte(event.Plan)
	if document == nil {
		if document, err = f.plans.read(ctx); err != nil {
			return refusePlan(ctx, record, planError{Code: "PLAN_UNREADABLE", Message: "the plan can't be read: " + err.Error()},
				"put the plan where CARD_PLAN_BUCKET and CARD_PLAN_KEY say, and let the function's role read it")
		}
	}
	p, err := parsePlan(document)
	if faults, ok := errors.AsType[strictjson.Faults](err); ok {
		e := planError{Code: "INVALID_PLAN", Message: fmt.Sprintf("nothing was changed; faults in the plan: %d", len(faults))}
		for _, fault := range faults[:min(len(faults), maxFaults)] {
			e.Faults = append(e.Faults, planFault{fault.Path, fault.Issue})
		}
		return refusePlan(ctx, record, e, "correct the plan at the places named, or put its last good version back")
	}
	if err != nil {
		return nil, err
	}
	r := f.syncer.sync(ctx, p, time.Now(), event.DryRun)
	level, code := slog.LevelInfo, "OK"
	counts := []slog.Attr{
		slog.Int("updated", r.Updated), slog.Int("unchanged", r.Unchanged), slog.Int("not_applied", r.NotApplied),
		slog.Int("failed", r.Failed), slog.Int("deferred", r.Deferred), slog.Bool("dry_run", r.DryRun),
	}
	if r.Failed > 0 {
		level, code = slog.LevelError, "CARDS_FAILED"
		counts = append(counts, slog.Any("failures", failures(r)))
	}
	record.End(ctx, level, "synced", code, counts...)
	return strictjson.Encode(r)
}

func refusePlan(ctx context.Context, record *telemetry.Record, e planError, cure string) ([]byte, error) {
	record.End(ctx, slog.LevelError, "not synced", e.Code, slog.String("cause", e.Message), slog.Any("faults", e.Faults[:min(len(e.Faults), maxLoggedFaults)]), slog.String("cure", cure))
	return strictjson.Encode(map[string]any{"error": e})
}

// failures are the cards that failed, for the record: as many as one reads.
func failures(r *report) []string {
	var lines []string
	for _, c := range r.Cards {
		if c.Error != nil && len(lines) < maxLoggedFaults {
			lines = append(lines, c.CardID+": "+c.Error.Error())
		}
	}
	return lines
}

// planObject is the object in S3 that holds the plan.
type planObject struct {
	client      *s3.Client
	bucket, key string
}

// read gets the plan's current version.
func (o planObject) read(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	out, err := o.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.bucket, Key: &o.key})
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		return nil, fmt.Errorf("S3 answered %s for %s in %s", refused.ErrorCode(), o.key, o.bucket)
	}
	if err != nil {
		return nil, errors.New("S3 could not be reached")
	}
	defer out.Body.Close()
	document, err := io.ReadAll(io.LimitReader(out.Body, maxPlan+1))
	if err != nil {
		return nil, errors.New("S3 broke off")
	}
	if len(document) > maxPlan {
		return nil, errors.New("it is over 4 MiB")
	}
	return document, nil
}
