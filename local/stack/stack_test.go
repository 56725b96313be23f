package stack_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"membercard/contract"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/wechat/wechatpay"
)

// project is built once for all tests. All their exchanges over HTTP are checked
// against the contract.
var (
	project *stack.Project
	agreed  *contract.Contract
)

func TestMain(m *testing.M) {
	var err error
	if agreed, err = contract.Load("../../openapi.yaml"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	stacktest.Main(m, "../..", &project)
}

const (
	merchantToken = "functions/merchant-token"
	brandToken    = "functions/brand-token"

	permissionTokens   = "/v3/marketing/membercard-open/cards/pbLatjvWOibDc5-TBnbUk1pD12o0/permission-tokens"
	openUserCardTokens = "/v3/brand/partner/card-member/open-user-card-tokens"
	preAuthTokens      = "/v3/brand/partner/card-member/pre-auth-tokens"

	// The documents' own examples.
	merchantExample = `{"activate_type":"AUTO_ACTIVATE","navigate_back_previous_page":true,"activate_url":"https://w.url.cn/s/Ahz3p2C","activate_appid":"wxea9c30a90fs8d3fe","activate_path":"pages/activate/activate","outer_str":"szwxtd"}`
	openid          = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	brandExample    = `{"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"` + openid + `"}`
)

// logBuffer is the log of several functions.
type logBuffer struct{ telemetrytest.Records }

// waitFor waits until the log has a text: Lambda reads a function's output
// asynchronously.
func (l *logBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	for range 3000 {
		if strings.Contains(l.String(), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the log does not have %s", text)
}

// waitForRequests waits until the log has the records of n requests.
func (l *logBuffer) waitForRequests(t *testing.T, n int) {
	t.Helper()
	for range 3000 {
		if strings.Count(l.String(), `"message":"answered"`) >= n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the log does not have %d requests", n)
}

// running is a stack for one test, with its log.
type running struct {
	*stack.Stack
	t   *testing.T
	log *logBuffer
}

func start(t *testing.T, keys wechatpay.Mode) *running {
	t.Helper()
	return startAs(t, stack.Config{Keys: keys, Unthrottled: true})
}

func startAs(t *testing.T, config stack.Config) *running {
	t.Helper()
	log := new(logBuffer)
	config.Log = log
	t.Cleanup(func() { // after the stack is closed
		if t.Failed() {
			const most = 8 << 10
			text := log.String()
			t.Logf("the end of the functions' log:\n%s", text[max(0, len(text)-most):])
		}
	})
	s := stacktest.Start(t, project, config)
	s.WeChatPay.LimitBrandTokens(0)
	return &running{s, t, log}
}

// answer is an answer of the API.
type answer struct {
	status int
	header http.Header
	body   []byte

	Code            string
	Message         string
	Solution        string
	RequestID       string `json:"request_id"`
	Detail          struct{ Field, Issue, Location string }
	PermissionToken string `json:"permission_token"`
	Token           string
	ExpireTime      string `json:"expire_time"`
}

// post calls the API as a frontend does.
func (r *running) post(path, body string) *answer {
	r.t.Helper()
	return r.call("POST", path, body, nil)
}

// call calls the API with headers.
func (r *running) call(method, path, body string, headers map[string]string) *answer {
	r.t.Helper()
	request, err := http.NewRequest(method, r.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	client := http.Client{Transport: contract.Transport(agreed, http.DefaultTransport, func(err error) { r.t.Error(err) })}
	response, err := client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := &answer{status: response.StatusCode, header: response.Header, body: content}
	if err := json.Unmarshal(content, a); err != nil && len(content) > 0 {
		r.t.Fatalf("the answer is not JSON: %s", content)
	}
	return a
}

func (r *running) mint() *answer {
	r.t.Helper()
	return r.post(permissionTokens, merchantExample)
}

// want fails the test unless the answer has this status and code; a success has
// code "" and a token.
func (r *running) want(a *answer, status int, code string) {
	r.t.Helper()
	if a.status != status || a.Code != code {
		r.t.Errorf("answered %d %q, want %d %q: %s", a.status, a.Code, status, code, a.body)
	}
	if got := a.PermissionToken != "" || a.Token != ""; got != (status == 200) {
		r.t.Errorf("a token is in the answer: %v", got)
	}
	if status != 200 && a.Message == "" {
		r.t.Errorf("an error without message: %s", a.body)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		r.t.Errorf("Cache-Control is %q", a.header.Get("Cache-Control"))
	}
}
