package apigateway

// This file answers preflight requests and adds CORS headers.

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"membercard/local/template"
)

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// preflight answers a preflight request. The answer has CORS headers only if r's origin
// and method are allowed.
func preflight(w http.ResponseWriter, r *http.Request, cors *template.CORS) {
	origin := r.Header.Get("Origin")
	if slices.Contains(cors.AllowOrigins, origin) && slices.Contains(cors.AllowMethods, r.Header.Get("Access-Control-Request-Method")) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Allow-Methods", strings.Join(cors.AllowMethods, ","))
		w.Header().Set("Access-Control-Allow-Headers", strings.Join(cors.AllowHeaders, ","))
		w.Header().Set("Access-Control-Max-Age", strconv.Itoa(int(cors.MaxAge)))
	}
	w.WriteHeader(http.StatusNoContent)
}

// allow adds CORS headers to an answer if r's origin is allowed.
func allow(w http.ResponseWriter, r *http.Request, cors *template.CORS) {
	if origin := r.Header.Get("Origin"); slices.Contains(cors.AllowOrigins, origin) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", strings.Join(cors.ExposeHeaders, ","))
	}
}
