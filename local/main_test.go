package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"membercard/local/discovery"
	"membercard/local/journey"
	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/local/template"
	"membercard/local/tools"
	"membercard/wechat/network/networktest"
)

// project is built once for all tests.
var project *stack.Project

func TestMain(m *testing.M) { stacktest.Main(m, "..", &project) }

// What is printed to standard output is an interface: the API's URL, a curl command for
// each route, a line each, and the playground's URL. Each command succeeds.
func TestPrintedLines(t *testing.T) {
	s := stacktest.Start(t, project, stack.Config{})
	if err := s.RenewTicket(t.Context()); err != nil {
		t.Fatal(err)
	}
	var printed, says bytes.Buffer
	greet(&printed, &says, s, options{plan: "local/plan.json"}, "http://127.0.0.1:8081")
	lines := strings.Split(strings.TrimSpace(printed.String()), "\n")
	first, commands, last := lines[0], lines[1:len(lines)-1], lines[len(lines)-1]
	if !strings.Contains(first, s.URL) || last != "playground: http://127.0.0.1:8081" || len(commands) != len(s.Routes)-1 { // nobody but WeChat Pay sends notifications
		t.Errorf("%d commands for %d routes:\n%s", len(commands), len(s.Routes), &printed)
	}
	for _, kind := range []string{"brand", "merchant"} {
		if line := "\ngo run ./cmd/membercard card open " + kind + " --local=" + s.URL + "\n"; !strings.Contains(says.String(), line) {
			t.Errorf("%q is missing:\n%s", line, &says)
		}
	}
	var same, zh bytes.Buffer
	greet(&same, &zh, s, options{plan: "local/plan.json", chinese: true}, "http://127.0.0.1:8081")
	if same.String() != printed.String() {
		t.Errorf("with a Chinese locale standard output is\n%s", &same)
	}
	for line := range strings.Lines(zh.String()) {
		if !strings.HasPrefix(line, "go run ") && regexp.MustCompile(`[a-z]{2,} [a-z]{2,} [a-z]{2,}`).MatchString(line) {
			t.Errorf("the Chinese greeting has no words for %q", line)
		}
	}
	form := regexp.MustCompile(`^curl -sS -w '\\n' '(\S+)'(?: -H 'Content-Type: application/json' -d '(.*)')?$`)
	expected := regexp.MustCompile(`token|"errmsg":"ok"|signature|"user_card_state":"EFFECTIVE"|"code"|"nickname"`)
	for _, command := range commands {
		line := form.FindStringSubmatch(command)
		if line == nil {
			t.Errorf("the form of %s", command)
			continue
		}
		request, method := strings.NewReader(line[2]), http.MethodPost
		if line[2] == "" {
			method = http.MethodGet
		}
		r, err := http.NewRequest(method, line[1], request)
		if err != nil {
			t.Fatal(err)
		}
		if query := strings.Split(r.URL.RawQuery, "&"); !slices.IsSorted(query) || strings.ContainsAny(r.URL.RequestURI(), "%+") {
			t.Errorf("%s: with --aws-sigv4, curl 7 signs only a query in order, and no escapes", line[1])
		}
		r.Header.Set("Content-Type", "application/json")
		response, body := networktest.Do(t, http.DefaultClient.Do, r)
		if !(response.StatusCode == 200 && expected.Match(body) || response.StatusCode == 204 && len(body) == 0) {
			t.Errorf("%s: %d %s", line[1], response.StatusCode, body)
		}
	}
}

// The log stands below the greeting.
func TestServe(t *testing.T) {
	t.Chdir("..")
	ctx, stop := context.WithCancel(t.Context())
	out, says := &output{}, &output{until: "Ctrl-C", then: stop}
	if err := serve(ctx, out, says, options{address: "127.0.0.1:0", page: "127.0.0.1:0", plan: "local/plan.json"}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if !strings.Contains(lines[0], "http://127.0.0.1:") || !strings.HasPrefix(lines[len(lines)-1], "playground: http://127.0.0.1:") {
		t.Errorf("standard output:\n%s", out.String())
	}
	greeting, log, _ := strings.Cut(says.String(), "Ctrl-C")
	const record = `{"time`                                                   // how one begins
	if strings.Contains(greeting, record) || !strings.Contains(log, record) { // card-ext has made a ticket
		t.Errorf("standard error:\n%s", says.String())
	}
}

// What -origins takes, as a browser sends it.
func TestAllowedOrigins(t *testing.T) {
	for list, want := range map[string]string{
		"":                      "[]",
		"http://localhost:5173": "[http://localhost:5173]",
		"http://localhost:5173, https://shop.example.com": "[http://localhost:5173 https://shop.example.com]",
		"localhost:5173":         "",
		"http://localhost:5173/": "",
		"https://a@example.com":  "",
		"*":                      "",
	} {
		origins, err := allowedOrigins(options{origins: list})
		if got := fmt.Sprint(origins); (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%q: %s %v", list, got, err)
		}
	}
}

// output is a buffer that calls then when it has been given the text until.
type output struct {
	mu    sync.Mutex
	text  strings.Builder
	until string
	then  func()
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if o.then != nil && strings.Contains(string(p), o.until) {
		o.then()
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// A card is opened and the plan applied through the paths for command-line tools, which
// pages can't use. With the real WeChat no card is opened.
func TestPathsForTools(t *testing.T) {
	s := stacktest.Start(t, project, stack.Config{Plan: "plan.json"})
	handle(t, s)
	post := func(path, origin string) (int, string) {
		request, err := http.NewRequest(http.MethodPost, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			request.Header.Set("Origin", origin)
		}
		response, body := networktest.Do(t, http.DefaultClient.Do, request)
		return response.StatusCode, string(body)
	}
	for _, row := range []struct {
		path, want string
		status     int
	}{
		{discovery.OpenPath + "?card=brand", `"state":"EFFECTIVE"`, 200},
		{discovery.OpenPath + "?card=merchant", `"state":"EFFECTIVE"`, 200},
		{discovery.OpenPath + "?card=gift", "brand or merchant", 400},
		{discovery.SyncPath + "?dry_run=true", `"dry_run":true`, 200},
		{discovery.SyncPath, `"updated":1`, 200},
		{discovery.SyncPath, `"unchanged":1`, 200},
	} {
		if status, body := post(row.path, ""); status != row.status || !strings.Contains(body, row.want) {
			t.Errorf("%s: %d %s", row.path, status, body)
		}
		if status, _ := post(row.path, "https://elsewhere.example"); status != http.StatusForbidden {
			t.Errorf("%s: a page was answered %d", row.path, status)
		}
	}
	live := *s
	live.WeChatPay, live.Mux = nil, http.NewServeMux()
	handle(t, &live)
	recorder := httptest.NewRecorder()
	live.Mux.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, discovery.OpenPath+"?card=brand", nil))
	if !strings.Contains(recorder.Body.String(), "sandbox only") {
		t.Errorf("live: %s", recorder.Body)
	}
}

func handle(t *testing.T, s *stack.Stack) {
	t.Helper()
	published, err := tools.Handle(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { published.Close() })
}

// An error at the start is one clear line.
func TestStartErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	project := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(project, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const function = "Parameters: {MerchantSecretArn: {Type: String}, OfficialAccountSecretArn: {Type: String}, WechatPayEndpoints: {Type: String}, WechatEndpoints: {Type: String}, FrontendAuth: {Type: String}, AllowedOrigins: {Type: String}}\nResources:\n  XFunction:\n    Type: AWS::Serverless::Function\n    Properties: {CodeUri: .}\n"
	write("plan.json", `{"cards": []}`)
	write("other.json", `{"mchid": "1900000109"}`)
	const free = "127.0.0.1:0"
	for _, row := range []struct {
		name, template, source string
		options                options
		want                   string
	}{
		{"no template", "", "", options{address: free}, "template.yaml"},
		{"not in the project's folder", "", "", options{address: free, plan: projectPlan}, "is this the project's root?"},
		{"bad template", "Resources: [", "", options{address: free}, "template.yaml"},
		{"build error", function, "package main\nfunc main() { oops }\n", options{address: free}, "undefined: oops"},
		{"port in use", "", "", options{address: taken.Addr().String()}, "address already in use; another stack may run there. A free port is taken with -addr 127.0.0.1:0"},
		{"the playground's port in use", "", "", options{address: free, page: taken.Addr().String()}, "with -page 127.0.0.1:0"},
		{"both ports in use", "", "", options{address: taken.Addr().String(), page: taken.Addr().String()}, "with -addr 127.0.0.1:0 -page 127.0.0.1:0"},
		{"in Chinese", "", "", options{address: taken.Addr().String(), chinese: true}, "换用空闲端口：-addr 127.0.0.1:0"},
		{"no port", "", "", options{address: "127.0.0.1"}, "-addr: listen tcp: address 127.0.0.1: missing port"},
		{"another auth", "", "", options{address: free, auth: "IAM"}, `-auth: "IAM" is neither none nor iam, jwt or wechat`},
		{"logins to a real account", "", "", options{address: free, auth: "wechat", account: "account.json"}, "does not go with -live-account"},
		{"another origin", "", "", options{address: free, origins: "localhost"}, `-origins: "localhost"`},
		{"no file with a secret", "", "", options{address: free, merchant: "merchant.json"}, "-live: open merchant.json: "},
		{"a folder in place of a secret", "", "", options{address: free, account: "."}, "-live-account: read .: "},
		{"another file in place of a secret", "", "", options{address: free, merchant: "plan.json"}, "-live: plan.json: the merchant's secret: cards is not"},
		{"no file with a plan", "", "", options{address: free, plan: "missing.json"}, "-plan: open missing.json: "},
		{"a folder in place of a plan", "", "", options{address: free, plan: "."}, "-plan: read .: "},
		{"another file in place of a plan", "", "", options{address: free, plan: "other.json"}, "-plan: other.json is not a plan: /mchid is not a field of this document; all its faults: go run ./cmd/membercard plan validate other.json"},
		{"a merchant's keys on the network", "", "", options{address: "0.0.0.0:0", merchant: "merchant.json"}, "-addr 0.0.0.0:0: other machines could reach the stack"},
		{"an account's keys on the network", "", "", options{address: free, page: ":0", account: "account.json"}, "-page :0: other machines could reach the stack"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.template != "" {
				write("template.yaml", row.template)
				write("go.mod", "module x\n")
				write("functions/x/main.go", row.source)
			}
			t.Chdir(project)
			row.options.plan, row.options.page = cmp.Or(row.options.plan, "plan.json"), cmp.Or(row.options.page, free)
			err := serve(t.Context(), io.Discard, io.Discard, row.options)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// A stack that other machines may reach says so, and names an address that can be
// opened. A card of its sandbox becomes EFFECTIVE, so WeChat Pay's notification reaches
// it too.
func TestOnTheNetwork(t *testing.T) {
	for _, row := range []struct {
		addr, page string
		warns      string // empty: of nothing
	}{
		{"127.0.0.1:8080", "localhost:8081", ""},
		{"[::1]:0", "127.0.0.2:0", ""},
		{"0.0.0.0:8787", "127.0.0.1:8081", "WARNING: -addr 0.0.0.0:8787: everybody on your network"},
		{":8787", "[::]:8081", "WARNING: -addr :8787, -page [::]:8081: everybody on your network"},
		{"192.0.2.1:8787", "127.0.0.1:8081", "WARNING: -addr 192.0.2.1:8787: "},
		{"not an address", "127.0.0.1:8081", ""}, // net.Listen says so
	} {
		var out bytes.Buffer
		o := options{address: row.addr, page: row.page}
		if o.warn(&out, exposed(o)); !strings.Contains(out.String(), row.warns) || row.warns == "" && out.Len() > 0 {
			t.Errorf("%s, %s: %q", row.addr, row.page, &out)
		}
	}
	s, err := project.Start(stack.Config{Address: "0.0.0.0:0"})
	if err != nil {
		t.Fatal(err)
	}
	networktest.Close(t, s)
	if !strings.HasPrefix(s.URL, "http://127.0.0.1:") {
		t.Errorf("it is printed as %s", s.URL)
	}
	if story, err := journey.Open(t.Context(), s, journey.Merchant); err != nil {
		t.Errorf("%v: %+v", err, story)
	}
}

// sam build and go run ./local use the same flags, and find a function in the same
// folder.
func TestMakefileAgrees(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`(?m)^FLAGS := (.*)$`).FindSubmatch(makefile)
	want := strings.Join(lambda.BuildFlags(), " ")
	if got := strings.ReplaceAll(string(flags[1]), `"`, ""); got != want {
		t.Errorf("the Makefile builds with %s, local with %s", got, want)
	}
	deployed, err := template.Read("../template.yaml", map[string]string{"MerchantSecretArn": "x", "OfficialAccountSecretArn": "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range deployed.Functions {
		if _, err := os.Stat(filepath.Join("..", f.Folder, "main.go")); err != nil {
			t.Error(err)
		}
	}
}
