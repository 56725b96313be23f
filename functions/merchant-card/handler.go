package main

import (
	"cmp"
	"context"

	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/validation"
)

// query returns a user's merchant card (查询用户会员卡信息API, 2024-11-18):
// GET /v3/marketing/membercard-open/cards/{card_id}/codes/{code}. A dynamic code works too.
func query(ctx context.Context, wechatpay *signing.Client, r *gateway.Request) (*gateway.Response, error) {
	cardID, code := r.PathParameter("card_id"), r.PathParameter("code")
	if _, err := r.Query(); err != nil { // the document has none
		return nil, err
	}
	if err := cmp.Or(
		validation.Check("/path/card_id", cardID, validation.Required, validation.CardID),
		validation.CheckPrivate("/path/code", code, validation.Required, validation.Code),
	); err != nil {
		return nil, err
	}
	return gateway.PassObject(wechatpay.Get(ctx, "/v3/marketing/membercard-open/cards/"+cardID+"/codes/"+code))
}
