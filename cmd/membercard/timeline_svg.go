package main

import (
	"encoding/xml"
	"fmt"
	"os"
	"strings"
	"time"

	"membercard/shared/cardplan"
)

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
	y, campaigns := svgMargin, 0
	text := func(x int, class, s string) {
		fmt.Fprintf(&b, `<text x="%d" y="%d"%s>%s</text>`+"\n", x, y+16, class, escape(s))
	}
	for i := range p.Cards {
		card := &p.Cards[i]
		if len(card.Campaigns) == 0 {
			continue
		}
		text(svgMargin, ` class="card"`, card.CardID)
		y += svgRow
		for j := range card.Campaigns {
			c := &card.Campaigns[j]
			campaigns++
			begin, end := scale.bar(c)
			x, width := svgMargin+svgNames+begin*svgBars, max((end-begin)*svgBars, 2)
			fmt.Fprintf(&b, `<g role="img"><title>%s</title>`+"\n", escape(nameOf(c)+": "+span(c)+modulesOf(c)))
			text(svgMargin, "", clip(nameOf(c)))
			fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="14" rx="3"/></g>`+"\n", x, y+5, width)
			y += svgRow
		}
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
`, width, height, campaigns, day(scale.first), day(scale.last), day(now), b.String())
}

// escape escapes a text for XML.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
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
