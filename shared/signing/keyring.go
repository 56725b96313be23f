package signing

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/validators"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/shared/wallclock"
)

const (
	// certificateLife is how long downloaded platform certificates are used
	// before they are downloaded again; WeChat Pay asks for less than 12 hours.
	certificateLife = 10 * time.Hour
	// downloadPause is the least time between downloads that bring nothing.
	downloadPause = time.Minute
)

// errUnknownKey is an answer signed with a key that the merchant does not hold.
var errUnknownKey = errors.New("the answer is signed with a key that is not held")

// keyring is the keys of WeChat Pay that a merchant holds: the public key, the
// platform certificates, or both. It is an auth.Verifier.
type keyring struct {
	publicKeyID string
	publicKey   *rsa.PublicKey
	apiv3Key    string // empty: no platform certificates

	mu           sync.Mutex
	certificates *core.CertificateMap // by serial number
	downloadedAt time.Time
	barrenAt     time.Time // when a download last did not bring what was looked for
}

// Verify implements [github.com/wechatpay-apiv3/wechatpay-go/core/auth.Verifier].
func (k *keyring) Verify(ctx context.Context, serial, message, signature string) error {
	if k.publicKey != nil && serial == k.publicKeyID {
		return verifiers.NewSHA256WithRSAPubkeyVerifier(k.publicKeyID, *k.publicKey).Verify(ctx, serial, message, signature)
	}
	held, _ := k.held()
	if _, ok := held.Get(ctx, serial); !ok {
		return fmt.Errorf("%w: %.64q", errUnknownKey, serial)
	}
	return verifiers.NewSHA256WithRSAVerifier(held).Verify(ctx, serial, message, signature)
}

// GetSerial names the key that answers shall be signed with.
func (k *keyring) GetSerial(ctx context.Context) (string, error) {
	if k.publicKey != nil {
		return k.publicKeyID, nil
	}
	if held, _ := k.held(); held.GetNewestSerial(ctx) != "" {
		return held.GetNewestSerial(ctx), nil
	}
	return "", errors.New("no platform certificate is held yet")
}

// held is the platform certificates at hand, and their age.
func (k *keyring) held() (*core.CertificateMap, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.certificates, wallclock.Since(k.downloadedAt)
}

func (k *keyring) hold(certificates *core.CertificateMap) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.certificates = certificates
	k.downloadedAt = wallclock.Now()
}

// wants says whether a call shall download certificates before anything else:
// because it holds no key at all, or because those at hand had their time.
func (k *keyring) wants() (wants, must bool) {
	held, age := k.held()
	switch {
	case k.apiv3Key == "":
		return false, false
	case held.GetNewestSerial(context.Background()) == "":
		return k.publicKey == nil, k.publicKey == nil
	}
	return age > certificateLife && !k.barren(), false
}

// barren says whether a download in the last minute did not bring what was
// looked for, so that another would only be load.
func (k *keyring) barren() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return wallclock.Since(k.barrenAt) < downloadPause
}

func (k *keyring) setBarren() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.barrenAt = wallclock.Now()
}

// with is a keyring that holds these certificates beside the public key.
func (k *keyring) with(certificates *core.CertificateMap) *keyring {
	return &keyring{publicKeyID: k.publicKeyID, publicKey: k.publicKey, certificates: certificates}
}

// validate verifies the signature of an answer over its exact bytes.
func (k *keyring) validate(ctx context.Context, answer *http.Response) error {
	return validators.NewWechatPayResponseValidator(k).Validate(ctx, answer)
}

// decrypt opens the answer to GET /v3/certificates: each certificate is
// encrypted with AES-256-GCM under the APIv3 key. Expired ones, and those with
// another key than RSA, are left out.
func (k *keyring) decrypt(body []byte) (*core.CertificateMap, error) {
	var list struct {
		Data []struct {
			SerialNo  string `json:"serial_no"`
			Encrypted struct {
				AssociatedData string `json:"associated_data"`
				Nonce          string `json:"nonce"`
				Ciphertext     string `json:"ciphertext"`
			} `json:"encrypt_certificate"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, errors.New("the list of platform certificates is not the documented JSON")
	}
	certificates := map[string]*x509.Certificate{}
	for _, entry := range list.Data {
		const nonceSize = 12 // GCM panics at any other
		if len(entry.Encrypted.Nonce) != nonceSize {
			return nil, errors.New("a platform certificate's nonce does not have 12 bytes")
		}
		pem, err := utils.DecryptAES256GCM(k.apiv3Key, entry.Encrypted.AssociatedData, entry.Encrypted.Nonce, entry.Encrypted.Ciphertext)
		if _, corrupt := errors.AsType[base64.CorruptInputError](err); corrupt {
			return nil, errors.New("a platform certificate's ciphertext is not base64")
		}
		if err != nil {
			return nil, errWrongAPIv3Key
		}
		certificate, err := utils.LoadCertificate(pem)
		if err != nil {
			return nil, errors.New("a platform certificate is not PEM")
		}
		// The library's verifier panics at another key than RSA.
		if _, ok := certificate.PublicKey.(*rsa.PublicKey); ok && !utils.IsCertificateExpired(*certificate, time.Now()) {
			certificates[entry.SerialNo] = certificate
		}
	}
	if len(certificates) == 0 {
		return nil, errors.New("WeChat Pay gave no platform certificate that can be used")
	}
	return core.NewCertificateMap(certificates), nil
}

// errWrongAPIv3Key is a key in the secret that opens nothing.
var errWrongAPIv3Key = errors.New("apiv3_key does not decrypt WeChat Pay's platform certificates")
