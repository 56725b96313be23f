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
	origin := r.Header.Get("Origin")
	if slices.Contains(cors.AllowOrigins, origin) && slices.Contains(cors.AllowMethods, r.Header.Get("Access-Control-Request-Method")) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		setList(w.Header(), "Access-Control-Allow-Methods", cors.AllowMethods)
		setList(w.Header(), "Access-Control-Allow-Headers", cors.AllowHeaders)
		if cors.MaxAge > 0 {
			w.Header().Set("Access-Control-Max-Age", strconv.Itoa(int(cors.MaxAge)))
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func setList(header http.Header, name string, values []string) {
	if len(values) > 0 {
		header.Set(name, strings.Join(values, ","))
	}
}

// A corsWriter replaces the CORS headers of a response with the gateway's.
type corsWriter struct {
	http.ResponseWriter
	origin string // of the request
	cors   *template.CORS
}

func (w *corsWriter) WriteHeader(status int) {
	header := w.Header()
	for name := range header {
		if strings.HasPrefix(name, corsHeaders) {
			delete(header, name)
		}
	}
	if slices.Contains(w.cors.AllowOrigins, w.origin) {
		header.Set("Access-Control-Allow-Origin", w.origin)
		setList(header, "Access-Control-Expose-Headers", w.cors.ExposeHeaders)
	}
	w.ResponseWriter.WriteHeader(status)
}
