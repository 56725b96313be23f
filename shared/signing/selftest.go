package signing

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"

	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/shared/apierror"
	"membercard/shared/cached"
	"membercard/shared/strictjson"
)

// The steps of [Client.SelfTest], in this order.
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

// SelfTest is the result of WeChat Pay's self-test. If a step failed, OK is false and that
// step is the last one.
type SelfTest struct {
	OK    bool   `json:"ok"`
	Steps []Step `json:"steps"`
}

func (t *SelfTest) passed(names ...string) {
	for _, name := range names {
		t.Steps = append(t.Steps, Step{Name: name, OK: true})
	}
}

// Skip adds a step that was not checked.
func (t *SelfTest) Skip(name, reason string) {
	t.Steps = append(t.Steps, Step{Name: name, OK: true, Skipped: reason})
}

func (t *SelfTest) failed(name string, fault *apierror.Error) (*SelfTest, error) {
	step := Step{Name: name, Cause: fault.Message, Cure: fault.Cure, RequestID: fault.RequestID}
	if fault.Cause != nil {
		step.Cause = fault.Cause.Error()
	}
	t.Steps = append(t.Steps, step)
	return t, fault
}

// Failed returns the failed step, or nil.
func (t *SelfTest) Failed() *Step {
	if t.OK || len(t.Steps) == 0 {
		return nil
	}
	return &t.Steps[len(t.Steps)-1]
}

// SelfTest runs WeChat Pay's self-test of the merchant's keys (POST /v3/security/echo,
// 商户签名验签/加解密测试). It sends a random message in the clear and encrypted for
// WeChat Pay, and changes nothing there. If notifyURL is not empty, WeChat Pay also
// sends a SECURITY_ECHO.SUCCESS notification to it.
//
// If the merchant has an apiv3_key, SelfTest also downloads the platform certificates and
// decrypts them with it. That step is skipped for a merchant with a public key who has
// no certificates.
//
// The result has every step up to the first one that failed. The error is that of the
// failed step, an [apierror.Error]. Neither contains a key. If the merchant proves
// outdated, the test is that of the current one.
func (c *Client) SelfTest(ctx context.Context, notifyURL string) (*SelfTest, error) {
	merchant, err := c.merchants.Get(ctx)
	if err != nil {
		return (&SelfTest{}).failed(StepSecret, apierror.Config(err))
	}
	t, err := c.selfTest(ctx, merchant, notifyURL)
	if mayBeOutdated(err) {
		cached.Newer(ctx, c.merchants, merchant)
	}
	if current, unread := c.merchants.Get(ctx); unread == nil && current != merchant {
		return c.selfTest(ctx, current, notifyURL)
	}
	return t, err
}

// selfTest is [Client.SelfTest] as one merchant: the message must be encrypted with the
// keys of the merchant that signs.
func (c *Client) selfTest(ctx context.Context, merchant *Merchant, notifyURL string) (*SelfTest, error) {
	t := &SelfTest{}
	t.passed(StepSecret)
	if merchant.keys.apiv3Key != "" {
		err := c.download(ctx, merchant)
		switch {
		case err == nil:
			t.passed(StepCertificates)
		case merchant.keys.publicKey == nil || mayBeOutdated(err) || apierror.From(err).Status == http.StatusTooManyRequests:
			return t.stopped(err, StepCertificates)
		default:
			t.Skip(StepCertificates, "the public key serves without them: "+err.Error())
		}
	}
	sent := rand.Text()
	encrypted, err := merchant.keys.encrypt(ctx, sent)
	if err != nil {
		return t.failed(StepEncrypted, apierror.Config(err))
	}
	body := struct {
		Message   string `json:"echo_message"`
		Encrypted string `json:"encrypted_echo_message"`
		NotifyURL string `json:"notify_url,omitempty"`
	}{sent, encrypted, notifyURL}
	answer, err := c.doAs(ctx, merchant, &call{method: http.MethodPost, path: "/v3/security/echo", body: body})
	if err != nil {
		return t.stopped(err, StepVerified)
	}
	t.passed(callSteps...)
	wrong := func(step, cause, cure string) (*SelfTest, error) {
		fault := apierror.InvalidResponse(errors.New(cause))
		fault.Cure, fault.RequestID = cure, answer.RequestID()
		return t.failed(step, fault)
	}
	const repeat = "the answer is signed by WeChat Pay, but it is not that of this self-test: repeat the check; if it lasts, give request_id to WeChat Pay's support"
	var echoed, received string
	strictjson.Member(answer.Body, "echo_message", &echoed)
	if echoed != sent {
		return wrong(StepEchoed, "echo_message is not what was sent", repeat)
	}
	t.passed(StepEchoed, StepEncrypted)
	strictjson.Member(answer.Body, "encrypted_echo_message", &received)
	decrypted, err := utils.DecryptOAEP(received, merchant.signer.PrivateKey)
	switch {
	case received == "":
		t.Skip(StepDecrypted, "not offered: WeChat Pay's answer has no encrypted_echo_message")
	case err != nil:
		return wrong(StepDecrypted, "encrypted_echo_message can't be decrypted with private_key",
			"WeChat Pay encrypts for a merchant certificate: check that certificate_serial_no is that of private_key's certificate, and revoke certificates that are no longer used")
	case decrypted != sent:
		return wrong(StepDecrypted, "encrypted_echo_message decrypts to another message than the one that was sent", repeat)
	default:
		t.passed(StepDecrypted)
	}
	if notifyURL != "" {
		t.passed(StepNotification)
	}
	t.OK = true
	return t, nil
}

// callSteps are the steps that a signed answer shows to have passed.
var callSteps = []string{StepAnswered, StepSignature, StepVerified}

// stopped adds the steps that are known after a call failed: those that passed, and the one
// where the error stopped the test. unusable is the step for an answer that can't be used.
func (t *SelfTest) stopped(err error, unusable string) (*SelfTest, error) {
	fault, field := apierror.From(err), ""
	if fault.Detail != nil {
		field = fault.Detail.Field
	}
	passed, at := len(callSteps), StepEchoed // a 4xx that WeChat Pay signed
	switch {
	case errors.Is(err, errRefused):
		passed, at = 1, StepSignature
	case fault.Code == "CONFIG_ERROR", fault.Code == "INVALID_RESPONSE" && unusable == StepCertificates:
		passed, at = 0, StepCertificates
	case fault.Code == "INVALID_RESPONSE":
		passed, at = 1, StepVerified
	case apierror.Transient(fault.Status):
		passed, at = 0, StepAnswered
	case strings.Contains(field, "Wechatpay-Serial"):
		passed, at = 2, StepVerified
	case strings.Contains(field, "encrypted_echo_message"):
		at = StepEncrypted
		fault.Cure = "wechatpay_public_key and wechatpay_public_key_id don't belong together: copy both again from the merchant platform (账户中心 → API安全 → 微信支付公钥)"
	case strings.Contains(field, "notify_url"):
		at = StepNotification
		fault.Cure = "WeChat Pay notifies public https URLs without a query string only"
	}
	t.passed(callSteps[:passed]...)
	return t.failed(at, fault)
}

// encrypt encrypts a message for WeChat Pay with the key that requests name in
// Wechatpay-Serial. It returns base64.
func (k *keyring) encrypt(ctx context.Context, message string) (string, error) {
	if k.publicKey != nil {
		return utils.EncryptOAEPWithPublicKey(message, k.publicKey)
	}
	certificates, _ := k.downloaded()
	certificate, _ := certificates.Get(ctx, certificates.GetNewestSerial(ctx))
	return utils.EncryptOAEPWithCertificate(message, certificate)
}
