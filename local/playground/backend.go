package playground

import (
	"bytes"
	"io"
	"net/http"

	"membercard/local/guard"
	"membercard/local/stack"
)

// backendPath is the path of the merchant's backend.
const backendPath = "/backend"

// backend is the merchant's own backend, which has AWS credentials. It signs the page's
// requests and forwards them to the API.
func backend(api string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			answer(w, http.StatusRequestEntityTooLarge, map[string]string{"message": "Request Entity Too Large"})
			return
		}
		url := api + r.URL.EscapedPath()
		if r.URL.RawQuery != "" {
			url += "?" + r.URL.RawQuery
		}
		passed, err := http.NewRequestWithContext(r.Context(), r.Method, url, bytes.NewReader(body))
		if err != nil {
			answer(w, http.StatusBadRequest, map[string]string{"message": "Bad Request"})
			return
		}
		if kind := r.Header.Get("Content-Type"); kind != "" {
			passed.Header.Set("Content-Type", kind)
		}
		if token := r.Header.Get(guard.TokenHeader); token != "" {
			passed.Header.Set(guard.TokenHeader, token)
		}
		err = stack.Sign(passed, body)
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
