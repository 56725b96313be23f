package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-lambda-go/events"
)

// crm is a CRM that is idempotent as this example asks for: it does the work of a key
// once, and remembers the key together with the result.
type crm struct {
	token string
	fail  func(request int) int // the status instead of the work, or 0
	lose  func(request int) bool

	mutex    sync.Mutex
	requests int
	members  map[string]int    // how often a customer was made a member
	done     map[string]string // the customer by key
}

func (c *crm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.requests++
	if c.fail != nil {
		if status := c.fail(c.requests); status != 0 {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			return
		}
	}
	if r.Header.Get("Authorization") != "Bearer "+c.token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var detail struct {
		ID       string `json:"id"`
		Resource struct {
			OpenID string `json:"openid"`
		} `json:"resource"`
	}
	body, _ := io.ReadAll(r.Body)
	key := r.Header.Get("Idempotency-Key")
	if r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(body, &detail) != nil || key == "" || key != detail.ID {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if _, known := c.done[key]; !known {
		c.members[detail.Resource.OpenID]++
		c.done[key] = detail.Resource.OpenID
	}
	if c.lose != nil && c.lose(c.requests) {
		panic(http.ErrAbortHandler) // the work is done, and the answer is lost
	}
	w.WriteHeader(http.StatusNoContent)
}

func message(id, openid string) events.SQSMessage {
	return events.SQSMessage{MessageId: "m-" + id, Body: `{"version":"0","detail-type":"BRAND_MEMBER_CARD_SP.USER_CARD.CREATE","source":"membercard",` +
		`"detail":{"id":"` + id + `","event_type":"BRAND_MEMBER_CARD_SP.USER_CARD.CREATE","resource":{"openid":"` + openid + `"}}}`}
}

// deliver gives messages to the consumer as SQS does: again until all are taken, at
// most five times. It returns those that are left.
func deliver(t *testing.T, c *consumer, messages ...events.SQSMessage) []events.SQSMessage {
	t.Helper()
	const maxReceiveCount = 5
	for range maxReceiveCount {
		response, err := c.consume(context.Background(), events.SQSEvent{Records: messages})
		if err != nil {
			t.Fatal(err)
		}
		messages = slices.DeleteFunc(slices.Clone(messages), func(m events.SQSMessage) bool {
			return !slices.Contains(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
		})
	}
	return messages
}

func TestConsume(t *testing.T) {
	one, two := message("EV-1", "obLatjnx9gnqzS4myYGmLZ7LgLBA"), message("EV-2", "obLatjother")
	both := map[string]int{"obLatjnx9gnqzS4myYGmLZ7LgLBA": 1, "obLatjother": 1}
	for _, row := range []struct {
		what     string
		fail     func(int) int
		lose     func(int) bool
		messages []events.SQSMessage
		members  map[string]int
		left     int
	}{
		{"each event is passed on", nil, nil, []events.SQSMessage{one, two}, both, 0},
		{"an event that comes twice has one effect", nil, nil, []events.SQSMessage{one, two, one}, both, 0},
		{"an event whose answer was lost has one effect", nil, func(n int) bool { return n == 1 }, []events.SQSMessage{one, two}, both, 0},
		{"a CRM that fails for a while gets every event", func(n int) int { return map[bool]int{true: 503}[n <= 4] }, nil, []events.SQSMessage{one, two}, both, 0},
		{"a CRM that is at its limit gets every event", func(n int) int { return map[bool]int{true: 429}[n == 1] }, nil, []events.SQSMessage{one, two}, both, 0},
		{"one event's failure does not stop the others", func(n int) int { return map[bool]int{true: 422}[n == 1 || n >= 3] }, nil, []events.SQSMessage{one, two}, map[string]int{"obLatjother": 1}, 1},
		{"a redirect is a failure", func(int) int { return 307 }, nil, []events.SQSMessage{one}, map[string]int{}, 1},
		{"what is no event is kept for the dead-letter queue", nil, nil, []events.SQSMessage{{MessageId: "m", Body: `{"detail":{}}`}, {MessageId: "n", Body: `x`}, two}, map[string]int{"obLatjother": 1}, 2},
	} {
		t.Run(row.what, func(t *testing.T) {
			log := captureLog(t)
			shop := &crm{token: "t", fail: row.fail, lose: row.lose, members: map[string]int{}, done: map[string]string{}}
			server := httptest.NewServer(shop)
			defer server.Close()
			c := &consumer{url: server.URL, readToken: func(context.Context) (string, error) { return "t", nil }}
			left := deliver(t, c, row.messages...)
			if len(left) != row.left || !maps.Equal(shop.members, row.members) {
				t.Errorf("%d messages are left, want %d; members are %v, want %v", len(left), row.left, shop.members, row.members)
			}
			if strings.Contains(log.String(), "obLatj") {
				t.Errorf("the log has personal data: %s", log)
			}
		})
	}
}

// The token is read once, and again when the CRM refuses it.
func TestToken(t *testing.T) {
	captureLog(t)
	shop := &crm{token: "new", members: map[string]int{}, done: map[string]string{}}
	server := httptest.NewServer(shop)
	defer server.Close()
	tokens := []string{"old", "new"}
	reads := 0
	c := &consumer{url: server.URL, readToken: func(context.Context) (string, error) { reads++; return tokens[min(reads, len(tokens))-1], nil }}
	left := deliver(t, c, message("EV-1", "o1"), message("EV-2", "o2"))
	if len(left) != 0 || reads != 2 || len(shop.done) != 2 {
		t.Errorf("%d messages are left, the token was read %d times, %d events were done", len(left), reads, len(shop.done))
	}
	c = &consumer{url: server.URL, readToken: func(context.Context) (string, error) { return "", errors.New("AccessDeniedException") }}
	if left := deliver(t, c, message("EV-3", "o3")); len(left) != 1 {
		t.Errorf("without a token %d messages are left", len(left))
	}
}

// captureLog returns what is logged during a test.
func captureLog(t *testing.T) *bytes.Buffer {
	t.Helper()
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &log
}
