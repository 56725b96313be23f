// What is answered, and how a fault may bend it.

package officialaccount

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"membercard/local/sandbox"
)

// refusal is an error answer.
type refusal struct {
	Errcode int    `json:"errcode"`
	Errmsg  string `json:"errmsg"`
}

func refuse(errcode int, errmsg string) *refusal { return &refusal{errcode, errmsg} }

// newRID makes the number of a request that WeChat ends its errors with: the
// time and two random words.
func newRID(now time.Time) string {
	b := make([]byte, 8)
	rand.Read(b)
	return fmt.Sprintf("%08x-%x-%x", now.Unix(), b[:4], b[4:])
}

// Fault is a way in which an answer goes wrong.
type Fault = sandbox.Fault

// Hang answers nothing until the client or the sandbox closes the connection.
func Hang() Fault { return sandbox.Hang() }

// Reset answers with an RST instead of HTTP.
func Reset() Fault { return sandbox.Reset() }

// Truncated announces the whole body, sends half of it and closes the
// connection.
func Truncated() Fault { return sandbox.Truncated() }

// Oversized appends 1 MiB of white space to the body.
func Oversized() Fault { return sandbox.Oversized() }

// Redirect answers 302 with the same URL at the other endpoint. A client that
// follows is seen in the log of requests.
func Redirect() Fault { return sandbox.Redirect() }

// Status answers with a status code of three digits and a body, as a proxy on
// the way would. A body that begins with < is sent as HTML.
func Status(code int, body string) Fault { return sandbox.Status(code, body) }

// Body answers 200 with any body.
func Body(body string) Fault { return Status(http.StatusOK, body) }
