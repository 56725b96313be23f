package playground

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"membercard/local/guard"
	"membercard/local/stack"
)

// backendPath is the path of the merchant's backend.
const backendPath = "/backend"

// backend is the merchant's own backend, which has an identity in AWS: it signs the
// page's requests and forwards them to the API.
func backend(api string) http.Handler {
	identity := aws.Credentials{AccessKeyID: stack.AccessKeyID, SecretAccessKey: stack.SecretAccessKey, SessionToken: stack.SessionToken}
	signer := v4.NewSigner()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			answer(w, http.StatusRequestEntityTooLarge, map[string]string{"message": "Request Entity Too Large"})
			return
		}
		passed, err := http.NewRequestWithContext(r.Context(), r.Method, api+r.URL.EscapedPath(), bytes.NewReader(body))
		if err != nil {
			answer(w, http.StatusBadRequest, map[string]string{"message": "Bad Request"})
			return
		}
		passed.Header.Set("Content-Type", r.Header.Get("Content-Type"))
		if token := r.Header.Get(guard.TokenHeader); token != "" {
			passed.Header.Set(guard.TokenHeader, token)
		}
		hash := sha256.Sum256(body)
		err = signer.SignHTTP(r.Context(), identity, passed, hex.EncodeToString(hash[:]), "execute-api", stack.Region, time.Now())
		var got *http.Response
		if err == nil {
			got, err = http.DefaultTransport.RoundTrip(passed)
		}
		if err != nil {
			answer(w, http.StatusBadGateway, map[string]string{"message": err.Error()})
			return
		}
		defer got.Body.Close()
		for _, name := range []string{"Content-Type", "Retry-After", "X-Wechat-Request-Id"} {
			if value := got.Header.Get(name); value != "" {
				w.Header().Set(name, value)
			}
		}
		w.WriteHeader(got.StatusCode)
		_, _ = io.Copy(w, got.Body) // fails only if the client closed the connection
	})
}
