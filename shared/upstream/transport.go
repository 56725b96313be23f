package upstream

import (
	"context"
	"crypto/tls"
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

	"membercard/shared/tlsdial"
	"membercard/shared/wallclock"
)

const (
	// maxAnswer is how much of an answer is read, unpacked: 1 MiB.
	maxAnswer = 1 << 20

	// maxIdle is how long an unused connection is trusted, by the wall clock.
	// WeChat closes one after 8 s; a function that was frozen does not see that.
	maxIdle = 7 * time.Second

	// A connection that was idle for longer than suspectAfter may have died
	// while the function was frozen. If it does not show the first byte of an
	// answer within grace, another attempt is begun beside the one on it: WeChat
	// may only be slow.
	suspectAfter = 100 * time.Millisecond
	grace        = 500 * time.Millisecond
)

var (
	errTooLarge = errors.New("the answer is over 1 MiB")
	errBrokeOff = errors.New("the answer broke off")
	errNoHTTP   = errors.New("the connection broke, or the answer is not HTTP")
)

// doubtKey is the key of a func() in an attempt's context that is called when its
// connection seems dead.
type doubtKey struct{}

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
	dialer *tlsdial.Dialer

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
	t := &transport{dialer: tlsdial.New()}
	t.base = &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		DialTLSContext:  t.dial,
		TLSClientConfig: t.dialer.Config,
		IdleConnTimeout: maxIdle,
		// A sync has a few requests at a time.
		MaxIdleConnsPerHost: 8,
		// An answer has a dozen headers.
		MaxResponseHeaderBytes: 64 << 10,
		// An instance has one request at a time: HTTP/2 would only cost its start.
		Protocols: new(http.Protocols),
	}
	t.base.Protocols.SetHTTP1(true)
	return t
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	kept := false
	doubt, _ := request.Context().Value(doubtKey{}).(func())
	var watch *time.Timer
	ctx := httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			t.mu.Lock()
			defer t.mu.Unlock()
			kept = info.Reused || info.Conn == t.early
			if watch != nil {
				watch.Stop() // it was for a connection that net/http gave up by itself
			}
			if kept && doubt != nil && wallclock.Since(t.lastUsed) > suspectAfter {
				watch = time.AfterFunc(grace, doubt)
			}
		},
		GotFirstResponseByte: func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			if watch != nil {
				watch.Stop()
			}
		},
	})
	request = request.Clone(ctx)
	request.Header.Set("Accept", "application/json") // what the documents ask for
	response, err := t.base.RoundTrip(request)
	if err == nil {
		err = readWhole(response)
	}
	if err != nil {
		return nil, &brokenError{presentable(ctx, err), kept}
	}
	// With a Location http.Client would follow a redirect, or fail to parse it.
	response.Header.Del("Location")
	t.used()
	return response, nil
}

// presentable is an error that may be logged. net/http quotes what it can't read,
// and that may be an answer with a token.
func presentable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	_, isNet := errors.AsType[net.Error](err) // of the network, of TLS, of a name
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	if isNet || isCertificate || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errTooLarge) || errors.Is(err, errBrokeOff) {
		return err
	}
	return errNoHTTP
}

// readWhole replaces an answer's body with what was read of it, so that nobody
// above meets a body that breaks off, or one without end.
func readWhole(response *http.Response) error {
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("%w: %w", errBrokeOff, err)
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
	c.conn, c.err = t.dialer.DialContext(ctx, "tcp", address)
	t.used()
	close(c.ready)
}

func (t *transport) used() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastUsed = wallclock.Now()
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
	if wallclock.Since(t.lastUsed) > maxIdle {
		c.Close()
		return false
	}
	t.early = c
	return true
}
