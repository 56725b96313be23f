package main

import (
	"context"
	"encoding/json"
	"slices"

	"membercard/shared/cardplan"
	"membercard/shared/plansync"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

// place is the content of card-sync.json, the object that says where the next run begins.
// It is written only when a run ends early or catches up.
type place struct {
	Next []string `json:"next,omitempty"` // card_ids; see [plansync.Run]
}

// readPlace returns the place where the last run ended. Without one, or if it is spoilt or
// can't be read, a run begins anywhere.
func (s *syncer) readPlace(ctx context.Context) (found place) {
	text, _, err := s.place.ReadIfAny(ctx, 1<<20)
	if err != nil {
		s.log.Failure(ctx, telemetry.SyncFailures, "the run does not go on where the last one ended", err, placeCure)
	}
	_ = json.Unmarshal(text, &found)
	return found
}

// writePlace keeps the place where the next run begins, unless it is where this one began.
// A run that reached all cards of its plan leaves a place that is none of them: it may be
// of the plan in S3, while this one was in the event.
func (s *syncer) writePlace(ctx context.Context, p *cardplan.Plan, began, ended place) {
	of := func(c cardplan.Card) bool { return slices.Contains(began.Next, c.CardID) }
	if slices.Equal(began.Next, ended.Next) || len(ended.Next) == 0 && !slices.ContainsFunc(p.Cards, of) {
		return
	}
	text, err := strictjson.Encode(ended)
	if err == nil {
		err = s.place.Write(ctx, text)
	}
	if err != nil {
		s.log.Failure(ctx, telemetry.SyncFailures, "the next run does not go on where this one ended", err, placeCure)
	}
}

const placeCure = "let the function's role read and write " + plansync.CardSync + " in the folder of the plan"
