package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"membercard/local/discovery"
	"membercard/local/stack/stacktest"
	"membercard/local/tools"
	"membercard/shared/signing"
	"membercard/shared/tlsdial"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/wechat/officialaccount"
	"membercard/wechat/wechatpay"
)

// What the tool works against in the tests: the sandboxes of WeChat, and a Secrets
// Manager.
var (
	pay     *wechatpay.Sandbox
	account *officialaccount.Sandbox
	manager *secretsManager
	local   string // --local=…
)

func TestMain(m *testing.M) {
	tlsdialtest.Parallel(8)
	os.Exit(stacktest.Run(func() (int, error) { return serve(m) }))
}

func serve(m *testing.M) (code int, err error) {
	for _, variable := range os.Environ() { // the machine's own configuration is no part of a test
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "LC_") || name == "LANG" {
			os.Unsetenv(name)
		}
	}
	for _, variable := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		os.Setenv(variable, filepath.Join(os.TempDir(), "none"))
	}
	os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if pay, err = wechatpay.Start(); err != nil {
		return 0, err
	}
	defer pay.Close()
	if account, err = officialaccount.Start(); err != nil {
		return 0, err
	}
	defer account.Close()
	if manager, err = startSecretsManager(); err != nil {
		return 0, err
	}
	defer manager.Close()
	said := discovery.Stack{
		WeChatPay: pay.Endpoints(), WeChat: account.Endpoints(), CA: string(pay.CA()) + string(account.CA()),
		AWS:     manager.discovery(),
		Secrets: discovery.Secrets{Merchant: "membercard/merchant", OfficialAccount: "membercard/official-account", Login: "membercard/login"},
	}
	roots := filepath.Join(os.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, []byte(said.CA), 0o600); err != nil {
		return 0, err
	}
	os.Setenv("SSL_CERT_FILE", roots)
	// The first connection reads the roots. The tool changes the variable, so it is made here.
	host := strings.TrimPrefix(pay.Endpoints()[0], "https://")
	first, err := tlsdial.New().DialContext(context.Background(), "tcp", host)
	if err != nil {
		return 0, err
	}
	first.Close()
	mux := http.NewServeMux()
	mux.Handle("POST "+discovery.EnrolPath, tools.Enrol(pay))
	server := httptest.NewServer(mux)
	defer server.Close()
	said.API = server.URL
	defer publish(mux, func() discovery.Stack {
		now := said
		now.Files = pay.Files()
		return now
	})()
	local = "--local=" + server.URL
	defer func() { endShared() }()
	return m.Run(), nil
}

// publish serves the description of a stack, until the function that it returns is called.
func publish(mux *http.ServeMux, describe func() discovery.Stack) (end func()) {
	published, err := discovery.Publish(describe().API, describe)
	if err != nil {
		panic(err)
	}
	mux.Handle("GET "+discovery.Path, published)
	return func() { _ = published.Close() }
}

// outcome is what became of a run of the tool.
type outcome struct {
	code     int
	out, err string
}

// terminal is how the tool is run: on a terminal, and with what is typed there.
type terminal struct {
	in, out bool
	types   []string
	stdin   string
}

// run runs the tool.
func (tt terminal) run(t *testing.T, args ...string) outcome {
	t.Helper()
	var out, err bytes.Buffer
	c := &console{in: strings.NewReader(tt.stdin), out: &out, err: &err, inIsTerminal: tt.in, errIsTerminal: tt.in, outIsTerminal: tt.out}
	c.password = func(context.Context) ([]byte, error) {
		if len(tt.types) == 0 {
			return nil, errors.New("nothing is typed")
		}
		line := tt.types[0]
		tt.types = tt.types[1:]
		return []byte(line), nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	code := run(ctx, args, c)
	return outcome{code, out.String(), err.String()}
}

// tool runs the tool in a script: nothing is a terminal.
func tool(t *testing.T, args ...string) outcome {
	t.Helper()
	return terminal{}.run(t, args...)
}

// report reads the report of --json, in which no private key stands.
func (o outcome) report(t *testing.T) *report {
	t.Helper()
	o.requireNo(t, `PRIVATE KEY-----\nM`)
	var r report
	d := json.NewDecoder(strings.NewReader(o.out))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("exit code %d, %v:\n%s%s", o.code, err, o.out, o.err)
	}
	return &r
}

// requireFailed checks that exactly these steps failed, with exit code 1, and returns
// the last.
func (o outcome) requireFailed(t *testing.T, names ...string) step {
	t.Helper()
	r := o.report(t)
	var failed []string
	var last step
	for _, s := range r.Steps {
		if !s.OK && s.Skipped == "" {
			failed = append(failed, s.Name)
			last = s
		}
	}
	if o.code != exitFailed || r.OK || strings.Join(failed, "; ") != strings.Join(names, "; ") {
		t.Fatalf("exit code %d, failed %q, want %q:\n%s", o.code, failed, names, o.out)
	}
	return last
}

// requirePassed checks that nothing failed, and returns the report.
func (o outcome) requirePassed(t *testing.T) *report {
	t.Helper()
	r := o.report(t)
	if o.code != exitOK || !r.OK || r.failed() > 0 {
		t.Fatalf("exit code %d:\n%s%s", o.code, o.out, o.err)
	}
	return r
}

// requireNo checks that a text is nowhere in the output.
func (o outcome) requireNo(t *testing.T, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if s != "" && (strings.Contains(o.out, s) || strings.Contains(o.err, s)) {
			t.Errorf("the output has a secret in it:\n%s%s", o.out, o.err)
		}
	}
}

// write writes a file and returns its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func armour(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// another is a key that has nothing to do with the sandbox's.
var another = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

// merchantOf is the sandbox's merchant, and its key.
func merchantNow(mode wechatpay.Mode) (secret signing.MerchantSecret, key *rsa.PrivateKey) {
	return merchantIn(pay.MerchantSecret(mode))
}

func merchantIn(text string) (secret signing.MerchantSecret, key *rsa.PrivateKey) {
	if err := json.Unmarshal([]byte(text), &secret); err != nil {
		panic(err)
	}
	block, _ := pem.Decode([]byte(secret.PrivateKey))
	return secret, must(x509.ParsePKCS8PrivateKey(block.Bytes)).(*rsa.PrivateKey)
}

// issued is a certificate, as it is in apiclient_cert.pem.
type issued struct {
	cn          string
	serial      string // hex
	from, until time.Duration
	key         crypto.PublicKey
	isCA        bool
}

// merchantCertificate is the certificate of the sandbox's merchant.
func merchantCertificate() issued { return certificateFor(merchantNow(wechatpay.Both)) }

func certificateFor(secret signing.MerchantSecret, key *rsa.PrivateKey) issued {
	return issued{cn: secret.MchID, serial: secret.CertificateSerialNo, from: -time.Hour, until: 5 * 365 * 24 * time.Hour, key: &key.PublicKey}
}

func (c issued) der() []byte {
	serial, _ := new(big.Int).SetString(c.serial, 16)
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: c.cn, Organization: []string{"微信商户系统"}, Country: []string{"CN"}},
		NotBefore:    time.Now().Add(c.from), NotAfter: time.Now().Add(c.until),
		IsCA: c.isCA, BasicConstraintsValid: true,
	}
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "Tenpay.com Root CA", Organization: []string{"Tenpay.com"}, Country: []string{"CN"}}}
	return must(x509.CreateCertificate(rand.Reader, template, issuer, c.key, another()))
}

func (c issued) pem() string { return armour("CERTIFICATE", c.der()) }

func pkcs1PEM(key *rsa.PrivateKey) string {
	return armour("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&key.PublicKey))
}
