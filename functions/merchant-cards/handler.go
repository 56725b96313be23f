package main

import (
	"cmp"
	"context"

	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/validation"
)

// list returns the card_id and code of a user's merchant cards
// (查询用户在品牌下所有会员卡API, 2024-11-18):
// GET /v3/marketing/membercard-open/user/cards?openid=…&offset=0&limit=20, with an optional
// appid.
func list(ctx context.Context, wechatpay *signing.Client, r *gateway.Request) (*gateway.Response, error) {
	query, err := r.Query("openid", "appid", "offset", "limit")
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(
		query.Check("openid", validation.Required, validation.MaxLength(128)),
		query.Check("appid", validation.MaxLength(32)),
		query.CheckPage(),
	); err != nil {
		return nil, err
	}
	return gateway.PassObject(wechatpay.Get(ctx, "/v3/marketing/membercard-open/user/cards"+query.Encode()))
}
