package main

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"membercard/local/discovery"
	"membercard/local/playground"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
)

// notLocal are the commands of the runbook that the local stack does not have, and why.
var notLocal = map[string]string{
	"cloudwatch describe-alarms":                    "there are no alarms",
	"cloudwatch get-metric-statistics":              "there are no metrics",
	"ec2 describe-nat-gateways":                     "there is no VPC",
	"events describe-rule":                          "there are no schedules",
	"events enable-rule":                            "there are no schedules",
	"events list-rule-names-by-target":              "there are no schedules",
	"lambda get-account-settings":                   "functions have no limit of concurrency",
	"lambda get-event-source-mapping":               "a mapping can't be switched off",
	"lambda get-function-concurrency":               "functions have no limit of concurrency",
	"lambda put-function-concurrency":               "functions have no limit of concurrency",
	"lambda update-event-source-mapping":            "a mapping can't be switched off",
	"logs get-query-results":                        "the log is a file",
	"logs start-query":                              "the log is a file",
	"logs tail":                                     "the log is a file",
	"service-quotas request-service-quota-increase": "there are no quotas",
}

var (
	// block is a code block of a page, and the text block after it if there is one.
	block      = regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```$(?:\n\n *```text\n(.*?)^ *```$)?")
	awsCommand = regexp.MustCompile(`\baws ([a-z0-9-]+) ([a-z-]+)`)
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
	s.Mux.Handle("GET "+discovery.Path, s.Discovery())
	page := httptest.NewServer(playground.Handler(s, s.Auth, "../examples"))
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

// counting makes the AWS CLI write its calls to the file calls: the exit status, the
// service, the operation and the last line of an error. What the local stack does not
// have is called once, because the CLI takes long to start.
const counting = `
aws() {
  local errors status
  ! grep -q "^[0-9]* $1 $2 .*does not have" "$CALLS" 2>/dev/null || return 255
  errors=$(mktemp)
  command aws --endpoint-url "$LOCAL_AWS" "$@" 2>"$errors"; status=$?
  printf '%s %s %s %s\n' $status "$1" "$2" "$(tail -n 1 "$errors")" >>"$CALLS"
  cat "$errors" >&2; rm "$errors"
  return $status
}
`

// run runs the blocks in one shell, and returns the output of each.
func (r *rehearsal) run(blocks ...string) []string {
	const mark = "== end of block =="
	var script strings.Builder
	for _, text := range blocks {
		script.WriteString(text + "\necho; echo '" + mark + "'\n")
	}
	cmd := exec.CommandContext(r.t.Context(), "bash", "-c", script.String())
	cmd.Dir, cmd.Env = r.dir, append(r.environment, "CALLS="+filepath.Join(r.dir, "calls"))
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

// The rehearsal in docs/runbook.md goes as the page says, and each command of the
// AWS CLI in the pages for operators works with the local stack, or is in notLocal.
func TestRunbook(t *testing.T) {
	r := newRehearsal(t)
	runbook, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	operating, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	rest, rehearsed, ok := strings.Cut(string(runbook), "\n## Rehearse an alarm\n")
	rehearsed, codes, isFollowed := strings.Cut(rehearsed, "\n## Codes\n")
	if !ok || !isFollowed {
		t.Fatal("the runbook has no section Rehearse an alarm before the one of the codes")
	}
	functions := regexp.MustCompile("(?s)```sh\n(output\\(\\).*?)```").FindStringSubmatch(rest)[1]

	t.Run("rehearsal", func(t *testing.T) {
		var commands, expected []string
		for _, b := range r.blocks(rehearsed) {
			if theirs.MatchString(b[0]) {
				continue
			}
			if commands = append(commands, b[0]); len(commands) == 1 {
				commands[0] += functions + counting
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
	})

	t.Run("commands", func(t *testing.T) {
		found := r.stack.Discovery()
		var set strings.Builder
		fmt.Fprintf(&set, "export STACK=local AWS_PAGER= AWS_REGION=%[1]s AWS_DEFAULT_REGION=%[1]s AWS_ACCESS_KEY_ID=%[2]s AWS_SECRET_ACCESS_KEY=%[3]s AWS_SESSION_TOKEN=%[4]s LOCAL_AWS=%[5]s\n",
			found.AWS.Region, found.AWS.AccessKeyID, found.AWS.SecretAccessKey, found.AWS.SessionToken, found.AWS.Endpoint)
		// The lookups were rehearsed, and take long.
		given := map[string]map[string]string{"output": found.Outputs, "parameter": found.Parameters, "resource": found.Resources}
		set.WriteString(functions + counting + "output ApiUrl\nresource ConfirmQueue\n")
		for _, name := range slices.Sorted(maps.Keys(given)) {
			fmt.Fprintf(&set, "%s() { case $1 in", name)
			for key, value := range given[name] {
				fmt.Fprintf(&set, " %s) echo '%s' ;;", key, value)
			}
			if name == "resource" {
				set.WriteString(" *) echo none ;;")
			}
			set.WriteString(" esac; }\n")
		}
		set.WriteString("LOG_GROUP=FunctionLogs CARD_EXT_FUNCTION=CardExtFunction\n")
		if err := os.WriteFile(filepath.Join(r.dir, "secret.json"), []byte(r.stack.WeChatPay.MerchantSecret(0)), 0o600); err != nil {
			t.Fatal(err)
		}
		r.stack.Secrets.Put(stack.MerchantSecret, r.stack.WeChatPay.MerchantSecret(0)) // there is a version before
		for range 2 {                                                                  // the first command hides one
			r.stack.Queues.Get("ConfirmDeadLetters").Send(`{"detail-type":"X","detail":{"resource":{"user_card_code":"1","brand_id":"1004","card_id":"p","openid":"o"}}}`, nil, 0)
			r.stack.Plans.Put(found.Outputs["CardPlanBucketName"], found.Parameters["CardPlanKey"], []byte(`{"cards":[]}`))
		}
		commands := []string{set.String()}
		for _, b := range append(r.blocks(rest), r.blocks(string(operating))...) {
			if !theirs.MatchString(b[0]) && !strings.HasPrefix(b[0], "output()") {
				commands = append(commands, b[0])
			}
		}
		began := time.Now()
		outputs := r.run(commands...)
		t.Logf("%d blocks in %s", len(commands), time.Since(began).Round(time.Second))
		log, err := os.ReadFile(filepath.Join(r.dir, "calls"))
		if err != nil {
			t.Fatal(err)
		}
		called := map[string]bool{}
		for line := range strings.Lines(string(log)) {
			words := strings.SplitN(strings.TrimSpace(line), " ", 4)
			command := words[1] + " " + words[2]
			called[command] = true
			_, isElsewhere := notLocal[command]
			says := len(words) > 3 && strings.Contains(words[3], "The local stack does not have ")
			isOld := command == "logs tail" && !says // only version 2 of the CLI has it
			if isElsewhere != says && !isOld || (words[0] == "0") == isElsewhere {
				t.Errorf("%s", line)
			}
		}
		for _, match := range awsCommand.FindAllStringSubmatch(shellOf(rest+codes+string(operating)), -1) {
			command := match[1] + " " + match[2]
			if _, isElsewhere := notLocal[command]; !called[command] && !isElsewhere {
				t.Errorf("aws %s was not run", command)
			}
		}
		for command, reason := range notLocal {
			if !strings.Contains(string(runbook)+string(operating), "aws "+command+" ") {
				t.Errorf("no page has aws %s (%s)", command, reason)
			}
		}
		if t.Failed() {
			t.Log(strings.Join(outputs, "\n"))
		}
	})
}

// shellOf returns the text of the shell blocks of a page.
func shellOf(page string) (text string) {
	for _, match := range block.FindAllStringSubmatch(page, -1) {
		text += match[1]
	}
	return text
}
