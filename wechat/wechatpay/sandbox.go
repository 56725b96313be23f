// Package wechatpay is a sandbox of WeChat Pay's APIv3. It has the operations that
// [operations] lists, over TLS on two endpoints of the loopback interface, like
// api.mch.weixin.qq.com and api2.mch.weixin.qq.com. It validates requests as strictly as
// WeChat Pay, logs them and signs its answers. It sends signed and encrypted
// notifications. It can inject the faults that a client must handle.
//
// Every card template, brand and user exists, except that the values in [ReservedValues]
// lead to the business errors of the documents. Users' cards are opened with
// [Sandbox.OpenCard].
//
// The sandbox has its own merchant; [Sandbox.Enrol] registers others. All merchants share
// the callback address and the cards.
package wechatpay

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"membercard/wechat/sandbox"
)

const mchID = "1900000001" // the sandbox's own merchant

// Mode is how a merchant verifies WeChat Pay's answers.
type Mode int

const (
	PublicKey     Mode = iota // with WeChat Pay's public key, as all new merchants since late 2024
	Certificates              // with platform certificates, which it downloads
	Both                      // with either, while migrating from Certificates to PublicKey
	PublicKeyOnly             // as PublicKey, but without an APIv3 key, so it can't decrypt notifications
)

// Sandbox is a running sandbox. Its faults change an answer before it is signed.
// It is safe for concurrent use. Its fields are guarded by the server's lock.
type Sandbox struct {
	*sandbox.Server
	now  func() time.Time
	skew atomic.Int64 // nanoseconds that now is off

	merchants    []*merchant
	publicKeys   []signingKey // the last is in use
	certificates []signingKey // the same
	unknown      signingKey   // a key that no merchant knows
	signWith     Mode
	listed       bool // whether the list of certificates is not empty
	nonces       nonces
	limits       map[string]*limiter
	refuseIf     func(*Request) (status int, code, message string)
	tokens       map[string]*token
	cards        []*UserCard
	notifier
}

// Request is a request that was received, and its outcome.
type Request = sandbox.Request

// Start starts a sandbox. The first of a process generates the keys, which takes up to
// a second; the others start with the same keys, under IDs and serial numbers of their own.
func Start() (*Sandbox, error) { return start(time.Now) }

func start(now func() time.Time) (*Sandbox, error) {
	s := &Sandbox{
		signWith: Both, listed: true,
		limits: map[string]*limiter{brandTokens: {perSecond: 5}, confirmations: {perSecond: 5}},
		tokens: make(map[string]*token),
	}
	s.now = func() time.Time { return now().Add(time.Duration(s.skew.Load())) }
	s.notifier.start()
	keys := firstKeys()
	s.merchants = []*merchant{newMerchant(keys.merchant, sandbox.RandomText(32), now())}
	s.publicKeys = []signingKey{newPublicKey(keys.public, now())}
	s.certificates = []signingKey{newCertificate(keys.certificate, now().AddDate(-1, 0, 0))}
	s.unknown = newPublicKey(keys.unknown, now())
	s.cards = s.sampleCards()

	var err error
	s.Server, err = sandbox.Start(s.now, s.serve)
	return s, err
}

// Close stops the deliveries and the server.
func (s *Sandbox) Close() error {
	err := s.Server.Close()
	s.Do(s.stop)
	s.deliveries.Wait()
	s.client.CloseIdleConnections()
	return err
}

// Keys sets which keys of WeChat Pay merchants have. With PublicKey there is no list of
// certificates, and with Certificates these sign everything. The default is Both.
func (s *Sandbox) Keys(m Mode) { s.Do(func() { s.signWith, s.listed = m, m != PublicKey }) }

// SignWith sets which kind of key signs answers and notifications. With Both, the default,
// Wechatpay-Serial in the request decides; without that header the certificate's key
// signs. Notifications are signed with the public key.
func (s *Sandbox) SignWith(m Mode) { s.Do(func() { s.signWith = m }) }

// Skew sets the sandbox's clock off by d, for the validation of requests and the
// signatures of answers.
func (s *Sandbox) Skew(d time.Duration) { s.skew.Store(int64(d)) }

// The limits of rates.
const (
	brandTokens   = "brand tokens"
	confirmations = "confirmations"
)

// LimitBrandTokens sets how many requests for brand tokens are allowed per second. More
// are refused with 429 FREQUENCY_LIMITED. The default is WeChat Pay's limit, 5; 0 means no
// limit.
func (s *Sandbox) LimitBrandTokens(perSecond int) {
	s.Do(func() { s.limits[brandTokens].perSecond = perSecond })
}

// LimitConfirmations is like [Sandbox.LimitBrandTokens], for confirmations of brand cards.
func (s *Sandbox) LimitConfirmations(perSecond int) {
	s.Do(func() { s.limits[confirmations].perSecond = perSecond })
}

// LimitedConfirmations returns how many confirmations of brand cards exceeded the limit.
func (s *Sandbox) LimitedConfirmations() (n int) {
	s.Do(func() { n = s.limits[confirmations].refused })
	return n
}

// RefuseIf calls f for each authorized request before it takes effect, and refuses the
// request if the status is not 0. A nil f ends that. f must not call the sandbox.
func (s *Sandbox) RefuseIf(f func(r *Request) (status int, code, message string)) {
	s.Do(func() { s.refuseIf = f })
}

func (s *Sandbox) serve(r *Request, a *sandbox.Answer) {
	a.Header.Set("Content-Type", "application/json; charset=utf-8")
	content, err := s.process(r)
	if err != nil {
		refused := asRefusal(err)
		content, a.Status, r.Refusal = refused, refused.status, refused.Message
		if refused.allow != "" {
			a.Header.Set("Allow", refused.allow)
		}
	}
	if content == nil {
		a.Status = http.StatusNoContent
		a.Header.Del("Content-Type")
	} else {
		a.Body = sandbox.JSON(content)
	}
	signing := &signing{time: r.Time, key: s.signingKey(r.Header.Get("Wechatpay-Serial")), unknown: s.unknown}
	a.Signing, a.Finish = signing, signing.finish
}

// process returns the answer to a request or its refusal. An answer of nil means 204.
func (s *Sandbox) process(r *Request) (any, error) {
	operation, allowed := sandbox.Find(operations, r)
	var err error
	switch {
	case allowed == nil:
		err = refuse(http.StatusNotFound, "NOT_FOUND", "请求的资源不存在")
	case operation == nil:
		err = &refusal{http.StatusMethodNotAllowed, strings.Join(allowed, ", "), "METHOD_NOT_ALLOWED", "不支持的请求方法" + r.Method, nil}
	}
	// All of these are done, so that the log always has the result of authorize.
	for _, failed := range []error{checkHeader(r.Header), s.authorize(r), s.checkSerial(r.Header)} {
		if err == nil {
			err = failed
		}
	}
	if err == nil && s.refuseIf != nil {
		if status, code, message := s.refuseIf(r); status != 0 {
			err = refuse(status, code, message)
		}
	}
	if err == nil {
		err = s.check(r, operation)
	}
	if err != nil {
		return nil, err
	}
	return operation.Serve(s, r)
}

// check applies the rules that an operation has in the table.
func (s *Sandbox) check(r *Request, o *operation) error {
	if o.Needs == serial && r.Header.Get("Wechatpay-Serial") == "" {
		return serialRequired()
	}
	if err := r.CheckSegments(segments); err != nil {
		return err
	}
	if r.Method != http.MethodGet && o.Fields != nil {
		if err := checkBody(r); err != nil {
			return err
		}
	}
	if err := r.Parse(o.Fields); err != nil {
		return err
	}
	if o.Limit == "" {
		return nil
	}
	return s.limits[o.Limit].take(r.Time)
}

// signingKey returns the key for the answer to a request with this Wechatpay-Serial.
func (s *Sandbox) signingKey(serial string) signingKey {
	if s.signWith != Certificates && (s.signWith != Both || strings.HasPrefix(serial, publicKeyPrefix)) {
		return s.publicKeys[len(s.publicKeys)-1]
	}
	return s.certificates[len(s.certificates)-1]
}

// refusal is an error answer.
type refusal struct {
	status  int
	allow   string         // the methods that a 405 allows
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Detail  *sandbox.Issue `json:"detail,omitempty"`
}

func (r *refusal) Error() string { return r.Code + " " + r.Message }

func refuse(status int, code, message string) error {
	return &refusal{status: status, Code: code, Message: message}
}

func invalidRequest(message string) error {
	return refuse(http.StatusBadRequest, "INVALID_REQUEST", message)
}

// asRefusal returns the error answer for an error: an [sandbox.Issue] is a PARAM_ERROR.
func asRefusal(err error) *refusal {
	if issue := (*sandbox.Issue)(nil); errors.As(err, &issue) {
		return &refusal{http.StatusBadRequest, "", "PARAM_ERROR", issue.Text, issue}
	}
	return err.(*refusal)
}

// limiter limits the number of requests in any second.
type limiter struct {
	perSecond int // 0 means no limit
	recent    []time.Time
	refused   int
}

// take counts a request, or refuses it if it exceeds the limit.
func (l *limiter) take(now time.Time) error {
	if l.perSecond == 0 {
		return nil
	}
	l.recent = slices.DeleteFunc(l.recent, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if len(l.recent) >= l.perSecond {
		l.refused++
		return refuse(http.StatusTooManyRequests, "FREQUENCY_LIMITED", "请求频率超过限制，请稍后重试")
	}
	l.recent = append(l.recent, now)
	return nil
}
