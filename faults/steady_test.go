//go:build unix

package faults

// This file measures the memory and the open files of one instance over many requests.

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

// One instance answers request after request, half of them while a tenth of WeChat's
// answers is lost, broken or forged, and needs no more memory and files than soon after
// its start. A goroutine takes at least 2 KiB, so a long run finds one that leaks in every
// twentieth request.
func TestOneInstance(t *testing.T) {
	if !*long {
		t.Parallel()
	}
	const maxMoreFiles = 2
	requests, maxMoreMiB := 2000, 8.0
	if *long {
		requests = 100_000
	}
	if race {
		maxMoreMiB *= 5 // go.dev/doc/articles/race_detector
	}
	r := start(t, false)
	codes := []string{"", "UPSTREAM_UNREACHABLE", "INVALID_RESPONSE"}
	errors, pid := map[string]int{}, 0
	var early, late usage
	for n := range requests {
		switch n {
		case requests / 10:
			early = used(pid)
		case requests / 2:
			r.breakBoth(r.sometimes(0.1, sandbox.Reset(), sandbox.Truncated(), sandbox.Oversized(), wechatpay.WrongSignature()))
		}
		s := r.send(t.Context(), merchantTokens)
		if n > 0 && s.pid != pid {
			t.Fatal("there is a second instance")
		}
		if pid = s.pid; s.wrong != "" || !slices.Contains(codes, s.code) || s.code != "" && n < requests/2 {
			t.Errorf("%s %s", s.code, s.wrong)
		}
		errors[s.code]++
	}
	late = used(pid)
	r.stop()
	t.Logf("%v; %.1f to %.1f MiB, %d to %d files", errors, early.rss, late.rss, early.files, late.files)
	if late.rss > early.rss+maxMoreMiB || late.files > early.files+maxMoreFiles {
		t.Errorf("memory grows from %.1f to %.1f MiB, open files from %d to %d", early.rss, late.rss, early.files, late.files)
	}
	for _, leak := range r.watch.leaks {
		t.Error(leak)
	}
}

// usage is the resources of a process.
type usage struct {
	rss   float64 // MiB
	files int     // open
}

// used returns the current resources of a process, or zeros if this is not Linux.
func used(pid int) (u usage) {
	dir := fmt.Sprintf("/proc/%d", pid)
	status, _ := os.ReadFile(dir + "/status")
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &u.rss); err == nil {
			u.rss /= 1024
		}
	}
	files, _ := os.ReadDir(dir + "/fd")
	u.files = len(files)
	return u
}
