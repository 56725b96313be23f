package signing

import (
	"cmp"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/shared/apierror"
	"membercard/shared/strictjson"
	"membercard/shared/tlsdial/tlsdialtest"
)

const notifyURL = "https://api.example.com/wechatpay/notifications"

// echoed is what POST /v3/security/echo answers: it decrypts with the key of
// Wechatpay-Serial, and encrypts for the merchant. The zero value is right.
type echoed struct {
	status    int    // a refusal
	field     string // at fault
	signed    signature
	unsigned  bool
	decrypts  *rsa.PrivateKey // nil is WeChat Pay's
	encrypts  *rsa.PublicKey  // nil is the merchant's
	message   string          // instead of the one that was sent
	encrypted string          // the plain text, instead of the message
	base64    string          // instead of the ciphertext
	without   bool            // without encrypted_echo_message
	notifyURL string          // that must be sent
}

func (e echoed) reply(t *testing.T) func(string, []byte) reply {
	return func(serial string, body []byte) reply {
		var sent struct {
			Message   string  `json:"echo_message"`
			Encrypted string  `json:"encrypted_echo_message"`
			NotifyURL *string `json:"notify_url"`
		}
		if err := strictjson.Decode(body, &sent); err != nil || len(sent.Message) < 16 {
			t.Errorf("sent %s: %v", body, err)
		}
		if (sent.NotifyURL != nil) != (e.notifyURL != "") || sent.NotifyURL != nil && *sent.NotifyURL != e.notifyURL {
			t.Errorf("sent %s, want the notify_url %q", body, e.notifyURL)
		}
		signed := e.signed
		if !e.unsigned {
			signed.serial = cmp.Or(signed.serial, serial)
		}
		refusal := func(status int, field string) reply {
			return reply{status: status, signed: signed, body: `{"code":"PARAM_ERROR","message":"参数错误","detail":{"field":"` + field + `","issue":"校验失败","location":"body"}}`}
		}
		if e.status != 0 {
			return refusal(e.status, e.field)
		}
		message, err := utils.DecryptOAEP(sent.Encrypted, cmp.Or(e.decrypts, keys().wechatpay))
		if err != nil {
			return refusal(400, "/encrypted_echo_message")
		}
		if message != sent.Message {
			t.Errorf("%q was encrypted, %q sent", message, sent.Message)
		}
		answer := map[string]string{"echo_message": cmp.Or(e.message, message)}
		ciphertext, err := utils.EncryptOAEPWithPublicKey(cmp.Or(e.encrypted, message), cmp.Or(e.encrypts, &keys().merchant.PublicKey))
		if err != nil {
			t.Error(err)
		}
		if !e.without {
			answer["encrypted_echo_message"] = cmp.Or(e.base64, ciphertext)
		}
		text, err := json.Marshal(answer)
		if err != nil {
			t.Error(err)
		}
		return reply{status: 200, body: string(text), signed: signed}
	}
}

// names are those of the steps; "-" marks a skipped one, "!" a failed one.
func names(e *SelfTest) (names []string) {
	for _, step := range e.Steps {
		switch {
		case step.Cause != "":
			names = append(names, "!"+step.Name)
		case step.Skipped != "":
			names = append(names, "-"+step.Name)
		case step.OK:
			names = append(names, step.Name)
		}
	}
	return names
}

// echo runs the self-test against WeChat Pay.
func echo(t *testing.T, secret fields, answer echoed, list reply) (*wechatpay, *SelfTest, error) {
	w := start(t, nil)
	w.echo, w.list = answer.reply(t), always(list)
	e, err := client(&versions{merchants: []*Merchant{secret.merchant(t)}}, w).SelfTest(t.Context(), answer.notifyURL)
	return w, e, err
}

// upTo are the steps, in order, up to a name.
func upTo(last string, more ...string) []string {
	all := []string{StepSecret, StepAnswered, StepSignature, StepVerified, StepEchoed, StepEncrypted, StepDecrypted, StepNotification}
	return append(all[:slices.Index(all, last)+1], more...)
}

var noCertificates = reply{status: 404, body: `{"code":"RESOURCE_NOT_EXISTS","message":"无可用的平台证书"}`, signed: signature{serial: publicKeyID}}

func TestSelfTestPasses(t *testing.T) {
	all := certificates(cert{serial: certA})
	for _, row := range []struct {
		name   string
		mode   string
		answer echoed
		list   reply
		steps  []string
	}{
		{"public key", "public key", echoed{}, reply{}, upTo(StepDecrypted)},
		{"certificates", "certificates", echoed{}, all, slices.Insert(upTo(StepDecrypted), 1, StepCertificates)},
		{"both", "both", echoed{}, all, slices.Insert(upTo(StepDecrypted), 1, StepCertificates)},
		{"both, and the merchant has no certificates", "both", echoed{}, noCertificates, slices.Insert(upTo(StepDecrypted), 1, "-"+StepCertificates)},
		{"a notification is asked for", "public key", echoed{notifyURL: notifyURL}, reply{}, upTo(StepNotification)},
		{"an answer without encrypted_echo_message", "public key", echoed{without: true}, reply{}, upTo(StepEncrypted, "-"+StepDecrypted)},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, e, err := echo(t, modes[row.mode](), row.answer, row.list)
			if err != nil || !e.OK || e.Failed() != nil || !slices.Equal(names(e), row.steps) {
				t.Errorf("%q, %v, want %q", names(e), err, row.steps)
			}
		})
	}
}

func TestSelfTestNamesTheStepThatFailsAndTheCure(t *testing.T) {
	t.Parallel()
	const newPublicKey = "PUB_KEY_ID_0119000000012026062400291234567890"
	wrongKey := reply{status: 200, signed: signature{serial: certA}, body: listOf(encrypted(certA, cert{serial: certA}.pem(), strings.ToLower(apiv3Key)))}
	for _, row := range []struct {
		name   string
		mode   string
		answer echoed
		list   reply
		steps  []string // the last one fails
		code   string
		cause  string
		cure   string
	}{
		{"another message", "public key", echoed{message: "another"}, reply{},
			upTo(StepVerified, "!"+StepEchoed), "INVALID_RESPONSE", "echo_message is not what was sent", "support"},
		{"an unsigned answer", "public key", echoed{unsigned: true}, reply{},
			upTo(StepAnswered, "!"+StepVerified), "INVALID_RESPONSE", "", "public key"},
		{"a stale answer", "public key", echoed{signed: signature{age: 6 * time.Minute}}, reply{},
			upTo(StepAnswered, "!"+StepVerified), "INVALID_RESPONSE", "", "clock"},
		{"a rotated public key under a new ID", "public key", echoed{signed: signature{serial: newPublicKey}}, reply{},
			upTo(StepAnswered, "!"+StepVerified), "INVALID_RESPONSE", "unknown key", "wechatpay_public_key_id"},
		{"a wrong public key under the right ID", "public key", echoed{signed: signature{key: keys().merchant}}, reply{},
			upTo(StepAnswered, "!"+StepVerified), "INVALID_RESPONSE", "", "public key and its ID"},
		{"a public-key ID that WeChat Pay does not know", "public key", echoed{status: 400, field: "Wechatpay-Serial"}, reply{},
			upTo(StepSignature, "!"+StepVerified), "PARAM_ERROR", "400 PARAM_ERROR", "wechatpay_public_key_id"},
		{"a public key that WeChat Pay can't decrypt for", "public key", echoed{decrypts: keys().merchant}, reply{},
			upTo(StepVerified, "!"+StepEncrypted), "PARAM_ERROR", "400 PARAM_ERROR", "belong together"},
		{"a refused notify_url", "public key", echoed{status: 400, field: "/notify_url", notifyURL: notifyURL}, reply{},
			upTo(StepVerified, "!"+StepNotification), "PARAM_ERROR", "400 PARAM_ERROR", "https"},
		{"another refusal", "public key", echoed{status: 403}, reply{},
			upTo(StepVerified, "!"+StepEchoed), "PARAM_ERROR", "403 PARAM_ERROR", "document"},
		{"encrypted for another merchant", "public key", echoed{encrypts: &keys().wechatpay.PublicKey}, reply{},
			upTo(StepEncrypted, "!"+StepDecrypted), "INVALID_RESPONSE", "can't be decrypted with private_key", "certificate_serial_no"},
		{"encrypted, but no base64", "public key", echoed{base64: "%%%"}, reply{},
			upTo(StepEncrypted, "!"+StepDecrypted), "INVALID_RESPONSE", "can't be decrypted with private_key", "certificate_serial_no"},
		{"encrypted, but another message", "public key", echoed{encrypted: "another"}, reply{},
			upTo(StepEncrypted, "!"+StepDecrypted), "INVALID_RESPONSE", "another message", "support"},
		{"WeChat Pay fails", "public key", echoed{status: 500}, reply{},
			upTo(StepSecret, "!"+StepAnswered), "PARAM_ERROR", "500", "document"},
		{"a wrong APIv3 key where certificates are used", "certificates", echoed{}, wrongKey,
			upTo(StepSecret, "!"+StepCertificates), "CONFIG_ERROR", "apiv3_key does not decrypt", "APIv3 key"},
		{"a wrong APIv3 key beside a public key", "both", echoed{}, wrongKey,
			upTo(StepSecret, "!"+StepCertificates), "CONFIG_ERROR", "apiv3_key does not decrypt", "APIv3 key"},
		{"neither certificates nor a public key", "certificates", echoed{}, noCertificates,
			upTo(StepSecret, "!"+StepCertificates), "CONFIG_ERROR", "may have no platform certificates", "secret"},
		{"certificates that can't be had now", "certificates", echoed{}, reply{status: 503, signed: signature{serial: certA}},
			upTo(StepSecret, "!"+StepAnswered), "SYSTEM_ERROR", "503", "document"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, e, err := echo(t, modes[row.mode](), row.answer, row.list)
			if !slices.Equal(names(e), row.steps) {
				t.Fatalf("%q, want %q", names(e), row.steps)
			}
			requireFailed(t, e, err, row.code, row.cause, row.cure)
		})
	}
}

// The same fault has the same cure, whether a call or the self-test meets it.
func TestOneFaultHasOneCure(t *testing.T) {
	wrongKey := reply{status: 200, signed: signature{serial: certA}, body: listOf(encrypted(certA, cert{serial: certA}.pem(), strings.ToLower(apiv3Key)))}
	refused := reply{status: 400, signed: signature{serial: publicKeyID}, body: `{"code":"PARAM_ERROR","message":"参数错误","detail":{"field":"Wechatpay-Serial","issue":"校验失败","location":"header"}}`}
	for _, row := range []struct {
		name    string
		mode    string
		accepts string // the certificate's serial number; empty: the merchant's
		answer  reply
		list    reply
		cure    string
	}{
		{"a revoked certificate", "public key", "7132D72A03E93CDDF8C03BBD1F37EEDF00000002", reply{}, reply{}, "revoked or replaced, put the new one into the secret"},
		{"a revoked certificate where certificates are downloaded", "certificates", "7132D72A03E93CDDF8C03BBD1F37EEDF00000002", reply{}, reply{}, "revoked or replaced, put the new one into the secret"},
		{"a rotated public key under a new ID", "public key", "", reply{status: 200, body: "{}", signed: signature{serial: "PUB_KEY_ID_0119000000012026062400291234567890"}}, reply{}, "WeChat Pay's current public key and its ID"},
		{"a public-key ID that WeChat Pay does not know", "public key", "", refused, reply{}, "WeChat Pay's current public key and its ID"},
		{"a wrong public key under the right ID", "public key", "", reply{status: 200, body: "{}", signed: signature{serial: publicKeyID, key: keys().merchant}}, reply{}, "the secret's public key and its ID"},
		{"a wrong APIv3 key", "certificates", "", reply{}, wrongKey, "lets you set a new one"},
		{"no platform certificates", "certificates", "", reply{}, noCertificates, "WeChat Pay's current public key and its ID"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := start(t, always(row.answer))
			w.accepts, w.list, w.echo = cmp.Or(row.accepts, w.accepts), always(row.list), func(string, []byte) reply { return row.answer }
			c := client(&versions{merchants: []*Merchant{modes[row.mode]().merchant(t)}}, w)
			_, err := c.Post(t.Context(), operation, []byte(example))
			called, ok := errors.AsType[*apierror.Error](err)
			e, _ := c.SelfTest(t.Context(), "")
			if tested := e.Failed(); !ok || tested == nil || called.Cure != tested.Cure || !strings.Contains(called.Cure, row.cure) {
				t.Errorf("a call: %+v\nthe self-test: %+v", called, tested)
			}
		})
	}
}

// requireFailed checks the failed step and the error.
func requireFailed(t *testing.T, e *SelfTest, err error, code, cause, cure string) {
	t.Helper()
	fault, ok := errors.AsType[*apierror.Error](err)
	failed := e.Failed()
	if !ok || fault.Code != code || e.OK || failed == nil || failed.Cause == "" || !strings.Contains(failed.Cause, cause) || !strings.Contains(failed.Cure, cure) || fault.Cure != failed.Cure {
		t.Errorf("%v, %+v", err, failed)
	}
}

func TestSelfTestWithARevokedCertificate(t *testing.T) {
	for mode := range modes {
		t.Run(mode, func(t *testing.T) {
			w := start(t, nil)
			w.accepts, w.echo = "7132D72A03E93CDDF8C03BBD1F37EEDF00000002", echoed{}.reply(t)
			e, err := client(&versions{merchants: []*Merchant{modes[mode]().merchant(t)}}, w).SelfTest(t.Context(), "")
			requireFailed(t, e, err, "SIGN_ERROR", "401", "revoked or replaced")
			if want := upTo(StepAnswered, "!"+StepSignature); !slices.Equal(names(e), want) {
				t.Errorf("%q, want %q", names(e), want)
			}
		})
	}
}

func TestSelfTestWithoutASecretOrANetwork(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	e, err := client(&versions{}, w).SelfTest(t.Context(), "")
	requireFailed(t, e, err, "CONFIG_ERROR", "apiv3_key does not have 32 bytes", "secret")
	if want := []string{"!" + StepSecret}; !slices.Equal(names(e), want) {
		t.Errorf("%q", names(e))
	}
	w.URL = tlsdialtest.Nowhere
	e, err = client(&versions{merchants: []*Merchant{modes["public key"]().merchant(t)}}, w).SelfTest(t.Context(), "")
	requireFailed(t, e, err, "UPSTREAM_UNREACHABLE", "refused", "internet")
	if want := upTo(StepSecret, "!"+StepAnswered); !slices.Equal(names(e), want) {
		t.Errorf("%q", names(e))
	}
}

// A secret that changed is read again, and the message encrypted with its keys.
func TestSelfTestReadsARefusedSecretAgain(t *testing.T) {
	const newID = "PUB_KEY_ID_0119000000012026062400291234567890"
	w := start(t, nil)
	w.echo = func(serial string, body []byte) reply {
		return echoed{signed: signature{serial: newID}}.reply(t)(serial, body)
	}
	renewed := modes["public key"]().but("wechatpay_public_key_id", newID)
	v := &versions{merchants: []*Merchant{modes["public key"]().merchant(t), renewed.merchant(t)}}
	e, err := client(v, w).SelfTest(t.Context(), "")
	if err != nil || !e.OK || v.refreshes != 1 {
		t.Errorf("%q, %v after %d refreshes", names(e), err, v.refreshes)
	}
	w.counts(t, 2, 0)
}
