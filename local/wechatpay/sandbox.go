// Package wechatpay is a sandbox of WeChat Pay's APIv3: the few operations that
// membercard calls, served over TLS on the loopback interface by two endpoints,
// like api.mch.weixin.qq.com and api2.mch.weixin.qq.com. It checks what it
// receives as strictly as the original, signs what it answers, keeps a log of
// both, and can be told to answer wrongly in all the ways a client must be
// prepared for.
//
// The operations are
//
//	POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens (商户预授权, 2023-11-28)
//	POST /v3/brand/partner/card-member/open-user-card-tokens             (入会组件预授权, 2025-06-24)
//	POST /v3/brand/partner/card-member/pre-auth-tokens                   (the same, 2025-11-19)
//	GET  /v3/certificates                                                (获取平台证书列表)
//
// Any card, brand and user is known to the sandbox, except that the values
// which [ReservedValues] lists are answered with the business errors of the
// documents.
package wechatpay

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"membercard/local/sandbox"
)

const mchID = "1900000001" // the one merchant the sandbox knows

// Mode is the way in which a merchant verifies WeChat Pay's answers.
type Mode int

const (
	// PublicKey is a merchant that was given WeChat Pay's public key, as all
	// are since late 2024.
	PublicKey Mode = iota

	// Certificates is a merchant that downloads the platform certificates.
	Certificates

	// Both is a merchant on its way from Certificates to PublicKey.
	Both
)

// Sandbox is a running sandbox, in which faults bend what is signed before it is
// signed. It is safe for concurrent use.
type Sandbox struct {
	*server
	unknown signingKey // a key that no merchant was told of
	now     func() time.Time

	mu           sync.Mutex
	merchant     merchantKey
	apiv3Key     string
	publicKeys   []signingKey // the last is in use, the others were
	certificates []signingKey // the same
	signWith     Mode
	nonces       nonces
	brandTokens  limiter
}

type (
	server   = sandbox.Server[Request]
	exchange = sandbox.Exchange[Request]
)

// Start starts a sandbox, which takes up to a second of making keys.
func Start() (*Sandbox, error) { return start(time.Now) }

func start(now func() time.Time) (*Sandbox, error) {
	s := &Sandbox{
		now:      now,
		apiv3Key: sandbox.RandomText(32),
		signWith: Both,
	}
	s.brandTokens.perSecond = 5
	var making sync.WaitGroup
	making.Go(func() { s.merchant = newMerchantKey() })
	making.Go(func() { s.publicKeys = []signingKey{newPublicKey(now())} })
	making.Go(func() { s.certificates = []signingKey{newCertificate(newRSAKey(), now().AddDate(-1, 0, 0))} })
	making.Go(func() { s.unknown = newPublicKey(now()) })
	making.Wait()

	var err error
	if s.server, err = sandbox.Start("WeChat Pay sandbox CA", now, s.serve); err != nil {
		return nil, err
	}
	return s, nil
}

// MerchantSecret is the JSON object of what the merchant knows now: mchid,
// certificate_serial_no and private_key (PKCS #8 in PEM); by mode
// wechatpay_public_key_id and wechatpay_public_key (PKIX in PEM), or apiv3_key
// (32 bytes), or all of them.
func (s *Sandbox) MerchantSecret(mode Mode) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	secret := struct {
		MchID          string `json:"mchid"`
		SerialNo       string `json:"certificate_serial_no"`
		PrivateKey     string `json:"private_key"`
		WechatPayKeyID string `json:"wechatpay_public_key_id,omitempty"`
		WechatPayKey   string `json:"wechatpay_public_key,omitempty"`
		APIv3Key       string `json:"apiv3_key,omitempty"`
	}{
		MchID:      mchID,
		SerialNo:   s.merchant.serialNo,
		PrivateKey: privateKeyPEM(s.merchant.key),
	}
	if mode != Certificates {
		newest := s.publicKeys[len(s.publicKeys)-1]
		secret.WechatPayKeyID = newest.id
		secret.WechatPayKey = publicKeyPEM(&newest.key.PublicKey)
	}
	if mode != PublicKey {
		secret.APIv3Key = s.apiv3Key
	}
	text, err := json.Marshal(secret)
	if err != nil {
		panic(err) // strings only
	}
	return string(text)
}

// RotateMerchantKey gives the merchant a new certificate and key. What is
// signed with the old one is refused with 401 SIGN_ERROR from now on.
func (s *Sandbox) RotateMerchantKey() {
	k := newMerchantKey()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merchant = k
}

// RotatePublicKey replaces WeChat Pay's public key. A request that asks for the
// old one is still served, but its answer is signed with the new one.
func (s *Sandbox) RotatePublicKey() {
	k := newPublicKey(s.now())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publicKeys = append(s.publicKeys, k)
}

// RotateCertificate takes a new platform certificate into use. The old ones are
// still offered, and a request that asks for one is still served, but its
// answer is signed with the new one.
func (s *Sandbox) RotateCertificate() {
	key := newRSAKey()
	s.mu.Lock()
	defer s.mu.Unlock()
	// Certificates' times are whole seconds, and clients take the one that
	// became valid last for the newest.
	previous := s.certificates[len(s.certificates)-1].certificate.NotBefore
	s.certificates = append(s.certificates, newCertificate(key, previous.Add(time.Hour)))
}

// SignWith sets which kind of key signs the answers. With Both, the default, it
// is the kind of the Wechatpay-Serial that the request names, and the platform
// certificate when it names none.
func (s *Sandbox) SignWith(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signWith = m
}

// LimitBrandTokens sets how many brand tokens a merchant may ask for in any
// second; more are refused with 429 FREQUENCY_LIMITED. 0 is no limit; the
// default is WeChat Pay's, 5.
func (s *Sandbox) LimitBrandTokens(perSecond int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.brandTokens.perSecond = perSecond
}

// Request is a request that was received, and what became of it.
type Request struct {
	sandbox.Request
	URI string // path and query as received, which is what is signed

	Authorization Authorization
	Verified      bool   // the signature is the merchant's
	Refusal       string // the message of the refusal, empty if there was none
}

func (s *Sandbox) serve(x *exchange) {
	received := Request{Request: x.Received, URI: x.HTTP.RequestURI}
	a := x.Answer
	a.Header.Set("Content-Type", "application/json; charset=utf-8")
	content, refused := s.process(x.HTTP, &received)
	if refused != nil {
		received.Refusal = refused.Message
		a.Status = refused.status
		if refused.allow != "" {
			a.Header.Set("Allow", refused.allow)
		}
		content = refused
	}
	a.Body = sandbox.JSON(content)
	signing := &signing{time: received.Time, key: s.signingKey(received.Header.Get("Wechatpay-Serial")), unknown: s.unknown}
	a.Signing = signing
	if fault, ok := x.Fault(); ok {
		fault(a)
	}
	received.Status = a.Sent()
	x.Log(received)
	signing.finish(a)
}

// signingKey is the key for the answer to a request that asks for serial.
func (s *Sandbox) signingKey(serial string) signingKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signWith == PublicKey || s.signWith == Both && strings.HasPrefix(serial, publicKeyPrefix) {
		return s.publicKeys[len(s.publicKeys)-1]
	}
	return s.certificates[len(s.certificates)-1]
}

// refusal is an error answer.
type refusal struct {
	status  int
	allow   string // the methods that a 405 allows
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// refuse makes a refusal without detail.
func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// limiter allows a number of events in any second.
type limiter struct {
	perSecond int // 0 is no limit
	recent    []time.Time
}

func (l *limiter) allow(now time.Time) bool {
	if l.perSecond == 0 {
		return true
	}
	l.recent = slices.DeleteFunc(l.recent, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if len(l.recent) >= l.perSecond {
		return false
	}
	l.recent = append(l.recent, now)
	return true
}
