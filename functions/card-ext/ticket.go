package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"membercard/shared/apierror"
	"membercard/shared/awsconfig"
	"membercard/shared/cached"
	"membercard/shared/invocation"
	"membercard/shared/officialaccount"
	"membercard/shared/secret"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
	"membercard/shared/validation"
	"membercard/shared/wallclock"
)

// renewBefore is how long before its expiry a ticket is renewed. The schedule runs every 5
// minutes, so two invocations in a row may fail.
const renewBefore = 15 * time.Minute

// ticket is the official account's card ticket (api_ticket). Only the schedule fetches it,
// because its quota is small. It is stored in Secrets Manager, from which all execution
// environments read it.
type ticket struct {
	Ticket    string `json:"ticket"`
	ExpiresAt string `json:"expires_at"` // RFC 3339

	expiresAt time.Time
}

// parseTicket parses the stored ticket. Before the first refresh the secret is "{}",
// which is valid and means that there is no ticket yet.
func parseTicket(secret []byte) (*ticket, error) {
	var t ticket
	if err := strictjson.DecodeSecret(secret, &t); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if t == (ticket{}) {
		return &t, nil
	}
	var err error
	if t.expiresAt, err = time.Parse(time.RFC3339, t.ExpiresAt); err != nil || t.Ticket == "" || validation.VisibleASCII(t.Ticket) != "" {
		return nil, fmt.Errorf("%w: ticket or expires_at is missing or malformed", errMalformed)
	}
	return &t, nil
}

// errMalformed reports that the stored ticket is malformed. The next refresh replaces it.
var errMalformed = errors.New("the card ticket's secret")

func (t *ticket) validFor(d time.Duration) bool {
	return t.Ticket != "" && wallclock.Now().Add(d).Before(t.expiresAt)
}

// tickets provides the stored ticket. A cached secret implements it.
type tickets = cached.Source[*ticket]

// current returns a valid ticket. If the cached one has expired, it reads the stored one.
func current(ctx context.Context, stored tickets) (*ticket, error) {
	t, err := stored.Get(ctx)
	if err == nil && !t.validFor(0) {
		t, err = stored.Refresh(ctx, t)
	}
	switch {
	case err != nil:
		return nil, apierror.Config(err)
	case !t.validFor(0):
		return nil, apierror.TicketUnavailable(errors.New("no valid card ticket is stored"))
	}
	return t, nil
}

type refresher struct {
	wechat *officialaccount.Client
	stored *secret.Secret[*ticket]
	client *secretsmanager.Client
	id     string // the secret in which the ticket is stored
}

// refresh is the action {"action": "refresh"}, which the schedule sends.
func (r *refresher) refresh(ctx context.Context, record *telemetry.Record, event []byte) ([]byte, error) {
	var request struct {
		Action string `json:"action"`
	}
	if err := invocation.Decode(event, &request); err != nil {
		return nil, err
	}
	changed, err := r.renew(ctx)
	if err != nil {
		e, ok := errors.AsType[*apierror.Error](err)
		if !ok {
			e = apierror.Config(err)
			e.Cure = "let the function's role read and put the secret that CARD_TICKET_SECRET_ID names"
		}
		record.Count(telemetry.TicketFailures)
		record.End(ctx, slog.LevelError, "the card ticket is not renewed", e.Code, slog.String("cause", e.Error()), slog.String("cure", e.Cure))
		return nil, errors.New(e.Code)
	}
	record.End(ctx, slog.LevelInfo, "the card ticket is valid", "OK", slog.Bool("renewed", changed))
	return strictjson.Encode(map[string]bool{"renewed": changed}), nil
}

// renew fetches a ticket from WeChat (GET /cgi-bin/ticket/getticket?type=wx_card) and
// stores it, if the stored one is missing or expires soon.
func (r *refresher) renew(ctx context.Context) (changed bool, err error) {
	held, err := r.stored.Reread(ctx) // others read what is stored, and not what is cached here
	malformed := errors.Is(err, errMalformed)
	switch {
	case held != nil && held.validFor(renewBefore) && !malformed:
		return false, nil
	case err != nil && !malformed:
		return false, err // don't spend quota while the secret can't be read
	}
	answer, err := r.wechat.Get(ctx, "/cgi-bin/ticket/getticket", url.Values{"type": {"wx_card"}})
	if err != nil {
		return false, err
	}
	text, ttl, err := officialaccount.Expiring(answer, "ticket")
	if err != nil {
		return false, err
	}
	value := string(strictjson.Encode(ticket{Ticket: text, ExpiresAt: wallclock.Now().Add(ttl).Format(time.RFC3339)}))
	_, err = r.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &r.id, SecretString: &value})
	if err != nil {
		return false, fmt.Errorf("storing the card ticket: %w", awsconfig.Failure("Secrets Manager", err))
	}
	_, _ = r.stored.Reread(ctx) // this execution environment has the old ticket in its cache
	return true, nil
}
