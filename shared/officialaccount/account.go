package officialaccount

import (
	"context"
	"errors"
	"fmt"

	"membercard/shared/strictjson"
)

// Account has the credentials of an official account or a mini program.
type Account struct {
	AppID  string `json:"appid"`
	Secret string `json:"secret"` // the AppSecret
}

// Source provides the account. A cached secret implements it.
type Source interface {
	// Get returns the account, which may come from a cache.
	Get(context.Context) (*Account, error)
	// Refresh reads the account again and reports whether it changed.
	Refresh(context.Context) (a *Account, changed bool, err error)
}

// ParseAccount parses an official account's secret, a JSON object:
// {"appid": "wx…", "secret": "…"}. An error names the key at fault and contains no
// value.
func ParseAccount(secret []byte) (*Account, error) {
	var a Account
	err := strictjson.DecodeSecret(secret, &a)
	switch {
	case err != nil:
	case a.AppID == "":
		err = errors.New("appid is missing")
	case a.Secret == "":
		err = errors.New("secret is missing")
	default:
		return &a, nil
	}
	return nil, fmt.Errorf("the official account's secret: %w", err)
}
