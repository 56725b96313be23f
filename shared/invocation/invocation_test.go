package invocation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"membercard/shared/telemetry"
)

var _ lambda.Handler = Action{}

// called is a function with the action "sync" and a handler of requests. It records
// which of them were called.
type called struct {
	Action
	log   bytes.Buffer
	names []string
	event string
}

// requests is the function's handler of requests.
type requests func(event []byte) ([]byte, error)

func (r requests) Invoke(_ context.Context, event []byte) ([]byte, error) { return r(event) }

func newCalled(do func() ([]byte, error)) *called {
	c := &called{}
	c.Log = telemetry.New(&c.log, "MemberCard", "test")
	c.Requests = requests(func(event []byte) ([]byte, error) {
		c.names, c.event = append(c.names, "a request"), string(event)
		return []byte(`{"answered":true}`), nil
	})
	c.Name, c.Do = "sync", func(ctx context.Context, record *telemetry.Record, event []byte) ([]byte, error) {
		c.names, c.event = append(c.names, "sync"), string(event)
		answer, err := do()
		record.End(ctx, slog.LevelInfo, "done", "OK")
		return answer, err
	}
	return c
}

func TestWhichHandlerAnEventIsFor(t *testing.T) {
	for _, row := range []struct{ what, event, called, err string }{
		{"the action", `{"action":"sync"}`, "sync", ""},
		{"the action, with more", `{"plan":{"cards":[]},"action":"sync","dry_run":true}`, "sync", ""},
		{"the action, spelt with an escape", `{"act\u0069on":"s\u0079nc"}`, "sync", ""},
		{"a request, whatever is in its body", `{"body":"{\"action\":\"sync\"}"}`, "a request", ""},
		{"an unknown action", `{"action":"sink"}`, "", `no action "sink"`},
		{"an action in another case", `{"action":"Sync"}`, "", `no action "Sync"`},
		{"an action without a name", `{"action":""}`, "", `no action ""`},
		{"an action with a line break", `{"action":"a\nb"}`, "", `no action "a\nb"`},
		{"the member in another case", `{"Action":"sync"}`, "a request", ""},
		{"a number", `{"action":1}`, "a request", ""},
		{"null", `{"action":null}`, "a request", ""},
		{"an object", `{"action":{"name":"sync"}}`, "a request", ""},
		{"inside another", `{"detail":{"action":"sync"}}`, "a request", ""},
		{"in an array", `[{"action":"sync"}]`, "a request", ""},
		{"trailing data", `{"action":"sync"}x`, "a request", ""},
		{"cut short", `{"action":"sync"`, "a request", ""},
		{"a text", `"sync"`, "a request", ""},
		{"nothing", ``, "a request", ""},
	} {
		for _, hasRequests := range []bool{true, false} {
			t.Run(row.what, func(t *testing.T) {
				c := newCalled(func() ([]byte, error) { return []byte(`{"answered":true}`), nil })
				want, fault := row.called, row.err
				if !hasRequests {
					c.Requests = nil
					if want == "a request" {
						want, fault = "", "no action"
					}
				}
				answer, err := c.Invoke(t.Context(), []byte(row.event))
				if got := strings.Join(c.names, ", "); got != want {
					t.Errorf("called was %q, want %q", got, want)
				}
				if fault != "" {
					if err == nil || answer != nil || !strings.Contains(err.Error(), fault) {
						t.Errorf("%s, %v, want the error %q", answer, err, fault)
					}
					return
				}
				if err != nil || string(answer) != `{"answered":true}` || c.event != row.event {
					t.Errorf("%s for %s, %v", answer, c.event, err)
				}
			})
		}
	}
}

func TestALongNameOfAnActionIsNotRepeated(t *testing.T) {
	c := newCalled(nil)
	if _, err := c.Invoke(t.Context(), []byte(`{"action":"`+strings.Repeat("会", 10_000)+`"}`)); err == nil || len(err.Error()) > 200 {
		t.Errorf("%v", err)
	}
}

func TestAnActionsErrorIsTheRuntimes(t *testing.T) {
	fault := errors.New("WECHAT_45009")
	c := newCalled(func() ([]byte, error) { return nil, fault })
	if answer, err := c.Invoke(t.Context(), []byte(`{"action":"sync"}`)); !errors.Is(err, fault) || answer != nil {
		t.Errorf("%s, %v", answer, err)
	}
}

func TestAPanicOfAnActionIsAnError(t *testing.T) {
	const private = "private matter"
	var noPointer *struct{ Text string }
	for _, row := range []struct {
		what string
		do   func() ([]byte, error)
	}{
		{"a text", func() ([]byte, error) { panic(private) }},
		{"an error", func() ([]byte, error) { panic(errors.New(private)) }},
		{"nil", func() ([]byte, error) { panic(any(nil)) }},
		{"a nil pointer", func() ([]byte, error) { return []byte(noPointer.Text), nil }},
	} {
		t.Run(row.what, func(t *testing.T) {
			defer func() {
				if value := recover(); value != nil {
					t.Fatalf("the runtime got a panic: %v", value)
				}
			}()
			c := newCalled(row.do)
			ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "8f5a"})
			answer, err := c.Invoke(ctx, []byte(`{"action":"sync"}`))
			if err == nil || answer != nil || !strings.Contains(err.Error(), "SYSTEM_ERROR") {
				t.Errorf("%s, %v", answer, err)
			}
			var record map[string]any
			if json.Unmarshal(c.log.Bytes(), &record) != nil || record["Code"] != "SYSTEM_ERROR" || record["level"] != "ERROR" || record["message"] != "sync failed" || record["requestId"] != "8f5a" || record["cure"] == nil {
				t.Errorf("the record is %s", c.log.String())
			}
			if stack, _ := record["stack"].(string); !strings.Contains(stack, "invocation_test.go") {
				t.Errorf("the record has the stack %q", stack)
			}
			if strings.Contains(c.log.String(), private) || err != nil && strings.Contains(err.Error(), private) {
				t.Errorf("a value that nobody vouches for is told: %v\n%s", err, c.log.String())
			}
		})
	}
}

// An action has 500 ms less than its invocation, and not the time limit of HTTP
// requests.
func TestTheTimeOfAnAction(t *testing.T) {
	var got time.Time
	f := Action{Log: telemetry.New(&bytes.Buffer{}, "n", "f"), Name: "sync", Do: func(ctx context.Context, _ *telemetry.Record, _ []byte) ([]byte, error) {
		got, _ = ctx.Deadline()
		return nil, nil
	}}
	ends := time.Now().Add(10 * time.Minute)
	ctx, cancel := context.WithDeadline(t.Context(), ends)
	defer cancel()
	if _, err := f.Invoke(ctx, []byte(`{"action":"sync"}`)); err != nil || !got.Equal(ends.Add(-500*time.Millisecond)) {
		t.Errorf("it has until %v of %v, %v", got, ends, err)
	}
	if _, err := f.Invoke(t.Context(), []byte(`{"action":"sync"}`)); err != nil || !got.IsZero() {
		t.Errorf("without an end it has until %v, %v", got, err)
	}
}

func TestID(t *testing.T) {
	if got := ID(t.Context()); got != "" {
		t.Errorf("outside of Lambda: %q", got)
	}
	if got := ID(lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "8f5a"})); got != "8f5a" {
		t.Errorf("%q", got)
	}
}
