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
	"sync"
	"sync/atomic"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/tlsdial"
	"membercard/shared/wallclock"
)

const (
	// maxAnswer is the maximum size of an answer's body, decompressed: 1 MiB.
	maxAnswer = 1 << 20

	// maxIdle is how long an idle connection is kept. WeChat closes it after 8 s,
	// which a function that is frozen does not notice.
	maxIdle = 7 * time.Second

	// minIdle is how long a connection must have been idle before it counts as one
	// that may have died in a freeze.
	minIdle = 100 * time.Millisecond
)

// ErrTooLarge is the error of [Client.Send] for an answer over 1 MiB.
var ErrTooLarge = errors.New("the answer is over 1 MiB")

var (
	errBrokeOff = errors.New("the answer broke off")
	errNoHTTP   = errors.New("the connection broke, or the answer is not HTTP")
)

// transport sends the requests of attempts, and tells each attempt about its connection.
type transport struct {
	dialer *tlsdial.Dialer
	kept   *http.Transport // keeps connections alive
	single *http.Transport // opens a connection for each request; see [Client.Do]

	mu     sync.Mutex
	opened map[string]*opening // ahead of a request, by address
}

type opening struct {
	ready chan struct{} // closed when the fields below are set
	conn  *conn
	err   error
}

// conn is a connection that knows when it was last used. net/http knows it too, but not
// by the wall clock.
type conn struct {
	net.Conn
	lastUsed atomic.Int64 // Unix time in nanoseconds
}

func newConn(c net.Conn, err error) (*conn, error) {
	if err != nil {
		return nil, err
	}
	used := &conn{Conn: c}
	used.touch()
	return used, nil
}

func (c *conn) Read(b []byte) (n int, err error) {
	if n, err = c.Conn.Read(b); n > 0 {
		c.touch()
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	c.touch()
	return c.Conn.Write(b)
}

func (c *conn) touch() { c.lastUsed.Store(wallclock.Now().UnixNano()) }

func (c *conn) idle() time.Duration { return wallclock.Since(time.Unix(0, c.lastUsed.Load())) }

func newTransport() *transport {
	dialer := tlsdial.New()
	t := &transport{dialer: dialer, kept: dialer.Transport(), single: dialer.Transport(), opened: map[string]*opening{}}
	t.kept.DialTLSContext = t.dial
	t.kept.IdleConnTimeout = maxIdle
	t.kept.MaxIdleConnsPerHost = 8 // a sync has a few requests at a time
	t.single.DisableKeepAlives = true
	return t
}

// send sends the request of an attempt, and returns the complete answer.
func (t *transport) send(request *http.Request) (*Answer, error) {
	a := request.Context().Value(attemptKey{}).(*attempt)
	ctx := httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			idle := info.IdleTime // through a proxy; may be too short after a freeze
			if c, ok := info.Conn.(*conn); ok {
				idle = c.idle()
			}
			a.gotConnection(idle > minIdle)
		},
		GotFirstResponseByte: a.gotFirstByte,
	})
	request = request.Clone(ctx)
	request.Header.Set("Accept", "application/json") // what the documents ask for
	through := t.kept
	if a.once {
		through = t.single
	}
	// http.Client would follow redirects.
	response, err := through.RoundTrip(request)
	var body []byte
	if err == nil {
		body, err = read(response)
	}
	if err != nil {
		if a.wasIdle.Load() && ctx.Err() == nil {
			// The other idle connections have probably died as well.
			t.kept.CloseIdleConnections()
		}
		return nil, loggable(ctx, err)
	}
	return &Answer{Status: response.StatusCode, Header: response.Header, Body: body}, nil
}

// loggable returns an error that may be logged instead of err. The errors of net/http
// quote what it can't parse, which may be an answer with a token.
func loggable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	_, isNet := errors.AsType[net.Error](err) // of the network, of TLS, of a name
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	if isNet || isCertificate || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrTooLarge) || errors.Is(err, errBrokeOff) {
		return err
	}
	return errNoHTTP
}

// read reads the whole body of an answer. Of an answer whose status alone says what to do
// next, a larger body is dropped.
func read(response *http.Response) ([]byte, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBrokeOff, err)
	}
	switch status := response.StatusCode; {
	case len(body) <= maxAnswer:
		return body, nil
	case apierror.Transient(status), status == http.StatusUnauthorized, status/100 == 3:
		return nil, nil
	}
	return nil, ErrTooLarge
}

// open opens a connection for the next request to the endpoint, which waits for it if
// it is not ready. Behind a proxy it does nothing.
func (t *transport) open(ctx context.Context, endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	if proxy, err := t.kept.Proxy(&http.Request{URL: u}); proxy != nil || err != nil {
		return err
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "443")
	}
	o := &opening{ready: make(chan struct{})}
	t.mu.Lock()
	t.opened[address] = o
	t.mu.Unlock()
	o.conn, o.err = newConn(t.dialer.DialContext(ctx, "tcp", address))
	close(o.ready)
	return o.err
}

// dial returns the connection that was opened ahead, if there is one, or else a new
// one.
func (t *transport) dial(ctx context.Context, network, address string) (net.Conn, error) {
	t.mu.Lock()
	o := t.opened[address]
	delete(t.opened, address)
	t.mu.Unlock()
	if o != nil {
		select {
		case <-o.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if o.err == nil && o.conn.idle() <= maxIdle {
			return o.conn, nil
		}
		if o.err == nil {
			o.conn.Close()
		}
	}
	return newConn(t.dialer.DialContext(ctx, network, address))
}
