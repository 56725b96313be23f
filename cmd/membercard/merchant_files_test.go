package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"membercard/local/stack"
	"membercard/local/wechatpay"
)

// The merchant that openssl makes.
const (
	theirID    = "PUB_KEY_ID_0116044123452025062400291234567890"
	apiv3Text  = "Kq7vXw2Zr9Tb4Nc6Ym1Lp8Hd3Jf5Gs0Q"
	ownMchID   = "1604412345"
	ownSerial  = "0ADE55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2" // whose first digit must not be lost
	sampleCard = "pbLatjvWOibDc5-TBnbUk1pD12o0"
)

// merchantFolder makes, with openssl, the files of a merchant as WeChat Pay hands them
// out, and those of the mistakes. The merchant is enrolled in the sandbox. The test's
// working directory is the folder.
func merchantFolder(t *testing.T) {
	t.Helper()
	requireOpenSSL(t)
	t.Chdir(t.TempDir())
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
	if text, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
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
	tool(t, "check", "merchant", "--json", local, "--file", write(t, "s.json", "\ufeff"+strings.ReplaceAll(whole, ",", ",\r\n"))).requirePassed(t)
	tool(t, "check", "merchant", "--json", local, "--file", write(t, "s.json", change(t, whole, "private_key", strings.ReplaceAll(text("apiclient_key.pem"), "\n", "\r\n")))).requirePassed(t)
	const read, wellFormed, accepted, verified = "secret read", "secret is well-formed", "signature accepted", "answer verified"
	for _, row := range []struct {
		name, secret      string
		step, cause, cure string
	}{
		{"another certificate's key", change(t, whole, "private_key", text("another.key")), accepted, "401", "private_key"},
		{"an expired certificate", change(t, whole, "certificate_serial_no", "07"), accepted, "401", "has expired"},
		{"a certificate that WeChat Pay does not know", change(t, whole, "certificate_serial_no", "1BBB55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2"), accepted, "401", "does not know it: " + enrolCommand},
		{"a wrong serial number", change(t, whole, "certificate_serial_no", strings.ToLower(ownSerial)), accepted, "401", "openssl x509 -in apiclient_cert.pem -noout -subject -serial"},
		{"a serial number with colons", change(t, whole, "certificate_serial_no", "0A:DE:55"), wellFormed, "certificate_serial_no in the secret", "without colons"},
		{"the platform's certificate as the public key", change(t, whole, "wechatpay_public_key", text("platform.pem")), wellFormed, "platform certificate", "微信支付公钥"},
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

// With the real WeChat Pay, which has no enrolment.
func TestRefusedByWeChatPay(t *testing.T) {
	secret := write(t, "secret.json", change(t, pay.MerchantSecret(wechatpay.Both), "certificate_serial_no", ownSerial))
	s := tool(t, "check", "merchant", "--json", "--file", secret, "--endpoint", pay.Endpoints()[0]).requireFailed(t, "signature accepted")
	if strings.Contains(s.Cure, "sandbox") || !strings.Contains(s.Cure, "openssl x509") || !strings.Contains(s.Cure, makeAnew) {
		t.Errorf("%+v", s)
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
	tool(t, "local", "enrol", "--json", local, "--cert", "own/apiclient_cert.pem", "--apiv3-key-file", "own/apiv3_key.txt").requirePassed(t)
	manager.aws.Secrets.Put("membercard/merchant", pay.MerchantSecret(wechatpay.Both))
	tool(t, "check", "merchant", "--json", local).requirePassed(t) // which still is the sandbox's own
}
