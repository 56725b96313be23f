package main

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"membercard/local/stack"
	"membercard/local/stack/stacktest"
)

const madeUpAccount = `{"appid": "wx0123456789abcdef", "secret": "0123456789abcdef0123456789abcdef"}`

// With real keys the printed lines have the token and work as they are, with the
// signature of -auth iam as well.
func TestPrintedLinesHaveTheToken(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"curl", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs " + tool)
		}
	}
	for _, auth := range []string{stack.NoAuth, stack.AuthIAM, stack.AuthJWT} {
		t.Run(auth, func(t *testing.T) {
			s := stacktest.Start(t, project, stack.Config{Account: madeUpAccount, Auth: auth, Unthrottled: true})
			handle(t, s)
			var printed, says bytes.Buffer
			greet(&printed, &says, s, options{plan: "plan.json", auth: auth}, "http://127.0.0.1:8081")
			if want := "\nplayground: http://127.0.0.1:8081/#token=" + s.Guard.Token + "\n"; !strings.HasSuffix(printed.String(), want) || !strings.HasPrefix(says.String(), "LIVE:") {
				t.Errorf("%s\n%s", &printed, &says)
			}
			sync := regexp.MustCompile(`(?m)^curl .*dry_run=true.*$`).FindString(says.String())
			if answer, err := exec.Command("sh", "-c", sync).CombinedOutput(); err != nil || !strings.Contains(string(answer), `"dry_run":true`) && !strings.Contains(string(answer), "UNREADABLE") {
				t.Errorf("%s: %s %v", sync, answer, err)
			}
			if strings.Contains(says.String(), "NO AUTH") {
				t.Error("the token is an authorization")
			}
			ran := 0
			for line := range strings.Lines(printed.String()) {
				if !strings.HasPrefix(line, "curl ") || !strings.Contains(line, "permission-tokens") && !strings.Contains(line, "pre-auth-tokens") {
					continue
				}
				ran++
				answer, err := exec.Command("sh", "-c", line).CombinedOutput()
				if err != nil || !strings.Contains(string(answer), `token":"`) {
					t.Errorf("%s%s %v", line, answer, err)
				}
				without := strings.Replace(line, s.Guard.Token, "", 1)
				if answer, _ := exec.Command("sh", "-c", without).CombinedOutput(); !strings.Contains(string(answer), "LOCAL_TOKEN_REQUIRED") {
					t.Errorf("%s%s", without, answer)
				}
			}
			if ran != 2 {
				t.Errorf("%d lines", ran)
			}
		})
	}
}
