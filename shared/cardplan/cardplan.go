// Package cardplan parses the card plan, which says what the links and service
// modules of cards are, and when.
package cardplan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	CardID    string     `json:"card_id"`
	Links                // used unless a campaign overrides them
	Campaigns []Campaign `json:"campaigns"` // if active ones have the same field or module, the last one wins
}

// Links are fields and service modules of a card.
type Links struct {
	Fields         cardfields.Fields `json:"fields"`
	ServiceModules Modules           `json:"service_modules"`
}

// Campaign overrides links of a card while From ≤ now < Until. Both times are optional.
type Campaign struct {
	Name  string `json:"name"`
	From  string `json:"from"`  // RFC 3339, with an offset
	Until string `json:"until"` // RFC 3339, with an offset
	Links

	from, until time.Time
}

// Interval returns the parsed From and Until. A time is zero if it is not set.
func (c *Campaign) Interval() (from, until time.Time) { return c.from, c.until }

// ActiveAt reports whether the campaign is active at a time.
func (c *Campaign) ActiveAt(now time.Time) bool {
	return (c.From == "" || !now.Before(c.from)) && (c.Until == "" || now.Before(c.until))
}

// All returns the links of the card itself, and those of each of its campaigns.
func (c *Card) All() []Links {
	all := []Links{c.Links}
	for i := range c.Campaigns {
		all = append(all, c.Campaigns[i].Links)
	}
	return all
}

// At returns the links that the card should have at a time.
func (c *Card) At(now time.Time) Links {
	at := Links{cardfields.Fields{}, Modules{}}
	at.add(c.Links)
	for i := range c.Campaigns {
		if c.Campaigns[i].ActiveAt(now) {
			at.add(c.Campaigns[i].Links)
		}
	}
	return at
}

func (l Links) add(more Links) {
	maps.Copy(l.Fields, more.Fields)
	maps.Copy(l.ServiceModules, more.ServiceModules)
}

// Parse parses a plan, which is a JSON document, or returns all its faults, at most
// [strictjson.MaxFaults].
//
// Whoever writes the plan decides how much memory its parts take, which can be many times
// that of the document. So they are counted before they are decoded, the cards are decoded
// one by one, and the first thousand faults are enough.
func Parse(document []byte) (*Plan, strictjson.Faults) {
	var counted struct {
		Cards length `json:"cards"`
	}
	if json.Unmarshal(document, &counted) == nil && counted.Cards > maxCards {
		return nil, strictjson.Faults{{Path: "/cards", Issue: fmt.Sprintf("must have at most %d cards", maxCards)}}
	}
	var encoded struct {
		Cards []json.RawMessage `json:"cards"`
	}
	c := checker{faults: strictjson.DecodeAll(document, &encoded)}
	// What is wrong within a card is found again with the card.
	c.faults = slices.DeleteFunc(c.faults, func(f strictjson.Fault) bool { return strings.HasPrefix(f.Path, "/cards/") })
	if len(c.faults) > 0 && c.faults[0].Path == "" {
		return nil, c.faults
	}
	if encoded.Cards == nil {
		c.add(strictjson.Fault{Path: "/cards", Issue: validation.Required("")})
	}
	p := &Plan{Cards: make([]Card, len(encoded.Cards))}
	places := make(map[string]int, len(encoded.Cards)) // indexes of cards by card_id
	for i, card := range encoded.Cards {
		if c.full() {
			break
		}
		c.card(fmt.Sprintf("/cards/%d", i), card, &p.Cards[i])
		if id := p.Cards[i].CardID; id != "" {
			if first, again := places[id]; again {
				c.add(strictjson.Fault{Path: fmt.Sprintf("/cards/%d/card_id", i), Value: id, Issue: fmt.Sprintf("is already planned at /cards/%d", first)})
			} else {
				places[id] = i
			}
		}
	}
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	return p, nil
}

const (
	maxCards     = 10_000 // of a plan
	maxCampaigns = 1000   // of a card
)

// length is the number of values in an array, of the longest one if there is more than one
// of a name. Counting them takes no memory.
type length int

// UnmarshalJSON implements [json.Unmarshaler].
func (l *length) UnmarshalJSON(array []byte) error {
	var values []struct{}
	_ = json.Unmarshal(array, &values) // whatever the values are, they count
	*l = max(*l, length(len(values)))
	return nil
}

// checker collects the faults of a plan, one for each place.
type checker struct {
	faults strictjson.Faults
	seen   map[string]bool // places of faults
}

func (c *checker) add(more ...strictjson.Fault) {
	if c.seen == nil {
		c.seen = map[string]bool{}
		for _, fault := range c.faults {
			c.seen[fault.Path] = true
		}
	}
	for _, fault := range more {
		if !c.seen[fault.Path] && !c.full() {
			c.seen[fault.Path] = true
			c.faults = append(c.faults, fault)
		}
	}
}

func (c *checker) full() bool { return len(c.faults) >= strictjson.MaxFaults }

// card decodes and checks the card at a place.
func (c *checker) card(at string, encoded []byte, card *Card) {
	var counted struct {
		Campaigns length `json:"campaigns"`
	}
	if _ = json.Unmarshal(encoded, &counted); counted.Campaigns > maxCampaigns {
		c.add(strictjson.Fault{Path: at + "/campaigns", Issue: fmt.Sprintf("must have at most %d campaigns", maxCampaigns)})
		return
	}
	c.add(strictjson.DecodeValue(encoded, at, card)...)
	if c.seen[at] {
		return // it is no object
	}
	issue := validation.Required(card.CardID)
	if issue == "" {
		issue = validation.CardID(card.CardID)
	}
	if issue != "" {
		c.add(strictjson.Fault{Path: at + "/card_id", Value: card.CardID, Issue: issue})
	}
	c.add(card.check(at, c.seen)...)
}

// check returns the faults of a card at a place, except those that decoding it found, whose
// places are seen.
func (c *Card) check(at string, seen map[string]bool) (faults strictjson.Faults) {
	faults = c.Links.check(at, seen)
	if len(c.Campaigns) == 0 && c.isEmpty(at, seen) {
		faults = append(faults, strictjson.Fault{Path: at, Issue: "must have fields or service_modules, its own or a campaign's"})
	}
	changes := []time.Time{{}} // the zero time, and all times at which the fields may change
	for i := range c.Campaigns {
		place := fmt.Sprintf("%s/campaigns/%d", at, i)
		faults = append(faults, c.Campaigns[i].check(place, seen)...)
		changes = append(changes, c.Campaigns[i].from, c.Campaigns[i].until)
	}
	slices.SortFunc(changes, time.Time.Compare)
	for _, change := range slices.CompactFunc(changes, time.Time.Equal) {
		faults = append(faults, c.At(change).Fields.CheckPairs(func(name string) string {
			return c.origin(at, name, change) + "/fields/" + name
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

// check parses the campaign's times, and returns the faults of the campaign.
func (c *Campaign) check(at string, seen map[string]bool) (faults strictjson.Faults) {
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
	if c.isEmpty(at, seen) {
		faults = append(faults, strictjson.Fault{Path: at, Issue: "must have fields or service_modules"})
	}
	return append(faults, c.Links.check(at, seen)...)
}

// check returns the faults of single links of the card or campaign at a place.
func (l Links) check(at string, seen map[string]bool) strictjson.Faults {
	faults := l.Fields.Check(func(name string) string { return at + "/fields/" + name })
	return append(faults, l.ServiceModules.check(at, seen)...)
}

// isEmpty reports whether the card or campaign at a place has no links. What has a fault of its
// own is not missing.
func (l Links) isEmpty(at string, seen map[string]bool) bool {
	return l.Fields == nil && l.ServiceModules == nil && !seen[at+"/fields"] && !seen[at+"/service_modules"] && !seen[at+"/campaigns"]
}
