package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	"membercard/shared/wall"
)

const (
	// maxAnswer is how much of an answer is read, unpacked: 1 MiB.
	maxAnswer = 1 << 20

	// maxIdle is how long an unused connection is trusted, by the wall clock.
	// WeChat closes one after 8 s; a function that was frozen does not see that.
	maxIdle = 7 * time.Second

	// A connection that was idle for longer than suspectAfter may have died
	// while the function was frozen: it gets graceOfSuspect to show the first
	// byte of an answer, not the whole time of an attempt.
	suspectAfter   = 100 * time.Millisecond
	graceOfSuspect = time.Second
)

var (
	errTooLarge = errors.New("the answer is over 1 MiB")
	errSilent   = errors.New("a connection from before a pause stayed silent")
)

// brokenError is an attempt that ended without a whole answer.
type brokenError struct {
	err  error
	kept bool // it was made on a connection that had been kept, not on a new one
}

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// transport makes one attempt: it gives a whole answer or an error, and knows
// about connections that died while nobody looked.
type transport struct {
	base   *http.Transport
	dialer tls.Dialer

	mu       sync.Mutex
	lastUsed time.Time   // when a connection last did something, by the wall clock
	ahead    *connection // opened before a request needs it
	early    net.Conn    // what ahead became: kept from before the request, though new to it
}

// connection is one that is being opened before a request needs it.
type connection struct {
	address string
	ready   chan struct{} // closed when the fields below are set
	conn    net.Conn
	err     error
}

func newTransport() *transport {
	t := &transport{dialer: tls.Dialer{
		Config: &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(4)},
	}}
	t.base = &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		DialTLSContext:  t.dial,
		TLSClientConfig: t.dialer.Config,
		IdleConnTimeout: maxIdle,
		// An instance has one request at a time: HTTP/2 would only cost its start.
		Protocols: new(http.Protocols),
	}
	t.base.Protocols.SetHTTP1(true)
	return t
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	defer cancel(nil)

	kept := false
	grace := time.AfterFunc(time.Hour, func() { cancel(errSilent) })
	defer grace.Stop()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			t.mu.Lock()
			defer t.mu.Unlock()
			kept = info.Reused || info.Conn == t.early
			grace.Stop() // what ran for a connection that net/http gave up by itself
			if kept && wall.Since(t.lastUsed) > suspectAfter {
				grace.Reset(graceOfSuspect)
			}
		},
		GotFirstResponseByte: func() { grace.Stop() },
	})

	request = request.Clone(ctx)
	request.Header.Set("Accept", "application/json") // what the documents ask for
	response, err := t.base.RoundTrip(request)
	if err == nil {
		err = readWhole(response)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, &brokenError{err, kept}
	}
	t.used()
	return response, nil
}

// readWhole replaces an answer's body with what was read of it, so that nobody
// above meets a body that breaks off, or one without end.
func readWhole(response *http.Response) error {
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	if len(body) > maxAnswer {
		return errTooLarge
	}
	response.Body = io.NopCloser(strings.NewReader(string(body)))
	return nil
}

// open starts opening a connection to the endpoint for the first request to
// come, and waits until it is there.
func (t *transport) open(ctx context.Context, endpoint string) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return
	}
	if proxy, err := t.base.Proxy(&http.Request{URL: u}); proxy != nil || err != nil {
		return
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "443")
	}
	c := &connection{address: address, ready: make(chan struct{})}
	t.mu.Lock()
	t.ahead = c
	t.mu.Unlock()
	// Reading the root certificates takes longer than the handshake that needs
	// them; it is done once a process.
	go x509.SystemCertPool()
	c.conn, c.err = t.dialer.DialContext(ctx, "tcp", address)
	t.used()
	close(c.ready)
}

func (t *transport) used() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastUsed = wall.Now()
}

// dial gives the connection that was opened ahead, once, or a new one.
func (t *transport) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c := t.take(address); c != nil {
		select {
		case <-c.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if c.err == nil && t.trust(c.conn) {
			return c.conn, nil
		}
	}
	return t.dialer.DialContext(ctx, network, address)
}

// take hands out the connection opened ahead to the address, if there is one.
func (t *transport) take(address string) *connection {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ahead == nil || t.ahead.address != address {
		return nil
	}
	c := t.ahead
	t.ahead = nil
	return c
}

// trust says whether a connection that was opened ahead is young enough to use.
func (t *transport) trust(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if wall.Since(t.lastUsed) > maxIdle {
		c.Close()
		return false
	}
	t.early = c
	return true
}
