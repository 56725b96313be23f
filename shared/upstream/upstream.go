// Package upstream calls WeChat, which has two or more endpoints for every
// operation. Calls survive network failures without making an outage of WeChat worse:
//
//   - Timeouts. An attempt takes at most 3 s, and leaves time for the other endpoints.
//   - Failover. After a connection failure, a truncated answer, a timeout or a 5xx
//     the next endpoint is tried, then all of them again after an exponential
//     backoff with full jitter. A call makes at most 4 attempts.
//   - Untrusted answers. After an answer that send does not trust there is one further
//     attempt, at the same endpoint.
//   - Rate limits. A 429 is returned at once. If another attempt is under way, its
//     answer counts.
//   - Hedging. If the first byte of an answer is late, the next endpoint is tried
//     at the same time, and the first answer counts.
//   - Retry budget. While every call fails, there are soon no more retries; see
//     budget.
//   - Circuit breakers. An endpoint that hung or could not be reached goes behind
//     the others for 30 s; then one call tries it again. See breakers.
//   - Once. An operation that must not be done twice is only tried again if it is
//     certain that WeChat did not read the request; see [Client.Do].
//
// The rules are in policy.go. The package knows neither signatures nor the contents of
// answers.
package upstream

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/deadline"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
	"membercard/shared/validation"
)

// ErrNoTime is the cause of a timeout if there was no time for a single attempt, so
// that nothing was sent.
var ErrNoTime = errors.New("no time was left to call WeChat")

// ErrUntrusted is for a send function to return, around an [apierror.Error], if the
// signature of an answer is not valid. If the further attempt does not succeed either,
// the call's error is that [apierror.Error].
var ErrUntrusted = errors.New("the answer is not trusted")

// ErrUnderWay is for a send function to return if WeChat says that another attempt of
// the same call has already done the operation. That attempt may still be under way,
// and its answer has the result.
var ErrUnderWay = errors.New("another attempt of the call has done it")

// Answer is a complete answer of WeChat with any status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most 1 MiB, decompressed
}

// RequestID returns the header Request-ID, which WeChat's support asks for. It returns
// "" unless the header has 1 to 128 visible ASCII characters, because the ID becomes
// part of answers and log records.
func (a *Answer) RequestID() string {
	id := a.Header.Get("Request-ID")
	if len(id) > 128 || validation.HalfWidth(id) != "" {
		return ""
	}
	return id
}

// RetryAfter returns the wait that the header Retry-After asks for, in seconds or with
// a date. It is at most an hour, and 0 if the header is missing or malformed.
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

// WithRequestID returns e with the answer's Request-ID.
func (a *Answer) WithRequestID(e *apierror.Error) error {
	e.RequestID = a.RequestID()
	return e
}

// Invalid returns the INVALID_RESPONSE error for an answer of the wrong form.
func (a *Answer) Invalid(cause error) error { return a.WithRequestID(apierror.WrongForm(cause)) }

// RequireObject returns the error of [Answer.Invalid] unless the answer is a JSON object.
func (a *Answer) RequireObject() error {
	if !strictjson.IsObject(a.Body) {
		return a.Invalid(errors.New("the answer is not a JSON object"))
	}
	return nil
}

// Text returns a member of the answer that is a string. If the member is missing, empty
// or of another type, it returns the error of [Answer.Invalid].
func (a *Answer) Text(name string) (string, error) {
	var text string
	if !strictjson.Member(a.Body, name, &text) || text == "" {
		return "", a.Invalid(errors.New("the answer has no " + name))
	}
	return text, nil
}

// Client makes calls to a list of endpoints. It is safe for concurrent use. All its
// calls share what it learns about the endpoints. Times are those of the wall clock,
// because Lambda may freeze the process between two calls.
type Client struct {
	transport *transport
	breakers  *breakers
	budget    *budget
}

// New returns a Client for the given base URLs, in order of preference; see
// [Endpoints].
func New(endpoints []string) *Client {
	return &Client{transport: newTransport(), breakers: newBreakers(endpoints), budget: newBudget()}
}

// Open opens a connection for the next request. It returns when the connection is
// open, when no endpoint could be reached, or after 3 s. If an endpoint is slow to
// connect, the next one is tried at the same time.
func (c *Client) Open(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	call := c.newCall(false, func(ctx context.Context, endpoint string) (*Answer, error) {
		return &Answer{Status: http.StatusOK}, c.transport.open(ctx, endpoint)
	})
	call.try(ctx, call.nextEndpoint())
}

// Send makes a single attempt, as a part of a call; see [Client.Do]. It follows no
// redirects, and fails if an answer is incomplete or larger than 1 MiB.
func (c *Client) Send(request *http.Request) (*Answer, error) { return c.transport.send(request) }

// Do makes a call. It calls send, which makes an attempt at an endpoint with
// [Client.Send], until there is an answer other than a 5xx or the rules of the package
// allow no further attempt. If send returns an [apierror.Error], the call ends with it,
// except around [ErrUntrusted]. Hedges call send concurrently.
//
// With once, the operation must not be done twice. An attempt is only repeated if it is
// certain that WeChat did not read the request: there was no connection, or its TLS
// handshake failed. There are no hedges. Each attempt has a connection of its own, because
// if an older connection breaks, it is unknown whether WeChat read the request.
//
// If every attempt failed, Do returns the last 5xx. If there was none, the error is an
// [apierror.Error]: UPSTREAM_TIMEOUT, UPSTREAM_UNREACHABLE, INVALID_RESPONSE or that of
// an untrusted answer.
func (c *Client) Do(ctx context.Context, once bool, send func(ctx context.Context, endpoint string) (*Answer, error)) (*Answer, error) {
	call := c.newCall(once, send)
	defer func() { telemetry.Called(ctx, call.attempts, call.failures) }()
	endpoint := call.nextEndpoint()
	for {
		last, begun := call.try(ctx, endpoint)
		if !begun || last.follows().ends {
			return call.end()
		}
		var pause time.Duration
		var again bool
		if endpoint, pause, again = call.next(last); !again || !deadline.Leaves(ctx, pause+minAttempt) || !deadline.Sleep(ctx, pause) {
			return call.end()
		}
	}
}
