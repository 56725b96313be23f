package signing

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"testing"

	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

// received is a request as WeChat Pay got it.
type received struct{ method, uri, body, contentType string }

// startAny starts a WeChat Pay that gives any request the same reply. It fails the
// test unless what was signed is the request line and the body that it received.
func startAny(t *testing.T, r reply) (endpoint string, requests <-chan received) {
	calls := make(chan received, 8)
	s := tlsdialtest.Start(t, http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		body, _ := io.ReadAll(in.Body)
		calls <- received{in.Method, in.RequestURI, string(body), in.Header.Get("Content-Type")}
		parts := authorization.FindStringSubmatch(in.Header.Get("Authorization"))
		if parts == nil {
			t.Errorf("Authorization is %q", in.Header.Get("Authorization"))
			return
		}
		digest := sha256.Sum256([]byte(in.Method + "\n" + in.RequestURI + "\n" + parts[3] + "\n" + parts[2] + "\n" + string(body) + "\n"))
		signed, err := base64.StdEncoding.DecodeString(parts[5])
		if err != nil || rsa.VerifyPKCS1v15(&keys().merchant.PublicKey, crypto.SHA256, digest[:], signed) != nil {
			t.Errorf("%s %s: what was signed is not what was sent", in.Method, in.RequestURI)
		}
		r.signed.sign(out.Header(), r.body)
		out.WriteHeader(r.status)
		_, _ = io.WriteString(out, r.body)
	}))
	return s.URL, calls
}

// callBy makes a call of a method.
func callBy(t *testing.T, endpoint, method, path, body string) (*upstream.Answer, error) {
	t.Helper()
	c := NewClient(&versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}, upstream.New([]string{endpoint}))
	switch method {
	case http.MethodGet:
		return c.Get(t.Context(), path)
	case http.MethodPatch:
		return c.Patch(t.Context(), path, []byte(body))
	case http.MethodDelete:
		return c.Delete(t.Context(), path)
	}
	return c.Post(t.Context(), path, []byte(body))
}

func TestWhatIsSignedIsSentByteForByte(t *testing.T) {
	for _, row := range []struct{ rule, method, path, body string }{
		{"a plain GET", "GET", "/v3/marketing/membercard-open/callback", ""},
		{"an escaped slash in a segment", "GET", "/v3/activate-informations/a%2Fb%2Bc%3D%3D", ""},
		{"escaped slashes at the ends of a segment", "GET", "/v3/activate-informations/%2Fa%2F%2Fb%2F", ""},
		{"an escape that is not needed", "GET", "/v3/activate-informations/a%2D%5F", ""},
		{"an escape in lower case", "GET", "/v3/activate-informations/a%2fb%2b", ""},
		{"+ and = in a segment", "GET", "/v3/activate-informations/a+b=", ""},
		{"a query with + and /", "GET", "/v3/cards/p/decrypt-code?encrypt_code=a+b/c==", ""},
		{"an escaped query", "GET", "/v3/cards/p/decrypt-code?encrypt_code=a%2Bb%2fc%3D%3D", ""},
		{"a query with what is no escape", "GET", "/v3/cards/p/decrypt-code?encrypt_code=a%zz%", ""},
		{"a query not in the order of the alphabet", "GET", "/v3/x?b=2&a=1&b=&c", ""},
		{"an empty query", "GET", "/v3/x?", ""},
		{"a PATCH", "PATCH", "/v3/marketing/membercard-open/callback", `{"notify_url":"https://a.b/?c=1&d=<e>"}`},
		{"a PATCH with a query", "PATCH", "/v3/x?a=b+c", `{"名":"会员"}`},
		{"a DELETE", "DELETE", "/v3/marketing/membercard-open/cards/p/service-modules/666", ""},
		{"a POST with blanks in its body", "POST", "/v3/x/a%2Fb", " { \"a\" : 1.0 }\n"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			endpoint, requests := startAny(t, ok(publicKeyID))
			answer, err := callBy(t, endpoint, row.method, row.path, row.body)
			if err != nil || answer.Status != 200 || string(answer.Body) != token {
				t.Fatalf("%+v, %v", answer, err)
			}
			if got, want := <-requests, (received{row.method, row.path, row.body, "application/json"}); got != want {
				t.Errorf("WeChat Pay got %+v, want %+v", got, want)
			}
		})
	}
}

// TestA204IsVerified: its signature is over an empty body.
func TestA204IsVerified(t *testing.T) {
	for _, row := range []struct {
		rule   string
		signed signature
		ok     bool
	}{
		{"a signature over the empty body", signature{serial: publicKeyID}, true},
		{"a signature over another body", signature{serial: publicKeyID, body: "{}"}, false},
		{"a signature by another key", signature{serial: publicKeyID, key: keys().merchant}, false},
		{"no signature", signature{}, false},
	} {
		for _, method := range []string{"GET", "PATCH", "POST", "DELETE"} {
			t.Run(method+" with "+row.rule, func(t *testing.T) {
				endpoint, _ := startAny(t, reply{status: 204, signed: row.signed})
				answer, err := callBy(t, endpoint, method, "/v3/x", "{}")
				if !row.ok {
					fails(t, answer, err, 502, "INVALID_RESPONSE")
					return
				}
				if err != nil || answer.Status != 204 || len(answer.Body) != 0 || answer.RequestID() != requestID {
					t.Errorf("%+v, %v", answer, err)
				}
			})
		}
	}
}
