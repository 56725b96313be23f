// Package guard keeps web pages away from servers on this machine. A browser lets every
// page send requests to loopback, and a page whose name was made to resolve to
// 127.0.0.1 (DNS rebinding) even reads the answers.
//
// A [Guard] refuses, with 403 and before anything else sees the request,
//
//   - a Host other than the listening address,
//   - an Origin that is neither the server's own nor allowed,
//   - a Sec-Fetch-Site of another site, unless there is an allowed Origin,
//   - a request without the guard's token, if it has one.
//
// Programs such as curl send neither Origin nor Sec-Fetch-Site.
package guard

import (
	"cmp"
	"crypto/subtle"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// TokenHeader is the header with a guard's token. Authorization can't be used because
// the API has its own authorization.
const TokenHeader = "X-Local-Token"

// A Guard decides which requests a server gets. The zero value guards a server that no
// page may call.
type Guard struct {
	Name    string    // host name of the listening address, other than localhost; may be empty
	Origins []string  // allowed origins besides the server's own
	Token   string    // required in TokenHeader unless it is empty
	Log     io.Writer // receives a line of JSON for each refused request; may be nil
}

// refusal is the answer to a refused request.
type refusal struct {
	Code     string `json:"code"`
	Message  string `json:"message"`
	Solution string `json:"solution"`
}

var (
	foreignHost = &refusal{"FOREIGN_HOST", "the request names another host than the one that listens here",
		"use the address that go run ./local printed"}
	foreignPage = &refusal{"FOREIGN_PAGE", "a page of another origin may not call this server",
		"use the playground, or start go run ./local with -origins and the origin of your page"}
	noToken = &refusal{"LOCAL_TOKEN_REQUIRED", "this server has real keys, and the header " + TokenHeader + " does not have its token",
		"use the lines and the playground's address that go run ./local printed; they have the token"}
)

// Handler returns a handler that passes on what the guard lets in.
func (g *Guard) Handler(next http.Handler) http.Handler { return g.handler(next, g.Token) }

// WithoutToken is like Handler, but does not require the token. It is for public files
// that a browser loads before it has the token.
func (g *Guard) WithoutToken(next http.Handler) http.Handler { return g.handler(next, "") }

func (g *Guard) handler(next http.Handler, token string) http.Handler {
	log := slog.New(slog.NewJSONHandler(cmp.Or[io.Writer](g.Log, io.Discard), nil))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refused := g.check(r, token)
		if refused == nil {
			next.ServeHTTP(w, r)
			return
		}
		// The path is not logged: it may contain a code or a ticket.
		log.Warn("request refused", "status", http.StatusForbidden, "code", refused.Code, "method", r.Method,
			"host", r.Host, "origin", r.Header.Get("Origin"), "sec_fetch_site", r.Header.Get("Sec-Fetch-Site"))
		if refused == noToken && r.Header.Get("Origin") != "" {
			w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin")) // so that the page can show the refusal
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Connection", "close") // the body is not read
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(refused) // fails only if the client closed the connection
	})
}

// check returns why r is refused, or nil.
func (g *Guard) check(r *http.Request, token string) *refusal {
	if !g.isOwnHost(r) {
		return foreignHost
	}
	origins := r.Header.Values("Origin")
	for _, origin := range origins {
		if origin != "http://"+r.Host && !slices.Contains(g.Origins, origin) {
			return foreignPage
		}
	}
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		if site != "none" && site != "same-origin" && len(origins) == 0 {
			return foreignPage
		}
	}
	if token == "" || isPreflight(r) {
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(TokenHeader)), []byte(token)) != 1 {
		return noToken
	}
	return nil
}

// isOwnHost returns whether r's Host is an address of this server. DNS rebinding needs a
// name, so the IP address that the connection was made to is accepted, whatever it is.
func (g *Guard) isOwnHost(r *http.Request) bool {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = strings.Trim(r.Host, "[]"), "80"
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if local == nil || port != strconv.Itoa(local.Port) {
		return false
	}
	if strings.EqualFold(host, "localhost") || g.Name != "" && strings.EqualFold(host, g.Name) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || ip == netip.IPv6Loopback() || ip == local.AddrPort().Addr().Unmap())
}

// isPreflight returns whether r is a CORS preflight request, in which a browser does not
// send the token.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}
