// Package officialaccount calls the API of a WeChat official account
// (api.weixin.qq.com). It keeps the access token that most calls need, and turns
// errcodes, which WeChat answers with status 200, into errors.
package officialaccount

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"membercard/shared/apierror"
	"membercard/shared/strictjson"
	"membercard/shared/upstream"
	"membercard/shared/validation"
)

// Endpoints are the API's base URLs: the usual one, then the one for disaster recovery.
const Endpoints = "https://api.weixin.qq.com,https://api2.weixin.qq.com"

// Client calls the API of one account. It is safe for concurrent use.
type Client struct {
	accounts Source
	upstream *upstream.Client
	token    accessToken
}

// NewClient returns a Client for the account from the given source.
func NewClient(accounts Source, upstream *upstream.Client) *Client {
	return &Client{accounts: accounts, upstream: upstream, token: accessToken{lock: semaphore.NewWeighted(1)}}
}

// Warm prepares the client for its first request: it opens a connection to WeChat and,
// at the same time, reads the account and fetches an access token. Requests try again
// whatever failed.
func (c *Client) Warm(ctx context.Context) {
	var opening sync.WaitGroup
	opening.Go(func() { c.upstream.Open(ctx) })
	_, _ = c.use(ctx)
	opening.Wait()
}

// Post calls an operation such as /card/get with a body, which [strictjson.Encode] encodes.
// The answer has errcode 0. The error is an [apierror.Error]. If WeChat calls the access
// token invalid, it is replaced and the call is repeated once.
func (c *Client) Post(ctx context.Context, path string, body any) (*upstream.Answer, error) {
	return c.post(ctx, path, body, false)
}

// PostOnce is [Client.Post] for an operation that must not be done twice, such as
// /card/create; see [upstream.Client.Do].
func (c *Client) PostOnce(ctx context.Context, path string, body any) (*upstream.Answer, error) {
	return c.post(ctx, path, body, true)
}

func (c *Client) post(ctx context.Context, path string, body any, once bool) (*upstream.Answer, error) {
	answer, err := c.withToken(ctx, http.MethodPost, path, nil, strictjson.Encode(body), once)
	var errcode int
	if err == nil && !strictjson.Member(answer.Body, "errcode", &errcode) {
		return nil, answer.Invalid(errors.New("the answer has no errcode"))
	}
	return answer, err
}

// Get is [Client.Post] for an operation that takes its parameters in the query. Its
// answer may have no errcode.
func (c *Client) Get(ctx context.Context, path string, query url.Values) (*upstream.Answer, error) {
	return c.withToken(ctx, http.MethodGet, path, query, nil, false)
}

func (c *Client) withToken(ctx context.Context, method, path string, query url.Values, body []byte, once bool) (*upstream.Answer, error) {
	token, err := c.use(ctx)
	if err != nil {
		return nil, err
	}
	try := func() (*upstream.Answer, error) {
		with := url.Values{"access_token": {token}}
		maps.Copy(with, query)
		answer, err := call(ctx, c.upstream, method, path, with, body, once)
		return answer, withoutToken(err, token)
	}
	answer, err := try()
	if !IsErrcode(err, apierror.TokenInvalid...) {
		return answer, err
	}
	if token, err = c.replace(ctx, token); err != nil {
		return nil, err
	}
	return try()
}

// Call makes a call that needs no access token, or has it in its query. The answer is a
// JSON object whose errcode, if it has one, is 0. Faults in its strings are repaired; see
// repair. The message of an error may be WeChat's errmsg, which may quote the query and the
// body.
//
// While WeChat is busy (errcode −1), the call is tried again. It is not tried again after
// an errcode for a quota or a rate limit (45009, 45011).
func Call(ctx context.Context, wechat *upstream.Client, method, path string, query url.Values, body []byte) (*upstream.Answer, error) {
	return call(ctx, wechat, method, path, query, body, false)
}

func call(ctx context.Context, wechat *upstream.Client, method, path string, query url.Values, body []byte, once bool) (*upstream.Answer, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var attempts atomic.Int32
	answer, err := wechat.Do(ctx, once, func(ctx context.Context, endpoint string) (*upstream.Answer, error) {
		attempts.Add(1)
		answer, err := send(ctx, wechat, method, endpoint+path, body)
		if err == nil {
			err = tryAgain(check(answer), attempts.Load() > 1)
		}
		if err != nil {
			return nil, err
		}
		return answer, nil
	})
	if again, ok := errors.AsType[*transient](err); ok {
		return nil, again.refusal
	}
	if err == nil {
		err = check(answer)
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

func send(ctx context.Context, wechat *upstream.Client, method, url string, body []byte) (*upstream.Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the request can't be made") // err contains the URL, and so the query
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := wechat.Send(request)
	if err != nil {
		return nil, err
	}
	answer.Body = repair(answer.Body)
	return answer, nil
}

// tryAgain returns an error if another attempt may succeed after a refusal, or nil.
func tryAgain(refused error, repeated bool) error {
	switch {
	case IsErrcode(refused, apierror.Busy):
		return &transient{refused, apierror.Busy, nil}
	case repeated && IsErrcode(refused, apierror.LoginCodeUsed):
		// Another attempt probably used the code, an earlier one or a hedge. It may still be
		// under way, and will have the answer.
		return &transient{refused, apierror.LoginCodeUsed, upstream.ErrUnderWay}
	}
	return nil
}

// withoutToken returns an error without WeChat's errmsg if that quotes the access token,
// or a large part of it.
func withoutToken(err error, token string) error {
	const part = 16
	e, ok := errors.AsType[*apierror.Error](err)
	if ok && e.Errcode != 0 && strings.Contains(e.Message, token[:min(part, len(token))]) {
		return e.WithoutErrmsg()
	}
	return err
}

// transient is a refusal after which another attempt may succeed. It is not an
// [apierror.Error], because that would end the call.
type transient struct {
	refusal error
	errcode int
	cause   error
}

// Error omits WeChat's errmsg, which may quote the request.
func (t *transient) Error() string { return fmt.Sprintf("errcode %d", t.errcode) }
func (t *transient) Unwrap() error { return t.cause }

func check(answer *upstream.Answer) error {
	switch {
	case apierror.Transient(answer.Status):
		return answer.WithRequestID(apierror.FromWeChat(apierror.Answer{Status: answer.Status, RetryAfter: answer.RetryAfter()}))
	case answer.Status != http.StatusOK:
		return answer.Invalid(fmt.Errorf("WeChat answered status %d", answer.Status))
	}
	var body map[string]json.RawMessage
	if json.Unmarshal(answer.Body, &body) != nil || body == nil {
		return answer.Invalid(errors.New("the answer is not a JSON object"))
	}
	var errcode int
	if body["errcode"] != nil && json.Unmarshal(body["errcode"], &errcode) != nil {
		return answer.Invalid(errors.New("the answer's errcode is not a whole number"))
	}
	if errcode == 0 {
		return nil
	}
	var errmsg string
	_ = json.Unmarshal(body["errmsg"], &errmsg) // the errcode alone is enough
	return answer.WithRequestID(apierror.FromErrcode(errcode, errmsg))
}

// Generated returns a member of an answer that WeChat generated, such as a token or a code.
// Unlike a text that a person typed, it is of no use if it is broken: unless it has visible
// ASCII characters only, at least one, the error is INVALID_RESPONSE.
func Generated(answer *upstream.Answer, name string) (string, error) {
	value, err := answer.Text(name)
	if err == nil && validation.HalfWidth(value) != "" {
		err = answer.Invalid(fmt.Errorf("the answer's %s is not visible ASCII", name))
	}
	return value, err
}

// Expiring is [Generated] for a value that expires, and returns the time until then: the
// member expires_in, in seconds, of at most a day.
func Expiring(answer *upstream.Answer, name string) (value string, ttl time.Duration, err error) {
	var seconds int
	value, err = Generated(answer, name)
	if err == nil && (!strictjson.Member(answer.Body, "expires_in", &seconds) || seconds <= 0 || seconds > 86400) {
		err = answer.Invalid(errors.New("the answer has no expires_in of at most a day"))
	}
	return value, time.Duration(seconds) * time.Second, err
}

// IsAccountRefused reports whether an error is WeChat's refusal of the AppID or AppSecret.
func IsAccountRefused(err error) bool { return IsErrcode(err, apierror.AccountRefused...) }

// IsErrcode reports whether an error is an answer with one of the given errcodes.
func IsErrcode(err error, errcodes ...int) bool {
	e, ok := errors.AsType[*apierror.Error](err)
	return ok && e.Errcode != 0 && slices.Contains(errcodes, e.Errcode)
}
