// Who is there: the apps that users log in to, and the codes that tell the apps
// which user did.

package officialaccount

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"time"

	"membercard/local/sandbox"
)

const codeLife = 5 * time.Minute

// app is the official account or the mini program.
type app struct {
	credentials
	codes map[string]*code
}

// credentials are what an app proves itself with.
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

// check finds out whether the app itself is asking. A value that was not sent
// is nil or empty.
func (c credentials) check(id, secret any) *refusal {
	switch {
	case id == nil, id == "":
		return refuse(41002, "appid missing")
	case secret == nil, secret == "":
		return refuse(41004, "appsecret missing")
	case id != c.AppID:
		return refuse(40013, "invalid appid")
	case secret != c.Secret:
		return refuse(40125, "invalid appsecret")
	}
	return nil
}

// code is good for telling an app once who its user is.
type code struct {
	openid  string
	expires time.Time
	used    bool
}

// check finds out whether the code is still good; nil is a code that never was.
func (c *code) check(now time.Time) *refusal {
	switch {
	case c == nil, !now.Before(c.expires):
		return refuse(40029, "invalid code")
	case c.used:
		return refuse(40163, "code been used")
	}
	return nil
}

// newCode makes a code for a user, and forgets those that nobody can tell from
// codes that never were.
func (a *app) newCode(openid string, now time.Time) string {
	maps.DeleteFunc(a.codes, func(_ string, c *code) bool { return !now.Before(c.expires) })
	made := "0" + sandbox.RandomText(31)
	a.codes[made] = &code{openid: openid, expires: now.Add(codeLife)}
	return made
}

// LoginCode is a fresh code for a user of the mini program, as its wx.login
// gives it.
func (s *Sandbox) LoginCode(openid string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.program.newCode(openid, s.now())
}

// OAuthCode is a fresh code for a user of the official account's pages, as the
// redirect to them carries it.
func (s *Sandbox) OAuthCode(openid string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account.newCode(openid, s.now())
}

// LoginSecret is the JSON object of what the apps know now: mini_program and
// official_account, each with appid and secret.
func (s *Sandbox) LoginSecret() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(sandbox.JSON(map[string]credentials{
		"mini_program":     s.program.credentials,
		"official_account": s.account.credentials,
	}))
}

// login tells an app who its user is. The code is the query's parameter of the
// given name.
func (a *app) login(r *Request, name string) (openid string, refused *refusal) {
	if r.Query.Get("grant_type") != "authorization_code" {
		return "", refuse(40002, "invalid grant_type")
	}
	if refused := a.check(r.Query.Get("appid"), r.Query.Get("secret")); refused != nil {
		return "", refused
	}
	given := r.Query.Get(name)
	if given == "" {
		return "", refuse(41008, "missing code")
	}
	c := a.codes[given]
	if refused := c.check(r.Time); refused != nil {
		return "", refused
	}
	c.used = true
	return c.openid, nil
}

// programLogin is 小程序登录.
func (s *Sandbox) programLogin(r *Request) (any, *refusal) {
	openid, refused := s.program.login(r, "js_code")
	if refused != nil {
		return nil, refused
	}
	key := make([]byte, 16)
	rand.Read(key)
	user := sha256.Sum256([]byte(openid))
	return struct {
		SessionKey []byte `json:"session_key"` // standard base64 in JSON
		OpenID     string `json:"openid"`
		UnionID    string `json:"unionid"` // always the same for a user
	}{key, openid, "o" + base64.RawURLEncoding.EncodeToString(user[:])[:27]}, nil
}

// pageLogin is 网页授权.
func (s *Sandbox) pageLogin(r *Request) (any, *refusal) {
	openid, refused := s.account.login(r, "code")
	if refused != nil {
		return nil, refused
	}
	return struct {
		AccessToken  string `json:"access_token"` // the user's, not the account's
		ExpiresIn    int    `json:"expires_in"`
		RefreshToken string `json:"refresh_token"`
		OpenID       string `json:"openid"`
		Scope        string `json:"scope"`
	}{newToken(r.Time).value, int(tokenLife / time.Second), newToken(r.Time).value, openid, "snsapi_base"}, nil
}
