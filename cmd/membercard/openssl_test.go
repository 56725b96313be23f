package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Files that openssl makes, and the commands that the tool names as cures, carried
// out.
func TestOpenSSLsFiles(t *testing.T) {
	requireOpenSSL(t)
	dir := t.TempDir()
	sh := func(command string) {
		t.Helper()
		c := exec.Command("sh", "-c", command)
		c.Dir = dir
		if text, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, text)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	sh(`openssl req -x509 -newkey rsa:2048 -nodes -keyout apiclient_key.pem -out apiclient_cert.pem -days 1825 -subj "/C=CN/O=merchants/CN=1900000001" -set_serial 0x1DDE55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2 &&
openssl genrsa -out wechatpay.pem 2048 && openssl pkey -in wechatpay.pem -pubout -out pub_key.pem && openssl pkey -in apiclient_key.pem -pubout -out own.pem &&
openssl pkcs12 -export -legacy -in apiclient_cert.pem -inkey apiclient_key.pem -passout pass:1900000001 -out apiclient_cert.p12 &&
openssl x509 -in apiclient_cert.pem -outform der -out cert.der && openssl pkey -in apiclient_key.pem -outform der -out key.der && openssl pkey -pubin -in pub_key.pem -outform der -out pub.der &&
openssl pkey -in apiclient_key.pem -aes256 -passout pass:secret -out locked.pem && openssl rsa -in apiclient_key.pem -traditional -aes128 -passout pass:secret -out old-locked.pem && openssl rsa -in apiclient_key.pem -traditional -out pkcs1.pem`)
	const id = "PUB_KEY_ID_0119000000012025062400291234567890"
	secret := func(cert, key, public string) []string {
		return []string{"secret", "merchant", "--json", "--cert", in(cert), "--key", in(key), "--public-key", in(public), "--public-key-id", id}
	}
	right := tool(t, secret("apiclient_cert.pem", "apiclient_key.pem", "pub_key.pem")...).requirePassed(t)
	if right.MchID != "1900000001" || right.CertificateSerialNo != "1DDE55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2" {
		t.Errorf("%+v", right)
	}
	tool(t, secret("apiclient_cert.pem", "pkcs1.pem", "pub_key.pem")...).requirePassed(t)
	sh("openssl pkcs12 -legacy -in apiclient_cert.p12 -nodes -passin pass:1900000001 -out both.pem")
	tool(t, secret("both.pem", "both.pem", "pub_key.pem")...).requirePassed(t)
	tool(t, secret("apiclient_cert.pem", "apiclient_key.pem", "own.pem")...).requireFailed(t, "WeChat Pay's public key")

	for _, row := range []struct {
		args  []string
		step  string
		stdin string // for openssl, which asks for a password
		cured []string
	}{
		{secret("apiclient_cert.p12", "apiclient_key.pem", "pub_key.pem"), "certificate", "1900000001", secret("cured.pem", "apiclient_key.pem", "pub_key.pem")},
		{secret("apiclient_cert.pem", "apiclient_cert.p12", "pub_key.pem"), "private key", "1900000001", secret("apiclient_cert.pem", "cured.pem", "pub_key.pem")},
		{secret("cert.der", "apiclient_key.pem", "pub_key.pem"), "certificate", "", secret("cured.pem", "apiclient_key.pem", "pub_key.pem")},
		{secret("apiclient_cert.pem", "key.der", "pub_key.pem"), "private key", "", secret("apiclient_cert.pem", "cured.pem", "pub_key.pem")},
		{secret("apiclient_cert.pem", "apiclient_key.pem", "pub.der"), "WeChat Pay's public key", "", secret("apiclient_cert.pem", "apiclient_key.pem", "cured.pem")},
		{secret("apiclient_cert.pem", "locked.pem", "pub_key.pem"), "private key", "secret", secret("apiclient_cert.pem", "cured.pem", "pub_key.pem")},
		{secret("apiclient_cert.pem", "old-locked.pem", "pub_key.pem"), "private key", "secret", secret("apiclient_cert.pem", "cured.pem", "pub_key.pem")},
	} {
		cure, _, _ := strings.Cut(tool(t, row.args...).requireFailed(t, row.step).Cure, "   ")
		command, target, found := strings.Cut(cure, " -out ")
		if !found || strings.ContainsAny(target, " /") {
			t.Fatalf("the cure is %q", cure)
		}
		if row.stdin != "" {
			command += " -passin pass:" + row.stdin
		}
		sh(command + " -out cured.pem")
		tool(t, row.cured...).requirePassed(t)
	}
}

func requireOpenSSL(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is missing: apt-get install openssl")
		}
		t.Skip("openssl is missing: apt-get install openssl")
	}
}
