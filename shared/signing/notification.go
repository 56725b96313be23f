package signing

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/shared/apierror"
	"membercard/shared/cached"
	"membercard/shared/strictjson"
	"membercard/shared/validation"
	"membercard/shared/wallclock"
)

// Notification is a verified and decrypted notification (回调通知) of WeChat Pay.
type Notification struct {
	ID           string
	CreateTime   string    // RFC 3339, as sent
	CreatedAt    time.Time // CreateTime, parsed
	EventType    string    // 1 to 128 characters
	Summary      string
	OriginalType string
	Resource     json.RawMessage // a JSON object, byte for byte as decrypted; contains personal data
}

// Notification verifies and decrypts a notification, given the headers and the body of
// its request, byte for byte. The error is an [apierror.Error]:
//
//	SIGNATURE_INVALID       401: a header is missing or malformed, the timestamp is off by
//	                        more than 5 minutes, the key is unknown, the signature is wrong
//	SIGNATURE_TEST          401: WeChat Pay signed wrongly on purpose
//	NOTIFICATION_MALFORMED  400: signed, but not the documented JSON
//	CONFIG_ERROR            500: the secret is unreadable, or its apiv3_key is missing or wrong
//
// If the key is unknown or apiv3_key does not decrypt the notification, the merchant is
// read again. If a platform certificate is unknown, the certificates are downloaded. As
// long as that does not help, it happens at most once a minute.
//
// Package core/notify of wechatpay-go is not used. It verifies and decrypts in one call,
// so nothing could be checked in between, and its errors quote the whole request.
func (c *Client) Notification(ctx context.Context, header http.Header, body []byte) (*Notification, error) {
	if err := CheckHeaders(header); err != nil {
		return nil, err
	}
	merchant, err := c.merchants.Get(ctx)
	if err != nil {
		return nil, apierror.Config(err)
	}
	if _, required := merchant.keys.wantsDownload(); !required {
		_ = c.prepare(ctx, merchant) // renews certificates that are too old
	}
	merchant, err = c.verify(ctx, merchant, header, body)
	if err != nil {
		return nil, notVerified(merchant, err)
	}
	n, resource, err := parseNotification(body)
	if err != nil {
		return nil, apierror.NotificationMalformed(err)
	}
	n.Resource, err = merchant.keys.decryptResource(resource)
	if err != nil {
		if current, changed := cached.Newer(ctx, c.merchants, merchant); changed {
			n.Resource, err = current.keys.decryptResource(resource)
		}
	}
	if err != nil {
		return nil, apierror.APIv3KeyUnusable(err)
	}
	if !utf8.Valid(n.Resource) || !bytes.HasPrefix(bytes.TrimLeft(n.Resource, " \t\r\n"), []byte("{")) || !json.Valid(n.Resource) {
		return nil, apierror.NotificationMalformed(errors.New("the decrypted resource is not a JSON object"))
	}
	return n, nil
}

// notVerified returns the error for a notification that was not verified. If the merchant
// has no key at all because the download of the certificates failed, it is a 500, so that
// WeChat Pay sends the notification again. Everything else is the sender's fault:
// otherwise anybody could cause a 500 with an unknown serial number.
func notVerified(merchant *Merchant, err error) error {
	without, ok := errors.AsType[*missingCertificates](err)
	if _, required := merchant.keys.wantsDownload(); ok && required {
		e := *apierror.From(without.failure)
		e.Status, e.RetryAfter = http.StatusInternalServerError, 0
		return &e
	}
	return apierror.SignatureInvalid(err)
}

const (
	// signatureType is the only value of Wechatpay-Signature-Type; it may be missing.
	signatureType = "WECHATPAY2-SHA256-RSA2048"
	// testSignature begins a signature that is wrong on purpose.
	testSignature = "WECHATPAY/SIGNTEST/"
	// maxClockSkew is how far the timestamp of a notification may be off.
	maxClockSkew = 5 * time.Minute
)

// CheckHeaders checks the headers of a notification. That needs neither the body nor a
// key. The error is SIGNATURE_INVALID or SIGNATURE_TEST as in [Client.Notification]. It
// quotes nothing of the request, because anybody may have sent it.
func CheckHeaders(header http.Header) error {
	serial := header.Get(consts.WechatPaySerial)
	signature := header.Get(consts.WechatPaySignature)
	stamp := header.Get(consts.WechatPayTimestamp)
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	at := time.Unix(seconds, 0)
	switch kind := header.Get("Wechatpay-Signature-Type"); {
	case kind != "" && kind != signatureType:
		err = errors.New("Wechatpay-Signature-Type is not " + signatureType)
	case err != nil || strconv.FormatInt(seconds, 10) != stamp:
		err = errors.New("Wechatpay-Timestamp is missing or malformed")
	case wallclock.Since(at).Abs() > maxClockSkew:
		err = errors.New("Wechatpay-Timestamp is off by more than 5 minutes")
	case !isVisible(header.Get(consts.WechatPayNonce), 128):
		err = errors.New("Wechatpay-Nonce is missing or malformed")
	case !isKeySerial(serial):
		err = errors.New("Wechatpay-Serial is missing or malformed")
	case strings.HasPrefix(signature, testSignature):
		return apierror.SignatureTest(errors.New("the signature begins with " + testSignature))
	case !isVisible(signature, 1024):
		err = errors.New("Wechatpay-Signature is missing or malformed")
	}
	if err != nil {
		return apierror.SignatureInvalid(err)
	}
	return nil
}

// isVisible reports whether a text consists of 1 to max visible ASCII characters. If a
// nonce could contain a line break, a part of the body could pass for the nonce, because
// line breaks separate the two in the signed message.
func isVisible(text string, max int) bool {
	return 0 < len(text) && len(text) <= max && validation.HalfWidth(text) == ""
}

// isKeySerial reports whether a text looks like the ID of a public key or the serial
// number of a platform certificate.
func isKeySerial(text string) bool {
	id, isPublicKey := strings.CutPrefix(text, publicKeyPrefix)
	digits := "0123456789abcdefABCDEF"
	if isPublicKey {
		digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	}
	return 0 < len(id) && len(id) <= 64 && strings.Trim(id, digits) == ""
}

type encryptedResource struct{ ciphertext, nonce, associatedData string }

// parseNotification parses the body of a notification. Unknown members are allowed,
// because WeChat Pay may add some. Names are compared case-sensitively.
func parseNotification(body []byte) (*Notification, encryptedResource, error) {
	var document json.RawMessage
	faults := strictjson.DecodeAll(body, &document)
	// The signature proves that a U+FFFD is WeChat Pay's own: no reason to lose the event.
	faults = slices.DeleteFunc(faults, func(f strictjson.Fault) bool { return f.Issue == strictjson.NotUnicode })
	if len(faults) > 0 {
		return nil, encryptedResource{}, errors.New("the body " + faults[0].Issue)
	}
	var outer, resource map[string]json.RawMessage
	if json.Unmarshal(document, &outer) != nil || json.Unmarshal(outer["resource"], &resource) != nil {
		return nil, encryptedResource{}, errors.New("the body has no object resource")
	}
	var n Notification
	var e encryptedResource
	var resourceType, algorithm string
	for _, member := range []struct {
		object   map[string]json.RawMessage
		name     string
		into     *string
		optional bool
		empty    bool // may be empty
	}{
		{object: outer, name: "id", into: &n.ID},
		{object: outer, name: "create_time", into: &n.CreateTime},
		{object: outer, name: "event_type", into: &n.EventType},
		{object: outer, name: "resource_type", into: &resourceType},
		{object: outer, name: "summary", into: &n.Summary, empty: true},
		{object: resource, name: "algorithm", into: &algorithm},
		{object: resource, name: "original_type", into: &n.OriginalType, empty: true},
		{object: resource, name: "ciphertext", into: &e.ciphertext},
		{object: resource, name: "nonce", into: &e.nonce},
		{object: resource, name: "associated_data", into: &e.associatedData, optional: true, empty: true},
	} {
		value := member.object[member.name]
		there := value != nil && string(value) != "null"
		if !there && member.optional {
			continue
		}
		if !there || json.Unmarshal(value, member.into) != nil || *member.into == "" && !member.empty {
			return nil, e, fmt.Errorf("%s is missing, empty or not a string", member.name)
		}
	}
	const nonceSize = 12 // GCM panics with another size
	var isTime bool
	n.CreatedAt, isTime = validation.ParseTime(n.CreateTime)
	_, corrupt := base64.StdEncoding.DecodeString(e.ciphertext)
	switch {
	case !isTime:
		return nil, e, errors.New("create_time is not RFC 3339")
	case utf8.RuneCountInString(n.EventType) > 128:
		return nil, e, errors.New("event_type has more than 128 characters")
	case resourceType != "encrypt-resource":
		return nil, e, errors.New("resource_type is not encrypt-resource")
	case algorithm != "AEAD_AES_256_GCM":
		return nil, e, errors.New("algorithm is not AEAD_AES_256_GCM")
	case len(e.nonce) != nonceSize:
		return nil, e, errors.New("nonce does not have 12 bytes")
	case corrupt != nil:
		return nil, e, errors.New("ciphertext is not base64")
	}
	return &n, e, nil
}

func (k *keyring) decryptResource(e encryptedResource) (json.RawMessage, error) {
	if k.apiv3Key == "" {
		return nil, errors.New("the merchant's secret has no apiv3_key, and notifications can't be read without it")
	}
	plaintext, err := utils.DecryptAES256GCM(k.apiv3Key, e.associatedData, e.nonce, e.ciphertext)
	if err != nil {
		return nil, errors.New("the secret's apiv3_key does not decrypt WeChat Pay's notification")
	}
	return json.RawMessage(plaintext), nil
}
