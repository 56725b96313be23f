package officialaccount

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	programPath = "/sns/jscode2session"
	pagePath    = "/sns/oauth2/access_token"

	openid = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
)

// loggedIn is any answer to a login.
type loggedIn struct {
	Errcode      int
	Errmsg       string
	SessionKey   string `json:"session_key"`
	OpenID       string
	UnionID      string
	AccessToken  string `json:"access_token"`
	ExpiresIn    int    `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
	Scope        string
}

// logins are the two operations.
func logins(c client) []login {
	return []login{
		{programPath, "mini_program", "js_code", c.LoginCode},
		{pagePath, "official_account", "code", c.OAuthCode},
	}
}

type login struct {
	path, app, parameter string
	code                 func(openid string) string
}

// query returns the query of a valid request with a code.
func (l login) query(t *testing.T, c client, code string) url.Values {
	t.Helper()
	var secret map[string]struct{ AppID, Secret string }
	if err := json.Unmarshal([]byte(c.LoginSecret()), &secret); err != nil {
		t.Fatal(err)
	}
	app := secret[l.app]
	return url.Values{"appid": {app.AppID}, "secret": {app.Secret}, l.parameter: {code}, "grant_type": {"authorization_code"}}
}

func (l login) do(t *testing.T, c client, query url.Values) loggedIn {
	t.Helper()
	var got loggedIn
	c.into(t, call{method: "GET", path: l.path, query: query.Encode()}, "text/plain", &got)
	return got
}

// TestLogin checks when a code is valid.
func TestLogin(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*testing.T, client, login, url.Values) // before the code is used
		errcode int
		errmsg  string
		secret  string // in the log
		code    string // in the log
	}{
		{"right", func(*testing.T, client, login, url.Values) {}, 0, "", "valid", "valid"},
		{"just before it expires", func(_ *testing.T, c client, _ login, _ url.Values) {
			c.pass(5*time.Minute - time.Second)
		}, 0, "", "valid", "valid"},
		{"not on the allow-list", func(_ *testing.T, c client, _ login, _ url.Values) { c.Allow(false) }, 0, "", "valid", "valid"},
		{"refused before", func(t *testing.T, c client, l login, query url.Values) {
			c.Errcode(l.path, "", -1, "system error", 1)
			if got := l.do(t, c, query); got.Errcode != -1 {
				t.Errorf("%+v", got)
			}
		}, 0, "", "valid", "valid"},
		{"wrong secret before", func(t *testing.T, c client, l login, query url.Values) {
			wrong := l.query(t, c, query.Get(l.parameter))
			wrong.Set("secret", "x")
			l.do(t, c, wrong)
		}, 0, "", "valid", "valid"},

		{"no grant_type", func(_ *testing.T, _ client, _ login, query url.Values) { query.Del("grant_type") }, 40002, "invalid grant_type", "valid", "valid"},
		{"other grant_type", func(_ *testing.T, _ client, _ login, query url.Values) {
			query.Set("grant_type", "client_credential")
		}, 40002, "invalid grant_type", "valid", "valid"},
		{"no appid", func(_ *testing.T, _ client, _ login, query url.Values) { query.Del("appid") }, 41002, "appid missing", "valid", "valid"},
		{"wrong appid", func(_ *testing.T, _ client, _ login, query url.Values) { query.Set("appid", "wx0") }, 40013, "invalid appid", "valid", "valid"},
		{"the other's appid and secret", func(t *testing.T, c client, l login, query url.Values) {
			for _, other := range logins(c) {
				if other.app != l.app {
					given := other.query(t, c, "")
					query["appid"], query["secret"] = given["appid"], given["secret"]
				}
			}
		}, 40013, "invalid appid", "valid", "valid"},
		{"no secret", func(_ *testing.T, _ client, _ login, query url.Values) { query.Set("secret", "") }, 41004, "appsecret missing", "dead", "valid"},
		{"wrong secret", func(_ *testing.T, _ client, _ login, query url.Values) { query.Set("secret", "x") }, 40125, "invalid appsecret", "dead", "valid"},
		{"no code", func(_ *testing.T, _ client, l login, query url.Values) { query.Set(l.parameter, "") }, 41008, "missing code", "valid", "dead"},
		{"unknown code", func(_ *testing.T, _ client, l login, query url.Values) { query.Set(l.parameter, "x") }, 40029, "invalid code", "valid", "dead"},
		{"the other's code", func(_ *testing.T, c client, l login, query url.Values) {
			for _, other := range logins(c) {
				if other.app != l.app {
					query.Set(l.parameter, other.code(openid))
				}
			}
		}, 40029, "invalid code", "valid", "dead"},
		{"used", func(t *testing.T, c client, l login, query url.Values) { l.do(t, c, query) }, 40163, "code been used", "valid", "dead"},
		{"expired", func(_ *testing.T, c client, _ login, _ url.Values) { c.pass(5 * time.Minute) }, 40029, "invalid code", "valid", "dead"},
		{"used and expired", func(t *testing.T, c client, l login, query url.Values) {
			l.do(t, c, query)
			c.pass(5 * time.Minute)
		}, 40029, "invalid code", "valid", "dead"},
		{"expired and forgotten", func(_ *testing.T, c client, l login, _ url.Values) {
			c.pass(5 * time.Minute)
			l.code(openid)
		}, 40029, "invalid code", "valid", "dead"},

		{"busy", func(_ *testing.T, c client, l login, _ url.Values) { c.Errcode(l.path, "", -1, "system error", -1) }, -1, "system error", "valid", "valid"},
		{"too often", func(_ *testing.T, c client, l login, _ url.Values) {
			c.Errcode(l.path, "", 45011, "api minute-quota reach limit", -1)
		}, 45011, "api minute-quota", "valid", "valid"},
		{"high risk", func(_ *testing.T, c client, l login, _ url.Values) { c.Errcode(l.path, "", 40226, "code blocked", -1) }, 40226, "code blocked", "valid", "valid"},
		{"an error of another path", func(_ *testing.T, c client, _ login, _ url.Values) { c.Errcode(getPath, "", -1, "", -1) }, 0, "", "valid", "valid"},
	} {
		for i := range 2 {
			c := newSandbox(t)
			l := logins(c)[i]
			t.Run(tt.name+l.path, func(t *testing.T) {
				code := l.code(openid)
				query := l.query(t, c, code)
				tt.change(t, c, l, query)
				c.ClearRequests()
				got := l.do(t, c, query)
				wantOpenID := openid
				if tt.errcode != 0 {
					wantOpenID = ""
				}
				if got.Errcode != tt.errcode || !strings.HasPrefix(got.Errmsg, tt.errmsg) || got.OpenID != wantOpenID {
					t.Errorf("%+v, want %d %s", got, tt.errcode, tt.errmsg)
				}
				log := c.Requests()
				if len(log) != 1 {
					t.Fatalf("%d requests logged", len(log))
				}
				shown := log[0].Query
				want := url.Values{"access_token": {"none"}, l.parameter: {tt.code}}
				if query.Has("secret") {
					want.Set("secret", tt.secret)
				}
				for _, name := range []string{"appid", "grant_type"} {
					if query.Has(name) {
						want[name] = query[name]
					}
				}
				if shown.Encode() != want.Encode() || log[0].Errcode != tt.errcode || log[0].Path != l.path {
					t.Errorf("logged %+v", log[0])
				}
			})
		}
	}
}

// TestLoginMethod checks that GET and a User-Agent are required, and that the log
// hides the credentials of refused requests too.
func TestLoginMethod(t *testing.T) {
	c := newSandbox(t)
	for _, l := range logins(c) {
		for _, tt := range []struct {
			call    call
			errcode int
		}{
			{call{method: "POST", body: "{}"}, 43001},
			{call{method: "GET", header: map[string]string{"User-Agent": "-"}}, 40097},
		} {
			c.ClearRequests()
			tt.call.path, tt.call.query = l.path, l.query(t, c, l.code(openid)).Encode()
			var got loggedIn
			c.into(t, tt.call, "text/plain", &got)
			if shown := c.Requests()[0].Query; got.Errcode != tt.errcode || shown.Get("secret") != "valid" || shown.Get(l.parameter) != "valid" {
				t.Errorf("%+v, want %d; logged %v", got, tt.errcode, shown)
			}
		}
	}
}

// TestLoggedIn checks the other fields of the answers.
func TestLoggedIn(t *testing.T) {
	c := newSandbox(t)
	all := logins(c)
	mini := func(user string) loggedIn { return all[0].do(t, c, all[0].query(t, c, all[0].code(user))) }
	a, again, b := mini("a"), mini("a"), mini("b")
	if key, err := base64.StdEncoding.DecodeString(a.SessionKey); err != nil || len(key) != 16 || again.SessionKey == a.SessionKey {
		t.Errorf("%+v, %+v", a, again)
	}
	if len(a.UnionID) != 28 || again.UnionID != a.UnionID || b.UnionID == a.UnionID || b.OpenID != "b" || a.AccessToken != "" {
		t.Errorf("%+v, %+v, %+v", a, again, b)
	}
	page := all[1].do(t, c, all[1].query(t, c, all[1].code("a")))
	if page.AccessToken == "" || page.RefreshToken == "" || page.AccessToken == page.RefreshToken || page.ExpiresIn != 7200 ||
		page.OpenID != "a" || page.Scope != "snsapi_base" || page.SessionKey != "" {
		t.Errorf("%+v", page)
	}
	made := get(member)
	made.token = page.AccessToken
	if got := c.do(t, made); got.Errcode != 40001 {
		t.Errorf("the user's token: %+v", got)
	}
}
