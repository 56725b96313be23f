package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// namespace is that of a stack.
const namespace = "MemberCard/production"

// record is a decoded record.
type record map[string]any

// read decodes records. Each must be one line of JSON without a duplicate name at
// its root.
func read(t *testing.T, out *bytes.Buffer) []record {
	t.Helper()
	var records []record
	for line := range strings.Lines(out.String()) {
		if !strings.HasSuffix(line, "\n") {
			t.Errorf("a line without an end: %q", line)
		}
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("not JSON: %q: %v", line, err)
		}
		seen := map[string]bool{}
		d := json.NewDecoder(strings.NewReader(line))
		_, _ = d.Token()
		for d.More() {
			name, _ := d.Token()
			if seen[name.(string)] {
				t.Errorf("%s stands twice in %s", name, line)
			}
			seen[name.(string)] = true
			var value json.RawMessage
			if err := d.Decode(&value); err != nil {
				t.Fatal(err)
			}
		}
		records = append(records, r)
	}
	return records
}

// metrics checks a record's embedded metric format, which has no dimensions, and
// returns its metrics with their units.
func (r record) metrics(t *testing.T) map[string]string {
	t.Helper()
	text, _ := json.Marshal(r["_aws"])
	var embedded struct {
		Timestamp         int64
		CloudWatchMetrics []struct {
			Namespace  string
			Dimensions [][]string
			Metrics    []struct{ Name, Unit string }
		}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&embedded); err != nil || len(embedded.CloudWatchMetrics) != 1 {
		t.Fatalf("_aws is %s: %v", text, err)
	}
	if at := time.UnixMilli(embedded.Timestamp); time.Since(at).Abs() > time.Hour {
		t.Errorf("the metric's time is %v, want now, in milliseconds", at)
	}
	directive := embedded.CloudWatchMetrics[0]
	if directive.Namespace != namespace {
		t.Errorf("Namespace is %q", directive.Namespace)
	}
	if len(directive.Dimensions) != 1 || len(directive.Dimensions[0]) != 0 {
		t.Errorf("dimensions %v, want one empty set", directive.Dimensions)
	}
	metrics := map[string]string{}
	for _, metric := range directive.Metrics {
		if _, ok := r[metric.Name].(float64); !ok {
			t.Errorf("the metric %s is %v at the root, want a number", metric.Name, r[metric.Name])
		}
		metrics[metric.Name] = metric.Unit
	}
	return metrics
}

// An ID and a type of another form may be personal data in the wrong place.
func TestNotificationAttributes(t *testing.T) {
	for _, row := range []struct {
		text          string
		isID, isEvent bool
	}{
		{"EV-2018022511223320873", true, false},
		{"8d2c9f1e-4a7b-4c3d-9e0f-1a2b3c4d5e6f", true, false},
		{strings.Repeat("A", 64), true, true},
		{strings.Repeat("A", 65), false, true},
		{strings.Repeat("A", 128), false, true},
		{strings.Repeat("A", 129), false, false},
		{"BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", false, true},
		{"", false, false},
		{"obLatj_openid", false, false},
		{"EV-1 13900000000", false, false},
		{"EV-1\n", false, false},
		{"会员", false, false},
		{"CREATE.13900000000", false, false},
	} {
		if id := NotificationID("id", row.text); id.Equal(slog.String("id", row.text)) != row.isID || !row.isID && !id.Equal(slog.Attr{}) {
			t.Errorf("%q: %v", row.text, id)
		}
		if event := EventType("event_type", row.text); event.Equal(slog.String("event_type", row.text)) != row.isEvent || !row.isEvent && !event.Equal(slog.Attr{}) {
			t.Errorf("%q: %v", row.text, event)
		}
	}
}

func TestARecordIsOneLineOfJSON(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, namespace, "brand-token")
	ctx, r := log.Begin(t.Context(), "8f5a")
	Annotate(ctx, slog.String("route", "POST /v3/\n\"x\""))
	Called(ctx, 2, []string{"a\nb"})
	r.End(ctx, slog.LevelWarn, "refused", "PARAM_ERROR", slog.Int("status", 400))

	records := read(t, &out)
	if len(records) != 1 {
		t.Fatalf("%d records in\n%s", len(records), out.String())
	}
	got := records[0]
	for name, want := range map[string]any{
		"level": "WARN", "message": "refused", "requestId": "8f5a", "Code": "PARAM_ERROR", "Function": "brand-token",
		"route": "POST /v3/\n\"x\"", "attempts": 2.0, "status": 400.0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if fmt.Sprint(got["failed_attempts"]) != "[a\nb]" {
		t.Errorf("failed_attempts is %v", got["failed_attempts"])
	}
	if stamp, _ := got["timestamp"].(string); stamp == "" {
		t.Error("no timestamp")
	} else if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
		t.Error(err)
	}
	if latency, _ := got["Latency"].(float64); latency < 0 || latency > 60_000 {
		t.Errorf("Latency is %v ms", latency)
	}
	for _, name := range []string{"time", "msg"} {
		if _, ok := got[name]; ok {
			t.Errorf("%s is not a name of Lambda's", name)
		}
	}
}

func TestARecordIsAMetricOnlyIfItCountsOne(t *testing.T) {
	for counted, metric := range map[string]string{"": "", OperatorErrors: "map[OperatorErrors:Count]", ConfirmAge: "map[ConfirmAge:Seconds]"} {
		var out bytes.Buffer
		ctx, r := New(&out, namespace, "brand-token").Begin(t.Context(), "")
		r.Count(counted)
		r.End(ctx, slog.LevelError, "refused", "CONFIG_ERROR")
		got := read(t, &out)[0]
		if counted == "" {
			if _, ok := got["_aws"]; ok {
				t.Errorf("a metric that nobody counted: %v", got)
			}
			continue
		}
		if metrics := got.metrics(t); fmt.Sprint(metrics) != metric || got[counted] != 1.0 {
			t.Errorf("metrics %v", metrics)
		}
	}
}

func TestAFailureIsARecordAndAMetricOfItsOwn(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, namespace, "brand-token")
	ctx, r := log.Begin(t.Context(), "8f5a")
	log.Failure(ctx, "SecretFailures", "the secret could not be used", errors.New("private_key\nis missing"), "check it")
	log.Failure(context.Background(), "SecretFailures", "outside of an invocation", errors.New("c"), "check it", slog.String("event_id", "EV-1"))
	r.End(ctx, slog.LevelInfo, "answered", "OK")

	records := read(t, &out)
	if len(records) != 3 {
		t.Fatalf("%d records, want 3:\n%s", len(records), out.String())
	}
	for name, want := range map[string]any{
		"level": "ERROR", "message": "the secret could not be used", "cause": "private_key\nis missing", "cure": "check it",
		"requestId": "8f5a", "Function": "brand-token", "SecretFailures": 1.0,
	} {
		if records[0][name] != want {
			t.Errorf("%s is %v, want %v", name, records[0][name], want)
		}
	}
	if records[1]["event_id"] != "EV-1" {
		t.Errorf("event_id is %v", records[1]["event_id"])
	}
	if id, ok := records[1]["requestId"]; ok {
		t.Errorf("requestId %v outside of an invocation", id)
	}
	for _, failure := range records[:2] {
		if metrics := failure.metrics(t); fmt.Sprint(metrics) != "map[SecretFailures:Count]" {
			t.Errorf("metrics %v", metrics)
		}
	}
	if _, ok := records[2]["SecretFailures"]; ok {
		t.Error("the invocation's own record counts the failure again")
	}
}

func TestTwoCallsOfAnInvocationAreCountedTogether(t *testing.T) {
	for _, row := range []struct {
		what     string
		calls    func(context.Context)
		attempts any
		failed   string
	}{
		{"none", func(context.Context) {}, nil, "<nil>"},
		{"one", func(ctx context.Context) { Called(ctx, 1, nil) }, 1.0, "<nil>"},
		{"two", func(ctx context.Context) {
			Called(ctx, 2, []string{"a: refused"})
			Called(ctx, 3, []string{"a: refused", "b: reset"})
		}, 5.0, "[a: refused a: refused b: reset]"},
	} {
		var out bytes.Buffer
		ctx, r := New(&out, namespace, "f").Begin(t.Context(), "")
		row.calls(ctx)
		r.End(ctx, slog.LevelInfo, "answered", "OK")
		got := read(t, &out)[0]
		if got["attempts"] != row.attempts || fmt.Sprint(got["failed_attempts"]) != row.failed {
			t.Errorf("%s: %v attempts, failed %v", row.what, got["attempts"], got["failed_attempts"])
		}
	}
}

func TestAnnotateOutsideOfAnInvocationDoesNothing(t *testing.T) {
	Annotate(t.Context(), slog.Int("attempts", 1))
	Called(t.Context(), 1, nil)
}

func TestRecordsOfInvocationsDoNotMix(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, namespace, "f")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			ctx, r := log.Begin(context.Background(), fmt.Sprint(i))
			Annotate(ctx, slog.Int("mine", i))
			r.End(ctx, slog.LevelInfo, "answered", "OK")
		})
	}
	all.Wait()
	records := read(t, &out)
	if len(records) != 20 {
		t.Fatalf("%d records, want 20", len(records))
	}
	for _, r := range records {
		if r["requestId"] != fmt.Sprint(r["mine"]) {
			t.Errorf("request %v has the annotation of %v", r["requestId"], r["mine"])
		}
	}
}
