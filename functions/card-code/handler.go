package main

import (
	"context"
	"errors"
	"net/url"

	"membercard/shared/gateway"
	"membercard/shared/officialaccount"
	"membercard/shared/validation"
)

// request is the body of POST /card/code/decrypt (Code解码).
type request struct {
	EncryptCode string `json:"encrypt_code"`
}

// decrypt returns the code that an encrypt_code stands for: POST /card/code/decrypt.
func decrypt(ctx context.Context, wechat *officialaccount.Client, r *gateway.Request) (*gateway.Response, error) {
	var body request
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	// For an encrypt_code that is still percent-encoded, WeChat answers errcode 0 and a
	// garbled code.
	if decoded, err := url.PathUnescape(body.EncryptCode); err == nil {
		body.EncryptCode = decoded
	}
	if err := validation.CheckPrivate("/body/encrypt_code", body.EncryptCode, validation.Required, validation.Alphanumeric(256, "+/=-_")); err != nil {
		return nil, err
	}
	answer, err := wechat.Post(ctx, "/card/code/decrypt", body)
	if err != nil {
		return nil, err
	}
	code, err := officialaccount.Generated(answer, "code")
	if err != nil {
		return nil, err
	}
	if len(code) > 64 {
		return nil, answer.Invalid(errors.New("the answer's code has more than 64 characters"))
	}
	return gateway.Pass(answer, nil)
}
