// Package cardplan parses the card plan, which says what the links of cards show, and when.
package cardplan

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"membercard/shared/cardfields"
	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// Plan is a card plan. The file plan.schema.json of card-sync has the same rules, for
// editors.
type Plan struct {
	Cards []Card `json:"cards"`
}

// Card is the plan of one card.
type Card struct {
	CardID    string            `json:"card_id"`
	Fields    cardfields.Fields `json:"fields"`    // used unless a campaign overrides them
	Campaigns []Campaign        `json:"campaigns"` // if active ones have the same field, the last one wins
}

// Campaign overrides fields of a card while From ≤ now < Until. Both are optional.
type Campaign struct {
	Name   string            `json:"name"`
	From   string            `json:"from"`  // RFC 3339, with an offset
	Until  string            `json:"until"` // RFC 3339, with an offset
	Fields cardfields.Fields `json:"fields"`

	from, until time.Time
}

// Interval returns the parsed From and Until. A time is zero if it is not set.
func (c *Campaign) Interval() (from, until time.Time) { return c.from, c.until }

// ActiveAt reports whether the campaign is active at a time.
func (c *Campaign) ActiveAt(now time.Time) bool {
	return (c.From == "" || !now.Before(c.from)) && (c.Until == "" || now.Before(c.until))
}

// FieldsAt returns the fields that the card should have at a time.
func (c *Card) FieldsAt(now time.Time) cardfields.Fields {
	f := maps.Clone(c.Fields)
	if f == nil {
		f = cardfields.Fields{}
	}
	for i := range c.Campaigns {
		if c.Campaigns[i].ActiveAt(now) {
			maps.Copy(f, c.Campaigns[i].Fields)
		}
	}
	return f
}

// Parse parses a plan, which is a JSON document. The error is [strictjson.Faults] with all
// its faults.
func Parse(document []byte) (*Plan, error) {
	var p Plan
	var faults strictjson.Faults
	if err := strictjson.DecodeAll(document, &p); err != nil && !errors.As(err, &faults) {
		return nil, err
	}
	faults = append(faults, p.check(faults)...)
	if len(faults) > 0 {
		return nil, faults
	}
	return &p, nil
}

// check returns the faults that decoding does not find. It skips places for which a fault
// is already known.
func (p *Plan) check(known strictjson.Faults) (faults strictjson.Faults) {
	seen := map[string]bool{}
	for _, fault := range known {
		seen[fault.Path] = true
	}
	if seen[""] {
		return nil
	}
	add := func(more ...strictjson.Fault) {
		for _, fault := range more {
			if !seen[fault.Path] {
				seen[fault.Path] = true
				faults = append(faults, fault)
			}
		}
	}
	if p.Cards == nil {
		add(strictjson.Fault{Path: "/cards", Issue: validation.Required("")})
	}
	places := map[string]string{} // by card_id
	for i := range p.Cards {
		c, at := &p.Cards[i], fmt.Sprintf("/cards/%d", i)
		issue := validation.Required(c.CardID)
		if issue == "" {
			issue = validation.CardID(c.CardID)
		}
		if first, again := places[c.CardID]; again && issue == "" {
			issue = "is already planned at " + first
		}
		places[c.CardID] = at
		if issue != "" {
			add(strictjson.Fault{Path: at + "/card_id", Value: c.CardID, Issue: issue})
		}
		add(c.check(at)...)
	}
	return faults
}

func (c *Card) check(at string) (faults strictjson.Faults) {
	in := func(place string) func(string) string {
		return func(name string) string { return place + "/fields/" + name }
	}
	faults = c.Fields.Check(in(at))
	changes := []time.Time{{}} // the zero time, and all times at which the fields may change
	for i := range c.Campaigns {
		place := fmt.Sprintf("%s/campaigns/%d", at, i)
		faults = append(faults, c.Campaigns[i].check(place)...)
		faults = append(faults, c.Campaigns[i].Fields.Check(in(place))...)
		changes = append(changes, c.Campaigns[i].from, c.Campaigns[i].until)
	}
	for _, change := range changes {
		faults = append(faults, c.FieldsAt(change).CheckPairs(func(name string) string {
			return in(c.origin(at, name, change))(name)
		})...)
	}
	return faults
}

// origin returns the place of the fields that decide about half of a pair at a time: the
// last active campaign that has either half, or else the card itself, which is at the
// place at.
func (c *Card) origin(at, name string, now time.Time) string {
	origin := at
	for i := range c.Campaigns {
		if campaign := &c.Campaigns[i]; campaign.ActiveAt(now) && campaign.Fields.HasPairOf(name) {
			origin = fmt.Sprintf("%s/campaigns/%d", at, i)
		}
	}
	return origin
}

// check parses the campaign's times, and returns the faults of the campaign except those of
// single fields.
func (c *Campaign) check(at string) (faults strictjson.Faults) {
	read := func(name, value string) (t time.Time) {
		if value == "" {
			return t
		}
		t, ok := validation.ParseTime(value)
		if !ok {
			faults = append(faults, strictjson.Fault{Path: at + "/" + name, Value: value, Issue: "must be a time with an offset, like 2027-01-01T00:00:00+08:00"})
		}
		return t
	}
	c.from, c.until = read("from", c.From), read("until", c.Until)
	if c.From != "" && c.Until != "" && len(faults) == 0 && !c.from.Before(c.until) {
		faults = append(faults, strictjson.Fault{Path: at + "/until", Value: c.Until, Issue: "must be after from"})
	}
	if c.Fields == nil {
		faults = append(faults, strictjson.Fault{Path: at + "/fields", Issue: validation.Required("")})
	}
	return faults
}
