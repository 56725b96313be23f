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
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"

	"membercard/shared/apierror"
	"membercard/shared/cached"
	"membercard/shared/strictjson"
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
	pace      func(context.Context) error // nil if there is none; see [Client.Paced]
	once      bool                        // see [Client.Once]
}

// NewClient returns a Client that signs as the merchant from the given source.
func NewClient(merchants Source, upstream *upstream.Client) *Client {
	return &Client{merchants: merchants, upstream: upstream}
}

// Paced returns a client for a caller that keeps to a limit of the rate, which waits before
// each call itself. The client calls wait before every further attempt of a call, with the
// context of that attempt. It shares everything else with c.
func (c *Client) Paced(wait func(context.Context) error) *Client {
	paced := *c
	paced.pace = wait
	return &paced
}

// Once returns a client for a caller that repeats calls itself. It makes a further attempt
// only if WeChat Pay surely did not read the request; see [upstream.Client.Do]. An answer
// that is not trusted is not asked for again. It shares everything else with c.
func (c *Client) Once() *Client {
	once := *c
	once.once = true
	return &once
}

// Warm prepares the client for its first request: it opens a connection to WeChat Pay
// and, at the same time, reads the merchant and downloads platform certificates if
// there is no public key. Requests try again whatever failed.
func (c *Client) Warm(ctx context.Context) {
	var opening sync.WaitGroup
	opening.Go(func() { c.upstream.Open(ctx) })
	c.ReadKeys(ctx)
	opening.Wait()
}

// ReadKeys is [Client.Warm] for a function that only verifies notifications. It opens a
// connection to WeChat Pay only if it has to download platform certificates.
func (c *Client) ReadKeys(ctx context.Context) {
	if m, err := c.merchants.Get(ctx); err == nil {
		_ = c.prepare(ctx, m) // requests try again
	}
}

// Post calls an operation of APIv3 with a body, which [strictjson.Encode] encodes. The path
// and the JSON are signed and sent byte for byte. The answer is a success (2xx) with a
// valid signature, and has no body if its status is 204. The error is an [apierror.Error].
//
// If WeChat Pay refuses the signature, or encrypts the certificates with another APIv3
// key, the merchant is read again. If it changed, the call is repeated once.
//
// If an answer is signed with an unknown key, the certificates are downloaded, or the
// merchant is read again, and the answer is verified once more. An answer that is still
// not trusted is asked for once more.
func (c *Client) Post(ctx context.Context, path string, body any) (*upstream.Answer, error) {
	return c.do(ctx, &call{method: http.MethodPost, path: path, body: body})
}

// PostChange is [Client.Post] for an operation that changes a card, such as a
// confirmation. WeChat Pay may refuse it a second time because it was done the first time.
// So if the request was repeated because an answer was not trusted, a refusal is
// INVALID_RESPONSE.
func (c *Client) PostChange(ctx context.Context, path string, body any) (*upstream.Answer, error) {
	return c.do(ctx, &call{method: http.MethodPost, path: path, body: body, changes: true})
}

// Get is [Client.Post] for a GET operation. The path may include a query.
func (c *Client) Get(ctx context.Context, path string) (*upstream.Answer, error) {
	return c.do(ctx, &call{method: http.MethodGet, path: path})
}

// Patch is [Client.Post] for a PATCH operation.
func (c *Client) Patch(ctx context.Context, path string, body any) (*upstream.Answer, error) {
	return c.do(ctx, &call{method: http.MethodPatch, path: path, body: body})
}

// Delete is [Client.Post] for a DELETE operation, which has no body.
func (c *Client) Delete(ctx context.Context, path string) (*upstream.Answer, error) {
	return c.do(ctx, &call{method: http.MethodDelete, path: path})
}

type call struct {
	method, path string
	body         any         // encoded with [strictjson.Encode]; nil is none
	once         bool        // see [Client.Once]
	changes      bool        // see [Client.PostChange]
	distrusted   atomic.Bool // an answer was not trusted
}

// do makes a call. If the cached secret proves to be outdated, it reads the current one and
// calls again.
func (c *Client) do(ctx context.Context, call *call) (*upstream.Answer, error) {
	call.once = c.once // not so for a download of certificates
	return cached.Use(ctx, c.merchants, mayBeOutdated, func(merchant *Merchant) (*upstream.Answer, error) { return c.doAs(ctx, merchant, call) })
}

// mayBeOutdated reports whether reading the secret again may cure an error. WeChat Pay
// has not carried out the request.
func mayBeOutdated(err error) bool {
	return errors.Is(err, errRefused) || errors.Is(err, errWrongAPIv3Key)
}

// errRefused reports a 401: WeChat Pay does not accept the signature.
var errRefused = errors.New("WeChat Pay answered 401")

// doAs makes a call as one merchant.
func (c *Client) doAs(ctx context.Context, merchant *Merchant, call *call) (*upstream.Answer, error) {
	if err := c.prepare(ctx, merchant); err != nil {
		return nil, err
	}
	answer, err := c.send(ctx, merchant, call, func(answer *upstream.Answer) error {
		if _, err := c.verify(ctx, merchant, answer.Header, answer.Body); err != nil {
			return notTrusted(answer, err)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case apierror.Transient(answer.Status):
		// It need not be verified: it only says that the call failed.
		return nil, refusal(answer, merchant.keys.validate(ctx, answer.Header, answer.Body) == nil)
	case answer.Status >= http.StatusBadRequest && call.changes && call.distrusted.Load():
		return nil, notTrusted(answer, fmt.Errorf("WeChat Pay answered %d after an answer that was not trusted, so the request may have been carried out", answer.Status))
	case answer.Status >= http.StatusBadRequest:
		return nil, refusal(answer, true)
	}
	return answer, nil
}

// verify verifies the signature of an answer or a notification with the merchant's keys. If
// the key is unknown, it gets the key and verifies again: it downloads the platform
// certificates or, if that is not possible, reads the merchant again. It returns the
// merchant whose keys it used last.
func (c *Client) verify(ctx context.Context, merchant *Merchant, header http.Header, body []byte) (*Merchant, error) {
	outdated, err := c.verifyAs(ctx, merchant, header, body)
	if outdated {
		if current, changed := cached.Newer(ctx, c.merchants, merchant); changed {
			_, err = c.verifyAs(ctx, current, header, body)
			return current, err
		}
	}
	return merchant, err
}

// verifyAs is [Client.verify] without reading the merchant again, but reports whether that
// may help.
func (c *Client) verifyAs(ctx context.Context, merchant *Merchant, header http.Header, body []byte) (outdated bool, err error) {
	err = merchant.keys.validate(ctx, header, body)
	serial := header.Get(consts.WechatPaySerial)
	switch {
	case !errors.Is(err, errUnknownKey):
		return false, err
	case !merchant.keys.canDownload(serial):
		return true, err
	}
	if failure := c.downloadFor(ctx, merchant, serial); failure != nil {
		return mayBeOutdated(failure), &missingCertificates{failure}
	}
	return false, merchant.keys.validate(ctx, header, body)
}

// missingCertificates reports an unknown key while the platform certificates can't be
// downloaded.
type missingCertificates struct{ failure error }

func (e *missingCertificates) Error() string {
	return fmt.Sprintf("%v, and the platform certificates can't be had: %v", errUnknownKey, e.failure)
}

// Unwrap does not return the failure: it is not that of the call.
func (e *missingCertificates) Unwrap() error { return errUnknownKey }

// downloadFor downloads platform certificates because one is unknown. For a minute after
// a download that failed or did not bring the certificate that was needed, it does
// nothing and returns the failure.
func (c *Client) downloadFor(ctx context.Context, merchant *Merchant, serial string) error {
	keys := merchant.keys
	keys.downloading.Lock() // a hedge may be downloading
	defer keys.downloading.Unlock()
	if keys.has(ctx, serial) {
		return nil
	}
	if paused, failure := keys.downloadsPaused(); paused {
		return failure
	}
	err := c.download(ctx, merchant)
	if err != nil || !keys.has(ctx, serial) {
		keys.pauseDownloads(err)
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
	keys := merchant.keys
	answer, err := c.send(ctx, merchant, &call{method: http.MethodGet, path: "/v3/certificates"}, func(answer *upstream.Answer) error {
		if answer.Status != http.StatusOK {
			// The key may be one that only a list could bring.
			if err := keys.validate(ctx, answer.Header, answer.Body); err != nil && !errors.Is(err, errUnknownKey) {
				return noList(answer)
			}
			return nil
		}
		certificates, err := keys.decryptCertificates(answer.Body)
		if errors.Is(err, errWrongAPIv3Key) {
			return answer.WithRequestID(apierror.APIv3KeyUnusable(err))
		}
		if err == nil {
			with := &keyring{publicKeyID: keys.publicKeyID, publicKey: keys.publicKey, certificates: certificates}
			err = with.validate(ctx, answer.Header, answer.Body)
		}
		if err != nil {
			return notTrusted(answer, err)
		}
		keys.hold(certificates)
		return nil
	})
	switch {
	case err != nil:
		return err
	case apierror.Transient(answer.Status):
		return refusal(answer, false)
	case answer.Status != http.StatusOK:
		return noList(answer)
	}
	return nil
}

// noList returns the error for an answer to the download that is not a list. The caller's
// request is not the reason, whatever the status is.
func noList(answer *upstream.Answer) error {
	return answer.WithRequestID(apierror.NoCertificates(fmt.Errorf("WeChat Pay answered GET /v3/certificates with %d: the merchant may have no platform certificates", answer.Status)))
}

// send signs and sends a request. Each attempt has its own signature, because a nonce can
// be used only once. verify returns an [apierror.Error] if an answer can't be trusted; it
// does not get those whose status alone says what to do next. The answer is neither a
// redirect nor a 401.
func (c *Client) send(ctx context.Context, merchant *Merchant, call *call, verify func(*upstream.Answer) error) (*upstream.Answer, error) {
	var body []byte
	if call.body != nil {
		body = strictjson.Encode(call.body)
	}
	var attempts atomic.Int32
	answer, err := c.upstream.Do(ctx, call.once, func(attempt context.Context, endpoint string) (*upstream.Answer, error) {
		if attempts.Add(1) > 1 && c.pace != nil {
			if err := c.pace(attempt); err != nil {
				return nil, err
			}
		}
		request, err := merchant.request(attempt, call.method, endpoint+call.path, body)
		if err != nil {
			return nil, apierror.Config(err)
		}
		answer, err := c.upstream.Send(request)
		switch {
		case errors.Is(err, upstream.ErrTooLarge):
			err = apierror.InvalidResponse(err) // it can't be verified
		case err != nil || answer.Status == http.StatusUnauthorized || apierror.Transient(answer.Status) || isRedirect(answer):
			return answer, err
		default:
			// Not within the attempt's time, because it may take a download.
			err = verify(answer)
		}
		if err != nil {
			call.distrusted.Store(true)
			return nil, fmt.Errorf("%w: %w", upstream.ErrUntrusted, err)
		}
		return answer, nil
	})
	switch {
	case err != nil:
		return nil, err
	case answer.Status == http.StatusUnauthorized:
		return nil, answer.WithRequestID(apierror.SignatureRefused(errRefused))
	case isRedirect(answer):
		return nil, answer.Invalid(fmt.Errorf("WeChat Pay answered %d, which is not followed", answer.Status))
	}
	return answer, nil
}

func isRedirect(answer *upstream.Answer) bool {
	return answer.Status < http.StatusOK || http.StatusMultipleChoices <= answer.Status && answer.Status < http.StatusBadRequest
}

func notTrusted(answer *upstream.Answer, err error) error {
	if errors.Is(err, errUnknownKey) {
		return answer.WithRequestID(apierror.UnknownKey(err))
	}
	return answer.WithRequestID(apierror.InvalidResponse(err))
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
