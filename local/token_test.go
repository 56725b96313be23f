package main

import (
	"bytes"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"membercard/local/discovery"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
)

const madeUpAccount = `{"appid": "wx0123456789abcdef", "secret": "0123456789abcdef0123456789abcdef"}`

// With real keys the printed lines have the token and work as they are, with the
// signature of -auth iam as well.
func TestPrintedLinesHaveTheToken(t *testing.T) {
	for _, tool := range []string{"curl", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs " + tool)
		}
	}
	for _, auth := range []string{stack.NoAuth, stack.AuthIAM, stack.AuthJWT} {
		t.Run(auth, func(t *testing.T) {
			s := stacktest.Start(t, project, stack.Config{Account: madeUpAccount, Auth: auth, Unthrottled: true})
			var printed bytes.Buffer
			greet(&printed, s, options{plan: planFile, auth: auth}, "http://127.0.0.1:8081")
			for _, want := range []string{
				"LIVE:", "\nplayground: http://127.0.0.1:8081/#token=" + s.Guard.Token + "\n",
				"\nLOCAL_TOKEN=" + s.Guard.Token + " go run ./local -sync -addr ",
			} {
				if !strings.Contains(printed.String(), want) {
					t.Errorf("%q is missing:\n%s", want, &printed)
				}
			}
			if strings.Contains(printed.String(), "NO AUTH") {
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

// -sync sends the token of the environment.
func TestSyncSendsTheToken(t *testing.T) {
	s := stacktest.Start(t, project, stack.Config{Merchant: "{}", Plan: "plan.json"})
	s.Mux.HandleFunc("POST "+discovery.SyncPath, func(w http.ResponseWriter, r *http.Request) { serveSync(w, r, s) })
	address := strings.TrimPrefix(s.URL, "http://")
	var report bytes.Buffer
	if err := requestSync(t.Context(), &report, address, true); err == nil || !strings.Contains(err.Error(), "LOCAL_TOKEN_REQUIRED") {
		t.Errorf("without the token: %v", err)
	}
	t.Setenv(tokenVariable, s.Guard.Token)
	if err := requestSync(t.Context(), &report, address, true); err != nil || !strings.Contains(report.String(), "a dry run") {
		t.Errorf("%v %s", err, &report)
	}
}
