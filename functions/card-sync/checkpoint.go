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

// checkpoint is the content of card-sync.json, the object that says where the next run begins.
// It is written only when a run ends early or catches up.
type checkpoint struct {
	Next []string `json:"next,omitempty"` // card_ids; see [plansync.Run]
}

// readCheckpoint returns the checkpoint's card_ids. Without a checkpoint, or if it is spoilt or
// can't be read, a run begins anywhere.
func (s *syncer) readCheckpoint(ctx context.Context) []string {
	text, _, err := s.checkpoint.ReadIfAny(ctx, 1<<20)
	if err != nil {
		s.log.Failure(ctx, telemetry.SyncFailures, "the run does not go on where the last one ended", err, checkpointCure)
	}
	var found checkpoint
	_ = json.Unmarshal(text, &found)
	return found.Next
}

// writeCheckpoint keeps where the next run begins, unless it is where this one began.
// A run that reached all cards of its plan leaves a checkpoint that is none of them: it may be
// of the plan in S3, while this one was in the event.
func (s *syncer) writeCheckpoint(ctx context.Context, p *cardplan.Plan, began, ended []string) {
	of := func(c cardplan.Card) bool { return slices.Contains(began, c.CardID) }
	if slices.Equal(began, ended) || len(ended) == 0 && !slices.ContainsFunc(p.Cards, of) {
		return
	}
	if err := s.checkpoint.Write(ctx, strictjson.Encode(checkpoint{ended})); err != nil {
		s.log.Failure(ctx, telemetry.SyncFailures, "the next run does not go on where this one ended", err, checkpointCure)
	}
}

const checkpointCure = "let the function's role read and write " + plansync.CardSync + " in the folder of the plan"
