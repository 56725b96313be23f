package main

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"membercard/local/discovery"
	"membercard/local/playground"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
)

var (
	// block is a code block of a page, and the text block after it if there is one.
	block = regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```$(?:\n\n *```text\n(.*?)^ *```$)?")
	// theirs are blocks of others: they need the internet, or the operator's tool.
	theirs = regexp.MustCompile(`api\.mch\.weixin\.qq\.com|\bmembercard |go run \./local|^export STACK`)
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
	s.WeChatPay.Deliver(delivery())
	published, err := discovery.Publish(s.URL, s.Discovery)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { published.Close() })
	s.Mux.Handle("GET "+discovery.Path, published)
	page := httptest.NewServer(playground.Handler(s, s.Auth, ".."))
	t.Cleanup(page.Close)
	var environment []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "AWS_") {
			environment = append(environment, variable)
		}
	}
	environment = append(environment, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1")
	return &rehearsal{t, s, strings.TrimPrefix(page.URL, "http://"), dir, environment}
}

// blocks returns the commands and the expected text of the blocks of a page.
func (r *rehearsal) blocks(page string) (found [][2]string) {
	for _, match := range block.FindAllStringSubmatch(page, -1) {
		indent := regexp.MustCompile(`(?m)^   `)
		pair := [2]string{match[1], match[2]}
		for i, text := range pair {
			if strings.HasPrefix(text, "   ") {
				text = indent.ReplaceAllString(text, "")
			}
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
	r := newRehearsal(t)
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

	var commands, expected []string
	for _, b := range r.blocks(rehearsed) {
		if theirs.MatchString(b[0]) {
			continue
		}
		if commands = append(commands, b[0]); len(commands) == 1 {
			commands[0] += functions
		}
		expected = append(expected, b[1])
	}
	// The queue is empty now. To discard a card that is not there does and prints nothing.
	discard := slices.IndexFunc(r.blocks(rest), func(b [2]string) bool { return strings.Contains(b[0], ">letter.txt") })
	commands, expected = append(commands, r.blocks(rest)[discard][0]), append(expected, "")
	compared := 0
	for i, output := range r.run(commands...) {
		if !matches(expected[i], output) {
			t.Errorf("%s\nprinted\n%s\nand not\n%s", commands[i], output, expected[i])
		}
		if expected[i] != "" {
			compared++
		}
	}
	if compared < 10 {
		t.Errorf("only %d outputs were compared", compared)
	}
}
