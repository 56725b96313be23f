// Package wechatpay is a sandbox of WeChat Pay's APIv3, with the operations of operations.json.
// It validates requests as strictly as WeChat Pay, signs its answers, and sends signed and
// encrypted notifications. It can inject the faults that a client must handle.
//
// Every card template, brand and user exists, except that the values in [ReservedValues]
// lead to the business errors of the documents. All merchants share the callback address
// and the cards.
package wechatpay

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
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
	now func() time.Time

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
	modules      map[string]map[string]ServiceModule // by card_id and service_module_id

	notifier
}

// Request is a request that was received, and its outcome.
type Request = sandbox.Request

// Start starts a sandbox. The first of a process generates the keys, which takes up to
// a second; the others start with the same keys, under IDs and serial numbers of their own.
func Start() (*Sandbox, error) { return start(time.Now) }

func start(now func() time.Time) (*Sandbox, error) {
	s := &Sandbox{
		now: now, signWith: Both, listed: true,
		limits: map[string]*limiter{brandTokens: {perSecond: 5}, confirmations: {perSecond: 5}, brandCardQueries: {perSecond: 5}, brandCardsQueries: {perSecond: 5}},
		tokens: make(map[string]*token), nonces: make(nonces), modules: make(map[string]map[string]ServiceModule),
	}
	s.notifier.start()
	keys := firstKeys()
	s.merchants = []*merchant{newMerchant(keys.merchant, sandbox.RandomText(32), now())}
	s.publicKeys = []signingKey{newPublicKey(keys.public, now())}
	s.certificates = []signingKey{newCertificate(keys.certificate, now().AddDate(-1, 0, 0))}
	s.unknown = newPublicKey(keys.unknown, now())
	s.addSampleCards()

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

// The limits of rates.
const (
	brandTokens       = "brand tokens"
	confirmations     = "confirmations"
	brandCardQueries  = "brand card queries"
	brandCardsQueries = "brand cards queries"
)

// LimitBrandTokens sets how many requests for brand tokens are allowed per second, by
// default WeChat Pay's limit of 5. More are refused with 429. 0 means no limit.
func (s *Sandbox) LimitBrandTokens(perSecond int) {
	s.Do(func() { s.limits[brandTokens].perSecond = perSecond })
}

// LimitConfirmations is like [Sandbox.LimitBrandTokens], for confirmations of brand cards.
func (s *Sandbox) LimitConfirmations(perSecond int) {
	s.Do(func() { s.limits[confirmations].perSecond = perSecond })
}

// LimitQueries is like [Sandbox.LimitBrandTokens], for each of the queries of brand cards.
func (s *Sandbox) LimitQueries(perSecond int) {
	s.Do(func() {
		s.limits[brandCardQueries].perSecond, s.limits[brandCardsQueries].perSecond = perSecond, perSecond
	})
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

func (s *Sandbox) process(r *Request) (any, error) {
	api := api()
	operation, allowed := api.Find(r)
	var err error
	switch {
	case allowed == nil:
		err = refuse(http.StatusNotFound, "NOT_FOUND", "请求的资源不存在")
	case operation == nil:
		err = &refusal{http.StatusMethodNotAllowed, strings.Join(allowed, ", "), "METHOD_NOT_ALLOWED", "不支持的请求方法" + r.Method, nil}
	}
	// cmp.Or calls all of them, so that the log always has the result of authorize.
	if err = cmp.Or(err, checkHeader(r.Header), s.authorize(r), s.checkSerial(r.Header)); err != nil {
		return nil, err
	}
	if s.refuseIf != nil {
		if status, code, message := s.refuseIf(r); status != 0 {
			return nil, refuse(status, code, message)
		}
	}
	if operation.Needs == "Wechatpay-Serial" && r.Header.Get("Wechatpay-Serial") == "" {
		return nil, &sandbox.Issue{Field: "Wechatpay-Serial", Text: "HTTP header缺少微信支付平台证书序列号(Wechatpay-Serial)", Location: "header"}
	}
	if operation.Fields != nil && r.Method != http.MethodGet {
		if err := checkBody(r); err != nil {
			return nil, err
		}
	}
	reserved, err := api.Check(operation, r)
	if err == nil && operation.Limit != "" {
		err = s.limits[operation.Limit].take(r.Time)
	}
	switch {
	case err != nil:
		return nil, err
	case reserved == nil:
		return operations[operation.Name](s, r)
	case reserved.Code == "PARAM_ERROR":
		return nil, &sandbox.Issue{Field: "/" + reserved.Field, Value: reserved.Value, Text: reserved.Message, Location: "body"}
	}
	return nil, refuse(reserved.Status, reserved.Code, reserved.Message)
}

// signingKey returns the key for the answer to a request with this Wechatpay-Serial.
func (s *Sandbox) signingKey(serial string) signingKey {
	if s.signWith != Certificates && (s.signWith != Both || strings.HasPrefix(serial, publicKeyPrefix)) {
		return s.publicKeys[len(s.publicKeys)-1]
	}
	return s.certificates[len(s.certificates)-1]
}

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
}

// take counts a request, or refuses it if it exceeds the limit.
func (l *limiter) take(now time.Time) error {
	l.recent = slices.DeleteFunc(l.recent, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if l.perSecond > 0 && len(l.recent) >= l.perSecond {
		return refuse(http.StatusTooManyRequests, "FREQUENCY_LIMITED", "请求频率超过限制，请稍后重试")
	}
	l.recent = append(l.recent, now)
	return nil
}

const (
	scheme  = "WECHATPAY2-SHA256-RSA2048"
	maxSkew = 5 * time.Minute // between a request's timestamp and the sandbox's clock
)

func unauthorized(message string) error {
	return refuse(http.StatusUnauthorized, "SIGN_ERROR", "Http头Authorization"+message)
}

// part is one of the five parts of the header Authorization, which are in any order:
//
//	WECHATPAY2-SHA256-RSA2048 mchid="…",nonce_str="…",signature="…",timestamp="…",serial_no="…"
var part = regexp.MustCompile(`^(mchid|serial_no|nonce_str|timestamp|signature)="([^" ]+)"$`)

func parseAuthorization(header []string) (a sandbox.Authorization, err error) {
	malformed := unauthorized("值格式错误，请参考《微信支付商户REST API签名规则》")
	if len(header) != 1 {
		return a, malformed
	}
	name, rest, _ := strings.Cut(header[0], " ")
	if name != scheme {
		return a, unauthorized("认证类型不正确，应为" + scheme)
	}
	given := make(map[string]string)
	parts := strings.Split(rest, ",")
	for _, text := range parts {
		if p := part.FindStringSubmatch(text); p != nil {
			given[p[1]] = p[2]
		}
	}
	if len(parts) != 5 || len(given) != 5 {
		return a, malformed
	}
	return sandbox.Authorization{
		MchID: given["mchid"], SerialNo: given["serial_no"], NonceStr: given["nonce_str"], Timestamp: given["timestamp"], Signature: given["signature"],
	}, nil
}

// authorize checks that a merchant signed the request within maxSkew and that it is not a
// replay. It sets r.Authorization and r.Verified.
func (s *Sandbox) authorize(r *Request) (err error) {
	if r.Authorization, err = parseAuthorization(r.Header["Authorization"]); err != nil {
		return err
	}
	a := r.Authorization
	signer, known := s.find(a.MchID, a.SerialNo, r.Time)
	if !known {
		return unauthorized("中的商户号mchid不存在")
	}
	if signer == nil {
		return refuse(http.StatusUnauthorized, "SIGN_ERROR", "商户证书序列号有误。请使用签名私钥匹配的证书序列号")
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s\n%s\n", r.Method, r.URI, a.Timestamp, a.NonceStr, r.Body))
	signature, err := base64.StdEncoding.Strict().DecodeString(a.Signature)
	if err != nil || rsa.VerifyPKCS1v15(signer.key, crypto.SHA256, sum[:], signature) != nil {
		return refuse(http.StatusUnauthorized, "SIGN_ERROR", "错误的签名，验签失败")
	}
	r.Verified = true

	seconds, err := strconv.ParseUint(a.Timestamp, 10, 32)
	if err != nil || r.Time.Sub(time.Unix(int64(seconds), 0)).Abs() > maxSkew {
		return unauthorized("中的timestamp与当前时间相差超过5分钟")
	}
	if !s.nonces.add(a.NonceStr, a.Signature, r.Time) {
		return unauthorized("中的nonce_str已被使用过")
	}
	return nil
}

// nonces has by nonce when it came first, and the signature with it.
type nonces map[string]use

type use struct {
	at        time.Time
	signature string
}

// add reports whether the nonce is new, or belongs to the same request: libraries send a
// request again as it is.
func (n nonces) add(nonce, signature string, now time.Time) bool {
	old := func(_ string, u use) bool { return now.Sub(u.at) > 2*maxSkew } // can't be replayed
	if u, ok := n[nonce]; ok && !old(nonce, u) {
		return u.signature == signature
	}
	if len(n)%10_000 == 9_999 {
		maps.DeleteFunc(n, old)
	}
	n[nonce] = use{now, signature}
	return true
}

// checkHeader checks Accept and User-Agent. The documents require application/json; WeChat
// Pay's own Go SDK sends */*.
func checkHeader(h http.Header) error {
	accept := strings.Join(h.Values("Accept"), ",")
	if accept == "" || h.Get("User-Agent") == "" {
		return refuse(http.StatusBadRequest, "PARAM_ERROR", "Http头缺少Accept或User-Agent")
	}
	if !strings.Contains(accept, "application/json") && !strings.Contains(accept, "*/*") && !strings.Contains(accept, "application/*") {
		return invalidRequest("Http头Accept应为application/json")
	}
	return nil
}

// checkSerial refuses a request whose Wechatpay-Serial is not one of the sandbox's keys.
func (s *Sandbox) checkSerial(h http.Header) error {
	serial := h.Get("Wechatpay-Serial")
	if serial == "" || s.keyNamed(serial) != nil {
		return nil
	}
	return &sandbox.Issue{Field: "Wechatpay-Serial", Value: serial, Text: "平台证书序列号Wechatpay-Serial错误", Location: "header"}
}

// checkBody checks the Content-Type, and that the body has only characters of up to three
// bytes in UTF-8, also where they are escaped.
func checkBody(r *Request) error {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return invalidRequest("Http头Content-Type应为application/json")
	}
	var body any
	_ = json.Unmarshal(r.Body, &body) // Parse refuses what is not JSON
	if bytes.ContainsFunc(sandbox.JSON(body), func(c rune) bool { return c > 0xffff }) {
		return &sandbox.Issue{Text: "请求报文只支持UTF-8编码的1至3字节的字符", Location: "body"}
	}
	return nil
}
