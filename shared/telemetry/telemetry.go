// Package telemetry writes the log of a function: a JSON record for each invocation, and
// one for each failure that does not have to fail the invocation. A record can also be a
// metric, in CloudWatch's embedded metric format.
//
// Successes are not counted, because Lambda and API Gateway have free metrics for
// requests and their duration. Metrics have no dimensions, because CloudWatch charges
// each combination of dimensions as a metric. The record has the function and the code.
//
// Records must not contain keys, secrets, tokens, openids or personal data. Callers have
// to ensure that.
package telemetry

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Metrics. Their unit is Count, but for ConfirmAge.
const (
	// OperatorErrors are errors that the operator has to correct: the configuration,
	// the signature, a missing card ticket, a bug. See [apierror.Error.Metric].
	OperatorErrors = "OperatorErrors"
	// UpstreamErrors are calls that WeChat did not answer, or not as documented.
	UpstreamErrors = "UpstreamErrors"
	// Throttled are callers' requests that WeChat refused because of a quota or a rate
	// limit. What has no caller (the queue, a sync) waits and has alarms of its own.
	Throttled = "Throttled"
	// SecretFailures are reads of a secret that failed, or brought one that could not
	// be parsed. Requests may still succeed with the cached value.
	SecretFailures = "SecretFailures"
	// KeyCheckFailures are checks of the merchant's keys that failed.
	KeyCheckFailures = "KeyCheckFailures"
	// TicketFailures are failed renewals of the card ticket.
	TicketFailures = "TicketFailures"
	// SyncFailures are syncs in which a card failed, or whose plan could not be used.
	SyncFailures = "SyncFailures"
	// ConfirmAge is how long the oldest card of a batch has waited for its confirmation,
	// in seconds. It is written after a failed confirmation, and as 0 when a card is done
	// that had failed before. SQS's own metric forgets messages that are tried again.
	ConfirmAge = "ConfirmAge"
)

// Log writes records.
type Log struct {
	slog      *slog.Logger
	namespace string
	function  string
}

// New returns a Log that writes JSON lines to w. namespace is the CloudWatch namespace of
// its metrics. function is the value of Function in each record.
func New(w io.Writer, namespace, function string) *Log {
	return &Log{
		slog:      slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: lambdaNames})),
		namespace: namespace,
		function:  function,
	}
}

// lambdaNames renames the keys of time and message to those of Lambda's JSON log format,
// which Lambda's log level filter requires.
func lambdaNames(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 {
		switch a.Key {
		case slog.TimeKey:
			a.Key = "timestamp"
		case slog.MessageKey:
			a.Key = "message"
		}
	}
	return a
}

// Failure writes a record of a failure that does not have to fail the invocation. It
// counts the failure as the given metric unless that is "".
func (l *Log) Failure(ctx context.Context, metric, message string, cause error, cure string, more ...slog.Attr) {
	attrs := append(more, slog.String("cause", cause.Error()), slog.String("cure", cure))
	change(ctx, func(r *Record) { attrs = append(attrs, slog.String("requestId", r.requestID)) })
	l.write(ctx, slog.LevelError, message, attrs, metric, 1)
}

// Record collects the attributes of one invocation. [Record.End] writes it.
type Record struct {
	log       *Log
	requestID string
	start     time.Time

	mu       sync.Mutex
	metric   string // "" if the record has none
	value    int    // of the metric
	attrs    []slog.Attr
	attempts int
	failed   []string
	stack    string // of the first panic
}

type recordKey struct{}

// Begin starts the record of an invocation. [Annotate] and [Called] find it in the
// returned context.
func (l *Log) Begin(ctx context.Context, requestID string) (context.Context, *Record) {
	r := &Record{log: l, requestID: requestID, start: time.Now()}
	return context.WithValue(ctx, recordKey{}, r), r
}

// change changes the record in ctx, if there is one.
func change(ctx context.Context, f func(*Record)) {
	if r, ok := ctx.Value(recordKey{}).(*Record); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		f(r)
	}
}

// Annotate adds attributes to the invocation's record. If ctx has no record, it does
// nothing.
func Annotate(ctx context.Context, attrs ...slog.Attr) {
	change(ctx, func(r *Record) { r.attrs = append(r.attrs, attrs...) })
}

const capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// NotificationID returns the attribute for the ID of a notification, or no attribute
// unless the ID has the usual form: 1 to 64 of the characters A-Z a-z 0-9 -. Anything
// else may be personal data in the wrong place.
func NotificationID(key, id string) slog.Attr {
	return attr(key, id, 64, capitals+"abcdefghijklmnopqrstuvwxyz0123456789-")
}

// EventType is [NotificationID] for the type of a notification: 1 to 128 of the characters
// A-Z _ . as in BRAND_MEMBER_CARD_SP.USER_CARD.CREATE.
func EventType(key, eventType string) slog.Attr { return attr(key, eventType, 128, capitals+"_.") }

func attr(key, text string, maxLength int, letters string) slog.Attr {
	if text == "" || len(text) > maxLength || strings.Trim(text, letters) != "" {
		return slog.Attr{}
	}
	return slog.String(key, text)
}

// Called adds the number of attempts of a call to WeChat to the record, and descriptions
// of the attempts that failed.
func Called(ctx context.Context, attempts int, failed []string) {
	change(ctx, func(r *Record) {
		r.attempts += attempts
		r.failed = append(r.failed, failed...)
	})
}

// Panicked adds the stack of a panic to the invocation's record. Of several panics it
// keeps the first.
func Panicked(ctx context.Context, stack []byte) {
	change(ctx, func(r *Record) { r.stack = cmp.Or(r.stack, string(stack)) })
}

// Count makes the record count the given metric once, or none if metric is "". It
// replaces a metric that was set before.
func (r *Record) Count(metric string) { r.Measure(metric, 1) }

// Measure is [Record.Count] for a metric with a value.
func (r *Record) Measure(metric string, value int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metric, r.value = metric, value
}

// End writes the record. code is "OK" or an error code.
func (r *Record) End(ctx context.Context, level slog.Level, message, code string, attrs ...slog.Attr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if attrs = append(attrs, r.attrs...); r.attempts > 0 {
		attrs = append(attrs, slog.Int("attempts", r.attempts))
	}
	if len(r.failed) > 0 {
		attrs = append(attrs, slog.Any("failed_attempts", r.failed))
	}
	if r.stack != "" {
		attrs = append(attrs, slog.String("stack", r.stack))
	}
	attrs = append(attrs,
		slog.String("requestId", r.requestID),
		slog.String("Code", code),
		slog.Float64("Latency", float64(time.Since(r.start).Microseconds())/1000), // milliseconds
	)
	r.log.write(ctx, level, message, attrs, r.metric, r.value)
}

// write writes a record, which has the given metric unless that is "".
func (l *Log) write(ctx context.Context, level slog.Level, message string, attrs []slog.Attr, metric string, value int) {
	attrs = append(attrs, slog.String("Function", l.function))
	if metric != "" {
		unit := "Count"
		if metric == ConfirmAge {
			unit = "Seconds"
		}
		attrs = append(attrs, slog.Int(metric, value), slog.Group("_aws", // CloudWatch's embedded metric format
			slog.Int64("Timestamp", time.Now().UnixMilli()),
			slog.Any("CloudWatchMetrics", []map[string]any{{
				"Namespace": l.namespace, "Dimensions": [][]string{{}}, "Metrics": []map[string]string{{"Name": metric, "Unit": unit}},
			}}),
		))
	}
	l.slog.LogAttrs(ctx, level, message, attrs...)
}
