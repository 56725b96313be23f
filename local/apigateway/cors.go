package apigateway

// This file answers preflight requests and adds CORS headers.

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"membercard/local/template"
)

const corsHeaders = "Access-Control-"

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// preflight answers a preflight request. The answer has CORS headers only if r's origin
// and method are allowed.
func preflight(w http.ResponseWriter, r *http.Request, cors *template.CORS) {
	method := r.Header.Get("Access-Control-Request-Method")
	if origin := allowedOrigin(r, cors); origin != "" && (slices.Contains(cors.AllowMethods, method) || slices.Contains(cors.AllowMethods, "*")) {
		allow(w.Header(), origin, cors)
		setList(w.Header(), "Access-Control-Allow-Methods", cors.AllowMethods)
		setList(w.Header(), "Access-Control-Allow-Headers", cors.AllowHeaders)
		if cors.MaxAge > 0 {
			w.Header().Set("Access-Control-Max-Age", strconv.Itoa(int(cors.MaxAge)))
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// allowedOrigin returns the value of Access-Control-Allow-Origin: r's origin, *, or "" if
// the origin is not allowed.
func allowedOrigin(r *http.Request, cors *template.CORS) string {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return ""
	}
	for _, allowed := range cors.AllowOrigins {
		if allowed == "*" || allowed == origin {
			return allowed
		}
		if scheme, ok := strings.CutSuffix(allowed, "://*"); ok && strings.HasPrefix(origin, scheme+"://") {
			return origin
		}
	}
	return ""
}

func allow(header http.Header, origin string, cors *template.CORS) {
	header.Set("Access-Control-Allow-Origin", origin)
	if cors.AllowCredentials {
		header.Set("Access-Control-Allow-Credentials", "true")
	}
}

func setList(header http.Header, name string, values []string) {
	if len(values) > 0 {
		header.Set(name, strings.Join(values, ","))
	}
}

// A corsWriter replaces the CORS headers of a response with the gateway's.
type corsWriter struct {
	http.ResponseWriter
	origin string // as allowedOrigin returns it
	cors   *template.CORS
}

func newCORSWriter(w http.ResponseWriter, r *http.Request, cors *template.CORS) *corsWriter {
	return &corsWriter{w, allowedOrigin(r, cors), cors}
}

func (w *corsWriter) WriteHeader(status int) {
	header := w.Header()
	for name := range header {
		if strings.HasPrefix(name, corsHeaders) {
			delete(header, name)
		}
	}
	if w.origin != "" {
		allow(header, w.origin, w.cors)
		setList(header, "Access-Control-Expose-Headers", w.cors.ExposeHeaders)
	}
	w.ResponseWriter.WriteHeader(status)
}
