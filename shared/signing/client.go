// Package signing calls WeChat Pay's APIv3 as a merchant, and verifies and decrypts
// its notifications. The cryptography is wechatpay-go's: its credential signs, and its
// validators and verifiers verify. This package adds what a function in Lambda needs:
// it reads the keys again if WeChat Pay refuses them, fails over to another endpoint,
// and verifies an answer before anything uses it.
//
// The package knows neither AWS nor API Gateway.
package signing

import (
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

// Endpoints are WeChat Pay's base URLs: the nearest access point, then one in another
// region.
const Endpoints = "https://api.mch.weixin.qq.com,https://api2.mch.weixin.qq.com"

// Client makes signed calls for a merchant. It is safe for concurrent use.
type Client struct {
	merchants Source
	upstream  *upstream.Client
}

// NewClient returns a Client that signs as the merchant from the given source.
func NewClient(merchants Source, upstream *upstream.Client) *Client {
	return &Client{merchants, upstream}
}

// Warm prepares the client for its first request: it opens a connection to WeChat Pay
// and, at the same time, reads the merchant and downloads platform certificates if
// there is no public key. Requests try again whatever failed.
func (c *Client) Warm(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { c.upstream.Open(ctx) })
	both.Go(func() { c.ReadKeys(ctx) })
	both.Wait()
}

// ReadKeys is [Client.Warm] for a function that only verifies notifications. It opens a
// connection to WeChat Pay only if it has to download platform certificates.
func (c *Client) ReadKeys(ctx context.Context) {
	if m, err := c.merchants.Get(ctx); err == nil {
		_ = c.prepare(ctx, m) // requests try again
	}
}

// Post calls an operation of APIv3 with a JSON body. The path and the body are signed
// and sent byte for byte. The answer is a success (2xx) with a valid signature, and has
// no body if its status is 204. The error is an [apierror.Error].
//
// If WeChat Pay refuses the signature, signs with a key that the merchant does not
// have, or encrypts with another APIv3 key, the merchant is read again. If it changed,
// the call is repeated once. With [upstream.Once] only a refused signature leads to
// that, because in the other cases WeChat Pay may have carried out the request.
func (c *Client) Post(ctx context.Context, path string, body []byte, options ...upstream.Option) (*upstream.Answer, error) {
	return c.callWithRefresh(ctx, http.MethodPost, path, body, options...)
}

// Get is [Client.Post] for a GET operation. The path may include a query.
func (c *Client) Get(ctx context.Context, path string) (*upstream.Answer, error) {
	return c.callWithRefresh(ctx, http.MethodGet, path, nil)
}

// Patch is [Client.Post] for a PATCH operation.
func (c *Client) Patch(ctx context.Context, path string, body []byte) (*upstream.Answer, error) {
	return c.callWithRefresh(ctx, http.MethodPatch, path, body)
}

// callWithRefresh calls as the cached merchant. If the cached secret proves to be
// outdated, it reads the current one and calls again.
func (c *Client) callWithRefresh(ctx context.Context, method, path string, body []byte, options ...upstream.Option) (*upstream.Answer, error) {
	merchant, err := c.merchants.Get(ctx)
	if err != nil {
		return nil, apierror.Config(err)
	}
	answer, err := c.call(ctx, merchant, method, path, body, options...)
	if !mayBeOutdated(err) {
		return answer, err
	}
	current, changed := c.refresh(ctx)
	if !changed || slices.Contains(options, upstream.Once) && !errors.Is(err, errRefused) {
		return nil, err
	}
	return c.call(ctx, current, method, path, body, options...)
}

// mayBeOutdated reports whether reading the secret again may cure an error.
func mayBeOutdated(err error) bool {
	return errors.Is(err, errRefused) || errors.Is(err, errUnknownKey) || errors.Is(err, errWrongAPIv3Key)
}

// refresh reads the merchant again and reports whether it changed.
func (c *Client) refresh(ctx context.Context) (*Merchant, bool) {
	merchant, changed, err := c.merchants.Refresh(ctx)
	if err != nil || !changed {
		return nil, false
	}
	telemetry.Annotate(ctx, slog.Bool("secret_changed", true))
	return merchant, true
}

// errRefused reports a 401: WeChat Pay does not accept the signature.
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
	err = c.verify(ctx, merchant, answer)
	switch {
	case apierror.Transient(answer.Status):
		// It need not be verified: it only says that the call failed.
		return nil, refusal(answer, err == nil)
	case err != nil:
		return nil, notTrusted(answer, err)
	case answer.Status >= http.StatusBadRequest:
		return nil, refusal(answer, true)
	}
	return answer, nil
}

// verify verifies the signature of an answer. If the answer names an unknown platform
// certificate, it downloads the certificates first, unless the status is transient.
func (c *Client) verify(ctx context.Context, merchant *Merchant, answer *upstream.Answer) error {
	keys := merchant.keys
	err := keys.validate(ctx, answer)
	if !errors.Is(err, errUnknownKey) || apierror.Transient(answer.Status) ||
		!keys.canDownload(answer.Header.Get(consts.WechatPaySerial)) || keys.downloadsPaused() {
		return err
	}
	failure := c.download(ctx, merchant)
	if failure == nil {
		err = keys.validate(ctx, answer)
	} else {
		err = fmt.Errorf("%w, and the platform certificates can't be had: %v", errUnknownKey, failure)
	}
	if err != nil {
		keys.pauseDownloads(failure)
	}
	return err
}

// prepare downloads platform certificates if they are missing or too old. It fails only
// if there is no other key.
func (c *Client) prepare(ctx context.Context, merchant *Merchant) error {
	wanted, required := merchant.keys.wantsDownload()
	if !wanted {
		return nil
	}
	err := c.download(ctx, merchant)
	if err == nil || required {
		return err
	}
	merchant.keys.pauseDownloads(err)
	telemetry.Annotate(ctx, slog.String("certificates", err.Error()))
	return nil
}

// download downloads WeChat Pay's platform certificates (GET /v3/certificates) and
// decrypts them with the APIv3 key. The answer must be signed with one of them or with
// the public key.
func (c *Client) download(ctx context.Context, merchant *Merchant) error {
	answer, err := c.send(ctx, merchant, http.MethodGet, "/v3/certificates", nil)
	if err != nil {
		return err
	}
	if apierror.Transient(answer.Status) {
		return refusal(answer, false)
	}
	if answer.Status != http.StatusOK {
		// The caller's request is not the reason, whatever the status is.
		return answer.Failed(apierror.NoCertificates(fmt.Errorf("WeChat Pay answered GET /v3/certificates with %d: the merchant may have no platform certificates", answer.Status)))
	}
	certificates, err := merchant.keys.decrypt(answer.Body)
	if errors.Is(err, errWrongAPIv3Key) {
		return answer.Failed(apierror.APIv3KeyUnusable(err))
	}
	if err == nil {
		err = merchant.keys.with(certificates).validate(ctx, answer)
	}
	if err != nil {
		return notTrusted(answer, err)
	}
	merchant.keys.hold(certificates)
	return nil
}

// send signs and sends a request. Each attempt has its own signature, because a nonce
// can be used only once. The answer is not verified yet; it is neither a redirect nor a
// 401.
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
		// core.Client.Request would encode the query again.
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

// unverified is a validator that accepts every answer, and names the key that WeChat
// Pay should sign with. [Client.call] verifies answers instead of core.Client, which
// verifies successes only and does not tell an unknown key from a wrong signature.
type unverified struct{ *keyring }

func (u unverified) Validate(context.Context, *http.Response) error { return nil }

func (u unverified) GetAcceptSerial(ctx context.Context) (string, error) { return u.GetSerial(ctx) }

// notTrusted returns the error for an answer whose verification failed.
func notTrusted(answer *upstream.Answer, err error) error {
	if errors.Is(err, errUnknownKey) {
		return answer.Failed(apierror.UnknownKey(err))
	}
	return answer.Invalid(err)
}

// refusal returns the error for an error answer of WeChat Pay. If the answer is not
// verified, it uses the code and Retry-After only.
func refusal(answer *upstream.Answer, verified bool) error {
	var body struct {
		Code    string          `json:"code"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	known := json.Unmarshal(answer.Body, &body) == nil && isCode(body.Code)
	if !known && !apierror.Transient(answer.Status) {
		return answer.Invalid(fmt.Errorf("WeChat Pay answered %d without an error code", answer.Status))
	}
	a := apierror.Answer{Status: answer.Status, RequestID: answer.RequestID(), RetryAfter: answer.RetryAfter()}
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
	return apierror.FromWeChat(a)
}

// isCode reports whether a string is an APIv3 error code: 1 to 64 capitals, digits and
// underscores.
func isCode(s string) bool {
	return 0 < len(s) && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}
