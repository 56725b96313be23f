// Package officialaccount is a sandbox of the official account's side of
// WeChat, api.weixin.qq.com: the few operations that membercard calls, served
// over TLS on the loopback interface by two endpoints, the second for when the
// first fails. It checks what it receives as strictly as the original, keeps a
// log of it, and can be told to answer as WeChat does on its bad days.
//
// The operations are
//
//	POST /cgi-bin/stable_token      (获取稳定版接口调用凭据)
//	POST /card/get                  (查看卡券详情)
//	POST /card/update               (更改卡券信息)
//	GET  /cgi-bin/ticket/getticket  (获取api_ticket)
//	GET  /sns/jscode2session        (小程序登录)
//	GET  /sns/oauth2/access_token   (网页授权)
//
// The last is for the users of the official account's pages, the one before for
// those of a mini program that belongs to the same owner.
//
// The account has a membership card, pbLatjvWOibDc5-TBnbUk1pD12o0, whose links
// lead to a mini program, and a card of every other type: pbLatjGroupon,
// pbLatjCash, pbLatjDiscount, pbLatjGift, pbLatjGeneralCoupon,
// pbLatjScenicTicket, pbLatjMovieTicket, pbLatjBoardingPass and
// pbLatjMeetingTicket.
package officialaccount

import (
	"net/url"
	"slices"
	"sync"
	"time"

	"membercard/local/sandbox"
)

const (
	appID        = "wx5f0c2b8e7d4a9361" // the one official account the sandbox knows
	programAppID = "wx9b3e71d6a0c4f258" // the one mini program
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
	ticketQuota quota // of getticket
	cards       []*card
	review      bool            // updates go to review
	ignored     map[string]bool // fields whose updates never show
	updateQuota quota           // of /card/update
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
		ticketQuota: -1,
		cards:       sampleCards(now()),
		ignored:     make(map[string]bool),
		updateQuota: -1,
	}
	var err error
	if s.server, err = sandbox.Start("WeChat official account sandbox CA", now, s.serve); err != nil {
		return nil, err
	}
	return s, nil
}

// Errcode answers the next calls of a path, such as /card/update, with an error
// of WeChat's, until times of them were, or, if times is negative, until
// [Sandbox.Heal]. If cardID is not empty, only calls for that card are meant.
// The call is not obeyed, nor is a code used up, but an operation that takes an
// access token must have a valid one to get so far. Of several errors that
// apply to a call, the first set is answered.
func (s *Sandbox) Errcode(path, cardID string, errcode int, errmsg string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if times != 0 {
		s.errors = append(s.errors, injection{path, cardID, errcode, errmsg, times})
	}
}

// Heal ends what Break, [Sandbox.Errcode] and [Sandbox.Ignore] began.
func (s *Sandbox) Heal() {
	s.server.Heal()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors = nil
	clear(s.ignored)
}

// injection is an error to be answered and how many times more, always if
// negative.
type injection struct {
	path, cardID string
	errcode      int
	errmsg       string
	times        int
}

// injected takes the error for a call. The caller holds s.mu.
func (s *Sandbox) injected(path, cardID string) *refusal {
	i := slices.IndexFunc(s.errors, func(e injection) bool {
		return e.path == path && (e.cardID == "" || e.cardID == cardID)
	})
	if i < 0 {
		return nil
	}
	e := &s.errors[i]
	refused := refuse(e.errcode, e.errmsg)
	if e.times--; e.times == 0 {
		s.errors = slices.Delete(s.errors, i, i+1)
	}
	return refused
}

// quota is how many calls are left today, negative is no limit.
type quota int

// take counts a call.
func (q *quota) take() *refusal {
	if *q == 0 {
		return refuse(45009, "reach max api daily quota limit")
	}
	if *q > 0 {
		*q--
	}
	return nil
}

// Request is a request that was received, and what became of it.
type Request struct {
	sandbox.Request
	Path string

	// Query has "valid" or "dead" for what the caller proves itself with:
	// access_token, secret, js_code and code. access_token is always there, and
	// "none" if there was none.
	Query url.Values

	Errcode int // of the answer, before a fault bent it
}

// serve holds s.mu throughout, so that the log has the order in which requests
// took effect.
func (s *Sandbox) serve(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	received := Request{Request: x.Received, Path: x.HTTP.URL.Path, Query: x.HTTP.URL.Query()}
	shown := s.shown(&received) // before a code is used up
	content, refused := s.process(&received)
	received.Query = shown
	if refused != nil {
		received.Errcode = refused.Errcode
		refused.Errmsg += " rid: " + newRID(received.Time)
		content = refused
	}
	a := x.Answer // 200, also of errors
	a.Body = sandbox.JSON(content)
	a.Header.Set("Content-Type", "application/json; encoding=utf-8")
	if s.operations[received.Path].takes == loginCode {
		a.Header.Set("Content-Type", "text/plain") // WeChat has it so, although it is JSON
	}
	if bend, ok := x.Fault(); ok {
		bend(a)
	}
	received.Status = a.Sent()
	x.Log(received)
}
