// Package upstream makes calls to WeChat survive what networks do: every
// operation has two or more endpoints, each attempt its own time, and what
// fails in passing is tried elsewhere and again.
//
// It knows nothing of signatures or of what an answer means.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"membercard/shared/failure"
	"membercard/shared/telemetry"
)

const (
	maxAttempts    = 4
	attemptTimeout = 3 * time.Second
	// reserve is what is left of an invocation's time for its own answer.
	reserve = 500 * time.Millisecond
	// minAttempt is the least time for which an attempt is worth its while.
	minAttempt = 50 * time.Millisecond
	// firstPause is the longest pause after the first round; it doubles.
	firstPause = 100 * time.Millisecond
)

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

// Invalid is the failure for an answer that can't be used, with its Request-ID.
func (a *Answer) Invalid(cause error) error {
	e := failure.Invalid(cause)
	e.RequestID = a.RequestID()
	return e
}

// Client calls a list of endpoints.
type Client struct {
	endpoints []string
	transport *transport
}

// New returns a Client for endpoints, which are base URLs in order of
// preference; see [Endpoints].
func New(endpoints []string) *Client {
	return &Client{endpoints: endpoints, transport: newTransport()}
}

// Endpoints reads a comma-separated list of base URLs, as the environment has
// it. They are https only, as nothing may be sent in the clear.
func Endpoints(list string) ([]string, error) {
	var endpoints []string
	for entry := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(entry))
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, fmt.Errorf("%q is not a base URL like https://api.mch.weixin.qq.com", entry)
		}
		endpoints = append(endpoints, "https://"+u.Host)
	}
	return endpoints, nil
}

// Open opens a connection to the preferred endpoint for the first request to
// come, and returns when it is there or can't be had.
func (c *Client) Open(ctx context.Context) { c.transport.open(ctx, c.endpoints[0]) }

// HTTP makes single attempts. It follows no redirect, reads whole answers only
// and none over 1 MiB.
func (c *Client) HTTP() *http.Client {
	return &http.Client{
		Transport:     c.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Do has attempt called with one endpoint after the other until it gives an
// answer worth having, for up to 4 attempts inside the deadline of ctx less
// 500 ms. What goes on to the next endpoint are errors of [Client.HTTP] and the
// statuses 429 and 5xx; of any other error attempt makes a [failure.Error],
// which ends the call. After a round through the endpoints it pauses, with
// exponential backoff and full jitter.
//
// Where no attempt gave an answer, the error is a [failure.Error]: timeout or
// unreachable. Where the last answers are 429 or 5xx, the last is returned.
func (c *Client) Do(ctx context.Context, attempt func(ctx context.Context, endpoint string) (*Answer, error)) (*Answer, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-reserve))
		defer cancel()
	}
	var (
		answered *Answer
		last     error
		failed   []string
		attempts int
	)
	turn := 0 // which endpoint's it is; a connection that was dead before gives it another
	for ; attempts < maxAttempts; attempts++ {
		if round := turn / len(c.endpoints); turn%len(c.endpoints) == 0 && round > 0 {
			if !pause(ctx, rand.N(firstPause<<(round-1))) {
				break
			}
		}
		timeout, enough := c.share(ctx, turn)
		if !enough {
			break
		}
		endpoint := c.endpoints[turn%len(c.endpoints)]
		answer, err := once(ctx, timeout, endpoint, attempt)
		if fault, final := errors.AsType[*failure.Error](err); final {
			telemetry.Called(ctx, attempts+1, failed)
			return nil, fault
		}
		if errors.Is(err, errTooLarge) {
			telemetry.Called(ctx, attempts+1, failed)
			return nil, failure.Invalid(err)
		}
		if err == nil && answer.Status != http.StatusTooManyRequests && answer.Status < http.StatusInternalServerError {
			telemetry.Called(ctx, attempts+1, failed)
			return answer, nil
		}
		turn++
		if err != nil {
			last = err
			if diedUnseen(err) {
				turn--
			}
			failed = append(failed, host(endpoint)+": "+err.Error())
		} else {
			answered = answer
			failed = append(failed, fmt.Sprintf("%s: status %d", host(endpoint), answer.Status))
		}
	}
	telemetry.Called(ctx, attempts, failed)
	switch {
	case answered != nil:
		return answered, nil
	case last == nil:
		return nil, failure.Timeout(errors.New("no time was left to call WeChat"))
	case timedOut(last):
		return nil, failure.Timeout(last)
	}
	return nil, failure.Unreachable(last)
}

// once makes one attempt in its own time.
func once(ctx context.Context, timeout time.Duration, endpoint string, attempt func(context.Context, string) (*Answer, error)) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := attempt(ctx, endpoint)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL: a query string may hold a token
	}
	return answer, err
}

// share is the time for the attempt at hand: what is left is shared with the
// endpoints that have not had their turn in this round, so that one that hangs
// leaves time for the others.
func (c *Client) share(ctx context.Context, turn int) (timeout time.Duration, enough bool) {
	timeout = attemptTimeout
	if deadline, ok := ctx.Deadline(); ok {
		owed := len(c.endpoints) - turn%len(c.endpoints)
		timeout = min(timeout, time.Until(deadline)/time.Duration(owed))
	}
	return timeout, timeout >= minAttempt
}

// pause waits, unless that would leave no time for an attempt.
func pause(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d+minAttempt {
		return false
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// diedUnseen says whether an attempt broke on a connection from before: that
// says nothing of the endpoint. Silence is not among this: it has cost time
// already, and the next endpoint is the surer way.
func diedUnseen(err error) bool {
	broken, ok := errors.AsType[*brokenError](err)
	return ok && broken.kept && !timedOut(err)
}

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errSilent) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func host(endpoint string) string { return strings.TrimPrefix(endpoint, "https://") }
