package officialaccount

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"time"

	"membercard/wechat/sandbox"
)

const codeTTL = 5 * time.Minute

type app struct {
	credentials
	codes map[string]*code
}

type credentials struct {
	AppID  string `json:"appid"`
	Secret string `json:"secret"`
}

func newApp(id string) app {
	return app{credentials{id, newSecret()}, make(map[string]*code)}
}

func newSecret() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func (c credentials) check(id, secret string) error {
	switch {
	case id == "":
		return refuse(41002, "appid missing")
	case secret == "":
		return refuse(41004, "appsecret missing")
	case id != c.AppID:
		return refuse(40013, "invalid appid")
	case secret != c.Secret:
		return refuse(40125, "invalid appsecret")
	}
	return nil
}

// code identifies a user to an app, once.
type code struct {
	openid  string
	expires time.Time
	used    bool
}

// check refuses a code that is expired, used, or, if it is nil, was never issued.
func (c *code) check(now time.Time) error {
	switch {
	case c == nil, !now.Before(c.expires):
		return refuse(40029, "invalid code")
	case c.used:
		return refuse(40163, "code been used")
	}
	return nil
}

// newCode issues a code for a user, and deletes expired codes.
func (a *app) newCode(openid string, now time.Time) string {
	maps.DeleteFunc(a.codes, func(_ string, c *code) bool { return !now.Before(c.expires) })
	made := "0" + sandbox.RandomText(31)
	a.codes[made] = &code{openid: openid, expires: now.Add(codeTTL)}
	return made
}

// LoginCode returns a new code for a user of the mini program, as wx.login does.
func (s *Sandbox) LoginCode(openid string) string {
	return sandbox.Get(s.Server, func() string { return s.program.newCode(openid, s.now()) })
}

// OAuthCode returns a new code for a user of the account's pages, as in the redirect to one.
func (s *Sandbox) OAuthCode(openid string) string {
	return sandbox.Get(s.Server, func() string { return s.account.newCode(openid, s.now()) })
}

// LoginSecret returns the apps' current credentials as a JSON object with mini_program and
// official_account, each with appid and secret.
func (s *Sandbox) LoginSecret() string {
	return sandbox.Get(s.Server, func() string {
		return string(sandbox.JSON(map[string]credentials{"mini_program": s.program.credentials, "official_account": s.account.credentials}))
	})
}

// login uses up the code in the named query parameter.
func (a *app) login(r *Request, name string) (openid string, err error) {
	if r.Query.Get("grant_type") != "authorization_code" {
		return "", refuse(40002, "invalid grant_type")
	}
	if err := a.check(r.Query.Get("appid"), r.Query.Get("secret")); err != nil {
		return "", err
	}
	given := r.Query.Get(name)
	if given == "" {
		return "", refuse(41008, "missing code")
	}
	c := a.codes[given]
	if err := c.check(r.Time); err != nil {
		return "", err
	}
	c.used = true
	return c.openid, nil
}

func (s *Sandbox) programLogin(r *Request) (any, error) {
	openid, err := s.program.login(r, "js_code")
	if err != nil {
		return nil, err
	}
	key := make([]byte, 16)
	rand.Read(key)
	user := sha256.Sum256([]byte(openid))
	return map[string]any{
		"session_key": key, // standard base64 in JSON
		"openid":      openid,
		"unionid":     "o" + base64.RawURLEncoding.EncodeToString(user[:])[:27], // a user's is always the same
	}, nil
}

func (s *Sandbox) pageLogin(r *Request) (any, error) {
	openid, err := s.account.login(r, "code")
	if err != nil {
		return nil, err
	}
	return map[string]any{ // the tokens are the user's, not the account's
		"access_token": newToken(r.Time).value, "refresh_token": newToken(r.Time).value, "expires_in": tokenTTL.Seconds(),
		"openid": openid, "scope": "snsapi_base",
	}, nil
}

const (
	tokenTTL   = 2 * time.Hour    // of access tokens and tickets
	overlap    = 5 * time.Minute  // in which a token and its successor are both valid
	refreshGap = 30 * time.Second // minimum between forced refreshes
)

// Secret returns the JSON object of the account's current credentials: appid and secret.
func (s *Sandbox) Secret() string {
	return sandbox.Get(s.Server, func() string { return string(sandbox.JSON(s.account.credentials)) })
}

// RotateSecret gives the account a new secret. The old one is refused with
// 40125; access tokens remain valid.
func (s *Sandbox) RotateSecret() { s.Do(func() { s.account.Secret = newSecret() }) }

// Allow sets whether the caller's address is on the account's allow-list, as by default.
// If it is not, requests for access tokens are refused with 40164, but no others.
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

type tokens struct {
	current, previous token
	refreshed         time.Time // when a refresh was last forced
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
	if now.Sub(t.refreshed) < refreshGap {
		return token{}, refuse(45011, "api minute-quota reach limit mustslower retry next minute")
	}
	t.refreshed, t.previous, t.current = now, token{}, newToken(now)
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
	return map[string]any{"access_token": given.value, "expires_in": int(given.expires.Sub(r.Time).Seconds())}, nil
}

func (s *Sandbox) getTicket(r *Request) (any, error) {
	if r.Query.Get("type") != "wx_card" {
		return nil, refuse(40097, "invalid args, type")
	}
	if !r.Time.Before(s.ticket.expires) {
		s.ticket = token{value: "IpK_" + sandbox.RandomText(81) + "-", expires: r.Time.Add(tokenTTL)}
	}
	return map[string]any{"errcode": 0, "errmsg": "ok", "ticket": s.ticket.value, "expires_in": int(s.ticket.expires.Sub(r.Time).Seconds())}, nil
}
