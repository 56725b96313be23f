package wechatpaytest

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
)

// Encrypt encrypts a text with a merchant's APIv3 key (AEAD_AES_256_GCM), as WeChat Pay
// does. The nonce may have any length.
func Encrypt(plaintext, associatedData, nonce, apiv3Key string) (ciphertext string) {
	block, err := aes.NewCipher([]byte(apiv3Key))
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(nonce))
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(gcm.Seal(nil, []byte(nonce), []byte(plaintext), []byte(associatedData)))
}

// Created is the decrypted resource of a notification about a new brand card. It has
// numbers and escapes that would change if it were decoded and encoded again.
const Created = `{"brand_id":"1004", "card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"obLatjnx9gnqzS4myYGmLZ7LgLBA",` +
	`"user_card_code":"478515832665000000000001","phone_number":"\u0031\u0033800138000","nickname":"<张三&>","bonus":12345678901234567890.10}`

// NotificationID is the id of every notification that this package makes.
const NotificationID = "EV-2018022511223320873"

// Document returns the members of a notification and of its resource, so that a test can
// change them before [Encode].
func Document(eventType, plaintext, apiv3Key string) (outer, resource map[string]any) {
	const associatedData, nonce = "user_card", "fdasflkja484"
	resource = map[string]any{
		"algorithm": "AEAD_AES_256_GCM", "original_type": "user_card", "nonce": nonce, "associated_data": associatedData,
		"ciphertext": Encrypt(plaintext, associatedData, nonce, apiv3Key),
	}
	return map[string]any{
		"id": NotificationID, "create_time": "2025-06-22T10:34:56+08:00", "event_type": eventType,
		"resource_type": "encrypt-resource", "summary": "用户开卡", "resource": resource,
	}, resource
}

// Notification returns the body of a notification.
func Notification(eventType, plaintext, apiv3Key string) string {
	outer, _ := Document(eventType, plaintext, apiv3Key)
	return Encode(outer)
}

// Encode returns the JSON of a notification.
func Encode(outer map[string]any) string {
	body, err := json.Marshal(outer)
	if err != nil {
		panic(err)
	}
	return string(body)
}
