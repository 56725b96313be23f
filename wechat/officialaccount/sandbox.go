// Package officialaccount is a sandbox of WeChat's API for official accounts,
// api.weixin.qq.com. It has the operations that membercard calls, over TLS on two
// endpoints of the loopback interface. It validates requests as strictly as WeChat and logs
// them. It can inject the errors and faults that a client must handle.
//
// The operations are
//
//	POST /cgi-bin/stable_token      (获取稳定版接口调用凭据)
//	POST /card/get                  (查看卡券详情)
//	POST /card/update               (更改卡券信息)
//	POST /card/create               (创建卡券)
//	POST /card/code/decrypt         (Code解码)
//	GET  /cgi-bin/ticket/getticket  (获取api_ticket)
//	GET  /sns/jscode2session        (小程序登录)
//	GET  /sns/oauth2/access_token   (网页授权)
//
// The last two operations are the logins of users of a mini program and of the official
// account's pages. The mini program and the official account have the same owner.
//
// The account has a card of each type. They are in cards.json. The membership card is
// pbLatjvWOibDc5-TBnbUk1pD12o0; its links lead to a mini program.
package officialaccount

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"membercard/wechat/sandbox"
)

const (
	appID        = "wx5f0c2b8e7d4a9361" // the only official account
	programAppID = "wx9b3e71d6a0c4f258" // the only mini program
)

// Sandbox is a running sandbox. It is safe for concurrent use.
type Sandbox struct {
	*server
	operations map[string]operation // by path
	now        func() time.Time

	mu          sync.Mutex
	account     app
	program     app
	outside     bool // the caller's address is not on the allow-list
	tokens      tokens
	ticket      token
	cards       []*card
	review      bool            // updates go to review
	ignored     map[string]bool // fields whose updates have no effect
	updateQuota quota           // of /card/update
	taken       []takenCard     // the first is a sample
	nonces      map[string]bool // of wx.addCard
	errors      []injection
}

type (
	server   = sandbox.Server[Request]
	exchange = sandbox.Exchange[Request]
)

// Start starts a sandbox.
func Start() (*Sandbox, error) { return start(time.Now) }

func start(now func() time.Time) (*Sandbox, error) {
	s := &Sandbox{
		operations:  operations(),
		now:         now,
		account:     newApp(appID),
		program:     newApp(programAppID),
		cards:       sampleCards(now()),
		ignored:     make(map[string]bool),
		updateQuota: -1,
		taken:       []takenCard{newTakenCard("")},
		nonces:      make(map[string]bool),
	}
	var err error
	s.server, err = sandbox.Start("WeChat official account sandbox CA", now, s.serve)
	return s, err
}

// Errcode answers the next calls of a path, such as /card/update, with an error. It
// applies to as many calls as times, or, if times is negative, until [Sandbox.Heal]. If
// cardID is not empty, it applies only to calls for that card. The calls have no effect. A
// missing or invalid access token still takes precedence. If several errors apply to a
// call, the one that was set first is answered.
func (s *Sandbox) Errcode(path, cardID string, errcode int, errmsg string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if times != 0 {
		s.errors = append(s.errors, injection{path, cardID, refusal{errcode, errmsg}, times})
	}
}

// Heal ends the effects of Break, [Sandbox.Errcode] and [Sandbox.Ignore].
func (s *Sandbox) Heal() {
	s.server.Heal()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors = nil
	clear(s.ignored)
}

// injection is an error that was set with [Sandbox.Errcode].
type injection struct {
	path, cardID string
	refusal      refusal
	times        int // calls left; negative means no limit
}

// injected returns the injected error for a call, or nil, and counts it. The caller holds
// s.mu.
func (s *Sandbox) injected(path, cardID string) *refusal {
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

// quota is how many calls are left today. If it is negative, there is no limit.
type quota int

// take counts a call, or refuses it if none are left.
func (q *quota) take() *refusal {
	if *q == 0 {
		return refuse(45009, "reach max api daily quota limit")
	}
	if *q > 0 {
		*q--
	}
	return nil
}

// refusal is an error answer.
type refusal struct {
	Errcode int    `json:"errcode"`
	Errmsg  string `json:"errmsg"`
}

func refuse(errcode int, errmsg string) *refusal { return &refusal{errcode, errmsg} }

// ok returns a successful answer with one field besides errcode and errmsg.
func ok(name string, value any) map[string]any {
	return map[string]any{"errcode": 0, "errmsg": "ok", name: value}
}

// newRID returns a request ID, which is at the end of WeChat's error messages: the time
// and two random numbers.
func newRID(now time.Time) string {
	b := make([]byte, 8)
	rand.Read(b)
	return fmt.Sprintf("%08x-%x-%x", now.Unix(), b[:4], b[4:])
}

// Request is a request that was received, and its outcome.
type Request struct {
	sandbox.Request
	Path string

	// Query is the query with the credentials access_token, secret, js_code and code
	// replaced by "valid" or "dead". access_token is "none" if none was sent.
	Query url.Values

	Errcode int // of the answer, before a fault changed it
}

// serve holds s.mu throughout, so that the log is in the order in which requests took
// effect.
func (s *Sandbox) serve(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	received := Request{Request: x.Received, Path: x.HTTP.URL.Path, Query: x.HTTP.URL.Query()}
	redacted := s.redacted(&received) // before process uses up a code
	content, refused := s.process(&received)
	received.Query = redacted
	if refused != nil {
		received.Errcode = refused.Errcode
		refused.Errmsg += " rid: " + newRID(received.Time)
		content = refused
	}
	a := x.Answer // its status stays 200, even for errors
	a.Body = sandbox.JSON(content)
	received.Answer = a.Body
	a.Header.Set("Content-Type", "application/json; encoding=utf-8")
	if s.operations[received.Path].takes == loginCode {
		a.Header.Set("Content-Type", "text/plain") // as WeChat does, although it is JSON
	}
	if fault, ok := x.Fault(); ok {
		fault(a)
	}
	received.Status = a.Sent()
	x.Log(received)
}
