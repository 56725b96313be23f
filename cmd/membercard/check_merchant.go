package main

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/shared/apierror"
	"membercard/shared/signing"
	"membercard/shared/strictjson"
)

// The steps of check merchant that say which causes a refusal can't have.
const (
	stepCertificate = "certificate"
	stepBelongs     = "secret and certificate belong together"
	stepClock       = "clock"
)

func (a *app) checkMerchant() *cobra.Command {
	var from source
	var cert string
	cmd := a.reporting("merchant", a.text("Check the merchant's secret with WeChat Pay's self-test", "用微信支付的自测接口验证商户凭据"), func(ctx context.Context, r *report) error {
		client, secret, err := a.merchantOf(ctx, r, &from)
		if client == nil {
			return err
		}
		defer a.cure(r, &from, secret)
		r.MchID, r.CertificateSerialNo = secret.MchID, secret.CertificateSerialNo
		if secret.PublicKeyID != "" {
			r.check(step{Name: "public-key ID", Detail: secret.PublicKeyID}, publicKeyID(secret.PublicKeyID))
		}
		if bad := apiv3Key(secret.APIv3Key); secret.APIv3Key == "" {
			r.add(step{Name: "APIv3 key", Skipped: "not in the secret; notifications can't be read without it"})
		} else if bad != nil {
			r.fail("APIv3 key", bad)
		} else if onlyHex(secret.APIv3Key) {
			r.add(step{Name: "APIv3 key", OK: true, Warning: hexWarning, Cure: "a notification proves it (membercard check deployment --notify); if it is another key, copy the APIv3 key again, or " + setAPIv3Key})
		}
		if cert != "" {
			if certificate := r.certificate(cert, time.Now()); certificate != nil {
				r.belongs(certificate, cert, secret, a.makeMerchant(&from, secret))
			}
		}
		a.clock(ctx, r)
		a.selfTest(ctx, r, client)
		if i := slices.IndexFunc(r.Steps, func(s step) bool { return s.Warning == hexWarning }); i >= 0 && r.passed(signing.StepCertificates) {
			r.Steps[i].Warning, r.Steps[i].Cure = "", "" // it is the right one
		}
		return nil
	})
	cmd.Long = a.text(`Check the merchant's secret: offline, and then with WeChat Pay's self-test of keys
(POST /v3/security/echo), which touches no card.

If WeChat Pay refuses the signature, --cert says why: the secret is compared with the
certificate that it was made from.`,
		`检查商户凭据：先离线检查，再调用微信支付的自测接口
（POST /v3/security/echo），不涉及任何会员卡。

如果微信支付不接受签名，加上 --cert 可以查明原因：工具会把凭据与生成它的证书对比。`)
	cmd.Example = `  membercard check merchant --secret-id membercard/merchant
  membercard check merchant --secret-id membercard/merchant --cert apiclient_cert.pem`
	cmd.Flags().StringVar(&cert, "cert", "", a.text("`FILE` with the merchant API certificate, to compare the secret with", "商户API证书文件（`FILE`），用来与凭据对比"))
	_ = cmd.MarkFlagFilename("cert", "pem") // there is such a flag
	return from.flags(a, cmd)
}

// belongs checks that a secret is that of a certificate. anew makes the secret again.
func (r *report) belongs(c *x509.Certificate, path string, secret *signing.MerchantSecret, anew string) {
	var differs []string
	serial := serialOf(c)
	if c.Subject.CommonName != secret.MchID {
		differs = append(differs, "mchid is "+secret.MchID+", and the certificate is merchant "+c.Subject.CommonName+"'s")
	}
	switch {
	case secret.CertificateSerialNo == serial:
	case strings.EqualFold(secret.CertificateSerialNo, serial):
		differs = append(differs, "certificate_serial_no is not in capitals: "+serial)
	default:
		differs = append(differs, "certificate_serial_no is "+secret.CertificateSerialNo+", and the certificate's is "+serial)
	}
	if key, err := utils.LoadPrivateKey(secret.PrivateKey); err != nil || !key.PublicKey.Equal(c.PublicKey) {
		differs = append(differs, "private_key is not the certificate's")
	}
	if len(differs) > 0 {
		r.fail(stepBelongs, faultf("if "+path+" is the certificate that is in force, make the secret anew: "+anew, "%s", strings.Join(differs, "; ")))
		return
	}
	r.add(step{Name: stepBelongs, OK: true})
}

// merchantOf returns a client that signs as the merchant of a secret, and the secret;
// or no client if the report says why not.
func (a *app) merchantOf(ctx context.Context, r *report, from *source) (*signing.Client, *signing.MerchantSecret, error) {
	text, err := a.secret(ctx, r, from, ofMerchant)
	if err != nil || text == nil {
		return nil, nil, err
	}
	secret := &signing.MerchantSecret{}
	unreadable := strictjson.Decode(text, secret)
	merchant := parse(a, r, text, signing.ParseMerchant, ofMerchant, from)
	last := &r.Steps[len(r.Steps)-1]
	if merchant == nil {
		if bad := mistakeIn(secret); bad != nil && unreadable == nil {
			last.Cause, last.Cure = bad.cause, bad.cure+"; then make the secret anew: "+a.makeMerchant(from, secret)
		}
		return nil, nil, nil
	}
	for _, part := range []struct{ key, value string }{{"private_key", secret.PrivateKey}, {"wechatpay_public_key", secret.PublicKey}} {
		if strings.Contains(part.value, "\r") {
			last.Notes = append(last.Notes, part.key+" has Windows line breaks (CRLF), which do no harm")
		}
	}
	return a.signingAs(merchant), secret, nil
}

// mistakeIn names what is wrong with a merchant's secret that was written by hand, in
// the words of secret merchant. It returns nil if the parser's say enough.
func mistakeIn(secret *signing.MerchantSecret) *fault {
	var own *rsa.PrivateKey
	for _, part := range []struct {
		key, value, name string // the name is that of WeChat's file, which the cures have
		check            func(*file) *fault
	}{
		{"private_key", secret.PrivateKey, "apiclient_key.pem", func(f *file) (bad *fault) {
			own, bad = f.rsaKey("apiclient_key.pem")
			return bad
		}},
		{"wechatpay_public_key", secret.PublicKey, "pub_key.pem", func(f *file) *fault {
			_, bad := f.wechatPaysKey(nil, own)
			return bad
		}},
		{"wechatpay_public_key_id", secret.PublicKeyID, "", func(*file) *fault { return publicKeyID(secret.PublicKeyID) }},
		{"apiv3_key", secret.APIv3Key, "", func(*file) *fault { return apiv3Key(secret.APIv3Key) }},
		{"certificate_serial_no", secret.CertificateSerialNo, "", func(*file) *fault {
			if strings.Trim(secret.CertificateSerialNo, "0123456789abcdefABCDEF") == "" {
				return nil
			}
			return faultf("openssl x509 -in apiclient_cert.pem -noout -serial   (hexadecimal digits only, without colons)", "it is not a serial number in hex")
		}},
	} {
		if part.value == "" {
			continue
		}
		// A key is read as a file is, to say what is in it.
		f := inspect(part.name, []byte(part.value))
		bad := part.check(f)
		if bad == nil && part.name != "" {
			bad = notMended(f.notes)
		}
		if bad != nil {
			return faultf(bad.cure, "%s in the secret: %s", part.key, bad.cause)
		}
	}
	return nil
}

// notMended is what is wrong with a key in a secret that the functions can't read, and
// would be mended in a file; or nil.
func notMended(notes []string) *fault {
	var found []string
	for _, note := range []struct{ mended, cause string }{
		{noteBOM, "it begins with a byte order mark (BOM), which an editor has put there"},
		{noteEscaped, `it has "\n" instead of line breaks`},
	} {
		if slices.Contains(notes, note.mended) {
			found = append(found, note.cause)
		}
	}
	if len(found) == 0 {
		return nil
	}
	if slices.Contains(notes, noteCRLF) {
		found = append(found, "it has Windows line breaks (CRLF)")
	}
	return faultf("leave the files as they are, for membercard secret merchant mends that", "%s", strings.Join(found, "; "))
}

// refusedCure is the cure of a request that WeChat Pay answered with 401.
var refusedCure = apierror.SignatureRefused(nil).Cure

// cure completes the cure of the last step, which WeChat Pay refused: by the causes that
// the steps before leave, and the command that mends it.
func (a *app) cure(r *report, from *source, secret *signing.MerchantSecret) {
	s := &r.Steps[len(r.Steps)-1]
	switch {
	case s.OK || s.Cure == "":
	case s.Cure == refusedCure:
		s.Cure = a.cureRefusal(r, from, secret)
	case s.Name == signing.StepVerified && strings.Contains(s.Cure, "public key"), strings.Contains(s.Cure, " as wechatpay_public_key and "):
		s.Cure = a.cureForeignKey(s.Cure, from, secret)
	case strings.Contains(s.Cure, " as apiv3_key"):
		if a.local != nil && !a.isSandboxes(secret) {
			s.Cure = "make the secret with the APIv3 key (账户中心 → API安全 → APIv3密钥) that the merchant was enrolled with, or enrol it with this one: " + a.enrolment()
		}
		if onlyHex(secret.APIv3Key) {
			s.Cure = hexWarning + "; " + s.Cure
		}
		s.Cure += "; then: " + a.makeMerchant(from, secret)
	}
}

// cureRefusal is the cure of a refused signature: the causes that are left, and how to
// tell them apart.
func (a *app) cureRefusal(r *report, from *source, secret *signing.MerchantSecret) string {
	ofSandbox := a.isSandboxes(secret)
	switch {
	case r.failedAt(stepCertificate, stepBelongs, stepClock):
		return "mend what failed above, and run this again"
	case !r.passed(stepBelongs):
		causes := "mchid, certificate_serial_no and private_key are not of one certificate, or it has expired, or was revoked or replaced"
		if a.local == nil && !r.passed(stepClock) {
			causes += ", or this machine's clock is wrong (date -u)"
		}
		if a.local != nil && !ofSandbox {
			causes += ", or the sandbox does not know it: " + a.enrolment()
		}
		return causes + "; this says which: " + a.checkMerchantWith(from)
	case ofSandbox:
		return "the sandbox makes new files whenever it starts; make the secret from them: " + a.makeMerchant(from, secret)
	case a.local != nil:
		return "the sandbox does not know the certificate, or no longer, as it forgets merchants when it ends: " + a.enrolment()
	}
	return "the secret is the certificate's, which has not expired, so it was revoked or replaced: see which one is in force (账户中心 → API安全 → 商户API证书), and make the secret anew with its files: " + a.makeMerchant(from, secret)
}

// cureForeignKey is the cure where the secret has not the key that WeChat Pay signs with.
func (a *app) cureForeignKey(cure string, from *source, secret *signing.MerchantSecret) string {
	anew := *secret
	anew.PublicKeyID = "" // it may be wrong too
	if a.local == nil {
		return cure + "; then make the secret anew: " + a.makeMerchant(from, &anew)
	}
	give := "give the sandbox's public key and its ID as wechatpay_public_key and wechatpay_public_key_id, for it can sign with no other: "
	if !a.isSandboxes(secret) {
		give += a.enrolment() + ", which writes them, then "
	}
	if !strings.Contains(cure, "wechatpay_public_key") { // other causes are possible
		give = cure + "; " + give
	}
	return give + a.makeMerchant(from, &anew)
}
