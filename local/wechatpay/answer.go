// What is answered: its signature, and how a fault may bend it.

package wechatpay

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is about to be signed and sent; until then a fault may bend it.
type answer struct {
	status int
	header http.Header // without those of the signature
	body   []byte
	time   time.Time // of the signature
	key    signingKey
	other  string // the URL of the same request at the other endpoint

	strange  bool     // sign with a key nobody knows
	forged   bool     // sign another body
	probe    bool     // mark the signature as a probe
	unsigned bool     // do not sign
	without  []string // headers not to send
	gzip     bool
	badGzip  bool // with a wrong checksum
	cut      bool // send half of the body
	hangs    bool // send nothing
	resets   bool // send an RST
}

// encode makes the JSON of an answer.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // of strings and numbers only
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// send signs and sends an answer.
func (s *Sandbox) send(w http.ResponseWriter, r *http.Request, a *answer) {
	switch {
	case a.hangs:
		select {
		case <-r.Context().Done():
		case <-s.stop:
		}
		panic(http.ErrAbortHandler)
	case a.resets:
		reset(w)
		return
	}
	h := w.Header()
	maps.Copy(h, a.header)
	h.Set("Request-ID", randomText(32))
	if !a.unsigned {
		a.sign(h)
	}
	wire := a.body
	if a.gzip {
		wire = pack(a.body)
		if a.badGzip {
			wire[len(wire)-8] ^= 0xff // the first byte of the checksum
		}
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(len(wire)))
	if a.cut {
		wire = wire[:len(wire)/2] // the server closes the connection for it
	}
	for _, name := range a.without {
		h[http.CanonicalHeaderKey(name)] = nil // not even the server's own
	}
	w.WriteHeader(a.status)
	w.Write(wire)
}

// sign adds the headers of the answer's signature.
func (a *answer) sign(h http.Header) {
	body := a.body
	if a.forged {
		body = append([]byte("forged "), body...)
	}
	timestamp, nonce := strconv.FormatInt(a.time.Unix(), 10), randomText(32)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n", timestamp, nonce, body))
	signature := base64.StdEncoding.EncodeToString(
		must(rsa.SignPKCS1v15(rand.Reader, a.key.key, crypto.SHA256, sum[:])))
	if a.probe {
		signature = "WECHATPAY/SIGNTEST/" + signature
	}
	h.Set("Wechatpay-Timestamp", timestamp)
	h.Set("Wechatpay-Nonce", nonce)
	h.Set("Wechatpay-Signature", signature)
	h.Set("Wechatpay-Serial", a.key.id)
	h.Set("Wechatpay-Signature-Type", scheme)
}

func pack(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(body) // to memory, which does not fail
	z.Close()
	return b.Bytes()
}

// reset closes the request's connection with an RST.
func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	below := c.(*tls.Conn).NetConn()
	below.(interface{ SetLinger(int) error }).SetLinger(0)
	below.Close()
}

// Fault is a way in which an answer goes wrong. The functions of this package
// that return one make it.
type Fault struct {
	bend func(*answer)
}

// With is the fault with a header added to the answer, such as a Retry-After.
func (f Fault) With(name, value string) Fault {
	return Fault{func(a *answer) {
		f.bend(a)
		a.header.Set(name, value)
	}}
}

// WrongSignature signs other bytes than the body.
func WrongSignature() Fault { return Fault{func(a *answer) { a.forged = true }} }

// SignatureProbe sends the signature that WeChat Pay sends now and then to see
// whether a merchant checks: one that begins with WECHATPAY/SIGNTEST/.
func SignatureProbe() Fault { return Fault{func(a *answer) { a.probe = true }} }

// Stale signs validly for a time 6 minutes ago.
func Stale() Fault {
	return Fault{func(a *answer) { a.time = a.time.Add(-6 * time.Minute) }}
}

// UnknownKey signs with a key that the merchant was never told of.
func UnknownKey() Fault { return Fault{func(a *answer) { a.strange = true }} }

// MissingHeader leaves out a header.
func MissingHeader(name string) Fault {
	return Fault{func(a *answer) { a.without = append(a.without, name) }}
}

// Unsigned leaves out all headers of the signature.
func Unsigned() Fault { return Fault{func(a *answer) { a.unsigned = true }} }

// Truncated announces the whole body, sends half of it and closes the
// connection.
func Truncated() Fault { return Fault{func(a *answer) { a.cut = true }} }

// Oversized appends 1 MiB of white space to the body, validly signed.
func Oversized() Fault { return Fault{enlarge} }

// GzipOversized is [Oversized], packed to about a thousandth of its size.
func GzipOversized() Fault {
	return Fault{func(a *answer) {
		enlarge(a)
		a.gzip = true
	}}
}

func enlarge(a *answer) { a.body = append(a.body, bytes.Repeat([]byte(" "), 1<<20)...) }

// Gzip packs the body, whether or not the client accepts that. The signature is
// over what was packed.
func Gzip() Fault { return Fault{func(a *answer) { a.gzip = true }} }

// BadGzip packs the body and gets the checksum at its end wrong.
func BadGzip() Fault { return Fault{func(a *answer) { a.gzip, a.badGzip = true, true }} }

// Redirect answers 302 with the same URL at the other endpoint. A client that
// follows is seen in the log of requests.
func Redirect() Fault {
	return Fault{func(a *answer) {
		a.status = http.StatusFound
		a.header.Set("Location", a.other)
	}}
}

// Hang answers nothing until the client or the sandbox closes the connection.
func Hang() Fault { return Fault{func(a *answer) { a.hangs = true }} }

// Reset answers with an RST instead of HTTP.
func Reset() Fault { return Fault{func(a *answer) { a.resets = true }} }

// Status answers with a status code of three digits and a JSON body, signed.
func Status(code int, body string) Fault {
	return Fault{func(a *answer) { a.status, a.body = code, []byte(body) }}
}

// UnsignedStatus answers with a status code and a body, not signed, as a proxy
// on the way would. A body that begins with < is sent as HTML.
func UnsignedStatus(code int, body string) Fault {
	return Fault{func(a *answer) {
		a.status, a.body, a.unsigned = code, []byte(body), true
		if strings.HasPrefix(body, "<") {
			a.header.Set("Content-Type", "text/html; charset=utf-8")
		}
	}}
}

// Body answers 200 with any body, signed.
func Body(body string) Fault { return Status(http.StatusOK, body) }
