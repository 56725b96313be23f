package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// The merchant that openssl makes.
const (
	theirID    = "PUB_KEY_ID_0116044123452025062400291234567890"
	apiv3Text  = "Kq7vXw2Zr9Tb4Nc6Ym1Lp8Hd3Jf5Gs0Q"
	ownMchID   = "1604412345"
	ownSerial  = "0ADE55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2" // whose first digit must not be lost
	sampleCard = "pbLatjvWOibDc5-TBnbUk1pD12o0"

	enrolCommand = "membercard local enrol --cert apiclient_cert.pem --apiv3-key-file apiv3_key.txt --local"
)

// issuedFiles makes, with openssl, the files of a merchant as WeChat Pay hands them
// out, and those of the mistakes.
var issuedFiles = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "merchant-"); err != nil {
		return "", err
	}
	script := `set -e
subject="/C=CN/O=微信商户系统/OU=某某餐饮有限公司/L=深圳/CN=` + ownMchID + `"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 3650 -subj "/C=CN/O=Tenpay.com/CN=Tenpay.com Root CA"
openssl req -new -newkey rsa:2048 -nodes -keyout apiclient_key.pem -out request.csr -utf8 -subj "$subject"
issue() { openssl x509 -req -in request.csr -CA ca.pem -CAkey ca.key -set_serial "$1" -days "$2" -out "$3"; }
issue 0x` + ownSerial + ` 1825 apiclient_cert.pem
issue 0x1BBB55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2 1825 revoked.pem
openssl x509 -req -in request.csr -CA ca.pem -CAkey ca.key -set_serial 7 -days -1 -out expired.pem
openssl req -x509 -newkey rsa:2048 -nodes -keyout platform.key -out platform.pem -days 1825 -subj "/C=CN/O=Tenpay.com/CN=Tenpay.com sign"
openssl genrsa -out another.key 2048
openssl genrsa -out wechatpay.key 2048; openssl pkey -in wechatpay.key -pubout -out pub_key.pem
openssl pkey -in apiclient_key.pem -pubout -out own_public.pem
openssl pkcs12 -export -legacy -in apiclient_cert.pem -inkey apiclient_key.pem -passout pass:` + ownMchID + ` -out apiclient_cert.p12
openssl x509 -in apiclient_cert.pem -outform der -out cert.der; openssl pkey -in apiclient_key.pem -outform der -out key.der
openssl pkey -in apiclient_key.pem -aes256 -passout pass:secret -out locked.pem
for f in apiclient_cert apiclient_key pub_key; do { printf '\357\273\277'; sed 's/$/\r/' $f.pem; } >$f.windows.pem; done
printf %s ` + apiv3Text + ` >apiv3_key.txt; printf %s Zq7vXw2Zr9Tb4Nc6Ym1Lp8Hd3Jf5Gs0Q >another_apiv3.txt
printf %s 0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21 >apiv2_key.txt; printf %s Kq7vXw2Zr9Tb4Nc6 >short_apiv3.txt; : >empty.pem
`
	c := exec.Command("sh", "-c", script)
	c.Dir = dir
	if text, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, text)
	}
	return dir, nil
})

// merchantFolder changes the test's working directory to a folder with the merchant's
// files, and enrols the merchant in the sandbox.
func merchantFolder(t *testing.T) {
	t.Helper()
	requireOpenSSL(t)
	t.Chdir(t.TempDir())
	if err := os.CopyFS(".", os.DirFS(must(issuedFiles()))); err != nil {
		t.Fatal(err)
	}
	r := tool(t, "local", "enrol", "--json", local, "--cert", "apiclient_cert.pem", "--apiv3-key-file", "apiv3_key.txt").requirePassed(t)
	if r.MchID != ownMchID || r.CertificateSerialNo != ownSerial {
		t.Errorf("%+v", r)
	}
}

// secretFrom is the command that makes the secret from the folder's files, with
// changes: flags and their values.
func secretFrom(t *testing.T, changes ...string) []string {
	t.Helper()
	flags := map[string]string{
		"--cert": "apiclient_cert.pem", "--key": "apiclient_key.pem", "--apiv3-key-file": "apiv3_key.txt",
		"--public-key": sandboxKey, "--public-key-id": strings.TrimSpace(string(must(os.ReadFile(sandboxKeyID)))),
	}
	for i := 0; i < len(changes); i += 2 {
		flags[changes[i]] = changes[i+1]
	}
	args := []string{"secret", "merchant"}
	for name, value := range flags {
		args = append(args, name, value)
	}
	return args
}

// From the files that WeChat Pay hands out to a token of the sandbox, and with mistakes
// in the files to a cure: the secret is not made, or check merchant refuses it.
func TestMistakesInTheFiles(t *testing.T) {
	merchantFolder(t)
	tool(t, append(secretFrom(t), "--json", "--put", "membercard/own", local)...).requirePassed(t)
	tool(t, "check", "merchant", "--json", "--secret-id", "membercard/own", local).requirePassed(t)
	if o := tool(t, "token", "merchant", "--card-id", sampleCard, "--secret-id", "membercard/own", local); o.code != exitOK || len(strings.TrimSpace(o.out)) != 104 {
		t.Errorf("%+v", o)
	}
	const pair, public, sandboxSigns = "key and certificate belong together", "WeChat Pay's public key", "the sandbox signs with this public key"
	for _, row := range []struct {
		name        string
		changes     []string
		step        string // of secret merchant; with "check: " before it of check merchant, which must find it
		cause, cure string
	}{
		{"another certificate's key", []string{"--key", "another.key"}, pair, "is not the key of the certificate", "更换证书"},
		{"an expired certificate", []string{"--cert", "expired.pem"}, "certificate", "expired", "更换证书"},
		{"the platform's certificate", []string{"--cert", "platform.pem"}, "certificate", "platform certificate", "give apiclient_cert.pem"},
		{"a .p12", []string{"--cert", "apiclient_cert.p12"}, "certificate", "PKCS#12", "openssl pkcs12"},
		{"a certificate in DER", []string{"--cert", "cert.der"}, "certificate", "DER", "openssl x509 -inform der"},
		{"a key in DER", []string{"--key", "key.der"}, "private key", "DER", "openssl pkey -inform der"},
		{"a key with a passphrase", []string{"--key", "locked.pem"}, "private key", "passphrase", "openssl pkey -in locked.pem"},
		{"the merchant's own public key", []string{"--public-key", "own_public.pem"}, public, "own public key", "微信支付公钥"},
		{"a public-key ID without its beginning", []string{"--public-key-id", "0116044123452025062400291234567890"}, "public-key ID", "lacks its beginning", theirID},
		{"an APIv3 key that is too short", []string{"--apiv3-key-file", "short_apiv3.txt"}, "APIv3 key", "has 16 characters", "APIv3密钥"},
		{"an empty certificate", []string{"--cert", "empty.pem"}, "certificate", "is empty", "copy it anew"},
		{"an empty key", []string{"--key", "empty.pem"}, "private key", "is empty", "copy it anew"},
		{"certificate and key swapped", []string{"--cert", "apiclient_key.pem", "--key", "apiclient_cert.pem"}, "certificate; private key", "is a certificate", "swapped"},
		{"another's public key", []string{"--public-key", "pub_key.pem", "--public-key-id", theirID}, sandboxSigns, "another public key than the sandbox's", enrolCommand},
		{"another's public-key ID", []string{"--public-key-id", theirID}, sandboxSigns, "another key's", "--public-key-id PUB_KEY_ID_0119"},

		{"a certificate that WeChat Pay does not know", []string{"--cert", "revoked.pem"}, "check: signature accepted", "401", enrolCommand},
		{"another APIv3 key", []string{"--apiv3-key-file", "another_apiv3.txt"}, "check: platform certificates decrypted", "apiv3_key does not decrypt", "APIv3密钥"},
		{"an APIv2 key", []string{"--apiv3-key-file", "apiv2_key.txt"}, "check: platform certificates decrypted", "apiv3_key does not decrypt", "APIv3密钥"},
	} {
		t.Run(row.name, func(t *testing.T) {
			args := append(secretFrom(t, row.changes...), local)
			step, byCheck := strings.CutPrefix(row.step, "check: ")
			if byCheck {
				o := tool(t, append(args, "--put", "membercard/mistaken")...)
				if _, next, _ := strings.Cut(o.out, "next: membercard "); o.code != exitOK || !strings.HasPrefix(next, "check merchant --secret-id membercard/mistaken "+local) {
					t.Fatalf("exit code %d: it does not lead on to the check\n%s%s", o.code, o.out, o.err)
				}
				args = []string{"check", "merchant", "--secret-id", "membercard/mistaken", local}
			}
			o := tool(t, append(args, "--json")...)
			s := o.requireFailed(t, strings.Split(step, "; ")...)
			if !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) {
				t.Errorf("cause: %s\ncure: %s", s.Cause, s.Cure)
			}
			o.requireNo(t, apiv3Text)
		})
	}
	t.Run("byte order marks and Windows line breaks are mended", func(t *testing.T) {
		tool(t, append(secretFrom(t, "--cert", "apiclient_cert.windows.pem", "--key", "apiclient_key.windows.pem"), "--json", local)...).requirePassed(t)
		tool(t, append(secretFrom(t, "--public-key", "pub_key.windows.pem", "--public-key-id", theirID), "--json")...).requirePassed(t)
	})
}

// The same mistakes in a secret that was written by hand, and files in its place.
func TestMistakesInTheSecret(t *testing.T) {
	merchantFolder(t)
	text := func(path string) string { return string(must(os.ReadFile(path))) }
	whole := tool(t, append(secretFrom(t), local)...).out
	tool(t, "check", "merchant", "--json", local, "--file", write(t, "s.json", strings.ReplaceAll(whole, ",", ",\r\n"))).requirePassed(t)
	crlf := tool(t, "check", "merchant", "--json", local, "--file", write(t, "s.json", change(t, whole, "private_key", strings.ReplaceAll(text("apiclient_key.pem"), "\n", "\r\n")))).requirePassed(t)
	if notes := strings.Join(crlf.Steps[1].Notes, "; "); notes != "private_key has Windows line breaks (CRLF), which do no harm" {
		t.Errorf("notes: %s", notes)
	}
	const read, wellFormed, accepted, verified = "secret read", "secret is well-formed", "signature accepted", "answer verified"
	for _, row := range []struct {
		name, secret      string
		step, cause, cure string
	}{
		{"another certificate's key", change(t, whole, "private_key", text("another.key")), accepted, "401", "private_key"},
		{"an expired certificate", change(t, whole, "certificate_serial_no", "07"), accepted, "401", "has expired"},
		{"a certificate that WeChat Pay does not know", change(t, whole, "certificate_serial_no", "1BBB55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2"), accepted, "401", "does not know it: " + enrolCommand},
		{"a wrong serial number", change(t, whole, "certificate_serial_no", strings.ToLower(ownSerial)), accepted, "401", "this says which: membercard check merchant --"},
		{"a serial number with colons", change(t, whole, "certificate_serial_no", "0A:DE:55"), wellFormed, "certificate_serial_no in the secret", "without colons"},
		{"the platform's certificate as the public key", change(t, whole, "wechatpay_public_key", text("platform.pem")), wellFormed, "platform certificate", "微信支付公钥"},
		{"a byte order mark before the key", change(t, whole, "private_key", "\ufeff"+text("apiclient_key.pem")), wellFormed, "private_key in the secret: it begins with a byte order mark", "leave the files as they are"},
		{"a byte order mark and Windows line breaks", change(t, whole, "private_key", text("apiclient_key.windows.pem")), wellFormed, "byte order mark (BOM), which an editor has put there; it has Windows line breaks (CRLF)", "leave the files as they are"},
		{"a byte order mark before the public key", change(t, whole, "wechatpay_public_key", "\ufeff"+text(sandboxKey)), wellFormed, "wechatpay_public_key in the secret: it begins with a byte order mark", "leave the files as they are"},
		{"a byte order mark and no key", change(t, whole, "private_key", "\ufeff"), wellFormed, "no PEM file", "give apiclient_key.pem"},
		{`"\n" in the key instead of line breaks`, change(t, whole, "private_key", strings.ReplaceAll(text("apiclient_key.pem"), "\n", `\n`)), wellFormed, `it has "\n" instead of line breaks`, "leave the files as they are"},
		{"a line break after the APIv3 key", change(t, whole, "apiv3_key", apiv3Text+"\r\n"), wellFormed, "apiv3_key in the secret: it must not have a blank, line break or other invisible character: U+000D is at its end", "APIv3密钥"},
		{"a byte order mark before the APIv3 key", change(t, whole, "apiv3_key", "\ufeff"+apiv3Text), wellFormed, "U+FEFF is at its beginning", "APIv3密钥"},
		{"a byte order mark before the secret", "\ufeff" + whole, wellFormed, "it begins with a byte-order mark", "membercard secret merchant"},
		{"a zero-width space in the public-key ID", change(t, whole, "wechatpay_public_key_id", theirID[:20]+"\u200b"+theirID[20:]), wellFormed, "U+200B is within", "微信支付公钥"},
		{"a key with a passphrase", change(t, whole, "private_key", text("locked.pem")), wellFormed, "has a passphrase", "openssl pkey -in apiclient_key.pem"},
		{"the certificate as the key", change(t, whole, "private_key", text("apiclient_cert.pem")), wellFormed, "is a certificate", "apiclient_key.pem"},
		{"the merchant's own public key", change(t, whole, "wechatpay_public_key", text("own_public.pem")), wellFormed, "the merchant's own public key", "微信支付公钥"},
		{"a public-key ID without its beginning", change(t, whole, "wechatpay_public_key_id", "0116044123452025062400291234567890"), wellFormed, "lacks its beginning", theirID},
		{"an APIv3 key that is too short", change(t, whole, "apiv3_key", "Kq7vXw2Zr9Tb4Nc6"), wellFormed, "has 16 characters", "APIv3密钥"},
		{"another APIv3 key", change(t, whole, "apiv3_key", text("another_apiv3.txt")), "platform certificates decrypted", "apiv3_key does not decrypt", "APIv3密钥"},
		{"an APIv2 key", change(t, whole, "apiv3_key", text("apiv2_key.txt")), "platform certificates decrypted", "apiv3_key does not decrypt", "APIv3密钥"},
		{"another's public key", change(t, whole, "wechatpay_public_key", text("pub_key.pem"), "wechatpay_public_key_id", theirID), verified, "unknown key", useSandbox},
		{"another's public key under the right ID", change(t, whole, "wechatpay_public_key", text("pub_key.pem")), verified, "", useSandbox},
		{"a .p12", text("apiclient_cert.p12"), read, "PKCS#12", "membercard secret merchant"},
		{"a file in DER", text("cert.der"), read, "DER", "membercard secret merchant"},
		{"a certificate", text("apiclient_cert.pem"), read, "is a certificate; the finished secret is wanted", "membercard secret merchant"},
		{"an empty file", "", read, "is empty", "copy it anew"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, from := range []string{"--file", "--secret-id"} {
				at := "membercard/by-hand"
				if from == "--file" {
					at = write(t, "secret.json", row.secret)
				} else if manager.aws.Secrets.Put(at, row.secret); row.step == read {
					continue // what is no file has no kind
				}
				o := tool(t, "check", "merchant", "--json", local, from, at)
				s := o.requireFailed(t, row.step)
				if !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) || s.Cure == "" {
					t.Errorf("%s: cause: %s\ncure: %s", from, s.Cause, s.Cure)
				}
				o.requireNo(t, apiv3Text)
			}
		})
	}
}

// The whole stack works as an enrolled merchant, if its secret is the functions':
// notifications are encrypted with that merchant's APIv3 key.
func TestTheStackOfOnesOwnMerchant(t *testing.T) {
	requireOpenSSL(t)
	s := ownStack(t, stack.Config{Auth: stack.AuthIAM, QueueSpeed: 100, Unthrottled: true}) // before the working directory changes
	merchantFolder(t)
	at := "--local=" + s.URL
	tool(t, "local", "enrol", "--json", at, "--cert", "apiclient_cert.pem", "--apiv3-key-file", "apiv3_key.txt").requirePassed(t)
	tool(t, append(secretFrom(t), "--json", "--put", stack.MerchantSecret, at)...).requirePassed(t)
	for _, card := range []string{"brand", "merchant"} {
		tool(t, "card", "open", card, "--json", at).requirePassed(t)
	}
	for _, request := range s.WeChatPay.Requests() {
		if request.Authorization.MchID != ownMchID {
			t.Errorf("%s was called as %s", request.URI, request.Authorization.MchID)
		}
	}
}

// A refused signature has the causes that are left, and every command that calls WeChat
// Pay names them; check merchant tells them apart with the certificate.
func TestTheSignatureIsRefused(t *testing.T) {
	merchantFolder(t)
	whole := tool(t, append(secretFrom(t), local)...).out
	foreign := change(t, whole, "private_key", string(must(os.ReadFile("another.key"))))
	revoked := change(t, whole, "certificate_serial_no", "1BBB55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2")
	const belongs, accepted, all, sandbox = "secret and certificate belong together", "signature accepted",
		"mchid, certificate_serial_no and private_key are not of one certificate, or it has expired, or was revoked or replaced", "the sandbox does not know"
	secret := func(changes ...string) string { return change(t, whole, changes...) }
	real := []string{"--endpoint", strings.Join(pay.Endpoints(), ",")} // which has no enrolment
	for _, row := range []struct {
		name, secret, cert string
		at                 []string
		steps              string   // that fail; the last one's cure
		says               []string // of its cause and cure
		saysNot            []string
	}{
		{"without the certificate", foreign, "", []string{local}, accepted, []string{all, sandbox, "this says which: membercard check merchant --file secret.json --cert apiclient_cert.pem --local"}, []string{"clock"}},
		{"without the certificate, at WeChat Pay", foreign, "", real, accepted, []string{all, "check merchant --file secret.json --cert apiclient_cert.pem"}, []string{"sandbox", "--local", "clock"}},
		{"another certificate's key", foreign, "apiclient_cert.pem", real, belongs + "; " + accepted, []string{"mend what failed above"}, []string{"revoked", "expired"}},
		{"the certificate of another serial number", revoked, "apiclient_cert.pem", real, belongs + "; " + accepted, []string{"mend what failed above"}, []string{"revoked", "expired"}},
		{"an expired certificate", secret("certificate_serial_no", "07"), "expired.pem", real, "certificate; " + accepted, []string{"mend what failed above"}, []string{"revoked"}},
		{"a certificate that was revoked", revoked, "revoked.pem", real, accepted, []string{"has not expired, so it was revoked or replaced", "membercard secret merchant"}, []string{"sandbox", "are not of one certificate", "or it has expired"}},
		{"a certificate that the sandbox does not know", revoked, "revoked.pem", []string{local}, accepted, []string{sandbox, enrolCommand}, []string{"are not of one certificate", "expired", "revoked"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := os.WriteFile("secret.json", []byte(row.secret), 0o600); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"check", "merchant", "--json", "--file", "secret.json"}, row.at...)
			if row.cert != "" {
				args = append(args, "--cert", row.cert)
			}
			o := tool(t, args...)
			s := o.requireFailed(t, strings.Split(row.steps, "; ")...)
			for _, text := range row.says {
				if !strings.Contains(s.Cure, text) {
					t.Errorf("the cure does not say %q: %s", text, s.Cure)
				}
			}
			for _, text := range row.saysNot {
				if strings.Contains(s.Cure, text) {
					t.Errorf("the cure says %q: %s", text, s.Cure)
				}
			}
			o.requireNo(t, apiv3Text)
			if row.cert != "" {
				return
			}
			for _, command := range [][]string{
				{"token", "merchant", "--card-id", sampleCard}, {"token", "brand", "--brand-id", "1004", "--card-id", sampleCard, "--openid", "o"},
				{"callback", "get"}, {"callback", "set", "https://api.example.com/wechatpay/notifications"},
			} {
				o := tool(t, append(append(command, "--file", "secret.json"), row.at...)...)
				if text := o.out + o.err; o.code != exitFailed || !strings.Contains(text, all) || !strings.Contains(text, "membercard check merchant --file secret.json --cert apiclient_cert.pem") {
					t.Errorf("%q: exit code %d: %s", command, o.code, text)
				}
			}
		})
	}
	t.Run("what differs is named", func(t *testing.T) {
		for _, row := range []struct{ secret, cause string }{
			{foreign, "private_key is not the certificate's"},
			{secret("mchid", "1900000009"), "mchid is 1900000009, and the certificate is merchant 1604412345's"},
			{revoked, "certificate_serial_no is 1BBB55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2, and the certificate's is " + ownSerial},
			{secret("certificate_serial_no", strings.ToLower(ownSerial)), "certificate_serial_no is not in capitals: " + ownSerial},
			{change(t, foreign, "mchid", "1900000009"), "mchid is 1900000009, and the certificate is merchant 1604412345's; private_key is not"},
		} {
			o := tool(t, "check", "merchant", "--json", local, "--cert", "apiclient_cert.pem", "--file", write(t, "s.json", row.secret))
			found := o.report(t)
			if i := slices.IndexFunc(found.Steps, func(s step) bool { return s.Name == belongs }); i < 0 || !strings.HasPrefix(found.Steps[i].Cause, row.cause) {
				t.Errorf("%q: %s", row.cause, o.out)
			}
		}
		if r := tool(t, "check", "merchant", "--json", local, "--cert", "apiclient_cert.pem", "--file", write(t, "s.json", whole)).requirePassed(t); !r.passed(belongs) {
			t.Errorf("%+v", r)
		}
	})
}

// The command that makes a secret anew is the one for this secret.
func TestCuresMakeThisSecretAnew(t *testing.T) {
	merchantFolder(t)
	whole := tool(t, append(secretFrom(t), local)...).out
	const files = "membercard secret merchant --cert apiclient_cert.pem --key apiclient_key.pem"
	broken := func(changes ...string) string { return change(t, whole, append(changes, "private_key", "x")...) }
	without := func(key string) string { return broken(key, "-") }
	manager.aws.Secrets.Put("membercard/own", broken())
	if err := os.WriteFile("s.json", []byte(broken()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, secret string // of s.json
		args         []string
		cure         string
	}{
		{"in the local stack's Secrets Manager", "", []string{"--secret-id", "membercard/own", local}, files + " " + useSandbox + " --apiv3-key-file apiv3_key.txt --put membercard/own " + local},
		{"in a file", broken(), []string{"--file", "s.json", local}, files + " " + useSandbox + " --apiv3-key-file apiv3_key.txt --out merchant.json " + local},
		{"for WeChat Pay", broken("wechatpay_public_key_id", theirID), []string{"--file", "s.json"}, files + " --public-key pub_key.pem --public-key-id " + theirID + " --apiv3-key-file apiv3_key.txt --out merchant.json"},
		{"without an APIv3 key", without("apiv3_key"), []string{"--file", "s.json", local}, files + " " + useSandbox + " --out merchant.json " + local},
		{"without a public key", change(t, without("wechatpay_public_key"), "wechatpay_public_key_id", "-"), []string{"--file", "s.json"}, files + " --apiv3-key-file apiv3_key.txt --out merchant.json"},
		{"with an ID that is wrong", broken("wechatpay_public_key_id", "PUB_KEY_ID_x"), []string{"--file", "s.json"}, files + " --public-key pub_key.pem --public-key-id PUB_KEY_ID_… --apiv3-key-file apiv3_key.txt --out merchant.json"},
		{"nothing that can be read", "[", []string{"--file", "s.json"}, files + " --public-key pub_key.pem --public-key-id PUB_KEY_ID_… --apiv3-key-file apiv3_key.txt --out merchant.json"},
		{"of the sandbox's own merchant", change(t, pay.MerchantSecret(wechatpay.Both), "private_key", "x"), []string{"--file", "s.json", local}, "membercard local files sandbox/ " + local + " && membercard secret merchant --cert sandbox/apiclient_cert.pem --key sandbox/apiclient_key.pem --public-key sandbox/pub_key.pem --public-key-id PUB_KEY_ID_01"},
		{"in a region", broken(), []string{"--secret-id", "membercard/own", "--region", region, "--profile", "shop"}, "--put membercard/own --profile shop --region " + region},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.secret != "" {
				if err := os.WriteFile("s.json", []byte(row.secret), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if slices.Contains(row.args, "--profile") {
				for name, value := range map[string]string{"AWS_CONFIG_FILE": write(t, "config", "[profile shop]\naws_access_key_id = "+accessKeyID+"\naws_secret_access_key = "+secretAccessKey+"\n"), "AWS_ENDPOINT_URL_SECRETS_MANAGER": manager.URL} {
					t.Setenv(name, value)
				}
			}
			s := tool(t, append([]string{"check", "merchant", "--json"}, row.args...)...).requireFailed(t, "secret is well-formed")
			if !strings.Contains(s.Cure, row.cure) {
				t.Errorf("cure: %s\nwant: %s", s.Cure, row.cure)
			}
		})
	}
}

// Why the platform certificates can't be had is said once, although an answer that is
// signed with one fails for the same reason.
func TestOneReasonIsSaidOnce(t *testing.T) {
	secret := write(t, "s.json", pay.MerchantSecret(wechatpay.Both))
	pay.SignWith(wechatpay.Certificates)
	defer pay.SignWith(wechatpay.Both)
	pay.RefuseIf(withoutCertificates)
	defer pay.RefuseIf(nil)
	const reason = "WeChat Pay answered GET /v3/certificates with 404"
	o := tool(t, "check", "merchant", local, "--file", secret)
	if n := strings.Count(o.out, reason); o.code != exitFailed || n != 1 || !strings.Contains(o.out, " (see above)") {
		t.Errorf("it is said %d times:\n%s", n, o.out)
	}
	// A command without a step before it has the whole reason.
	if o = tool(t, "token", "merchant", "--card-id", sampleCard, local, "--file", secret); o.code != exitFailed || strings.Count(o.err, reason) != 1 {
		t.Errorf("exit code %d: %s", o.code, o.err)
	}
}

// withoutCertificates refuses the list of platform certificates.
func withoutCertificates(r *wechatpay.Request) (status int, code, message string) {
	if r.URI == "/v3/certificates" {
		return 404, "RESOURCE_NOT_EXISTS", "无可用的平台证书"
	}
	return 0, "", ""
}

// That a key has hexadecimal digits only is worth a warning until it is proved right.
func TestAnAPIv3KeyOfHexadecimalDigits(t *testing.T) {
	merchantFolder(t)
	const hex = "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
	warning := func(r *report) string {
		return r.Steps[slices.IndexFunc(r.Steps, func(s step) bool { return s.Name == "APIv3 key" })].Warning
	}
	// Another merchant really has that key.
	if text, err := exec.Command("openssl", "req", "-x509", "-key", "apiclient_key.pem", "-days", "90", "-subj", "/CN=1604499999", "-out", "apiclient_cert.pem").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	tool(t, "local", "enrol", "--json", local, "--cert", "apiclient_cert.pem", "--apiv3-key-file", "apiv2_key.txt").requirePassed(t)
	made := tool(t, append(secretFrom(t, "--apiv3-key-file", "apiv2_key.txt"), "--json", "--put", "membercard/hex", local)...).requirePassed(t)
	if !strings.Contains(warning(made), "hexadecimal digits only") {
		t.Errorf("%+v", made)
	}
	proved := tool(t, "check", "merchant", "--json", "--secret-id", "membercard/hex", local).requirePassed(t)
	if warning(proved) != "" || !proved.passed("platform certificates decrypted") {
		t.Errorf("%+v", proved)
	}
	wrong := tool(t, "check", "merchant", "--json", local, "--file", write(t, "s.json", change(t, pay.MerchantSecret(wechatpay.Both), "apiv3_key", hex)))
	if s := wrong.requireFailed(t, "platform certificates decrypted"); !strings.Contains(s.Cure, "hexadecimal digits only") || warning(wrong.report(t)) == "" {
		t.Errorf("%s", wrong.out)
	}
	// Without the platform certificates nothing is proved.
	pay.RefuseIf(withoutCertificates)
	defer pay.RefuseIf(nil)
	r := tool(t, "check", "merchant", "--json", "--secret-id", "membercard/hex", local).requirePassed(t)
	if warning(r) == "" {
		t.Errorf("%+v", r)
	}
}

// What the sandbox can't take is refused before it is asked, or by it.
func TestLocalEnrol(t *testing.T) {
	merchantFolder(t)
	if err := os.Mkdir("own", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range pay.Files() {
		if err := os.WriteFile(filepath.Join("own", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name        string
		args        []string
		step        string
		cause, cure string
	}{
		{"no APIv3 key", []string{"--cert", "apiclient_cert.pem"}, "enrolled", "none was given", "--apiv3-key-file"},
		{"an expired certificate", []string{"--cert", "expired.pem", "--apiv3-key-file", "apiv3_key.txt"}, "certificate", "expired", "更换证书"},
		{"the key as the certificate", []string{"--cert", "apiclient_key.pem", "--apiv3-key-file", "apiv3_key.txt"}, "certificate", "is a private key", "apiclient_cert.pem"},
		{"the sandbox's own with another APIv3 key", []string{"--cert", "own/apiclient_cert.pem", "--apiv3-key-file", "apiv3_key.txt"}, "enrolled", "has another APIv3 key", "of one merchant"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := tool(t, append(row.args, "local", "enrol", "--json", local)...).requireFailed(t, row.step)
			if !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) {
				t.Errorf("cause: %s\ncure: %s", s.Cause, s.Cure)
			}
		})
	}
	// What enrol writes is the user's alone, and does not go through a link.
	if err := errors.Join(os.WriteFile("victim", []byte("theirs"), 0o644), os.Remove(sandboxKey), os.Symlink("victim", sandboxKey)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if info := must(os.Lstat(sandboxKey)); info.Mode() != 0o600 || string(must(os.ReadFile("victim"))) != "theirs" {
			t.Errorf("%v", info.Mode())
		}
	}()
	tool(t, "local", "enrol", "--json", local, "--cert", "own/apiclient_cert.pem", "--apiv3-key-file", "own/apiv3_key.txt").requirePassed(t)
	manager.aws.Secrets.Put("membercard/merchant", pay.MerchantSecret(wechatpay.Both))
	tool(t, "check", "merchant", "--json", local).requirePassed(t) // which still is the sandbox's own
}
