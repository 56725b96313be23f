package sandbox

import (
	"bytes"
	"crypto/tls"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Answer is an answer before it is sent.
type Answer struct {
	Status int
	Header http.Header // a nil value suppresses the server's own header
	Body   []byte

	Signing any           // how the sandbox signs the answer, for its own faults
	Finish  func(*Answer) // if not nil: changes the answer after the faults, as a signature does

	other  string        // the URL of the same request at the other endpoint
	delay  time.Duration // before the first byte; forever means that nothing is sent
	cut    bool          // send half of the body
	resets bool          // send an RST
}

const forever time.Duration = math.MaxInt64

func (a *Answer) hangs() bool { return a.delay == forever }

// sent returns the status that will be sent, or 0 if nothing will.
func (a *Answer) sent() int {
	if a.resets || a.hangs() {
		return 0
	}
	return a.Status
}

func (a *Answer) send(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
	if a.resets {
		reset(w)
		return
	}
	if a.delay > 0 {
		select {
		case <-time.After(a.delay):
		case <-r.Context().Done():
		case <-stop:
		}
	}
	if a.hangs() {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	if a.Status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	maps.Copy(h, a.Header)
	wire := a.Body
	if a.cut {
		wire = wire[:len(wire)/2] // the server then closes the connection
	}
	w.WriteHeader(a.Status)
	w.Write(wire)
}

// reset closes the request's connection with an RST.
func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	below := c.(*tls.Conn).NetConn()
	below.(interface{ SetLinger(int) error }).SetLinger(0)
	below.Close()
}

// Fault changes an answer.
type Fault func(*Answer)

// Hang sends nothing until the client or the server closes the connection.
func Hang() Fault { return Slow(forever) }

// Slow delays the answer by d.
func Slow(d time.Duration) Fault { return func(a *Answer) { a.delay = d } }

// Reset sends an RST instead of an answer.
func Reset() Fault { return func(a *Answer) { a.resets = true } }

// Truncated sends the Content-Length of the whole body but only half of the body, and
// closes the connection.
func Truncated() Fault { return func(a *Answer) { a.cut = true } }

// Oversized appends 1 MiB of white space to the body.
func Oversized() Fault {
	return func(a *Answer) { a.Body = append(a.Body, bytes.Repeat([]byte(" "), 1<<20)...) }
}

// Redirect answers 302 with the same URL at the other endpoint. If the client follows it,
// the log has that request.
func Redirect() Fault {
	return func(a *Answer) {
		a.Status = http.StatusFound
		a.Header.Set("Location", a.other)
	}
}

// Status answers with a status code and a body. A body that begins with < is sent as HTML.
func Status(code int, body string) Fault {
	return func(a *Answer) {
		a.Status, a.Body = code, []byte(body)
		if strings.HasPrefix(body, "<") {
			a.Header.Set("Content-Type", "text/html; charset=utf-8")
		}
	}
}

// Body answers 200 with another body.
func Body(body string) Fault { return Status(http.StatusOK, body) }

// With returns the fault with a header added to the answer, such as Retry-After.
func (f Fault) With(name, value string) Fault {
	return func(a *Answer) {
		f(a)
		a.Header.Set(name, value)
	}
}
