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
	"membercard/shared/strictjson"
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

// A Step is one thing that a check proves or not.
type Step struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`                // it did not fail
	Skipped string `json:"skipped,omitempty"` // why it could not be checked, which is no failure
	Cause   string `json:"cause,omitempty"`   // of a failure
	Cure    string `json:"cure,omitempty"`    // what the operator can do about it

	RequestID string `json:"request_id,omitempty"` // WeChat's, of a failure
}

// Echo is the result of WeChat Pay's self-test of keys. OK is false if a step
// failed, which is the last one then.
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

// failed adds the failed step. cure is for what only the self-test finds; where it is
// empty, the error's own is the cure, as in a function's log.
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

// Echo has WeChat Pay test the merchant's keys (POST /v3/security/echo,
// 商户签名验签/加解密测试): it sends a random message, and the same encrypted for
// WeChat Pay. It touches no card. If notifyURL is not empty, WeChat Pay also sends
// a SECURITY_ECHO.SUCCESS notification there, which proves apiv3_key.
//
// With an apiv3_key the platform certificates are downloaded too, because that is
// what it decrypts. A merchant who has a public key may have none; the step is
// skipped then.
//
// The result has every step up to the first that failed. The error is that
// step's, an [apierror.Error]; neither contains a key. As in [Client.Post], the
// merchant is read again if WeChat Pay refuses it.
func (c *Client) Echo(ctx context.Context, notifyURL string) (*Echo, error) {
	merchant, err := c.merchants.Get(ctx)
	if err != nil {
		return (&Echo{}).failed(StepSecret, apierror.Config(err), "")
	}
	e, err := c.echo(ctx, merchant, notifyURL)
	if !mayBeOutdated(err) {
		return e, err
	}
	if current, changed := c.current(ctx); changed {
		return c.echo(ctx, current, notifyURL)
	}
	return e, err
}

// echo is [Client.Echo] as one merchant, whose keys the encrypted message must
// match.
func (c *Client) echo(ctx context.Context, merchant *Merchant, notifyURL string) (*Echo, error) {
	e := &Echo{}
	e.passed(StepSecret)
	if merchant.keys.apiv3Key != "" {
		if err := c.download(ctx, merchant); err == nil {
			e.passed(StepCertificates)
		} else if errors.Is(err, errWrongAPIv3Key) || errors.Is(err, errRefused) || merchant.keys.publicKey == nil {
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
	body, err := strictjson.Encode(struct {
		Message   string `json:"echo_message"`
		Encrypted string `json:"encrypted_echo_message"`
		NotifyURL string `json:"notify_url,omitempty"`
	}{message, encrypted, notifyURL})
	if err != nil {
		return e.failed(StepEncrypted, err, "")
	}
	answer, err := c.call(ctx, merchant, http.MethodPost, "/v3/security/echo", body)
	if err != nil {
		return e.refused(err)
	}
	e.passed(StepAnswered, StepSignature, StepVerified)
	return e.judge(merchant, answer, message, notifyURL)
}

// withoutCertificates adds the steps that a failed download proves.
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

// refused adds the steps that an error of the call proves.
func (e *Echo) refused(err error) (*Echo, error) {
	fault, _ := errors.AsType[*apierror.Error](err)
	switch {
	case errors.Is(err, errRefused):
		e.passed(StepAnswered)
		return e.failed(StepSignature, err, "")
	case fault != nil && fault.Code == "INVALID_RESPONSE":
		e.passed(StepAnswered) // what is not verified proves no more
		return e.failed(StepVerified, err, "")
	case fault == nil || fault.Status == http.StatusTooManyRequests || fault.Status >= http.StatusInternalServerError:
		return e.failed(StepAnswered, err, "")
	}
	// Another 4xx, signed by WeChat Pay.
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
		return e.failed(StepEncrypted, err, "wechatpay_public_key and wechatpay_public_key_id don't belong together: copy both anew from the merchant platform (账户中心 → API安全 → 微信支付公钥)")
	case strings.Contains(field, "notify_url"):
		return e.failed(StepNotification, err, "WeChat Pay notifies public https URLs without a query string only")
	}
	return e.failed(StepEchoed, err, "")
}

// judge adds the steps that a verified answer proves.
func (e *Echo) judge(merchant *Merchant, answer *upstream.Answer, message, notifyURL string) (*Echo, error) {
	var echo struct {
		Message   string `json:"echo_message"`
		Encrypted string `json:"encrypted_echo_message"`
	}
	if err := json.Unmarshal(answer.Body, &echo); err != nil {
		return e.failed(StepEchoed, answer.Invalid(errors.New("the answer is not the documented JSON")), "")
	}
	if echo.Message != message {
		return e.failed(StepEchoed, answer.Invalid(errors.New("echo_message is not what was sent")), "")
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
			return e.failed(StepDecrypted, answer.Invalid(errors.New("encrypted_echo_message decrypts to another message than the one that was sent")), "")
		}
		e.passed(StepDecrypted)
	}
	if notifyURL != "" {
		e.passed(StepNotification)
	}
	e.OK = true
	return e, nil
}

// encrypt encrypts a message for WeChat Pay with the key that calls name in
// Wechatpay-Serial, and returns it as base64.
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
