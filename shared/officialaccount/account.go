package officialaccount

import (
	"errors"
	"fmt"

	"membercard/shared/cached"
	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// Account has the credentials of an official account or a mini program.
type Account struct {
	AppID  string `json:"appid"`
	Secret string `json:"secret"` // the AppSecret
}

// Source provides the account. A cached secret implements it.
type Source = cached.Source[*Account]

// ParseAccount parses an official account's secret, a JSON object:
// {"appid": "wx…", "secret": "…"}. Both are visible ASCII characters. An error names the
// key at fault and contains no value.
func ParseAccount(secret []byte) (*Account, error) {
	var a Account
	err := strictjson.DecodeSecret(secret, &a)
	if err == nil {
		err = a.check("")
	}
	if err != nil {
		return nil, fmt.Errorf("the official account's secret: %w", err)
	}
	return &a, nil
}

// check returns what is wrong with the account, whose names in the secret have a prefix.
func (a *Account) check(prefix string) error {
	for _, field := range []struct{ name, value string }{{"appid", a.AppID}, {"secret", a.Secret}} {
		issue := validation.VisibleASCII(field.value)
		if field.value == "" {
			issue = "is missing"
		}
		if issue != "" {
			return errors.New(prefix + field.name + " " + issue)
		}
	}
	return nil
}

// Login is the content of the login secret: the mini program and the official account
// that users log in to. One of them may be nil.
type Login struct {
	MiniProgram     *Account `json:"mini_program,omitempty"`
	OfficialAccount *Account `json:"official_account,omitempty"`
}

// ParseLogin parses the login secret, a JSON object:
//
//	{"mini_program":     {"appid": "wx…", "secret": "…"},
//	 "official_account": {"appid": "wx…", "secret": "…"}}
//
// At least one of them is required. An error names the key at fault and contains no value.
func ParseLogin(secret []byte) (*Login, error) {
	var l Login
	if err := strictjson.DecodeSecret(secret, &l); err != nil {
		return nil, fmt.Errorf("the login secret: %w", err)
	}
	if l.MiniProgram == nil && l.OfficialAccount == nil {
		return nil, errors.New("the login secret: mini_program and official_account are missing; one is needed")
	}
	for _, app := range []struct {
		name    string
		account *Account
	}{{"mini_program", l.MiniProgram}, {"official_account", l.OfficialAccount}} {
		if app.account == nil {
			continue
		}
		if err := app.account.check(app.name + "/"); err != nil {
			return nil, fmt.Errorf("the login secret: %w", err)
		}
	}
	return &l, nil
}
