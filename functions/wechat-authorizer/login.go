package main

import (
	"errors"
	"strings"

	"membercard/shared/officialaccount"
	"membercard/shared/validation"
)

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
	if l.code == "" || validation.Alphanumeric(128, "_-")(l.code) != "" { // it becomes part of a URL
		return login{}, errors.New("the login code is malformed")
	}
	return l, nil
}
