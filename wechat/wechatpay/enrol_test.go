package wechatpay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/notify"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/wechat/sandbox"
)

const (
	enrolledMchID    = "1604412345"
	enrolledAPIv3Key = "Kq7vXw2Zr9Tb4Nc6Ym1Lp8Hd3Jf5Gs0Q"
)

// issue returns a certificate for a key, valid from an hour ago for a time.
func issue(mchid string, serial *big.Int, key any, valid time.Duration) []byte {
	authority := sandbox.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: mchid}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid)}
	der := sandbox.Must(x509.CreateCertificate(rand.Reader, template, template, key, authority))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// An enrolled merchant is held to the same rules as the sandbox's own, who loses
// nothing by it.
func TestEnrol(t *testing.T) {
	s := newSandbox(t)
	own := secretOf(t, s, PublicKey)
	key := newRSAKey()
	serial, serialNo := newSerial()
	publicKey, id, err := s.Enrol(issue(enrolledMchID, serial, &key.PublicKey, 24*time.Hour), enrolledAPIv3Key)
	if err != nil || publicKey != own.PublicKey || id != own.PublicKeyID {
		t.Fatalf("%v, key %s", err, id)
	}
	second, secondSerialNo := newSerial()
	if _, _, err := s.Enrol(issue(mchID, second, &key.PublicKey, 24*time.Hour), own.APIv3Key); err != nil {
		t.Fatal(err)
	}
	enrolled := call{mchid: enrolledMchID, serial: serialNo, key: key}
	but := func(change func(*call)) call { c := enrolled; change(&c); return c }
	const unknownSerial = "商户证书序列号有误"
	checkAnswers(t, s, []row{
		{"enrolled", enrolled, 200, "", "", ""},
		{"the sandbox's own", call{}, 200, "", "", ""},
		{"a further certificate of the sandbox's own", but(func(c *call) { c.mchid, c.serial = mchID, secondSerialNo }), 200, "", "", ""},
		{"the serial of another merchant", but(func(c *call) { c.serial = own.SerialNo }), 401, "SIGN_ERROR", unknownSerial, ""},
		{"a serial that is not enrolled", but(func(c *call) { c.serial = strings.Repeat("A", 40) }), 401, "SIGN_ERROR", unknownSerial, ""},
		{"the serial in lower case", but(func(c *call) { c.serial = strings.ToLower(serialNo) }), 401, "SIGN_ERROR", unknownSerial, ""},
		{"the sandbox's own with the enrolled serial", call{serial: serialNo}, 401, "SIGN_ERROR", unknownSerial, ""},
		{"signed with another key", but(func(c *call) { c.key = own.key }), 401, "SIGN_ERROR", "验签失败", ""},
		{"another merchant", but(func(c *call) { c.mchid = "1604412346" }), 401, "SIGN_ERROR", "商户号mchid不存在", ""},
	})
	if status, got := but(func(c *call) { c.method, c.path = "GET", "/v3/marketing/membercard-open/callback" }).do(t, s); status != 200 || got["mchid"] != enrolledMchID {
		t.Errorf("%d %v", status, got)
	}
	// The notifications of its cards are encrypted with its APIv3 key.
	r := newReceiver(t, s, PublicKey)
	public, err := utils.LoadPublicKey(own.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if r.handler, err = notify.NewRSANotifyHandler(enrolledAPIv3Key, verifiers.NewSHA256WithRSAPubkeyVerifier(id, *public)); err != nil {
		t.Fatal(err)
	}
	_, got := enrolled.do(t, s)
	if _, _, err := s.OpenCard(got["token"].(string), openID); err != nil {
		t.Fatal(err)
	}
	if all := r.all(t, 1); all[0].event != brandCardCreated {
		t.Errorf("%+v", all)
	}
}

func TestEnrolRefuses(t *testing.T) {
	s := newSandbox(t)
	serial, _ := newSerial()
	key := &newRSAKey().PublicKey
	own := []byte(s.Files()["apiclient_cert.pem"])
	for _, row := range []struct {
		name        string
		certificate []byte
		apiv3Key    string
		want        string
	}{
		{"no PEM", []byte("hello"), enrolledAPIv3Key, "not a certificate in PEM"},
		{"damaged", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), enrolledAPIv3Key, "malformed"},
		{"a web server's", issue("www.example.com", serial, key, time.Hour), enrolledAPIv3Key, "not a merchant's certificate"},
		{"expired", issue(enrolledMchID, serial, key, -time.Minute), enrolledAPIv3Key, "not a merchant's certificate"},
		{"a short APIv3 key", issue(enrolledMchID, serial, key, time.Hour), "short", "32 characters"},
		{"the sandbox's own with another APIv3 key", own, enrolledAPIv3Key, "another APIv3 key"},
	} {
		if _, _, err := s.Enrol(row.certificate, row.apiv3Key); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	if _, _, err := s.Enrol(own, strings.TrimSpace(s.Files()["apiv3_key.txt"])); err != nil {
		t.Error(err)
	}
}
