package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

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

// remembered is a module that was applied.
type remembered struct {
	Module *cardplan.Module `json:"module"` // nil: the card does not have it
	At     time.Time        `json:"at"`     // UTC
}

// modules are what is remembered, by card_id and service_module_id.
type modules map[string]map[string]remembered

func (m modules) get(at place) (r remembered, ok bool) {
	r, ok = m[at.cardID][at.moduleID]
	return r, ok
}

// set changes a value, or deletes it if r is nil.
func (m modules) set(at place, r *remembered) {
	if r == nil {
		if delete(m[at.cardID], at.moduleID); len(m[at.cardID]) == 0 {
			delete(m, at.cardID)
		}
		return
	}
	if m[at.cardID] == nil {
		m[at.cardID] = map[string]remembered{}
	}
	m[at.cardID][at.moduleID] = *r
}

// content is the content of service-modules.json.
type content struct {
	Cards modules `json:"cards"`
}

// memory is what was applied, because what a card has can't be read. It is an object in S3
// that more than one run may change.
type memory struct {
	object plansync.Object
	log    *telemetry.Log

	writing sync.Mutex // held while the object is written

	mu     sync.Mutex
	cards  modules
	tag    string                // ETag of the object, or ""
	before map[place]*remembered // values in the object of what was changed since; nil is none
}

// read reads the object. Without one, or if it is spoilt or can't be read, nothing is
// remembered, and everything is sent again.
func (m *memory) read(ctx context.Context) {
	m.before = map[place]*remembered{}
	found, tag, _, err := m.load(ctx)
	m.cards, m.tag = found, tag
	if err != nil {
		m.log.Failure(ctx, telemetry.SyncFailures, "what was applied is not known, and is sent again", err, memoryCure)
	}
}

const memoryCure = "let the function's role read and write " + plansync.ServiceModules + " in the folder of the plan"

// load returns what the object has, which is never nil, with its ETag and its text.
func (m *memory) load(ctx context.Context) (found modules, tag, text string, err error) {
	document, tag, err := m.object.ReadTagged(ctx, maxMemory)
	switch {
	case errors.Is(err, plansync.ErrNoObject), errors.Is(err, plansync.ErrDeleted):
		return modules{}, "", "", nil
	case err != nil:
		return modules{}, "", "", err
	}
	var c content
	if err := json.Unmarshal(document, &c); err != nil {
		return modules{}, tag, string(document), errors.New("it is spoilt: " + err.Error())
	}
	if c.Cards == nil {
		c.Cards = modules{}
	}
	return c.Cards, tag, string(document), nil
}

// has reports whether a module is remembered as wanted, and when it was applied.
func (m *memory) has(at place, wanted *cardplan.Module) (known bool, applied time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.cards.get(at)
	return ok && same(r.Module, wanted), r.At
}

func same(a, b *cardplan.Module) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// remember remembers that a module was applied.
func (m *memory) remember(at place, module *cardplan.Module, now time.Time) {
	m.change(at, &remembered{module, now.UTC().Truncate(time.Second)})
}

// forget forgets a module.
func (m *memory) forget(at place) { m.change(at, nil) }

func (m *memory) change(at place, value *remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.cards.get(at)
	if !ok && value == nil {
		return
	}
	if _, again := m.before[at]; !again {
		m.before[at] = nil
		if ok {
			m.before[at] = &old
		}
	}
	m.cards.set(at, value)
}

// forgetUnplanned forgets what the plan does not name, neither a card nor a campaign of it.
func (m *memory) forgetUnplanned(p *cardplan.Plan) {
	planned := map[place]bool{}
	for i := range p.Cards {
		card := &p.Cards[i]
		add := func(named cardplan.Modules) {
			for id := range named {
				planned[place{card.CardID, id}] = true
			}
		}
		add(card.Modules())
		for j := range card.Campaigns {
			add(card.Campaigns[j].Modules())
		}
	}
	var gone []place
	for cardID, ofCard := range m.cards {
		for id := range ofCard {
			if at := (place{cardID, id}); !planned[at] {
				gone = append(gone, at)
			}
		}
	}
	for _, at := range gone {
		m.forget(at)
	}
}

// writeRegularly writes what was changed, every 45 s until stop is called.
func (m *memory) writeRegularly(ctx context.Context) (stop func()) {
	stopped, cancel := context.WithCancel(ctx)
	ticker := time.NewTicker(writeInterval)
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-ticker.C:
				m.write(ctx)
			case <-stopped.Done():
				return
			}
		}
	})
	return func() {
		ticker.Stop()
		cancel()
		writer.Wait()
	}
}

// write writes the object if something was changed.
func (m *memory) write(ctx context.Context) {
	m.writing.Lock()
	defer m.writing.Unlock()
	for attempt := 1; ; attempt++ {
		text, tag, changed, err := m.snapshot()
		if err == nil && len(changed) == 0 {
			return
		}
		if err == nil {
			tag, err = m.object.WriteIf(ctx, text, tag)
		}
		if errors.Is(err, plansync.ErrChanged) && attempt < writeAttempts {
			if err = m.merge(ctx, changed, string(text)); err == nil {
				continue
			}
		}
		if err == nil {
			m.mu.Lock()
			m.tag = tag
			m.mu.Unlock()
			return
		}
		m.restore(changed)
		m.log.Failure(ctx, telemetry.SyncFailures, "what was applied is not remembered, and will be sent again", err, memoryCure)
		return
	}
}

// snapshot returns the object to write, and what was changed in it, and begins to collect
// changes anew.
func (m *memory) snapshot() (text []byte, tag string, changed map[place]*remembered, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.before) == 0 {
		return nil, "", nil, nil
	}
	text, err = strictjson.Encode(content{m.cards})
	changed, m.before = m.before, map[place]*remembered{}
	return text, m.tag, changed, err
}

// restore takes changes back that were not written.
func (m *memory) restore(changed map[place]*remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.Copy(m.before, changed)
}

// merge reads the object, which another run has written, and makes the changes of this run
// in it. It forgets what both changed: nobody knows which call WeChat Pay carried out last.
// The SDK repeats a request whose answer was lost, so the object may be what was written.
func (m *memory) merge(ctx context.Context, changed map[place]*remembered, written string) error {
	found, tag, text, err := m.load(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tag = tag
	if err == nil && text == written {
		return nil
	}
	if err != nil && tag == "" { // it can't be read; a spoilt one is replaced
		return err
	}
	maps.Copy(changed, m.before) // what was changed while the object was written
	m.before = map[place]*remembered{}
	for at, before := range changed {
		theirs, ok := found.get(at)
		var inObject *remembered
		if ok {
			inObject = &theirs
		}
		both := (before == nil) != (inObject == nil) || before != nil && (!same(before.Module, theirs.Module) || !before.At.Equal(theirs.At))
		mine, ok := m.cards.get(at)
		switch {
		case both || !ok:
			found.set(at, nil)
		default:
			found.set(at, &mine)
		}
		m.before[at] = inObject
	}
	m.cards = found
	return nil
}
