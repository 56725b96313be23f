package main

import (
	"cmp"
	"context"

	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/validation"
)

// list returns a user's cards of a brand (查询用户在品牌下所有会员卡, 2025-07-25):
// GET /v3/brand/partner/card-member/user-cards?brand_id=…&openid=…&offset=0&limit=20, with an
// optional user_card_state.
func list(ctx context.Context, wechatpay *signing.Client, r *gateway.Request) (*gateway.Response, error) {
	query, err := r.Query("brand_id", "openid", "user_card_state", "offset", "limit")
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(
		query.Check("brand_id", validation.Required, validation.MaxLength(32)),
		query.Check("openid", validation.Required, validation.MaxLength(128)),
		query.Check("user_card_state", validation.OneOf("UNACTIVATED", "EFFECTIVE", "EXPIRED", "INVALID")),
		query.CheckPage(),
	); err != nil {
		return nil, err
	}
	return gateway.PassObject(wechatpay.Get(ctx, "/v3/brand/partner/card-member/user-cards"+query.Encode()))
}
