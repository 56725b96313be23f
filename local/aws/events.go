package aws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/template"
	"membercard/local/uuid"
)

const (
	maxEntries    = 10
	maxEventsSize = 256 << 10 // bytes of the entries of a request
	maxHistory    = 10000     // events that are kept
)

// Events is EventBridge: event buses, rules that send events to queues, and archives
// that can be replayed. There are no schedules.
//
// The event bus default always exists. A request with an entry for a bus that does not
// exist fails with AccessDeniedException, which is what a role that may only put events
// on its own bus gets from AWS.
type Events struct {
	service
	region    string
	buses     []string
	rules     []rule
	archives  map[string]string // names of buses, by archive
	replays   map[string]*replay
	history   []Event
	observers []*func(Event)
	entryCode string // of FailEntries
}

type rule struct {
	name    string
	bus     string
	matches matcher
	targets []*Queue
}

// An Event is an event that a bus has taken. Its JSON is what targets receive.
type Event struct {
	Version    string          `json:"version"`
	ID         string          `json:"id"`
	DetailType string          `json:"detail-type"`
	Source     string          `json:"source"`
	Account    string          `json:"account"`
	Time       string          `json:"time"` // RFC 3339, whole seconds
	Region     string          `json:"region"`
	Resources  []string        `json:"resources"`
	Detail     json.RawMessage `json:"detail"`
	Replay     string          `json:"replay-name,omitempty"`
	Bus        string          `json:"-"`
	Taken      time.Time       `json:"-"` // when the bus took it
}

func newEvents(region string) *Events {
	e := &Events{region: region, buses: []string{"default"}, archives: map[string]string{}, replays: map[string]*replay{}}
	e.service = newJSON("events", "application/x-amz-json-1.1", map[string]operation{
		"PutEvents":        decoding(e.putEvents),
		"DescribeEventBus": decoding(e.describeEventBus),
		"ListRules":        decoding(e.listRules),
		"DescribeArchive":  decoding(e.describeArchive),
		"StartReplay":      decoding(e.startReplay),
		"DescribeReplay":   decoding(e.describeReplay),
	})
	e.protocol.(*jsonProtocol).instead = "Nothing here has a schedule: invoke the function."
	return e
}

// CreateBus creates an event bus.
func (e *Events) CreateBus(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buses = append(e.buses, name)
}

// PutRule adds a rule. It fails if the pattern is not supported; see newMatcher.
func (e *Events) PutRule(r template.Rule, targets []*Queue) error {
	matches, err := newPattern(r.Pattern)
	if err != nil {
		return fmt.Errorf("aws: the EventPattern of %s: %w", r.LogicalID, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Contains(e.buses, r.Bus) {
		return fmt.Errorf("aws: %s is a rule of the event bus %s, which does not exist", r.LogicalID, r.Bus)
	}
	e.rules = append(e.rules, rule{r.LogicalID, r.Bus, matches, targets})
	return nil
}

// History returns the newest events that the buses have taken, at most 10,000, oldest
// first. The events contain personal data.
func (e *Events) History() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.history)
}

// Subscribe calls f with each further event that a bus takes, before PutEvents is
// answered, until cancel is called.
func (e *Events) Subscribe(f func(Event)) (cancel func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	observer := &f
	e.observers = append(e.observers, observer)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.observers = slices.DeleteFunc(e.observers, func(other *func(Event)) bool { return other == observer })
	}
}

// FailEntries makes the first entry of each request fail with an error code, such as
// InternalFailure, although the request itself succeeds. An empty code ends that.
func (e *Events) FailEntries(code string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.entryCode = code
}

type eventEntry struct {
	EventBusName, Source, DetailType, Detail string
	Resources                                []string
	Time                                     *float64 // seconds since 1970
}

// size returns the size that counts towards the limit of a request.
func (e *eventEntry) size() int {
	n := len(e.Source) + len(e.DetailType) + len(e.Detail)
	for _, resource := range e.Resources {
		n += len(resource)
	}
	if e.Time != nil {
		n += 14
	}
	return n
}

// check returns the error code and message of an entry that is refused.
func (e *eventEntry) check() (code, message string) {
	for _, required := range []struct{ name, value string }{{"Source", e.Source}, {"DetailType", e.DetailType}, {"Detail", e.Detail}} {
		if required.value == "" {
			return "InvalidArgument", fmt.Sprintf("Parameter %s is not valid. Reason: %[1]s is a required argument.", required.name)
		}
	}
	var detail map[string]json.RawMessage
	switch {
	case json.Unmarshal([]byte(e.Detail), &detail) != nil || detail == nil:
		return "MalformedDetail", "Detail is malformed."
	case strings.HasPrefix(e.Source, "aws."):
		return "NotAuthorizedForSourceException", "Not authorized for the source."
	}
	return "", ""
}

// eventResult is the outcome of an entry.
type eventResult struct {
	EventID      string `json:"EventId,omitempty"`
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

func (e *Events) putEvents(in struct{ Entries []eventEntry }) (any, *failure) {
	switch {
	case len(in.Entries) == 0:
		return nil, invalid("entries", "have length greater than or equal to 1")
	case len(in.Entries) > maxEntries:
		return nil, invalid("entries", fmt.Sprintf("have length less than or equal to %d", maxEntries))
	}
	size := 0
	for i := range in.Entries {
		entry := &in.Entries[i]
		size += entry.size()
		entry.EventBusName = e.busName(entry.EventBusName)
		e.mu.Lock()
		exists := slices.Contains(e.buses, entry.EventBusName)
		e.mu.Unlock()
		if !exists {
			return nil, exception("AccessDeniedException", "The caller is not authorized to perform: events:PutEvents on resource: "+e.arn("event-bus", entry.EventBusName))
		}
	}
	if size > maxEventsSize {
		return nil, exception("ValidationException", "Total size of the entries in the request is over the limit.")
	}
	var out struct {
		FailedEntryCount int
		Entries          []eventResult
	}
	for i, entry := range in.Entries {
		result := e.put(entry, i == 0)
		if result.ErrorCode != "" {
			out.FailedEntryCount++
		}
		out.Entries = append(out.Entries, result)
	}
	return out, nil
}

func (e *Events) put(entry eventEntry, first bool) eventResult {
	if code, message := entry.check(); code != "" {
		return eventResult{ErrorCode: code, ErrorMessage: message}
	}
	now := time.Now()
	at := now
	if entry.Time != nil {
		at = time.UnixMilli(int64(*entry.Time * 1000))
	}
	event := Event{
		Version: "0", ID: uuid.New(), DetailType: entry.DetailType, Source: entry.Source, Account: account,
		Time: at.UTC().Format("2006-01-02T15:04:05Z"), Region: e.region, Resources: append([]string{}, entry.Resources...),
		Detail: json.RawMessage(entry.Detail), Bus: entry.EventBusName, Taken: now,
	}
	e.mu.Lock()
	if first && e.entryCode != "" {
		defer e.mu.Unlock()
		return eventResult{ErrorCode: e.entryCode, ErrorMessage: "This failure was injected."}
	}
	e.history = append(e.history, event)
	if len(e.history) > maxHistory {
		e.history = slices.Clone(e.history[len(e.history)-maxHistory:])
	}
	rules, observers := slices.Clone(e.rules), slices.Clone(e.observers)
	e.mu.Unlock()

	for _, rule := range rules {
		rule.send(event)
	}
	for _, observer := range observers {
		(*observer)(event)
	}
	return eventResult{EventID: event.ID}
}

// send sends an event to the targets, if the rule matches it.
func (r rule) send(event Event) {
	text := encode(event)
	var document map[string]any
	_ = json.Unmarshal(text, &document) // cannot fail: encode wrote it
	if r.bus != event.Bus || !r.matches(document, true) {
		return
	}
	for _, target := range r.targets {
		target.Send(string(text), map[string]events.SQSMessageAttribute{}, target.config.Delay)
	}
}

// encode returns v as JSON, without escapes for HTML.
func encode(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err) // cannot happen: put has checked the event
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
