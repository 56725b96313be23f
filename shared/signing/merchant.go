package signing

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/credentials"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/signers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/shared/cached"
	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// Merchant has the merchant's private key, which signs requests, and WeChat Pay's keys,
// which verify answers and notifications.
type Merchant struct {
	signer *signers.SHA256WithRSASigner
	keys   *keyring
}

// request makes a signed request. The URL and the body are signed and sent byte for byte.
func (m *Merchant) request(ctx context.Context, method, url string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	credentials := credentials.WechatPayCredentials{Signer: m.signer}
	authorization, err := credentials.GenerateAuthorizationHeader(ctx, method, request.URL.RequestURI(), string(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set(consts.Authorization, authorization)
	request.Header.Set(consts.ContentType, consts.ApplicationJSON)
	if serial, err := m.keys.GetSerial(ctx); err == nil { // there is none before the first download
		request.Header.Set(consts.WechatPaySerial, serial)
	}
	return request, nil
}

// Source provides the merchant. A cached secret implements it.
type Source = cached.Source[*Merchant]

// MerchantSecret is the merchant's secret as a JSON object; see [ParseMerchant].
type MerchantSecret struct {
	MchID               string `json:"mchid"`
	CertificateSerialNo string `json:"certificate_serial_no"`
	PrivateKey          string `json:"private_key"`
	PublicKeyID         string `json:"wechatpay_public_key_id,omitempty"`
	PublicKey           string `json:"wechatpay_public_key,omitempty"`
	APIv3Key            string `json:"apiv3_key,omitempty"`
}

// ParseMerchant parses a merchant's secret, a JSON object:
//
//	mchid                    the merchant number, digits
//	certificate_serial_no    serial number of the merchant API certificate, hex
//	private_key              PEM of apiclient_key.pem (PKCS#8)
//	wechatpay_public_key_id  PUB_KEY_ID_ and letters or digits, together with
//	wechatpay_public_key     PEM of pub_key.pem
//	apiv3_key                32 visible ASCII characters; decrypts platform certificates and notifications
//
// The public key or apiv3_key is required. Unknown keys of the object are refused, so
// that a misspelt one is noticed. An error names the key at fault and contains no value.
func ParseMerchant(secret []byte) (*Merchant, error) {
	var doc MerchantSecret
	if err := strictjson.DecodeSecret(secret, &doc); err != nil {
		return nil, fmt.Errorf("the merchant's secret: %w", err)
	}
	privateKey, err := doc.check()
	if err != nil {
		return nil, fmt.Errorf("the merchant's secret: %w", err)
	}
	keys := &keyring{publicKeyID: doc.PublicKeyID, apiv3Key: doc.APIv3Key, certificates: core.NewCertificateMap(nil)}
	if doc.PublicKey != "" {
		if keys.publicKey, err = utils.LoadPublicKey(doc.PublicKey); err != nil {
			return nil, errors.New("the merchant's secret: wechatpay_public_key is not the PEM of pub_key.pem (BEGIN PUBLIC KEY, with its line breaks)")
		}
		if keys.publicKey.Equal(&privateKey.PublicKey) {
			return nil, errors.New("the merchant's secret: wechatpay_public_key is the merchant's own key; WeChat Pay's is wanted")
		}
	}
	return &Merchant{
		signer: &signers.SHA256WithRSASigner{MchID: doc.MchID, CertificateSerialNo: doc.CertificateSerialNo, PrivateKey: privateKey},
		keys:   keys,
	}, nil
}

// publicKeyPrefix begins the ID of a public key of WeChat Pay. The serial number of a
// platform certificate does not have it.
const publicKeyPrefix = "PUB_KEY_ID_"

// PublicKeyID is a [validation.Rule] for the ID of a public key of WeChat Pay.
func PublicKeyID(id string) (issue string) {
	rest, ok := strings.CutPrefix(id, publicKeyPrefix)
	switch issue := validation.VisibleASCII(id); {
	case issue != "":
		return issue
	case !ok:
		return "does not begin with " + publicKeyPrefix
	case rest == "" || validation.Alphanumeric(len(rest), "")(rest) != "":
		return "must be " + publicKeyPrefix + " and letters or digits"
	}
	return ""
}

// APIv3Key is a [validation.Rule] for an APIv3 key: 32 visible ASCII characters.
func APIv3Key(key string) (issue string) {
	if issue := validation.VisibleASCII(key); issue != "" {
		return issue
	}
	if len(key) != 32 {
		return fmt.Sprintf("has %d characters; an APIv3 key has 32", len(key))
	}
	return ""
}

// ofDigits returns a [validation.Rule] for 1 to n digits, which the issue names.
func ofDigits(n int, digits, name string) validation.Rule {
	return func(value string) string {
		if issue := validation.VisibleASCII(value); issue != "" {
			return issue
		}
		if len(value) > n || strings.Trim(value, digits) != "" {
			return "is not a " + name
		}
		return ""
	}
}

func (d *MerchantSecret) check() (*rsa.PrivateKey, error) {
	for _, field := range []struct {
		name, value string
		rule        validation.Rule
	}{
		{"mchid", d.MchID, ofDigits(32, "0123456789", "merchant number (digits)")},
		{"certificate_serial_no", d.CertificateSerialNo, ofDigits(64, "0123456789abcdefABCDEF", "serial number in hex")},
		{"wechatpay_public_key_id", d.PublicKeyID, PublicKeyID},
		{"apiv3_key", d.APIv3Key, APIv3Key},
	} {
		if field.value == "" {
			continue
		}
		if issue := field.rule(field.value); issue != "" {
			return nil, errors.New(field.name + " " + issue)
		}
	}
	switch {
	case d.MchID == "":
		return nil, errors.New("mchid is missing")
	case d.CertificateSerialNo == "":
		return nil, errors.New("certificate_serial_no is missing")
	case d.PrivateKey == "":
		return nil, errors.New("private_key is missing")
	case d.PublicKeyID != "" && d.PublicKey == "":
		return nil, errors.New("wechatpay_public_key is missing beside wechatpay_public_key_id")
	case d.PublicKeyID == "" && d.PublicKey != "":
		return nil, errors.New("wechatpay_public_key_id is missing beside wechatpay_public_key")
	case d.PublicKey == "" && d.APIv3Key == "":
		return nil, errors.New("wechatpay_public_key (with its ID) or apiv3_key is missing: nothing to verify answers with")
	}
	key, err := utils.LoadPrivateKey(d.PrivateKey)
	if err != nil {
		return nil, errors.New("private_key is not the PEM of apiclient_key.pem (PKCS#8, with its line breaks)")
	}
	if key.Size() < 256 {
		return nil, errors.New("private_key has less than 2048 bits")
	}
	return key, nil
}
