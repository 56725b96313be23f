package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"membercard/shared/cardfields"
	"membercard/shared/cardplan"
)

// The length of a time line, in characters: timelineWidth where there is room for it.
const (
	timelineWidth    = 48
	minTimelineWidth = 10
)

// A scale is that of a time line: from the first time in a plan to the last, of which
// now is one.
type scale struct{ first, last time.Time }

func newScale(p *cardplan.Plan, now time.Time) scale {
	var times []time.Time
	for i := range p.Cards {
		for j := range p.Cards[i].Campaigns {
			from, until := p.Cards[i].Campaigns[j].Interval()
			times = append(times, from, until)
		}
	}
	times = append(slices.DeleteFunc(times, time.Time.IsZero), now)
	return scale{slices.MinFunc(times, time.Time.Compare), slices.MaxFunc(times, time.Time.Compare)}
}

// at returns where a time is, from 0 to 1.
func (s scale) at(t time.Time) float64 {
	seconds := func(t time.Time) float64 { return float64(t.Unix() - s.first.Unix()) } // a Duration has 292 years only
	return seconds(t) / max(seconds(s.last), 1)
}

// bar returns where a campaign begins and ends, from 0 to 1.
func (s scale) bar(c *cardplan.Campaign) (begin, end float64) {
	from, until := c.Interval()
	end = 1
	if !from.IsZero() {
		begin = s.at(from)
	}
	if !until.IsZero() {
		end = s.at(until)
	}
	return begin, end
}

// timeline shows the campaigns of a plan on a time line, one a line, below their
// card's ID. All cards have the same scale, and | is now. In a terminal of so many columns,
// 0 for any number, times that have no room beside a line stand below it.
func timeline(p *cardplan.Plan, now time.Time, terminal int) (lines []string) {
	scale, width, said := newScale(p, now), 0, 0
	if !scale.first.Before(scale.last) {
		return nil
	}
	for i := range p.Cards {
		for j := range p.Cards[i].Campaigns {
			c := &p.Cards[i].Campaigns[j]
			width, said = max(width, columns(nameOf(c))), max(said, columns(saysOf(c)))
		}
	}
	line, under := timelineWidth, width+1
	isNarrow := terminal > 0 && 2+under+line+2+said > terminal
	if isNarrow {
		line, under = max(minTimelineWidth, min(line, terminal-2-under)), 0
	}
	for i := range p.Cards {
		card := &p.Cards[i]
		if len(card.Campaigns) == 0 {
			continue
		}
		lines = append(lines, "", card.CardID)
		for j := range card.Campaigns {
			c := &card.Campaigns[j]
			first, last := scale.bar(c)
			begin := min(int(first*float64(line)), line-1)
			end := min(max(int(math.Ceil(last*float64(line))), begin+1), line)
			bar := []rune(strings.Repeat("·", line))
			for k := begin; k < end; k++ {
				bar[k] = '█'
			}
			bar[min(int(scale.at(now)*float64(line)), line-1)] = '|'
			drawn := fmt.Sprintf("  %s%s %s", nameOf(c), strings.Repeat(" ", width-columns(nameOf(c))), string(bar))
			if isNarrow {
				lines = append(lines, drawn, "    "+saysOf(c))
			} else {
				lines = append(lines, drawn+"  "+saysOf(c))
			}
		}
	}
	return append(lines, "", fmt.Sprintf("  %s%s … %s; | is now", strings.Repeat(" ", under), day(scale.first), day(scale.last)))
}

func nameOf(c *cardplan.Campaign) string {
	if c.Name == "" {
		return "campaign"
	}
	return printable(c.Name)
}

// saysOf says when a campaign is active, and what it has beside fields.
func saysOf(c *cardplan.Campaign) string { return span(c) + modulesOf(c) }

// span says when a campaign is active, as the plan says it.
func span(c *cardplan.Campaign) string {
	switch {
	case c.From == "" && c.Until == "":
		return "always"
	case c.From == "":
		return "until " + c.Until
	case c.Until == "":
		return "from " + c.From
	}
	return c.From + " … " + c.Until
}

// modulesOf names the service modules of a campaign.
func modulesOf(c *cardplan.Campaign) string {
	if len(c.ServiceModules) == 0 {
		return ""
	}
	return "; service modules " + strings.Join(slices.Sorted(maps.Keys(c.ServiceModules)), ", ")
}

// printable leaves out what would move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, s)
}

// columns is how many columns of a terminal a text takes: Chinese characters take
// two.
func columns(s string) (n int) {
	for _, c := range s {
		if n++; unicode.In(c, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) || '\uff00' <= c && c <= '\uff60' || '\u3000' <= c && c <= '\u303f' {
			n++
		}
	}
	return n
}

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

// compare adds the differences between two plans to the report.
func (r *report) compare(before, after *cardplan.Plan) {
	old := map[string]*cardplan.Card{}
	for i := range before.Cards {
		old[before.Cards[i].CardID] = &before.Cards[i]
	}
	for i := range after.Cards {
		card := &after.Cards[i]
		r.compareCard(card.CardID, old[card.CardID], card)
		delete(old, card.CardID)
	}
	for _, id := range slices.Sorted(maps.Keys(old)) {
		r.compareCard(id, old[id], nil)
	}
	r.add(step{Name: "changes", OK: true, Detail: fmt.Sprint(len(r.Changes))})
	r.warn("planned no more", "stay on the cards as they are", "name them in the plan if they shall change", droppedFrom(before, after))
	for _, c := range r.Changes {
		r.after = append(r.after, c.String())
	}
}

// droppedFrom returns what a plan names of its cards, or their campaigns, and another plan
// does not.
func droppedFrom(before, after *cardplan.Plan) (places []string) {
	named := map[string]map[string]bool{}
	names := func(card *cardplan.Card) map[string]bool {
		all := map[string]bool{}
		for _, values := range append(slices.Collect(maps.Values(campaignsOf(card))), valuesOf(card.Links)) {
			for name := range values {
				all[name] = true
			}
		}
		return all
	}
	for i := range after.Cards {
		named[after.Cards[i].CardID] = names(&after.Cards[i])
	}
	for i := range before.Cards {
		card := &before.Cards[i]
		for _, name := range slices.Sorted(maps.Keys(names(card))) {
			if !named[card.CardID][name] {
				places = append(places, card.CardID+" "+name)
			}
		}
	}
	return places
}

func (r *report) compareCard(id string, before, after *cardplan.Card) {
	none := &cardplan.Card{}
	switch {
	case before == nil:
		r.Changes = append(r.Changes, planChange{CardID: id, Kind: "added"})
		before = none
	case after == nil:
		r.Changes = append(r.Changes, planChange{CardID: id, Kind: "removed"})
		after = none
	}
	r.compareValues(id, "", valuesOf(before.Links), valuesOf(after.Links))
	old := campaignsOf(before)
	now := campaignsOf(after)
	for _, key := range slices.Sorted(maps.Keys(old)) {
		if _, stays := now[key]; !stays {
			r.Changes = append(r.Changes, planChange{CardID: id, Campaign: key, Kind: "removed"})
		}
	}
	for i := range after.Campaigns {
		key := keyOf(&after.Campaigns[i])
		if _, was := old[key]; !was {
			r.Changes = append(r.Changes, planChange{CardID: id, Campaign: key, Kind: "added"})
		}
		r.compareValues(id, key, old[key], now[key])
	}
}

// keyOf names a campaign by what it is recognized by.
func keyOf(c *cardplan.Campaign) string { return nameOf(c) + ", " + span(c) }

func campaignsOf(card *cardplan.Card) map[string]map[string]string {
	campaigns := map[string]map[string]string{}
	for i := range card.Campaigns {
		c := &card.Campaigns[i]
		campaigns[keyOf(c)] = valuesOf(c.Links)
	}
	return campaigns
}

const modulePrefix = "service_modules."

// valuesOf returns fields and service modules by name, in one map.
func valuesOf(links cardplan.Links) map[string]string {
	values := maps.Clone(map[string]string(links.Fields))
	if values == nil {
		values = map[string]string{}
	}
	for id, module := range links.ServiceModules {
		values[modulePrefix+id] = "null"
		if module != nil {
			values[modulePrefix+id] = module.AppID + " " + module.Path
		}
	}
	return values
}

// compareValues adds the differences of fields, in the documents' order, and of service
// modules.
func (r *report) compareValues(id, campaign string, before, after map[string]string) {
	names := slices.Clone(cardfields.Names)
	for _, values := range []map[string]string{before, after} {
		for name := range values {
			if strings.HasPrefix(name, modulePrefix) {
				names = append(names, name)
			}
		}
	}
	modules := names[len(cardfields.Names):]
	slices.Sort(modules)
	for _, name := range slices.Compact(names) {
		old, was := before[name]
		value, is := after[name]
		c := planChange{CardID: id, Campaign: campaign, Field: name, Kind: "changed"}
		switch {
		case was && is && old == value, !was && !is:
			continue
		case !was:
			c.Kind, c.New = "added", &value
		case !is:
			c.Kind, c.Old = "removed", &old
		default:
			c.Old, c.New = &old, &value
		}
		r.Changes = append(r.Changes, c)
	}
}
