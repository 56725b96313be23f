package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"membercard/shared/cardfields"
	"membercard/shared/cardplan"
)

// A planChange is a difference between two plans.
type planChange struct {
	CardID   string  `json:"card_id"`
	Campaign string  `json:"campaign,omitempty"` // its name and times; empty: the card's own fields
	Field    string  `json:"field,omitempty"`    // or service_modules.<ID>; empty: the whole card or campaign
	Old      *string `json:"old,omitempty"`
	New      *string `json:"new,omitempty"`
	Kind     string  `json:"kind"` // added, removed or changed
}

func (c planChange) String() string {
	mark := map[string]string{"added": "+", "removed": "-", "changed": "~"}[c.Kind]
	line := mark + " " + c.CardID
	if c.Campaign != "" {
		line += " [" + c.Campaign + "]"
	}
	if c.Field != "" {
		line += " " + c.Field
	}
	quoted := func(s *string) string { return fmt.Sprintf("%q", printable(*s)) }
	switch {
	case c.Old != nil && c.New != nil:
		line += ": " + quoted(c.Old) + " → " + quoted(c.New)
	case c.Old != nil:
		line += ": " + quoted(c.Old)
	case c.New != nil:
		line += ": " + quoted(c.New)
	}
	return line
}

// A setting is a field or service module of a card or of one of its campaigns; without a
// field, it is the card or the campaign itself.
type setting struct{ cardID, campaign, field string }

// settings returns the values of a plan's settings, and the settings in the plan's order.
func settings(p *cardplan.Plan) (values map[setting]string, inOrder []setting) {
	values = map[setting]string{}
	add := func(at setting, value string) {
		if _, twice := values[at]; !twice {
			inOrder = append(inOrder, at)
		}
		values[at] = value
	}
	addAll := func(id, campaign string, fields cardfields.Fields, modules cardplan.Modules) {
		add(setting{id, campaign, ""}, "")
		for _, name := range fields.Sorted() {
			add(setting{id, campaign, name}, fields[name])
		}
		for _, module := range slices.Sorted(maps.Keys(modules)) {
			value := "null"
			if m := modules[module]; m != nil {
				value = m.AppID + " " + m.Path
			}
			add(setting{id, campaign, "service_modules." + module}, value)
		}
	}
	for i := range p.Cards {
		card := &p.Cards[i]
		addAll(card.CardID, "", card.Fields, card.ServiceModules)
		for j := range card.Campaigns {
			c := &card.Campaigns[j]
			addAll(card.CardID, nameOf(c)+", "+span(c), c.Fields, c.ServiceModules) // by which it is recognized
		}
	}
	return values, inOrder
}

// compare adds the differences between two plans to the report: of each card and then of each
// of its campaigns, what is new or changed, and then what is gone.
func (r *report) compare(before, after *cardplan.Plan) {
	old, were := settings(before)
	now, are := settings(after)
	order, named := map[setting]int{}, map[setting]bool{}
	for _, at := range append(slices.Clone(are), were...) {
		if _, known := order[at]; !known {
			order[at] = len(order)
		}
	}
	add := func(at setting, kind string, old, value *string) {
		if at.field == "" {
			old, value = nil, nil
		}
		r.Changes = append(r.Changes, planChange{at.cardID, at.campaign, at.field, old, value, kind})
	}
	for _, at := range are {
		named[setting{at.cardID, "", at.field}] = true
		value := now[at]
		switch previous, was := old[at]; {
		case !was:
			add(at, "added", nil, &value)
		case previous != value:
			add(at, "changed", &previous, &value)
		}
	}
	var dropped []string // by the plan, from a card or its campaigns
	for _, at := range were {
		previous := old[at]
		_, stays := now[at]
		_, campaignStays := now[setting{at.cardID, at.campaign, ""}]
		if !stays && (campaignStays || at.campaign == "" || at.field == "") { // a campaign is gone as a whole
			add(at, "removed", &previous, nil)
		}
		if name := (setting{at.cardID, "", at.field}); at.field != "" && !named[name] {
			named[name] = true
			dropped = append(dropped, at.cardID+" "+at.field)
		}
	}
	slices.SortStableFunc(r.Changes, func(a, b planChange) int {
		return cmp.Or(order[setting{a.CardID, "", ""}]-order[setting{b.CardID, "", ""}], order[setting{a.CardID, a.Campaign, ""}]-order[setting{b.CardID, b.Campaign, ""}])
	})
	r.add(step{Name: "changes", OK: true, Detail: fmt.Sprint(len(r.Changes))})
	r.warn("planned no more", "stay on the cards as they are", "name them in the plan if they shall change", dropped)
	for _, c := range r.Changes {
		r.after = append(r.after, c.String())
	}
}
