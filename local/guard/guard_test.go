package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

const (
	page  = "http://127.0.0.1:8081"
	evil  = "https://evil.example"
	token = "LDXIT2QYKQ6YLDGDPU5JA7QF3U"
)

// request is a request to a server at 127.0.0.1:8080 unless it says otherwise.
type request struct {
	method, at, host string
	header           [][2]string
}

func (r request) send(handler http.Handler) *httptest.ResponseRecorder {
	at := netip.MustParseAddrPort("127.0.0.1:8080")
	if r.at != "" {
		at = netip.MustParseAddrPort(r.at)
	}
	sent := httptest.NewRequest(r.method, "/card/ext", nil)
	sent = sent.WithContext(context.WithValue(sent.Context(), http.LocalAddrContextKey, net.Addr(net.TCPAddrFromAddrPort(at))))
	sent.Host = r.host
	for _, h := range r.header {
		sent.Header.Add(h[0], h[1])
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, sent)
	return w
}

func TestGuard(t *testing.T) {
	const own = "127.0.0.1:8080"
	headers := func(pairs ...string) (list [][2]string) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, [2]string{pairs[i], pairs[i+1]})
		}
		return list
	}
	at := func(address, host string) request { return request{method: "POST", at: address, host: host} }
	host := func(host string) request { return at("", host) }
	from := func(pairs ...string) request { return request{method: "POST", host: own, header: headers(pairs...)} }
	local := &Guard{Name: "devbox", Origins: []string{page}}
	live := &Guard{Origins: []string{page}, Token: token}
	for _, row := range []struct {
		name    string
		guard   *Guard
		request request
		code    string // empty: let in
	}{
		{"curl", local, host(own), ""},
		{"curl to localhost", local, host("localhost:8080"), ""},
		{"in capitals", local, host("LOCALHOST:8080"), ""},
		{"curl over IPv6", local, at("[::1]:8080", "[::1]:8080"), ""},
		{"the name of -addr", local, host("devbox:8080"), ""},
		{"an address of the machine", local, at("192.0.2.7:8080", "192.0.2.7:8080"), ""},
		{"port 80", local, at("127.0.0.1:80", "127.0.0.1"), ""},
		{"port 80 over IPv6", local, at("[::1]:80", "[::1]"), ""},
		{"a name that resolves to loopback", local, host("rebind.example:8080"), "FOREIGN_HOST"},
		{"ending as an allowed one", local, host("127.0.0.1.evil.example:8080"), "FOREIGN_HOST"},
		{"below localhost", local, host("evil.localhost:8080"), "FOREIGN_HOST"},
		{"with a trailing dot", local, host("localhost.:8080"), "FOREIGN_HOST"},
		{"another port", local, host("127.0.0.1:8082"), "FOREIGN_HOST"},
		{"no port", local, host("127.0.0.1"), "FOREIGN_HOST"},
		{"the unspecified address", local, host("0.0.0.0:8080"), "FOREIGN_HOST"},
		{"an address of another machine", local, host("192.0.2.7:8080"), "FOREIGN_HOST"},
		{"no host", local, host(""), "FOREIGN_HOST"},
		{"another guard's name", live, host("devbox:8080"), "FOREIGN_HOST"},

		{"its own page", local, from("Origin", "http://"+own, "Sec-Fetch-Site", "same-origin"), ""},
		{"its own page's GET", local, from("Sec-Fetch-Site", "same-origin"), ""},
		{"the playground", local, from("Origin", page, "Sec-Fetch-Site", "same-site"), ""},
		{"the address bar", local, from("Sec-Fetch-Site", "none"), ""},
		{"a foreign page", local, from("Origin", evil, "Sec-Fetch-Site", "cross-site"), "FOREIGN_PAGE"},
		{"a browser without Sec-Fetch-Site", local, from("Origin", evil), "FOREIGN_PAGE"},
		{"an image or a link on a foreign page", local, from("Sec-Fetch-Site", "cross-site"), "FOREIGN_PAGE"},
		{"a page of another program on this machine", local, from("Origin", "http://127.0.0.1:3000", "Sec-Fetch-Site", "same-site"), "FOREIGN_PAGE"},
		{"its image", local, from("Sec-Fetch-Site", "same-site"), "FOREIGN_PAGE"},
		{"a sandboxed frame or a file", local, from("Origin", "null"), "FOREIGN_PAGE"},
		{"an empty origin", local, from("Origin", ""), "FOREIGN_PAGE"},
		{"the playground's with another scheme", local, from("Origin", "https://127.0.0.1:8081"), "FOREIGN_PAGE"},
		{"ending as an allowed one", local, from("Origin", page+".evil.example"), "FOREIGN_PAGE"},
		{"a second origin", local, from("Origin", page, "Origin", evil), "FOREIGN_PAGE"},
		{"a second site", local, from("Sec-Fetch-Site", "none", "Sec-Fetch-Site", "cross-site"), "FOREIGN_PAGE"},
		{"an unknown site", local, from("Sec-Fetch-Site", "x"), "FOREIGN_PAGE"},
		{"no page may", new(Guard), from("Origin", page), "FOREIGN_PAGE"},
		{"a preflight of the playground", local, request{method: "OPTIONS", host: own, header: headers("Origin", page, "Access-Control-Request-Method", "POST")}, ""},
		{"a preflight of a foreign page", local, request{method: "OPTIONS", host: own, header: headers("Origin", evil, "Access-Control-Request-Method", "POST")}, "FOREIGN_PAGE"},

		{"real keys: curl", live, from(), "LOCAL_TOKEN_REQUIRED"},
		{"real keys: curl with the token", live, from(TokenHeader, token), ""},
		{"real keys: a wrong token", live, from(TokenHeader, strings.ToLower(token)), "LOCAL_TOKEN_REQUIRED"},
		{"real keys: a part of it", live, from(TokenHeader, token[:25]), "LOCAL_TOKEN_REQUIRED"},
		{"real keys: more than it", live, from(TokenHeader, token+" "), "LOCAL_TOKEN_REQUIRED"},
		{"real keys: the token elsewhere", live, from("Authorization", "Bearer "+token), "LOCAL_TOKEN_REQUIRED"},
		{"real keys: the playground", live, from("Origin", page), "LOCAL_TOKEN_REQUIRED"},
		{"real keys: the playground with the token", live, from("Origin", page, "Sec-Fetch-Site", "same-site", TokenHeader, token), ""},
		{"real keys: a preflight of the playground", live, request{method: "OPTIONS", host: own, header: headers("Origin", page, "Access-Control-Request-Method", "POST")}, ""},
		{"real keys: OPTIONS that is no preflight", live, request{method: "OPTIONS", host: own, header: headers("Origin", page)}, "LOCAL_TOKEN_REQUIRED"},
		{"real keys: a preflight's headers with POST", live, from("Origin", page, "Access-Control-Request-Method", "POST"), "LOCAL_TOKEN_REQUIRED"},
		{"real keys: a foreign page with the token", live, from("Origin", evil, TokenHeader, token), "FOREIGN_PAGE"},
		{"real keys: a foreign host with the token", live, request{method: "POST", host: "rebind.example:8080", header: headers(TokenHeader, token)}, "FOREIGN_HOST"},
	} {
		t.Run(row.name, func(t *testing.T) {
			passed := false
			w := row.request.send(row.guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true })))
			var got struct{ Code, Message, Solution string }
			if row.code == "" {
				if !passed || w.Code != 200 {
					t.Errorf("refused: %d %s", w.Code, w.Body)
				}
				return
			}
			if passed {
				t.Fatal("let in")
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 403 || got.Code != row.code || got.Message == "" || got.Solution == "" {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

// A page of an allowed origin may read that the token is missing. No other page reads
// anything.
func TestWhoReadsARefusal(t *testing.T) {
	g := &Guard{Origins: []string{page}, Token: token}
	for origin, want := range map[string]string{page: page, evil: "", "null": ""} {
		w := request{method: "POST", host: "127.0.0.1:8080", header: [][2]string{{"Origin", origin}}}.send(g.Handler(http.NotFoundHandler()))
		if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != 403 || got != want {
			t.Errorf("%s: %d, allowed to %q", origin, w.Code, got)
		}
	}
}

func TestWithoutToken(t *testing.T) {
	g := &Guard{Token: token}
	handler := g.WithoutToken(http.NotFoundHandler())
	for host, want := range map[string]int{"127.0.0.1:8080": 404, "rebind.example:8080": 403} {
		if w := (request{method: "GET", host: host}).send(handler); w.Code != want {
			t.Errorf("%s: %d, want %d", host, w.Code, want)
		}
	}
}

// The log has a line for each refusal, without the path and the token.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	g := &Guard{Token: token, Log: &log}
	handler := g.Handler(http.NotFoundHandler())
	ours := "127.0.0.1:8080"
	request{method: "POST", host: ours, header: [][2]string{{TokenHeader, token}}}.send(handler)
	request{method: "POST", host: ours, header: [][2]string{{TokenHeader, token + "x"}}}.send(handler)
	request{method: "POST", host: ours, header: [][2]string{{TokenHeader, token}, {"Origin", evil + "\n{}"}}}.send(handler)
	lines := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
	if len(lines) != 2 || strings.Contains(log.String(), token) || strings.Contains(log.String(), "/card/ext") {
		t.Fatalf("%s", &log)
	}
	var line struct{ Level, Code, Method, Origin string }
	if err := json.Unmarshal([]byte(lines[1]), &line); err != nil || line.Level != "WARN" || line.Code != "FOREIGN_PAGE" || line.Method != "POST" || line.Origin != evil+"\n{}" {
		t.Errorf("%s", lines[1])
	}
}
