package main

import (
	"context"

	"membercard/shared/gateway"
	"membercard/shared/officialaccount"
	"membercard/shared/strictjson"
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
	r.Redact(body.EncryptCode)
	if err := validation.CheckPrivate("/body/encrypt_code", body.EncryptCode, validation.Required, validation.MaxLength(256)); err != nil {
		return nil, err
	}
	content, err := strictjson.Encode(body)
	if err != nil {
		return nil, err
	}
	answer, err := wechat.Post(ctx, "/card/code/decrypt", content)
	if err != nil {
		return nil, err
	}
	if _, err := answer.Text("code"); err != nil {
		return nil, err
	}
	return gateway.Pass(answer), nil
}
