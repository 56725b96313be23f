package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/officialaccount"
	"membercard/shared/upstream"
	"membercard/shared/wallclock"
)

const (
	// atATime is how many cards are worked on at once; WeChat limits the rate.
	atATime = 4
	// leastTime is what must be left of the invocation to begin with a card.
	leastTime = 1500 * time.Millisecond
	// resendAfter is how long a change that WeChat took but does not show is not
	// sent again.
	resendAfter = 24 * time.Hour
)

// syncer makes cards show what the plan says.
type syncer struct {
	wechat *officialaccount.Client

	mu   sync.Mutex
	sent map[string]change // what WeChat took but did not show, by card_id
}

// change is an update that was sent.
type change struct {
	body string
	at   time.Time
}

// report is what became of a sync.
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
	SendCheck  *bool           `json:"send_check,omitempty"`  // WeChat's word that the change goes to review
	CardStatus string          `json:"card_status,omitempty"` // WeChat's, with not_applied
	Error      *apierror.Error `json:"error,omitempty"`
}

// The statuses of a card in a report.
const (
	updated    = "updated"
	unchanged  = "unchanged"
	notApplied = "not_applied" // WeChat took it, /card/get does not show it: in review
	failed     = "failed"
	deferred   = "deferred" // not begun: no time or quota was left
)

// inReview is the status of a card whose last change WeChat has not decided on.
// It can't be handed out meanwhile, and another update would go to review too.
const inReview = "CARD_STATUS_NOT_VERIFY"

// sync goes through the plan's cards, a few at a time, as far as ctx allows. One
// card's failure does not stop the others, but what would fail with every card
// ends the run. With dryRun nothing is sent.
func (s *syncer) sync(ctx context.Context, p *plan, now time.Time, dryRun bool) *report {
	r := &report{DryRun: dryRun, Cards: make([]cardReport, len(p.Cards))}
	for i := range p.Cards {
		r.Cards[i] = cardReport{CardID: p.Cards[i].CardID, Status: deferred}
	}
	next := make(chan int)
	var workers sync.WaitGroup
	run, stop := context.WithCancel(ctx)
	defer stop()
	var stopped atomic.Bool
	for range min(atATime, len(p.Cards)) {
		workers.Go(func() {
			for i := range next {
				s.card(ctx, &p.Cards[i], now, dryRun, &r.Cards[i])
				if !endsRun(r.Cards[i].Error) {
					continue
				}
				if stop(); stopped.Swap(true) { // it has been told of another card already
					r.Cards[i] = cardReport{CardID: p.Cards[i].CardID, Status: deferred}
				}
			}
		})
	}
	for i := range p.Cards {
		if !timeLeft(run, leastTime) {
			break
		}
		select {
		case next <- i:
			continue
		case <-run.Done():
		}
		break
	}
	close(next)
	workers.Wait()
	for i := range r.Cards {
		switch r.Cards[i].Status {
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
	return r
}

// endsRun says whether an error is the account's rather than the card's: no
// quota, no valid secret, a token that stays dead, or an IP that is not allowed.
func endsRun(e *apierror.Error) bool {
	return e != nil && (e.Code == "CONFIG_ERROR" || slices.Contains([]int{45009, 40001, 40014, 42001, 40164}, e.Errcode))
}

func timeLeft(ctx context.Context, least time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() == nil && (!ok || time.Until(deadline) > least)
}

// card makes one card show what is planned for it.
func (s *syncer) card(ctx context.Context, planned *plannedCard, now time.Time, dryRun bool, r *cardReport) {
	defer func() {
		if value := recover(); value != nil {
			r.fail(apierror.FromPanic(value))
		}
	}()
	wanted, _ := planned.inForce(now)
	if len(wanted) == 0 {
		r.Status = unchanged
		return
	}
	shown, err := s.get(ctx, planned.CardID)
	if err != nil {
		if e, ok := errors.AsType[*apierror.Error](err); !ok || e.Code != "UPSTREAM_TIMEOUT" || timeLeft(ctx, time.Second) {
			r.fail(err)
		} // else it was our time that ran out
		return
	}
	changes := shown.differing(wanted)
	r.Changed = changes.names()
	body, err := changes.encode(planned.CardID, shown.cardType)
	switch {
	case len(changes) == 0:
		s.forget(planned.CardID)
		r.Status = unchanged
		return
	case err != nil:
		r.fail(err)
		return
	case shown.cardType != memberCard && slices.ContainsFunc(r.Changed, ofMemberCard):
		r.fail(&apierror.Error{Code: "PARAM_ERROR", Message: "activate_* are fields of membership cards only; this card is a " + shown.cardType})
		return
	case shown.status == inReview || s.isSent(planned.CardID, body):
		r.Status, r.CardStatus = notApplied, shown.status
		return
	case dryRun:
		r.Status = updated
		return
	case !timeLeft(ctx, leastTime):
		r.Changed = nil
		return
	}
	answer, err := s.wechat.Post(ctx, "/card/update", body)
	if errors.Is(err, upstream.ErrNoTime) {
		r.Changed = nil
		return
	}
	if err != nil {
		r.fail(err)
		return
	}
	var taken struct {
		SendCheck bool `json:"send_check"`
	}
	_ = json.Unmarshal(answer.Body, &taken) // it is not there for cards that need no review
	r.Status, r.SendCheck = updated, &taken.SendCheck
	if shown, err = s.get(ctx, planned.CardID); err != nil {
		return // WeChat took the update; the next sync sees what became of it
	}
	if missing := shown.differing(wanted); len(missing) > 0 {
		s.remember(planned.CardID, missing, shown.cardType)
		r.Status, r.Changed, r.CardStatus = notApplied, missing.names(), shown.status
	}
}

func (r *cardReport) fail(err error) {
	e, ok := errors.AsType[*apierror.Error](err)
	if !ok {
		e = apierror.FromPanic(err)
	}
	r.Status, r.Error, r.Changed = failed, e, nil
}

// remember keeps what WeChat took but does not show, so that this instance does
// not send it again. What outlives the instance is the card's own status.
func (s *syncer) remember(cardID string, missing fields, cardType string) {
	body, err := missing.encode(cardID, cardType)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent == nil {
		s.sent = map[string]change{}
	}
	s.sent[cardID] = change{string(body), wallclock.Now()}
}

func (s *syncer) isSent(cardID string, body []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.sent[cardID]
	return ok && c.body == string(body) && wallclock.Since(c.at) < resendAfter
}

func (s *syncer) forget(cardID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sent, cardID)
}

// shownCard is what /card/get says of a card.
type shownCard struct {
	cardType string // lower case
	status   string // CARD_STATUS_…
	fields   fields
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
	c := &shownCard{cardType: strings.ToLower(cardType), fields: fields{}}
	var object, baseInfo map[string]any
	var hasInfo bool
	if slices.Contains(cardTypes, c.cardType) && json.Unmarshal(document.Card[c.cardType], &object) == nil {
		baseInfo, hasInfo = object["base_info"].(map[string]any)
	}
	if !hasInfo {
		return nil, answer.Invalid(errors.New("the answer has no base_info of the card's type"))
	}
	c.status, _ = baseInfo["status"].(string)
	for _, name := range fieldNames {
		from := baseInfo
		if ofMemberCard(name) {
			from = object
		}
		c.fields[name], _ = from[name].(string)
	}
	return c, nil
}

// differing are the wanted fields that the card does not show. A field that it
// does not have is an empty one.
func (c *shownCard) differing(wanted fields) fields {
	f := fields{}
	for name, value := range wanted {
		if c.fields[name] != value {
			f[name] = value
		}
	}
	return f
}
