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
func (s *Sandbox) Secret() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(sandbox.JSON(s.account.credentials))
}

// RotateSecret gives the account a new secret. The old one is refused with
// 40125; access tokens remain valid.
func (s *Sandbox) RotateSecret() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account.Secret = newSecret()
}

// Allow sets whether the caller's address is on the account's allow-list. By default it
// is. If it is not, requests for access tokens are refused with 40164. Access tokens and
// users' codes can be used from any address.
func (s *Sandbox) Allow(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outside = !on
}

// RevokeToken revokes the current access token, which is then refused with 40001. The next
// request for a token is answered with a new one.
func (s *Sandbox) RevokeToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.current, s.tokens.previous = token{}, token{}
}

// FreezeToken makes the current access token invalid. Requests for a token are still
// answered with it unless they have force_refresh.
func (s *Sandbox) FreezeToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.normal(s.now())
	s.tokens.current.dead, s.tokens.previous = true, token{}
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
func (t *tokens) refresh(now time.Time) (token, *refusal) {
	if n := len(t.refreshed); n > 0 {
		last := t.refreshed[n-1]
		if now.Sub(last) < refreshGap {
			return token{}, refuse(45011, "api minute-quota reach limit mustslower retry next minute")
		}
		if day(now) != day(last) {
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

// day returns the date in Beijing.
func day(t time.Time) string {
	return t.In(time.FixedZone("", 8*60*60)).Format(time.DateOnly)
}

// stableToken is 获取稳定版接口调用凭据.
func (s *Sandbox) stableToken(r *Request) (any, *refusal) {
	asked, refused := parse(r.Body, fields{"grant_type": "string", "appid": "string", "secret": "string", "force_refresh": "boolean"})
	if refused != nil {
		return nil, refused
	}
	if asked["grant_type"] != "client_credential" {
		return nil, refuse(40002, "invalid grant_type")
	}
	if refused := s.account.check(asked["appid"], asked["secret"]); refused != nil {
		return nil, refused
	}
	given := s.tokens.normal(r.Time)
	if asked["force_refresh"] == true {
		if given, refused = s.tokens.refresh(r.Time); refused != nil {
			return nil, refused
		}
	}
	return map[string]any{
		"access_token": given.value,
		"expires_in":   int(given.expires.Sub(r.Time).Seconds()), // seconds left
	}, nil
}

// getTicket is 获取api_ticket.
func (s *Sandbox) getTicket(r *Request) (any, *refusal) {
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
