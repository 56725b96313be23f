package officialaccount

import (
	"errors"
	"fmt"

	"membercard/shared/strictjson"
)

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
