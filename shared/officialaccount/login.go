package officialaccount

import (
	"errors"
	"fmt"

	"membercard/shared/strictjson"
)

// Login is the login secret: the mini program, the official account, or both, that
// users log in to.
type Login struct {
	MiniProgram     *Account `json:"mini_program,omitempty"`
	OfficialAccount *Account `json:"official_account,omitempty"`
}

// ParseLogin parses the login secret, a JSON object:
//
//	{"mini_program":     {"appid": "wx…", "secret": "…"},
//	 "official_account": {"appid": "wx…", "secret": "…"}}
//
// One of them is required. An error names the key at fault and contains no value.
func ParseLogin(secret []byte) (*Login, error) {
	var a Login
	if err := strictjson.DecodeSecret(secret, &a); err != nil {
		return nil, fmt.Errorf("the login secret: %w", err)
	}
	if a.MiniProgram == nil && a.OfficialAccount == nil {
		return nil, errors.New("the login secret: mini_program and official_account are missing; one is needed")
	}
	for _, given := range []struct {
		name string
		app  *Account
	}{{"mini_program", a.MiniProgram}, {"official_account", a.OfficialAccount}} {
		switch {
		case given.app == nil:
		case given.app.AppID == "":
			return nil, fmt.Errorf("the login secret: %s/appid is missing", given.name)
		case given.app.Secret == "":
			return nil, fmt.Errorf("the login secret: %s/secret is missing", given.name)
		}
	}
	return &a, nil
}
