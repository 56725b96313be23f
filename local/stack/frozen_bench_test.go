//go:build unix

package stack_test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"membercard/local/stack"
	"membercard/wechat/network"
)

// BenchmarkFirstRequest measures the first request to an initialized instance, with
// 200 ms added to every new connection to WeChat.
func BenchmarkFirstRequest(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s, mint := bench(b)
		s.WeChatPay.Listener(0).Delay(200 * time.Millisecond)
		if _, err := s.Functions[merchantToken].Start(); err != nil {
			b.Fatal(err)
		}
		measure(b, s, mint)
	}
}

// BenchmarkFrozen measures the first request after a freeze of 2 s in which WeChat's
// end of the connection disappeared.
func BenchmarkFrozen(b *testing.B) {
	for _, row := range []struct {
		name string
		how  network.Drop
	}{{"closed", network.FIN}, {"reset on write", network.Reset}, {"silent", network.Silence}} {
		b.Run(strings.ReplaceAll(row.name, " ", "-"), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s, mint := bench(b)
				pid, err := s.Functions[merchantToken].Start()
				if err != nil {
					b.Fatal(err)
				}
				mint()
				if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
					b.Fatal(err)
				}
				s.WeChatPay.Listener(0).Drop(row.how)
				time.Sleep(2 * time.Second)
				if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
					b.Fatal(err)
				}
				measure(b, s, mint)
			}
		})
	}
}

// measure measures a request, the last to the stack.
func measure(b *testing.B, s *stack.Stack, mint func()) {
	b.StartTimer()
	mint()
	b.StopTimer()
	s.Close()
	b.StartTimer()
}

// bench starts a stack and returns a function that requests a token.
func bench(b *testing.B) (s *stack.Stack, mint func()) {
	s, err := project.Start(stack.Config{Address: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	return s, func() {
		response, err := http.Post(s.URL+permissionTokens, "application/json", strings.NewReader(merchantExample))
		if err != nil {
			b.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			b.Fatalf("answered %d", response.StatusCode)
		}
	}
}
