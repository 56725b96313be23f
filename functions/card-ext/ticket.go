package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"membercard/shared/apierror"
	"membercard/shared/officialaccount"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
	"membercard/shared/wallclock"
)

// renewBefore is how long before its end a ticket is replaced: three turns of
// the schedule, so that two may fail.
const renewBefore = 15 * time.Minute

// ticket is the official account's card ticket (api_ticket). Its quota is small,
// so one refresher gets it, on a schedule, and puts it into Secrets Manager, from
// where all instances read it.
type ticket struct {
	Ticket    string `json:"ticket"`
	ExpiresAt string `json:"expires_at"` // RFC 3339

	expiresAt time.Time
}

// parseTicket reads what the refresher has stored. Before its first turn that is
// "{}": there is no ticket yet, which is no fault of the secret.
func parseTicket(secret []byte) (*ticket, error) {
	var t ticket
	if err := strictjson.DecodeSecret(secret, &t); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if t == (ticket{}) {
		return &t, nil
	}
	var err error
	if t.expiresAt, err = time.Parse(time.RFC3339, t.ExpiresAt); err != nil || t.Ticket == "" {
		return nil, fmt.Errorf("%w: ticket or expires_at is missing or malformed", errMalformed)
	}
	return &t, nil
}

// errMalformed is a secret that is no ticket: the next refresh replaces it.
var errMalformed = errors.New("the card ticket's secret")

// lives says whether the ticket is there, and good for a while longer.
func (t *ticket) lives(while time.Duration) bool {
	return t.Ticket != "" && wallclock.Now().Add(while).Before(t.expiresAt)
}

// tickets gives the stored ticket, and reads it again on demand.
type tickets interface {
	Get(context.Context) (*ticket, error)
	Refresh(context.Context) (t *ticket, changed bool, err error)
	Expire(context.Context) error
}

// current is the ticket to sign with.
func current(ctx context.Context, stored tickets) (*ticket, error) {
	t, err := stored.Get(ctx)
	if err == nil && !t.lives(0) {
		t, _, err = stored.Refresh(ctx)
	}
	switch {
	case err != nil:
		return nil, apierror.Config(err)
	case !t.lives(0):
		return nil, apierror.TicketUnavailable(errors.New("no card ticket is stored that has not ended"))
	}
	return t, nil
}

// refresher replaces the stored ticket before it ends.
type refresher struct {
	wechat *officialaccount.Client
	stored tickets
	secret *secretsmanager.Client
	id     string // of the secret that the ticket is stored in
}

// refresh is the action that the schedule invokes.
func (r *refresher) refresh(ctx context.Context, record *telemetry.Record, _ []byte) ([]byte, error) {
	changed, err := r.renew(ctx)
	if err != nil {
		e, ok := errors.AsType[*apierror.Error](err)
		if !ok {
			e = apierror.Config(err)
			e.Cure = "let the function's role read and put the secret that CARD_TICKET_SECRET_ID names"
		}
		record.End(ctx, slog.LevelError, "the card ticket is not renewed", e.Code, slog.String("cause", e.Error()), slog.String("cure", e.Cure))
		return nil, errors.New(e.Code)
	}
	record.End(ctx, slog.LevelInfo, "the card ticket is good", "OK", slog.Bool("renewed", changed))
	return json.Marshal(map[string]bool{"renewed": changed})
}

// renew asks WeChat for a ticket if the stored one ends soon:
// GET /cgi-bin/ticket/getticket?type=wx_card.
func (r *refresher) renew(ctx context.Context) (changed bool, err error) {
	held, err := r.stored.Get(ctx)
	if err == nil && !held.lives(renewBefore) {
		held, _, err = r.stored.Refresh(ctx) // somebody may have renewed it by hand
	}
	switch {
	case err == nil && held.lives(renewBefore):
		return false, nil
	case err != nil && !errors.Is(err, errMalformed):
		return false, err // a secret that can't be read must not cost quota
	}
	answer, err := r.wechat.Get(ctx, "/cgi-bin/ticket/getticket", url.Values{"type": {"wx_card"}})
	if err != nil {
		return false, err
	}
	var t ticket
	var expiresIn int // seconds
	if !strictjson.Member(answer.Body, "ticket", &t.Ticket) || t.Ticket == "" || !strictjson.Member(answer.Body, "expires_in", &expiresIn) || expiresIn <= 0 || expiresIn > 86400 {
		return false, answer.Invalid(errors.New("the answer has no ticket with its expires_in"))
	}
	t.ExpiresAt = wallclock.Now().Add(time.Duration(expiresIn) * time.Second).Format(time.RFC3339)
	text, err := strictjson.Encode(t)
	if err != nil {
		return false, err
	}
	value := string(text)
	_, err = r.secret.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &r.id, SecretString: &value})
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		return false, fmt.Errorf("storing the card ticket, Secrets Manager answered %s", refused.ErrorCode()) // its message may quote the ticket
	}
	if err != nil {
		return false, errors.New("storing the card ticket, Secrets Manager could not be reached")
	}
	_ = r.stored.Expire(ctx) // what this instance holds is the one before; it would serve to its end
	return true, nil
}
