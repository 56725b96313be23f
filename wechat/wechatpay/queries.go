package wechatpay

import (
	"cmp"
	"strconv"
	"time"

	"membercard/wechat/sandbox"
)

// stateAt returns the state of a card, which may have expired. An unconfirmed card does not
// expire.
func (c *UserCard) stateAt(now time.Time) string {
	var valid struct {
		End  *time.Time `json:"available_end_time"`
		Days int        `json:"available_day_after_receive"`
	}
	sandbox.MustUnmarshal(c.validDate, &valid)
	end := c.Opened.AddDate(0, 0, valid.Days)
	if valid.End != nil {
		end = *valid.End
	}
	if c.State == Effective && end.After(c.Opened) && !now.Before(end) {
		return Expired
	}
	return c.State
}

// resource returns a brand card as WeChat Pay shows it to the merchant.
func (s *Sandbox) resource(c *UserCard) map[string]any {
	shown := map[string]any{
		"user_card_code":         c.Code,
		"card_id":                c.CardID,
		"openid":                 c.OpenID,
		"brand_id":               c.BrandID,
		"card_type":              "NORMAL",
		"valid_date_information": c.validDate,
		"pickup_time":            rfc3339(c.Opened),
		"user_card_state":        c.stateAt(s.now()),
	}
	if !c.invalidated.IsZero() {
		shown["invalid_time"], shown["invalid_reason"] = rfc3339(c.invalidated), c.invalidReason
	}
	return shown
}

// givenBrandCard returns the card that a request names.
func (s *Sandbox) givenBrandCard(r *Request) (*UserCard, error) {
	c, given := s.brandCard(r.Segment("user_card_code")), r.Given
	switch {
	case c == nil:
		return nil, errUnknownCard
	case c.BrandID != given["brand_id"] || c.CardID != given["card_id"] || c.OpenID != given["openid"]:
		return nil, invalidRequest("品牌ID、会员卡模板ID或用户标识与用户会员卡不匹配")
	}
	return c, nil
}

func (s *Sandbox) queryBrandCard(r *Request) (any, error) {
	c, err := s.givenBrandCard(r)
	if err != nil {
		return nil, err
	}
	return s.resource(c), nil
}

// listBrandCards returns a part of the list. offset is the position of its first card.
func (s *Sandbox) listBrandCards(r *Request) (any, error) {
	var found []any
	for _, c := range s.cards {
		shown, given := s.resource(c), r.Given
		if c.BrandID != "" && c.BrandID == given["brand_id"] && c.OpenID == given["openid"] && cmp.Or(given["user_card_state"], c.stateAt(s.now())) == shown["user_card_state"] {
			found = append(found, shown)
		}
	}
	return list(r, found, 1), nil
}

// queryMerchantCard returns a card, also a deleted one.
func (s *Sandbox) queryMerchantCard(r *Request) (any, error) {
	c := s.findCard(func(c *UserCard) bool {
		return c.BrandID == "" && c.CardID == r.Segment("card_id") && c.Code == r.Segment("code")
	})
	if c == nil {
		return nil, errUnknownCard
	}
	status := map[string]string{Unactivated: "NOT_ACTIVATE", Effective: "EFFECTIVE", Expired: "EXPIRE", Invalid: "UNAVAILABLE"}[c.stateAt(s.now())]
	if c.deleted {
		status = "DELETE"
	}
	return map[string]any{
		"card_id": c.CardID, "code": c.Code, "openid": c.OpenID, "membership_number": c.MembershipNumber, "user_card_status": status,
		"nickname": "张三", "head_image_url": "https://wx.qlogo.cn/mmopen/sandbox/0", "level": "普通会员", "bonus_value": 0, "balance": 0,
	}, nil
}

// listMerchantCards returns a page of the list, also of deleted cards. offset is the page's
// number, from 0.
func (s *Sandbox) listMerchantCards(r *Request) (any, error) {
	var found []any
	for _, c := range s.cards {
		if c.BrandID == "" && c.OpenID == r.Given["openid"] {
			found = append(found, map[string]string{"card_id": c.CardID, "code": c.Code})
		}
	}
	limit, _ := strconv.Atoi(r.Given["limit"])
	return list(r, found, limit), nil
}

// list returns the part of a list that a request asks for. unit is how many cards offset
// counts as one.
func list(r *Request, found []any, unit int) map[string]any {
	offset, _ := strconv.Atoi(r.Given["offset"]) // integers, by the table
	limit, _ := strconv.Atoi(r.Given["limit"])
	answer := map[string]any{"total_count": len(found), "offset": offset, "limit": limit}
	from := min(min(offset, len(found))*unit, len(found))
	if part := found[from:min(from+limit, len(found))]; len(part) > 0 {
		answer["data"] = part
	}
	return answer
}

// InvalidateCard makes a card invalid, as the merchant does with WeChat Pay's operations for
// it. It reports whether there was a card with the code.
func (s *Sandbox) InvalidateCard(code, reason string) (done bool) {
	s.Do(func() {
		if c := s.findCard(func(c *UserCard) bool { return c.Code == code }); c != nil {
			s.invalidate(c, reason)
			done = true
		}
	})
	return done
}

func (s *Sandbox) invalidate(c *UserCard, reason string) {
	c.State, c.invalidated, c.invalidReason = Invalid, s.now(), reason
}
