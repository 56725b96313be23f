package stack_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"membercard/local/aws"
	"membercard/local/stack"
	"membercard/wechat/network"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

// The documents' examples: a frontend's body reaches WeChat Pay signed, and its
// answer reaches the frontend as it is.
func TestDocumentsExamples(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	for _, route := range r.Routes {
		if !slices.Contains(agreed.Routes(), route.Key) {
			t.Errorf("the contract does not have %s", route.Key)
		}
	}
	if len(r.Routes) != len(agreed.Routes()) {
		t.Errorf("the contract has routes %v, the template %v", agreed.Routes(), r.Routes)
	}
	for _, row := range []struct{ path, body string }{
		{permissionTokens, merchantExample},
		{openUserCardTokens, brandExample},
		{preAuthTokens, brandExample},
	} {
		t.Run(row.path, func(t *testing.T) {
			r := &running{r.Stack, t, r.log}
			r.WeChatPay.ClearRequests()
			a := r.post(row.path, row.body)
			r.want(a, 200, "")
			received := r.WeChatPay.Requests()
			if len(received) != 1 {
				t.Fatalf("WeChat Pay received %d requests", len(received))
			}
			got := received[0]
			if got.Method != "POST" || got.URI != row.path || !got.Verified || string(got.Body) != row.body {
				t.Errorf("WeChat Pay received %s %s %s, verified: %v", got.Method, got.URI, got.Body, got.Verified)
			}
			if got.Header.Get("Accept") != "application/json" || !strings.HasPrefix(got.Header.Get("Wechatpay-Serial"), "PUB_KEY_ID_") {
				t.Errorf("headers are %v", got.Header)
			}
			if a.header.Get("X-WeChat-Request-Id") == "" {
				t.Error("WeChat Pay's Request-ID is not passed on")
			}
			if a.Token != "" {
				if _, err := time.Parse(time.RFC3339, a.ExpireTime); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Every business error of the documents reaches the caller with WeChat's status,
// code and message, with a solution, and with the Request-ID.
func TestDocumentedErrors(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	for _, reserved := range wechatpay.ReservedValues() {
		if reserved.Operation != wechatpay.BrandTokens && reserved.Operation != wechatpay.PermissionTokens {
			continue // no route leads to it
		}
		t.Run(reserved.Value, func(t *testing.T) {
			r := &running{r.Stack, t, r.log}
			path, body := permissionTokens, merchantExample
			if reserved.Operation == wechatpay.BrandTokens {
				fields := map[string]string{"brand_id": "1004", "card_id": "pbLatjvWOibDc5-TBnbUk1pD12o0", "openid": openid}
				fields[reserved.Field] = reserved.Value
				text, _ := json.Marshal(fields)
				path, body = preAuthTokens, string(text)
			} else {
				path = strings.Replace(path, "pbLatjvWOibDc5-TBnbUk1pD12o0", reserved.Value, 1)
			}
			status := reserved.Status
			if status >= 500 {
				status = 502 // the failure is WeChat's, not ours
			}
			a := r.post(path, body)
			r.want(a, status, reserved.Code)
			if a.Message != reserved.Message || a.Solution == "" || a.RequestID == "" || a.RequestID != a.header.Get("X-WeChat-Request-Id") {
				t.Errorf("answered %s", a.body)
			}
			if strings.Contains(a.Solution, "compare the request") {
				t.Errorf("the document has a solution of its own for %q", reserved.Message)
			}
		})
	}
}

// The error for invalid input names the field, and the input never reaches WeChat.
func TestBadInput(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	for _, row := range []struct{ name, path, body, field string }{
		{"unknown activate_type", permissionTokens, `{"activate_type":"AUTO"}`, "/body/activate_type"},
		{"jump to nowhere", permissionTokens, `{"activate_type":"JUMP_ACTIVATE"}`, "/body/activate_url"},
		{"unknown field", permissionTokens, `{"activate_type":"AUTO_ACTIVATE","mchid":"1"}`, "/body/mchid"},
		{"card_id", strings.Replace(permissionTokens, "pbLatjvWOibDc5-TBnbUk1pD12o0", "a%20b", 1), merchantExample, "/path/card_id"},
		{"no body", permissionTokens, ``, "/body"},
		{"no openid", openUserCardTokens, `{"brand_id":"1004","card_id":"p"}`, "/body/openid"},
		{"too long openid", preAuthTokens, `{"brand_id":"1004","card_id":"p","openid":"` + strings.Repeat(openid, 5) + `"}`, "/body/openid"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := &running{r.Stack, t, r.log}
			a := r.post(row.path, row.body)
			r.want(a, 400, "PARAM_ERROR")
			if a.Detail.Field != row.field {
				t.Errorf("detail.field is %q, want %q", a.Detail.Field, row.field)
			}
			if strings.Contains(string(a.body), openid) {
				t.Errorf("the openid is repeated: %s", a.body)
			}
		})
	}
	if n := len(r.WeChatPay.Requests()); n != 0 {
		t.Errorf("WeChat Pay received %d requests", n)
	}
}

// Every kind of wrong answer is an error and never a token. Only temporary failures
// are retried, with at most 4 attempts, and what is not trusted is asked for once more.
func TestFailures(t *testing.T) {
	t.Parallel()
	body := func(code string) string { return `{"code":"` + code + `","message":"微信说"}` }
	for _, row := range []struct {
		name     string
		fault    sandbox.Fault
		status   int
		code     string
		attempts int
	}{
		{"wrong signature", wechatpay.WrongSignature(), 502, "INVALID_RESPONSE", 2},
		{"signature probe", wechatpay.SignatureProbe(), 502, "INVALID_RESPONSE", 2},
		{"stale", wechatpay.Stamped(-6 * time.Minute), 502, "INVALID_RESPONSE", 2},
		{"unknown key", wechatpay.UnknownKey(), 502, "INVALID_RESPONSE", 2}, // a public key can't be downloaded
		{"no signature header", wechatpay.MissingHeader("Wechatpay-Signature"), 502, "INVALID_RESPONSE", 2},
		{"no serial header", wechatpay.MissingHeader("Wechatpay-Serial"), 502, "INVALID_RESPONSE", 2},
		{"no timestamp header", wechatpay.MissingHeader("Wechatpay-Timestamp"), 502, "INVALID_RESPONSE", 2},
		{"no nonce header", wechatpay.MissingHeader("Wechatpay-Nonce"), 502, "INVALID_RESPONSE", 2},
		{"unsigned", wechatpay.Unsigned(), 502, "INVALID_RESPONSE", 2},
		{"over 1 MiB", sandbox.Oversized(), 502, "INVALID_RESPONSE", 2},
		{"over 1 MiB unpacked", wechatpay.GzipOversized(), 502, "INVALID_RESPONSE", 2},
		{"redirect", sandbox.Redirect(), 502, "INVALID_RESPONSE", 1},
		{"no JSON", sandbox.Body("ok"), 502, "INVALID_RESPONSE", 1},
		{"no token", sandbox.Body(`{"permission_token":""}`), 502, "INVALID_RESPONSE", 1},
		{"a token of another type", sandbox.Body(`{"permission_token":1}`), 502, "INVALID_RESPONSE", 1},
		{"400", sandbox.Status(400, body("INVALID_REQUEST")), 400, "INVALID_REQUEST", 1},
		{"403", sandbox.Status(403, body("NO_AUTH")), 403, "NO_AUTH", 1},
		{"404", sandbox.Status(404, body("RESOURCE_NOT_EXISTS")), 404, "RESOURCE_NOT_EXISTS", 1},
		{"another 4xx", sandbox.Status(409, body("ALREADY_EXISTS")), 409, "ALREADY_EXISTS", 1},
		{"4xx of another shape", sandbox.Status(400, "no"), 502, "INVALID_RESPONSE", 1},
		{"unsigned 4xx", wechatpay.UnsignedStatus(403, body("NO_AUTH")), 502, "INVALID_RESPONSE", 2},
		{"401", sandbox.Status(401, body("SIGN_ERROR")), 502, "SIGN_ERROR", 1},
		{"unsigned 401", wechatpay.UnsignedStatus(401, body("SIGN_ERROR")), 502, "SIGN_ERROR", 1},
		{"429", sandbox.Status(429, body("FREQUENCY_LIMITED")), 429, "FREQUENCY_LIMITED", 1},
		{"unsigned 429", wechatpay.UnsignedStatus(429, body("FREQUENCY_LIMITED")), 429, "FREQUENCY_LIMITED", 1},
		{"500", sandbox.Status(500, body("SYSTEM_ERROR")), 502, "SYSTEM_ERROR", 4},
		{"500 with a code of its own", sandbox.Status(500, body("BIZ_ERR_NEED_RETRY")), 502, "BIZ_ERR_NEED_RETRY", 4},
		{"a proxy's 502", wechatpay.UnsignedStatus(502, "<html>Bad Gateway</html>"), 502, "SYSTEM_ERROR", 4},
		{"truncated", sandbox.Truncated(), 502, "UPSTREAM_UNREACHABLE", 4},
		{"reset", sandbox.Reset(), 502, "UPSTREAM_UNREACHABLE", 4},
		{"broken gzip", wechatpay.BadGzip(), 502, "UPSTREAM_UNREACHABLE", 4},
		{"gzip", wechatpay.Gzip(), 200, "", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := start(t, wechatpay.PublicKey) // with a full retry budget
			r.WeChatPay.Break(0, row.fault, -1)
			r.WeChatPay.Break(1, row.fault, -1)
			a := r.mint()
			r.want(a, row.status, row.code)
			if row.status == 429 && a.header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			if n := len(r.WeChatPay.Requests()); n != row.attempts {
				t.Errorf("WeChat Pay received %d requests, want %d", n, row.attempts)
			}
		})
	}
}

// A temporary failure of the primary endpoint fails over to the other one.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		fault sandbox.Fault
	}{
		{"500", sandbox.Status(500, `{"code":"SYSTEM_ERROR","message":"系统异常"}`)},
		{"unsigned 503", wechatpay.UnsignedStatus(503, "<html></html>")},
		{"truncated", sandbox.Truncated()},
		{"reset", sandbox.Reset()},
		{"hang", sandbox.Hang()},
		{"broken gzip", wechatpay.BadGzip()},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := start(t, wechatpay.PublicKey)
			r.WeChatPay.Break(0, row.fault, -1)
			r.want(r.mint(), 200, "")
			received := r.WeChatPay.Requests()
			nonces := map[string]bool{}
			for _, request := range received {
				nonces[request.Authorization.NonceStr] = true
			}
			if last := received[len(received)-1]; last.Endpoint != 1 || len(nonces) != len(received) {
				t.Errorf("the last of %d requests was to endpoint %d, with %d nonces", len(received), last.Endpoint, len(nonces))
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		r := start(t, wechatpay.PublicKey)
		if err := r.WeChatPay.Listener(0).Refuse(true); err != nil {
			t.Fatal(err)
		}
		r.WeChatPay.Listener(0).Drop(network.FIN)
		r.want(r.mint(), 200, "")
		if err := r.WeChatPay.Listener(1).Refuse(true); err != nil {
			t.Fatal(err)
		}
		r.WeChatPay.Listener(1).Drop(network.FIN)
		r.want(r.mint(), 502, "UPSTREAM_UNREACHABLE")
	})
}

// If no endpoint answers in time, the function answers before its own timeout.
func TestTimeout(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	r.WeChatPay.Break(0, sandbox.Hang(), -1)
	r.WeChatPay.Break(1, sandbox.Hang(), -1)
	a := r.mint()
	r.want(a, 504, "UPSTREAM_TIMEOUT")
	endpoints := map[int]bool{}
	for _, request := range r.WeChatPay.Requests() {
		endpoints[request.Endpoint] = true
	}
	if len(endpoints) != 2 {
		t.Errorf("only %v had a turn", endpoints)
	}
}

// Answers are verified in all modes of keys, whichever key signs.
func TestKeys(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		keys   wechatpay.Mode
		signed wechatpay.Mode
	}{
		{"public key", wechatpay.PublicKey, wechatpay.Both},
		{"platform certificates", wechatpay.Certificates, wechatpay.Both},
		{"both, signed with the public key", wechatpay.Both, wechatpay.PublicKey},
		{"both, signed with a certificate", wechatpay.Both, wechatpay.Certificates},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, row.keys)
			r.WeChatPay.SignWith(row.signed)
			r.want(r.mint(), 200, "")
			r.want(r.mint(), 200, "")
			if n := r.Secrets.Calls("GetSecretValue"); n != 1 {
				t.Errorf("the secret was read %d times", n)
			}
		})
	}
}

// A running instance downloads a new platform certificate and verifies the answer
// with it.
func TestNewPlatformCertificate(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.Certificates)
	r.want(r.mint(), 200, "")
	r.WeChatPay.RotateCertificate()
	r.WeChatPay.ClearRequests()
	r.want(r.mint(), 200, "")
	r.want(r.mint(), 200, "")
	downloads := 0
	for _, request := range r.WeChatPay.Requests() {
		if request.URI == "/v3/certificates" {
			downloads++
		}
	}
	if downloads != 1 {
		t.Errorf("certificates were downloaded %d times", downloads)
	}
}

// While certificates can't be downloaded, the public key is used.
func TestDownloadFails(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.Both)
	r.WeChatPay.SignWith(wechatpay.Certificates)
	r.want(r.mint(), 200, "")
	r.WeChatPay.RotateCertificate()
	r.WeChatPay.RefuseIf(func(q *wechatpay.Request) (int, string, string) {
		if q.URI == "/v3/certificates" {
			return 403, "NO_AUTH", "x"
		}
		return 0, "", ""
	})
	r.want(r.mint(), 502, "INVALID_RESPONSE")
	r.WeChatPay.SignWith(wechatpay.PublicKey)
	r.want(r.mint(), 200, "")
}

// Rotating a key drops no request.
func TestRotation(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		rotate func(*wechatpay.Sandbox)
	}{
		{"the merchant's key", (*wechatpay.Sandbox).RotateMerchantKey},
		{"WeChat Pay's public key", (*wechatpay.Sandbox).RotatePublicKey},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, wechatpay.PublicKey)
			r.want(r.mint(), 200, "")
			row.rotate(r.WeChatPay)
			r.Secrets.Put(stack.MerchantSecret, r.WeChatPay.MerchantSecret(wechatpay.PublicKey))
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() { r.want(r.mint(), 200, "") })
			}
			all.Wait()
		})
	}
}

// While WeChat Pay refuses an unchanged key, the secret is read once a minute, not
// for each request.
func TestRefusedKeyUnchanged(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	r.want(r.mint(), 200, "")
	r.WeChatPay.RotateMerchantKey()
	for range 5 {
		r.want(r.mint(), 502, "SIGN_ERROR")
	}
	if n := r.Secrets.Calls("GetSecretValue"); n != 2 {
		t.Errorf("the secret was read %d times, want 2", n)
	}
}

// A function without a valid secret starts, answers CONFIG_ERROR without a reason,
// and works as soon as the secret is valid.
func TestSecretAtFault(t *testing.T) {
	t.Parallel()
	const misspelt = `{"mchid":"1900000001","private_keys":"-----BEGIN"}`
	for _, row := range []struct {
		name   string
		ail    func(*running)
		heal   func(*running)
		logged string
	}{
		{"unreadable",
			func(r *running) {
				r.Secrets.Fail(&aws.Fault{Status: 400, Code: "AccessDeniedException"})
			},
			func(r *running) { r.Secrets.Fail(nil) },
			"AccessDeniedException"},
		{"malformed",
			func(r *running) { r.Secrets.Put(stack.MerchantSecret, misspelt) },
			func(r *running) {
				r.Secrets.Put(stack.MerchantSecret, r.WeChatPay.MerchantSecret(wechatpay.PublicKey))
			},
			"private_keys"},
		{"a no-break space before the public key's ID",
			func(r *running) {
				r.Secrets.Put(stack.MerchantSecret, strings.Replace(r.WeChatPay.MerchantSecret(wechatpay.PublicKey), "PUB_KEY_ID_", "\u00a0PUB_KEY_ID_", 1))
			},
			func(r *running) {
				r.Secrets.Put(stack.MerchantSecret, r.WeChatPay.MerchantSecret(wechatpay.PublicKey))
			},
			"wechatpay_public_key_id must not have a blank, line break or other invisible character: U+00A0"},
		{"a byte-order mark",
			func(r *running) {
				r.Secrets.Put(stack.MerchantSecret, "\ufeff"+r.WeChatPay.MerchantSecret(wechatpay.PublicKey))
			},
			func(r *running) {
				r.Secrets.Put(stack.MerchantSecret, r.WeChatPay.MerchantSecret(wechatpay.PublicKey))
			},
			"byte-order mark"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, wechatpay.PublicKey)
			row.ail(r)
			for range 2 {
				a := r.mint()
				r.want(a, 500, "CONFIG_ERROR")
				if strings.Contains(string(a.body), row.logged) {
					t.Errorf("the caller is told of it: %s", a.body)
				}
			}
			r.log.waitFor(t, row.logged)
			row.heal(r)
			r.want(r.mint(), 200, "")
			if pids := r.Functions[merchantToken].PIDs(); len(pids) != 1 {
				t.Errorf("instances are %v, want the one that started", pids)
			}
		})
	}
}

// The log never has a key, secret, token or openid.
func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.Both)
	private := []string{openid, "a-secret-access-key", "a-session-token"}
	keep := func(secret string) {
		var fields map[string]string
		if err := json.Unmarshal([]byte(secret), &fields); err != nil {
			t.Fatal(err)
		}
		private = append(private, fields["apiv3_key"])
		for line := range strings.Lines(fields["private_key"]) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") && len(line) > 20 {
				private = append(private, line)
			}
		}
	}
	keep(r.WeChatPay.MerchantSecret(wechatpay.Both))
	keepToken := func(a *answer) {
		if token := a.PermissionToken + a.Token; token != "" {
			private = append(private, token)
		}
	}
	call := func() {
		keepToken(r.post(permissionTokens, merchantExample))
		keepToken(r.post(openUserCardTokens, brandExample))
	}
	call()
	leak := `{"code":"PARAM_ERROR","message":"OpenID有误 ` + openid + `","detail":{"field":"/body/openid","value":"` + openid + `","issue":"` + openid + `","location":"body"}}`
	for _, fault := range []sandbox.Fault{
		sandbox.Status(400, leak), sandbox.Status(500, leak), wechatpay.WrongSignature(), sandbox.Truncated(), sandbox.Reset(), wechatpay.UnknownKey(),
	} {
		r.WeChatPay.Break(0, fault, -1)
		r.WeChatPay.Break(1, fault, -1)
		r.post(preAuthTokens, brandExample)
		r.WeChatPay.Heal()
	}
	r.post(openUserCardTokens, `{"brand_id":"1004","card_id":"p","openid":"`+strings.Repeat(openid, 5)+`"}`)
	r.WeChatPay.RotateMerchantKey()
	keep(r.WeChatPay.MerchantSecret(wechatpay.Both))
	call()

	r.log.waitFor(t, "PARAM_ERROR")
	r.log.waitFor(t, "SIGN_ERROR") // the last that was provoked
	log := r.log.String()
	for _, value := range private {
		if strings.Contains(log, value) {
			t.Errorf("the log has %q", value)
		}
	}
}

// A base64 body from API Gateway is decoded.
func TestBase64Body(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	response, err := http.Post(r.URL+permissionTokens, "application/octet-stream", strings.NewReader(merchantExample))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("answered %d", response.StatusCode)
	}
}
