package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"membercard/local/stack"
	"membercard/local/tools"
	"membercard/wechat/wechatpay"
)

// project is the project with its functions built.
var project = sync.OnceValues(func() (*stack.Project, error) {
	return stack.Build(context.Background(), "../..")
})

// built is the tool's binary, for tests that need a process of its own.
var built = sync.OnceValues(func() (binary string, err error) {
	p, err := project()
	if err != nil {
		return "", err
	}
	return p.Build(context.Background(), "cmd/membercard")
})

// shared is a local stack for the tests that leave it as it was.
var shared = sync.OnceValues(func() (*stack.Stack, error) {
	s, end, err := startStack(stack.Config{Auth: stack.AuthIAM, Plan: "../../local/plan.json", Unthrottled: true})
	endShared = end
	return s, err
})

// endShared ends the shared stack, after all tests.
var endShared = func() {}

func sharedStack(t *testing.T) *stack.Stack {
	t.Helper()
	if testing.Short() {
		t.Skip("builds all functions")
	}
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ownStack starts a local stack that a test may break.
func ownStack(t *testing.T, config stack.Config) *stack.Stack {
	t.Helper()
	if testing.Short() {
		t.Skip("builds all functions")
	}
	s, end, err := startStack(config)
	t.Cleanup(end)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// startStack starts a stack, and returns what ends it.
func startStack(config stack.Config) (s *stack.Stack, end func(), err error) {
	end = func() {}
	p, err := project()
	if err != nil {
		return nil, end, err
	}
	config.Address, config.Keys = "127.0.0.1:0", wechatpay.Both
	if s, err = p.Start(config); err != nil {
		return nil, end, err
	}
	published, err := tools.Handle(s)
	if err != nil {
		return nil, func() { s.Close() }, err
	}
	return s, func() { _ = published.Close(); s.Close() }, nil
}

// The tool as it is built, against the local stack as it runs: from WeChat's files to
// a stored secret that WeChat accepts.
func TestAgainstTheLocalStack(t *testing.T) {
	t.Parallel()
	s := ownStack(t, stack.Config{Plan: "../../local/plan.json"})
	binary := must(built())
	run := func(args ...string) string {
		t.Helper()
		text, err := exec.Command(binary, append(args, "--local="+s.URL)...).CombinedOutput()
		if err != nil || strings.Contains(string(text), "✗") {
			t.Errorf("%q: %v\n%s", args, err, text)
		}
		return string(text)
	}
	mint := func() int {
		t.Helper()
		const path, body = "/v3/marketing/membercard-open/cards/pbLatjvWOibDc5-TBnbUk1pD12o0/permission-tokens", `{"activate_type":"AUTO_ACTIVATE"}`
		response, err := http.Post(s.URL+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	s.Secrets.Put(stack.MerchantSecret, "{}")
	if got := mint(); got != http.StatusInternalServerError {
		t.Errorf("without a secret a token is answered with %d", got)
	}
	dir := filepath.Join(t.TempDir(), "files")
	next := run("local", "files", dir)
	_, command, _ := strings.Cut(next, "membercard secret merchant")
	command, _, _ = strings.Cut(strings.ReplaceAll(command, "\\\n", " "), "\n")
	args := strings.Fields(command)
	if text := run(append([]string{"secret", "merchant"}, args[:len(args)-1]...)...); !strings.Contains(text, "the one before is kept as AWSPREVIOUS") {
		t.Error(text)
	}
	for _, what := range []string{"merchant", "official-account"} {
		run("check", what)
	}
	if text := run("plan", "diff", "../../local/plan.json"); !strings.Contains(text, "changes: 0") {
		t.Error(text)
	}
	if text := run("token", "merchant", "--card-id", "pbLatjvWOibDc5-TBnbUk1pD12o0"); len(strings.Fields(text)) != 1 {
		t.Error(text)
	}
	if text := run("callback", "set", "https://shop.example.com/wechatpay/notifications"); !strings.Contains(text, "warning: the sandbox can't reach it") {
		t.Error(text)
	}
	if text := run("callback", "set"); strings.Contains(text, "warning") {
		t.Error(text)
	}
	run("check", "login", "--file", write(t, "login.json", s.OfficialAccount.LoginSecret()))
	if got := mint(); got != http.StatusOK {
		t.Errorf("with the secret a token is answered with %d", got)
	}
}

func TestCardOpen(t *testing.T) {
	s := sharedStack(t)
	s.WeChatPay.Deliver(wechatpay.NewDelivery())
	at := "--local=" + s.URL
	for _, row := range []struct {
		name string
		args []string
		step string // somewhere
	}{
		{"a brand card", []string{"brand"}, "notification BRAND_MEMBER_CARD_SP.USER_CARD.CREATE"},
		{"a merchant card", []string{"merchant"}, "event MEMBERCARD.ACTIVATE_CARD"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := tool(t, append([]string{"card", "open", "--json", at}, row.args...)...)
			r := o.requirePassed(t)
			// In the order of time, and in the end what the card is.
			last, begun := len(r.Steps)-1, -1
			for _, s := range r.Steps[:last] {
				var after int
				if _, err := fmt.Sscanf(s.Detail, "after %d ms", &after); err != nil || after < begun || strings.Contains(s.Detail, "EFFECTIVE") {
					t.Errorf("%+v after %d ms: %v", s, begun, err)
				}
				begun = after
			}
			if !strings.Contains(o.out, row.step) || !regexp.MustCompile(`^EFFECTIVE since \d+ ms after the token$`).MatchString(r.Steps[last].Detail) {
				t.Errorf("%s", o.out)
			}
			o.requireNo(t, "obLatjnx9gnqzS4myYGmLZ7LgLBA")
		})
	}
	if o := tool(t, "card", "open", "brand"); o.code != exitUsage || !strings.Contains(o.err, "--local") {
		t.Errorf("%+v", o)
	}
	if s := tool(t, "card", "open", "brand", "--json", local).requireFailed(t, "card"); !strings.Contains(s.Cure, "go run ./local") {
		t.Errorf("%+v", s)
	}
}
