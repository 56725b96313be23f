package main

import (
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"

	"membercard/local/discovery"
	"membercard/wechat/wechatpay"
)

func TestRotate(t *testing.T) {
	const force = "old certificate is out of force"
	id := "membercard/" + rand.Text()
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
	if o.code != exitOK || !strings.Contains(o.out, "run: membercard rotate finish --secret-id "+id) || !strings.Contains(o.out, "within 5 minutes") || !strings.Contains(o.out, "membercard rotate undo --secret-id "+id) {
		t.Errorf("%s", o.out)
	}
	pay.RevokeOldMerchantKeys()
}

// undoRow is a secret's values, in order, and what an undo makes of them.
type undoRow struct {
	name        string
	values      []string
	step        string // that fails; empty: the value before is the current one again
	cause, cure string
}

// undoRows are of the sandbox's merchant, who has a certificate, a newer one, and one that
// is revoked.
func undoRows() []undoRow {
	value := func() string { return pay.MerchantSecret(wechatpay.Both) }
	revoked := value()
	pay.RotateMerchantKey()
	old := value()
	pay.IssueMerchantKey()
	renewed := value()
	another := strings.Replace(old, merchantNumber(old), "1900000002", 1)
	const before = "version before"
	return []undoRow{
		{"a new certificate", []string{old, renewed}, "", "", ""},
		{"a malformed secret", []string{renewed, "{"}, "", "", ""},
		{"the APIv3 key as the mchid", []string{renewed, strings.Replace(renewed, merchantNumber(renewed), apiv3KeyOf(renewed), 1)}, "", "", ""},
		{"a secret without a key", []string{renewed, `{"mchid":"1900000001"}`}, "", "", ""},
		{"of several versions", []string{revoked, old, "{}"}, "", "", ""},
		{"a certificate that is revoked", []string{revoked, old}, "signature accepted", "401", "revoked or replaced"},
		{"a malformed version before", []string{"{}", old}, before, "mchid is missing", "membercard secret merchant --cert "},
		{"another merchant's", []string{another, old}, before, "it is merchant 1900000002's", "--put "},
		{"the same value", []string{old, old}, before, "the same value", "--put "},
		{"no version before", []string{old}, before, "no version before (AWSPREVIOUS)", "--put "},
		{"no secret", nil, "secret read", "has no secret", "--put membercard/"},
	}
}

func apiv3KeyOf(secret string) string {
	m, _ := merchantIn(secret)
	return m.APIv3Key
}

func merchantNumber(secret string) string {
	m, _ := merchantIn(secret)
	return m.MchID
}

// testUndo undoes a rotation of a secret with these values, which put stores and current
// reads.
func testUndo(t *testing.T, row undoRow, id string, put func(value string), current func() string, more ...string) {
	undo := func() outcome {
		return tool(t, append([]string{"rotate", "undo", "--json", "--secret-id", id}, more...)...)
	}
	for _, value := range row.values {
		put(value)
	}
	o := undo()
	o.requireNo(t, private(nil)...)
	if row.step != "" {
		if s := o.requireFailed(t, row.step); !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) {
			t.Errorf("%+v", s)
		}
		if n := len(row.values); n > 0 && current() != row.values[n-1] {
			t.Error("the secret was changed")
		}
		return
	}
	before, undone := row.values[len(row.values)-2], row.values[len(row.values)-1]
	want, _ := merchantIn(before)
	if r := o.requirePassed(t); current() != before || r.CertificateSerialNo != want.CertificateSerialNo || r.Stored == nil || r.Stored.VersionID == "" {
		t.Errorf("%s", o.out)
	}
	// And forth again, if what was undone can be used.
	if o := undo(); o.code == exitOK && current() != undone || o.code != exitOK && current() != before {
		t.Errorf("%s", o.out)
	}
}

func TestRotateUndo(t *testing.T) {
	rows := undoRows()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			id := "membercard/" + rand.Text()
			current := func() string {
				out, err := (&app{console: &console{}, local: &discovery.Stack{AWS: manager.discovery()}}).getSecret(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				return string(out)
			}
			testUndo(t, row, id, func(value string) { manager.aws.Secrets.Put(id, value) }, current, local)
		})
	}
	id := "membercard/" + rand.Text()
	for _, value := range rows[0].values {
		manager.aws.Secrets.Put(id, value)
	}
	for _, row := range []struct{ exception, cause, cure string }{
		{"AccessDeniedException", "does not allow it", "secretsmanager:UpdateSecretVersionStage"},
		{"InvalidParameterException", "somebody else changed the secret", "run this again"},
	} {
		manager.refuse("UpdateSecretVersionStage", row.exception)
		s := tool(t, "rotate", "undo", "--json", local, "--secret-id", id).requireFailed(t, "undone")
		manager.refuse("UpdateSecretVersionStage", "")
		if !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) {
			t.Errorf("%+v", s)
		}
	}
	// It is named where the new certificate is refused.
	refused := pay.MerchantSecret(wechatpay.Both)
	pay.RotateMerchantKey()
	manager.aws.Secrets.Put(id, pay.MerchantSecret(wechatpay.Both))
	manager.aws.Secrets.Put(id, refused)
	if o := tool(t, "rotate", "finish", local, "--secret-id", id); o.code != exitFailed || !strings.Contains(o.out, "membercard rotate undo --secret-id "+id) {
		t.Errorf("%+v", o)
	}
	tool(t, "rotate", "undo", "--json", local, "--secret-id", id).requirePassed(t)
	for _, command := range []string{"finish", "undo"} {
		if o := tool(t, "rotate", command); o.code != exitUsage || !strings.Contains(o.err, "--secret-id is needed") {
			t.Errorf("%s: %+v", command, o)
		}
	}
}
