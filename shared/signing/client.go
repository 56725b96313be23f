// Package signing is a merchant, and signed and verified calls to WeChat Pay's
// APIv3. The cryptography is wechatpay-go's: its credential signs, its validator
// and verifiers verify. What is added is what a function in Lambda needs: keys
// that are read again when they are refused, endpoints that stand in for one
// another, and answers that are not used before they are verified.
//
// It knows neither AWS nor API Gateway.
package signing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"

	"membercard/shared/apierror"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
)

// Endpoints are WeChat Pay's, the nearest access point first, then the one in
// another region.
const Endpoints = "https://api.mch.weixin.qq.com,https://api2.mch.weixin.qq.com"

// Client makes signed calls for a merchant.
type Client struct {
	merchants Source
	upstream  *upstream.Client
}

// NewClient returns a Client that signs as the merchant that merchants gives.
func NewClient(merchants Source, upstream *upstream.Client) *Client {
	return &Client{merchants, upstream}
}

// Warm does what can be done before the first request, at the same time: read
// the merchant and, without a public key, download platform certificates; and
// open a connection to WeChat Pay. What fails is tried again by the requests.
func (c *Client) Warm(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { c.upstream.Open(ctx) })
	both.Go(func() { c.ReadKeys(ctx) })
	both.Wait()
}

// ReadKeys is [Client.Warm] for a function that only verifies notifications: it
// opens no connection to WeChat Pay, unless platform certificates are needed.
func (c *Client) ReadKeys(ctx context.Context) {
	if m, err := c.merchants.Get(ctx); err == nil {
		_ = c.prepare(ctx, m)
	}
}

// Post calls an operation of APIv3 with a JSON body. The path and the body are
// signed and sent as they are. The answer is a success (2xx) with a valid
// signature; it has no body if its status is 204. The error is a [apierror.Error].
//
// If WeChat Pay refuses the signature, or signs with a key that the merchant
// does not have, or encrypts with another APIv3 key, the merchant is read again.
// If it changed, the call is made once more. With [upstream.Once] that holds for a
// refused signature only, because in the other cases WeChat Pay may have carried
// out the request.
func (c *Client) Post(ctx context.Context, path string, body []byte, options ...upstream.Option) (*upstream.Answer, error) {
	return c.callAsCurrent(ctx, http.MethodPost, path, body, options...)
}

// Get is [Client.Post] for an operation without a body. The path may have a query;
// both are signed and sent byte for byte.
func (c *Client) Get(ctx context.Context, path string) (*upstream.Answer, error) {
	return c.callAsCurrent(ctx, http.MethodGet, path, nil)
}

// Patch is [Client.Post] for a PATCH operation.
func (c *Client) Patch(ctx context.Context, path string, body []byte) (*upstream.Answer, error) {
	return c.callAsCurrent(ctx, http.MethodPatch, path, body)
}

// callAsCurrent calls as the merchant of the cached secret and, if that secret
// proves to be outdated, as the merchant of the current one.
func (c *Client) callAsCurrent(ctx context.Context, method, path string, body []byte, options ...upstream.Option) (*upstream.Answer, error) {
	merchant, err := c.merchants.Get(ctx)
	if err != nil {
		return nil, apierror.Config(err)
	}
	answer, err := c.call(ctx, merchant, method, path, body, options...)
	if !mayBeOutdated(err) {
		return answer, err
	}
	current, changed := c.current(ctx)
	if !changed || slices.Contains(options, upstream.Once) && !errors.Is(err, errRefused) {
		return nil, err
	}
	return c.call(ctx, current, method, path, body, options...)
}

// mayBeOutdated reports whether an error is one that a current secret may cure.
func mayBeOutdated(err error) bool {
	return errors.Is(err, errRefused) || errors.Is(err, errUnknownKey) || errors.Is(err, errWrongAPIv3Key)
}

// current reads the merchant again and reports whether it changed.
func (c *Client) current(ctx context.Context) (*Merchant, bool) {
	merchant, changed, err := c.merchants.Refresh(ctx)
	if err != nil || !changed {
		return nil, false
	}
	telemetry.Annotate(ctx, slog.Bool("secret_changed", true))
	return merchant, true
}

// errRefused is WeChat Pay's 401: it does not know the signature.
var errRefused = errors.New("WeChat Pay answered 401")

// call makes the call as one merchant and verifies the answer.
func (c *Client) call(ctx context.Context, merchant *Merchant, method, path string, body []byte, options ...upstream.Option) (*upstream.Answer, error) {
	if err := c.prepare(ctx, merchant); err != nil {
		return nil, err
	}
	answer, err := c.send(ctx, merchant, method, path, body, options...)
	if err != nil {
		return nil, err
	}
	err = verify(ctx, merchant.keys, answer)
	passing := passes(answer.Status)
	if errors.Is(err, errUnknownKey) && !passing && merchant.keys.canDownload(answer.Header.Get(consts.WechatPaySerial)) && !merchant.keys.downloadIsUseless() {
		if err = c.download(ctx, merchant); err == nil {
			err = verify(ctx, merchant.keys, answer)
		} else {
			err = fmt.Errorf("%w, and the platform certificates can't be had: %v", errUnknownKey, err)
		}
		if err != nil {
			merchant.keys.setDownloadUseless()
		}
	}
	switch {
	case passing:
		return nil, refusal(answer, err == nil)
	case err != nil:
		return nil, notTrusted(answer, err)
	case answer.Status >= http.StatusBadRequest:
		return nil, refusal(answer, true)
	}
	return answer, nil
}

// prepare downloads platform certificates where they are wanted. It fails only
// where there is no other key.
func (c *Client) prepare(ctx context.Context, merchant *Merchant) error {
	wants, must := merchant.keys.wants()
	if !wants {
		return nil
	}
	err := c.download(ctx, merchant)
	if err == nil || must {
		return err
	}
	merchant.keys.setDownloadUseless()
	telemetry.Annotate(ctx, slog.String("certificates", err.Error()))
	return nil
}

// download gets WeChat Pay's platform certificates (GET /v3/certificates). They
// are decrypted with the APIv3 key, and the answer must be signed with one of
// them or with the public key.
func (c *Client) download(ctx context.Context, merchant *Merchant) error {
	answer, err := c.send(ctx, merchant, http.MethodGet, "/v3/certificates", nil)
	if err != nil {
		return err
	}
	if passes(answer.Status) {
		return refusal(answer, false)
	}
	if answer.Status != http.StatusOK {
		// Whatever it is, the caller has no part in it.
		return answer.Failed(apierror.NoCertificates(fmt.Errorf("WeChat Pay answered GET /v3/certificates with %d: the merchant may have no platform certificates", answer.Status)))
	}
	certificates, err := merchant.keys.decrypt(answer.Body)
	if errors.Is(err, errWrongAPIv3Key) {
		return answer.Failed(apierror.APIv3KeyUnusable(err))
	}
	if err == nil {
		err = verify(ctx, merchant.keys.with(certificates), answer)
	}
	if err != nil {
		return notTrusted(answer, err)
	}
	merchant.keys.hold(certificates)
	return nil
}

// send signs and sends a request, anew for each attempt: a nonce is good once.
// What it returns is not verified, but neither a redirect nor a 401.
func (c *Client) send(ctx context.Context, merchant *Merchant, method, path string, body []byte, options ...upstream.Option) (*upstream.Answer, error) {
	client, err := core.NewClientWithDialSettings(ctx, &core.DialSettings{
		HTTPClient: c.upstream.HTTP(),
		Signer:     merchant.signer,
		Validator:  unverified{merchant.keys},
	})
	if err != nil {
		return nil, apierror.Config(err)
	}
	answer, err := c.upstream.Do(ctx, func(ctx context.Context, endpoint string) (*upstream.Answer, error) {
		// Not core.Client.Request, which would encode the query anew.
		var result *core.APIResult
		var err error
		switch method {
		case http.MethodGet:
			result, err = client.Get(ctx, endpoint+path)
		case http.MethodPatch:
			result, err = client.Patch(ctx, endpoint+path, body)
		default:
			result, err = client.Post(ctx, endpoint+path, body)
		}
		if result == nil || result.Response == nil {
			return nil, err
		}
		content, err := io.ReadAll(result.Response.Body)
		return &upstream.Answer{Status: result.Response.StatusCode, Header: result.Response.Header, Body: content}, err
	}, options...)
	switch {
	case err != nil:
		return nil, err
	case answer.Status == http.StatusUnauthorized:
		return nil, answer.Failed(apierror.SignatureRefused(errRefused))
	case answer.Status < 200, 300 <= answer.Status && answer.Status < 400:
		return nil, answer.Invalid(fmt.Errorf("WeChat Pay answered %d, which is not followed", answer.Status))
	}
	return answer, nil
}

// unverified is a validator that accepts every answer. It only names the key that
// WeChat Pay shall sign with. [Client.call] verifies: core.Client would verify
// successes only, and could not say which key is unknown.
type unverified struct{ *keyring }

func (u unverified) Validate(context.Context, *http.Response) error { return nil }

func (u unverified) GetAcceptSerial(ctx context.Context) (string, error) { return u.GetSerial(ctx) }

// verify holds an answer against the keys.
func verify(ctx context.Context, keys *keyring, answer *upstream.Answer) error {
	return keys.validate(ctx, &http.Response{Header: answer.Header, Body: io.NopCloser(bytes.NewReader(answer.Body))})
}

// notTrusted is the error for an answer that is not verified.
func notTrusted(answer *upstream.Answer, err error) error {
	if errors.Is(err, errUnknownKey) {
		return answer.Failed(apierror.UnknownKey(err))
	}
	return answer.Invalid(err)
}

// refusal is the apierror.Error for an error that WeChat Pay answered with. Of an
// unverified one only the code and Retry-After are used: they decide nothing.
func refusal(answer *upstream.Answer, verified bool) error {
	var body struct {
		Code    string          `json:"code"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	known := json.Unmarshal(answer.Body, &body) == nil && isCode(body.Code)
	a := apierror.Answer{Status: answer.Status, RequestID: answer.RequestID()}
	if known {
		a.Code = body.Code
	}
	if known && verified {
		a.Message = body.Message
		var detail apierror.Detail
		if json.Unmarshal(body.Detail, &detail) == nil && detail.Field != "" {
			a.Detail = &detail
		}
	}
	a.RetryAfter = answer.RetryAfter()
	if !known && !passes(answer.Status) {
		return answer.Invalid(fmt.Errorf("WeChat Pay answered %d without an error code", answer.Status))
	}
	return apierror.FromWeChat(a)
}

// passes says whether an error status is one that may pass, and was retried.
func passes(status int) bool {
	return status == http.StatusTooManyRequests || status >= http.StatusInternalServerError
}

// isCode says whether a string is an APIv3 error code: capitals, digits and _.
func isCode(s string) bool {
	return 0 < len(s) && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}
