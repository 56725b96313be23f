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

	"membercard/wechat/sandbox"
)

// signing is how an answer or a notification is signed.
type signing struct {
	time    time.Time // of the signature
	key     signingKey
	unknown signingKey

	forged   bool     // sign another body
	probe    bool     // mark the signature as WeChat Pay's probe
	unsigned bool     // do not sign
	without  []string // headers to leave out
	gzip     bool     // compress the body
	badGzip  bool     // write a wrong checksum
}

// finish signs and compresses an answer.
func (s *signing) finish(a *sandbox.Answer) {
	a.Header["Request-ID"] = []string{sandbox.RandomText(32)} // spelt so, as WeChat Pay does
	if !s.unsigned {
		s.sign(a.Header, a.Body)
	}
	if s.gzip {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(a.Body) // writing to memory does not fail
		z.Close()
		a.Body = b.Bytes()
		if s.badGzip {
			a.Body[len(a.Body)-8] ^= 0xff // the first byte of the checksum
		}
		a.Header.Set("Content-Encoding", "gzip")
	}
	for _, name := range s.without {
		delete(a.Header, name)
		a.Header[http.CanonicalHeaderKey(name)] = nil // also where the server would set it
	}
}

// sign adds the headers of the signature.
func (s *signing) sign(h http.Header, body []byte) {
	if s.forged {
		body = append([]byte("forged "), body...)
	}
	timestamp, nonce := strconv.FormatInt(s.time.Unix(), 10), sandbox.RandomText(32)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n", timestamp, nonce, body))
	signature := base64.StdEncoding.EncodeToString(
		sandbox.Must(rsa.SignPKCS1v15(rand.Reader, s.key.key, crypto.SHA256, sum[:])))
	if s.probe {
		signature = "WECHATPAY/SIGNTEST/" + signature
	}
	h.Set("Wechatpay-Timestamp", timestamp)
	h.Set("Wechatpay-Nonce", nonce)
	h.Set("Wechatpay-Signature", signature)
	h.Set("Wechatpay-Serial", s.key.id)
	h.Set("Wechatpay-Signature-Type", scheme)
}

// fault returns a fault of the signature.
func fault(change func(*signing)) sandbox.Fault {
	return func(a *sandbox.Answer) { change(a.Signing.(*signing)) }
}

// WrongSignature signs bytes other than the body.
func WrongSignature() sandbox.Fault { return fault(func(s *signing) { s.forged = true }) }

// SignatureProbe sends a wrong signature that begins with WECHATPAY/SIGNTEST/, as WeChat
// Pay does now and then to find out whether a merchant verifies signatures.
func SignatureProbe() sandbox.Fault { return fault(func(s *signing) { s.probe = true }) }

// Stamped signs with a timestamp that is off by d.
func Stamped(d time.Duration) sandbox.Fault {
	return fault(func(s *signing) { s.time = s.time.Add(d) })
}

// UnknownKey signs with a key that the merchant does not know.
func UnknownKey() sandbox.Fault { return fault(func(s *signing) { s.key = s.unknown }) }

// MissingHeader leaves out a header.
func MissingHeader(name string) sandbox.Fault {
	return fault(func(s *signing) { s.without = append(s.without, name) })
}

// Unsigned leaves out all headers of the signature.
func Unsigned() sandbox.Fault { return fault(func(s *signing) { s.unsigned = true }) }

// UnsignedStatus is [sandbox.Status] without a signature, like the answer of a proxy.
func UnsignedStatus(code int, body string) sandbox.Fault {
	return both(sandbox.Status(code, body), Unsigned())
}

// Gzip compresses the body even if the client does not accept that. The signature is of
// the uncompressed body.
func Gzip() sandbox.Fault { return fault(func(s *signing) { s.gzip = true }) }

// GzipOversized is [sandbox.Oversized], compressed to about a thousandth of its
// size.
func GzipOversized() sandbox.Fault { return both(sandbox.Oversized(), Gzip()) }

// BadGzip is [Gzip] with a wrong checksum at the end of the body.
func BadGzip() sandbox.Fault { return fault(func(s *signing) { s.gzip, s.badGzip = true, true }) }

func both(first, second sandbox.Fault) sandbox.Fault {
	return func(a *sandbox.Answer) {
		first(a)
		second(a)
	}
}
