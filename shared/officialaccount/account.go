package officialaccount

import (
	"context"
	"errors"
	"fmt"

	"membercard/shared/strictjson"
)

// Account is the official account to call as.
type Account struct {
	AppID  string `json:"appid"`
	Secret string `json:"secret"`
}

// Source gives the account at hand, and reads it again on demand.
type Source interface {
	Get(context.Context) (*Account, error)
	// Refresh reads the account again and says whether it changed.
	Refresh(context.Context) (a *Account, changed bool, err error)
}

// ParseAccount reads an official account's secret, a JSON object:
// {"appid": "wx…", "secret": "…"}. An error names the key at fault and never has
// a value in it.
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
