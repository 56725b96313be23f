// Package network has a TCP listener that injects faults into its connections, below TLS
// and HTTP. While a function is frozen between two invocations, peers close its idle
// connections, middleboxes drop them and hosts disappear. The listener simulates that, so
// that a test can observe how the client recovers.
package network

import (
	"errors"
	"maps"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Drop is how an open connection ends without its client having closed it.
type Drop int32

const (
	// FIN closes the connection: the client's next read is an EOF.
	FIN Drop = iota + 1

	// Reset drops the connection without notice: the client receives an RST when it next
	// writes.
	Reset

	// Silence keeps the connection open, but discards all data in both directions.
	Silence
)

// Listener is a [net.Listener] on 127.0.0.1. It is safe for concurrent use.
type Listener struct {
	addr net.Addr

	mu       sync.Mutex
	listens  *sync.Cond   // signalled when inner or closed changes
	inner    net.Listener // nil while connections are refused
	closed   bool
	delay    time.Duration
	cut      func() int
	conns    map[*conn]struct{}
	accepted int
}

// Listen listens on a free port of 127.0.0.1.
func Listen() (*Listener, error) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Listener{addr: inner.Addr(), inner: inner, conns: make(map[*conn]struct{})}
	l.listens = sync.NewCond(&l.mu)
	return l, nil
}

// Accept waits for the next connection, even while connections are refused. The
// connections have the method SetLinger of [net.TCPConn].
func (l *Listener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		for l.inner == nil && !l.closed {
			l.listens.Wait()
		}
		inner, closed := l.inner, l.closed
		l.mu.Unlock()
		if closed {
			return nil, net.ErrClosed
		}
		accepted, err := inner.Accept()
		if err == nil {
			return l.add(accepted.(*net.TCPConn)), nil
		}
		if !errors.Is(err, net.ErrClosed) { // by Refuse or Close
			return nil, err
		}
	}
}

// add registers a connection.
func (l *Listener) add(tcp *net.TCPConn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &conn{Conn: tcp, listener: l, ready: time.Now().Add(l.delay), done: make(chan struct{})}
	c.left.Store(math.MaxInt64)
	if l.cut != nil {
		c.left.Store(int64(l.cut()))
	}
	l.conns[c] = struct{}{}
	l.accepted++
	return c
}

// Close stops listening. It does not close accepted connections.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	l.listens.Broadcast()
	if l.inner == nil {
		return nil
	}
	return l.inner.Close()
}

// Addr returns the listener's address, even while it refuses connections.
func (l *Listener) Addr() net.Addr { return l.addr }

// Delay makes each connection accepted from now on wait for d before its first byte is
// read or written, as if the host were distant.
func (l *Listener) Delay(d time.Duration) { l.do(func() { l.delay = d }) }

// Cut ends each connection accepted from now on with an RST, after points() bytes in both
// directions together. So it may end during the handshake, a request or an answer. It
// calls points once for each connection. A nil points ends that.
func (l *Listener) Cut(points func() int) { l.do(func() { l.cut = points }) }

// Drop ends all connections that are open now, including those with a request in
// progress. It does not affect later ones.
func (l *Listener) Drop(how Drop) {
	var conns []*conn
	l.do(func() { conns = slices.Collect(maps.Keys(l.conns)) })
	for _, c := range conns {
		if c.dropped.Store(int32(how)); how == FIN {
			c.Close()
		}
	}
}

// Refuse sets whether new connections are refused. It does not affect open connections.
// Refuse(false) fails if another process has taken the port in the meantime.
func (l *Listener) Refuse(on bool) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return net.ErrClosed
	case on && l.inner != nil:
		err, l.inner = l.inner.Close(), nil
	case !on && l.inner == nil:
		var inner net.Listener
		if inner, err = net.Listen("tcp4", l.addr.String()); err == nil {
			l.inner = inner
			l.listens.Broadcast()
		}
	}
	return err
}

// Accepted returns the number of connections accepted so far.
func (l *Listener) Accepted() (n int) {
	l.do(func() { n = l.accepted })
	return n
}

// Open returns the number of accepted connections that this side has not closed.
func (l *Listener) Open() (n int) {
	l.do(func() { n = len(l.conns) })
	return n
}

func (l *Listener) do(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// conn does not embed *net.TCPConn, whose ReadFrom would bypass Write.
type conn struct {
	net.Conn
	listener *Listener
	ready    time.Time     // when the first byte may be read or written
	closing  sync.Once     // guards done
	done     chan struct{} // closed by Close
	dropped  atomic.Int32  // a Drop, or 0
	left     atomic.Int64  // bytes until the cut
}

func (c *conn) Read(p []byte) (int, error) {
	c.wait()
	for {
		n, err := c.Conn.Read(p)
		switch how := Drop(c.dropped.Load()); {
		case c.left.Add(-int64(n)) <= 0, n > 0 && how == Reset:
			return 0, c.reset()
		case n > 0 && how == Silence:
			continue
		}
		return n, err
	}
}

func (c *conn) Write(p []byte) (int, error) {
	c.wait()
	switch Drop(c.dropped.Load()) {
	case Reset:
		return 0, c.reset()
	case Silence:
		return len(p), nil
	}
	left := c.left.Add(-int64(len(p)))
	if left > 0 {
		return c.Conn.Write(p)
	}
	_, _ = c.Conn.Write(p[:max(len(p)+int(left), 0)]) // the reset is the outcome
	return 0, c.reset()
}

func (c *conn) Close() error {
	err := net.ErrClosed
	c.closing.Do(func() {
		close(c.done)
		c.listener.do(func() { delete(c.listener.conns, c) })
		err = c.Conn.Close()
	})
	return err
}

// SetLinger is the method of [net.TCPConn]: with 0 seconds Close sends an RST.
func (c *conn) SetLinger(seconds int) error { return c.Conn.(*net.TCPConn).SetLinger(seconds) }

// wait waits for the rest of the delay of a new connection.
func (c *conn) wait() {
	if d := time.Until(c.ready); d > 0 {
		select {
		case <-time.After(d):
		case <-c.done:
		}
	}
}

// reset sends the client an RST, and returns the error that the server would get.
func (c *conn) reset() error {
	if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
		return err
	}
	return syscall.ECONNRESET
}
