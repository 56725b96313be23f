package wechatpay

import (
	"cmp"
	"crypto/rand"
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
	Expired     = "EXPIRED"     // no longer valid by valid_date_information
	Invalid     = "INVALID"     // refused or made invalid by the merchant, or deleted by the user
)

// UserCard is a user's card.
type UserCard struct {
	BrandID  string // empty for a merchant card
	CardID   string // of the template
	OpenID   string
	Code     string // 24 digits for a brand card, 12 for a merchant card
	State    string // not Expired: queries compare times
	Opened   time.Time
	OuterStr string

	// Parameters of the jump to the merchant's page, for JUMP_ACTIVATE. Those of the card that
	// the sandbox has from the start are plain, because versions of curl sign others wrongly.
	EncryptCode    string // contains + and /
	ActivateTicket string // contains +, / and =

	ConfirmState     string // the merchant's user_card_confirm_state; empty until it confirms
	Confirmations    int    // those that took effect: 0 or 1
	Repetitions      int    // those after it, which had no effect
	MembershipNumber string // empty until the card is activated

	validDate     json.RawMessage
	invalidated   time.Time // zero unless the state is Invalid
	invalidReason string
	deleted       bool      // by the user
	merchant      *merchant // who requested the token
}

// token allows a user to open one card with the component.
type token struct {
	merchant   *merchant
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
	URL string `json:"url,omitempty"`

	AppID     string            `json:"appid,omitempty"`
	Path      string            `json:"path,omitempty"`
	ExtraData map[string]string `json:"extra_data,omitempty"`
}

// OpenCard opens a card for a user, as the component does, and notifies the merchant. A
// permission_token or a brand token opens one card; a brand token is valid for one user and
// expires after an hour. A brand card is UNACTIVATED until the merchant confirms it, and a
// merchant card until it is activated: by WeChat Pay at once for AUTO_ACTIVATE, otherwise by
// the merchant. The jump is nil unless the card was pre-authorized with JUMP_ACTIVATE.
func (s *Sandbox) OpenCard(value, openid string) (opened UserCard, jump *Jump, err error) {
	s.Do(func() {
		t := s.tokens[value]
		switch {
		case t == nil:
			err = errors.New("wechatpay: the token is unknown")
		case t.used:
			err = errors.New("wechatpay: the token has been used")
		case !t.expires.IsZero() && !s.now().Before(t.expires):
			err = errors.New("wechatpay: the token has expired")
		case t.openid != "" && t.openid != openid:
			err = errors.New("wechatpay: the token is another user's")
		default:
			t.used = true
			var c *UserCard
			c, jump = s.open(t, openid)
			opened = *c
		}
	})
	return opened, jump, err
}

func (s *Sandbox) open(t *token, openid string) (*UserCard, *Jump) {
	c := s.addCard(t.merchant, t.brandID, t.cardID, openid)
	if t.brandID != "" {
		s.notify(s.brandAddress, s.brandNotification(c, brandCardCreated, "用户开通会员卡通知"))
		return c, nil
	}
	c.OuterStr = t.permission["outer_str"]
	s.notifyMerchant(c, "MEMBERCARD.ACCEPT_CARD", "会员卡领卡通知", map[string]string{"event_type": "MEMBER_CARD_ACCEPT"})
	if t.permission["activate_type"] == "AUTO_ACTIVATE" {
		s.activate(c, c.Code)
		return c, nil
	}
	c.EncryptCode, c.ActivateTicket = sandbox.RandomBase64(33), sandbox.RandomBase64(64)
	return c, c.jump(t.permission)
}

// jump returns where the user is sent. A mini program takes precedence over a page
// (商户预授权).
func (c *UserCard) jump(permission map[string]string) *Jump {
	if id := permission["activate_appid"]; id != "" {
		return &Jump{AppID: id, Path: permission["activate_path"], ExtraData: map[string]string{
			"card_id": c.CardID, "code": c.Code, "openid": c.OpenID, "activate_ticket": c.ActivateTicket, "outer_str": c.OuterStr,
		}}
	}
	page, fragment, found := strings.Cut(permission["activate_url"], "#")
	separator := map[bool]string{false: "?", true: "&"}[strings.Contains(page, "?")]
	// encrypt_code is not escaped, because the merchant must send it back unchanged.
	page += separator + "card_id=" + url.QueryEscape(c.CardID) + "&encrypt_code=" + c.EncryptCode +
		"&openid=" + url.QueryEscape(c.OpenID) + "&activate_ticket=" + url.QueryEscape(c.ActivateTicket) +
		"&outer_str=" + url.QueryEscape(c.OuterStr)
	if found {
		page += "#" + fragment
	}
	return &Jump{URL: page}
}

// Forge opens a brand card and sends the merchant a forged notification: it names WeChat
// Pay's key but is signed with another one.
func (s *Sandbox) Forge(brandID, cardID, openid string) (forged UserCard) {
	s.Do(func() {
		c := s.addCard(s.own(), brandID, cardID, openid)
		n := s.brandNotification(c, brandCardCreated, "用户开通会员卡通知")
		n.forged = true
		s.notify(s.brandAddress, n)
		forged = *c
	})
	return forged
}

// DeleteCard deletes a user's card, as the user does, and notifies the merchant. It reports
// whether there was a card with the code.
func (s *Sandbox) DeleteCard(code string) (deleted bool) {
	s.Do(func() {
		c := s.findCard(func(c *UserCard) bool { return c.Code == code && c.State != Invalid })
		if deleted = c != nil; !deleted {
			return
		}
		s.invalidate(c, "用户删除会员卡")
		c.deleted = true
		if c.BrandID != "" {
			s.notify(s.brandAddress, s.brandNotification(c, "BRAND_MEMBER_CARD_SP.USER_CARD.DELETE", "用户删除会员卡通知"))
		} else {
			s.notifyMerchant(c, "MEMBERCARD.USERCARD_MANAGE", "用户管理会员卡通知", map[string]string{"event_type": "USER_DELETE_MEMBERCARD"})
		}
	})
	return deleted
}

// UserCards returns all users' cards. The first two exist from the start: an unconfirmed
// brand card, and a merchant card that can be activated with the parameters of a jump.
func (s *Sandbox) UserCards() (cards []UserCard) {
	s.Do(func() {
		for _, c := range s.cards {
			cards = append(cards, *c)
		}
	})
	return cards
}

// UserCard returns the user's card with a code.
func (s *Sandbox) UserCard(code string) (c UserCard, ok bool) {
	s.Do(func() {
		if found := s.findCard(func(c *UserCard) bool { return c.Code == code }); found != nil {
			c, ok = *found, true
		}
	})
	return c, ok
}

func (s *Sandbox) findCard(is func(*UserCard) bool) *UserCard {
	i := slices.IndexFunc(s.cards, is)
	if i < 0 {
		return nil
	}
	return s.cards[i]
}

func (s *Sandbox) brandCard(code string) *UserCard {
	return s.findCard(func(c *UserCard) bool { return c.BrandID != "" && c.Code == code })
}

func (s *Sandbox) addCard(m *merchant, brandID, cardID, openid string) *UserCard {
	c := &UserCard{
		BrandID: brandID, CardID: cardID, OpenID: openid, Code: sandbox.RandomDigits(12), State: Unactivated, Opened: s.now(),
		validDate: json.RawMessage(`{"type":"PERMANENT"}`), merchant: m,
	}
	if brandID != "" {
		c.Code = sandbox.RandomDigits(24)
	}
	s.cards = append(s.cards, c)
	return c
}

func (s *Sandbox) addSampleCards() {
	const cardID, openid = "pbLatjvWOibDc5-TBnbUk1pD12o0", "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	s.addCard(s.own(), "1004", cardID, openid)
	c := s.addCard(s.own(), "", cardID, openid)
	c.EncryptCode, c.ActivateTicket = rand.Text(), rand.Text()
}

var errUnknownCard = refuse(http.StatusNotFound, "RESOURCE_NOT_EXISTS", "用户会员卡不存在")

// confirmBrandCard confirms a card whose code WeChat Pay has allocated.
func (s *Sandbox) confirmBrandCard(r *Request) (any, error) {
	var body any
	sandbox.MustUnmarshal(r.Body, &body)
	if err := s.checkPersonal(r, "", "", body); err != nil {
		return nil, err
	}
	c, err := s.givenBrandCard(r)
	switch {
	case err != nil:
		return nil, err
	case c.Confirmations > 0:
		c.Repetitions++
		return nil, invalidRequest("用户会员卡已确认，请勿重复确认")
	case c.State != Unactivated:
		return nil, invalidRequest("用户会员卡已失效")
	}
	c.Confirmations, c.ConfirmState, c.State = 1, r.Given["user_card_confirm_state"], Effective
	if c.ConfirmState == "CREATE_CARD_FAIL" {
		s.invalidate(c, "商家开卡失败")
	}
	if validDate := r.Given["valid_date_information"]; validDate != "" {
		c.validDate = json.RawMessage(validDate)
	}
	return s.resource(c), nil
}

// checkPersonal checks that personal data in v, which is at a JSON pointer, is encrypted:
// each phone_number, value and value_list. name is of the member that v is, or is in.
func (s *Sandbox) checkPersonal(r *Request, pointer, name string, v any) (err error) {
	switch v := v.(type) {
	case string:
		if v != "" && slices.Contains([]string{"phone_number", "value", "value_list"}, name) {
			_, err = s.decrypt(r, pointer, v)
		}
	case []any:
		for i, element := range v {
			err = cmp.Or(err, s.checkPersonal(r, fmt.Sprintf("%s/%d", pointer, i), name, element))
		}
	case map[string]any:
		for name, member := range v {
			err = cmp.Or(err, s.checkPersonal(r, pointer+"/"+name, name, member))
		}
	}
	return err
}

func (s *Sandbox) merchantCard(r *Request) (*UserCard, error) {
	cardID, code := r.Segment("card_id"), r.Segment("code")
	c := s.findCard(func(c *UserCard) bool {
		return c.BrandID == "" && c.CardID == cardID && c.Code == code && c.State != Invalid
	})
	if c == nil {
		return nil, errUnknownCard
	}
	return c, nil
}

func (s *Sandbox) activateCard(r *Request) (any, error) {
	c, err := s.merchantCard(r)
	if err != nil {
		return nil, err
	}
	if c.State == Effective {
		return nil, invalidRequest("用户会员卡已激活")
	}
	s.activate(c, cmp.Or(r.Given["membership_number"], c.Code))
	return nil, nil
}

func (s *Sandbox) activate(c *UserCard, membershipNumber string) {
	c.State, c.MembershipNumber = Effective, membershipNumber
	s.notifyMerchant(c, "MEMBERCARD.ACTIVATE_CARD", "会员卡激活通知",
		map[string]string{"event_type": "MEMBER_CARD_ACTIVATE", "activate_scene": "NEW_ACTIVATE"})
}

// confirmMerchantCard confirms a merchant card. The document does not describe the answer.
func (s *Sandbox) confirmMerchantCard(r *Request) (any, error) {
	c, err := s.merchantCard(r)
	if err != nil {
		return nil, err
	}
	if c.Confirmations > 0 {
		c.Repetitions++
		return nil, nil
	}
	c.Confirmations, c.ConfirmState = 1, r.Given["user_card_confirm_state"]
	return nil, nil
}

func (s *Sandbox) activateInformation(r *Request) (any, error) {
	ticket := r.Segment("activate_ticket")
	if s.findCard(func(c *UserCard) bool { return c.ActivateTicket == ticket && c.State != Invalid }) == nil {
		return nil, errUnknownCard
	}
	return json.RawMessage(`{"nickname":"张三","head_image_url":"https://wx.qlogo.cn/mmopen/sandbox/0","user_information":{` +
		`"common_field_list":[{"name":"USER_FORM_INFO_FLAG_MOBILE","value":"13900000000"}],` +
		`"custom_field_list":[{"name":"兴趣","value":"","value_list":["咖啡","电影"]}]}}`), nil
}

func (s *Sandbox) decryptCode(r *Request) (any, error) {
	given, cardID := r.Given["encrypt_code"], r.Segment("card_id")
	c := s.findCard(func(c *UserCard) bool {
		return c.EncryptCode == given && c.CardID == cardID && c.State != Invalid
	})
	if c == nil {
		return nil, &sandbox.Issue{Field: "encrypt_code", Value: given, Text: "加密code无效", Location: "query"}
	}
	return map[string]string{"code": c.Code}, nil
}
