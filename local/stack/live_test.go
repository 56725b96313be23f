package stack_test

import (
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"membercard/local/discovery"
	"membercard/local/guard"
	"membercard/local/stack"
	"membercard/local/tools"
	"membercard/wechat/wechatpay"
)

const (
	pageOrigin    = "http://127.0.0.1:8081"
	madeUpAccount = `{"appid": "wx0123456789abcdef", "secret": "0123456789abcdef0123456789abcdef"}`
)

// madeUpMerchant is a merchant's secret with keys that no merchant has.
func madeUpMerchant(t *testing.T) string {
	t.Helper()
	sandbox, err := wechatpay.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer sandbox.Close()
	return sandbox.MerchantSecret(wechatpay.PublicKey)
}

// wechatDials counts the connections that functions of a live stack open. Each ends at
// once: WeChat is not reached.
func wechatDials(t *testing.T) *atomic.Int32 {
	t.Helper()
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	dials := new(atomic.Int32)
	go func() {
		for {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			dials.Add(1)
			conn.Close()
		}
	}()
	t.Setenv("HTTPS_PROXY", "http://"+proxy.Addr().String())
	t.Setenv("NO_PROXY", "")
	return dials
}

// send sends a request to a URL; the header Host sets the host.
func send(t *testing.T, method, url, body string, header map[string]string) (status int, got http.Header, content string) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	request.Host = request.Header.Get("Host")
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answered, _ := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, string(answered)
}

// A stack with real keys calls WeChat for whom has its token, and for nobody else:
// neither a function starts nor is a connection opened.
func TestRealKeysAreGuarded(t *testing.T) {
	dials := wechatDials(t)
	merchant := madeUpMerchant(t)
	for _, auth := range []string{stack.NoAuth, stack.AuthIAM, stack.AuthJWT} {
		t.Run(auth, func(t *testing.T) {
			log := new(logBuffer)
			s, err := project.Start(stack.Config{
				Address: "127.0.0.1:0", Merchant: merchant, Account: madeUpAccount, Auth: auth, Origins: []string{pageOrigin}, Unthrottled: true, Log: log,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			dials.Store(0)
			mux := 0
			s.Mux.HandleFunc("POST /-/more", func(http.ResponseWriter, *http.Request) { mux++ })
			port := s.URL[strings.LastIndexByte(s.URL, ':'):]
			token := s.Guard.Token
			attacks := []struct {
				name   string
				header map[string]string
				code   string
			}{
				{"curl without the token", nil, "LOCAL_TOKEN_REQUIRED"},
				{"a wrong token", map[string]string{guard.TokenHeader: "LDXIT2QYKQ6YLDGDPU5JA7QF3U"}, "LOCAL_TOKEN_REQUIRED"},
				{"a foreign page", map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}, "FOREIGN_PAGE"},
				{"a foreign page with the token", map[string]string{"Origin": "https://evil.example", guard.TokenHeader: token}, "FOREIGN_PAGE"},
				{"a form of an older browser", map[string]string{"Origin": "null", "Content-Type": "application/x-www-form-urlencoded"}, "FOREIGN_PAGE"},
				{"an image", map[string]string{"Sec-Fetch-Site": "cross-site"}, "FOREIGN_PAGE"},
				{"DNS rebinding", map[string]string{"Host": "rebind.example" + port, "Origin": "http://rebind.example" + port}, "FOREIGN_HOST"},
				{"DNS rebinding with the token", map[string]string{"Host": "rebind.example" + port, guard.TokenHeader: token}, "FOREIGN_HOST"},
				{"the playground without the token", map[string]string{"Origin": pageOrigin, "Sec-Fetch-Site": "same-site"}, "LOCAL_TOKEN_REQUIRED"},
			}
			routes := []string{"POST /-/more", "GET /unknown", "POST //"}
			for _, route := range s.Routes {
				routes = append(routes, route.Key)
			}
			for _, attack := range attacks {
				for _, route := range routes {
					method, path, _ := strings.Cut(route, " ")
					path = strings.NewReplacer("{card_id}", "p", "{code}", "1", "{user_card_code}", "1", "{activate_ticket+}", "a").Replace(path)
					header := maps.Clone(attack.header)
					if header == nil {
						header = map[string]string{}
					}
					if auth == stack.AuthJWT {
						header["Authorization"] = "Bearer " + s.Token()
					}
					if status, _, body := send(t, method, s.URL+path, merchantExample, header); status != 403 || !strings.Contains(body, attack.code) {
						t.Errorf("%s at %s: %d %s, want %s", attack.name, route, status, body, attack.code)
					}
				}
			}
			if n := dials.Load(); n != 0 || mux != 0 {
				t.Errorf("%d connections, %d requests at the mux", n, mux)
			}
			for folder, f := range s.Functions {
				if len(f.PIDs()) > 0 {
					t.Errorf("%s was invoked", folder)
				}
			}
			for _, attack := range attacks { // Secrets Manager has the keys
				if attack.code != "LOCAL_TOKEN_REQUIRED" && attack.header["Host"] == "" {
					if status, _, body := send(t, "POST", s.AWS, "{}", attack.header); status != 403 || !strings.Contains(body, attack.code) {
						t.Errorf("%s at AWS: %d %s", attack.name, status, body)
					}
				}
			}
			awsPort := s.AWS[strings.LastIndexByte(s.AWS, ':'):]
			if status, _, body := send(t, "POST", s.AWS, "{}", map[string]string{"Host": "rebind.example" + awsPort}); status != 403 || !strings.Contains(body, "FOREIGN_HOST") {
				t.Errorf("DNS rebinding at AWS: %d %s", status, body)
			}

			preflight := map[string]string{"Origin": pageOrigin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,x-local-token"}
			if status, header, _ := send(t, "OPTIONS", s.URL+permissionTokens, "", preflight); status != 204 || header.Get("Access-Control-Allow-Origin") != pageOrigin || !strings.Contains(header.Get("Access-Control-Allow-Headers"), "x-local-token") {
				t.Errorf("the playground's preflight: %d %v", status, header)
			}
			preflight["Origin"] = "https://evil.example"
			if status, header, _ := send(t, "OPTIONS", s.URL+permissionTokens, "", preflight); status != 403 || header.Get("Access-Control-Allow-Origin") != "" || header.Get("Access-Control-Allow-Headers") != "" {
				t.Errorf("a foreign page's preflight: %d %v", status, header)
			}

			// With the token it depends on the auth as ever.
			let := map[string]string{guard.TokenHeader: token, "Origin": pageOrigin, "Content-Type": "application/json"}
			want := 502
			switch auth {
			case stack.AuthIAM:
				want = 403
			case stack.AuthJWT:
				let["Authorization"] = "Bearer " + s.Token()
			}
			status, _, body := send(t, "POST", s.URL+permissionTokens, merchantExample, let)
			if called := dials.Load() > 0; status != want && (want != 502 || status != 504) || called != (want == 502) || strings.Contains(body, "LOCAL_TOKEN_REQUIRED") {
				t.Errorf("with the token: %d %s, %d connections", status, body, dials.Load())
			}
			if want == 502 {
				log.waitFor(t, `"Code":"UPSTREAM_`)
			}
			if strings.Contains(log.String(), token) {
				t.Error("the token is in the log")
			}
		})
	}
}

// A stack of sandboxes has no token, and refuses foreign pages and hosts all the same.
func TestSandboxesAreGuarded(t *testing.T) {
	t.Parallel()
	r := startAs(t, stack.Config{Unthrottled: true, Origins: []string{pageOrigin}})
	port := r.URL[strings.LastIndexByte(r.URL, ':'):]
	for _, row := range []struct {
		name   string
		header map[string]string
		status int
	}{
		{"curl", nil, 200},
		{"curl to localhost", map[string]string{"Host": "localhost" + port}, 200},
		{"the playground", map[string]string{"Origin": pageOrigin, "Sec-Fetch-Site": "same-site"}, 200},
		{"a foreign page", map[string]string{"Origin": "https://evil.example"}, 403},
		{"DNS rebinding", map[string]string{"Host": "rebind.example" + port}, 403},
		{"a foreign page's preflight", map[string]string{"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}, 403},
	} {
		header := map[string]string{"Content-Type": "application/json"}
		maps.Copy(header, row.header)
		before := len(r.WeChatPay.Requests())
		method := "POST"
		if header["Access-Control-Request-Method"] != "" {
			method = "OPTIONS"
		}
		status, got, body := send(t, method, r.URL+permissionTokens, merchantExample, header)
		if allowed := got.Get("Access-Control-Allow-Origin"); (allowed != "") != (header["Origin"] == pageOrigin) {
			t.Errorf("%s: allowed to %q", row.name, allowed)
		}
		if n := len(r.WeChatPay.Requests()) - before; status != row.status || (n > 0) != (row.status == 200) {
			t.Errorf("%s: %d %s, WeChat Pay received %d requests", row.name, status, body, n)
		}
	}
}

// A program on this machine makes a merchant known to the sandbox; no page does, not even
// the playground.
func TestEnrolmentIsGuarded(t *testing.T) {
	t.Parallel()
	r := startAs(t, stack.Config{Unthrottled: true, Origins: []string{pageOrigin}})
	r.Mux.Handle("POST "+discovery.EnrolPath, tools.Enrol(r.WeChatPay))
	port := r.URL[strings.LastIndexByte(r.URL, ':'):]
	merchant, err := json.Marshal(discovery.Merchant{Certificate: r.WeChatPay.Files()["apiclient_cert.pem"], APIv3Key: strings.TrimSpace(r.WeChatPay.Files()["apiv3_key.txt"])})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, body string
		header     map[string]string
		status     int
		answer     string
	}{
		{"a program", string(merchant), nil, 200, "PUB_KEY_ID_"},
		{"no JSON", "hello", nil, 400, "error"},
		{"no certificate", "{}", nil, 400, "not a certificate in PEM"},
		{"too much", `{"certificate": "` + strings.Repeat("x", 64<<10) + `"}`, nil, 400, "too large"},
		{"the playground", string(merchant), map[string]string{"Origin": pageOrigin, "Sec-Fetch-Site": "same-site"}, 403, "not for pages"},
		{"its own page", string(merchant), map[string]string{"Sec-Fetch-Site": "same-origin"}, 403, "not for pages"},
		{"a foreign page", string(merchant), map[string]string{"Origin": "https://evil.example"}, 403, "FOREIGN_PAGE"},
		{"DNS rebinding", string(merchant), map[string]string{"Host": "rebind.example" + port}, 403, "FOREIGN_HOST"},
	} {
		if status, _, body := send(t, "POST", r.URL+discovery.EnrolPath, row.body, row.header); status != row.status || !strings.Contains(body, row.answer) {
			t.Errorf("%s: %d %s, want %d %s", row.name, status, body, row.status, row.answer)
		}
	}
}

// With a real account WeChat Pay is the sandbox, whose notifications have the token.
func TestNotificationsOfTheSandboxBesideARealAccount(t *testing.T) {
	t.Parallel()
	s, err := project.Start(stack.Config{Address: "127.0.0.1:0", Account: madeUpAccount, QueueSpeed: 100, Unthrottled: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	status, _, body := send(t, "POST", s.URL+preAuthTokens, brandExample, map[string]string{"Content-Type": "application/json", guard.TokenHeader: s.Guard.Token})
	var minted struct{ Token string }
	if err := json.Unmarshal([]byte(body), &minted); err != nil || status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	card, _, err := s.WeChatPay.OpenCard(minted.Token, openid)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the card is a member's", func() bool {
		c, _ := s.WeChatPay.UserCard(card.Code)
		return c.State == wechatpay.Effective
	})
	for _, attempt := range s.WeChatPay.Deliveries() {
		if attempt.Status != 204 || attempt.Header.Get(guard.TokenHeader) != "" {
			t.Errorf("answered %d, headers %v", attempt.Status, attempt.Header)
		}
	}
}
