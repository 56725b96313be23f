package main

import (
	"crypto/x509"
	"strings"
	"testing"

	"membercard/local/wechatpay"
)

func TestRotate(t *testing.T) {
	const id, force = "membercard/rotated", "old certificate is out of force"
	rotate := func(args ...string) outcome {
		return tool(t, append([]string{"rotate", "--json", local, "--secret-id", id}, args...)...)
	}
	begin := func(f files) outcome {
		args := files{"cert": f["cert"], "key": f["key"]}.args(t)
		return rotate(append([]string{"begin"}, args[2:]...)...)
	}
	old, oldKey := merchantNow(wechatpay.Both)
	manager.aws.Secrets.Put(id, pay.MerchantSecret(wechatpay.Both))

	// What may be wrong with the new certificate changes nothing.
	writes := manager.writes()
	for _, row := range []struct {
		name        string
		files       files
		step, cause string
	}{
		{"the same certificate", given(), "new certificate", "already"},
		{"another merchant's", files{"cert": certificateFor(old, oldKey).but(func(c *issued) { c.cn, c.serial = "1900000002", "5157F09EFDC096DE15EBE81A47057A7232F1B8E1" }).pem(), "key": old.PrivateKey}, "new certificate", "of merchant 1900000002"},
		{"another key", files{"cert": certificateFor(old, another()).pem(), "key": old.PrivateKey}, "key and certificate belong together", "is not the key"},
		{"not known to WeChat Pay", files{"cert": certificateFor(old, another()).but(func(c *issued) { c.serial = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1" }).pem(),
			"key": armour("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(another())))}, "signature accepted", "401"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if s := begin(row.files).requireFailed(t, row.step); !strings.Contains(s.Cause, row.cause) || s.Cure == "" {
				t.Errorf("%+v", s)
			}
			if manager.writes() != writes {
				t.Error("the secret was written")
			}
		})
	}

	// Step by step.
	if r := rotate("finish").requirePassed(t); !strings.Contains(r.Steps[len(r.Steps)-1].Skipped, "no version before") {
		t.Errorf("%+v", r.Steps)
	}
	pay.IssueMerchantKey()
	renewed := filesFor(merchantNow(wechatpay.Both))
	r := begin(renewed).requirePassed(t)
	if r.Stored == nil || r.CertificateSerialNo == old.CertificateSerialNo {
		t.Errorf("%+v", r)
	}
	if s := rotate("finish").requireFailed(t, force); !strings.Contains(s.Cause, "still accepts "+old.CertificateSerialNo) || !strings.Contains(s.Cure, "revoke "+old.CertificateSerialNo) {
		t.Errorf("%+v", s)
	}
	pay.RevokeOldMerchantKeys()
	if r := rotate("finish").requirePassed(t); r.Steps[len(r.Steps)-1].Detail != old.CertificateSerialNo {
		t.Errorf("%+v", r.Steps)
	}
	if s := begin(renewed).requireFailed(t, "new certificate"); !strings.Contains(s.Cause, "already") {
		t.Errorf("%+v", s)
	}
	// For a reader the next step is named.
	pay.IssueMerchantKey()
	args := filesFor(merchantNow(wechatpay.Both))
	o := tool(t, append([]string{"rotate", "begin", local, "--secret-id", id}, files{"cert": args["cert"], "key": args["key"]}.args(t)[2:]...)...)
	if o.code != exitOK || !strings.Contains(o.out, "run: membercard rotate finish --secret-id "+id) || !strings.Contains(o.out, "within 5 minutes") {
		t.Errorf("%s", o.out)
	}
	pay.RevokeOldMerchantKeys()
}
