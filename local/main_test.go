package main

import (
	"bytes"
	"cmp"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"membercard/local/discovery"
	"membercard/local/journey"
	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/local/template"
	"membercard/wechat/network/networktest"
)

// project is built once for all tests.
var project *stack.Project

func TestMain(m *testing.M) { stacktest.Main(m, "..", &project) }

// Every printed curl command succeeds, and every route has one.
func TestPrintedLines(t *testing.T) {
	s := stacktest.Start(t, project, stack.Config{})

	if err := s.RenewTicket(t.Context()); err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	greet(&printed, s, options{plan: "local/plan.json"}, "")
	lines := regexp.MustCompile(`(?m)^curl -sS -w '\\n' '(\S+)'(?: -H 'Content-Type: application/json' -d '(.*)')?$`).FindAllStringSubmatch(printed.String(), -1)
	if len(lines) != len(s.Routes)-1 { // nobody but WeChat Pay sends notifications
		t.Errorf("%d lines for %d routes:\n%s", len(lines), len(s.Routes), &printed)
	}
	expected := regexp.MustCompile(`token|"errmsg":"ok"|signature|"user_card_state":"EFFECTIVE"|"code"|"nickname"`)
	for _, line := range lines {
		request, method := strings.NewReader(line[2]), http.MethodPost
		if line[2] == "" {
			method = http.MethodGet
		}
		r, err := http.NewRequest(method, line[1], request)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		response, body := networktest.Do(t, http.DefaultClient.Do, r)
		if !(response.StatusCode == 200 && expected.Match(body) || response.StatusCode == 204 && len(body) == 0) {
			t.Errorf("%s: %d %s", line[1], response.StatusCode, body)
		}
	}
}

// The printed commands take a card to EFFECTIVE, and print nothing of the user. A page
// can't use their route.
func TestOpen(t *testing.T) {
	s := stacktest.Start(t, project, stack.Config{})
	s.Mux.HandleFunc("POST "+discovery.OpenPath, func(w http.ResponseWriter, r *http.Request) { serveOpen(w, r, s) })
	address := strings.TrimPrefix(s.URL, "http://")
	var greeting bytes.Buffer
	greet(&greeting, s, options{}, "")
	for _, kind := range []string{"brand", "merchant"} {
		if line := "go run ./local -open " + kind + " -addr " + address; !strings.Contains(greeting.String(), line) {
			t.Errorf("%q is not printed", line)
		}
		var out bytes.Buffer
		if err := requestOpen(t.Context(), &out, address, kind); err != nil || !regexp.MustCompile(`\n\nthe card is EFFECTIVE since \+\d+ ms\n$`).MatchString(out.String()) || strings.Count(out.String(), "EFFECTIVE") != 1 {
			t.Errorf("%s: %v\n%s", kind, err, &out)
		}
		for _, card := range s.WeChatPay.UserCards() {
			if strings.Contains(out.String(), card.OpenID) || strings.Contains(out.String(), card.Code) {
				t.Errorf("%s: personal data is printed", kind)
			}
		}
	}
	if err := requestOpen(t.Context(), io.Discard, address, "gift"); err == nil {
		t.Error("an unknown card was opened")
	}
	request, err := http.NewRequest(http.MethodPost, s.URL+discovery.OpenPath+"?card=brand", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Origin", "https://elsewhere.example")
	if response, _ := networktest.Do(t, http.DefaultClient.Do, request); response.StatusCode != http.StatusForbidden {
		t.Errorf("a page was answered %d", response.StatusCode)
	}

	live := *s
	live.WeChatPay = nil
	recorder := httptest.NewRecorder()
	serveOpen(recorder, httptest.NewRequest(http.MethodPost, discovery.OpenPath+"?card=brand", nil), &live)
	if !strings.Contains(recorder.Body.String(), "sandbox only") {
		t.Errorf("live: %s", recorder.Body)
	}
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
	const free = "127.0.0.1:0"
	for _, row := range []struct {
		name, template, source string
		options                options
		want                   string
	}{
		{"no template", "", "", options{address: free}, "template.yaml"},
		{"bad template", "Resources: [", "", options{address: free}, "template.yaml"},
		{"build error", function, "package main\nfunc main() { oops }\n", options{address: free}, "undefined: oops"},
		{"port in use", function, "package main\nfunc main() {}\n", options{address: taken.Addr().String()}, "address already in use; another stack may run there: -addr 127.0.0.1:0"},
		{"the playground's port in use", function, "package main\nfunc main() {}\n", options{address: free, page: taken.Addr().String()}, "address already in use; another stack may run there: -page 127.0.0.1:0"},
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
			row.options.plan, row.options.page = "plan.json", cmp.Or(row.options.page, free)
			err := run(t.Context(), row.options)
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
		if warn(&out, exposed(options{address: row.addr, page: row.page})); !strings.Contains(out.String(), row.warns) || row.warns == "" && out.Len() > 0 {
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
