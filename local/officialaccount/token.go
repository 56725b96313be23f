// The account's secret, the access tokens that it is good for, and the ticket
// that these are good for.

package officialaccount

import (
	"time"

	"membercard/local/sandbox"
)

const (
	tokenLife   = 2 * time.Hour   // a ticket's too
	overlap     = 5 * time.Minute // in which a token and its successor are valid
	refreshGap  = 30 * time.Second
	refreshMost = 20 // a day
)

// Secret is the JSON object of what the account knows now: appid and secret.
func (s *Sandbox) Secret() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(sandbox.JSON(s.account.credentials))
}

// RotateSecret gives the account a new secret. The old one is refused with
// 40125 from now on; access tokens go on living.
func (s *Sandbox) RotateSecret() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account.Secret = newSecret()
}

// Allow puts the caller's address on the account's allow-list, as it is at
// first, or removes it: then it is refused access tokens with 40164. These, and
// the codes of users, may be used from anywhere.
func (s *Sandbox) Allow(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outside = !on
}

// RevokeToken kills the current access token: it is refused with 40001 from now
// on. Who asks for one gets a new one.
func (s *Sandbox) RevokeToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.current, s.tokens.previous = token{}, token{}
}

// FreezeToken kills the current access token without WeChat noticing: who asks
// for one gets the dead one, unless with force_refresh.
func (s *Sandbox) FreezeToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.normal(s.now())
	s.tokens.current.dead, s.tokens.previous = true, token{}
}

// token is an access token; the zero token is none.
type token struct {
	value   string
	expires time.Time
	dead    bool // before it expires
}

func newToken(now time.Time) token {
	return token{value: "90_" + sandbox.RandomText(127) + "-_", expires: now.Add(tokenLife)}
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

// normal is the current token, or, when that is about to expire, its successor.
func (t *tokens) normal(now time.Time) token {
	if !now.Before(t.current.expires.Add(-overlap)) {
		t.previous, t.current = t.current, newToken(now)
	}
	return t.current
}

// refresh makes a new token. It is the only one that is valid then.
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

// day is the date in Beijing.
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
	return struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"` // seconds left
	}{given.value, int(given.expires.Sub(r.Time) / time.Second)}, nil
}

// getTicket is 获取api_ticket.
func (s *Sandbox) getTicket(r *Request) (any, *refusal) {
	if refused := s.ticketQuota.take(); refused != nil {
		return nil, refused
	}
	if r.Query.Get("type") != "wx_card" {
		return nil, refuse(40097, "invalid args, type")
	}
	if !r.Time.Before(s.ticket.expires) {
		s.ticket = token{value: "IpK_" + sandbox.RandomText(81) + "-", expires: r.Time.Add(tokenLife)}
	}
	return struct {
		Errcode   int    `json:"errcode"`
		Errmsg    string `json:"errmsg"`
		Ticket    string `json:"ticket"`
		ExpiresIn int    `json:"expires_in"` // seconds left
	}{0, "ok", s.ticket.value, int(s.ticket.expires.Sub(r.Time) / time.Second)}, nil
}

// RotateTicket ends the life of the current ticket: who asks for it gets a new
// one.
func (s *Sandbox) RotateTicket() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticket = token{}
}

// TicketQuota sets how many calls of /cgi-bin/ticket/getticket are left today;
// then they are refused with 45009. There is no limit if n is negative, as at
// first. Refused calls count.
func (s *Sandbox) TicketQuota(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticketQuota = quota(n)
}
