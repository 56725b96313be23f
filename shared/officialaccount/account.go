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
