package aws

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A replay sends archived events to rules again.
type replay struct {
	state      string    // RUNNING or COMPLETED
	last       time.Time // when the bus first took the last event replayed
	begun, end time.Time
}

// CreateArchive creates an archive of a bus. It contains all of the bus's events in
// [Events.History], including those from before it was created.
func (e *Events) CreateArchive(name, bus string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.archives[name] = bus
}

func (e *Events) arn(kind, name string) string {
	return fmt.Sprintf("arn:aws:events:%s:%s:%s/%s", e.region, account, kind, name)
}

func (e *Events) ruleARN(r rule) string { return e.arn("rule", r.bus+"/"+r.name) }

func notFound(what, name string) *failure {
	return exception("ResourceNotFoundException", what+" "+name+" does not exist.")
}

// busName returns the name of the bus with the given name or ARN.
func (e *Events) busName(id string) string {
	return cmp.Or(strings.TrimPrefix(id, e.arn("event-bus", "")), "default")
}

// findBus returns the name of the bus with the given name or ARN, if it exists. The
// caller holds e.mu.
func (e *Events) findBus(id string) (string, *failure) {
	name := e.busName(id)
	if !slices.Contains(e.buses, name) {
		return "", notFound("Event bus", name)
	}
	return name, nil
}

func (e *Events) describeEventBus(in struct{ Name string }) (any, *failure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name, failed := e.findBus(in.Name)
	if failed != nil {
		return nil, failed
	}
	return map[string]string{"Name": name, "Arn": e.arn("event-bus", name)}, nil
}

func (e *Events) listRules(in struct{ EventBusName, NamePrefix string }) (any, *failure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	bus, failed := e.findBus(in.EventBusName)
	if failed != nil {
		return nil, failed
	}
	rules := []map[string]string{}
	for _, r := range e.rules {
		if r.bus == bus && strings.HasPrefix(r.name, in.NamePrefix) {
			rules = append(rules, map[string]string{"Name": r.name, "Arn": e.ruleARN(r), "EventBusName": r.bus, "State": "ENABLED"})
		}
	}
	return map[string]any{"Rules": rules}, nil
}

func (e *Events) describeArchive(in struct{ ArchiveName string }) (any, *failure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	bus, ok := e.archives[in.ArchiveName]
	if !ok {
		return nil, notFound("Archive", in.ArchiveName)
	}
	return map[string]string{"ArchiveName": in.ArchiveName, "ArchiveArn": e.arn("archive", in.ArchiveName), "EventSourceArn": e.arn("event-bus", bus), "State": "ENABLED"}, nil
}

var replayName = regexp.MustCompile(`^[.\-_A-Za-z0-9]{1,64}$`)

// startReplay replays the events that the bus took between the start and the end time.
func (e *Events) startReplay(in struct {
	ReplayName, EventSourceArn   string
	EventStartTime, EventEndTime *float64 // seconds since 1970
	Destination                  struct {
		Arn        string
		FilterArns []string
	}
}) (any, *failure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	archive := strings.TrimPrefix(in.EventSourceArn, e.arn("archive", ""))
	bus, ok := e.archives[archive]
	switch {
	case !replayName.MatchString(in.ReplayName):
		return nil, invalid("replayName", "satisfy regular expression pattern: [\\.\\-_A-Za-z0-9]+")
	case in.EventStartTime == nil || in.EventEndTime == nil:
		return nil, invalid("eventStartTime and eventEndTime", "not be null")
	case *in.EventStartTime >= *in.EventEndTime:
		return nil, exception("ValidationException", "Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime.")
	case !ok:
		return nil, notFound("Archive", archive)
	case in.Destination.Arn != e.arn("event-bus", bus):
		return nil, exception("ValidationException", "Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted.")
	case e.replays[in.ReplayName] != nil:
		return nil, exception("ResourceAlreadyExistsException", "Replay "+in.ReplayName+" already exists.")
	}
	var rules []rule
	for _, arn := range in.Destination.FilterArns {
		i := slices.IndexFunc(e.rules, func(r rule) bool { return e.ruleARN(r) == arn && r.bus == bus })
		if i < 0 {
			return nil, exception("ValidationException", "Parameter Destination.FilterArns is not valid. Reason: One or more rules do not exist.")
		}
		rules = append(rules, e.rules[i])
	}
	if in.Destination.FilterArns == nil {
		rules = slices.Clone(e.rules)
	}
	from, until := time.UnixMilli(int64(*in.EventStartTime*1000)), time.UnixMilli(int64(*in.EventEndTime*1000))
	var archived []Event
	for _, event := range e.history {
		if event.Bus == bus && !event.Taken.Before(from) && event.Taken.Before(until) {
			event.Replay = in.ReplayName
			archived = append(archived, event)
		}
	}
	r := &replay{state: "RUNNING", begun: time.Now()}
	e.replays[in.ReplayName] = r
	go e.replay(r, archived, rules)
	return map[string]any{"ReplayArn": e.arn("replay", in.ReplayName), "State": "STARTING", "ReplayStartTime": seconds(r.begun)}, nil
}

func (e *Events) replay(r *replay, archived []Event, rules []rule) {
	for _, event := range archived {
		for _, rule := range rules {
			rule.send(event)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r.state, r.end = "COMPLETED", time.Now()
	if len(archived) > 0 {
		r.last = archived[len(archived)-1].Taken
	}
}

func (e *Events) describeReplay(in struct{ ReplayName string }) (any, *failure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.replays[in.ReplayName]
	if r == nil {
		return nil, notFound("Replay", in.ReplayName)
	}
	out := map[string]any{"ReplayName": in.ReplayName, "ReplayArn": e.arn("replay", in.ReplayName), "State": r.state, "ReplayStartTime": seconds(r.begun)}
	for name, at := range map[string]time.Time{"EventLastReplayedTime": r.last, "ReplayEndTime": r.end} {
		if !at.IsZero() {
			out[name] = seconds(at)
		}
	}
	return out, nil
}
