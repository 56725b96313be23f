package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const sessionLength = 24 * time.Hour

// account is the official account that customers log in to.
type account struct {
	AppID  string `json:"appid"`
	Secret string `json:"secret"`

	authorize, api string // WeChat's URLs
	client         *http.Client
}

// login logs a customer in with WeChat's web OAuth. It leaves for WeChat's page, which comes
// back with a code; then it goes on to where the customer came from.
func (s *shop) login(w http.ResponseWriter, r *http.Request) {
	code := r.FormValue("code")
	if code == "" {
		state := rand.Text()
		s.setCookie(w, "state", state+" "+url.QueryEscape(r.FormValue("to")), 10*time.Minute)
		query := url.Values{"appid": {s.account.AppID}, "redirect_uri": {s.origin(r) + "/login"}, "response_type": {"code"}, "scope": {"snsapi_base"}, "state": {state}}
		http.Redirect(w, r, s.account.authorize+"?"+query.Encode()+"#wechat_redirect", http.StatusFound)
		return
	}
	cookie, _ := r.Cookie("state")
	if cookie == nil {
		http.Error(w, "the login was not asked for here", http.StatusForbidden)
		return
	}
	state, to, _ := strings.Cut(strings.Trim(cookie.Value, `"`), " ")
	if state != r.FormValue("state") { // a stranger's code would log the customer in as the stranger
		http.Error(w, "the login was not asked for here", http.StatusForbidden)
		return
	}
	openid, err := s.account.openid(r.Context(), code)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	expires := strconv.FormatInt(time.Now().Add(sessionLength).Unix(), 10)
	session := base64.RawURLEncoding.EncodeToString([]byte(openid)) + "." + expires
	s.setCookie(w, "session", session+"."+s.sign(session), sessionLength)
	if to, _ = url.QueryUnescape(to); !strings.HasPrefix(to, "/activate?") { // nowhere else
		to = "/"
	}
	http.Redirect(w, r, to, http.StatusFound)
}

// openid asks WeChat whose code it is.
func (a *account) openid(ctx context.Context, code string) (string, error) {
	query := url.Values{"appid": {a.AppID}, "secret": {a.Secret}, "code": {code}, "grant_type": {"authorization_code"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.api+"/sns/oauth2/access_token?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return "", errors.New("WeChat's login did not answer") // the error has the URL, and that the secret
	}
	defer response.Body.Close()
	var answer struct {
		OpenID  string `json:"openid"`
		Errcode int    `json:"errcode"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.OpenID == "" {
		return "", fmt.Errorf("WeChat's login refused the code with errcode %d", answer.Errcode)
	}
	return answer.OpenID, nil
}

// session returns the openid of the customer who has logged in, or "".
func (s *shop) session(r *http.Request) string {
	cookie, err := r.Cookie("session")
	if err != nil {
		return ""
	}
	i := strings.LastIndexByte(cookie.Value, '.')
	if i < 0 || !hmac.Equal([]byte(cookie.Value[i+1:]), []byte(s.sign(cookie.Value[:i]))) {
		return ""
	}
	encoded, expires, _ := strings.Cut(cookie.Value[:i], ".")
	if until, _ := strconv.ParseInt(expires, 10, 64); time.Now().Unix() > until {
		return ""
	}
	openid, _ := base64.RawURLEncoding.DecodeString(encoded)
	return string(openid)
}

// sign signs a session. Its key is made from the account's secret, so all instances have it.
func (s *shop) sign(session string) string {
	mac := hmac.New(sha256.New, []byte("session "+s.account.Secret))
	mac.Write([]byte(session))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (s *shop) setCookie(w http.ResponseWriter, name, value string, length time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(length.Seconds()), HttpOnly: true, Secure: s.scheme == "https", SameSite: http.SameSiteLaxMode})
}
