package officialaccount

// This file has the apps that users log in to, and the codes that identify a user to an
// app.

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

// app is the official account or the mini program.
type app struct {
	credentials
	codes map[string]*code
}

// credentials identify an app.
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

// check compares credentials in a request with c.
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
func (s *Sandbox) LoginCode(openid string) (code string) {
	s.Do(func() { code = s.program.newCode(openid, s.now()) })
	return code
}

// OAuthCode returns a new code for a user of the official account's pages, as in the
// redirect to a page.
func (s *Sandbox) OAuthCode(openid string) (code string) {
	s.Do(func() { code = s.account.newCode(openid, s.now()) })
	return code
}

// LoginSecret returns the apps' current credentials as a JSON object with mini_program and
// official_account, each with appid and secret.
func (s *Sandbox) LoginSecret() (secret string) {
	s.Do(func() {
		secret = string(sandbox.JSON(map[string]credentials{
			"mini_program":     s.program.credentials,
			"official_account": s.account.credentials,
		}))
	})
	return secret
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
	return map[string]any{
		"access_token":  newToken(r.Time).value, // the user's, not the account's
		"expires_in":    tokenTTL.Seconds(),
		"refresh_token": newToken(r.Time).value,
		"openid":        openid,
		"scope":         "snsapi_base",
	}, nil
}
