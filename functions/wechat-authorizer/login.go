package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"membercard/shared/officialaccount"
	"membercard/shared/upstream"
	"membercard/shared/validation"
)

// errNoApp reports that the secret has no app for the kind of login.
var errNoApp = errors.New("there is no app for this kind of login")

// login is a login code and the operation that exchanges it for an openid.
type login struct {
	app   *officialaccount.Account
	path  string // path of the operation
	param string // query parameter that takes the code
	code  string
}

// readLogin parses the header Authorization:
//
//	WeChat-MiniProgram <code of wx.login>
//	WeChat-OAuth <code of the OAuth redirect>
func readLogin(apps *officialaccount.Login, header string) (login, error) {
	scheme, code, _ := strings.Cut(strings.TrimSpace(header), " ")
	l := login{code: strings.TrimSpace(code)}
	switch {
	case strings.EqualFold(scheme, "WeChat-MiniProgram"):
		l.app, l.path, l.param = apps.MiniProgram, "/sns/jscode2session", "js_code"
	case strings.EqualFold(scheme, "WeChat-OAuth"):
		l.app, l.path, l.param = apps.OfficialAccount, "/sns/oauth2/access_token", "code"
	}
	if l.app == nil {
		return login{}, errNoApp
	}
	if !isCode(l.code) {
		return login{}, errors.New("the login code is malformed")
	}
	return l, nil
}

// isCode reports whether a string may be a login code. It becomes part of a URL.
func isCode(s string) bool {
	return s != "" && validation.Alphanumeric(128, "_-")(s) == ""
}

// openid exchanges the code for the openid of its user.
func (l login) openid(ctx context.Context, wechat *upstream.Client) (string, error) {
	answer, err := officialaccount.Call(ctx, wechat, http.MethodGet, l.path, url.Values{
		"appid":      {l.app.AppID},
		"secret":     {l.app.Secret},
		l.param:      {l.code},
		"grant_type": {"authorization_code"},
	}, nil)
	if err != nil {
		return "", err
	}
	return officialaccount.Generated(answer, "openid")
}
