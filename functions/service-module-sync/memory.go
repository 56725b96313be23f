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
	for cardID, ofCard := range c.Cards {
		if ofCard == nil {
			return nil, fmt.Errorf("the card %.40q is null", cardID)
		}
		for id, r := range ofCard {
			if r.At.IsZero() {
				return nil, fmt.Errorf("the module %.40q of the card %.40q has no time", id, cardID)
			}
		}
	}
	return c.Cards, nil
}

// memory is what was applied, because what a card has can't be read. It is an object in S3
// that more than one run may change.
type memory struct {
	object plansync.Object
	log    *telemetry.Log

	writing sync.Mutex // held while the object is written, guards tag and spoilt
	tag     string     // ETag of the object, or ""
	spoilt  bool       // the object has to be replaced

	mu     sync.Mutex // guards the fields below
	cards  modules
	before map[place]*remembered // values in the object of what was changed since; nil is none
}

// read reads the object. Without one, or if it is spoilt or can't be read, nothing is
// remembered, and everything is sent again.
func (m *memory) read(ctx context.Context) {
	m.before = map[place]*remembered{}
	found, tag, _, err := m.load(ctx)
	m.cards, m.tag = found, tag
	if err != nil {
		m.log.Failure(ctx, telemetry.SyncFailures, notKnown, err, memoryCure)
	}
}

const (
	notKnown   = "what was applied is not known, and is sent again"
	memoryCure = "let the function's role read and write " + plansync.ServiceModules + " in the folder of the plan"
)

// load returns what the object has, which is never nil, with its ETag and its text. That it
// is spoilt is no error, but a failure that the operator sees.
func (m *memory) load(ctx context.Context) (found modules, tag, text string, err error) {
	document, tag, err := m.object.ReadTagged(ctx, maxMemory)
	switch {
	case errors.Is(err, plansync.ErrNoObject), errors.Is(err, plansync.ErrDeleted):
		return modules{}, "", "", nil
	case err != nil:
		return modules{}, "", "", err
	}
	found, err = decode(document)
	if m.spoilt = err != nil; m.spoilt {
		m.log.Failure(ctx, telemetry.SyncFailures, notKnown, fmt.Errorf("%s in %s is spoilt: %w", m.object.Key, m.object.Bucket, err),
			"nothing, a sync that is no dry run replaces it; if this comes again, find out who else writes it")
		found = modules{}
	}
	return found, tag, string(document), nil
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

// write writes the object if something was changed, or if it is spoilt.
func (m *memory) write(ctx context.Context) {
	m.writing.Lock()
	defer m.writing.Unlock()
	if err := m.store(ctx); err != nil {
		m.log.Failure(ctx, telemetry.SyncFailures, "what was applied is not remembered, and will be sent again", err, memoryCure)
	}
}

func (m *memory) store(ctx context.Context) (err error) {
	defer apierror.Recover(ctx, &err) // a panic in a goroutine would end the process
	for attempt := 1; ; attempt++ {
		text, changed, err := m.snapshot()
		if err != nil || text == nil {
			return err
		}
		tag, err := m.object.WriteIf(ctx, text, m.tag)
		switch {
		case err == nil:
			m.tag, m.spoilt = tag, false
			return nil
		case errors.Is(err, plansync.ErrChanged) && attempt < writeAttempts:
			err = m.merge(ctx, changed, string(text))
		}
		if err != nil {
			m.restore(changed)
			return err
		}
	}
}

// snapshot returns the object to write, which is nil if there is nothing to write, and what
// was changed in it, and begins to collect changes anew.
func (m *memory) snapshot() (text []byte, changed map[place]*remembered, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.before) == 0 && !m.spoilt {
		return nil, nil, nil
	}
	if text, err = strictjson.Encode(content{m.cards}); err != nil {
		return nil, nil, err
	}
	changed, m.before = m.before, map[place]*remembered{}
	return text, changed, nil
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
	if err != nil {
		return err
	}
	m.tag = tag
	if text == written {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.Copy(m.before, changed) // what was changed again meanwhile too
	changed, m.before = m.before, map[place]*remembered{}
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
