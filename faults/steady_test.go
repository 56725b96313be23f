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

// One instance answers request after request. While WeChat's first endpoint fails, no caller
// sees it, and while all of WeChat does, there are few calls. At the end the instance needs
// no more memory and files than soon after its start. A goroutine takes at least 2 KiB, so
// a long run finds one that leaks in every twentieth request.
func TestOneInstance(t *testing.T) {
	if !*long {
		t.Parallel()
	}
	const maxMoreFiles = 2
	requests, maxMoreMiB := 1000, 8.0
	if *long {
		requests = 50_000
	}
	if race {
		maxMoreMiB *= 5 // go.dev/doc/articles/race_detector
	}
	r := start(t, false)
	var early usage
	var last []string // IDs of the last phase's invocations
	pid := 0
	for i, phase := range []struct {
		requests int
		fault    func()
		codes    []string
	}{
		{requests / 5, func() {}, none},
		{requests, func() {}, none},
		{50, func() { down(r.WeChatPay.Listener(0)) }, none},
		{requests, func() {
			r.breakBoth(r.sometimes(0.1, sandbox.Reset(), sandbox.Truncated(), sandbox.Oversized(), wechatpay.WrongSignature()))
		}, []string{"UPSTREAM_UNREACHABLE", "INVALID_RESPONSE"}},
		{100, func() { r.breakBoth(outage) }, failing},
	} {
		r.heal()
		phase.fault()
		last = nil
		errors := map[string]int{}
		for range phase.requests {
			s := r.send(t.Context(), merchantTokens)
			if pid != 0 && s.pid != pid {
				t.Fatal("there is a second instance")
			}
			pid, last = s.pid, append(last, s.id)
			if errors[s.code]++; s.wrong != "" || s.code != "" && !slices.Contains(phase.codes, s.code) {
				t.Errorf("phase %d: %s %s", i, s.code, s.wrong)
			}
		}
		now := used(pid)
		if i == 0 {
			early = now
		}
		t.Logf("phase %d: %v; %.1f MiB, %d files", i, errors, now.rss, now.files)
		if now.rss > early.rss+maxMoreMiB || now.files > early.files+maxMoreFiles {
			t.Errorf("memory grows from %.1f to %.1f MiB, open files from %d to %d", early.rss, now.rss, early.files, now.files)
		}
	}
	r.stop()
	attempts := 0
	for _, id := range last {
		attempts += r.watch.attempts[id]
	}
	if most := maxCalls*float64(len(last)) + firstCalls; float64(attempts) > most {
		t.Errorf("%d attempts for %d requests while WeChat answers 500", attempts, len(last))
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
