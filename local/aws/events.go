package aws

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"membercard/local/template"
)

const maxHistory = 10000 // events that are kept

// Events is EventBridge's event buses and rules. There are no schedules and no archives.
//
// The event bus default always exists. A request with an entry for a bus that does not
// exist fails with AccessDeniedException, which is what a role that may only put events
// on its own bus gets from AWS.
type Events struct {
	*service
	region    string
	buses     []string
	rules     []rule
	history   []Event
	observers []*func(Event)
	entryCode string // of FailEntries
}

type rule struct {
	bus     string
	pattern map[string]any
	deliver func(event []byte)
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
	Bus        string          `json:"-"`
	Taken      time.Time       `json:"-"` // when the bus took it
}

func newEvents(region string) *Events {
	e := &Events{region: region, buses: []string{"default"}}
	e.service = newService("events", map[string]operation{"PutEvents": decoding(e.putEvents)})
	return e
}

// CreateBus creates an event bus.
func (e *Events) CreateBus(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buses = append(e.buses, name)
}

// PutRule adds a rule, which calls deliver with each event that it matches, one after the
// other. It fails if the pattern is not supported; see matches.
func (e *Events) PutRule(r template.Rule, deliver func(event []byte)) error {
	pattern, err := readPattern(r.Pattern)
	if err != nil {
		return fmt.Errorf("aws: the pattern of %s: %w", r.LogicalID, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Contains(e.buses, r.Bus) {
		return fmt.Errorf("aws: %s is a rule of the event bus %s, which does not exist", r.LogicalID, r.Bus)
	}
	e.rules = append(e.rules, rule{r.Bus, pattern, deliver})
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

// eventResult is the outcome of an entry.
type eventResult struct {
	EventID      string `json:"EventId,omitempty"`
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

func (e *Events) putEvents(in struct{ Entries []eventEntry }) (any, *failure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	prefix := fmt.Sprintf("arn:aws:events:%s:%s:event-bus/", e.region, account)
	for i := range in.Entries {
		bus := &in.Entries[i].EventBusName
		if *bus = cmp.Or(strings.TrimPrefix(*bus, prefix), "default"); !slices.Contains(e.buses, *bus) {
			return nil, exception("AccessDeniedException", "The caller is not authorized to perform: events:PutEvents on resource: "+prefix+*bus)
		}
	}
	var out struct {
		FailedEntryCount int
		Entries          []eventResult
	}
	for i, entry := range in.Entries {
		result := eventResult{}
		var detail map[string]json.RawMessage
		switch {
		case i == 0 && e.entryCode != "":
			result.ErrorCode, result.ErrorMessage = e.entryCode, "This failure was injected."
		case entry.Source == "" || entry.DetailType == "":
			result.ErrorCode, result.ErrorMessage = "InvalidArgument", "Source and DetailType are required arguments."
		case json.Unmarshal([]byte(entry.Detail), &detail) != nil || detail == nil:
			result.ErrorCode, result.ErrorMessage = "MalformedDetail", "Detail is malformed."
		default:
			result.EventID = e.take(entry)
		}
		if result.ErrorCode != "" {
			out.FailedEntryCount++
		}
		out.Entries = append(out.Entries, result)
	}
	return out, nil
}

// Put puts an event of an AWS service on the default bus.
func (e *Events) Put(source, detailType string, detail any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.take(eventEntry{EventBusName: "default", Source: source, DetailType: detailType, Detail: string(encode(detail))})
}

// take puts an event on its bus and returns its ID. The caller holds e.mu, which take
// releases while rules and observers have the event.
func (e *Events) take(entry eventEntry) (id string) {
	now := time.Now()
	at := now
	if entry.Time != nil {
		at = time.UnixMilli(int64(*entry.Time * 1000))
	}
	event := Event{
		Version: "0", ID: rand.Text(), DetailType: entry.DetailType, Source: entry.Source, Account: account,
		Time: at.UTC().Format("2006-01-02T15:04:05Z"), Region: e.region, Resources: append([]string{}, entry.Resources...),
		Detail: json.RawMessage(entry.Detail), Bus: entry.EventBusName, Taken: now,
	}
	e.history = append(e.history, event)
	if len(e.history) > maxHistory {
		e.history = slices.Clone(e.history[len(e.history)-maxHistory:])
	}
	rules, observers := slices.Clone(e.rules), slices.Clone(e.observers)
	e.mu.Unlock()
	defer e.mu.Lock()

	text := encode(event)
	var document map[string]any
	_ = json.Unmarshal(text, &document) // cannot fail: encode wrote it
	for _, rule := range rules {
		if rule.bus == event.Bus && matches(rule.pattern, document) {
			rule.deliver(text)
		}
	}
	for _, observer := range observers {
		(*observer)(event)
	}
	return event.ID
}
