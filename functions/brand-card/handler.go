package main

import (
	"cmp"
	"context"

	"membercard/shared/brandcard"
	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/validation"
)

// query returns a user's brand card (查询用户会员卡信息, 2025-06-22):
// GET /v3/brand/partner/card-member/user-cards/{user_card_code}?brand_id=…&card_id=…&openid=….
func query(ctx context.Context, wechatpay *signing.Client, r *gateway.Request) (*gateway.Response, error) {
	query, err := r.Query("brand_id", "card_id", "openid")
	if err != nil {
		return nil, err
	}
	card := brandcard.Card{UserCardCode: r.PathParameter("user_card_code"), BrandID: query.Get("brand_id"), CardID: query.Get("card_id"), OpenID: query.Get("openid")}
	if err := cmp.Or(
		validation.CheckPrivate("/path/user_card_code", card.UserCardCode, validation.Required, validation.Code),
		query.Check("brand_id", validation.Required, validation.MaxLength(32)),
		query.Check("card_id", validation.Required, validation.CardID),
		query.Check("openid", validation.Required, validation.MaxLength(128)),
	); err != nil {
		return nil, err
	}
	return gateway.PassObject(wechatpay.Get(ctx, card.Path()))
}
