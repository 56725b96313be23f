// Package officialaccount is a sandbox of WeChat's API for official accounts, with the
// operations of operations.json. It validates requests as strictly as WeChat. It can inject
// the errors and faults that a client must handle.
//
// Users log in to a mini program and to the official account's pages. The account has a
// card of each type, see cards.json. The membership card's links lead to a mini program.
package officialaccount

import (
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"membercard/wechat/sandbox"
)

const (
	appID        = "wx5f0c2b8e7d4a9361" // the only official account
	programAppID = "wx9b3e71d6a0c4f258" // the only mini program
)

// Sandbox is a running sandbox. It is safe for concurrent use. Its fields are guarded by
// the server's lock.
type Sandbox struct {
	*sandbox.Server
	now func() time.Time

	account     app
	program     app
	outside     bool // the caller's address is not on the allow-list
	tokens      tokens
	ticket      token
	cards       []*card
	review      bool            // updates go to review
	ignored     map[string]bool // fields whose updates have no effect
	updateQuota int             // calls of /card/update left today; negative means no limit
	encryptCode string          // of the card that a user has from the start
	errors      []injection
}

// Request is a request that was received, and its outcome. In its Query the credentials
// access_token, secret, js_code and code are replaced by "valid" or "dead", and
// access_token is "none" if none was sent.
type Request = sandbox.Request

// Start starts a sandbox.
func Start() (*Sandbox, error) { return start(time.Now) }

func start(now func() time.Time) (*Sandbox, error) {
	s := &Sandbox{
		now:         now,
		account:     newApp(appID),
		program:     newApp(programAppID),
		cards:       sampleCards(now()),
		ignored:     make(map[string]bool),
		updateQuota: -1,
		encryptCode: sandbox.RandomBase64(48),
	}
	var err error
	s.Server, err = sandbox.Start(now, s.serve)
	return s, err
}

// Errcode answers the next calls of a path, such as /card/update, with an error: as many
// as times, or, if times is negative, all until [Sandbox.Heal]. If cardID is not empty, only
// calls for that card. The calls have no effect. A missing or invalid access token takes
// precedence. Of several errors, the one that was set first is answered.
func (s *Sandbox) Errcode(path, cardID string, errcode int, errmsg string, times int) {
	s.Do(func() { s.errors = append(s.errors, injection{path, cardID, refusal{errcode, errmsg}, times}) })
}

// Heal ends the effects of Break, [Sandbox.Errcode] and [Sandbox.Ignore].
func (s *Sandbox) Heal() {
	s.Server.Heal()
	s.Do(func() {
		s.errors = nil
		clear(s.ignored)
	})
}

type injection struct {
	path, cardID string
	refusal      refusal
	times        int // calls left; negative means no limit
}

func (s *Sandbox) injected(path, cardID string) error {
	for i, e := range s.errors {
		if e.times != 0 && e.path == path && (e.cardID == "" || e.cardID == cardID) {
			s.errors[i].times--
			return &e.refusal
		}
	}
	return nil
}

type refusal struct {
	Errcode int    `json:"errcode"`
	Errmsg  string `json:"errmsg"`
}

func (r *refusal) Error() string { return r.Errmsg }

func refuse(errcode int, errmsg string) error { return &refusal{errcode, errmsg} }

func malformed(place string) error {
	return refuse(47001, fmt.Sprintf("data format error hint: [%s]", place))
}

// asRefusal returns the error answer for an error, with a request ID at the end: the time
// and two random numbers.
func asRefusal(err error, now time.Time) refusal {
	if issue := (*sandbox.Issue)(nil); errors.As(err, &issue) {
		err = malformed(strings.ReplaceAll(strings.TrimPrefix(issue.Field, "/"), "/", "."))
	}
	refused := *err.(*refusal)
	b := make([]byte, 8)
	rand.Read(b)
	refused.Errmsg += fmt.Sprintf(" rid: %08x-%x-%x", now.Unix(), b[:4], b[4:])
	return refused
}

// ok returns a successful answer with one field besides errcode and errmsg.
func ok(name string, value any) map[string]any {
	return map[string]any{"errcode": 0, "errmsg": "ok", name: value}
}

func (s *Sandbox) serve(r *Request, a *sandbox.Answer) {
	redacted := s.redacted(r) // before process uses up a code
	content, err := s.process(r)
	r.Query, r.URI = redacted, ""
	if err != nil {
		refused := asRefusal(err, r.Time)
		content, r.Errcode = refused, refused.Errcode
	}
	a.Body = sandbox.JSON(content) // the status is 200, even for errors
	a.Header.Set("Content-Type", "application/json; encoding=utf-8")
	if strings.HasPrefix(r.Path, "/sns/") {
		a.Header.Set("Content-Type", "text/plain") // as WeChat does, although it is JSON
	}
}

//go:embed operations.json
var table []byte

var api = sync.OnceValue(func() sandbox.API { return sandbox.ParseAPI(table) })

// operations are what the operations of operations.json do, by name.
var operations = map[string]func(s *Sandbox, r *Request) (answer any, err error){
	"stable-token":  (*Sandbox).stableToken,
	"card-get":      (*Sandbox).getCard,
	"card-update":   (*Sandbox).updateCard,
	"card-create":   (*Sandbox).createCard,
	"decrypt-code":  (*Sandbox).decryptCode,
	"ticket":        (*Sandbox).getTicket,
	"program-login": (*Sandbox).programLogin,
	"page-login":    (*Sandbox).pageLogin,
}

func (s *Sandbox) process(r *Request) (any, error) {
	api := api()
	o, allowed := api.Find(r)
	switch validity := s.validity(r); {
	case allowed == nil:
		return nil, refuse(40066, "invalid url")
	case o == nil && allowed[0] == http.MethodPost:
		return nil, refuse(43002, "require POST method")
	case o == nil:
		return nil, refuse(43001, "require GET method")
	case r.Header.Get("User-Agent") == "":
		return nil, refuse(40097, "invalid args, User-Agent missing")
	case r.Method == http.MethodPost && len(r.Body) == 0:
		return nil, refuse(44002, "empty post data")
	case r.Method == http.MethodPost && !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		return nil, malformed("Content-Type")
	case o.Needs == "appsecret" && s.outside:
		return nil, refuse(40164, "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist")
	case o.Needs == "access_token" && validity == "none":
		return nil, refuse(41001, "access_token missing")
	case o.Needs == "access_token" && validity == "dead":
		return nil, refuse(40001, "invalid credential, access_token is invalid or not latest")
	}
	var call struct {
		CardID string `json:"card_id"`
	}
	_ = json.Unmarshal(r.Body, &call) // Parse reports errors
	if err := s.injected(r.Path, call.CardID); err != nil {
		return nil, err
	}
	if r.Path == "/card/update" && s.updateQuota >= 0 { // calls that are refused below count too
		if s.updateQuota--; s.updateQuota < 0 {
			s.updateQuota = 0
			return nil, refuse(45009, "reach max api daily quota limit")
		}
	}
	if _, err := api.Check(o, r); err != nil {
		return nil, err
	}
	return operations[o.Name](s, r)
}

func (s *Sandbox) validity(r *Request) string {
	switch token := r.Query.Get("access_token"); {
	case token == "":
		return "none"
	case s.tokens.valid(token, r.Time):
		return "valid"
	}
	return "dead"
}

// redacted returns the query of a request for the log.
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
