// What is answered: its signature, and how a fault may bend it.

package wechatpay

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"membercard/local/sandbox"
)

// answer is about to be signed and sent; until then a fault may bend it.
type answer struct {
	*sandbox.Answer
	time time.Time // of the signature
	key  signingKey

	strange  bool     // sign with a key nobody knows
	forged   bool     // sign another body
	probe    bool     // mark the signature as a probe
	unsigned bool     // do not sign
	without  []string // headers not to send
	gzip     bool
	badGzip  bool // with a wrong checksum
}

// finish makes of the answer what is sent.
func (a *answer) finish() {
	a.Header.Set("Request-ID", sandbox.RandomText(32))
	if !a.unsigned {
		a.sign()
	}
	if a.gzip {
		a.Body = pack(a.Body)
		if a.badGzip {
			a.Body[len(a.Body)-8] ^= 0xff // the first byte of the checksum
		}
		a.Header.Set("Content-Encoding", "gzip")
	}
	for _, name := range a.without {
		a.Header[http.CanonicalHeaderKey(name)] = nil
	}
}

// sign adds the headers of the answer's signature.
func (a *answer) sign() {
	body := a.Body
	if a.forged {
		body = append([]byte("forged "), body...)
	}
	timestamp, nonce := strconv.FormatInt(a.time.Unix(), 10), sandbox.RandomText(32)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n", timestamp, nonce, body))
	signature := base64.StdEncoding.EncodeToString(
		sandbox.Must(rsa.SignPKCS1v15(rand.Reader, a.key.key, crypto.SHA256, sum[:])))
	if a.probe {
		signature = "WECHATPAY/SIGNTEST/" + signature
	}
	a.Header.Set("Wechatpay-Timestamp", timestamp)
	a.Header.Set("Wechatpay-Nonce", nonce)
	a.Header.Set("Wechatpay-Signature", signature)
	a.Header.Set("Wechatpay-Serial", a.key.id)
	a.Header.Set("Wechatpay-Signature-Type", scheme)
}

func pack(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(body) // to memory, which does not fail
	z.Close()
	return b.Bytes()
}

// Fault is a way in which an answer goes wrong. The functions of this package
// that return one make it.
type Fault struct {
	bend func(*answer)
}

// plain is a fault that has nothing to do with signatures.
func plain(f sandbox.Fault) Fault { return Fault{func(a *answer) { f(a.Answer) }} }

// With is the fault with a header added to the answer, such as a Retry-After.
func (f Fault) With(name, value string) Fault {
	return Fault{func(a *answer) {
		f.bend(a)
		a.Header.Set(name, value)
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
func Truncated() Fault { return plain(sandbox.Truncated()) }

// Oversized appends 1 MiB of white space to the body, validly signed.
func Oversized() Fault { return plain(sandbox.Oversized()) }

// GzipOversized is [Oversized], packed to about a thousandth of its size.
func GzipOversized() Fault {
	return Fault{func(a *answer) {
		Oversized().bend(a)
		a.gzip = true
	}}
}

// Gzip packs the body, whether or not the client accepts that. The signature is
// over what was packed.
func Gzip() Fault { return Fault{func(a *answer) { a.gzip = true }} }

// BadGzip packs the body and gets the checksum at its end wrong.
func BadGzip() Fault { return Fault{func(a *answer) { a.gzip, a.badGzip = true, true }} }

// Redirect answers 302 with the same URL at the other endpoint. A client that
// follows is seen in the log of requests.
func Redirect() Fault { return plain(sandbox.Redirect()) }

// Hang answers nothing until the client or the sandbox closes the connection.
func Hang() Fault { return plain(sandbox.Hang()) }

// Reset answers with an RST instead of HTTP.
func Reset() Fault { return plain(sandbox.Reset()) }

// Status answers with a status code of three digits and a body, signed. A body
// that begins with < is sent as HTML.
func Status(code int, body string) Fault { return plain(sandbox.Status(code, body)) }

// UnsignedStatus is [Status], not signed, as a proxy on the way would answer.
func UnsignedStatus(code int, body string) Fault {
	return Fault{func(a *answer) {
		Status(code, body).bend(a)
		a.unsigned = true
	}}
}

// Body answers 200 with any body, signed.
func Body(body string) Fault { return Status(http.StatusOK, body) }
