package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"membercard/shared/signing"
	"membercard/wechat/wechatpay"
)

// files are what a merchant gives the tool.
type files map[string]string // contents, by flag

// given are the files of the sandbox's merchant.
func given() files { return filesFor(merchantNow(wechatpay.Both)) }

func filesFor(secret signing.MerchantSecret, key *rsa.PrivateKey) files {
	return files{
		"cert": certificateFor(secret, key).pem(), "key": secret.PrivateKey,
		"public-key": secret.PublicKey, "public-key-id": secret.PublicKeyID, "apiv3-key-file": secret.APIv3Key,
	}
}

// but changes a flag's content; "-" leaves the flag out.
func (f files) but(flag, content string) files {
	if f[flag] = content; content == "-" {
		delete(f, flag)
	}
	return f
}

// names are the files', as WeChat calls them.
var names = map[string]string{"cert": "apiclient_cert.pem", "key": "apiclient_key.pem", "public-key": "pub_key.pem", "apiv3-key-file": "apiv3.txt"}

// args writes the files and returns the command.
func (f files) args(t *testing.T, more ...string) []string {
	t.Helper()
	args := []string{"secret", "merchant"}
	dir := t.TempDir()
	for flag, content := range f {
		if name, isFile := names[flag]; isFile {
			path := filepath.Join(dir, name)
			if strings.HasPrefix(content, "file:") { // another name
				name, content, _ = strings.Cut(strings.TrimPrefix(content, "file:"), "\n")
				path = filepath.Join(dir, name)
			}
			if content != "missing" {
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			content = path
		}
		args = append(args, "--"+flag, content)
	}
	return append(args, more...)
}

// private are texts that no output may have: of the keys.
func private(f files) []string {
	secret, _ := merchantNow(wechatpay.Both)
	lines := strings.Split(secret.PrivateKey, "\n")
	return []string{lines[1], lines[len(lines)/2], secret.APIv3Key}
}

func TestSecretMerchant(t *testing.T) {
	want, _ := merchantNow(wechatpay.Both)
	_, key := merchantNow(wechatpay.Both)
	inUTF16 := func(order binary.AppendByteOrder, s string) string {
		var b []byte
		for _, u := range utf16.Encode([]rune(s)) {
			b = order.AppendUint16(b, u)
		}
		return string(b)
	}
	bags := "Bag Attributes\n    localKeyID: 01 02 \nKey Attributes: <No Attributes>\n"
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	for _, row := range []struct {
		name  string
		files files
		note  string // of a step
	}{
		{"all files", given(), ""},
		{"Windows line breaks", given().but("cert", crlf(given()["cert"])).but("key", crlf(given()["key"])).but("public-key", crlf(given()["public-key"])), "CRLF"},
		{"byte order marks", given().but("cert", "\ufeff"+given()["cert"]).but("key", "\ufeff"+given()["key"]).but("apiv3-key-file", "\ufeff"+want.APIv3Key), "byte order mark"},
		{"UTF-16", given().but("key", inUTF16(binary.LittleEndian, "\ufeff"+given()["key"])), "UTF-16"},
		{"UTF-16 in the other order", given().but("key", inUTF16(binary.BigEndian, "\ufeff"+given()["key"])).but("apiv3-key-file", inUTF16(binary.BigEndian, "\ufeff"+want.APIv3Key)), "UTF-16"},
		{"UTF-16 without a byte order mark", given().but("cert", inUTF16(binary.LittleEndian, crlf(given()["cert"]))).but("apiv3-key-file", inUTF16(binary.LittleEndian, want.APIv3Key)), "UTF-16"},
		{"the same in the other order", given().but("public-key", inUTF16(binary.BigEndian, given()["public-key"])), "UTF-16"},
		{"the certificate before the key in one file", given().but("cert", given()["cert"]+bags+given()["key"]).but("key", bags+given()["cert"]+bags+given()["key"]), ""},
		{"the key before the certificate in one file", given().but("cert", bags+given()["key"]+given()["cert"]).but("key", given()["key"]+bags+given()["cert"]), ""},
		{"the authority's certificate first", given().but("cert", merchantCertificate().but(func(c *issued) { c.cn = "Tenpay.com Root CA" }).pem()+given()["cert"]), "of the file's 2"},
		{`"\n" instead of line breaks`, given().but("key", strings.ReplaceAll(given()["key"], "\n", `\n`)), `"\n" was replaced`},
		{"a line break after the APIv3 key", given().but("apiv3-key-file", want.APIv3Key+"\r\n"), ""},
		{"a key in PKCS#1", given().but("key", armour("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))), "PKCS#8"},
		{"a public key in PKCS#1", given().but("public-key", pkcs1(want.PublicKey)), "PKIX"},
		{"text before the certificate", given().but("cert", "Bag Attributes\n    friendlyName: x\n"+given()["cert"]), ""},
		{"two certificates", given().but("cert", given()["cert"]+merchantCertificate().but(func(c *issued) { c.cn = "Tenpay.com Root CA" }).pem()), "of the file's 2"},
		{"blanks around the ID", given().but("public-key-id", " "+want.PublicKeyID+" "), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			// In a script the secret goes to standard output and the report to standard error.
			o := tool(t, row.files.args(t)...)
			var got signing.MerchantSecret
			if err := json.Unmarshal([]byte(o.out), &got); o.code != exitOK || err != nil || got != want {
				t.Errorf("exit code %d, %v\n%s", o.code, err, o.err)
			}
			if _, err := signing.ParseMerchant([]byte(o.out)); err != nil {
				t.Error(err)
			}
			if !strings.Contains(o.err, want.MchID) || !strings.Contains(o.err, want.CertificateSerialNo) || !strings.Contains(o.err, row.note) {
				t.Errorf("%s", o.err)
			}
			outcome{err: o.err}.requireNo(t, private(row.files)...)
			// As JSON there is the report and no secret.
			o = tool(t, row.files.args(t, "--json")...)
			if r := o.requirePassed(t); r.MchID != want.MchID || r.CertificateSerialNo != want.CertificateSerialNo || r.CertificateNotAfter == "" {
				t.Errorf("%+v", r)
			}
			o.requireNo(t, private(row.files)...)
		})
	}
}

func pkcs1(public string) string {
	block, _ := pem.Decode([]byte(public))
	return armour("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(must(x509.ParsePKIXPublicKey(block.Bytes)).(*rsa.PublicKey)))
}

func (c issued) but(change func(*issued)) issued {
	change(&c)
	return c
}

func TestSecretMerchantWithFewerKeys(t *testing.T) {
	want, _ := merchantNow(wechatpay.Both)
	for _, row := range []struct {
		name                        string
		files                       files
		publicKey, publicID, apiKey string
	}{
		{"without an APIv3 key", given().but("apiv3-key-file", "-"), want.PublicKey, want.PublicKeyID, ""},
		{"without a public key", given().but("public-key", "-").but("public-key-id", "-"), "", "", want.APIv3Key},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := tool(t, row.files.args(t)...)
			var got signing.MerchantSecret
			if err := json.Unmarshal([]byte(o.out), &got); err != nil || got.PublicKey != row.publicKey || got.PublicKeyID != row.publicID || got.APIv3Key != row.apiKey {
				t.Errorf("%v\n%s", err, o.err)
			}
			if strings.Contains(o.err, "notifications can't be read without it") != (row.apiKey == "") {
				t.Error(o.err)
			}
		})
	}
}

// Every mistake is named, with its cure.
func TestSecretMerchantNamesTheMistake(t *testing.T) {
	want, key := merchantNow(wechatpay.Both)
	elliptic := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	certificate := func(change func(*issued)) files { return given().but("cert", merchantCertificate().but(change).pem()) }
	publicPEM := func(key any) string { return armour("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key))) }
	p12 := string(must(asn1.Marshal(struct {
		Version  int
		AuthSafe struct {
			ContentType asn1.ObjectIdentifier
			Content     []byte `asn1:"explicit,tag:0"`
		}
	}{Version: 3, AuthSafe: struct {
		ContentType asn1.ObjectIdentifier
		Content     []byte `asn1:"explicit,tag:0"`
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}, []byte("x")}})))
	request := armour("CERTIFICATE REQUEST", must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)))
	oneLine := func(s string) string { return strings.ReplaceAll(s, "\n", " ") }
	const certificateStep, keyStep, publicStep, idStep, apiStep, pair = "certificate", "private key", "WeChat Pay's public key", "public-key ID", "APIv3 key", "key and certificate belong together"
	for _, row := range []struct {
		name        string
		files       files
		step        string
		cause, cure string
	}{
		{"no such certificate", given().but("cert", "missing"), certificateStep, "there is no file", "ls "},
		{"an empty certificate", given().but("cert", ""), certificateStep, "is empty", "copy it anew"},
		{"a certificate of blanks", given().but("cert", "\ufeff \r\n"), certificateStep, "is empty", "copy it anew"},
		{"a .p12", given().but("cert", "file:apiclient_cert.p12\n"+p12), certificateStep, "PKCS#12", "openssl pkcs12 -legacy -in"},
		{"a .p12 by another name", given().but("cert", p12), certificateStep, "PKCS#12", "-clcerts -nokeys -out apiclient_cert.pem"},
		{"a .p12 as the key", given().but("key", p12), keyStep, "PKCS#12", "-nocerts -nodes -out apiclient_key.pem"},
		{"a certificate in DER", given().but("cert", string(merchantCertificate().der())), certificateStep, "DER", "openssl x509 -inform der -in"},
		{"a key in DER", given().but("key", string(must(x509.MarshalPKCS8PrivateKey(key)))), keyStep, "DER", "openssl pkey -inform der -in"},
		{"a public key in DER", given().but("public-key", string(must(x509.MarshalPKIXPublicKey(&another().PublicKey)))), publicStep, "DER", "openssl pkey -pubin -inform der -in"},
		{"a key in DER as the certificate", given().but("cert", string(must(x509.MarshalPKCS8PrivateKey(key)))), certificateStep, "a private key in binary form", "give apiclient_cert.pem"},
		{"the key as the certificate", given().but("cert", given()["key"]), certificateStep, "is a private key; a certificate", "swapped"},
		{"the certificate as the key", given().but("key", given()["cert"]), keyStep, "is a certificate; a private key", "swapped"},
		{"the request as the certificate", given().but("cert", request), certificateStep, "certificate request", "which WeChat made from the request"},
		{"the public key as the certificate", given().but("cert", want.PublicKey), certificateStep, "is a public key; a certificate", "give apiclient_cert.pem"},
		{"something else as the certificate", given().but("cert", "hello"), certificateStep, "no PEM file", "give apiclient_cert.pem"},
		{"the finished secret as the certificate", given().but("cert", pay.MerchantSecret(wechatpay.Both)), certificateStep, "finished secret", "membercard check merchant --file"},
		{"a certificate without its line breaks", given().but("cert", oneLine(given()["cert"])), certificateStep, "damaged", "copy apiclient_cert.pem anew"},
		{"a certificate that is cut", given().but("cert", given()["cert"][:300]), certificateStep, "damaged", "copy apiclient_cert.pem anew"},
		{"a platform certificate", certificate(func(c *issued) { c.cn = "Tenpay.com sign" }), certificateStep, "platform certificate", "give apiclient_cert.pem"},
		{"the authority's certificate", certificate(func(c *issued) { c.cn, c.isCA = "Tenpay.com Root CA", true }), certificateStep, "own authority", "give apiclient_cert.pem"},
		{"a web server's certificate", certificate(func(c *issued) { c.cn = "www.example.com" }), certificateStep, `CN is "www.example.com"; a merchant number is expected`, "give apiclient_cert.pem"},
		{"an expired certificate", certificate(func(c *issued) { c.from, c.until = -48*time.Hour, -24*time.Hour }), certificateStep, "expired on 20", "更换证书"},
		{"a certificate of tomorrow", certificate(func(c *issued) { c.from = 48 * time.Hour }), certificateStep, "is valid from 20", "date -u"},
		{"a certificate with another kind of key", certificate(func(c *issued) { c.key = &elliptic.PublicKey }), certificateStep, "no RSA key", "更换证书"},

		{"an empty key", given().but("key", "\n"), keyStep, "is empty", "copy it anew"},
		{"a key with a passphrase", given().but("key", armour("ENCRYPTED PRIVATE KEY", []byte("x"))), keyStep, "has a passphrase", "openssl pkey -in"},
		{"an old key with a passphrase", given().but("key", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"), keyStep, "has a passphrase", "openssl pkey -in"},
		{"a key of OpenSSH", given().but("key", armour("OPENSSH PRIVATE KEY", []byte("x"))), keyStep, "OpenSSH", "give apiclient_key.pem"},
		{"a key without its line breaks", given().but("key", oneLine(given()["key"])), keyStep, "damaged", "copy apiclient_key.pem anew"},
		{"a key that is cut", given().but("key", given()["key"][:400]), keyStep, "damaged", "copy apiclient_key.pem anew"},
		{"a key of another kind", given().but("key", armour("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(elliptic)))), keyStep, "not an RSA key", "apiclient_key.pem"},
		{"a short key", given().but("key", shortKey), keyStep, "has 1024 bits", "new certificate"},
		{"another certificate's key", given().but("key", armour("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(another())))), pair, "is not the key of the certificate", "更换证书"},

		{"the merchant's own public key", given().but("public-key", publicPEM(&key.PublicKey)), publicStep, "the merchant's own public key", "微信支付公钥"},
		{"the merchant's certificate as the public key", given().but("public-key", given()["cert"]), publicStep, "the merchant's own certificate", "微信支付公钥"},
		{"a platform certificate as the public key", given().but("public-key", merchantCertificate().but(func(c *issued) { c.cn = "Tenpay.com sign" }).pem()), publicStep, "platform certificate", "--apiv3-key-file"},
		{"the private key as the public key", given().but("public-key", given()["key"]), publicStep, "is a private key", "微信支付公钥"},
		{"another kind of public key", given().but("public-key", publicPEM(&elliptic.PublicKey)), publicStep, "not an RSA key", "微信支付公钥"},
		{"an empty public key", given().but("public-key", ""), publicStep, "is empty", "copy it anew"},
		{"a public key without its ID", given().but("public-key-id", "-"), publicStep, "without its ID", "--public-key-id"},
		{"an ID without its public key", given().but("public-key", "-"), publicStep, "without the key", "--public-key pub_key.pem"},
		{"a serial number as the ID", given().but("public-key-id", want.CertificateSerialNo), idStep, "a certificate's serial number", "微信支付公钥"},
		{"an ID in lower case", given().but("public-key-id", strings.ToLower(want.PublicKeyID)), idStep, "in capitals", "微信支付公钥"},
		{"an ID without its beginning", given().but("public-key-id", strings.TrimPrefix(want.PublicKeyID, "PUB_KEY_ID_")), idStep, "lacks its beginning", "PUB_KEY_ID_" + strings.TrimPrefix(want.PublicKeyID, "PUB_KEY_ID_")},
		{"a zero-width space in the ID", given().but("public-key-id", want.PublicKeyID+"\u200b"), idStep, "invisible character: U+200B is at its end", "微信支付公钥"},
		{"a key with a passphrase beside the certificate", given().but("key", given()["cert"]+armour("ENCRYPTED PRIVATE KEY", []byte("x"))), keyStep, "has a passphrase", "openssl pkey -in"},
		{"only the ID's beginning", given().but("public-key-id", "PUB_KEY_ID_"), idStep, "does not look like", "微信支付公钥"},
		{"the private key as the ID", given().but("public-key-id", want.PrivateKey), idStep, "does not look like", "微信支付公钥"},
		{"the APIv3 key as the ID", given().but("public-key-id", want.APIv3Key), idStep, "does not look like", "微信支付公钥"},
		{"the example's ID", given().but("public-key-id", "PUB_KEY_ID_xxxx"), idStep, "does not look like", "微信支付公钥"},

		{"a short APIv3 key", given().but("apiv3-key-file", "Kq7vXw2Zr9Tb4Nc6Ym1Lp8Hd3Jf5Gs0"), apiStep, "has 31 characters", "APIv3密钥"},
		{"a PEM file as the APIv3 key", given().but("apiv3-key-file", given()["key"]), apiStep, "is a PEM file", "APIv3密钥"},
		{"an APIv3 key with a blank in it", given().but("apiv3-key-file", "Kq7vXw2Zr9Tb4Nc6 Ym1Lp8Hd3Jf5Gs0"), apiStep, "must not have a blank", "APIv3密钥"},
		{"no APIv3 key in the file", given().but("apiv3-key-file", "\n"), apiStep, "is empty", "copy it anew"},
		{"neither a public key nor an APIv3 key", given().but("public-key", "-").but("public-key-id", "-").but("apiv3-key-file", "-"), "something to verify answers with", "neither", "--public-key pub_key.pem"},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := manager.writes()
			o := tool(t, row.files.args(t, "--json", "--put", "membercard/mistake", local)...)
			s := o.requireFailed(t, row.step)
			if !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) || s.Cause == "" || s.Cure == "" {
				t.Errorf("cause: %s\ncure: %s", s.Cause, s.Cure)
			}
			o.requireNo(t, private(row.files)...)
			if manager.writes() != before {
				t.Error("it was stored")
			}
			// The same for a reader, who gets no secret.
			o = tool(t, row.files.args(t)...)
			if o.code != exitFailed || o.out != "" || !strings.Contains(o.err, "✗ "+row.step) || !strings.Contains(o.err, "    cure: ") || !strings.Contains(o.err, "nothing was written") {
				t.Errorf("exit code %d\n%s%s", o.code, o.out, o.err)
			}
			o.requireNo(t, private(row.files)...)
		})
	}
}

// shortKey has 1024 bits, which crypto/rsa refuses to generate. It is used nowhere.
const shortKey = `-----BEGIN PRIVATE KEY-----
MIICeAIBADANBgkqhkiG9w0BAQEFAASCAmIwggJeAgEAAoGBAL7nWiLYqDGyNsMW
IHXV03A5t6/dzY8uLy61nlUNtsK1EvW+w8Am4DX13QwFD53krmy5nGInIsaqjRx9
imhLYP5QAUm2s7VaXr1dqJM3z0jiQOB/baRgMrA/ez1Okw80vzB4sPsSTmaWxsAl
HyQD4w6H+gUA3GnR/DawssslVni/AgMBAAECgYEAohYUddm2lNtXm7RBw0rVx0d6
KpwMWDFCZkpWMKkAL7lGa9iYo6FeZPJnyDjT1Z/AaRf/K2dHI57TSQleZsb5hfre
ck07bM6FpNxrpBBETesVWrqrzxhtE09ZGhvv2/QUfm0U+5o6qwgynq/5sSUilJnz
gXjqjRzYJAEiSSZmpyECQQDxINuFJEFS6mYe3DzfrB7jFsopf1pkX75A5hmbeEO7
vK38g/lkRTBTxKEYNgVnv6YIV5zT5KX0Yx0NxvlUqTitAkEAyq2BOTU72uicppsE
DD4wBGma4+VfvA7PfMlSo+BnTpugh4hySiK7D5VihW2dJvzrj2evwp5WR8Hp1rbY
mkLImwJBAMEmkdGgDheuHalgv/5nsMI1kjEVi8HVk+AGscKA3rj21ePtj4tLhP/F
BUoQk9ncgdIy5DQz9t/BuRc9KKIxf20CQQCmcfjmv2YJb/B+Dl4zo7qRVRzjvZJy
gYM6Sqd4d6i/cKVTyOV7JqySrq67PvrJcvoMyi0YWionQgPE1mJpxSCzAkBr9p14
5mssCqDHUq7x1xil8MY2X5arG2LnuGW8N/qjdC6Ympqv9ii2IB/vRSW3rfXfuvN5
aNC5kWyHdVfkNQ/a
-----END PRIVATE KEY-----
`

func TestSeveralMistakesAreNamedAtOnce(t *testing.T) {
	f := given().but("cert", given()["key"]).but("key", given()["cert"]).but("public-key-id", "x").but("apiv3-key-file", "y")
	tool(t, f.args(t, "--json")...).requireFailed(t, "certificate", "private key", "public-key ID", "APIv3 key")
}

func TestSecretMerchantWarns(t *testing.T) {
	for _, row := range []struct {
		name    string
		files   files
		step    string
		warning string
	}{
		{"a certificate that expires soon", given().but("cert", merchantCertificate().but(func(c *issued) { c.until = 29*24*time.Hour + time.Hour }).pem()), "certificate", "it expires in 29 days"},
		{"a key that looks like an APIv2 key", given().but("apiv3-key-file", "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"), "APIv3 key", "APIv2 key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, s := range tool(t, row.files.args(t, "--json")...).requirePassed(t).Steps {
				if (s.Name == row.step) != (s.Warning != "") || s.Warning != "" && (!strings.Contains(s.Warning, row.warning) || s.Cure == "") {
					t.Errorf("%+v", s)
				}
			}
		})
	}
}
