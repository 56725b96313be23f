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

	"membercard/shared/awsconfig"
	"membercard/shared/cardplan"
	"membercard/shared/invocation"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

// maxPlan is the maximum size of a plan: 4 MiB.
const maxPlan = 4 << 20

const (
	maxFaults = 1000 // maximum number of a plan's faults in the report
	maxLogged = 20   // maximum number of faults, or of failed cards, in the log record
)

// readTimeout limits reading the plan, with the SDK's retries.
const readTimeout = 10 * time.Second

// request is the event of a sync, from a schedule or by hand:
// {"action": "sync", "dry_run": true, "plan": {…}}.
type request struct {
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

type handler struct {
	syncer *syncer
	plans  planObject
}

// sync is the action {"action": "sync"}. It reads the plan, applies it and returns the
// report. A failed card and a bad plan are part of the report and not an error, because
// repeating the invocation would not help.
func (h *handler) sync(ctx context.Context, record *telemetry.Record, event []byte) ([]byte, error) {
	var r request
	err := invocation.Decode(event, &r)
	if err != nil {
		return nil, err
	}
	document := []byte(r.Plan)
	if document == nil {
		if document, err = h.plans.read(ctx); err != nil {
			return reportPlanError(ctx, record, planError{Code: "PLAN_UNREADABLE", Message: "the plan can't be read: " + err.Error()},
				"put the plan where CARD_PLAN_BUCKET and CARD_PLAN_KEY say, and let the function's role read it")
		}
	}
	p, err := cardplan.Parse(document)
	if faults, ok := errors.AsType[strictjson.Faults](err); ok {
		return reportPlanError(ctx, record, invalidPlan(faults), "correct the plan at the places named, or restore its last good version")
	}
	if err != nil {
		return nil, err
	}
	report := h.syncer.sync(ctx, p, time.Now(), r.DryRun)
	endRecord(ctx, record, report)
	return strictjson.Encode(report)
}

func invalidPlan(faults strictjson.Faults) planError {
	e := planError{Code: "INVALID_PLAN", Message: fmt.Sprintf("nothing was changed; faults in the plan: %d", len(faults))}
	for _, fault := range faults[:min(len(faults), maxFaults)] {
		e.Faults = append(e.Faults, planFault{fault.Path, fault.Issue})
	}
	return e
}

func reportPlanError(ctx context.Context, record *telemetry.Record, e planError, cure string) ([]byte, error) {
	record.Count(telemetry.SyncFailures)
	record.End(ctx, slog.LevelError, "not synced", e.Code, slog.String("cause", e.Message), slog.Any("faults", e.Faults[:min(len(e.Faults), maxLogged)]), slog.String("cure", cure))
	return strictjson.Encode(map[string]any{"error": e})
}

// endRecord ends the record of a sync that has a report.
func endRecord(ctx context.Context, record *telemetry.Record, r *report) {
	level, code := slog.LevelInfo, "OK"
	attrs := []slog.Attr{
		slog.Int("updated", r.Updated), slog.Int("unchanged", r.Unchanged), slog.Int("not_applied", r.NotApplied),
		slog.Int("failed", r.Failed), slog.Int("deferred", r.Deferred), slog.Bool("dry_run", r.DryRun),
	}
	if r.Failed > 0 {
		level, code = slog.LevelError, "CARDS_FAILED"
		record.Count(telemetry.SyncFailures)
		attrs = append(attrs, slog.Any("failures", failures(r)))
	}
	record.End(ctx, level, "synced", code, attrs...)
}

// failures describes the first failed cards, for the log record.
func failures(r *report) []string {
	var lines []string
	for _, c := range r.Cards {
		if c.Error != nil && len(lines) < maxLogged {
			lines = append(lines, c.CardID+": "+c.Error.Error())
		}
	}
	return lines
}

// planObject is the S3 object with the plan.
type planObject struct {
	client      *s3.Client
	bucket, key string
}

// read returns the plan's current version.
func (o planObject) read(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	out, err := o.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.bucket, Key: &o.key})
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", o.key, o.bucket, awsconfig.Failure("S3", err))
	}
	defer out.Body.Close()
	document, err := io.ReadAll(io.LimitReader(out.Body, maxPlan+1))
	if err != nil {
		return nil, errors.New("the connection to S3 broke")
	}
	if len(document) > maxPlan {
		return nil, errors.New("it is larger than 4 MiB")
	}
	return document, nil
}
