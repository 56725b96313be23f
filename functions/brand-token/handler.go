package main

import (
	"cmp"
	"context"
	"errors"

	"membercard/shared/apierror"
	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// request is the body of the brand pre-authorisation (入会组件预授权, 2025-06-24).
type request struct {
	BrandID string `json:"brand_id"`
	CardID  string `json:"card_id"`
	OpenID  string `json:"openid"`
}

func (r *request) validate() error {
	return cmp.Or(
		validation.Check("/body/brand_id", r.BrandID, validation.Required, validation.MaxLength(32)),
		validation.Check("/body/card_id", r.CardID, validation.Required, validation.CardID),
		validation.CheckPrivate("/body/openid", r.OpenID, validation.Required, validation.MaxLength(128)),
	)
}

// The operation has two paths: the one in the document of June 2025, and the one on the
// vendor's page since November 2025.
const (
	openUserCardTokens = "/v3/brand/partner/card-member/open-user-card-tokens"
	preAuthTokens      = "/v3/brand/partner/card-member/pre-auth-tokens"
)

// mint returns a token for a user of a brand:
// POST /v3/brand/partner/card-member/open-user-card-tokens, or …/pre-auth-tokens. It calls
// WeChat Pay at the path of the request.
func mint(ctx context.Context, wechatpay *signing.Client, r *gateway.Request) (*gateway.Response, error) {
	path := r.Path()
	if path != openUserCardTokens && path != preAuthTokens {
		return nil, apierror.NotFound()
	}
	var body request
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	body.OpenID = cmp.Or(body.OpenID, r.OpenID())
	if err := body.validate(); err != nil {
		return nil, err
	}
	// With a JWT that does not know openids, the page has to say who its user is.
	if !r.HasJWTWithoutOpenID() {
		if err := r.RequireOwnOpenID(body.OpenID, "/body/openid"); err != nil {
			return nil, err
		}
	}
	answer, err := wechatpay.Post(ctx, path, body)
	if err != nil {
		return nil, advice.Apply(err)
	}
	var token, expireTime string
	strictjson.Member(answer.Body, "token", &token)
	strictjson.Member(answer.Body, "expire_time", &expireTime)
	if _, ok := validation.ParseTime(expireTime); token == "" || !ok {
		return nil, answer.Invalid(errors.New("the answer has no token with an expire_time"))
	}
	return gateway.Pass(answer, nil)
}
