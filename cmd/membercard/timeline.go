package main

import (
	"fmt"
	"html"
	"iter"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"membercard/shared/cardplan"
)

// The length of a time line, in characters: timelineWidth where there is room for it.
const (
	timelineWidth    = 48
	minTimelineWidth = 10
)

// campaigns yields the campaigns of a plan, each with its card.
func campaigns(p *cardplan.Plan) iter.Seq2[*cardplan.Card, *cardplan.Campaign] {
	return func(yield func(*cardplan.Card, *cardplan.Campaign) bool) {
		for i := range p.Cards {
			for j := range p.Cards[i].Campaigns {
				if !yield(&p.Cards[i], &p.Cards[i].Campaigns[j]) {
					return
				}
			}
		}
	}
}

// A scale is that of a time line: from the first time in a plan to the last, of which
// now is one.
type scale struct{ first, last time.Time }

func newScale(p *cardplan.Plan, now time.Time) scale {
	var times []time.Time
	for _, c := range campaigns(p) {
		from, until := c.Interval()
		times = append(times, from, until)
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
	for _, c := range campaigns(p) {
		width, said = max(width, columns(nameOf(c))), max(said, columns(saysOf(c)))
	}
	line, under := timelineWidth, width+1
	isNarrow := terminal > 0 && 2+under+line+2+said > terminal
	if isNarrow {
		line, under = max(minTimelineWidth, min(line, terminal-2-under)), 0
	}
	for card, c := range campaigns(p) {
		if c == &card.Campaigns[0] {
			lines = append(lines, "", card.CardID)
		}
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
	return append(lines, "", fmt.Sprintf("  %s%s … %s; | is now", strings.Repeat(" ", under), day(scale.first), day(scale.last)))
}

func nameOf(c *cardplan.Campaign) string {
	if c.Name == "" {
		return "campaign"
	}
	return printable(c.Name)
}

// saysOf says when a campaign is active, and which service modules it has.
func saysOf(c *cardplan.Campaign) string {
	if len(c.ServiceModules) == 0 {
		return span(c)
	}
	return span(c) + "; service modules " + strings.Join(slices.Sorted(maps.Keys(c.ServiceModules)), ", ")
}

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

// The measures of a time line as SVG, in pixels.
const (
	svgNames  = 290 // the column of the names
	svgBars   = 480
	svgMargin = 12
	svgRow    = 24
)

// timelineSVG draws the campaigns of a plan on a time line. A title says all of it in
// words, and each bar has one, so that nobody has to see it.
func timelineSVG(p *cardplan.Plan, now time.Time) string {
	scale := newScale(p, now)
	var b strings.Builder
	y, drawn := svgMargin, 0
	text := func(x int, class, s string) {
		fmt.Fprintf(&b, `<text x="%d" y="%d"%s>%s</text>`+"\n", x, y+16, class, html.EscapeString(s))
	}
	for card, c := range campaigns(p) {
		if c == &card.Campaigns[0] {
			text(svgMargin, ` class="card"`, card.CardID)
			y += svgRow
		}
		drawn++
		begin, end := scale.bar(c)
		x, width := svgMargin+svgNames+begin*svgBars, max((end-begin)*svgBars, 2)
		fmt.Fprintf(&b, `<g role="img"><title>%s</title>`+"\n", html.EscapeString(nameOf(c)+": "+saysOf(c)))
		text(svgMargin, "", clip(nameOf(c)))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="14" rx="3"/></g>`+"\n", x, y+5, width)
		y += svgRow
	}
	nowX := svgMargin + svgNames + scale.at(now)*svgBars
	fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d"><title>now</title></line>`+"\n", nowX, svgMargin, nowX, y)
	text(svgMargin+svgNames, "", day(scale.first))
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", svgMargin+svgNames+svgBars, y+16, day(scale.last))
	width, height := 2*svgMargin+svgNames+svgBars, y+svgRow+svgMargin
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="group" aria-labelledby="t d">
<title id="t">Campaigns of the card plan</title>
<desc id="d">Campaigns: %d. From %s to %s; the vertical line is %s.</desc>
<style>text{font:13px sans-serif;fill:#1b1f24}.card{font-weight:bold}rect{fill:#07c160}line{stroke:#cf222e;stroke-width:2}svg{background:#fff}</style>
%s</svg>
`, width, height, drawn, day(scale.first), day(scale.last), day(now), b.String())
}

// writeSVG writes the time line of a plan to a file, if there is one.
func (r *report) writeSVG(path string, p *cardplan.Plan) {
	if path == "" {
		return
	}
	const name = "time line written"
	if err := os.WriteFile(path, []byte(timelineSVG(p, time.Now())), 0o644); err != nil {
		r.fail(name, faultf("name a file that you may write to", "%s can't be written", path))
		return
	}
	r.add(step{Name: name, OK: true, Detail: path})
}
