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
	code, to := r.FormValue("code"), r.FormValue("to")
	if code == "" {
		state := rand.Text()
		s.setCookie(w, "state", state, 10*time.Minute)
		back := s.origin(r) + "/login?" + url.Values{"to": {to}}.Encode()
		query := url.Values{"appid": {s.account.AppID}, "redirect_uri": {back}, "response_type": {"code"}, "scope": {"snsapi_base"}, "state": {state}}
		http.Redirect(w, r, s.account.authorize+"?"+query.Encode()+"#wechat_redirect", http.StatusFound)
		return
	}
	if cookie, err := r.Cookie("state"); err != nil || cookie.Value != r.FormValue("state") {
		// It may be a stranger's code, which would log the customer in as the stranger.
		http.Error(w, "登录已失效，请重新打开页面", http.StatusForbidden)
		return
	}
	openid, err := s.account.openid(r.Context(), code)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.setCookie(w, "session", s.newSession(openid), sessionLength)
	if !strings.HasPrefix(to, "/activate?") { // nowhere else
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

const sessionLength = 24 * time.Hour

// newSession returns a session: the openid, when it expires, and a signature.
func (s *shop) newSession(openid string) string {
	session := base64.RawURLEncoding.EncodeToString([]byte(openid)) + "." + strconv.FormatInt(time.Now().Add(sessionLength).Unix(), 10)
	return session + "." + s.sign(session)
}

// session returns the openid of the customer who has logged in, or "".
func (s *shop) session(r *http.Request) string {
	cookie, err := r.Cookie("session")
	if err != nil {
		return ""
	}
	parts := strings.Split(cookie.Value, ".")
	if len(parts) != 3 || !hmac.Equal([]byte(parts[2]), []byte(s.sign(parts[0]+"."+parts[1]))) {
		return ""
	}
	if expires, _ := strconv.ParseInt(parts[1], 10, 64); time.Now().Unix() > expires {
		return ""
	}
	openid, _ := base64.RawURLEncoding.DecodeString(parts[0]) // signed, so it is well-formed
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
