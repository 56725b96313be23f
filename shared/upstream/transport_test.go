package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"membercard/shared/tlsdial/tlsdialtest"
)

func TestTheFirstRequestUsesTheConnectionOpenedAhead(t *testing.T) {
	s := serve(t, succeed)
	c := client(t, s.URL, tlsdialtest.Nowhere)
	c.Open(t.Context())
	if n := s.connections.Load(); n != 1 {
		t.Fatalf("%d connections are open, want 1", n)
	}
	for range 2 {
		if _, record, err := post(t, t.Context(), c); err != nil || record["attempts"] != 1.0 {
			t.Fatalf("%v, %v", err, record)
		}
	}
	if n := s.connections.Load(); n != 1 {
		t.Errorf("%d connections, want the one opened ahead", n)
	}
	s.asked(t, 2)
}

// Where only a proxy has a way to WeChat, no time is lost with a connection past it.
func TestNothingIsOpenedAheadPastAProxy(t *testing.T) {
	s := serve(t, succeed)
	c := client(t, s.URL)
	c.transport.kept.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example"})
	c.Open(t.Context())
	if n := s.connections.Load(); n != 0 {
		t.Errorf("%d connections past the proxy", n)
	}
}

func TestARequestWaitsForTheConnectionThatIsBeingOpened(t *testing.T) {
	s := serve(t, succeed)
	c := client(t, s.URL)
	address := strings.TrimPrefix(s.URL, "https://")
	early := &opening{ready: make(chan struct{})}
	c.transport.opened[address] = early
	done := make(chan error)
	go func() {
		_, _, err := post(t, t.Context(), c)
		done <- err
	}()
	early.conn, early.err = newConn(c.transport.dialer.DialContext(t.Context(), "tcp", address))
	close(early.ready)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := s.connections.Load(); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

func TestAConnectionOpenedTooLongAgoIsNotUsed(t *testing.T) {
	s := serve(t, succeed)
	c := client(t, s.URL)
	c.Open(t.Context())
	early := c.transport.opened[strings.TrimPrefix(s.URL, "https://")]
	early.conn.lastUsed.Add(-int64(maxIdle + time.Second))
	if _, record, err := post(t, t.Context(), c); err != nil || record["attempts"] != 1.0 {
		t.Fatalf("%v, %v", err, record)
	}
	if n := s.connections.Load(); n != 2 {
		t.Errorf("%d connections, want a new one", n)
	}
	if err := early.conn.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the old one is still open: %v", err)
	}
}

func TestACallSurvivesAFailedOpen(t *testing.T) {
	for _, row := range transient {
		if row.alone == "UPSTREAM_TIMEOUT" {
			continue // see TestOpenEndsWithItsContext
		}
		second := serve(t, succeed)
		c := client(t, row.endpoint(t), second.URL)
		c.Open(t.Context())
		if answer, _, err := post(t, t.Context(), c); err != nil || answer.Status != 200 {
			t.Errorf("%s: %+v, %v", row.what, answer, err)
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	second := serve(t, succeed)
	c := client(t, mute(t), second.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c.Open(ctx)
	if answer, _, err := post(t, within(t, time.Second), c); err != nil || answer.Status != 200 {
		t.Errorf("%+v, %v", answer, err)
	}
}

// A connection that was reset while it was idle says nothing of its endpoint.
func TestAfterADeadConnectionTheSameEndpointGetsAnother(t *testing.T) {
	t.Parallel()
	const pause = minIdle + 50*time.Millisecond
	for _, row := range []struct {
		what   string
		pause  time.Duration    // before the second request
		resets func(n int) bool // the nth request to the first endpoint
		first  int              // requests to the first endpoint
		second int              // requests to the second endpoint
	}{
		{"one that had been kept", pause, func(n int) bool { return n == 2 }, 3, 0},
		{"but not for ever", pause, func(n int) bool { return n > 1 }, 3, 1},
		{"and not one that was in use a moment ago", 0, func(n int) bool { return n == 2 }, 2, 1},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			first := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
				if row.resets(n) {
					reset(w, r, n)
					return
				}
				succeed(w, r, n)
			})
			second := serve(t, succeed)
			c := client(t, first.URL, second.URL)
			for _, pause := range []time.Duration{0, row.pause} {
				time.Sleep(pause)
				if answer, _, err := post(t, t.Context(), c); err != nil || answer.Status != 200 {
					t.Fatalf("%+v, %v", answer, err)
				}
			}
			first.asked(t, row.first)
			second.asked(t, row.second)
		})
	}
	t.Run("one that was opened ahead", func(t *testing.T) {
		first, second := serve(t, succeed), serve(t, succeed)
		c := client(t, first.URL, second.URL)
		c.Open(t.Context())
		first.CloseClientConnections()
		time.Sleep(pause)
		if answer, record, err := post(t, t.Context(), c); err != nil || answer.Status != 200 || record["attempts"] != 2.0 {
			t.Fatalf("%+v, %v, %v", answer, err, record)
		}
		first.asked(t, 1)
		second.asked(t, 0)
	})
}

// TestEachConnectionHasItsOwnLastUse: four connections are idle, and three of them die in a
// freeze. The other one has been used since then, which says nothing about the three.
func TestEachConnectionHasItsOwnLastUse(t *testing.T) {
	t.Parallel()
	const all = 4
	var opened, dead sync.WaitGroup
	opened.Add(all)
	dead.Add(all - 1)
	var mu sync.Mutex
	died := map[string]bool{} // connections, by the client's address
	first := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		mu.Lock()
		switch {
		case n <= all:
			died[r.RemoteAddr] = true
		case n == all+1:
			delete(died, r.RemoteAddr)
		}
		isDead := died[r.RemoteAddr]
		mu.Unlock()
		switch {
		case n <= all: // each one on a connection of its own
			opened.Done()
			opened.Wait()
		case n == all+1:
		case isDead:
			dead.Done()
			dead.Wait()
			reset(w, r, n)
			return
		default:
			dead.Wait()
		}
		succeed(w, r, n)
	})
	second := serve(t, succeed)
	c := client(t, first.URL, second.URL)
	call := func(calls int) {
		t.Helper()
		var group sync.WaitGroup
		for range calls {
			group.Go(func() {
				if answer, _, err := post(t, within(t, 5*time.Second), c); err != nil || answer.Status != 200 {
					t.Errorf("%+v, %v", answer, err)
				}
			})
		}
		group.Wait()
	}
	call(all)
	time.Sleep(minIdle + 50*time.Millisecond)
	call(1)
	call(all)
	second.asked(t, 0)
	if c.budget.tokens != fullBucket || len(c.breakers.openUntil) > 0 {
		t.Errorf("%d tokens are left, %v are behind", c.budget.tokens, c.breakers.openUntil)
	}
}

// TestOneDeadConnectionIsEnough: the next attempt does not get another one that died too.
func TestOneDeadConnectionIsEnough(t *testing.T) {
	t.Parallel()
	const all = 4
	var opened sync.WaitGroup
	opened.Add(all)
	var old sync.Map // connections, by the client's address
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n <= all {
			old.Store(r.RemoteAddr, true)
			opened.Done()
			opened.Wait()
		} else if _, dead := old.Load(r.RemoteAddr); dead {
			reset(w, r, n)
			return
		}
		succeed(w, r, n)
	})
	c := client(t, s.URL)
	var group sync.WaitGroup
	for range all {
		group.Go(func() { _, _, _ = post(t, t.Context(), c) })
	}
	group.Wait()
	time.Sleep(minIdle + 50*time.Millisecond)
	if _, record, err := post(t, t.Context(), c); err != nil || record["attempts"] != 2.0 {
		t.Errorf("%v, %v", err, record)
	}
}

// Where a kept connection stays silent after a pause, another attempt is begun
// beside it, and the first answer counts, whichever gives it.
func TestSilenceAfterAPauseIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	first := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n > 1 {
			hang(w, r, n)
		}
	})
	second := serve(t, succeed)
	c := client(t, first.URL, second.URL)
	if _, _, err := post(t, t.Context(), c); err != nil {
		t.Fatal(err)
	}
	time.Sleep(minIdle + 50*time.Millisecond)
	answer, record, err := post(t, t.Context(), c)
	if err != nil || string(answer.Body) != "whole" {
		t.Fatalf("%+v, %v", answer, err)
	}
	if failed := fmt.Sprint(record["failed_attempts"]); record["attempts"] != 2.0 || !strings.Contains(failed, "slower than") {
		t.Errorf("attempts %v, failed %v", record["attempts"], failed)
	}
	second.asked(t, 1)
}

func TestASlowAnswerAfterAPauseIsStillTaken(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	first := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n > 1 {
			<-begun // the other attempt
		}
		succeed(w, r, n)
	})
	second := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		close(begun)
		hang(w, r, n)
	})
	c := client(t, first.URL, second.URL)
	for range 2 {
		answer, _, err := post(t, t.Context(), c)
		if err != nil || string(answer.Body) != "whole" {
			t.Fatalf("%+v, %v", answer, err)
		}
		time.Sleep(minIdle + 50*time.Millisecond)
	}
	first.asked(t, 2)
	second.asked(t, 1)
}

// deaf is a connection whose peer is gone, which only the next write finds out.
type deaf struct {
	net.Conn
	gone *atomic.Bool
}

func (d deaf) Write(b []byte) (int, error) {
	if d.gone.Load() {
		return 0, errors.New("connection reset by peer")
	}
	return d.Conn.Write(b)
}

// net/http makes a new connection by itself where nothing could be written to
// an old one. The new one is under no suspicion: it may be slow.
func TestANewConnectionIsUnderNoSuspicion(t *testing.T) {
	t.Parallel()
	const slow = (idleHedgeDelay + hedgeDelay) / 2
	first := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n > 1 {
			select {
			case <-time.After(slow):
			case <-r.Context().Done():
			}
		}
		succeed(w, r, n)
	})
	second := serve(t, succeed)
	c := client(t, first.URL, second.URL)
	var gone atomic.Bool // for the first connection
	wrapped := false
	c.transport.kept.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := c.transport.dial(ctx, network, address)
		if err == nil && !wrapped {
			wrapped = true
			conn = deaf{conn, &gone}
		}
		return conn, err
	}
	if _, _, err := post(t, t.Context(), c); err != nil {
		t.Fatal(err)
	}
	gone.Store(true)
	time.Sleep(minIdle + 50*time.Millisecond)
	answer, record, err := post(t, t.Context(), c)
	if err != nil || answer.Status != 200 || record["attempts"] != 1.0 {
		t.Errorf("%+v, %v, failed attempts %v", answer, err, record["failed_attempts"])
	}
	first.asked(t, 2)
	second.asked(t, 0)
}

// Where the preferred endpoint is slow to connect, the next one is opened beside
// it, and the first request goes there.
func TestOpenIsHedged(t *testing.T) {
	t.Parallel()
	second := serve(t, succeed)
	c := client(t, mute(t), second.URL)
	begun := time.Now()
	c.Open(t.Context())
	if took := time.Since(begun); took < hedgeDelay || took >= attemptTimeout {
		t.Errorf("took %v", took)
	}
	if answer, record, err := post(t, t.Context(), c); err != nil || answer.Status != 200 || record["attempts"] != 1.0 {
		t.Errorf("%+v, %v, %v", answer, err, record)
	}
	if n := second.connections.Load(); n != 1 {
		t.Errorf("%d connections, want the one that was opened", n)
	}
}

func TestOpenTakesThreeSecondsAtMost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 3 s")
	}
	t.Parallel()
	begun := time.Now()
	client(t, mute(t), mute(t)).Open(t.Context())
	if took := time.Since(begun); took >= 2*attemptTimeout { // a busy machine needs some time itself
		t.Errorf("took %v", took)
	}
}
