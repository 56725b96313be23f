// Package upstream calls WeChat, which has two or more endpoints for every
// operation. It makes calls survive what happens in networks, without making an
// outage of WeChat worse:
//
//   - Timeouts. An attempt has 3 s, and leaves time for the other endpoints.
//   - Failover. After a connection failure, a truncated answer, a timeout or a 5xx
//     the next endpoint is tried, then all of them again after an exponential
//     backoff with full jitter. A call makes at most 4 attempts.
//   - Rate limits. After a 429 there is one further attempt at most, at the same
//     endpoint and after Retry-After.
//   - Hedging. If the first byte of an answer is late, the next endpoint is tried
//     at the same time, and the first answer counts.
//   - Retry budget. While everything fails, attempts beyond one for each call die
//     out; see budget.
//   - Circuit breakers. An endpoint that hung or could not be reached goes behind
//     the others for 30 s; then one call tries it again. See breakers.
//   - [Once]. What must not be done twice is only tried again if WeChat surely did
//     not read the request.
//
// The rules themselves are in policy.go. The package knows nothing of signatures
// or of what an answer means.
package upstream

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

// ErrNoTime is the cause where nothing was sent, for want of time.
var ErrNoTime = errors.New("no time was left to call WeChat")

// ErrUnderWay is for a send function to return if WeChat says that another attempt of
// the same call has done the operation, of which that one has the result.
var ErrUnderWay = errors.New("another attempt of the call has done it")

// Answer is a whole answer of WeChat, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most 1 MiB, unpacked
}

// RequestID is what WeChat's support asks for. It goes into answers and logs, so
// what does not look like one is left out.
func (a *Answer) RequestID() string {
	id := a.Header.Get("Request-ID")
	if len(id) > 128 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return ""
	}
	return id
}

// RetryAfter returns the header Retry-After, which is in seconds or a date, but an
// hour at most. It returns 0 if there is none.
func (a *Answer) RetryAfter() time.Duration {
	value := a.Header.Get("Retry-After")
	var wait time.Duration
	if seconds, err := strconv.Atoi(value); err == nil {
		wait = time.Duration(min(seconds, 3600)) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		wait = time.Until(date).Round(time.Second)
	}
	return min(max(wait, 0), time.Hour)
}

// Failed is a failure that this answer is the reason for, with its Request-ID.
func (a *Answer) Failed(e *apierror.Error) error {
	e.RequestID = a.RequestID()
	return e
}

// Invalid is the failure for an answer that can't be used.
func (a *Answer) Invalid(cause error) error { return a.Failed(apierror.InvalidResponse(cause)) }

// Text returns a member of the answer that is a string. Its error, if the member is
// missing, of another type or empty, is that of [Answer.Invalid].
func (a *Answer) Text(name string) (string, error) {
	var text string
	if !strictjson.Member(a.Body, name, &text) || text == "" {
		return "", a.Invalid(errors.New("the answer has no " + name))
	}
	return text, nil
}

// Client calls a list of endpoints. It is safe for concurrent use. What it learns
// of the endpoints holds for all calls of an instance, and is dated by the wall
// clock, because the instance may be frozen between two calls.
type Client struct {
	transport *transport
	breakers  *breakers
	budget    *budget
}

// New returns a Client for endpoints, which are base URLs in order of
// preference; see [Endpoints].
func New(endpoints []string) *Client {
	return &Client{transport: newTransport(), breakers: newBreakers(endpoints), budget: newBudget()}
}

// Open opens a connection for the first request to come, and returns when it is
// there, when it can't be had, or after 3 s. An endpoint that is slow to connect is
// hedged as in a call.
func (c *Client) Open(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	call := c.newCall(func(ctx context.Context, endpoint string) (*Answer, error) {
		return &Answer{Status: http.StatusOK}, c.transport.open(ctx, endpoint)
	}, nil)
	call.try(ctx)
}

// HTTP makes single attempts. It follows no redirect, reads whole answers only
// and none over 1 MiB.
func (c *Client) HTTP() *http.Client {
	return &http.Client{Transport: c.transport}
}

// An Option changes how a call is made.
type Option int

// Once is for an operation that must not be done twice, or must not be asked for
// twice. An attempt is only repeated if WeChat surely did not read the request:
// there was no connection, or its TLS handshake failed. After any other failure,
// nobody knows whether the operation was done. There are no hedges, and each
// attempt has a connection of its own, because one that was open before may be
// dead without anybody knowing how much of the request came through.
const Once Option = 1

// Do makes a call. It has send make an attempt at one endpoint after the other,
// with [Client.HTTP], until one gives an answer. A failed attempt is an error or a
// status 429 or 5xx; but an [apierror.Error] ends the call. send may be called
// while another call of it is under way.
//
// If the last answers are 429 or 5xx, the last one is returned. If there was no
// answer, the error is an [apierror.Error]: a timeout or unreachable.
func (c *Client) Do(ctx context.Context, send func(ctx context.Context, endpoint string) (*Answer, error), options ...Option) (*Answer, error) {
	call := c.newCall(send, options)
	defer func() { telemetry.Called(ctx, call.attempts, call.failures) }()
	for {
		outcome, begun := call.try(ctx)
		if !begun {
			return call.end()
		}
		if outcome.result() == final {
			return outcome.end()
		}
		step, again := call.next(outcome)
		if !again || !call.wait(ctx, step) {
			return call.end()
		}
	}
}
