// Package brandcard has what several programs say to WeChat Pay about a user's brand card.
package brandcard

import (
	"net/url"

	"membercard/shared/gateway"
	"membercard/shared/strictjson"
)

// Effective is the user_card_state of a member's card.
const Effective = "EFFECTIVE"

// Card names a user's brand card. All fields are required.
type Card struct{ UserCardCode, BrandID, CardID, OpenID string }

// Path returns the path and query of the operation that returns the card
// (查询用户会员卡信息, 2025-06-22): GET …/user-cards/{user_card_code}. WeChat Pay allows 5 calls
// a second per merchant number.
func (c Card) Path() string {
	query := gateway.Query{{"brand_id", c.BrandID}, {"card_id", c.CardID}, {"openid", c.OpenID}}
	return "/v3/brand/partner/card-member/user-cards/" + url.PathEscape(c.UserCardCode) + query.Encode()
}

// State returns the user_card_state of an answer to that operation: UNACTIVATED, EFFECTIVE,
// EXPIRED or INVALID, or "" if it has none.
func State(answer []byte) (state string) {
	strictjson.Member(answer, "user_card_state", &state)
	return state
}
