package main

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"membercard/shared/signing"
	"membercard/shared/strictjson"
)

// secretTTL is how long functions use a secret before they read it again.
const secretTTL = "5 minutes"

// rotation makes a command on the secret of --secret-id, by default the local stack's.
func (a *app) rotation(use, short string, f func(ctx context.Context, r *report, id string) error) *cobra.Command {
	var id string
	cmd := a.reporting(use, short, func(ctx context.Context, r *report) error {
		switch {
		case id != "":
		case a.local == nil:
			return usagef("--secret-id is needed")
		default:
			id = a.local.Secrets.Merchant
		}
		return f(ctx, r, id)
	})
	cmd.Flags().StringVar(&id, "secret-id", "", a.text("`NAME` or ARN of the merchant's secret", "商户凭据的名称（`NAME`）或 ARN"))
	return cmd
}

func (a *app) rotateBegin() *cobra.Command {
	var files merchantFiles
	cmd := a.rotation("begin", a.text("Put a new certificate into the secret, while the old one is in force", "把新证书写入凭据，此时旧证书仍然有效"), func(ctx context.Context, r *report, id string) error {
		return a.beginRotation(ctx, r, id, &files)
	})
	cmd.Long = a.text(`Put a new merchant API certificate into the merchant's secret. First it is checked, and
WeChat Pay's self-test is run with it; only then is the secret changed. The old
certificate must still be in force then, so that no request fails meanwhile. When all
functions use the new one, revoke the old one and run: membercard rotate finish

It needs permission for secretsmanager:GetSecretValue and PutSecretValue.`,
		`把新的商户API证书写入商户凭据。先检查新证书，再用它调用微信支付的自测接口，
通过后才更改凭据。此时旧证书必须仍然有效，期间才不会有请求失败。
所有函数都使用新证书后，作废旧证书，然后执行：membercard rotate finish

所需权限：secretsmanager:GetSecretValue 和 PutSecretValue。`)
	files.pairFlags(a, cmd, a.text("`FILE` with the new certificate, apiclient_cert.pem", "新证书文件（`FILE`），apiclient_cert.pem"))
	return cmd
}

func (a *app) beginRotation(ctx context.Context, r *report, id string, files *merchantFiles) error {
	client, secret, err := a.merchantOf(ctx, r, &source{id: id})
	if err != nil || client == nil {
		return err
	}
	old := secret.CertificateSerialNo
	s := step{Name: "old certificate is in force", OK: true, Detail: old}
	if echo := a.echo(ctx, client); !echo.OK {
		failed := echo.Failed()
		if failed.Cure == refusedCure {
			failed.Cure = "if the new one passes below, all is well then"
		}
		s.Warning, s.Cause, s.Cure = "the self-test fails with it already", failed.Cause, failed.Cure
	}
	r.add(s)

	certificate, key := r.pair(files, time.Now())
	if r.failed() > 0 {
		return nil
	}
	switch {
	case certificate.Subject.CommonName != secret.MchID:
		r.fail("new certificate", faultf("give the certificate of merchant "+secret.MchID+", or name another secret with --secret-id",
			"it is the certificate of merchant %s; the secret is merchant %s's", certificate.Subject.CommonName, secret.MchID))
		return nil
	case strings.EqualFold(serialOf(certificate), old):
		r.fail("new certificate", faultf(renew, "it is the certificate that the secret has already"))
		return nil
	}
	secret.CertificateSerialNo, secret.PrivateKey = serialOf(certificate), keyPEM(key)
	r.MchID, r.CertificateSerialNo, r.CertificateNotAfter = secret.MchID, secret.CertificateSerialNo, certificate.NotAfter.UTC().Format(time.RFC3339)
	renewed := strictjson.Encode(secret)
	merchant := parse(a, r, renewed, signing.ParseMerchant, ofMerchant, &source{id: id})
	if merchant == nil {
		return nil
	}
	a.selfTest(ctx, r, a.signingAs(merchant))
	if s := &r.Steps[len(r.Steps)-1]; s.Cure == refusedCure {
		s.Cure = "see whether it is in force already, and not revoked: 账户中心 → API安全 → 商户API证书; then run this again"
	}
	if r.failed() > 0 {
		r.after = append(r.after, "nothing was written; the secret has the old certificate")
		return nil
	}
	if !r.store(a.putSecret(ctx, id, string(renewed), ofMerchant, false)) {
		return nil
	}
	r.after = append(r.after,
		"functions use the new certificate within "+secretTTL+"; until then the old one must stay in force",
		"then revoke "+old+" (账户中心 → API安全 → 商户API证书), and run: membercard rotate finish --secret-id "+quote(id)+a.where(),
		"until "+old+" is revoked, this goes back to it: membercard rotate undo --secret-id "+quote(id)+a.where())
	return nil
}

func (a *app) rotateFinish() *cobra.Command {
	cmd := a.rotation("finish", a.text("Check that the new certificate is in force and the old one is not", "确认新证书有效、旧证书已失效"), a.finishRotation)
	cmd.Long = a.text(`Check that WeChat Pay accepts the certificate in the merchant's secret, and no longer
the one in the version before (AWSPREVIOUS). It needs permission for
secretsmanager:GetSecretValue.`,
		`确认微信支付接受商户凭据中的证书，且不再接受上一个版本（AWSPREVIOUS）的证书。
所需权限：secretsmanager:GetSecretValue。`)
	return cmd
}

func (a *app) finishRotation(ctx context.Context, r *report, id string) error {
	const name = "old certificate is out of force"
	client, now, err := a.merchantOf(ctx, r, &source{id: id})
	if client == nil {
		return err
	}
	a.selfTest(ctx, r, client)
	if a.cure(r, &source{id: id}, now); r.failed() > 0 {
		r.after = append(r.after, "if the old certificate is in force, this goes back to it: membercard rotate undo --secret-id "+quote(id)+a.where())
	}
	var text []byte
	if previous, bad := a.getSecretVersion(ctx, id, stagePrevious); bad == nil {
		text = []byte(aws.ToString(previous.SecretString))
	} else if !bad.missing {
		return bad
	}
	merchant, err := signing.ParseMerchant(text)
	if err != nil {
		r.add(step{Name: name, Skipped: "the secret has no version before, or that is no merchant's"})
		return nil
	}
	var old signing.MerchantSecret
	_ = strictjson.Decode(text, &old) // ParseMerchant took it
	if strings.EqualFold(now.CertificateSerialNo, old.CertificateSerialNo) {
		r.add(step{Name: name, Skipped: "the version before has the same certificate"})
		return nil
	}
	echo := a.echo(ctx, a.signingAs(merchant))
	switch failed := echo.Failed(); {
	case echo.OK:
		r.fail(name, faultf("revoke "+old.CertificateSerialNo+": 账户中心 → API安全 → 商户API证书; wait "+secretTTL+" after rotate begin first", "WeChat Pay still accepts %s", old.CertificateSerialNo))
	case failed.Name == signing.StepSignature:
		r.add(step{Name: name, OK: true, Detail: old.CertificateSerialNo})
	default:
		r.add(step{Name: name, Skipped: "it could not be tried: " + failed.Cause})
	}
	return nil
}

func (a *app) rotateUndo() *cobra.Command {
	cmd := a.rotation("undo", a.text("Make the version before of the secret the current one again", "使凭据的上一个版本重新成为当前版本"), func(ctx context.Context, r *report, id string) error {
		if a.undoRotation(ctx, r, id); r.failed() > 0 {
			r.after = append(r.after, "nothing was changed")
		}
		return nil
	})
	cmd.Long = a.text(`Make the version before (AWSPREVIOUS) of the merchant's secret the current one again.
First WeChat Pay's self-test is run with it; if it fails, because the old certificate is
revoked for instance, nothing is changed. The version that is undone is AWSPREVIOUS then,
so an undo can be undone.

It needs permission for secretsmanager:GetSecretValue and UpdateSecretVersionStage.`,
		`使商户凭据的上一个版本（AWSPREVIOUS）重新成为当前版本。先用它调用微信支付的自测接口；
如果失败，例如旧证书已作废，则不更改任何内容。被撤销的版本会成为 AWSPREVIOUS，
因此撤销也可以再撤销。

所需权限：secretsmanager:GetSecretValue 和 UpdateSecretVersionStage。`)
	return cmd
}

func (a *app) undoRotation(ctx context.Context, r *report, id string) {
	const name = "version before"
	current, bad := a.getSecretVersion(ctx, id, stageCurrent)
	if bad != nil {
		r.fail("secret read", bad)
		return
	}
	text := aws.ToString(current.SecretString)
	another := "put a correct secret: " + a.makeAnew(ofMerchant, &source{id: id}, []byte(text))
	previous, bad := a.getSecretVersion(ctx, id, stagePrevious)
	if bad != nil {
		if bad.missing {
			bad = faultf(another, "the secret has no version before (AWSPREVIOUS)")
		}
		r.fail(name, bad)
		return
	}
	before := aws.ToString(previous.SecretString)
	merchant, err := signing.ParseMerchant([]byte(before))
	var now, old signing.MerchantSecret
	_, malformed := signing.ParseMerchant([]byte(text)) // and to be undone for that
	_ = strictjson.Decode([]byte(text), &now)
	_ = strictjson.Decode([]byte(before), &old)
	switch {
	case err != nil:
		bad = faultf(another, "%v", err)
	case before == text:
		bad = faultf(another, "it has the same value as the current one")
	case malformed == nil && now.MchID != old.MchID:
		bad = faultf(another+"; if that merchant's is wanted, put it in the same way", "it is merchant %s's; the secret is merchant %s's", old.MchID, now.MchID)
	}
	if !r.check(step{Name: name, Detail: "merchant " + old.MchID + ", certificate " + old.CertificateSerialNo}, bad) {
		return
	}
	r.MchID, r.CertificateSerialNo = old.MchID, old.CertificateSerialNo
	if a.selfTest(ctx, r, a.signingAs(merchant)); r.failed() > 0 {
		return
	}
	if bad := a.moveCurrent(ctx, id, current, previous); bad != nil {
		r.fail("undone", bad)
		return
	}
	r.Stored = &stored{ARN: aws.ToString(previous.ARN), VersionID: aws.ToString(previous.VersionId)}
	r.add(step{Name: "undone", OK: true, Detail: "AWSCURRENT is the version " + r.Stored.VersionID + " again; AWSPREVIOUS is now " + aws.ToString(current.VersionId)})
	r.after = append(r.after, "functions use it within "+secretTTL+", and at once where WeChat Pay refuses the one that they have; to go forth again, run this once more")
}
