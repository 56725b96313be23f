package aws

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"membercard/local/template"
)

// Events is EventBridge's event buses and rules. There are no schedules and no archives. A
// bus is a name.
type Events struct {
	*service
	region    string
	rules     []rule
	history   []Event
	observers []*func(Event)
}

type rule struct {
	template.Rule
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
	e := &Events{region: region}
	e.service = newService("events", map[string]operation{"PutEvents": decoding(e.putEvents)})
	return e
}

// PutRule adds a rule, which calls deliver with each event that it matches, one after the
// other.
func (e *Events) PutRule(r template.Rule, deliver func(event []byte)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rules = append(e.rules, rule{r, deliver})
}

// History returns the events that the buses have taken, oldest first. They contain personal
// data.
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

type eventEntry struct {
	EventBusName, Source, DetailType, Detail string
	Time                                     *float64 // seconds since 1970
}

// eventResults is the answer to PutEvents.
type eventResults struct {
	FailedEntryCount int
	Entries          []eventResult
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
	var out eventResults
	for _, entry := range in.Entries {
		out.Entries = append(out.Entries, eventResult{EventID: e.take(entry)})
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
		Time: at.UTC().Format("2006-01-02T15:04:05Z"), Region: e.region, Resources: []string{},
		Detail: json.RawMessage(entry.Detail), Bus: entry.EventBusName, Taken: now,
	}
	e.history = append(e.history, event)
	rules, observers := slices.Clone(e.rules), slices.Clone(e.observers)
	e.mu.Unlock()
	defer e.mu.Lock()

	text := encode(event)
	var document map[string]any
	_ = json.Unmarshal(text, &document) // cannot fail: encode wrote it
	for _, rule := range rules {
		if rule.Bus == event.Bus && matches(rule.Pattern, document) {
			rule.deliver(text)
		}
	}
	for _, observer := range observers {
		(*observer)(event)
	}
	return event.ID
}

// matches returns whether a value of an event matches a part of a rule's pattern: all
// members of an object, and an item of a list, which is a string or {"suffix": "…"}. No
// value matches another comparison.
func matches(pattern, value any) bool {
	if members, ok := pattern.(map[string]any); ok {
		object, _ := value.(map[string]any)
		for name, member := range members {
			if !matches(member, object[name]) {
				return false
			}
		}
		return true
	}
	items, _ := pattern.([]any)
	text, isText := value.(string)
	return isText && slices.ContainsFunc(items, func(item any) bool {
		comparison, _ := item.(map[string]any)
		suffix, ok := comparison["suffix"].(string)
		return item == any(text) || ok && strings.HasSuffix(text, suffix)
	})
}
