package officialaccount

// This file has the account's secret, its access tokens and its card ticket.

import (
	"time"

	"membercard/wechat/sandbox"
)

const (
	tokenTTL    = 2 * time.Hour    // of access tokens and tickets
	overlap     = 5 * time.Minute  // in which a token and its successor are both valid
	refreshGap  = 30 * time.Second // minimum between forced refreshes
	refreshMost = 20               // forced refreshes a day
)

// Secret returns the JSON object of the account's current credentials: appid and
// secret.
func (s *Sandbox) Secret() (secret string) {
	s.Do(func() { secret = string(sandbox.JSON(s.account.credentials)) })
	return secret
}

// RotateSecret gives the account a new secret. The old one is refused with
// 40125; access tokens remain valid.
func (s *Sandbox) RotateSecret() { s.Do(func() { s.account.Secret = newSecret() }) }

// Allow sets whether the caller's address is on the account's allow-list. By default it
// is. If it is not, requests for access tokens are refused with 40164. Access tokens and
// users' codes can be used from any address.
func (s *Sandbox) Allow(on bool) { s.Do(func() { s.outside = !on }) }

// RevokeToken revokes the current access token, which is then refused with 40001. The next
// request for a token is answered with a new one.
func (s *Sandbox) RevokeToken() {
	s.Do(func() { s.tokens.current, s.tokens.previous = token{}, token{} })
}

// FreezeToken makes the current access token invalid. Requests for a token are still
// answered with it unless they have force_refresh.
func (s *Sandbox) FreezeToken() {
	s.Do(func() {
		s.tokens.normal(s.now())
		s.tokens.current.dead, s.tokens.previous = true, token{}
	})
}

// token is an access token or a ticket. The zero token is never valid.
type token struct {
	value   string
	expires time.Time
	dead    bool // invalid although it has not expired
}

func newToken(now time.Time) token {
	return token{value: "90_" + sandbox.RandomText(127) + "-_", expires: now.Add(tokenTTL)}
}

func (t token) valid(value string, now time.Time) bool {
	return value == t.value && !t.dead && now.Before(t.expires)
}

// tokens are the access tokens of the account.
type tokens struct {
	current, previous token
	refreshed         []time.Time // when a refresh was forced today
}

func (t *tokens) valid(value string, now time.Time) bool {
	return t.current.valid(value, now) || t.previous.valid(value, now)
}

// normal returns the current token, after replacing it if it expires soon.
func (t *tokens) normal(now time.Time) token {
	if !now.Before(t.current.expires.Add(-overlap)) {
		t.previous, t.current = t.current, newToken(now)
	}
	return t.current
}

// refresh returns a new token and revokes the others.
func (t *tokens) refresh(now time.Time) (token, error) {
	if n := len(t.refreshed); n > 0 {
		last := t.refreshed[n-1]
		if now.Sub(last) < refreshGap {
			return token{}, refuse(45011, "api minute-quota reach limit mustslower retry next minute")
		}
		if sandbox.Beijing(now).YearDay() != sandbox.Beijing(last).YearDay() {
			t.refreshed = nil
		}
	}
	if len(t.refreshed) >= refreshMost {
		return token{}, refuse(45009, "reach max api daily quota limit")
	}
	t.refreshed = append(t.refreshed, now)
	t.previous, t.current = token{}, newToken(now)
	return t.current, nil
}

func (s *Sandbox) stableToken(r *Request) (any, error) {
	if r.Given["grant_type"] != "client_credential" {
		return nil, refuse(40002, "invalid grant_type")
	}
	if err := s.account.check(r.Given["appid"], r.Given["secret"]); err != nil {
		return nil, err
	}
	given := s.tokens.normal(r.Time)
	if r.Given["force_refresh"] == "true" {
		var err error
		if given, err = s.tokens.refresh(r.Time); err != nil {
			return nil, err
		}
	}
	return map[string]any{
		"access_token": given.value,
		"expires_in":   int(given.expires.Sub(r.Time).Seconds()), // seconds left
	}, nil
}

func (s *Sandbox) getTicket(r *Request) (any, error) {
	if r.Query.Get("type") != "wx_card" {
		return nil, refuse(40097, "invalid args, type")
	}
	if !r.Time.Before(s.ticket.expires) {
		s.ticket = token{value: "IpK_" + sandbox.RandomText(81) + "-", expires: r.Time.Add(tokenTTL)}
	}
	answer := ok("ticket", s.ticket.value)
	answer["expires_in"] = int(s.ticket.expires.Sub(r.Time).Seconds()) // seconds left
	return answer, nil
}
