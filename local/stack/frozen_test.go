//go:build unix

package stack_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"membercard/wechat/network"
	"membercard/wechat/wechatpay"
)

// An instance's first request uses the connection that was opened during its
// initialization, however long that took.
func TestConnectionIsOpenedDuringInit(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	listener := r.WeChatPay.Listener(0)
	listener.Delay(200 * time.Millisecond)
	if _, err := r.Functions[merchantToken].Start(); err != nil {
		t.Fatal(err)
	}
	if n := listener.Accepted(); n != 1 {
		t.Fatalf("%d connections were opened during init", n)
	}
	r.want(r.mint(), 200, "")
	r.want(r.mint(), 200, "")
	if n := listener.Accepted(); n != 1 {
		t.Errorf("%d connections were opened", n)
	}
}

// Whatever happened to an instance's connections while it was frozen, its next
// request succeeds, and no attempt waits for its timeout.
func TestFrozen(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"after a request", "after init"} {
		for _, row := range []struct {
			name string
			how  network.Drop
		}{
			{"closed", network.FIN},
			{"reset on write", network.Reset},
			{"silent", network.Silence},
		} {
			t.Run(row.name+" "+when, func(t *testing.T) {
				t.Parallel()
				r := start(t, wechatpay.PublicKey)
				pid, err := r.Functions[merchantToken].Start()
				if err != nil {
					t.Fatal(err)
				}
				if when == "after a request" {
					r.want(r.mint(), 200, "")
				}
				if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				r.WeChatPay.Listener(0).Drop(row.how)
				time.Sleep(200 * time.Millisecond) // the pause itself
				if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
				r.want(r.mint(), 200, "")
				r.want(r.mint(), 200, "")
				requests := 2
				if when == "after a request" {
					requests++
				}
				r.log.waitForRequests(t, requests)
				if strings.Contains(r.log.String(), "deadline exceeded") {
					t.Error("an attempt waited for its timeout")
				}
				if pids := r.Functions[merchantToken].PIDs(); len(pids) != 1 || pids[0] != pid {
					t.Errorf("instances are %v, want %d", pids, pid)
				}
			})
		}
	}
}
