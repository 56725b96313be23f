// Package officialaccount is a sandbox of WeChat's API for official accounts,
// api.weixin.qq.com. It has the operations that [operations] lists, over TLS on two
// endpoints of the loopback interface. It validates requests as strictly as WeChat and logs
// them. It can inject the errors and faults that a client must handle.
//
// Users log in to a mini program and to the official account's pages, which have the same
// owner.
//
// The account has a card of each type. They are in cards.json. The membership card is
// pbLatjvWOibDc5-TBnbUk1pD12o0; its links lead to a mini program.
package officialaccount

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// Errcode answers the next calls of a path, such as /card/update, with an error. It
// applies to as many calls as times, or, if times is negative, until [Sandbox.Heal]. If
// cardID is not empty, it applies only to calls for that card. The calls have no effect. A
// missing or invalid access token still takes precedence. If several errors apply to a
// call, the one that was set first is answered.
func (s *Sandbox) Errcode(path, cardID string, errcode int, errmsg string, times int) {
	if times != 0 {
		s.Do(func() { s.errors = append(s.errors, injection{path, cardID, refusal{errcode, errmsg}, times}) })
	}
}

// Heal ends the effects of Break, [Sandbox.Errcode] and [Sandbox.Ignore].
func (s *Sandbox) Heal() {
	s.Server.Heal()
	s.Do(func() {
		s.errors = nil
		clear(s.ignored)
	})
}

// injection is an error that was set with [Sandbox.Errcode].
type injection struct {
	path, cardID string
	refusal      refusal
	times        int // calls left; negative means no limit
}

// injected returns the injected error for a call, or nil, and counts it.
func (s *Sandbox) injected(path, cardID string) error {
	i := slices.IndexFunc(s.errors, func(e injection) bool {
		return e.path == path && (e.cardID == "" || e.cardID == cardID)
	})
	if i < 0 {
		return nil
	}
	refused := s.errors[i].refusal
	if s.errors[i].times--; s.errors[i].times == 0 {
		s.errors = slices.Delete(s.errors, i, i+1)
	}
	return &refused
}

// refusal is an error answer.
type refusal struct {
	Errcode int    `json:"errcode"`
	Errmsg  string `json:"errmsg"`
}

func (r *refusal) Error() string { return r.Errmsg }

func refuse(errcode int, errmsg string) error { return &refusal{errcode, errmsg} }

// malformed refuses data with the wrong form at the given place.
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
