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
	"cmp"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"membercard/local/network"
)

const (
	mchID = "1900000001" // the one merchant the sandbox knows

	maxBody = 1 << 20 // bytes of a request's body
	maxLog  = 10_000  // requests kept in the log
)

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

// Sandbox is a running sandbox. It is safe for concurrent use.
type Sandbox struct {
	ca        []byte
	listeners [2]*network.Listener
	servers   [2]*http.Server
	stranger  signingKey // a key that no merchant was told of
	now       func() time.Time

	stop    chan struct{}  // closed by Close
	serving sync.WaitGroup // servers and the requests they handle

	mu           sync.Mutex
	closed       bool
	merchant     merchantKey
	apiv3Key     string
	publicKeys   []signingKey // the last is in use, the others were
	certificates []signingKey // the same
	signWith     Mode
	nonces       nonces
	brandTokens  limiter
	broken       [2][]breakage
	requests     []Request
}

// Start starts a sandbox, which takes up to a second of making keys.
func Start() (*Sandbox, error) { return start(time.Now) }

func start(now func() time.Time) (*Sandbox, error) {
	s := &Sandbox{
		now:      now,
		stop:     make(chan struct{}),
		apiv3Key: randomText(32),
		signWith: Both,
	}
	s.brandTokens.perSecond = 5
	var making sync.WaitGroup
	making.Go(func() { s.merchant = newMerchantKey() })
	making.Go(func() { s.publicKeys = []signingKey{newPublicKey(now())} })
	making.Go(func() { s.certificates = []signingKey{newCertificate(newRSAKey(), now().AddDate(-1, 0, 0))} })
	making.Go(func() { s.stranger = newPublicKey(now()) })
	making.Wait()

	authority := newAuthority(now())
	s.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.certificate.Raw})
	for i := range s.listeners {
		l, err := network.Listen()
		if err != nil {
			for _, open := range s.listeners[:i] {
				open.Close()
			}
			return nil, err
		}
		s.listeners[i] = l
	}
	for i, l := range s.listeners {
		server := &http.Server{
			Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(i, w, r) }),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{authority.leaf(now())}, MinVersion: tls.VersionTLS12},
			Protocols: new(http.Protocols),
			ErrorLog:  log.New(io.Discard, "", 0), // what misbehaving connections cause is no news
		}
		server.Protocols.SetHTTP1(true)
		s.servers[i] = server
		s.serving.Go(func() { server.ServeTLS(l, "", "") })
	}
	return s, nil
}

// Close stops the sandbox, closes its connections and waits until nothing is
// served any more.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return http.ErrServerClosed
	}
	close(s.stop)
	var err error
	for _, server := range s.servers {
		err = cmp.Or(err, server.Close())
	}
	s.serving.Wait()
	// A connection accepted while its server was closing is nobody's.
	for _, l := range s.listeners {
		l.Drop(network.FIN)
	}
	return err
}

// Endpoints are the base URLs, https://127.0.0.1:port, the primary endpoint's
// first, then that of the other region.
func (s *Sandbox) Endpoints() []string {
	var urls []string
	for i := range s.listeners {
		urls = append(urls, s.endpoint(i))
	}
	return urls
}

func (s *Sandbox) endpoint(i int) string {
	return "https://" + s.listeners[i].Addr().String()
}

// Listener is the listener of an endpoint, 0 or 1.
func (s *Sandbox) Listener(i int) *network.Listener { return s.listeners[i] }

// CA is the certificate, in PEM, of the authority that issued the endpoints'
// TLS certificates.
func (s *Sandbox) CA() []byte { return slices.Clone(s.ca) }

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

// Break bends the answers to the next requests of an endpoint, 0 or 1, until
// times of them were bent, or, if times is negative, until [Sandbox.Heal].
// Requests are checked and logged as ever. Further calls for the same endpoint
// queue up.
func (s *Sandbox) Break(endpoint int, f Fault, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if times != 0 {
		s.broken[endpoint] = append(s.broken[endpoint], breakage{f, times})
	}
}

// Heal ends all breakage.
func (s *Sandbox) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = [2][]breakage{}
}

// breakage is a fault and how many answers more it bends, all if negative.
type breakage struct {
	fault Fault
	times int
}

// fault takes the fault for the next answer of an endpoint.
func (s *Sandbox) fault(endpoint int) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.broken[endpoint]
	if len(queue) == 0 {
		return Fault{}, false
	}
	f := queue[0].fault
	if queue[0].times--; queue[0].times == 0 {
		s.broken[endpoint] = queue[1:]
	}
	return f, true
}

// Request is a request that was received, and what became of it.
type Request struct {
	Endpoint int // 0 is the primary
	Time     time.Time
	Method   string
	URI      string // path and query as received, which is what is signed
	Header   http.Header
	Body     []byte

	Authorization Authorization
	Verified      bool   // the signature is the merchant's
	Refusal       string // the message of the refusal, empty if there was none
	Status        int    // what was answered, 0 if nothing was
}

// Requests are the requests received so far, at most the newest 10,000. A
// request is among them before the first byte of its answer is sent.
func (s *Sandbox) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// ClearRequests forgets the requests received so far.
func (s *Sandbox) ClearRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

func (s *Sandbox) log(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) >= maxLog {
		s.requests = s.requests[1:]
	}
	s.requests = append(s.requests, r)
}

// enter counts a request in for Close to wait for, unless it is too late.
func (s *Sandbox) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.serving.Add(1)
	}
	return !s.closed
}

func (s *Sandbox) serve(endpoint int, w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.serving.Done()

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	received := Request{
		Endpoint: endpoint,
		Time:     s.now(),
		Method:   r.Method,
		URI:      r.RequestURI,
		Header:   r.Header.Clone(),
		Body:     body,
	}
	a := &answer{
		status: http.StatusOK,
		header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		time:   received.Time,
		key:    s.signingKey(r.Header.Get("Wechatpay-Serial")),
		other:  s.endpoint(1-endpoint) + r.RequestURI,
	}
	content, refused := s.process(r, &received)
	if refused != nil {
		received.Refusal = refused.Message
		a.status = refused.status
		if refused.allow != "" {
			a.header.Set("Allow", refused.allow)
		}
		content = refused
	}
	a.body = encode(content)
	if f, ok := s.fault(endpoint); ok {
		f.bend(a)
	}
	if a.strange {
		a.key = s.stranger
	}
	if !a.hangs && !a.resets {
		received.Status = a.status
	}
	s.log(received)
	s.send(w, r, a)
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
