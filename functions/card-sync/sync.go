package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/cardfields"
	"membercard/shared/cardplan"
	"membercard/shared/officialaccount"
	"membercard/shared/upstream"
	"membercard/shared/wallclock"
)

const (
	// minTimePerCard is the minimum time for a card. With less time left, it is deferred.
	minTimePerCard = 1500 * time.Millisecond
	// resendInterval is the minimum time before an update is repeated that WeChat
	// accepted but the card does not show.
	resendInterval = 24 * time.Hour
)

// syncer updates cards to match the plan.
type syncer struct {
	wechat *officialaccount.Client
	sent   map[string]change // by card_id
}

// change is an update that WeChat accepted but /card/get does not show.
type change struct {
	body string
	at   time.Time
}

// report is the result of a sync.
type report struct {
	Updated    int          `json:"updated"`
	Unchanged  int          `json:"unchanged"`
	NotApplied int          `json:"not_applied"`
	Failed     int          `json:"failed"`
	Deferred   int          `json:"deferred"`
	DryRun     bool         `json:"dry_run"`
	Cards      []cardReport `json:"cards"`
}

type cardReport struct {
	CardID     string          `json:"card_id"`
	Status     string          `json:"status"`
	Changed    []string        `json:"changed,omitempty"`     // fields that were, or with dry_run would be, changed
	SendCheck  *bool           `json:"send_check,omitempty"`  // whether WeChat puts the change under review
	CardStatus string          `json:"card_status,omitempty"` // status in /card/get, with not_applied
	Error      *apierror.Error `json:"error,omitempty"`
}

// Statuses of a card in a report.
const (
	updated    = "updated"
	unchanged  = "unchanged"
	notApplied = "not_applied" // accepted by WeChat but not shown by /card/get, because it is in review
	failed     = "failed"
	deferred   = "deferred" // nothing was sent, because no time or quota was left
)

// inReview is the status of a card whose last change is under review. The card
// can't be handed out meanwhile, and another update would go to review as well.
const inReview = "CARD_STATUS_NOT_VERIFY"

// sync applies the plan as of now, one card after the other, until ctx ends. A failed card
// does not stop the others, but an error that every card would get ends the run. With
// dryRun no update is sent.
func (s *syncer) sync(ctx context.Context, p *cardplan.Plan, now time.Time, dryRun bool) *report {
	r := &report{DryRun: dryRun, Cards: make([]cardReport, len(p.Cards))}
	for i := range p.Cards {
		r.Cards[i] = cardReport{CardID: p.Cards[i].CardID, Status: deferred}
	}
	for i := range p.Cards {
		if !timeLeft(ctx, minTimePerCard) {
			break
		}
		s.card(ctx, &p.Cards[i], now, dryRun, &r.Cards[i])
		if endsRun(r.Cards[i].Error) {
			break
		}
	}
	r.count()
	return r
}

// count sets the numbers of cards by status.
func (r *report) count() {
	for _, c := range r.Cards {
		switch c.Status {
		case updated:
			r.Updated++
		case unchanged:
			r.Unchanged++
		case notApplied:
			r.NotApplied++
		case failed:
			r.Failed++
		case deferred:
			r.Deferred++
		}
	}
}

// endsRun reports whether an error concerns the account and not a single card: no
// quota left, no valid secret or access token, or an IP that is not allowed.
func endsRun(e *apierror.Error) bool {
	return e != nil && (e.Code == "CONFIG_ERROR" || slices.Contains([]int{45009, 40001, 40014, 42001, 40164}, e.Errcode))
}

func timeLeft(ctx context.Context, min time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() == nil && (!ok || time.Until(deadline) > min)
}

// card brings one card in line with the plan. r is its report, whose status is deferred.
func (s *syncer) card(ctx context.Context, planned *cardplan.Card, now time.Time, dryRun bool, r *cardReport) {
	var panicked error
	defer func() {
		if panicked != nil {
			r.fail(panicked)
		}
	}()
	defer apierror.Recover(ctx, &panicked)
	wanted := planned.FieldsAt(now)
	if len(wanted) == 0 {
		r.Status = unchanged
		return
	}
	shown, err := s.get(ctx, planned.CardID)
	if err != nil {
		// A timeout because the invocation's own time ran out defers the card.
		if apierror.From(err).Code != "UPSTREAM_TIMEOUT" || timeLeft(ctx, time.Second) {
			r.fail(err)
		}
		return
	}
	changes := shown.differing(wanted)
	if len(changes) == 0 {
		delete(s.sent, planned.CardID)
		r.Status = unchanged
		return
	}
	r.Changed = changes.Sorted()
	body, err := changes.UpdateRequest(planned.CardID, shown.cardType)
	switch {
	case err != nil:
		r.fail(err)
	case shown.cardType != cardfields.MemberCard && slices.ContainsFunc(r.Changed, cardfields.OfMemberCard):
		r.fail(&apierror.Error{Code: "PARAM_ERROR", Message: "activate_* are fields of membership cards only; this card is a " + shown.cardType})
	case shown.status == inReview || s.isSent(planned.CardID, body):
		r.Status, r.CardStatus = notApplied, shown.status
	case dryRun:
		r.Status = updated
	case !timeLeft(ctx, minTimePerCard):
		r.Changed = nil
	default:
		s.update(ctx, planned.CardID, body, wanted, r)
	}
}

// update sends an update of a card, and reads the card again to see whether it shows the
// wanted fields.
func (s *syncer) update(ctx context.Context, cardID string, body []byte, wanted cardfields.Fields, r *cardReport) {
	answer, err := s.wechat.Post(ctx, "/card/update", body)
	if errors.Is(err, upstream.ErrNoTime) {
		r.Changed = nil
		return
	}
	if err != nil {
		r.fail(err)
		return
	}
	var accepted struct {
		SendCheck bool `json:"send_check"`
	}
	_ = json.Unmarshal(answer.Body, &accepted) // without send_check there is no review
	r.Status, r.SendCheck = updated, &accepted.SendCheck
	shown, err := s.get(ctx, cardID)
	if err != nil {
		return // WeChat accepted the update; the next sync reads the card again
	}
	if missing := shown.differing(wanted); len(missing) > 0 {
		s.remember(cardID, missing, shown.cardType)
		r.Status, r.Changed, r.CardStatus = notApplied, missing.Sorted(), shown.status
	}
}

func (r *cardReport) fail(err error) {
	r.Status, r.Error, r.Changed = failed, apierror.From(err), nil
}

// remember stores an update that WeChat accepted but does not show, so that this execution
// environment does not send it again soon. A new environment has only the card's status
// to go by.
func (s *syncer) remember(cardID string, missing cardfields.Fields, cardType string) {
	body, err := missing.UpdateRequest(cardID, cardType)
	if err != nil {
		return
	}
	if s.sent == nil {
		s.sent = map[string]change{}
	}
	s.sent[cardID] = change{string(body), wallclock.Now()}
}

func (s *syncer) isSent(cardID string, body []byte) bool {
	c, ok := s.sent[cardID]
	return ok && c.body == string(body) && wallclock.Since(c.at) < resendInterval
}

// shownCard is a card as /card/get returns it.
type shownCard struct {
	cardType string // lower case
	status   string // CARD_STATUS_…
	fields   cardfields.Fields
}

// get reads a card: POST /card/get.
func (s *syncer) get(ctx context.Context, cardID string) (*shownCard, error) {
	body, err := json.Marshal(map[string]string{"card_id": cardID})
	if err != nil {
		return nil, err
	}
	answer, err := s.wechat.Post(ctx, "/card/get", body)
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
	var object, baseInfo map[string]any
	var hasInfo bool
	if slices.Contains(cardfields.CardTypes, c.cardType) && json.Unmarshal(document.Card[c.cardType], &object) == nil {
		baseInfo, hasInfo = object["base_info"].(map[string]any)
	}
	if !hasInfo {
		return nil, answer.Invalid(errors.New("the answer has no base_info of the card's type"))
	}
	c.status, _ = baseInfo["status"].(string)
	for _, name := range cardfields.Names {
		from := baseInfo
		if cardfields.OfMemberCard(name) {
			from = object
		}
		c.fields[name], _ = from[name].(string)
	}
	return c, nil
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
