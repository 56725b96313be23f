package officialaccount

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"membercard/shared/apierror"
	"membercard/shared/cached"
	"membercard/shared/deadline"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
	"membercard/shared/wallclock"
)

const (
	// renewBefore is how long before its expiry an access token is renewed. In the
	// last 5 minutes WeChat issues the next token, and both are valid.
	renewBefore = 5 * time.Minute
	// renewTimeout limits a renewal while the token in hand is valid, and renewInterval is
	// the time between two such attempts: a slow or failing token operation must not slow
	// down calls that don't need it. Like the token, a renewal gets at most half of the
	// time that the call has left.
	renewTimeout  = 3 * time.Second
	renewInterval = 30 * time.Second
	// minForceInterval is the minimum time between two forced refreshes. WeChat allows
	// one every 30 s, and 20 a day.
	minForceInterval = 30 * time.Second
)

// accessToken is the cached access token. If many calls need a token at the same time,
// one of them fetches it and the others wait.
type accessToken struct {
	lock      *semaphore.Weighted // guards the fields below; waiting for it respects a deadline
	account   *Account            // the account that the token belongs to
	value     string
	renewAt   time.Time
	expiresAt time.Time
	forcedAt  time.Time // when a refresh was last forced
}

// use returns the cached token. It first fetches one if there is none, or if it is of
// another account or due for renewal. If a renewal fails, the token in hand goes on
// serving until it expires.
func (c *Client) use(ctx context.Context) (string, error) {
	if err := c.token.lock.Acquire(ctx, 1); err != nil {
		return "", apierror.Timeout(err)
	}
	defer c.token.lock.Release(1)
	account, err := c.accounts.Get(ctx)
	if err != nil {
		return "", apierror.Config(err)
	}
	t, now := &c.token, wallclock.Now()
	switch {
	case t.account != account || t.value == "" || !now.Before(t.expiresAt):
		if err := c.fetch(ctx, false); err != nil {
			return "", err
		}
	case !now.Before(t.renewAt):
		if err := c.renew(ctx); err != nil {
			t.renewAt = wallclock.Now().Add(renewInterval)
			telemetry.Annotate(ctx, slog.String("token_not_renewed", apierror.From(err).Code))
		}
	}
	return t.value, nil
}

func (c *Client) renew(ctx context.Context) error {
	ctx, cancel := deadline.WithHalf(ctx, renewTimeout)
	defer cancel()
	return c.fetch(ctx, false)
}

// replace returns a token to use instead of an invalid one. It first asks WeChat for the
// current token, because another client may have refreshed it. If that is still the
// invalid one, it forces a refresh, at most once in 30 s.
func (c *Client) replace(ctx context.Context, invalid string) (string, error) {
	if err := c.token.lock.Acquire(ctx, 1); err != nil {
		return "", apierror.Timeout(err)
	}
	defer c.token.lock.Release(1)
	t := &c.token
	if t.value != invalid && t.value != "" {
		return t.value, nil // another call replaced it
	}
	if err := c.fetch(ctx, false); err != nil {
		return "", err
	}
	if t.value == invalid && wallclock.Since(t.forcedAt) >= minForceInterval {
		t.forcedAt = wallclock.Now()
		if err := c.fetch(ctx, true); err != nil {
			return "", err
		}
	}
	return t.value, nil
}

// fetch fetches a token (POST /cgi-bin/stable_token). If WeChat refuses the account's
// AppID or AppSecret, it reads the account again and, if it changed, tries once more.
func (c *Client) fetch(ctx context.Context, force bool) error {
	_, err := cached.Use(ctx, c.accounts, IsAccountRefused, func(account *Account) (any, error) {
		return nil, c.fetchAs(ctx, account, force)
	})
	return err
}

func (c *Client) fetchAs(ctx context.Context, account *Account, force bool) error {
	body := strictjson.Encode(map[string]any{
		"grant_type":    "client_credential",
		"appid":         account.AppID,
		"secret":        account.Secret,
		"force_refresh": force,
	})
	answer, err := Call(ctx, c.upstream, http.MethodPost, "/cgi-bin/stable_token", nil, body)
	if e, ok := errors.AsType[*apierror.Error](err); ok && e.Errcode != 0 {
		return e.WithoutErrmsg() // which may quote the secret
	}
	if err != nil {
		return err
	}
	token, ttl, err := Expiring(answer, "access_token")
	if err != nil {
		return err
	}
	c.token.account, c.token.value = account, token
	now := wallclock.Now()
	c.token.renewAt, c.token.expiresAt = now.Add(max(ttl-renewBefore, ttl/2)), now.Add(ttl)
	return nil
}
