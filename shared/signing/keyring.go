package signing

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/validators"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/shared/wallclock"
)

const (
	// certificateTTL is how long downloaded platform certificates are used. WeChat
	// Pay asks clients to download them at least every 12 hours.
	certificateTTL = 10 * time.Hour
	// downloadPause is the time without downloads after one that failed or did not
	// bring the certificate that was needed.
	downloadPause = time.Minute
)

// errUnknownKey reports a signature by a key of WeChat Pay that the merchant does not
// have.
var errUnknownKey = errors.New("the signature is by an unknown key of WeChat Pay")

// keyring holds WeChat Pay's keys for a merchant: the public key, the platform
// certificates, or both. It implements auth.Verifier.
type keyring struct {
	publicKeyID string
	publicKey   *rsa.PublicKey
	apiv3Key    string // empty: no platform certificates

	downloading sync.Mutex // held by a download because of an unknown key

	mu           sync.Mutex
	certificates *core.CertificateMap // by serial number
	downloadedAt time.Time
	pausedAt     time.Time // when downloads were last paused
	failure      error     // of the download that paused them; nil if it only lacked the certificate
}

// Verify implements [github.com/wechatpay-apiv3/wechatpay-go/core/auth.Verifier].
func (k *keyring) Verify(ctx context.Context, serial, message, signature string) error {
	if k.publicKey != nil && serial == k.publicKeyID {
		return verifiers.NewSHA256WithRSAPubkeyVerifier(k.publicKeyID, *k.publicKey).Verify(ctx, serial, message, signature)
	}
	if !k.has(ctx, serial) {
		return errUnknownKey
	}
	certificates, _ := k.downloaded()
	return verifiers.NewSHA256WithRSAVerifier(certificates).Verify(ctx, serial, message, signature)
}

// GetSerial implements auth.Verifier. It returns the public key's ID, or the serial
// number of the newest platform certificate: the key that WeChat Pay should sign answers
// with.
func (k *keyring) GetSerial(ctx context.Context) (string, error) {
	if k.publicKey != nil {
		return k.publicKeyID, nil
	}
	if certificates, _ := k.downloaded(); certificates.GetNewestSerial(ctx) != "" {
		return certificates.GetNewestSerial(ctx), nil
	}
	return "", errors.New("no platform certificate was downloaded yet")
}

func (k *keyring) downloaded() (*core.CertificateMap, time.Duration) {
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

// wantsDownload reports whether a call should first download certificates, because they
// are missing or too old, and whether it can't do without them.
func (k *keyring) wantsDownload() (wanted, required bool) {
	certificates, age := k.downloaded()
	switch {
	case k.apiv3Key == "":
		return false, false
	case certificates.GetNewestSerial(context.Background()) == "":
		return k.publicKey == nil, k.publicKey == nil
	}
	paused, _ := k.downloadsPaused()
	return age > certificateTTL && !paused, false
}

func (k *keyring) has(ctx context.Context, serial string) bool {
	certificates, _ := k.downloaded()
	_, ok := certificates.Get(ctx, serial)
	return ok
}

// canDownload reports whether a download may bring the key with a serial number. Public
// keys can't be downloaded: the operator copies them from the merchant platform.
func (k *keyring) canDownload(serial string) bool {
	return k.apiv3Key != "" && !strings.HasPrefix(serial, publicKeyPrefix)
}

// pauseDownloads stops downloads for a minute, after one that failed or, with a nil
// failure, did not bring the certificate that was needed.
func (k *keyring) pauseDownloads(failure error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pausedAt, k.failure = wallclock.Now(), failure
}

func (k *keyring) downloadsPaused() (paused bool, failure error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return wallclock.Since(k.pausedAt) < downloadPause, k.failure
}

// validate verifies the signature of an answer or a notification, and that its timestamp is
// within 5 minutes of the clock. WeChat Pay signs both in the same way.
func (k *keyring) validate(ctx context.Context, header http.Header, body []byte) error {
	err := validators.NewWechatPayResponseValidator(k).Validate(ctx, &http.Response{Header: header, Body: io.NopCloser(bytes.NewReader(body))})
	return loggable(err, header)
}

// loggable returns an error of the library that may be logged. The library's own errors
// quote headers, and whoever sent them chose their text.
func loggable(err error, header http.Header) error {
	serial := header.Get(consts.WechatPaySerial)
	seconds, _ := strconv.ParseInt(header.Get(consts.WechatPayTimestamp), 10, 64)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errUnknownKey) && isKeySerial(serial):
		return fmt.Errorf("%w: %s", errUnknownKey, serial)
	case errors.Is(err, errUnknownKey):
		return errUnknownKey
	case header.Get(consts.WechatPaySignature) == "":
		return errors.New("there is no signature")
	case wallclock.Since(time.Unix(seconds, 0)).Abs() > maxClockSkew:
		return errors.New("Wechatpay-Timestamp is missing, or off by more than 5 minutes")
	}
	return errors.New("the signature is not that of the body, the timestamp and the nonce")
}

// decryptCertificates returns the certificates in an answer to GET /v3/certificates. Each is
// encrypted with AES-256-GCM and the APIv3 key. Expired certificates, and those
// with a key other than RSA, are left out.
func (k *keyring) decryptCertificates(body []byte) (*core.CertificateMap, error) {
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
		const nonceSize = 12 // GCM panics with another size
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
		// The library's verifier panics if the key is not RSA.
		if _, ok := certificate.PublicKey.(*rsa.PublicKey); ok && !utils.IsCertificateExpired(*certificate, time.Now()) {
			certificates[entry.SerialNo] = certificate
		}
	}
	if len(certificates) == 0 {
		return nil, errors.New("WeChat Pay returned no usable platform certificate")
	}
	return core.NewCertificateMap(certificates), nil
}

var errWrongAPIv3Key = errors.New("apiv3_key does not decrypt WeChat Pay's platform certificates")
