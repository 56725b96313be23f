package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/cardplan"
	"membercard/shared/plansync"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

const (
	maxMemory     = 32 << 20 // bytes
	writeInterval = 45 * time.Second
	writeAttempts = 5
)

// remembered is a module that was applied. The zero value is one that is not remembered.
type remembered struct {
	Module *cardplan.Module `json:"module"` // nil: the card does not have it
	At     time.Time        `json:"at"`     // UTC
}

func (r remembered) equals(other remembered) bool {
	return same(r.Module, other.Module) && r.At.Equal(other.At)
}

func same(a, b *cardplan.Module) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// modules are what is remembered.
type modules map[moduleKey]remembered

// content is the content of service-modules.json.
type content struct {
	Cards map[string]map[string]remembered `json:"cards"` // by card_id and service_module_id
}

func (m modules) encode() []byte {
	c := content{map[string]map[string]remembered{}}
	for at, r := range m {
		if c.Cards[at.cardID] == nil {
			c.Cards[at.cardID] = map[string]remembered{}
		}
		c.Cards[at.cardID][at.moduleID] = r
	}
	return strictjson.Encode(c)
}

// decode decodes the object. For encoding/json null is a value of every type, and nothing has
// to be there.
func decode(document []byte) (modules, error) {
	var c content
	if err := json.Unmarshal(document, &c); err != nil {
		return nil, err
	}
	if c.Cards == nil {
		return nil, errors.New("it has no cards")
	}
	m := modules{}
	for cardID, ofCard := range c.Cards {
		if ofCard == nil {
			return nil, fmt.Errorf("the card %.40q is null", cardID)
		}
		for id, r := range ofCard {
			if r.At.IsZero() {
				return nil, fmt.Errorf("the module %.40q of the card %.40q has no time", id, cardID)
			}
			m[moduleKey{cardID, id}] = r
		}
	}
	return m, nil
}

// memory is what was applied, because what a card has can't be read. It is an object in S3
// that more than one run may change.
type memory struct {
	object plansync.Object
	log    *telemetry.Log

	stored modules // content of the object when this run last read or wrote it; nil: it has to be replaced
	tag    string  // ETag of the object then, or ""

	mu      sync.Mutex
	current modules // stored, with the changes of this run; guarded by mu
}

// read reads the object. Without one, or if it is spoilt or can't be read, nothing is
// remembered, and everything is sent again.
func (m *memory) read(ctx context.Context) {
	m.stored, m.current = modules{}, modules{}
	if err := m.load(ctx); err != nil {
		m.log.Failure(ctx, telemetry.SyncFailures, notKnown, err, memoryCure)
	}
	maps.Copy(m.current, m.stored)
}

const (
	notKnown   = "what was applied is not known, and is sent again"
	memoryCure = "let the function's role read and write " + plansync.ServiceModules + " in the folder of the plan"
)

// load sets stored and tag to what the object has. That it is spoilt is no error, but a
// failure that the operator sees.
func (m *memory) load(ctx context.Context) error {
	document, tag, err := m.object.ReadIfAny(ctx, maxMemory)
	if err != nil {
		return err
	}
	m.stored, m.tag = modules{}, tag
	if document == nil {
		return nil // there is no object
	}
	if m.stored, err = decode(document); err != nil {
		m.log.Failure(ctx, telemetry.SyncFailures, notKnown, fmt.Errorf("%s in %s is spoilt: %w", m.object.Key, m.object.Bucket, err),
			"nothing, a sync that is no dry run replaces it; if this comes again, find out who else writes it")
	}
	return nil
}

// has reports whether a module is remembered as wanted, and when it was applied.
func (m *memory) has(at moduleKey, wanted *cardplan.Module) (known bool, applied time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.current[at]
	return ok && same(r.Module, wanted), r.At
}

// remember remembers that a module was applied.
func (m *memory) remember(at moduleKey, module *cardplan.Module, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current[at] = remembered{module, now.UTC().Truncate(time.Second)}
}

// forget forgets a module.
func (m *memory) forget(at moduleKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.current, at)
}

// forgetUnplanned forgets what the plan does not name, neither a card nor a campaign of it.
func (m *memory) forgetUnplanned(p *cardplan.Plan) {
	planned := map[moduleKey]bool{}
	for i := range p.Cards {
		for _, links := range p.Cards[i].All() {
			for id := range links.ServiceModules {
				planned[moduleKey{p.Cards[i].CardID, id}] = true
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.current, func(at moduleKey, _ remembered) bool { return !planned[at] })
}

// writeRegularly writes what was changed, every 45 s and at last when stop is called.
func (m *memory) writeRegularly(ctx context.Context) (stop func()) {
	stopped, cancel := context.WithCancel(ctx)
	var writer sync.WaitGroup
	writer.Go(func() {
		tick := time.Tick(writeInterval)
		for {
			select {
			case <-tick:
				m.write(ctx)
			case <-stopped.Done():
				m.write(ctx)
				return
			}
		}
	})
	return func() {
		cancel()
		writer.Wait()
	}
}

// write writes the object if something was changed, or if it is spoilt.
func (m *memory) write(ctx context.Context) {
	if err := m.store(ctx); err != nil {
		m.log.Failure(ctx, telemetry.SyncFailures, "what was applied is not remembered, and will be sent again", err, memoryCure)
	}
}

func (m *memory) store(ctx context.Context) (err error) {
	defer apierror.Recover(ctx, &err) // a panic in a goroutine would end the process
	for attempt := 1; ; attempt++ {
		m.mu.Lock()
		snapshot := maps.Clone(m.current)
		m.mu.Unlock()
		if m.stored != nil && maps.EqualFunc(snapshot, m.stored, remembered.equals) {
			return nil
		}
		tag, err := m.object.WriteIf(ctx, snapshot.encode(), m.tag)
		switch {
		case err == nil:
			m.stored, m.tag = snapshot, tag
			return nil
		case errors.Is(err, plansync.ErrChanged) && attempt < writeAttempts:
			err = m.merge(ctx, snapshot)
		}
		if err != nil {
			return err
		}
	}
}

// merge reads the object, which another run has written, and makes the changes of this run
// in it. It forgets what both changed: nobody knows which call WeChat Pay carried out last.
// The SDK repeats a request whose answer was lost, so the object may be what was written.
func (m *memory) merge(ctx context.Context, written modules) error {
	before := m.stored
	if err := m.load(ctx); err != nil || maps.EqualFunc(m.stored, written, remembered.equals) {
		return err
	}
	merged := modules{}
	maps.Copy(merged, m.stored)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, keys := range []modules{before, m.current} {
		for at := range keys {
			switch mine := m.current[at]; {
			case mine.equals(before[at]): // this run has not changed it
			case mine == remembered{}, !m.stored[at].equals(before[at]):
				delete(merged, at)
			default:
				merged[at] = mine
			}
		}
	}
	m.current = merged
	return nil
}
