package main

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"membercard/local/discovery"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/wechat/network/networktest"
	"membercard/wechat/sandbox/sandboxtest"
)

// -sync shows its requests even when the log of the sandbox is full, which then drops the
// oldest ones.
func TestSyncWithFullLog(t *testing.T) {
	s := stacktest.Start(t, project, stack.Config{Plan: "plan.json"})
	s.Mux.HandleFunc("POST "+discovery.SyncPath, func(w http.ResponseWriter, r *http.Request) { serveSync(w, r, s) })
	client := sandboxtest.Client(t, s.OfficialAccount)
	for range 10_000 {
		r, err := http.NewRequest(http.MethodGet, s.OfficialAccount.Endpoints()[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		networktest.Do(t, client.Do, r)
	}
	var report bytes.Buffer
	if err := requestSync(t.Context(), &report, strings.TrimPrefix(s.URL, "http://"), true); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(report.String(), "\nThe official account received:\n") {
		t.Errorf("the requests are missing:\n%s", &report)
	}
}
