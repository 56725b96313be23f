package officialaccount

// This file has the list of operations and the rules for all of them.

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"unicode/utf8"
)

// operation is an operation of WeChat. serve is called with s.mu held.
type operation struct {
	method string
	takes  credential
	serve  func(s *Sandbox, r *Request) (any, *refusal)
}

// credential is what authenticates the caller of an operation.
type credential int

const (
	accessToken credential = iota // in the query
	appSecret                     // with the appid, in the body
	loginCode                     // with appid and secret, in the query
)

// operations returns the operations by path.
func operations() map[string]operation {
	return map[string]operation{
		"/cgi-bin/stable_token":     {http.MethodPost, appSecret, (*Sandbox).stableToken},
		"/card/get":                 {http.MethodPost, accessToken, (*Sandbox).getCard},
		"/card/update":              {http.MethodPost, accessToken, (*Sandbox).updateCard},
		"/card/create":              {http.MethodPost, accessToken, (*Sandbox).createCard},
		"/card/code/decrypt":        {http.MethodPost, accessToken, (*Sandbox).decryptCode},
		"/cgi-bin/ticket/getticket": {http.MethodGet, accessToken, (*Sandbox).getTicket},
		"/sns/jscode2session":       {http.MethodGet, loginCode, (*Sandbox).programLogin},
		"/sns/oauth2/access_token":  {http.MethodGet, loginCode, (*Sandbox).pageLogin},
	}
}

// process returns the answer to a request, or its refusal. The caller holds s.mu.
func (s *Sandbox) process(r *Request) (any, *refusal) {
	validity := s.validity(r)
	op, ok := s.operations[r.Path]
	if !ok {
		return nil, refuse(40066, "invalid url")
	}
	if refused := checkForm(op.method, r); refused != nil {
		return nil, refused
	}
	switch {
	case op.takes == appSecret && s.outside:
		return nil, refuse(40164, "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist")
	case op.takes == accessToken && validity == "none":
		return nil, refuse(41001, "access_token missing")
	case op.takes == accessToken && validity == "dead":
		return nil, refuse(40001, "invalid credential, access_token is invalid or not latest")
	}
	call, _ := parse(r.Body, fields{"card_id": "string"}) // the operation reports errors
	cardID, _ := call["card_id"].(string)
	if refused := s.injected(r.Path, cardID); refused != nil {
		return nil, refused
	}
	return op.serve(s, r)
}

// validity returns whether the access token of a request is valid, dead or none.
// The caller holds s.mu.
func (s *Sandbox) validity(r *Request) string {
	switch token := r.Query.Get("access_token"); {
	case token == "":
		return "none"
	case s.tokens.valid(token, r.Time):
		return "valid"
	}
	return "dead"
}

// redacted returns the query of a request for the log. The caller holds s.mu.
func (s *Sandbox) redacted(r *Request) url.Values {
	word := map[bool]string{true: "valid", false: "dead"}
	query := maps.Clone(r.Query)
	query.Set("access_token", s.validity(r))
	secret := query.Get("secret")
	for name, valid := range map[string]bool{
		"secret":  secret == s.account.Secret || secret == s.program.Secret,
		"js_code": s.program.codes[query.Get("js_code")].check(r.Time) == nil,
		"code":    s.account.codes[query.Get("code")].check(r.Time) == nil,
	} {
		if query.Has(name) {
			query.Set(name, word[valid])
		}
	}
	return query
}

// checkForm checks the method and the headers, and that a POST has a body.
func checkForm(method string, r *Request) *refusal {
	switch {
	case r.Method != method && method == http.MethodPost:
		return refuse(43002, "require POST method")
	case r.Method != method:
		return refuse(43001, "require GET method")
	case r.Header.Get("User-Agent") == "":
		return refuse(40097, "invalid args, User-Agent missing")
	case method != http.MethodPost:
		return nil
	case len(r.Body) == 0:
		return refuse(44002, "empty post data")
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return malformed("Content-Type")
	}
	return nil
}

// malformed refuses data with the wrong form at the given place.
func malformed(place string) *refusal {
	return refuse(47001, fmt.Sprintf("data format error hint: [%s]", place))
}

// fields are the types of members of a JSON object, as [typeOf] returns them.
type fields map[string]string

// parse parses a JSON object and checks the types of the given fields. All of them are
// optional, and other fields are allowed.
func parse(data []byte, given fields) (map[string]any, *refusal) {
	var object map[string]any
	if !utf8.Valid(data) || json.Unmarshal(data, &object) != nil || object == nil {
		return nil, malformed("JSON object")
	}
	for name, kind := range given {
		if value, ok := object[name]; ok && typeOf(value) != kind {
			return nil, malformed(name)
		}
	}
	return object, nil
}

// typeOf returns the type of a JSON value.
func typeOf(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}
