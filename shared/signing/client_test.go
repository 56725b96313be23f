package signing

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/signing/wechatpaytest"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

const (
	operation = "/v3/brand/partner/card-member/open-user-card-tokens"
	example   = `{"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"obLatjnx9gnqzS4myYGmLZ7LgLBA"}`
	token     = `{"token" : "d2df23f2f4fasf3gws", "expire_time" : "2020-05-20T13:29:35.120+08:00"}`
	requestID = "08F78BB5AF0610D302189F80BB5520-0"
)

// A signature is how an answer is signed.
type signature struct {
	serial string          // the key's name; empty: unsigned
	key    *rsa.PrivateKey // nil is WeChat Pay's
	age    time.Duration
	edit   func(http.Header) // what happens to it on the way
	body   string            // what was signed, if not the body
}

func (s signature) sign(h http.Header, body string) {
	h.Set("Request-ID", requestID)
	if s.serial == "" {
		return
	}
	if s.key == nil {
		s.key = keys().wechatpay
	}
	if s.body != "" {
		body = s.body
	}
	wechatpaytest.Sign(h, body, s.serial, s.key, time.Now().Add(-s.age))
	if s.edit != nil {
		s.edit(h)
	}
}

// reply is what WeChat Pay answers with.
type reply struct {
	status  int
	body    string
	signed  signature
	headers map[string]string
}

// wechatpay is a fake WeChat Pay. It accepts only requests that are signed as documented,
// and answers as the test says.
type wechatpay struct {
	*httptest.Server
	t *testing.T

	mu           sync.Mutex
	accepts      string            // the serial number of the only merchant certificate that is good
	answer       func(n int) reply // of the operation, from 1
	list         func(n int) reply // of GET /v3/certificates, from 1
	echo         func(serial string, body []byte) reply
	calls        int
	downloads    int
	nonces       map[string]bool
	acceptSerial []string // Wechatpay-Serial of the operation's calls
}

func start(t *testing.T, answer func(n int) reply) *wechatpay {
	w := &wechatpay{t: t, accepts: serialNo, answer: answer, nonces: map[string]bool{}}
	w.Server = httptest.NewUnstartedServer(w)
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.StartTLS()
	t.Cleanup(w.Close)
	return w
}

var authorization = regexp.MustCompile(`^WECHATPAY2-SHA256-RSA2048 mchid="(\d+)",nonce_str="(\w+)",timestamp="(\d+)",serial_no="(\w+)",signature="([^"]+)"$`)

func (w *wechatpay) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Error(err)
	}
	var made reply
	switch known := w.holds(r, string(body)); {
	case r.Method == http.MethodPost && r.URL.RequestURI() == operation:
		if string(body) != example || r.Header.Get("Content-Type") != "application/json" {
			w.t.Errorf("the body is %q as %q", body, r.Header.Get("Content-Type"))
		}
		w.calls++
		w.acceptSerial = append(w.acceptSerial, r.Header.Get("Wechatpay-Serial"))
		if made = (reply{status: 401, body: `{"code":"SIGN_ERROR","message":"签名错误"}`}); known {
			made = w.answer(w.calls)
		}
	case r.Method == http.MethodGet && r.URL.RequestURI() == "/v3/certificates":
		if len(body) != 0 {
			w.t.Errorf("a GET with the body %q", body)
		}
		w.downloads++
		if made = (reply{status: 401, body: `{"code":"SIGN_ERROR","message":"签名错误"}`}); known {
			made = w.list(w.downloads)
		}
	case r.Method == http.MethodPost && r.URL.RequestURI() == "/v3/security/echo" && w.echo != nil:
		w.calls++
		if made = (reply{status: 401, body: `{"code":"SIGN_ERROR","message":"签名错误"}`}); known {
			made = w.echo(r.Header.Get("Wechatpay-Serial"), body)
		}
	default:
		w.t.Errorf("%s %s", r.Method, r.URL)
		made = reply{status: 404}
	}
	made.signed.sign(out.Header(), made.body)
	for name, value := range made.headers {
		out.Header().Set(name, value)
	}
	out.WriteHeader(made.status)
	_, _ = io.WriteString(out, made.body)
}

// holds verifies a request's signature and reports whether it names the merchant
// certificate that is accepted.
func (w *wechatpay) holds(r *http.Request, body string) bool {
	if accept := r.Header.Get("Accept"); accept != "application/json" {
		w.t.Errorf("Accept is %q", accept)
	}
	parts := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if parts == nil {
		w.t.Errorf("Authorization is %q", r.Header.Get("Authorization"))
		return false
	}
	nonce, stamp := parts[2], parts[3]
	if seconds, err := strconv.ParseInt(stamp, 10, 64); err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
		w.t.Errorf("signed at %s", stamp)
	}
	if parts[1] != mchID || w.nonces[nonce] || len(nonce) > 32 {
		w.t.Errorf("mchid %s, nonce %s", parts[1], nonce)
	}
	w.nonces[nonce] = true
	digest := sha256.Sum256([]byte(r.Method + "\n" + r.URL.RequestURI() + "\n" + stamp + "\n" + nonce + "\n" + body + "\n"))
	signed, err := base64.StdEncoding.DecodeString(parts[5])
	if err != nil || rsa.VerifyPKCS1v15(&keys().merchant.PublicKey, crypto.SHA256, digest[:], signed) != nil {
		w.t.Errorf("the signature of %s %s does not hold", r.Method, r.URL)
	}
	return parts[4] == w.accepts
}

// counts checks how often the operation was called and certificates downloaded.
func (w *wechatpay) counts(t *testing.T, calls, downloads int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calls != calls || w.downloads != downloads {
		t.Errorf("%d calls and %d downloads, want %d and %d", w.calls, w.downloads, calls, downloads)
	}
}

// always is the same reply each time.
func always(r reply) func(int) reply { return func(int) reply { return r } }

func ok(serial string) reply {
	return reply{status: 200, body: token, signed: signature{serial: serial}}
}

// versions are the merchants that a secret's versions make, in order.
type versions struct {
	merchants []*Merchant
	unread    error // what Refresh fails with
	unchanged bool  // Refresh brought nothing new
	refreshes int
}

func (v *versions) Get(context.Context) (*Merchant, error) {
	if len(v.merchants) == 0 {
		return nil, errors.New("apiv3_key does not have 32 bytes")
	}
	return v.merchants[0], nil
}

// Refresh reads the secret once, as a cached secret does within a minute, unless it
// changed.
func (v *versions) Refresh(_ context.Context, outdated *Merchant) (*Merchant, error) {
	if v.merchants[0] != outdated || v.unchanged {
		return v.merchants[0], nil
	}
	v.refreshes++
	v.unchanged = v.unread != nil || len(v.merchants) == 1
	if !v.unchanged {
		v.merchants = v.merchants[1:]
	}
	return v.merchants[0], v.unread
}

func client(v *versions, servers ...*wechatpay) *Client {
	var endpoints []string
	for _, s := range servers {
		endpoints = append(endpoints, s.URL)
	}
	return NewClient(v, upstream.New(endpoints))
}

// fails checks that err is an apierror.Error with this status and code, and returns it.
func fails(t *testing.T, answer *upstream.Answer, err error, status int, code string) *apierror.Error {
	t.Helper()
	e, isOurs := errors.AsType[*apierror.Error](err)
	if answer != nil || !isOurs || e.Status != status || e.Code != code {
		t.Fatalf("%+v, %v, want %d %s", answer, err, status, code)
	}
	if strings.Contains(err.Error(), "d2df23f2f4fasf3gws") || strings.Contains(err.Error(), "obLatjnx9gnqzS4myYGmLZ7LgLBA") || strings.Contains(err.Error(), apiv3Key) {
		t.Errorf("the error has what is private in it: %v", err)
	}
	return e
}

// A cert is a platform certificate of WeChat Pay.
type cert struct {
	serial  string
	expires time.Duration
	key     any // a public key; nil is WeChat Pay's
}

func (c cert) pem() string {
	number, good := new(big.Int).SetString(c.serial, 16)
	if !good {
		panic(c.serial)
	}
	if c.expires == 0 {
		c.expires = time.Hour
	}
	if c.key == nil {
		c.key = &keys().wechatpay.PublicKey
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: number,
		Subject:      pkix.Name{CommonName: "Tenpay.com sign"},
		NotBefore:    time.Now().Add(-48 * time.Hour),
		NotAfter:     time.Now().Add(c.expires),
	}, &x509.Certificate{}, c.key, keys().wechatpay)
	return armour("CERTIFICATE", der, err)
}

// An entry is one of the list that GET /v3/certificates answers with.
type entry map[string]any

func encrypted(serial, plaintext, key string) entry {
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	nonce := rand.Text()[:12]
	return entry{"serial_no": serial, "effective_time": "2018-06-08T10:34:56+08:00", "expire_time": "2038-12-08T10:34:56+08:00", "encrypt_certificate": entry{
		"algorithm": "AEAD_AES_256_GCM", "nonce": nonce, "associated_data": "certificate",
		"ciphertext": base64.StdEncoding.EncodeToString(gcm.Seal(nil, []byte(nonce), []byte(plaintext), []byte("certificate"))),
	}}
}

func listOf(entries ...entry) string {
	text, err := json.Marshal(map[string]any{"data": entries})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// certificates are a list as WeChat Pay gives it, signed with the first.
func certificates(certs ...cert) reply {
	var entries []entry
	for _, c := range certs {
		entries = append(entries, encrypted(c.serial, c.pem(), apiv3Key))
	}
	return reply{status: 200, body: listOf(entries...), signed: signature{serial: certs[0].serial}}
}

const (
	certA = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"
	certB = "7132D72A03E93CDDF8C03BBD1F37EEDF00000001"
)

func TestPostGivesTheVerifiedAnswer(t *testing.T) {
	for _, row := range []struct {
		mode      string
		serial    string // of the key that the answer is signed with
		names     string // the key that the second request asks for
		downloads int    // of two calls
	}{
		{"public key", publicKeyID, publicKeyID, 0},
		{"certificates", certA, certA, 1},
		{"both", publicKeyID, publicKeyID, 0},
		{"both", certA, publicKeyID, 1},
	} {
		t.Run(row.mode+" with "+row.serial[:8], func(t *testing.T) {
			w := start(t, always(ok(row.serial)))
			w.list = always(certificates(cert{serial: certA}))
			v := &versions{merchants: []*Merchant{modes[row.mode]().merchant(t)}}
			c := client(v, w)
			for range 2 {
				answer, err := c.Post(t.Context(), operation, []byte(example))
				if err != nil || answer.Status != 200 || string(answer.Body) != token || answer.RequestID() != requestID {
					t.Fatalf("%+v, %v", answer, err)
				}
			}
			w.counts(t, 2, row.downloads)
			if v.refreshes != 0 {
				t.Error("the secret was read again without need")
			}
			if w.acceptSerial[1] != row.names {
				t.Errorf("Wechatpay-Serial is %q, want %q", w.acceptSerial[1], row.names)
			}
		})
	}
}

// wrongSignatures are the ways in which a signature can be wrong.
func wrongSignatures() map[string]signature {
	without := func(name string) func(http.Header) { return func(h http.Header) { h.Del(name) } }
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	return map[string]signature{
		"unsigned":                                 {},
		"signed with another key":                  {serial: publicKeyID, key: keys().merchant},
		"signed with a key that is not held":       {serial: "PUB_KEY_ID_0000000000000000000000000000000001"},
		"the signature of another body":            {serial: publicKeyID, body: strings.Replace(token, "d", "e", 1)},
		"the signature of the body with a newline": {serial: publicKeyID, body: token + "\n"},
		"older than 5 minutes":                     {serial: publicKeyID, age: 5*time.Minute + 5*time.Second},
		"from more than 5 minutes ahead":           {serial: publicKeyID, age: -5*time.Minute - 5*time.Second},
		"another time than was signed":             {serial: publicKeyID, edit: set("Wechatpay-Timestamp", strconv.FormatInt(time.Now().Unix()+60, 10))},
		"a time that is no number":                 {serial: publicKeyID, edit: set("Wechatpay-Timestamp", "now")},
		"no time":                                  {serial: publicKeyID, edit: without("Wechatpay-Timestamp")},
		"another nonce":                            {serial: publicKeyID, edit: set("Wechatpay-Nonce", "x")},
		"no nonce":                                 {serial: publicKeyID, edit: without("Wechatpay-Nonce")},
		"no serial number":                         {serial: publicKeyID, edit: without("Wechatpay-Serial")},
		"no signature":                             {serial: publicKeyID, edit: without("Wechatpay-Signature")},
		"a signature that is not base64":           {serial: publicKeyID, edit: set("Wechatpay-Signature", "*")},
		"a probe of WeChat's": {serial: publicKeyID, edit: func(h http.Header) {
			h.Set("Wechatpay-Signature", "WECHATPAY/SIGNTEST/"+h.Get("Wechatpay-Signature"))
		}},
	}
}

// TestAnAnswerThatIsNotTrustedIsAskedForOnceMore, at the same endpoint. Nothing of it is
// used.
func TestAnAnswerThatIsNotTrustedIsAskedForOnceMore(t *testing.T) {
	t.Parallel()
	good := signature{serial: publicKeyID}
	for what, wrong := range wrongSignatures() {
		for _, status := range []int{200, 204, 400, 404} {
			t.Run(fmt.Sprint(what, " ", status), func(t *testing.T) {
				t.Parallel()
				body := map[int]string{200: token, 204: ""}[status]
				if status >= 400 {
					body = `{"code":"PARAM_ERROR","message":"d2df23f2f4fasf3gws"}`
				}
				bad := reply{status: status, body: body, signed: wrong}
				for _, row := range []struct {
					replies []reply // in order; the last one again and again
					status  int
					code    string
				}{
					{[]reply{bad, ok(publicKeyID)}, 200, ""},
					{[]reply{bad, {status: 204, signed: good}}, 204, ""},
					{[]reply{bad, {status: 403, body: `{"code":"NO_AUTH","message":"m"}`, signed: good}}, 403, "NO_AUTH"},
					{[]reply{bad, {status: 429, body: `{"code":"FREQUENCY_LIMITED","message":"m"}`}}, 429, "FREQUENCY_LIMITED"},
					{[]reply{bad, {status: 401}}, 502, "SIGN_ERROR"},
					{[]reply{bad}, 502, "INVALID_RESPONSE"},
				} {
					w, other := start(t, func(n int) reply { return row.replies[min(n, len(row.replies))-1] }), start(t, always(ok(publicKeyID)))
					v := &versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}
					answer, err := client(v, w, other).Post(t.Context(), operation, []byte(example))
					if row.code == "" {
						if err != nil || answer.Status != row.status || string(answer.Body) != row.replies[1].body {
							t.Errorf("%+v, %v", answer, err)
						}
					} else if e := fails(t, answer, err, row.status, row.code); e.RequestID != requestID || strings.Contains(e.Message, "d2df") {
						t.Errorf("%+v", e)
					}
					w.counts(t, 2, 0)
					other.counts(t, 0, 0)
				}
			})
		}
	}
}

// TestAnAnswerThatIsTooLargeIsNotTrusted, because it can't be verified.
func TestAnAnswerThatIsTooLargeIsNotTrusted(t *testing.T) {
	large := reply{status: 200, body: strings.Repeat(" ", 1<<20) + token, signed: signature{serial: publicKeyID}}
	for _, second := range []reply{ok(publicKeyID), large} {
		w := start(t, func(n int) reply { return []reply{large, second}[n-1] })
		answer, err := client(&versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}, w).Post(t.Context(), operation, []byte(example))
		if second.body == large.body {
			fails(t, answer, err, 502, "INVALID_RESPONSE")
		} else if err != nil {
			t.Error(err)
		}
		w.counts(t, 2, 0)
	}
}

// Each attempt but the first waits for its turn.
func TestAPacedCall(t *testing.T) {
	forged := reply{status: 200, body: token, signed: signature{serial: publicKeyID, key: keys().merchant}}
	for _, row := range []struct {
		rule  string
		first reply
		waits int32
	}{
		{"answered at once", ok(publicKeyID), 0},
		{"an answer that is not trusted", forged, 1},
		{"a 500", reply{status: 500}, 1},
	} {
		t.Run(row.rule, func(t *testing.T) {
			var waits atomic.Int32
			w := start(t, func(n int) reply { return []reply{row.first, ok(publicKeyID)}[n-1] })
			c := client(&versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}, w).Paced(func(context.Context) error {
				waits.Add(1)
				return nil
			})
			if _, err := c.Post(t.Context(), operation, []byte(example)); err != nil || waits.Load() != row.waits {
				t.Errorf("waited %d times, %v", waits.Load(), err)
			}
			w.counts(t, int(1+row.waits), 0)
		})
	}
}

// TestAForgedAnswerDoesNotBeatAGoodOne that is under way.
func TestAForgedAnswerDoesNotBeatAGoodOne(t *testing.T) {
	t.Parallel()
	forged := make(chan struct{}, 2)
	slow := start(t, func(int) reply {
		<-forged
		<-forged
		return ok(publicKeyID)
	})
	bad := start(t, func(int) reply {
		forged <- struct{}{}
		return reply{status: 200, body: token, signed: signature{serial: publicKeyID, key: keys().merchant}}
	})
	answer, err := client(&versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}, slow, bad).Post(t.Context(), operation, []byte(example))
	if err != nil || answer.Status != 200 {
		t.Errorf("%+v, %v", answer, err)
	}
	slow.counts(t, 1, 0)
	bad.counts(t, 2, 0)
}

// TestAChangeThatMayHaveBeenDone: a refusal of the second request may mean that the first
// one was carried out.
func TestAChangeThatMayHaveBeenDone(t *testing.T) {
	good, refused := signature{serial: publicKeyID}, `{"code":"INVALID_REQUEST","message":"m"}`
	for _, row := range []struct {
		what    string
		replies []reply
		status  int
		code    string
	}{
		{"done twice", []reply{{status: 200, body: token}, ok(publicKeyID)}, 200, ""},
		{"refused the second time", []reply{{status: 200, body: token}, {status: 400, body: refused, signed: good}}, 502, "INVALID_RESPONSE"},
		{"not found the second time", []reply{{status: 204}, {status: 404, body: refused, signed: good}}, 502, "INVALID_RESPONSE"},
		{"refused after another failure", []reply{{status: 200, body: token}, {status: 503}, {status: 400, body: refused, signed: good}}, 502, "INVALID_RESPONSE"},
		{"limited the second time", []reply{{status: 200, body: token}, {status: 429, body: refused, signed: good}}, 429, "INVALID_REQUEST"},
		{"401 the second time", []reply{{status: 200, body: token}, {status: 401}}, 502, "SIGN_ERROR"},
		{"refused at once", []reply{{status: 400, body: refused, signed: good}}, 400, "INVALID_REQUEST"},
		{"refused after a failure", []reply{{status: 503}, {status: 400, body: refused, signed: good}}, 400, "INVALID_REQUEST"},
	} {
		t.Run(row.what, func(t *testing.T) {
			w := start(t, func(n int) reply { return row.replies[min(n, len(row.replies))-1] })
			answer, err := client(&versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}, w).PostChange(t.Context(), operation, []byte(example))
			if row.code != "" {
				fails(t, answer, err, row.status, row.code)
			} else if err != nil {
				t.Error(err)
			}
			w.counts(t, len(row.replies), 0)
		})
	}
}

func TestAnAnswerMayBeAlmostFiveMinutesOld(t *testing.T) {
	for _, age := range []time.Duration{4*time.Minute + 50*time.Second, -4*time.Minute - 50*time.Second} {
		w := start(t, always(reply{status: 200, body: token, signed: signature{serial: publicKeyID, age: age}}))
		if _, err := client(&versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}, w).Post(t.Context(), operation, []byte(example)); err != nil {
			t.Errorf("%v old: %v", age, err)
		}
	}
}

func TestErrorAnswers(t *testing.T) {
	signed := signature{serial: publicKeyID}
	for _, row := range []struct {
		what    string
		answer  reply
		status  int
		code    string
		message string // WeChat's, or ""
		calls   int
	}{
		{"400", reply{400, `{"code":"PARAM_ERROR","message":"OpenID有误"}`, signed, nil}, 400, "PARAM_ERROR", "OpenID有误", 1},
		{"403", reply{403, `{"code":"NO_AUTH","message":"商户暂无权限使用此功能"}`, signed, nil}, 403, "NO_AUTH", "商户暂无权限使用此功能", 1},
		{"404", reply{404, `{"code":"NOT_FOUND","message":"m"}`, signed, nil}, 404, "NOT_FOUND", "m", 1},
		{"409", reply{409, `{"code":"CONFLICT","message":"m"}`, signed, nil}, 409, "CONFLICT", "m", 1},
		{"400 without a code", reply{400, `{"message":"m"}`, signed, nil}, 502, "INVALID_RESPONSE", "", 1},
		{"400 with a code that is none", reply{400, `{"code":"no code","message":"m"}`, signed, nil}, 502, "INVALID_RESPONSE", "", 1},
		{"400 of another shape", reply{400, `<html>`, signed, nil}, 502, "INVALID_RESPONSE", "", 1},
		{"429", reply{429, `{"code":"FREQUENCY_LIMITED","message":"m"}`, signed, nil}, 429, "FREQUENCY_LIMITED", "m", 1},
		{"429, unsigned", reply{429, `{"code":"FREQUENCY_LIMITED","message":"m"}`, signature{}, nil}, 429, "FREQUENCY_LIMITED", "", 1},
		{"429 of a gateway", reply{429, ``, signature{}, nil}, 429, "RATELIMIT_EXCEEDED", "", 1},
		{"500", reply{500, `{"code":"SYSTEM_ERROR","message":"系统异常,请稍后重试"}`, signed, nil}, 502, "SYSTEM_ERROR", "系统异常,请稍后重试", 4},
		{"500, unsigned", reply{500, `{"code":"BANK_ERROR","message":"m"}`, signature{}, nil}, 502, "BANK_ERROR", "", 4},
		{"503 of a gateway", reply{503, `<html>`, signature{}, nil}, 502, "SYSTEM_ERROR", "", 4},
		{"a redirect", reply{302, token, signed, map[string]string{"Location": "/v3/certificates"}}, 502, "INVALID_RESPONSE", "", 1},
		{"a permanent redirect", reply{308, token, signed, map[string]string{"Location": "/v3/certificates"}}, 502, "INVALID_RESPONSE", "", 1},
		{"401", reply{401, `{"code":"SIGN_ERROR","message":"m"}`, signed, nil}, 502, "SIGN_ERROR", "", 1},
		{"401, unsigned", reply{401, ``, signature{}, nil}, 502, "SIGN_ERROR", "", 1},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w := start(t, always(row.answer))
			v := &versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}
			answer, err := client(v, w, w).Post(t.Context(), operation, []byte(example))
			e := fails(t, answer, err, row.status, row.code)
			if row.message != "" && e.Message != row.message || row.message == "" && (e.Message == "m" || e.Message == "") {
				t.Errorf("the message is %q, want %q", e.Message, row.message)
			}
			if e.RequestID != requestID {
				t.Errorf("the Request-ID is %q", e.RequestID)
			}
			w.counts(t, row.calls, 0)
		})
	}
}

func TestWeChatsDetailAndRetryAfterArePassedOn(t *testing.T) {
	w := start(t, always(reply{status: 400, signed: signature{serial: publicKeyID},
		body: `{"code":"PARAM_ERROR","message":"m","detail":{"field":"/body/card_id","value":"x","issue":"i","location":"body"}}`}))
	c := client(&versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}, w, w)
	answer, err := c.Post(t.Context(), operation, []byte(example))
	if e := fails(t, answer, err, 400, "PARAM_ERROR"); e.Detail == nil || *e.Detail != (apierror.Detail{Field: "/body/card_id", Value: "x", Issue: "i", Location: "body"}) {
		t.Errorf("detail %+v", e.Detail)
	}
	for header, want := range map[string]time.Duration{"7": 7 * time.Second, "": time.Second, "soon": time.Second, "-1": time.Second, "99999999": time.Hour,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat): time.Second, time.Now().Add(48 * time.Hour).UTC().Format(http.TimeFormat): time.Hour} {
		w.mu.Lock()
		w.answer = always(reply{status: 429, body: `{"code":"FREQUENCY_LIMITED","message":"m"}`, headers: map[string]string{"Retry-After": header}})
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		answer, err := c.Post(ctx, operation, []byte(example))
		cancel()
		if e := fails(t, answer, err, 429, "FREQUENCY_LIMITED"); e.RetryAfter != want {
			t.Errorf("Retry-After %q: %v, want %v", header, e.RetryAfter, want)
		}
	}
}

func TestWithoutASecretNothingIsSent(t *testing.T) {
	w := start(t, always(ok(publicKeyID)))
	answer, err := client(&versions{}, w).Post(t.Context(), operation, []byte(example))
	if e := fails(t, answer, err, 500, "CONFIG_ERROR"); strings.Contains(e.Message, "apiv3_key") || !strings.Contains(e.Cause.Error(), "apiv3_key") {
		t.Errorf("the caller is told %q, the operator %v", e.Message, e.Cause)
	}
	w.counts(t, 0, 0)
}

// The secret is read again when it proves wrong, and the call made once more if
// it changed.
func TestRotation(t *testing.T) {
	// No certificate is downloaded for a public key that is unknown.
	for _, mode := range []string{"public key", "both"} {
		t.Run(mode, func(t *testing.T) { testRotation(t, modes[mode]) })
	}
}

func testRotation(t *testing.T, secret func() fields) {
	const newSerial, newPublicKeyID = "2AAE55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2", publicKeyID + "1"
	renewed := func() fields { return secret().but("certificate_serial_no", newSerial) }
	rekeyed := func() fields { return secret().but("wechatpay_public_key_id", newPublicKeyID) }
	for _, row := range []struct {
		what      string
		secrets   []func() fields
		unread    error
		accepts   string // the merchant certificate that WeChat Pay accepts
		serial    string // the key that it signs with
		status    int    // 200: success
		code      string
		calls     int
		refreshes int
	}{
		{"nothing changed", []func() fields{secret, renewed}, nil, serialNo, publicKeyID, 200, "", 1, 0},
		{"401, and the secret changed", []func() fields{secret, renewed}, nil, newSerial, publicKeyID, 200, "", 2, 1},
		{"401, and the secret did not change", []func() fields{secret}, nil, newSerial, publicKeyID, 502, "SIGN_ERROR", 1, 1},
		{"401, and the secret can't be read", []func() fields{secret}, io.ErrUnexpectedEOF, newSerial, publicKeyID, 502, "SIGN_ERROR", 1, 1},
		{"401 with the changed secret as well", []func() fields{secret, renewed, secret, renewed}, nil, "00", publicKeyID, 502, "SIGN_ERROR", 2, 1},
		{"an unknown key, and the secret changed", []func() fields{secret, rekeyed}, nil, serialNo, newPublicKeyID, 200, "", 1, 1},
		{"an unknown key, and the secret did not change", []func() fields{secret}, nil, serialNo, newPublicKeyID, 502, "INVALID_RESPONSE", 2, 1},
		{"an unknown key, and the secret can't be read", []func() fields{secret}, io.ErrUnexpectedEOF, serialNo, newPublicKeyID, 502, "INVALID_RESPONSE", 2, 1},
		{"an unknown key with the changed secret as well", []func() fields{secret, rekeyed, secret}, nil, serialNo, "PUB_KEY_ID_3", 502, "INVALID_RESPONSE", 2, 1},
		{"401, then an unknown key", []func() fields{secret, renewed, rekeyed}, nil, newSerial, newPublicKeyID, 200, "", 2, 2},
	} {
		t.Run(row.what, func(t *testing.T) {
			w := start(t, always(ok(row.serial)))
			w.accepts = row.accepts
			v := &versions{unread: row.unread}
			for _, secret := range row.secrets {
				v.merchants = append(v.merchants, secret().merchant(t))
			}
			answer, err := client(v, w, w).Post(t.Context(), operation, []byte(example))
			if row.status != 200 {
				fails(t, answer, err, row.status, row.code)
			} else if err != nil || string(answer.Body) != token {
				t.Errorf("%+v, %v", answer, err)
			}
			w.counts(t, row.calls, 0)
			if v.refreshes != row.refreshes {
				t.Errorf("the secret was read again %d times, want %d", v.refreshes, row.refreshes)
			}
		})
	}
}

func TestABrokenSignatureDoesNotReadTheSecretAgain(t *testing.T) {
	w := start(t, always(reply{status: 200, body: token, signed: signature{serial: publicKeyID, key: keys().merchant}}))
	v := &versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}
	answer, err := client(v, w).Post(t.Context(), operation, []byte(example))
	fails(t, answer, err, 502, "INVALID_RESPONSE")
	if v.refreshes != 0 {
		t.Error("the secret was read again")
	}
}

func TestACertificateRotationDownloadsOnce(t *testing.T) {
	for _, mode := range []string{"certificates", "both"} {
		t.Run(mode, func(t *testing.T) {
			w := start(t, func(n int) reply { return ok([]string{certA, certB}[min(n, 3)/2]) })
			w.list = func(n int) reply {
				if n == 1 {
					return certificates(cert{serial: certA})
				}
				return certificates(cert{serial: certA}, cert{serial: certB})
			}
			v := &versions{merchants: []*Merchant{modes[mode]().merchant(t)}}
			c := client(v, w)
			for i := range 4 {
				if answer, err := c.Post(t.Context(), operation, []byte(example)); err != nil || string(answer.Body) != token {
					t.Fatalf("call %d: %+v, %v", i+1, answer, err)
				}
			}
			w.counts(t, 4, 2)
			if v.refreshes != 0 {
				t.Error("the secret was read again, though a download brought the key")
			}
		})
	}
}

func TestDownloadsThatBringNothingArePaused(t *testing.T) {
	w := start(t, always(ok("0BAD")))
	w.list = always(certificates(cert{serial: certA}))
	for mode, downloads := range map[string]int{"certificates": 2, "both": 1} {
		w.calls, w.downloads = 0, 0
		m := modes[mode]().merchant(t)
		v := &versions{merchants: []*Merchant{m}}
		c := client(v, w)
		for range 3 {
			answer, err := c.Post(t.Context(), operation, []byte(example))
			fails(t, answer, err, 502, "INVALID_RESPONSE")
		}
		w.counts(t, 6, downloads)
		if v.refreshes != 0 {
			t.Errorf("%s: the secret was read %d times for a serial number", mode, v.refreshes)
		}
		m.keys.pausedAt = m.keys.pausedAt.Add(-downloadPause - time.Second)
		_, _ = c.Post(t.Context(), operation, []byte(example))
		w.counts(t, 8, downloads+1)
	}
}

func TestCertificatesAreDownloadedAgainAfterTheirTime(t *testing.T) {
	w := start(t, always(ok(certA)))
	w.list = func(n int) reply {
		if n == 2 {
			return reply{status: 403, body: `{"code":"NO_AUTH","message":"m"}`, signed: signature{serial: certA}}
		}
		if n > 3 {
			return certificates(cert{serial: certB})
		}
		return certificates(cert{serial: certA})
	}
	m := modes["certificates"]().merchant(t)
	c := client(&versions{merchants: []*Merchant{m}}, w)
	call := func(downloads int) {
		t.Helper()
		w.mu.Lock()
		calls := w.calls
		w.mu.Unlock()
		if answer, err := c.Post(t.Context(), operation, []byte(example)); err != nil || string(answer.Body) != token {
			t.Fatalf("%+v, %v", answer, err)
		}
		w.counts(t, calls+1, downloads)
	}
	call(1)
	m.keys.downloadedAt = m.keys.downloadedAt.Add(-certificateTTL + time.Minute)
	call(1) // not yet
	m.keys.downloadedAt = m.keys.downloadedAt.Add(-2 * time.Minute)
	call(2) // it fails, and those at hand serve
	call(2) // not again at once
	m.keys.pausedAt = m.keys.pausedAt.Add(-downloadPause - time.Second)
	call(3)
	call(3)
	// The list no longer has the certificate with which answers are signed.
	m.keys.downloadedAt = m.keys.downloadedAt.Add(-certificateTTL - time.Minute)
	answer, err := c.Post(t.Context(), operation, []byte(example))
	fails(t, answer, err, 502, "INVALID_RESPONSE")
}

func TestThePublicKeyServesWhileCertificatesAreMissing(t *testing.T) {
	w := start(t, always(ok(publicKeyID)))
	w.list = always(noCertificates)
	m := modes["both"]().merchant(t)
	m.keys.hold(must2(m.keys.decryptCertificates([]byte(certificates(cert{serial: certA}).body))))
	m.keys.downloadedAt = time.Now().Add(-certificateTTL - time.Hour)
	c := client(&versions{merchants: []*Merchant{m}}, w)
	for range 2 {
		if answer, err := c.Post(t.Context(), operation, []byte(example)); err != nil || string(answer.Body) != token {
			t.Fatalf("%+v, %v", answer, err)
		}
	}
	w.counts(t, 2, 1)
}

func must2[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// unusable are lists of certificates with a fault. code is the error of a call if there
// is no other key.
var unusable = []struct {
	fault string
	list  func() reply
	code  string
}{
	{"encrypted with another APIv3 key", func() reply {
		return reply{200, listOf(encrypted(certA, cert{serial: certA}.pem(), strings.ToLower(apiv3Key))), signature{serial: certA}, nil}
	}, "CONFIG_ERROR"},
	{"a nonce of 11 bytes", func() reply { return edited("nonce", "01234567890") }, "INVALID_RESPONSE"},
	{"a nonce of 13 bytes", func() reply { return edited("nonce", "0123456789012") }, "INVALID_RESPONSE"},
	{"no nonce", func() reply { return edited("nonce", "") }, "INVALID_RESPONSE"},
	{"a ciphertext that is not base64", func() reply { return edited("ciphertext", "*") }, "INVALID_RESPONSE"},
	{"what is inside is not PEM", func() reply { return inside("no PEM") }, "INVALID_RESPONSE"},
	{"what is inside is a key", func() reply { return inside(publicPEM(&keys().wechatpay.PublicKey)) }, "INVALID_RESPONSE"},
	{"what is inside is no certificate", func() reply { return inside(armour("CERTIFICATE", []byte("x"), nil)) }, "INVALID_RESPONSE"},
	{"an elliptic certificate", func() reply { return certificates(cert{serial: certA, key: &ellipticKey().PublicKey}) }, "INVALID_RESPONSE"},
	{"an expired certificate", func() reply { return certificates(cert{serial: certA, expires: -time.Hour}) }, "INVALID_RESPONSE"},
	{"no certificate", func() reply { return reply{200, `{"data":[]}`, signature{serial: certA}, nil} }, "INVALID_RESPONSE"},
	{"null for a certificate", func() reply { return reply{200, `{"data":[null]}`, signature{serial: certA}, nil} }, "INVALID_RESPONSE"},
	{"not JSON", func() reply { return reply{200, `<html>`, signature{serial: certA}, nil} }, "INVALID_RESPONSE"},
	{"unsigned", func() reply { r := certificates(cert{serial: certA}); r.signed = signature{}; return r }, "INVALID_RESPONSE"},
	{"signed with a key that is not in it", func() reply { r := certificates(cert{serial: certA}); r.signed.serial = certB; return r }, "INVALID_RESPONSE"},
	{"signed with another key", func() reply { r := certificates(cert{serial: certA}); r.signed.key = keys().merchant; return r }, "INVALID_RESPONSE"},
	{"stale", func() reply { r := certificates(cert{serial: certA}); r.signed.age = time.Hour; return r }, "INVALID_RESPONSE"},
	{"a redirect", func() reply { r := certificates(cert{serial: certA}); r.status = 302; return r }, "INVALID_RESPONSE"},
	{"401", func() reply { return reply{401, `{"code":"SIGN_ERROR","message":"m"}`, signature{}, nil} }, "SIGN_ERROR"},
}

func edited(name, value string) reply {
	made := encrypted(certA, cert{serial: certA}.pem(), apiv3Key)
	made["encrypt_certificate"].(entry)[name] = value
	return reply{200, listOf(made), signature{serial: certA}, nil}
}

func inside(plaintext string) reply {
	return reply{200, listOf(encrypted(certA, plaintext, apiv3Key)), signature{serial: certA}, nil}
}

func TestAnUnusableListOfCertificatesIsRefused(t *testing.T) {
	t.Parallel()
	for _, row := range unusable {
		t.Run(row.fault, func(t *testing.T) {
			w := start(t, always(ok(certA)))
			w.list = always(row.list())
			answer, err := client(&versions{merchants: []*Merchant{modes["certificates"]().merchant(t)}}, w).Post(t.Context(), operation, []byte(example))
			e := fails(t, answer, err, map[string]int{"CONFIG_ERROR": 500}[row.code]+map[bool]int{true: 502}[row.code != "CONFIG_ERROR"], row.code)
			if strings.Contains(e.Message, "apiv3_key") {
				t.Errorf("the caller is told %q", e.Message)
			}
			if row.code == "CONFIG_ERROR" && !strings.Contains(e.Cause.Error(), "apiv3_key") {
				t.Errorf("the operator is told %v, not the key at fault", e.Cause)
			}
			downloads := 2
			if row.fault == "a redirect" || row.fault == "401" {
				downloads = 1
			}
			w.counts(t, 0, downloads)

			// With a public key as well, what it does not sign is not trusted either.
			answer, err = client(&versions{merchants: []*Merchant{modes["both"]().merchant(t)}}, w).Post(t.Context(), operation, []byte(example))
			fails(t, answer, err, 502, "INVALID_RESPONSE")
			w.counts(t, 2, 2*downloads)

			// A list that is good the second time serves.
			if w = start(t, always(ok(certA))); downloads == 1 {
				return
			}
			w.list = func(n int) reply { return []reply{row.list(), certificates(cert{serial: certA})}[n-1] }
			if _, err = client(&versions{merchants: []*Merchant{modes["certificates"]().merchant(t)}}, w).Post(t.Context(), operation, []byte(example)); err != nil {
				t.Error(err)
			}
			w.counts(t, 1, 2)
		})
	}
}

// If WeChat Pay refuses the download, the caller gets a 5xx.
func TestACallerIsNotBlamedForTheDownload(t *testing.T) {
	for _, list := range []reply{
		{400, `{"code":"PARAM_ERROR","message":"m"}`, signature{}, nil},
		{403, `{"code":"NO_AUTH","message":"m"}`, signature{}, nil},
		{404, `{"code":"RESOURCE_NOT_EXISTS","message":"无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥"}`, signature{}, nil},
	} {
		w := start(t, always(ok(certA)))
		w.list = always(list)
		answer, err := client(&versions{merchants: []*Merchant{modes["certificates"]().merchant(t)}}, w).Post(t.Context(), operation, []byte(example))
		if e, _ := errors.AsType[*apierror.Error](err); answer != nil || e == nil || e.Status < 500 {
			t.Errorf("a download that is answered %d: %+v, %v, want a 5xx", list.status, e, err)
		}
		w.counts(t, 0, 2) // they are not signed
	}
}

func TestAnExpiredCertificateIsLeftOut(t *testing.T) {
	k := &keyring{apiv3Key: apiv3Key}
	held, err := k.decryptCertificates([]byte(certificates(cert{serial: certA, expires: -time.Second}, cert{serial: certB}).body))
	if err != nil {
		t.Fatal(err)
	}
	var serials []string
	for serial := range held.GetAll(t.Context()) {
		serials = append(serials, serial)
	}
	if !slices.Equal(serials, []string{certB}) {
		t.Errorf("%v, want the valid one only", serials)
	}
}

func TestWarm(t *testing.T) {
	for mode, downloads := range map[string]int{"public key": 0, "certificates": 1, "both": 0} {
		t.Run(mode, func(t *testing.T) {
			w := start(t, always(ok(map[bool]string{true: certA, false: publicKeyID}[mode == "certificates"])))
			w.list = always(certificates(cert{serial: certA}))
			c := client(&versions{merchants: []*Merchant{modes[mode]().merchant(t)}}, w)
			c.Warm(t.Context())
			w.counts(t, 0, downloads)
			if answer, err := c.Post(t.Context(), operation, []byte(example)); err != nil || string(answer.Body) != token {
				t.Errorf("%+v, %v", answer, err)
			}
			w.counts(t, 1, downloads)
		})
	}
	t.Run("without a secret", func(t *testing.T) {
		w := start(t, always(ok(publicKeyID)))
		client(&versions{}, w).Warm(t.Context())
		w.counts(t, 0, 0)
	})
}

func TestFailover(t *testing.T) {
	down := start(t, always(reply{status: 503}))
	down.list = always(reply{status: 503})
	up := start(t, always(ok(certA)))
	up.list = always(certificates(cert{serial: certA}))
	if answer, err := client(&versions{merchants: []*Merchant{modes["certificates"]().merchant(t)}}, down, up).Post(t.Context(), operation, []byte(example)); err != nil || string(answer.Body) != token {
		t.Errorf("%+v, %v", answer, err)
	}
	down.counts(t, 1, 1)
	up.counts(t, 1, 1)
}

// TestA429IsPassedOnAtOnce, with WeChat's Retry-After. If it is the answer to a download
// after a call, that call's answer is not trusted.
func TestA429IsPassedOnAtOnce(t *testing.T) {
	limited := reply{status: 429, body: `{"code":"FREQUENCY_LIMITED","message":"m"}`, headers: map[string]string{"Retry-After": "12"}}
	for _, row := range []struct {
		what             string
		mode             string
		answer           reply
		status           int
		code             string
		calls, downloads int
	}{
		{"the call", "public key", limited, 429, "FREQUENCY_LIMITED", 1, 0},
		{"the download before a call", "certificates", ok(certA), 429, "FREQUENCY_LIMITED", 0, 1},
		{"the download after a call", "both", ok(certA), 502, "INVALID_RESPONSE", 2, 1},
	} {
		t.Run(row.what, func(t *testing.T) {
			w, other := start(t, always(row.answer)), start(t, always(ok(publicKeyID)))
			w.list = always(limited)
			answer, err := client(&versions{merchants: []*Merchant{modes[row.mode]().merchant(t)}}, w, other).Post(t.Context(), operation, []byte(example))
			if e := fails(t, answer, err, row.status, row.code); e.Status == 429 && e.RetryAfter != 12*time.Second {
				t.Errorf("%+v", e)
			}
			w.counts(t, row.calls, row.downloads)
			other.counts(t, 0, 0)
		})
	}
}

// TestAnOutageIsNotMadeWorse: calls that all fail are soon made once each.
func TestAnOutageIsNotMadeWorse(t *testing.T) {
	for _, row := range []struct{ status, calls int }{{500, 33}, {429, 30}, {200, 35}} {
		t.Run(strconv.Itoa(row.status), func(t *testing.T) {
			t.Parallel()
			w := start(t, always(reply{status: row.status, body: `{"code":"ERROR","message":"m"}`})) // unsigned
			c := client(&versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}, w, w)
			for range 30 {
				if answer, err := c.Post(t.Context(), operation, []byte(example)); err == nil {
					t.Errorf("%+v", answer)
				}
			}
			w.counts(t, row.calls, 0)
		})
	}
}

// TestOnce: with Once, WeChat Pay carries out a request at most once.
func TestOnce(t *testing.T) {
	secret := modes["public key"]
	const newSerial, newPublicKeyID = "2AAE55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2", publicKeyID + "1"
	renewed := secret().but("certificate_serial_no", newSerial)
	rekeyed := secret().but("wechatpay_public_key_id", newPublicKeyID)
	for _, row := range []struct {
		what    string
		answer  reply
		accepts string // the merchant certificate that WeChat Pay accepts
		next    fields // what the secret changed to
		status  int    // 200: success
		code    string
		calls   int
	}{
		{"a success", ok(publicKeyID), serialNo, nil, 200, "", 1},
		{"500", reply{status: 500, body: `{"code":"SYSTEM_ERROR","message":"m"}`}, serialNo, nil, 502, "SYSTEM_ERROR", 1},
		{"429", reply{status: 429, body: `{"code":"FREQUENCY_LIMITED","message":"m"}`}, serialNo, nil, 429, "FREQUENCY_LIMITED", 1},
		{"cut", reply{status: 200, body: "part", headers: map[string]string{"Content-Length": "100"}}, serialNo, nil, 502, "UPSTREAM_UNREACHABLE", 1},
		{"the signature is refused, and the secret changed", ok(publicKeyID), newSerial, renewed, 200, "", 2},
		{"an unknown key, and the secret changed", ok(newPublicKeyID), serialNo, rekeyed, 200, "", 1},
		{"an unknown key", ok(newPublicKeyID), serialNo, nil, 502, "INVALID_RESPONSE", 1},
		{"a wrong signature", reply{status: 200, body: token, signed: signature{serial: publicKeyID, key: keys().merchant}}, serialNo, nil, 502, "INVALID_RESPONSE", 1},
		{"no signature", reply{status: 404, body: `{"code":"NOT_FOUND","message":"m"}`}, serialNo, nil, 502, "INVALID_RESPONSE", 1},
	} {
		t.Run(row.what, func(t *testing.T) {
			w, other := start(t, always(row.answer)), start(t, always(row.answer))
			w.accepts = row.accepts
			v := &versions{merchants: []*Merchant{secret().merchant(t)}}
			if row.next != nil {
				v.merchants = append(v.merchants, row.next.merchant(t))
			}
			answer, err := client(v, w, other).Once().Post(t.Context(), operation, []byte(example))
			if row.status != 200 {
				fails(t, answer, err, row.status, row.code)
			} else if err != nil {
				t.Error(err)
			}
			w.counts(t, row.calls, 0)
			other.counts(t, 0, 0)
		})
	}
	t.Run("no connection", func(t *testing.T) {
		down, up := start(t, nil), start(t, always(ok(publicKeyID)))
		down.URL = tlsdialtest.Nowhere
		if _, err := client(&versions{merchants: []*Merchant{secret().merchant(t)}}, down, up).Once().Post(t.Context(), operation, []byte(example)); err != nil {
			t.Error(err)
		}
		up.counts(t, 1, 0)
	})
}

func FuzzDecrypt(f *testing.F) {
	f.Add([]byte(`{}`), "")
	for _, row := range unusable {
		f.Add([]byte(row.list().body), "x")
	}
	for _, c := range []cert{{serial: certA}, {serial: certB, expires: -time.Hour}, {serial: certA, key: &ellipticKey().PublicKey}} {
		f.Add([]byte(certificates(c).body), c.pem())
	}
	k := &keyring{apiv3Key: apiv3Key}
	f.Fuzz(func(t *testing.T, body []byte, plaintext string) {
		for _, list := range [][]byte{body, []byte(listOf(encrypted(certA, plaintext, apiv3Key)))} {
			held, err := k.decryptCertificates(list)
			if (held == nil) != (err != nil) {
				t.Fatalf("%v beside %v", held, err)
			}
			if err != nil {
				continue
			}
			all := held.GetAll(t.Context())
			if len(all) == 0 {
				t.Fatal("no certificate and no error")
			}
			for serial, certificate := range all {
				if _, isRSA := certificate.PublicKey.(*rsa.PublicKey); !isRSA || time.Now().After(certificate.NotAfter) {
					t.Fatalf("%s is not a valid RSA certificate", serial)
				}
			}
		}
	})
}

// TestNoErrorQuotesAHeader: whoever sent an answer or a notification chose the text of its
// headers.
func TestNoErrorQuotesAHeader(t *testing.T) {
	const private = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	merchant := modes["both"]().merchant(t)
	_, key := wechatpaytest.Keys()
	for _, name := range []string{"Request-ID", "Wechatpay-Serial", "Wechatpay-Signature", "Wechatpay-Timestamp", "Wechatpay-Nonce"} {
		header := http.Header{}
		wechatpaytest.Sign(header, "{}", publicKeyID, key, time.Now())
		header.Set(name, private)
		body := "{}"
		if name == "Request-ID" {
			body = "[]" // the signature is wrong
		}
		err := merchant.keys.validate(t.Context(), header, []byte(body))
		if err == nil || strings.Contains(err.Error(), private) || strings.Contains(err.Error(), "request-id") {
			t.Errorf("with %s: %v", name, err)
		}
	}
}
