package network

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// moment is how long a test waits before it reports that nothing was read.
const moment = 50 * time.Millisecond

// echo starts a server on a new listener that sends back what it reads.
func echo(t *testing.T) *Listener {
	t.Helper()
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		l.Drop(FIN)
		serving.Wait()
		if n := l.Open(); n != 0 {
			t.Errorf("%d connections open at the end", n)
		}
	})
	return l
}

func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// see returns what a client reads within d, or a word for the error.
func see(c net.Conn, d time.Duration) string {
	c.SetReadDeadline(time.Now().Add(d))
	p := make([]byte, 16)
	n, err := c.Read(p)
	switch {
	case err == nil:
		return string(p[:n])
	case err == io.EOF:
		return "EOF"
	case errors.Is(err, syscall.ECONNRESET):
		return "RST"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "nothing"
	}
	return err.Error()
}

// ask sends text and returns what see returns.
func ask(c net.Conn, text string, d time.Duration) string {
	if _, err := io.WriteString(c, text); err != nil {
		return err.Error()
	}
	return see(c, d)
}

func TestDrop(t *testing.T) {
	for _, tt := range []struct {
		name         string
		how          []Drop
		idle         string // seen without writing
		written      string // seen after writing
		idleDuration time.Duration
	}{
		{"FIN", []Drop{FIN}, "EOF", "", time.Minute},
		{"Reset", []Drop{Reset}, "nothing", "RST", moment},
		{"Silence", []Drop{Silence}, "nothing", "nothing", moment},
		{"Silence, then Reset", []Drop{Silence, Reset}, "nothing", "RST", moment},
		{"Silence, then FIN", []Drop{Silence, FIN}, "EOF", "", time.Minute},
		{"Reset, then FIN", []Drop{Reset, FIN}, "EOF", "", time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := echo(t)
			c := dial(t, l)
			if got := ask(c, "hello", time.Minute); got != "hello" {
				t.Fatalf("before: %s", got)
			}
			for _, how := range tt.how {
				l.Drop(how)
			}
			if got := see(c, tt.idleDuration); got != tt.idle {
				t.Errorf("idle: %s, want %s", got, tt.idle)
			}
			if tt.written != "" {
				d := time.Minute
				if tt.written == "nothing" {
					d = moment
				}
				if got := ask(c, "hello", d); got != tt.written {
					t.Errorf("after a write: %s, want %s", got, tt.written)
				}
			}
			if got := ask(dial(t, l), "again", time.Minute); got != "again" {
				t.Errorf("a later connection: %s", got)
			}
			if n := l.Accepted(); n != 2 {
				t.Errorf("%d accepted, want 2", n)
			}
		})
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		name  string
		point int
		want  string // after hello, hello
	}{
		{"before the first byte", 0, "RST"},
		{"in what the client sends", 3, "RST"},
		{"where that ends", 5, "RST"},
		{"in the second exchange", 12, "hello RST"},
		{"in the second answer", 18, "hello RST"},
		{"later", 21, "hello hello"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := echo(t)
			early := dial(t, l)
			if got := ask(early, "hello", time.Minute); got != "hello" {
				t.Fatalf("before: %s", got)
			}
			l.Cut(func() int { return tt.point })
			c := dial(t, l)
			got := ask(c, "hello", time.Minute)
			if got == "hello" {
				second := ask(c, "hello", time.Minute)
				if len(second) < 5 && strings.HasPrefix("hello", second) {
					second = see(c, time.Minute) // part of the answer came
				}
				got += " " + second
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if got := ask(early, "hello", time.Minute); got != "hello" {
				t.Errorf("an earlier connection: %s", got)
			}
			l.Cut(nil)
			if got := ask(dial(t, l), "again", time.Minute); got != "again" {
				t.Errorf("a later connection: %s", got)
			}
		})
	}
}

// dialed returns a connection that has been answered.
func dialed(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c := dial(t, l)
	if got := ask(c, "early", time.Minute); got != "early" {
		t.Fatal(got)
	}
	return c
}

func TestDelay(t *testing.T) {
	l := echo(t)
	early := dialed(t, l)

	l.Delay(moment)
	start := time.Now()
	if got := ask(dial(t, l), "delayed", time.Minute); got != "delayed" {
		t.Error(got)
	}
	if d := time.Since(start); d < moment {
		t.Errorf("answered after %v, want at least %v", d, moment)
	}

	l.Delay(time.Hour)
	if got := ask(early, "early", time.Minute); got != "early" {
		t.Errorf("a connection from before: %s", got)
	}
	if got := ask(dial(t, l), "late", moment); got != "nothing" {
		t.Errorf("a new connection: %s", got)
	}
}

func TestRefuse(t *testing.T) {
	l := echo(t)
	early := dialed(t, l)
	for range 2 {
		for range 2 { // the second changes nothing
			if err := l.Refuse(true); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("refusing: %v", err)
		}
		if got := ask(early, "early", time.Minute); got != "early" {
			t.Errorf("a connection from before: %s", got)
		}
		for range 2 {
			if err := l.Refuse(false); err != nil {
				t.Fatal(err)
			}
		}
		if got := ask(dial(t, l), "again", time.Minute); got != "again" {
			t.Errorf("listening again: %s", got)
		}
	}
	if n := l.Accepted(); n != 3 {
		t.Errorf("%d accepted, want 3", n)
	}
}

func TestClose(t *testing.T) {
	for _, refusing := range []bool{false, true} {
		l, err := Listen()
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Refuse(refusing); err != nil {
			t.Fatal(err)
		}
		accepted := make(chan error)
		go func() {
			_, err := l.Accept()
			accepted <- err
		}()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("refusing %t: Accept: %v", refusing, err)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("refusing %t: second Close: %v", refusing, err)
		}
		if err := l.Refuse(false); !errors.Is(err, net.ErrClosed) {
			t.Errorf("refusing %t: Refuse after Close: %v", refusing, err)
		}
	}
}
