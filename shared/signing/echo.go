package signing

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/shared/apierror"
	"membercard/shared/cached"
	"membercard/shared/upstream"
)

// The steps of [Client.Echo], in this order.
const (
	StepSecret       = "secret read"
	StepCertificates = "platform certificates decrypted" // only with an apiv3_key
	StepAnswered     = "WeChat Pay answered"
	StepSignature    = "signature accepted"
	StepVerified     = "answer verified"
	StepEchoed       = "message echoed"
	StepEncrypted    = "encrypted for WeChat Pay"
	StepDecrypted    = "decrypted from WeChat Pay"
	StepNotification = "notification requested" // only with a notify_url
)

// A Step is one step of WeChat Pay's self-test.
type Step struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`                // passed or skipped
	Skipped string `json:"skipped,omitempty"` // why the step could not be checked
	Cause   string `json:"cause,omitempty"`   // why the step failed
	Cure    string `json:"cure,omitempty"`    // what the operator can do about the failure

	RequestID string `json:"request_id,omitempty"` // WeChat's Request-ID, with a failure
}

// Echo is the result of WeChat Pay's self-test. If a step failed, OK is false and that
// step is the last one.
type Echo struct {
	OK    bool   `json:"ok"`
	Steps []Step `json:"steps"`
}

func (e *Echo) passed(names ...string) {
	for _, name := range names {
		e.Steps = append(e.Steps, Step{Name: name, OK: true})
	}
}

// Skip adds a step that was not checked.
func (e *Echo) Skip(name, reason string) {
	e.Steps = append(e.Steps, Step{Name: name, OK: true, Skipped: reason})
}

// failed adds the failed step. If cure is empty, the step gets the cure of the error.
func (e *Echo) failed(name string, err error, cure string) (*Echo, error) {
	fault, ok := errors.AsType[*apierror.Error](err)
	if !ok {
		fault = apierror.InvalidResponse(err)
	}
	if cure != "" {
		fault.Cure = cure
	}
	step := Step{Name: name, Cause: fault.Message, Cure: fault.Cure, RequestID: fault.RequestID}
	if fault.Cause != nil {
		step.Cause = fault.Cause.Error()
	}
	e.Steps = append(e.Steps, step)
	return e, fault
}

// Failed returns the failed step, or nil.
func (e *Echo) Failed() *Step {
	if e.OK || len(e.Steps) == 0 {
		return nil
	}
	return &e.Steps[len(e.Steps)-1]
}

// Echo runs WeChat Pay's self-test of the merchant's keys (POST /v3/security/echo,
// 商户签名验签/加解密测试). It sends a random message in the clear and encrypted for
// WeChat Pay, and changes nothing there. If notifyURL is not empty, WeChat Pay also
// sends a SECURITY_ECHO.SUCCESS notification to it.
//
// If the merchant has an apiv3_key, Echo also downloads the platform certificates and
// decrypts them with it. That step is skipped for a merchant with a public key who has
// no certificates.
//
// The result has every step up to the first one that failed. The error is that of the
// failed step, an [apierror.Error]. Neither contains a key. As in [Client.Post], the
// merchant is read again if the secret may be outdated.
func (c *Client) Echo(ctx context.Context, notifyURL string) (*Echo, error) {
	merchant, err := c.merchants.Get(ctx)
	if err != nil {
		return (&Echo{}).failed(StepSecret, apierror.Config(err), "")
	}
	e, err := c.echo(ctx, merchant, notifyURL)
	if mayBeOutdated(err) {
		cached.Newer(ctx, c.merchants, merchant)
	}
	if current, unread := c.merchants.Get(ctx); unread == nil && current != merchant {
		return c.echo(ctx, current, notifyURL)
	}
	return e, err
}

func isLimited(err error) bool {
	fault, ok := errors.AsType[*apierror.Error](err)
	return ok && fault.Status == http.StatusTooManyRequests
}

// echo is [Client.Echo] as one merchant, without reading it again: the message must be
// encrypted with the keys of the merchant that signs.
func (c *Client) echo(ctx context.Context, merchant *Merchant, notifyURL string) (*Echo, error) {
	e := &Echo{}
	e.passed(StepSecret)
	if merchant.keys.apiv3Key != "" {
		if err := c.download(ctx, merchant); err == nil {
			e.passed(StepCertificates)
		} else if errors.Is(err, errWrongAPIv3Key) || errors.Is(err, errRefused) || isLimited(err) || merchant.keys.publicKey == nil {
			return e.withoutCertificates(err)
		} else {
			e.Skip(StepCertificates, "the public key serves without them: "+err.Error())
		}
	}
	message := rand.Text()
	encrypted, err := merchant.keys.encrypt(ctx, message)
	if err != nil {
		return e.failed(StepEncrypted, apierror.Config(err), "")
	}
	body := struct {
		Message   string `json:"echo_message"`
		Encrypted string `json:"encrypted_echo_message"`
		NotifyURL string `json:"notify_url,omitempty"`
	}{message, encrypted, notifyURL}
	answer, err := c.doAs(ctx, merchant, &call{method: http.MethodPost, path: "/v3/security/echo", body: body})
	if err != nil {
		return e.refused(err)
	}
	e.passed(StepAnswered, StepSignature, StepVerified)
	return e.checkAnswer(merchant, answer, message, notifyURL)
}

// withoutCertificates adds the steps that are known after the certificates' download
// failed.
func (e *Echo) withoutCertificates(err error) (*Echo, error) {
	fault, _ := errors.AsType[*apierror.Error](err)
	switch {
	case errors.Is(err, errRefused):
		return e.refused(err)
	case fault != nil && fault.Code != "CONFIG_ERROR" && fault.Code != "INVALID_RESPONSE":
		return e.failed(StepAnswered, err, "")
	}
	return e.failed(StepCertificates, err, "")
}

// refused adds the steps that are known after the call failed.
func (e *Echo) refused(err error) (*Echo, error) {
	fault, _ := errors.AsType[*apierror.Error](err)
	switch {
	case errors.Is(err, errRefused):
		e.passed(StepAnswered)
		return e.failed(StepSignature, err, "")
	case fault != nil && fault.Code == "INVALID_RESPONSE":
		e.passed(StepAnswered)
		return e.failed(StepVerified, err, "")
	case fault == nil || apierror.Transient(fault.Status):
		return e.failed(StepAnswered, err, "")
	}
	// A 4xx that WeChat Pay signed.
	field := ""
	if fault.Detail != nil {
		field = fault.Detail.Field
	}
	e.passed(StepAnswered, StepSignature)
	if strings.Contains(field, "Wechatpay-Serial") {
		return e.failed(StepVerified, err, "")
	}
	e.passed(StepVerified)
	switch {
	case strings.Contains(field, "encrypted_echo_message"):
		return e.failed(StepEncrypted, err, "wechatpay_public_key and wechatpay_public_key_id don't belong together: copy both again from the merchant platform (账户中心 → API安全 → 微信支付公钥)")
	case strings.Contains(field, "notify_url"):
		return e.failed(StepNotification, err, "WeChat Pay notifies public https URLs without a query string only")
	}
	return e.failed(StepEchoed, err, "")
}

// checkAnswer adds the steps that are known from a verified answer.
func (e *Echo) checkAnswer(merchant *Merchant, answer *upstream.Answer, message, notifyURL string) (*Echo, error) {
	var echo struct {
		Message   string `json:"echo_message"`
		Encrypted string `json:"encrypted_echo_message"`
	}
	const cure = "the answer is signed by WeChat Pay, but it is not that of this self-test: repeat the check; if it lasts, give request_id to WeChat Pay's support"
	if err := json.Unmarshal(answer.Body, &echo); err != nil {
		return e.failed(StepEchoed, answer.Invalid(errors.New("the answer is not the documented JSON")), cure)
	}
	if echo.Message != message {
		return e.failed(StepEchoed, answer.Invalid(errors.New("echo_message is not what was sent")), cure)
	}
	e.passed(StepEchoed, StepEncrypted)
	if echo.Encrypted == "" {
		e.Skip(StepDecrypted, "not offered: WeChat Pay's answer has no encrypted_echo_message")
	} else {
		decrypted, err := utils.DecryptOAEP(echo.Encrypted, merchant.signer.PrivateKey)
		if err != nil {
			return e.failed(StepDecrypted, answer.Invalid(errors.New("encrypted_echo_message can't be decrypted with private_key")),
				"WeChat Pay encrypts for a merchant certificate: check that certificate_serial_no is that of private_key's certificate, and revoke certificates that are no longer used")
		}
		if decrypted != message {
			return e.failed(StepDecrypted, answer.Invalid(errors.New("encrypted_echo_message decrypts to another message than the one that was sent")), cure)
		}
		e.passed(StepDecrypted)
	}
	if notifyURL != "" {
		e.passed(StepNotification)
	}
	e.OK = true
	return e, nil
}

// encrypt encrypts a message for WeChat Pay with the key that requests name in
// Wechatpay-Serial. It returns base64.
func (k *keyring) encrypt(ctx context.Context, message string) (string, error) {
	if k.publicKey != nil {
		return utils.EncryptOAEPWithPublicKey(message, k.publicKey)
	}
	certificates, _ := k.downloaded()
	serial := certificates.GetNewestSerial(ctx)
	certificate, ok := certificates.Get(ctx, serial)
	if !ok {
		return "", fmt.Errorf("there is no key of WeChat Pay to encrypt with: %w", errUnknownKey)
	}
	return utils.EncryptOAEPWithCertificate(message, certificate)
}
