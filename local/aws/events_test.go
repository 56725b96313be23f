package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"membercard/local/template"
)

func eventsClient(s *Server, secretKey string) *eventbridge.Client {
	return eventbridge.NewFromConfig(config(s, region, accessKey, secretKey))
}

// entry returns one that is valid.
func entry() types.PutEventsRequestEntry {
	return types.PutEventsRequestEntry{
		EventBusName: aws.String("cards"), Source: aws.String("membercard"), DetailType: aws.String("BRAND.USER_CARD.CREATE"),
		Time: aws.Time(time.Date(2025, 6, 22, 2, 34, 56, 789e6, time.UTC)), Detail: aws.String(`{ "n": 12345678901234567890.10, "s": "<&>" }`),
	}
}

// startBus starts a server with the bus cards and a rule that sends the events with
// the given pattern to the queue Q.
func startBus(t *testing.T, pattern string) *Server {
	t.Helper()
	s := start(t)
	s.Events.CreateBus("cards")
	s.Queues.Create([]template.Queue{{LogicalID: "Q", ARN: "arn:aws:sqs:eu-west-1:123456789012:Q", URL: "https://sqs/Q"}})
	if err := s.Events.PutRule(template.Rule{LogicalID: "R", Bus: "cards", Pattern: []byte(pattern)}, s.Queues.Get("Q").SendEvent); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPutEvents(t *testing.T) {
	s := startBus(t, `{"source":["membercard"]}`)
	out, err := eventsClient(s, secretKey).PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{entry()}})
	if err != nil || out.FailedEntryCount != 0 || len(out.Entries) != 1 || out.Entries[0].EventId == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	want := `{"version":"0","id":"` + *out.Entries[0].EventId + `","detail-type":"BRAND.USER_CARD.CREATE","source":"membercard","account":"123456789012",` +
		`"time":"2025-06-22T02:34:56Z","region":"eu-west-1","resources":[],"detail":{"n":12345678901234567890.10,"s":"<&>"}}`
	if messages := s.Queues.Get("Q").Messages(); len(messages) != 1 || messages[0].Body != want {
		t.Errorf("in the queue: %+v, want %s", messages, want)
	}
	if history := s.Events.History(); len(history) != 1 || history[0].ID != *out.Entries[0].EventId || history[0].Bus != "cards" || time.Since(history[0].Taken).Abs() > time.Minute {
		t.Errorf("history: %+v", history)
	}
}

// TestEntries puts an entry that differs from a valid one, between two that do not.
func TestEntries(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*types.PutEventsRequestEntry)
		code   string // of the entry
		failed string // code of the whole request
	}{
		{name: "good", change: func(*types.PutEventsRequestEntry) {}},
		{name: "default bus", change: func(e *types.PutEventsRequestEntry) { e.EventBusName = nil }},
		{name: "ARN of the bus", change: func(e *types.PutEventsRequestEntry) {
			e.EventBusName = aws.String("arn:aws:events:eu-west-1:123456789012:event-bus/cards")
		}},
		{name: "no time", change: func(e *types.PutEventsRequestEntry) { e.Time = nil }},
		{name: "empty detail", change: func(e *types.PutEventsRequestEntry) { e.Detail = aws.String("{}") }},
		{name: "no source", change: func(e *types.PutEventsRequestEntry) { e.Source = nil }, code: "InvalidArgument"},
		{name: "empty source", change: func(e *types.PutEventsRequestEntry) { e.Source = aws.String("") }, code: "InvalidArgument"},
		{name: "no detail type", change: func(e *types.PutEventsRequestEntry) { e.DetailType = nil }, code: "InvalidArgument"},
		{name: "no detail", change: func(e *types.PutEventsRequestEntry) { e.Detail = nil }, code: "MalformedDetail"},
		{name: "detail is not JSON", change: func(e *types.PutEventsRequestEntry) { e.Detail = aws.String("{") }, code: "MalformedDetail"},
		{name: "detail is a list", change: func(e *types.PutEventsRequestEntry) { e.Detail = aws.String("[]") }, code: "MalformedDetail"},
		{name: "detail is null", change: func(e *types.PutEventsRequestEntry) { e.Detail = aws.String("null") }, code: "MalformedDetail"},
		{name: "another bus", change: func(e *types.PutEventsRequestEntry) { e.EventBusName = aws.String("other") }, failed: "AccessDeniedException"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startBus(t, `{"source":["membercard"]}`)
			changed := entry()
			test.change(&changed)
			out, err := eventsClient(s, secretKey).PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{entry(), changed, entry()}})
			if errorCode(err) != test.failed || (err != nil) != (test.failed != "") {
				t.Fatalf("error %v, want %q", err, test.failed)
			}
			events := 3
			switch {
			case err != nil:
				events = 0
			case test.code != "":
				events = 2
				if out.FailedEntryCount != 1 || aws.ToString(out.Entries[1].ErrorCode) != test.code || aws.ToString(out.Entries[1].ErrorMessage) == "" || out.Entries[1].EventId != nil {
					t.Errorf("%d failed, the second with %+v, want %s", out.FailedEntryCount, out.Entries[1], test.code)
				}
			case out.FailedEntryCount != 0:
				t.Errorf("%d failed", out.FailedEntryCount)
			}
			history := s.Events.History()
			if len(history) != events {
				t.Errorf("%d events, want %d", len(history), events)
			}
			for _, e := range history {
				if e.Bus != "cards" { // which the rule is of
					events--
				}
			}
			if got := len(s.Queues.Get("Q").Messages()); got != events {
				t.Errorf("%d messages, want %d", got, events)
			}
		})
	}
}

func TestEventsFail(t *testing.T) {
	s := startBus(t, `{"source":["membercard"]}`)
	put := func() (*eventbridge.PutEventsOutput, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		return eventsClient(s, secretKey).PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{entry(), entry()}})
	}
	s.Events.Fail(&Fault{Status: 400, Code: "ThrottlingException"})
	if _, err := put(); errorCode(err) != "ThrottlingException" {
		t.Errorf("throttled: %v", err)
	}
	s.Events.Fail(&Fault{Hang: true})
	if _, err := put(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hanging: %v", err)
	}
	s.Events.Fail(nil)
	s.Events.FailEntries("InternalFailure")
	if out, err := put(); err != nil || out.FailedEntryCount != 1 || aws.ToString(out.Entries[0].ErrorCode) != "InternalFailure" || out.Entries[1].EventId == nil {
		t.Errorf("partly refused: %+v %v", out, err)
	}
	s.Events.FailEntries("")
	if out, err := put(); err != nil || out.FailedEntryCount != 0 || len(s.Events.History()) != 3 {
		t.Errorf("healed: %+v %v", out, err)
	}
}

func TestSubscribe(t *testing.T) {
	s := startBus(t, `{"source":["membercard"]}`)
	seen := make(chan string, 10)
	put := func() {
		t.Helper()
		if _, err := eventsClient(s, secretKey).PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{entry()}}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	cancel := s.Events.Subscribe(func(e Event) { seen <- e.ID })
	put()
	cancel()
	put()
	if got := <-seen; len(seen) != 0 || got != s.Events.History()[1].ID {
		t.Errorf("saw %s and %d more, want the second event only", got, len(seen))
	}
}

func TestPattern(t *testing.T) {
	const event = `{"source":"membercard","detail-type":"BRAND_MEMBER_CARD_SP.USER_CARD.CREATE","resources":["a","b"],` +
		`"detail":{"n":1,"yes":true,"null":null,"resource":{"state":"UNACTIVATED"},"objects":[{}]}}`
	for _, test := range []struct {
		pattern string
		matches bool
		err     string
	}{
		{`{"source":["membercard"]}`, true, ""},
		{`{"source":["other","membercard"]}`, true, ""},
		{`{"source":["member"]}`, false, ""},
		{`{"source":["Membercard"]}`, false, ""},
		{`{"source":[]}`, false, ""},
		{`{"source":["membercard"],"detail-type":[{"suffix":".USER_CARD.CREATE"}]}`, true, ""},
		{`{"source":["other"],"detail-type":[{"suffix":".USER_CARD.CREATE"}]}`, false, ""},
		{`{"detail-type":[{"suffix":".USER_CARD.DELETE"}]}`, false, ""},
		{`{"detail":{"resource":{"state":["UNACTIVATED"]}}}`, true, ""},
		{`{"detail":{"n":["1"]}}`, false, ""},
		{`{"detail":{"missing":{"x":["1"]}}}`, false, ""},
		{`{"detail":{"objects":["x"]}}`, false, ""},
		{`{"source":{"x":["membercard"]}}`, false, ""},

		{`{}`, false, "it is not an object with a member"},
		{`[]`, false, "it is not an object with a member"},
		{`{"source":"membercard"}`, false, "/source is not an object or a list"},
		{`{"detail":{"n":1}}`, false, "/detail/n is not an object or a list"},
		{`{"detail":{"n":[1]}}`, false, "/detail/n has a comparison that is not supported"},
		{`{"source":[["membercard"]]}`, false, "/source has a comparison that is not supported"},
		{`{"source":[{"suffix":"a","other":"b"}]}`, false, "/source has a comparison that is not supported"},
		{`{"source":[{"anything-but":"a"}]}`, false, "/source has a comparison that is not supported"},
		{`{"source":[{"suffix":{"equals-ignore-case":"a"}}]}`, false, "/source has a comparison that is not supported"},
	} {
		t.Run(test.pattern, func(t *testing.T) {
			pattern, err := readPattern([]byte(test.pattern))
			if fmt.Sprint(err) != test.err && (err != nil || test.err != "") {
				t.Fatalf("error %v, want %s", err, test.err)
			}
			if err != nil {
				return
			}
			var document map[string]any
			if err := json.Unmarshal([]byte(event), &document); err != nil {
				t.Fatal(err)
			}
			if got := matches(pattern, document); got != test.matches {
				t.Errorf("matches: %v", got)
			}
		})
	}
}

func TestPutRuleFails(t *testing.T) {
	s := start(t)
	for _, test := range []struct {
		rule template.Rule
		err  string
	}{
		{template.Rule{LogicalID: "R", Bus: "default", Pattern: []byte(`{"source":["a",[]]}`)}, "aws: the pattern of R: /source has a comparison that is not supported"},
		{template.Rule{LogicalID: "R", Bus: "cards", Pattern: []byte(`{"source":["a"]}`)}, "aws: R is a rule of the event bus cards, which does not exist"},
	} {
		if err := s.Events.PutRule(test.rule, nil); err == nil || err.Error() != test.err {
			t.Errorf("error %v, want %s", err, test.err)
		}
	}
}
