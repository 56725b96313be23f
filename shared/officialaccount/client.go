// Package officialaccount calls the API of a WeChat official account
// (api.weixin.qq.com): it has the access token that every call needs, and knows
// that errors come as status 200 with an errcode.
package officialaccount

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"membercard/shared/apierror"
	"membercard/shared/strictjson"
	"membercard/shared/upstream"
)

// Endpoints are WeChat's, then the one for disaster recovery.
const Endpoints = "https://api.weixin.qq.com,https://api2.weixin.qq.com"

// Client calls the API of one account. It is safe for concurrent use.
type Client struct {
	accounts Source
	upstream *upstream.Client
	token    accessToken
}

// NewClient returns a Client for the account that accounts gives.
func NewClient(accounts Source, upstream *upstream.Client) *Client {
	return &Client{accounts: accounts, upstream: upstream, token: accessToken{lock: semaphore.NewWeighted(1)}}
}

// Warm does what can be done before the first request, at the same time: read
// the account and get an access token, and open a connection to WeChat. What
// fails is tried again by the requests.
func (c *Client) Warm(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { c.upstream.Open(ctx) })
	both.Go(func() { _, _ = c.use(ctx) })
	both.Wait()
}

// Post calls an operation, /card/get for instance. The answer has errcode 0; the
// error is a [apierror.Error]. An access token that WeChat calls invalid is
// replaced, and the call made once more. For an operation that must not be done
// twice, such as /card/create, pass [upstream.Once].
func (c *Client) Post(ctx context.Context, path string, body []byte, options ...upstream.Option) (*upstream.Answer, error) {
	answer, err := c.withToken(ctx, http.MethodPost, path, nil, body, options)
	var errcode int
	if err == nil && !strictjson.Member(answer.Body, "errcode", &errcode) {
		return nil, answer.Invalid(errors.New("the answer has no errcode"))
	}
	return answer, err
}

// Get is [Client.Post] for an operation that takes its parameters in the query;
// the answer may have no errcode at all.
func (c *Client) Get(ctx context.Context, path string, query url.Values) (*upstream.Answer, error) {
	return c.withToken(ctx, http.MethodGet, path, query, nil, nil)
}

func (c *Client) withToken(ctx context.Context, method, path string, query url.Values, body []byte, options []upstream.Option) (*upstream.Answer, error) {
	token, err := c.use(ctx)
	if err != nil {
		return nil, err
	}
	var dead string
	call := func() (*upstream.Answer, error) {
		with := url.Values{"access_token": {token}}
		maps.Copy(with, query)
		return Call(ctx, c.upstream, method, path, with, body, []string{token, dead}, options...)
	}
	answer, err := call()
	if !IsErrcode(err, 40001, 40014, 42001) {
		return answer, err
	}
	dead = token
	if token, err = c.replace(ctx, dead); err != nil {
		return nil, err
	}
	return call()
}

// Call makes a call that needs no access token, or has it in its query. The
// answer is JSON and has no errcode but 0. What is private, a token or a secret,
// gets into no error.
//
// It is tried again while WeChat is busy (errcode −1). The errcodes for quotas and
// frequency (45009, 45011) are answers, and are not.
func Call(ctx context.Context, wechat *upstream.Client, method, path string, query url.Values, body []byte, private []string, options ...upstream.Option) (*upstream.Answer, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var attempts atomic.Int32
	answer, err := wechat.Do(ctx, func(ctx context.Context, endpoint string) (*upstream.Answer, error) {
		repeated := attempts.Add(1) > 1
		request, err := http.NewRequestWithContext(ctx, method, endpoint+path, bytes.NewReader(body))
		if err != nil {
			return nil, errors.New("the request can't be made") // its text would have the URL in it
		}
		if body != nil {
			request.Header.Set("Content-Type", "application/json")
		}
		response, err := wechat.HTTP().Do(request)
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(response.Body)
		if err != nil {
			return nil, err
		}
		answer := &upstream.Answer{Status: response.StatusCode, Header: response.Header, Body: content}
		switch refused := check(answer, private); {
		case IsErrcode(refused, busy):
			return nil, &transient{refused, busy, nil}
		case repeated && IsErrcode(refused, codeUsed):
			return nil, &transient{refused, codeUsed, upstream.ErrUnderWay}
		}
		return answer, nil
	}, options...)
	if again, ok := errors.AsType[*transient](err); ok {
		return nil, again.refusal
	}
	if err == nil {
		err = check(answer, private)
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

const (
	busy = -1
	// codeUsed is the errcode for a login code that was used before. If an attempt
	// is not the first, it was probably the one before it that used the code. That
	// one may still be under way, and has the answer.
	codeUsed = 40163
)

// transient is a refusal that is worth another attempt. It is not a apierror.Error,
// which would end the call.
type transient struct {
	refusal error
	errcode int
	cause   error
}

// Error is without WeChat's errmsg, which may quote the request.
func (t *transient) Error() string { return fmt.Sprintf("errcode %d", t.errcode) }
func (t *transient) Unwrap() error { return t.cause }

// check returns what is wrong with an answer, if anything is.
func check(answer *upstream.Answer, private []string) error {
	switch {
	case apierror.Transient(answer.Status):
		return answer.Failed(apierror.FromWeChat(apierror.Answer{Status: answer.Status, RetryAfter: answer.RetryAfter()}))
	case answer.Status != http.StatusOK:
		return answer.Invalid(fmt.Errorf("WeChat answered status %d", answer.Status))
	}
	var body map[string]json.RawMessage
	if json.Unmarshal(answer.Body, &body) != nil || body == nil {
		return answer.Invalid(errors.New("the answer is no JSON object"))
	}
	var errcode int
	if body["errcode"] != nil && json.Unmarshal(body["errcode"], &errcode) != nil {
		return answer.Invalid(errors.New("the answer's errcode is no number"))
	}
	if errcode == 0 {
		return nil
	}
	var errmsg string
	_ = json.Unmarshal(body["errmsg"], &errmsg) // without one it is refused all the same
	for _, value := range private {
		if value != "" {
			errmsg = strings.ReplaceAll(errmsg, value, "…")
		}
	}
	return answer.Failed(apierror.FromErrcode(errcode, errmsg))
}

// IsErrcode says whether an error is one of these errcodes.
func IsErrcode(err error, errcodes ...int) bool {
	e, ok := errors.AsType[*apierror.Error](err)
	return ok && e.Errcode != 0 && slices.Contains(errcodes, e.Errcode)
}
