package plansync

import (
	"context"
	"log/slog"

	"membercard/shared/apierror"
	"membercard/shared/cardplan"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

// Report is the result of a run. The cards are in the plan's order.
type Report struct {
	Updated    int    `json:"updated"`
	Unchanged  int    `json:"unchanged"`
	NotApplied int    `json:"not_applied"`
	Failed     int    `json:"failed"`
	Deferred   int    `json:"deferred"`
	DryRun     bool   `json:"dry_run"`
	Cards      []Card `json:"cards"`
}

// Card is the result for one card.
type Card struct {
	CardID     string          `json:"card_id"`
	Status     string          `json:"status"`
	Changed    []string        `json:"changed,omitempty"`     // what was, or with dry_run would be, changed
	SendCheck  *bool           `json:"send_check,omitempty"`  // whether WeChat puts the change under review
	CardStatus string          `json:"card_status,omitempty"` // status in /card/get, with not_applied
	Error      *apierror.Error `json:"error,omitempty"`
}

// Statuses of a card.
const (
	Updated    = "updated"
	Unchanged  = "unchanged"
	NotApplied = "not_applied" // accepted by WeChat but not shown by /card/get, because it is in review
	Failed     = "failed"
	Deferred   = "deferred" // no change was sent, because no time or quota was left
)

// Fail makes a card failed.
func (c *Card) Fail(err error) {
	e := *apierror.From(err)
	if e.RetryAfter > 0 {
		e.Solution = "" // it speaks of a header, which a report does not have
	}
	c.Status, c.Error, c.Changed = Failed, &e, nil
}

// newReport returns a report in which all cards are deferred.
func newReport(cards []cardplan.Card, dryRun bool) *Report {
	r := &Report{DryRun: dryRun, Cards: make([]Card, len(cards))}
	for i := range cards {
		r.Cards[i] = Card{CardID: cards[i].CardID, Status: Deferred}
	}
	return r
}

// count sets the numbers of cards by status.
func (r *Report) count() {
	numbers := map[string]*int{Updated: &r.Updated, Unchanged: &r.Unchanged, NotApplied: &r.NotApplied, Failed: &r.Failed, Deferred: &r.Deferred}
	for _, c := range r.Cards {
		*numbers[c.Status]++
	}
}

// end ends the record of a run, and returns its report.
func (r *Report) end(ctx context.Context, record *telemetry.Record) ([]byte, error) {
	level, code := slog.LevelInfo, "OK"
	attrs := []slog.Attr{
		slog.Int("updated", r.Updated), slog.Int("unchanged", r.Unchanged), slog.Int("not_applied", r.NotApplied),
		slog.Int("failed", r.Failed), slog.Int("deferred", r.Deferred), slog.Bool("dry_run", r.DryRun),
	}
	switch {
	case r.Failed > 0:
		level, code = slog.LevelError, "CARDS_FAILED"
		countFailure(record, r.DryRun)
		attrs = append(attrs, slog.Any("failures", r.failures()))
	case r.Deferred > 0 && r.Deferred == len(r.Cards):
		// A long plan defers cards and gets on. This run did not, and the next may not either.
		level, code = slog.LevelError, "NO_CARD_REACHED"
		countFailure(record, r.DryRun)
		attrs = append(attrs, slog.String("cause", "the run's time was up before one card was done"),
			slog.String("cure", "look at the latency of WeChat (failed_attempts) and at the function's timeout"))
	}
	record.End(ctx, level, "synced", code, attrs...)
	return strictjson.Encode(r), nil
}

// countFailure counts a failed sync, which an alarm sees. A dry run that fails is seen by
// whoever made it, and its plan need not be in force.
func countFailure(record *telemetry.Record, dryRun bool) {
	if !dryRun {
		record.Count(telemetry.SyncFailures)
	}
}

// failures describes the first failed cards, for the log record.
func (r *Report) failures() []string {
	var lines []string
	for _, c := range r.Cards {
		if c.Error != nil && len(lines) < maxLogged {
			lines = append(lines, c.CardID+": "+c.Error.Error())
		}
	}
	return lines
}
