package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/cardfields"
	"membercard/shared/cardplan"
	"membercard/shared/deadline"
	"membercard/shared/officialaccount"
	"membercard/shared/plansync"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
	"membercard/shared/wallclock"
)

const (
	// minTimeToUpdate is the minimum time left for an update to be sent.
	minTimeToUpdate = time.Second
	// resendInterval is the minimum time before an update is repeated that WeChat
	// accepted but the card does not show.
	resendInterval = 24 * time.Hour
)

// has reports whether the sync is for a card with these links.
func has(links cardplan.Links) bool { return links.Fields != nil }

// syncer updates cards to match the plan.
type syncer struct {
	wechat     *officialaccount.Client
	checkpoint plansync.Object
	log        *telemetry.Log
	sent       sync.Map // of changes, by card_id
}

// change is an update that WeChat accepted but /card/get does not show.
type change struct {
	body string
	at   time.Time
}

// inReview is the status of a card whose last change is under review. The card
// can't be handed out meanwhile, and another update would go to review as well.
const inReview = "CARD_STATUS_NOT_VERIFY"

// sync applies the plan. It goes on where the last run ended; a dry run begins with the
// plan's first card, and sends no update.
func (s *syncer) sync(ctx context.Context, job plansync.Job) *plansync.Report {
	var began []string
	if !job.DryRun {
		began = s.readCheckpoint(ctx)
	}
	report, ended := plansync.Run(ctx, job, began, func(ctx context.Context, planned *cardplan.Card, r *plansync.Card) {
		s.card(ctx, planned, job.Now, job.DryRun, r)
	})
	if !job.DryRun {
		s.writeCheckpoint(ctx, job.Plan, began, ended)
	}
	return report
}

// card brings one card in line with the plan. r is its report, whose status is deferred.
func (s *syncer) card(ctx context.Context, planned *cardplan.Card, now time.Time, dryRun bool, r *plansync.Card) {
	wanted := planned.At(now).Fields
	if len(wanted) == 0 {
		r.Status = plansync.Unchanged
		return
	}
	shown, err := s.get(ctx, planned.CardID)
	if err != nil {
		// A timeout because the invocation's own time ran out defers the card.
		if apierror.From(err).Code != "UPSTREAM_TIMEOUT" || deadline.Leaves(ctx, time.Second) {
			r.Fail(err)
		}
		return
	}
	changes := shown.differing(wanted)
	if len(changes) == 0 {
		s.sent.Delete(planned.CardID)
		r.Status = plansync.Unchanged
		return
	}
	r.Changed = changes.Sorted()
	ofMembers := slices.IndexFunc(r.Changed, cardfields.OfMemberCard)
	body := shown.update(planned.CardID, wanted)
	switch {
	case shown.cardType != cardfields.MemberCard && ofMembers >= 0:
		r.Fail(&apierror.Error{Code: "PARAM_ERROR", Message: r.Changed[ofMembers] + " is a field of membership cards only; this card is a " + shown.cardType})
	case shown.status == inReview || s.isSent(planned.CardID, body):
		r.Status, r.CardStatus = plansync.NotApplied, shown.status
	case dryRun:
		r.Status = plansync.Updated
	case !deadline.Leaves(ctx, minTimeToUpdate):
		r.Changed = nil
	default:
		s.update(ctx, planned.CardID, body, wanted, r)
	}
}

// update sends an update of a card, and reads the card again to see whether it shows the
// wanted fields.
func (s *syncer) update(ctx context.Context, cardID string, body []byte, wanted cardfields.Fields, r *plansync.Card) {
	answer, err := s.wechat.Post(ctx, "/card/update", body)
	if errors.Is(err, upstream.ErrNoTime) {
		r.Changed = nil
		return
	}
	if err != nil {
		r.Fail(err)
		return
	}
	var accepted struct {
		SendCheck bool `json:"send_check"`
	}
	_ = json.Unmarshal(answer.Body, &accepted) // without send_check there is no review
	r.Status, r.SendCheck = plansync.Updated, &accepted.SendCheck
	shown, err := s.get(ctx, cardID)
	if err != nil {
		return // WeChat accepted the update; the next sync reads the card again
	}
	if missing := shown.differing(wanted); len(missing) > 0 {
		// So that this execution environment does not send it again soon. A new one has only
		// the card's status to go by.
		s.sent.Store(cardID, change{string(shown.update(cardID, wanted)), wallclock.Now()})
		r.Status, r.Changed, r.CardStatus = plansync.NotApplied, missing.Sorted(), shown.status
	}
}

func (s *syncer) isSent(cardID string, body []byte) bool {
	held, _ := s.sent.Load(cardID)
	c, ok := held.(change)
	return ok && c.body == string(body) && wallclock.Since(c.at) < resendInterval
}

// shownCard is a card as /card/get returns it.
type shownCard struct {
	cardType string // lower case
	status   string // CARD_STATUS_…
	fields   cardfields.Fields
	object   map[string]json.RawMessage // the whole object of its type
}

// get reads a card: POST /card/get.
func (s *syncer) get(ctx context.Context, cardID string) (*shownCard, error) {
	answer, err := s.wechat.Post(ctx, "/card/get", map[string]string{"card_id": cardID})
	if err != nil {
		return nil, err
	}
	var document struct {
		Card map[string]json.RawMessage `json:"card"`
	}
	var cardType string
	if json.Unmarshal(answer.Body, &document) != nil || json.Unmarshal(document.Card["card_type"], &cardType) != nil {
		return nil, answer.Invalid(errors.New("the answer has no card with a card_type"))
	}
	c := &shownCard{cardType: strings.ToLower(cardType), fields: cardfields.Fields{}}
	if slices.Contains(cardfields.CardTypes, c.cardType) {
		c.object = members(document.Card[c.cardType])
	}
	baseInfo := members(c.object["base_info"])
	if baseInfo == nil {
		return nil, answer.Invalid(errors.New("the answer has no base_info of the card's type"))
	}
	c.status = text(baseInfo["status"])
	for _, name := range cardfields.Names {
		from, member := baseInfo, name
		if cardfields.OfMemberCard(name) {
			from = c.object
		}
		if inner := cardfields.Object(name); inner != "" {
			from, member = members(c.object[inner]), name[len(inner)+1:]
		}
		c.fields[name] = text(from[member])
	}
	return c, nil
}

// members returns the members of an object, or nil if value is none. They are not decoded:
// whatever the others are, such as numbers that no float64 holds, they stop no sync.
func members(value json.RawMessage) (m map[string]json.RawMessage) {
	_ = json.Unmarshal(value, &m)
	return m
}

// text returns a string, or "" if value is none.
func text(value json.RawMessage) (s string) {
	_ = json.Unmarshal(value, &s)
	return s
}

// differing returns the wanted fields that the card does not show. A missing field
// counts as empty.
func (c *shownCard) differing(wanted cardfields.Fields) cardfields.Fields {
	f := cardfields.Fields{}
	for name, value := range wanted {
		if c.fields[name] != value {
			f[name] = value
		}
	}
	return f
}

// update returns the update that makes the card show the wanted fields. It has those that
// differ, and the whole of an object in which one differs.
func (c *shownCard) update(cardID string, wanted cardfields.Fields) []byte {
	changes := c.differing(wanted)
	objects := map[string]bool{}
	for name := range changes {
		objects[cardfields.Object(name)] = true
	}
	for name, value := range wanted {
		if object := cardfields.Object(name); object != "" && objects[object] {
			changes[name] = value
		}
	}
	return changes.UpdateRequest(cardID, c.cardType, c.object)
}
