// Package wechatpay is a sandbox of WeChat Pay's APIv3. It has the operations that
// membercard calls, over TLS on two endpoints of the loopback interface, like
// api.mch.weixin.qq.com and api2.mch.weixin.qq.com. It validates requests as strictly as
// WeChat Pay, logs them and signs its answers. It sends signed and encrypted
// notifications. It can inject the faults that a client must handle.
//
// The operations are
//
//	POST  /v3/marketing/membercard-open/cards/{card_id}/permission-tokens             (商户预授权, 2023-11-28)
//	POST  /v3/brand/partner/card-member/open-user-card-tokens                         (入会组件预授权, 2025-06-24)
//	POST  /v3/brand/partner/card-member/pre-auth-tokens                               (the same, 2025-11-19)
//	POST  /v3/brand/partner/card-member/user-cards/{user_card_code}/confirm           (同步会员开通结果, 2025-06-22)
//	GET   /v3/marketing/membercard-open/cards/{card_id}/decrypt-code                  (解密code)
//	GET   /v3/marketing/membercard-open/activate-informations/{activate_ticket}       (查询用户填写的激活信息)
//	POST  /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/activate         (激活会员卡)
//	POST  /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/confirm          (确认开卡结果, 2026-07)
//	GET   /v3/marketing/membercard-open/callback                                      (查询回调地址)
//	PATCH /v3/marketing/membercard-open/callback                                      (设置回调地址)
//	POST  /v3/security/echo                                                           (商户签名验签/加解密测试, 2026-04-08)
//	GET   /v3/certificates                                                            (获取平台证书列表)
//
// Every card template, brand and user exists, except that the values in [ReservedValues]
// lead to the business errors of the documents. Users' cards are opened with
// [Sandbox.OpenCard].
//
// The sandbox has its own merchant; [Sandbox.Enrol] registers others. All merchants share
// the callback address and the cards.
package wechatpay

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
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
// It is safe for concurrent use.
type Sandbox struct {
	*server
	unknown signingKey // a key that no merchant knows
	now     func() time.Time
	skew    atomic.Int64 // nanoseconds that now is off

	mu            sync.Mutex
	merchants     []merchantKey // the own merchant's certificates in force, the newest last
	enrolled      []account     // the certificates of other merchants
	apiv3Key      string
	publicKeys    []signingKey // the last is in use
	certificates  []signingKey // the same
	signWith      Mode
	nonces        nonces
	brandTokens   limiter
	confirmations limiter
	refuse        func(*Request) (status int, code, message string)
	tokens        map[string]*token
	cards         []*UserCard
	notifier
}

type (
	server   = sandbox.Server[Request]
	exchange = sandbox.Exchange[Request]
)

// Start starts a sandbox. The first of a process generates the keys, which takes up to
// a second; the others start with the same keys, under IDs and serial numbers of their own.
func Start() (*Sandbox, error) { return start(time.Now) }

func start(now func() time.Time) (*Sandbox, error) {
	s := &Sandbox{
		apiv3Key: sandbox.RandomText(32),
		signWith: Both,
		tokens:   make(map[string]*token),
	}
	s.now = func() time.Time { return now().Add(time.Duration(s.skew.Load())) }
	s.brandTokens.perSecond, s.confirmations.perSecond = 5, 5
	s.cards = sampleCards(now())
	s.notifier.start()
	keys := firstKeys()
	s.merchants = []merchantKey{newMerchantKey(keys.merchant)}
	s.publicKeys = []signingKey{newPublicKey(keys.public, now())}
	s.certificates = []signingKey{newCertificate(keys.certificate, now().AddDate(-1, 0, 0))}
	s.unknown = newPublicKey(keys.unknown, now())

	var err error
	s.server, err = sandbox.Start("WeChat Pay sandbox CA", s.now, s.serve)
	return s, err
}

// MerchantSecret returns the own merchant's current secret as a JSON object. It has mchid,
// certificate_serial_no and private_key (PKCS #8 in PEM); unless mode is Certificates,
// wechatpay_public_key_id and wechatpay_public_key (PKIX in PEM); and unless mode is
// PublicKeyOnly, apiv3_key (32 bytes).
func (s *Sandbox) MerchantSecret(mode Mode) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	merchant := s.merchants[len(s.merchants)-1]
	secret := map[string]string{
		"mchid":                 mchID,
		"certificate_serial_no": merchant.serialNo,
		"private_key":           privateKeyPEM(merchant.key),
	}
	if mode != Certificates {
		newest := s.publicKeys[len(s.publicKeys)-1]
		secret["wechatpay_public_key_id"] = newest.id
		secret["wechatpay_public_key"] = publicKeyPEM(&newest.key.PublicKey)
	}
	if mode != PublicKeyOnly {
		secret["apiv3_key"] = s.apiv3Key
	}
	return string(sandbox.JSON(secret))
}

// RotateMerchantKey gives the merchant a new certificate and key. Requests signed
// with an old key are refused with 401 SIGN_ERROR.
func (s *Sandbox) RotateMerchantKey() {
	s.IssueMerchantKey()
	s.RevokeOldMerchantKeys()
}

// IssueMerchantKey gives the merchant a new certificate and key beside the ones it
// has, which stay in force.
func (s *Sandbox) IssueMerchantKey() {
	k := newMerchantKey(newRSAKey())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merchants = append(s.merchants, k)
}

// RevokeOldMerchantKeys revokes all of the merchant's certificates but the newest.
func (s *Sandbox) RevokeOldMerchantKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merchants = s.merchants[len(s.merchants)-1:]
}

// RotatePublicKey replaces WeChat Pay's public key. Answers are signed with the new
// key, also those to requests that ask for the old one.
func (s *Sandbox) RotatePublicKey() {
	k := newPublicKey(newRSAKey(), s.now())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publicKeys = append(s.publicKeys, k)
}

// RotateCertificate replaces the platform certificate in use. The old ones are
// still listed. Answers are signed with the new one, also those to requests that
// ask for an old one.
func (s *Sandbox) RotateCertificate() {
	key := newRSAKey()
	s.mu.Lock()
	defer s.mu.Unlock()
	// For clients the newest certificate is the one that became valid last. Times
	// in certificates are whole seconds.
	previous := s.certificates[len(s.certificates)-1].certificate.NotBefore
	s.certificates = append(s.certificates, newCertificate(key, previous.Add(time.Hour)))
}

// SignWith sets which kind of key signs answers and notifications. With Both, the default,
// Wechatpay-Serial in the request decides; without that header the certificate's key
// signs. Notifications are signed with the public key.
func (s *Sandbox) SignWith(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signWith = m
}

// Skew sets the sandbox's clock off by d, for the validation of requests and the
// signatures of answers.
func (s *Sandbox) Skew(d time.Duration) { s.skew.Store(int64(d)) }

// LimitBrandTokens sets how many requests for brand tokens are allowed per second. More
// are refused with 429 FREQUENCY_LIMITED. The default is WeChat Pay's limit, 5; 0 means no
// limit.
func (s *Sandbox) LimitBrandTokens(perSecond int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.brandTokens.perSecond = perSecond
}

// LimitConfirmations is like [Sandbox.LimitBrandTokens], for confirmations of brand cards.
func (s *Sandbox) LimitConfirmations(perSecond int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmations.perSecond = perSecond
}

// LimitedConfirmations returns how many confirmations of brand cards exceeded the limit.
func (s *Sandbox) LimitedConfirmations() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmations.refused
}

// RefuseIf calls f for each authorized request before it takes effect, and refuses the
// request if the status is not 0. A nil f ends that. f must not call the sandbox.
func (s *Sandbox) RefuseIf(f func(r *Request) (status int, code, message string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// injected returns the refusal of the function that [Sandbox.RefuseIf] set, or nil.
func (s *Sandbox) injected(r *Request) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse == nil {
		return nil
	}
	status, code, message := s.refuse(r)
	if status == 0 {
		return nil
	}
	return refuse(status, code, "%s", message)
}

// Close stops the deliveries and the server.
func (s *Sandbox) Close() error {
	err := s.server.Close()
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.deliveries.Wait()
	s.client.CloseIdleConnections()
	return err
}

// Request is a request that was received, and its outcome.
type Request struct {
	sandbox.Request
	URI string // path and query as received and signed

	Authorization Authorization
	Verified      bool   // the signature is valid
	Refusal       string // the message of the refusal; empty if there was none

	segments map[string]string // escaped segments of the path, by their names in routes
	account  *account          // who signed the request; nil if the signature is not valid
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
	if content == nil {
		a.Status = http.StatusNoContent
		a.Header.Del("Content-Type")
	} else {
		a.Body = sandbox.JSON(content)
	}
	received.Answer = a.Body
	signing := &signing{time: received.Time, key: s.signingKey(received.Header.Get("Wechatpay-Serial")), unknown: s.unknown}
	a.Signing = signing
	if fault, ok := x.Fault(); ok {
		fault(a)
	}
	received.Status = a.Sent()
	x.Log(received)
	signing.finish(a)
}

// signingKey returns the key for the answer to a request with this Wechatpay-Serial.
func (s *Sandbox) signingKey(serial string) signingKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signWith != Certificates && (s.signWith != Both || strings.HasPrefix(serial, publicKeyPrefix)) {
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

// limiter limits the number of requests in any second.
type limiter struct {
	perSecond int // 0 means no limit
	recent    []time.Time
	refused   int
}

// take counts a request, or refuses it if it exceeds the limit.
func (l *limiter) take(now time.Time) *refusal {
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
