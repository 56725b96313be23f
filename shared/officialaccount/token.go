package officialaccount

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"membercard/shared/apierror"
	"membercard/shared/strictjson"
	"membercard/shared/wallclock"
)

const (
	// margin is how long before its end an access token is not used any more.
	// In these five minutes WeChat gives the next one, and both work.
	margin = 5 * time.Minute
	// forcePause is the least time between two tokens got by force: WeChat's
	// limit, besides 20 a day.
	forcePause = 30 * time.Second
)

// accessToken is the token at hand. Who has the turn may read and write it, so
// that however many calls need a token, it is fetched once.
type accessToken struct {
	lock     *semaphore.Weighted // guards the fields below; waiting for it respects a deadline
	account  *Account            // whose it is
	value    string
	dueAt    time.Time // when it is not to be used any more
	forcedAt time.Time // when one was last got by force
}

// use gives the token at hand, or a new one if it had its time.
func (c *Client) use(ctx context.Context) (string, error) {
	if err := c.token.lock.Acquire(ctx, 1); err != nil {
		return "", apierror.Timeout(err)
	}
	defer c.token.lock.Release(1)
	account, err := c.accounts.Get(ctx)
	if err != nil {
		return "", apierror.Config(err)
	}
	if t := &c.token; t.account != account || t.value == "" || !wallclock.Now().Before(t.dueAt) {
		if err := c.fetch(ctx, account, false); err != nil {
			return "", err
		}
	}
	return c.token.value, nil
}

// replace gives another token than the dead one. WeChat's normal mode gives the
// current token, which is enough where somebody else has refreshed it; only if
// that is the dead one, a new one is got by force.
func (c *Client) replace(ctx context.Context, dead string) (string, error) {
	if err := c.token.lock.Acquire(ctx, 1); err != nil {
		return "", apierror.Timeout(err)
	}
	defer c.token.lock.Release(1)
	t := &c.token
	if t.value != dead && t.value != "" {
		return t.value, nil // replaced meanwhile
	}
	account, err := c.accounts.Get(ctx)
	if err != nil {
		return "", apierror.Config(err)
	}
	if err := c.fetch(ctx, account, false); err != nil {
		return "", err
	}
	if t.value == dead && wallclock.Since(t.forcedAt) >= forcePause {
		t.forcedAt = wallclock.Now()
		if err := c.fetch(ctx, account, true); err != nil {
			return "", err
		}
	}
	return t.value, nil
}

// fetch gets a token: POST /cgi-bin/stable_token. An account whose secret WeChat
// refuses is read again, and if it changed, asked for once more.
func (c *Client) fetch(ctx context.Context, account *Account, force bool) error {
	err := c.fetchAs(ctx, account, force)
	if !IsErrcode(err, 40013, 40125) {
		return err
	}
	changed, isNew, unread := c.accounts.Refresh(ctx)
	if unread != nil || !isNew {
		return err
	}
	return c.fetchAs(ctx, changed, force)
}

func (c *Client) fetchAs(ctx context.Context, account *Account, force bool) error {
	body, err := strictjson.Encode(map[string]any{
		"grant_type":    "client_credential",
		"appid":         account.AppID,
		"secret":        account.Secret,
		"force_refresh": force,
	})
	if err != nil {
		return err
	}
	answer, err := Call(ctx, c.upstream, http.MethodPost, "/cgi-bin/stable_token", nil, body, account.Secret, c.token.value)
	if err != nil {
		return err
	}
	var token struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"` // seconds
	}
	if json.Unmarshal(answer.Body, &token) != nil || token.AccessToken == "" || token.ExpiresIn <= 0 {
		return answer.Invalid(errors.New("the answer has no access_token with its expires_in"))
	}
	life := time.Duration(token.ExpiresIn) * time.Second
	c.token.account, c.token.value = account, token.AccessToken
	c.token.dueAt = wallclock.Now().Add(max(life-margin, life/2))
	return nil
}
