package playground_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"membercard/local/guard"
	"membercard/local/playground"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/wechat/network/networktest"
)

const madeUpAccount = `{"appid": "wx0123456789abcdef", "secret": "0123456789abcdef0123456789abcdef"}`

// With real keys everything but the page's files needs the token, which is in none of
// them.
func TestRealKeysNeedTheToken(t *testing.T) {
	s := stacktest.Start(t, project, stack.Config{Account: madeUpAccount, Auth: stack.AuthIAM, Unthrottled: true})
	served := httptest.NewServer(playground.Handler(s, stack.AuthIAM, "../.."))
	defer served.Close()
	p := &page{t, s, served.URL}
	for _, row := range []struct{ method, path, body string }{
		{"GET", "/playground.json", ""},
		{"GET", "/received", ""},
		{"POST", "/break", `{"fault":"heal"}`},
		{"POST", "/backend" + merchantPath, merchantBody},
	} {
		if status, answer := p.call(row.method, p.url+row.path, row.body); status != 403 || answer["code"] != "LOCAL_TOKEN_REQUIRED" {
			t.Errorf("%s without the token: %d %v", row.path, status, answer)
		}
		if status, answer := p.call(row.method, p.url+row.path, row.body, guard.TokenHeader, s.Guard.Token); status != 200 {
			t.Errorf("%s: %d %v", row.path, status, answer)
		}
	}
	for path, want := range map[string]string{"/": `src="local-token.js"`, "/local-token.js": guard.TokenHeader, "/app.js": "import"} {
		status, kind, content := get(t, p.url+path)
		if status != 200 || !strings.Contains(content, want) || strings.Contains(content, s.Guard.Token) || path == "/local-token.js" && !strings.HasPrefix(kind, "text/javascript") {
			t.Errorf("%s: %d %s %s", path, status, kind, content)
		}
	}
}

// Without real keys the page is the sample as it is.
func TestSandboxesNeedNoToken(t *testing.T) {
	p := open(t)
	if _, _, content := get(t, p.url); strings.Contains(content, "local-token.js") {
		t.Errorf("%s", content)
	}
	if status, _, _ := get(t, p.url+"/local-token.js"); status != 404 {
		t.Errorf("the script: %d", status)
	}
}

// Pages of other origins get nothing, and DNS rebinding neither.
func TestThePlaygroundRefusesOthers(t *testing.T) {
	p := open(t)
	for _, path := range []string{"/", "/playground.json", "/received"} {
		if status, _ := p.call("GET", p.url+path, "", "Sec-Fetch-Site", "cross-site"); status != 403 {
			t.Errorf("%s for another page: %d", path, status)
		}
		request, err := http.NewRequest("GET", p.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "rebind.example" + p.url[strings.LastIndexByte(p.url, ':'):]
		if response, _ := networktest.Do(t, http.DefaultClient.Do, request); response.StatusCode != 403 {
			t.Errorf("%s for another host: %d", path, response.StatusCode)
		}
	}
}

func get(t *testing.T, url string) (status int, kind, content string) {
	t.Helper()
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, body := networktest.Do(t, http.DefaultClient.Do, request)
	return response.StatusCode, response.Header.Get("Content-Type"), string(body)
}
