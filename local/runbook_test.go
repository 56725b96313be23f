package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"membercard/local/playground"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/wechat/wechatpay"
)

var (
	// block is a code block of a page, and the text block after it if there is one.
	block = regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```$(?:\n\n *```text\n(.*?)^ *```$)?")
	// theirs are blocks of others: they need the internet, or the project's folder.
	theirs = regexp.MustCompile(`api\.mch\.weixin\.qq\.com|go build|go run \./local|^export STACK`)
)

// rehearsal is a shell in a folder of its own, with a stack as go run ./local has it.
type rehearsal struct {
	t           *testing.T
	stack       *stack.Stack
	page        string // host and port of the playground
	dir         string
	environment []string
}

func newRehearsal(t *testing.T) *rehearsal {
	if _, err := exec.LookPath("aws"); err != nil {
		const how = "there is no AWS CLI: pip install -r .ci/requirements.txt"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "local.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	s := stacktest.Start(t, project, stack.Config{Plan: "plan.json", QueueSpeed: queueSpeed, Log: log})
	quick := delivery()
	quick.Interval = 100 * time.Millisecond
	s.WeChatPay.Deliver(quick)
	tool, err := project.Build(t.Context(), "cmd/membercard")
	if err == nil {
		err = os.Symlink(tool, filepath.Join(dir, "membercard"))
	}
	if err != nil {
		t.Fatal(err)
	}
	handle(t, s)
	mux := http.NewServeMux()
	mux.Handle("/", playground.Handler(s, s.Auth, ".."))
	page := httptest.NewServer(mux)
	t.Cleanup(page.Close)
	var environment []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "AWS_") && !strings.HasPrefix(variable, "LC_") && !strings.HasPrefix(variable, "LANG=") {
			environment = append(environment, variable)
		}
	}
	environment = append(environment, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1")
	r := &rehearsal{t, s, strings.TrimPrefix(page.URL, "http://"), dir, environment}
	mux.HandleFunc("/settled", r.settled(s.WeChatPay.UserCards()))
	return r
}

// settled returns a handler that answers when nothing goes on by itself: each notification
// was delivered or given up, no card waits to be confirmed, and all dead letters are
// visible. Nobody opened the samples, so there are no notifications of them.
func (r *rehearsal) settled(samples []wechatpay.UserCard) http.HandlerFunc {
	isSettled := func() bool {
		ended := map[string]bool{} // by code
		for _, card := range samples {
			ended[card.Code] = true
		}
		for _, a := range r.stack.WeChatPay.Deliveries() {
			ended[a.Code] = ended[a.Code] || a.GaveUp || a.Status/100 == 2
		}
		for _, card := range r.stack.WeChatPay.UserCards() {
			if card.State == wechatpay.Unactivated && !ended[card.Code] {
				return false
			}
		}
		for _, letter := range r.stack.Queues.Get("ConfirmDeadLetters").Messages() {
			if letter.Visible.After(time.Now()) {
				return false
			}
		}
		return len(r.stack.Queues.Get("ConfirmQueue").Messages()) == 0
	}
	return func(_ http.ResponseWriter, q *http.Request) {
		for !isSettled() && q.Context().Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// The commands of the page that wait. Here a minute's wait lasts until it is over, 30
// customers are 3, and a record is waited for: Lambda reads a function's output
// asynchronously.
var (
	wait      = regexp.MustCompile(`(?m)^sleep \d+$`)
	customers = regexp.MustCompile(`\b30\b`)
	record    = regexp.MustCompile(`(?m)^grep ('.*') local\.log`)
)

const logged = "logged() { for _ in $(seq 300); do grep -q \"$1\" local.log && break; sleep 0.1; done; }\n"

// blocks returns the commands and the expected text of the blocks of a page.
func (r *rehearsal) blocks(page string) (found [][2]string) {
	for _, match := range block.FindAllStringSubmatch(page, -1) {
		indent := regexp.MustCompile(`(?m)^   `)
		pair := [2]string{match[1], match[2]}
		for i, text := range pair {
			if strings.HasPrefix(text, "   ") {
				text = indent.ReplaceAllString(text, "")
			}
			text = strings.ReplaceAll(text, "--local ", "--local="+r.stack.URL+" ")
			text = wait.ReplaceAllString(text, "curl -sS -m 60 http://"+r.page+"/settled")
			text = customers.ReplaceAllString(text, "3")
			text = record.ReplaceAllString(text, "logged $1; $0")
			text = strings.ReplaceAll(text, "127.0.0.1:8080", strings.TrimPrefix(r.stack.URL, "http://"))
			pair[i] = strings.ReplaceAll(text, "127.0.0.1:8081", r.page)
		}
		found = append(found, pair)
	}
	return found
}

// run runs the blocks in one shell, and returns the output of each.
func (r *rehearsal) run(blocks ...string) []string {
	const mark = "== end of block =="
	var script strings.Builder
	for _, text := range blocks {
		script.WriteString(text + "\necho; echo '" + mark + "'\n")
	}
	cmd := exec.CommandContext(r.t.Context(), "bash", "-c", script.String())
	cmd.Dir, cmd.Env = r.dir, r.environment
	out, err := cmd.CombinedOutput()
	parts := strings.Split(string(out), "\n"+mark+"\n")
	if err != nil || len(parts) != len(blocks)+1 {
		r.t.Fatalf("%v\n%s", err, out)
	}
	return parts[:len(blocks)]
}

// matches returns whether an output is as the page has it, where … stands for anything.
// Empty lines and blanks around a line don't count.
func matches(expected, output string) bool {
	lines := func(text string) (kept []string) {
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				kept = append(kept, line)
			}
		}
		return kept
	}
	return slices.EqualFunc(lines(expected), lines(output), func(want, got string) bool {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*")
		return regexp.MustCompile("^" + pattern + "$").MatchString(got)
	})
}

// The rehearsal in docs/runbook.md goes as the page says. The commands of the other
// sections run in .ci/deploying.
func TestRunbook(t *testing.T) {
	t.Parallel()
	runbook, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	rest, rehearsed, ok := strings.Cut(string(runbook), "\n## Rehearse an alarm\n")
	rehearsed, _, isFollowed := strings.Cut(rehearsed, "\n## Codes\n")
	if !ok || !isFollowed {
		t.Fatal("the runbook has no section Rehearse an alarm before the one of the codes")
	}
	functions := regexp.MustCompile("(?s)```sh\n(output\\(\\).*?)```").FindStringSubmatch(rest)[1]

	// Lost notifications are rehearsed with a stack that was started anew.
	prepare, _, _ := strings.Cut(rehearsed, "\n### ")
	first, again, _ := strings.Cut(rehearsed, "\n### Notifications that were lost\n")
	// The queue is empty after the first part. To discard a card that is not there does and
	// prints nothing.
	discard := regexp.MustCompile("(?s)( *```sh\n[^`]*>letter\\.txt.*?```\n)").FindString(rest)
	if discard == "" || again == "" {
		t.Fatal("the runbook does not have the block, or the rehearsal")
	}
	for name, part := range map[string]string{"a secret and a card": first + "\n" + discard, "lost notifications": prepare + again} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newRehearsal(t).rehearse(part, functions)
		})
	}
}

// rehearse runs the blocks of a rehearsal, and compares what they print.
func (r *rehearsal) rehearse(page, functions string) {
	var commands, expected []string
	for _, b := range r.blocks(page) {
		if theirs.MatchString(b[0]) {
			continue
		}
		if commands = append(commands, b[0]); len(commands) == 1 {
			commands[0] += functions + logged
		}
		expected = append(expected, b[1])
	}
	compared := 0
	for i, output := range r.run(commands...) {
		if !matches(expected[i], output) {
			r.t.Errorf("%s\nprinted\n%s\nand not\n%s", commands[i], output, expected[i])
		}
		if expected[i] != "" {
			compared++
		}
	}
	if compared < 6 {
		r.t.Errorf("only %d outputs were compared", compared)
	}
}
