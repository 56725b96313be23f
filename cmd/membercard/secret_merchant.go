package main

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/shared/signing"
)

// expiresSoon is how long before its end a certificate is warned of.
const expiresSoon = 30 * 24 * time.Hour

// merchantFiles are the files that a merchant has from WeChat Pay.
type merchantFiles struct {
	cert, key              string
	publicKey, publicKeyID string
	apiv3Key               string
}

func (a *app) secretMerchant() *cobra.Command {
	var files merchantFiles
	var to destination
	cmd := command("merchant", a.text("Make the merchant's secret", "生成商户凭据"), func(ctx context.Context, _ string) error {
		r, secret := a.merchant(ctx, &files, time.Now())
		to.next = "next: " + a.proof(&to) + " proves what files can't: that the certificate is in force, and the keys are this merchant's"
		return a.finish(ctx, r, &to, ofMerchant, secret)
	})
	cmd.Long = a.text(`Make the merchant's secret from the files of WeChat Pay's certificate tool and of the
merchant platform. The merchant number and the serial number are read from the
certificate. Each mistake is named with its cure.

The APIv3 key is read from a file, or asked for on a terminal. Notifications can't be
read without it.`,
		`用微信支付证书工具和商户平台的文件生成商户凭据。商户号和证书序列号从证书中读取。
发现的每个错误都附有解决办法。

APIv3密钥从文件读取，或在终端上提示输入。没有它就无法解密通知。`)
	cmd.Example = `  membercard secret merchant --cert apiclient_cert.pem --key apiclient_key.pem \
    --public-key pub_key.pem --public-key-id PUB_KEY_ID_… --put membercard/merchant`
	files.pairFlags(a, cmd, a.text("`FILE` with the merchant API certificate, apiclient_cert.pem", "商户API证书文件（`FILE`），即 apiclient_cert.pem"))
	flags := cmd.Flags()
	flags.StringVar(&files.publicKey, "public-key", "", a.text("`FILE` with WeChat Pay's public key, pub_key.pem", "微信支付公钥文件（`FILE`），pub_key.pem"))
	flags.StringVar(&files.publicKeyID, "public-key-id", "", a.text("its `ID`, PUB_KEY_ID_…", "微信支付公钥 `ID`，PUB_KEY_ID_…"))
	flags.StringVar(&files.apiv3Key, "apiv3-key-file", "", a.text("`FILE` with the APIv3 key", "APIv3密钥文件（`FILE`）"))
	_ = cmd.MarkFlagFilename("public-key", "pem") // there is such a flag
	return to.flags(a, cmd)
}

// pairFlags adds the flags for a certificate, with a usage of its own, and its private key.
// They are required.
func (files *merchantFiles) pairFlags(a *app, cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&files.cert, "cert", "", usage)
	cmd.Flags().StringVar(&files.key, "key", "", a.text("`FILE` with its private key, apiclient_key.pem", "该证书的私钥文件（`FILE`），apiclient_key.pem"))
	require(cmd, "cert", "key")
	_ = cmd.MarkFlagFilename("cert", "pem") // there is such a flag
	_ = cmd.MarkFlagFilename("key", "pem")
}

// merchant makes the merchant's secret, and reports what is wrong with the files.
func (a *app) merchant(ctx context.Context, files *merchantFiles, now time.Time) (*report, *signing.MerchantSecret) {
	r, secret := &report{}, &signing.MerchantSecret{}
	certificate, key := r.pair(files, now)
	if certificate != nil {
		secret.MchID, secret.CertificateSerialNo = certificate.Subject.CommonName, serialOf(certificate)
		r.MchID, r.CertificateSerialNo, r.CertificateNotAfter = secret.MchID, secret.CertificateSerialNo, certificate.NotAfter.UTC().Format(time.RFC3339)
	}
	if key != nil {
		secret.PrivateKey = keyPEM(key)
	}
	if files.publicKey != "" || files.publicKeyID != "" {
		secret.PublicKey, secret.PublicKeyID = r.publicKey(files, certificate, key)
	}
	secret.APIv3Key = a.apiv3Key(ctx, r, files.apiv3Key)
	if files.publicKey == "" && files.publicKeyID == "" && files.apiv3Key == "" && secret.APIv3Key == "" {
		r.fail("something to verify answers with", faultf("--public-key pub_key.pem --public-key-id PUB_KEY_ID_… (账户中心 → API安全 → 微信支付公钥), or --apiv3-key-file FILE for a merchant with platform certificates",
			"neither WeChat Pay's public key nor the APIv3 key was given"))
	}
	if a.local != nil && secret.PublicKey != "" {
		a.sandboxSigns(r, secret)
	}
	return r, secret
}

// pair checks the merchant API certificate and its private key; what is wrong is nil.
func (r *report) pair(files *merchantFiles, now time.Time) (*x509.Certificate, *rsa.PrivateKey) {
	const name = "key and certificate belong together"
	certificate, key := r.certificate(files.cert, now), r.privateKey(files.key)
	switch {
	case certificate == nil || key == nil:
	case key.PublicKey.Equal(certificate.PublicKey):
		r.add(step{Name: name, OK: true})
	default:
		r.fail(name, faultf("give the apiclient_key.pem that was made with this certificate; if it is lost, "+renew,
			"%s is not the key of the certificate in %s", files.key, files.cert))
	}
	return certificate, key
}

// certificate checks the merchant API certificate.
func (r *report) certificate(path string, now time.Time) *x509.Certificate {
	f, bad := load(path)
	if bad == nil && len(f.certificates) == 0 {
		bad = f.wrong(aCertificate, "apiclient_cert.pem")
	}
	if bad != nil {
		r.fail(stepCertificate, bad)
		return nil
	}
	// The certificates of its issuers may stand before or after it.
	c := f.certificates[max(0, slices.IndexFunc(f.certificates, isMerchants))]
	cn, notes := c.Subject.CommonName, f.notes
	if n := len(f.certificates); n > 1 {
		notes = append(notes, fmt.Sprintf("of the file's %d certificates this one is used", n))
	}
	switch {
	case strings.HasPrefix(cn, "Tenpay.com sign"):
		bad = faultf("give apiclient_cert.pem; with --apiv3-key-file the functions download the platform certificates themselves", "%s is a platform certificate of WeChat Pay (CN %q); the merchant's is wanted", path, cn)
	case strings.HasPrefix(cn, "Tenpay.com"):
		bad = faultf("give apiclient_cert.pem", "%s is a certificate of WeChat Pay's own authority (CN %q); the merchant's is wanted", path, clip(cn))
	case !isMerchants(c):
		bad = faultf("give apiclient_cert.pem", "%s is not a merchant's certificate: its subject's CN is %q; a merchant number is expected", path, clip(cn))
	case now.After(c.NotAfter):
		bad = faultf(renew, "the certificate in %s expired on %s", path, day(c.NotAfter))
	case now.Before(c.NotBefore):
		bad = faultf("check this machine's clock: date -u", "the certificate in %s is valid from %s on only", path, day(c.NotBefore))
	}
	if key, ok := c.PublicKey.(*rsa.PublicKey); bad == nil && (!ok || key.N.BitLen() < 2048) {
		bad = faultf(renew, "the certificate in %s has no RSA key of 2048 bits", path)
	}
	if bad != nil {
		r.fail(stepCertificate, bad)
		return nil
	}
	s := step{Name: stepCertificate, OK: true, Notes: notes, Detail: fmt.Sprintf("merchant %s, serial number %s, valid until %s", cn, serialOf(c), day(c.NotAfter))}
	if left := c.NotAfter.Sub(now); left < expiresSoon {
		s.Warning, s.Cure = fmt.Sprintf("it expires in %d days", int(left.Hours()/24)), renew
	}
	r.add(s)
	return c
}

// isMerchants reports whether a certificate's subject is a merchant.
func isMerchants(c *x509.Certificate) bool {
	cn := c.Subject.CommonName
	return cn != "" && len(cn) <= 32 && strings.Trim(cn, "0123456789") == ""
}

// privateKey checks the private key of the merchant API certificate.
func (r *report) privateKey(path string) *rsa.PrivateKey {
	f, bad := load(path)
	var key *rsa.PrivateKey
	if bad == nil {
		key, bad = f.rsaKey("apiclient_key.pem")
	}
	if bad != nil {
		r.fail("private key", bad)
		return nil
	}
	r.add(step{Name: "private key", OK: true, Notes: f.notes, Detail: fmt.Sprintf("RSA, %d bits", key.N.BitLen())})
	return key
}

// Pages of the merchant platform.
const (
	publicKeyPage = "账户中心 → API安全 → 微信支付公钥"
	renew         = "have a new certificate made: 账户中心 → API安全 → 商户API证书 → 更换证书"
)

// publicKey checks WeChat Pay's public key and its ID.
func (r *report) publicKey(files *merchantFiles, certificate *x509.Certificate, own *rsa.PrivateKey) (text, id string) {
	const name = "WeChat Pay's public key"
	switch {
	case files.publicKeyID == "":
		r.fail(name, faultf("--public-key-id PUB_KEY_ID_…, which stands beside the key: "+publicKeyPage, "--public-key was given without its ID"))
		return "", ""
	case files.publicKey == "":
		r.fail(name, faultf("--public-key pub_key.pem, which is downloaded beside the ID: "+publicKeyPage, "--public-key-id was given without the key"))
		return "", ""
	}
	var key *rsa.PublicKey
	f, bad := load(files.publicKey)
	if bad == nil {
		key, bad = f.wechatPaysKey(certificate, own)
	}
	id = strings.TrimSpace(files.publicKeyID)
	good := r.check(step{Name: name, Notes: f.notes}, bad)
	if !r.check(step{Name: "public-key ID", Detail: id}, publicKeyID(id)) || !good {
		return "", ""
	}
	der, _ := x509.MarshalPKIXPublicKey(key) // of RSA there is no error
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), id
}

// wechatPaysKey returns the public key in pub_key.pem, which must not be the
// merchant's own.
func (f *file) wechatPaysKey(certificate *x509.Certificate, own *rsa.PrivateKey) (*rsa.PublicKey, *fault) {
	const download = "download pub_key.pem: " + publicKeyPage
	ours := func(key *rsa.PublicKey) bool {
		return own != nil && key.Equal(&own.PublicKey) || certificate != nil && key.Equal(certificate.PublicKey)
	}
	key, ok := f.publicKey.(*rsa.PublicKey)
	switch {
	case f.publicKey == nil && f.kind == aCertificate && strings.HasPrefix(f.certificates[0].Subject.CommonName, "Tenpay.com sign"):
		return nil, faultf(download+"; a merchant without one gives --apiv3-key-file instead, and the functions download the platform certificates", "%s is a platform certificate; WeChat Pay's public key (pub_key.pem) is wanted", f.path)
	case f.publicKey == nil && f.kind == aCertificate && certificate != nil && f.certificates[0].Equal(certificate):
		return nil, faultf(download, "%s is the merchant's own certificate; WeChat Pay's public key (pub_key.pem) is wanted", f.path)
	case f.publicKey == nil && f.kind == aKey:
		return nil, faultf(download, "%s is a private key; WeChat Pay's public key (pub_key.pem) is wanted", f.path)
	case f.publicKey == nil:
		return nil, f.wrong(aPublicKey, "pub_key.pem")
	case !ok || key.N.BitLen() < 2048:
		return nil, faultf(download, "%s is not an RSA key of 2048 bits, which WeChat Pay's is", f.path)
	case ours(key):
		return nil, faultf(download, "%s is the merchant's own public key; WeChat Pay's is wanted", f.path)
	}
	return key, nil
}

// publicKeyID checks the ID of WeChat Pay's public key. The fault does not quote it: it
// may be a key.
func publicKeyID(id string) *fault {
	const prefix = "PUB_KEY_ID_"
	const cure = "copy it from beside the key (账户中心 → API安全 → 微信支付公钥): PUB_KEY_ID_ and digits"
	rest, ok := strings.CutPrefix(id, prefix)
	issue := signing.PublicKeyID(id)
	switch {
	case len(id) == 40 && strings.Trim(id, "0123456789abcdefABCDEF") == "":
		return faultf(cure, "the public-key ID is a certificate's serial number")
	case !ok && strings.HasPrefix(strings.ToUpper(id), prefix):
		return faultf(cure, "the public-key ID must be in capitals")
	case !ok && id != "" && len(id) <= 64 && strings.Trim(id, "0123456789") == "":
		return faultf("--public-key-id "+prefix+id, "the public-key ID lacks its beginning, %s", prefix)
	case issue != "":
		return faultf(cure, "it does not look like a public-key ID: it %s", issue)
	case strings.Trim(rest, "xX") == "":
		return faultf(cure, "it does not look like a public-key ID: it is an example's")
	}
	return nil
}

// apiv3Key reads and checks the APIv3 key.
func (a *app) apiv3Key(ctx context.Context, r *report, path string) string {
	const name = "APIv3 key"
	key, notes, bad := a.secretValue(ctx, path, "APIv3 key (Enter: none)")
	if bad == nil && key == "" {
		r.add(step{Name: name, Skipped: "not given; notifications can't be read without it"})
		return ""
	}
	if bad == nil {
		bad = apiv3Key(key)
	}
	if bad != nil {
		r.fail(name, bad)
		return ""
	}
	s := step{Name: name, OK: true, Notes: notes}
	if onlyHex(key) {
		s.Warning, s.Cure = hexWarning, "membercard check merchant proves it, if the merchant has platform certificates; if it is another key, copy the APIv3 key again, or "+setAPIv3Key
	}
	r.add(s)
	return key
}

const (
	setAPIv3Key = "set a new one: 账户中心 → API安全 → APIv3密钥; it has 32 letters and digits"
	hexWarning  = "it has hexadecimal digits only: maybe it is an AppSecret or the APIv2 key"
)

// onlyHex reports whether a key has only hexadecimal digits, as AppSecrets have. An APIv3
// key may be made so too.
func onlyHex(key string) bool {
	return strings.Trim(key, "0123456789abcdef") == "" || strings.Trim(key, "0123456789ABCDEF") == ""
}

// apiv3Key checks an APIv3 key.
func apiv3Key(key string) *fault {
	if strings.HasPrefix(key, "-----BEGIN") {
		return faultf("give the file that has the APIv3 key; if it is lost, "+setAPIv3Key, "it is a PEM file; the APIv3 key is a text of 32 characters")
	}
	if issue := signing.APIv3Key(key); issue != "" {
		return faultf("copy it again; if it is lost, "+setAPIv3Key, "it %s", issue)
	}
	return nil
}

// serialOf is a certificate's serial number as WeChat Pay writes it.
func serialOf(c *x509.Certificate) string { return utils.GetCertificateSerialNumber(*c) }

func keyPEM(key *rsa.PrivateKey) string {
	der, _ := x509.MarshalPKCS8PrivateKey(key) // of RSA there is no error
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// proof is the command that checks the secret with WeChat Pay.
func (a *app) proof(to *destination) string {
	from := &source{id: to.name, file: to.file}
	if to.name == "" && to.file == "" {
		from.file = "FILE"
	}
	return "membercard check merchant" + a.read(from) + a.where()
}
