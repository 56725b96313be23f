package wechatpay

// This file has the users' cards, what users do with them, and the operations on them.

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"membercard/wechat/sandbox"
)

// States of a user's card.
const (
	Unactivated = "UNACTIVATED" // to be confirmed or activated
	Effective   = "EFFECTIVE"   // the user is a member
	Invalid     = "INVALID"     // refused by the merchant, or deleted by the user
)

// UserCard is a user's card.
type UserCard struct {
	BrandID  string // empty for a merchant card
	CardID   string // of the template
	OpenID   string
	Code     string // 24 digits for a brand card, 12 for a merchant card
	State    string
	Opened   time.Time
	OuterStr string

	// Parameters of the jump to the merchant's page, for JUMP_ACTIVATE.
	EncryptCode    string // contains + and /
	ActivateTicket string // contains +, / and =

	ConfirmState     string // the merchant's user_card_confirm_state; empty until it confirms
	Confirmations    int    // those that took effect: 0 or 1
	Repetitions      int    // those after it, which had no effect
	MembershipNumber string // empty until the card is activated

	validDate json.RawMessage
	merchant  *account // who requested the token; nil for the sandbox's own merchant
}

// token allows a user to open one card with the component.
type token struct {
	merchant   *account
	brandID    string // empty for a merchant card
	cardID     string
	openid     string            // empty for any user
	expires    time.Time         // zero for never
	permission map[string]string // the request for a permission_token, 商户预授权
	used       bool
}

// Jump is where the component sends a user for the activation of a card: a page, or a
// mini program.
type Jump struct {
	URL string

	AppID     string
	Path      string
	ExtraData map[string]string
}

// OpenCard opens a card for a user, as the component does, and notifies the merchant. The
// token is a permission_token, or a brand token, which is valid for one user and expires
// after an hour. A token opens one card. The jump is nil unless the card was
// pre-authorized with JUMP_ACTIVATE.
//
// A brand card is UNACTIVATED until the merchant confirms it. A merchant card is
// UNACTIVATED until it is activated: by WeChat Pay at once for AUTO_ACTIVATE, otherwise by
// the merchant.
func (s *Sandbox) OpenCard(value, openid string) (UserCard, *Jump, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[value]
	switch {
	case t == nil:
		return UserCard{}, nil, errors.New("wechatpay: the token is unknown")
	case t.used:
		return UserCard{}, nil, errors.New("wechatpay: the token has been used")
	case !t.expires.IsZero() && !s.now().Before(t.expires):
		return UserCard{}, nil, errors.New("wechatpay: the token has expired")
	case t.openid != "" && t.openid != openid:
		return UserCard{}, nil, errors.New("wechatpay: the token is another user's")
	}
	t.used = true
	c := newUserCard(t.brandID, t.cardID, openid, s.now())
	c.merchant = t.merchant
	s.cards = append(s.cards, c)
	if t.brandID != "" {
		s.notifyBrand(c, notification{event: brandCardCreated}, "用户开通会员卡通知")
		return *c, nil, nil
	}
	c.OuterStr = t.permission["outer_str"]
	s.notifyMerchant(c, "MEMBERCARD.ACCEPT_CARD", "会员卡领卡通知", map[string]string{"event_type": "MEMBER_CARD_ACCEPT"})
	if t.permission["activate_type"] == "AUTO_ACTIVATE" {
		s.activate(c, c.Code)
		return *c, nil, nil
	}
	c.EncryptCode, c.ActivateTicket = sandbox.RandomBase64(33), sandbox.RandomBase64(64)
	return *c, c.jump(t.permission), nil
}

// jump returns where the user is sent. A mini program takes precedence over a page
// (商户预授权).
func (c *UserCard) jump(permission map[string]string) *Jump {
	if id := permission["activate_appid"]; id != "" {
		return &Jump{AppID: id, Path: permission["activate_path"], ExtraData: map[string]string{
			"card_id": c.CardID, "code": c.Code, "openid": c.OpenID, "activate_ticket": c.ActivateTicket, "outer_str": c.OuterStr,
		}}
	}
	page, fragment, _ := strings.Cut(permission["activate_url"], "#")
	separator := "?"
	if strings.Contains(page, "?") {
		separator = "&"
	}
	// encrypt_code is not escaped, because the merchant must send it back unchanged.
	page += separator + "card_id=" + url.QueryEscape(c.CardID) + "&encrypt_code=" + c.EncryptCode +
		"&openid=" + url.QueryEscape(c.OpenID) + "&activate_ticket=" + url.QueryEscape(c.ActivateTicket) +
		"&outer_str=" + url.QueryEscape(c.OuterStr)
	if fragment != "" {
		page += "#" + fragment
	}
	return &Jump{URL: page}
}

// Forge opens a brand card and sends the merchant a forged notification: it names WeChat
// Pay's key but is signed with another one. The merchant should reject it, so that the card
// remains UNACTIVATED.
func (s *Sandbox) Forge(brandID, cardID, openid string) UserCard {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := newUserCard(brandID, cardID, openid, s.now())
	s.cards = append(s.cards, c)
	s.notifyBrand(c, notification{event: brandCardCreated, forged: true}, "用户开通会员卡通知")
	return *c
}

// DeleteCard deletes a user's card, as the user does, and notifies the merchant. It reports
// whether there was a card with the code.
func (s *Sandbox) DeleteCard(code string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.findCard(func(c *UserCard) bool { return c.Code == code && c.State != Invalid })
	if c == nil {
		return false
	}
	c.State = Invalid
	if c.BrandID != "" {
		s.notifyBrand(c, notification{event: "BRAND_MEMBER_CARD_SP.USER_CARD.DELETE"}, "用户删除会员卡通知")
	} else {
		s.notifyMerchant(c, "MEMBERCARD.USERCARD_MANAGE", "用户管理会员卡通知", map[string]string{"event_type": "USER_DELETE_MEMBERCARD"})
	}
	return true
}

// UserCards returns all users' cards. The first two are samples that exist from the start
// without a notification: an unconfirmed brand card, and a merchant card that can be
// activated with the parameters of a jump.
func (s *Sandbox) UserCards() []UserCard {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cards []UserCard
	for _, c := range s.cards {
		cards = append(cards, *c)
	}
	return cards
}

// UserCard returns the user's card with a code.
func (s *Sandbox) UserCard(code string) (c UserCard, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.findCard(func(c *UserCard) bool { return c.Code == code })
	if found == nil {
		return UserCard{}, false
	}
	return *found, true
}

// findCard returns the first card for which is returns true, or nil. The caller holds
// s.mu.
func (s *Sandbox) findCard(is func(*UserCard) bool) *UserCard {
	i := slices.IndexFunc(s.cards, is)
	if i < 0 {
		return nil
	}
	return s.cards[i]
}

func newUserCard(brandID, cardID, openid string, now time.Time) *UserCard {
	digits := 12
	if brandID != "" {
		digits = 24
	}
	return &UserCard{
		BrandID: brandID, CardID: cardID, OpenID: openid, Code: sandbox.RandomDigits(digits), State: Unactivated, Opened: now,
		validDate: json.RawMessage(`{"type":"PERMANENT"}`),
	}
}

func sampleCards(now time.Time) []*UserCard {
	const cardID, openid = "pbLatjvWOibDc5-TBnbUk1pD12o0", "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	brand, merchant := newUserCard("1004", cardID, openid, now), newUserCard("", cardID, openid, now)
	merchant.EncryptCode, merchant.ActivateTicket = sandbox.RandomBase64(33), sandbox.RandomBase64(64)
	return []*UserCard{brand, merchant}
}

// unknownCard refuses a card, code or ticket that does not exist.
func unknownCard() *refusal {
	return refuse(http.StatusNotFound, "RESOURCE_NOT_EXISTS", "用户会员卡不存在")
}

// confirmBrandCard is 同步会员开通结果, for codes that WeChat Pay has allocated.
func (s *Sandbox) confirmBrandCard(r *Request) (any, *refusal) {
	if r.Header.Get("Wechatpay-Serial") == "" {
		return nil, serialRequired()
	}
	code := r.segment("user_card_code")
	if refused := checkPath("user_card_code", "用户会员卡code", code); refused != nil {
		return nil, refused
	}
	given, refused := parse(r, []field{
		{name: "brand_id", title: "品牌ID", required: true, max: 32},
		{name: "card_id", title: "会员卡模板 ID", required: true, max: 32},
		{name: "openid", title: "用户标识", required: true, max: 128},
		{name: "user_card_confirm_state", title: "用户会员卡确认状态", required: true, check: checkOneOf("CREATE_CARD_SUCCESS", "CREATE_CARD_FAIL")},
		{name: "card_color", title: "会员卡颜色", check: checkColor},
		{name: "card_picture_url", title: "会员卡图片", max: 256},
		{name: "phone_number", title: "手机号", max: 512},
		{name: "user_information", title: "用户信息", kind: object},
		{name: "level", title: "会员等级"},
		{name: "valid_date_information", title: "有效期信息", kind: object, members: []field{
			{name: "type", title: "有效期类型", required: true, check: checkOneOf("FIX_TIME_RANGE", "FIX_TERM", "PERMANENT")},
			{name: "available_begin_time", title: "有效期开始时间", check: checkTime},
			{name: "available_end_time", title: "有效期结束时间", check: checkTime},
			{name: "available_day_after_receive", title: "领取后有效天数", kind: integer},
		}},
		{name: "attach", title: "附加信息"},
	})
	if refused != nil {
		return nil, refused
	}
	if refused := s.checkPersonal(r, given); refused != nil {
		return nil, refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if refused := s.confirmations.take(r.Time); refused != nil {
		return nil, refused
	}
	c := s.findCard(func(c *UserCard) bool { return c.BrandID != "" && c.Code == code })
	switch {
	case c == nil:
		return nil, unknownCard()
	case c.BrandID != given["brand_id"] || c.CardID != given["card_id"] || c.OpenID != given["openid"]:
		return nil, refuse(http.StatusBadRequest, "INVALID_REQUEST", "品牌ID、会员卡模板ID或用户标识与用户会员卡不匹配")
	case c.Confirmations > 0:
		c.Repetitions++
		return nil, refuse(http.StatusBadRequest, "INVALID_REQUEST", "用户会员卡已确认，请勿重复确认")
	case c.State != Unactivated:
		return nil, refuse(http.StatusBadRequest, "INVALID_REQUEST", "用户会员卡已失效")
	}
	c.Confirmations, c.ConfirmState = 1, given["user_card_confirm_state"]
	c.State = Effective
	if c.ConfirmState == "CREATE_CARD_FAIL" {
		c.State = Invalid
	}
	if validDate := given["valid_date_information"]; validDate != "" {
		c.validDate = json.RawMessage(validDate)
	}
	return c.resource(), nil
}

// resource returns a brand card as WeChat Pay shows it to the merchant.
func (c *UserCard) resource() map[string]any {
	return map[string]any{
		"user_card_code":         c.Code,
		"card_id":                c.CardID,
		"openid":                 c.OpenID,
		"brand_id":               c.BrandID,
		"card_type":              "NORMAL",
		"valid_date_information": c.validDate,
		"pickup_time":            rfc3339(c.Opened),
		"user_card_state":        c.State,
	}
}

// checkPersonal checks that personal data is encrypted: phone_number, and every value and
// value_list in user_information.
func (s *Sandbox) checkPersonal(r *Request, given map[string]string) *refusal {
	if phone := given["phone_number"]; phone != "" {
		if _, refused := s.decrypt(r, "/phone_number", phone); refused != nil {
			return refused
		}
	}
	if given["user_information"] == "" {
		return nil
	}
	var information any
	sandbox.MustUnmarshal([]byte(given["user_information"]), &information)
	return s.checkValues(r, "/user_information", information, false)
}

// checkValues checks that every value and value_list in v is encrypted. isValue means that
// v itself is one of these.
func (s *Sandbox) checkValues(r *Request, pointer string, v any, isValue bool) (refused *refusal) {
	switch v := v.(type) {
	case string:
		if isValue {
			_, refused = s.decrypt(r, pointer, v)
		}
	case []any:
		for i, element := range v {
			if refused == nil {
				refused = s.checkValues(r, fmt.Sprintf("%s/%d", pointer, i), element, isValue)
			}
		}
	case map[string]any:
		for name, member := range v {
			if refused == nil {
				refused = s.checkValues(r, pointer+"/"+name, member, name == "value" || name == "value_list")
			}
		}
	}
	return refused
}

// merchantCard returns the merchant card that the path names. The caller holds s.mu.
func (s *Sandbox) merchantCard(r *Request) (*UserCard, *refusal) {
	cardID, code := r.segment("card_id"), r.segment("code")
	c := s.findCard(func(c *UserCard) bool {
		return c.BrandID == "" && c.CardID == cardID && c.Code == code && c.State != Invalid
	})
	if c == nil {
		return nil, unknownCard()
	}
	return c, nil
}

// activateCard is 激活会员卡.
func (s *Sandbox) activateCard(r *Request) (any, *refusal) {
	given, refused := parse(r, []field{{name: "membership_number", title: "会员卡编号", max: 32, check: checkHalfWidth}})
	if refused != nil {
		return nil, refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, refused := s.merchantCard(r)
	if refused != nil {
		return nil, refused
	}
	if c.State == Effective {
		return nil, refuse(http.StatusBadRequest, "INVALID_REQUEST", "用户会员卡已激活")
	}
	number := given["membership_number"]
	if number == "" {
		number = c.Code
	}
	s.activate(c, number)
	return nil, nil
}

// activate makes the user of a merchant card a member. The caller holds s.mu.
func (s *Sandbox) activate(c *UserCard, membershipNumber string) {
	c.State, c.MembershipNumber = Effective, membershipNumber
	s.notifyMerchant(c, "MEMBERCARD.ACTIVATE_CARD", "会员卡激活通知",
		map[string]string{"event_type": "MEMBER_CARD_ACTIVATE", "activate_scene": "NEW_ACTIVATE"})
}

// confirmMerchantCard is 确认开卡结果. Its document does not describe the answer.
func (s *Sandbox) confirmMerchantCard(r *Request) (any, *refusal) {
	given, refused := parse(r, []field{
		{name: "user_card_confirm_state", title: "用户会员卡确认状态", required: true,
			check: checkOneOf("CREATE_CARD_SUCCESS", "CREATE_CARD_FAIL", "CREATE_CARD_ALREADY_EXISTS", "DEFAULT")},
		{name: "fail_reason", title: "失败原因", max: 128},
	})
	if refused != nil {
		return nil, refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, refused := s.merchantCard(r)
	if refused != nil {
		return nil, refused
	}
	if c.Confirmations > 0 {
		c.Repetitions++
		return nil, nil
	}
	c.Confirmations, c.ConfirmState = 1, given["user_card_confirm_state"]
	return nil, nil
}

// activateInformation is 查询用户填写的激活信息. The ticket must be escaped, once and
// completely, as one segment of the path.
func (s *Sandbox) activateInformation(r *Request) (any, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	segment := r.segments["activate_ticket"]
	c := s.findCard(func(c *UserCard) bool {
		return c.ActivateTicket != "" && url.QueryEscape(c.ActivateTicket) == segment && c.State != Invalid
	})
	if c == nil {
		return nil, unknownCard()
	}
	type item struct {
		Name      string   `json:"name"`
		Value     string   `json:"value"`
		ValueList []string `json:"value_list,omitempty"`
	}
	return map[string]any{
		"nickname":       "张三",
		"head_image_url": "https://wx.qlogo.cn/mmopen/sandbox/0",
		"user_information": map[string]any{
			"common_field_list": []item{{Name: "USER_FORM_INFO_FLAG_MOBILE", Value: "13900000000"}},
			"custom_field_list": []item{{Name: "兴趣", ValueList: []string{"咖啡", "电影"}}},
		},
	}, nil
}

// decryptCode is 解密code. The query must have encrypt_code byte for byte as it is in the
// jump.
func (s *Sandbox) decryptCode(r *Request) (any, *refusal) {
	_, query, _ := strings.Cut(r.URI, "?")
	given, ok := strings.CutPrefix(query, "encrypt_code=")
	if !ok || given == "" {
		return nil, invalid("query", "encrypt_code", "", "缺少加密code")
	}
	if len(given) > 128 {
		return nil, invalid("query", "encrypt_code", given, lengthIssue("/query/encrypt_code", "加密code", len(given), 1, 128))
	}
	cardID := r.segment("card_id")
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.findCard(func(c *UserCard) bool {
		return c.EncryptCode == given && c.CardID == cardID && c.State != Invalid
	})
	if c == nil {
		return nil, invalid("query", "encrypt_code", given, "加密code无效")
	}
	return map[string]string{"code": c.Code}, nil
}
