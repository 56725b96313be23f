// The account's cards: reading and changing them, and the review that changes
// may have to pass.

package officialaccount

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"membercard/local/sandbox"
)

// What base_info.status says of a review.
const (
	inReview = "CARD_STATUS_NOT_VERIFY"
	passed   = "CARD_STATUS_VERIFY_OK"
	failed   = "CARD_STATUS_VERIFY_FAIL"
)

// card is a card of the account.
type card struct {
	id       string
	kind     string   // the key of its object, such as member_card
	shown    content  // what /card/get shows
	proposed *content // changes in review, nil if there are none
}

// content are fields of a card, or changes to them, in which an empty string
// clears a field.
type content struct {
	base    map[string]any // of base_info
	special map[string]any // beside base_info
}

// object is what /card/get shows as card.
func (c *card) object() map[string]any {
	special := maps.Clone(c.shown.special)
	special["base_info"] = c.shown.base
	return map[string]any{"card_type": strings.ToUpper(c.kind), c.kind: special}
}

// apply shows changes, except those of ignored fields.
func (c *card) apply(changes content, ignored map[string]bool, now time.Time) {
	for _, level := range []struct{ shown, changes map[string]any }{
		{c.shown.base, changes.base},
		{c.shown.special, changes.special},
	} {
		for name, value := range level.changes {
			switch {
			case ignored[name]:
			case value == any(""):
				delete(level.shown, name)
			default:
				level.shown[name] = value
			}
		}
	}
	c.shown.base["update_time"] = now.Unix()
}

// propose adds changes to those in review.
func (c *card) propose(changes content) {
	if c.proposed == nil {
		c.proposed = &content{make(map[string]any), make(map[string]any)}
	}
	maps.Copy(c.proposed.base, changes.base)
	maps.Copy(c.proposed.special, changes.special)
	c.shown.base["status"] = inReview
}

// find is the card with an ID. The caller holds s.mu.
func (s *Sandbox) find(id string) *card {
	i := slices.IndexFunc(s.cards, func(c *card) bool { return c.id == id })
	if i < 0 {
		return nil
	}
	return s.cards[i]
}

// getCard is 查看卡券详情.
func (s *Sandbox) getCard(r *Request) (any, *refusal) {
	_, c, refused := s.parseCard(r.Body)
	if refused != nil {
		return nil, refused
	}
	return struct {
		Errcode int            `json:"errcode"`
		Errmsg  string         `json:"errmsg"`
		Card    map[string]any `json:"card"`
	}{0, "ok", c.object()}, nil
}

// updateCard is 更改卡券信息.
func (s *Sandbox) updateCard(r *Request) (any, *refusal) {
	if refused := s.updateQuota.take(); refused != nil {
		return nil, refused
	}
	c, changes, refused := s.parseUpdate(r.Body)
	if refused != nil {
		return nil, refused
	}
	// What comes during a review waits for it too: it would be undone otherwise
	// by the older changes.
	check := s.review || c.proposed != nil
	if check {
		c.propose(changes)
	} else {
		c.apply(changes, s.ignored, r.Time)
	}
	return struct {
		Errcode   int    `json:"errcode"`
		Errmsg    string `json:"errmsg"`
		SendCheck bool   `json:"send_check"`
	}{0, "ok", check}, nil
}

// parseCard reads a body that names a card. The caller holds s.mu.
func (s *Sandbox) parseCard(body []byte) (map[string]any, *card, *refusal) {
	object, refused := parse(body, fields{"card_id": "string"})
	if refused != nil {
		return nil, nil, refused
	}
	id, given := object["card_id"].(string)
	if !given {
		return nil, nil, malformed("card_id")
	}
	c := s.find(id)
	if c == nil {
		return nil, nil, refuse(40053, "invalid actioninfo, please check card_id")
	}
	return object, c, nil
}

// parseUpdate reads which fields of which card are to be changed. The caller
// holds s.mu.
func (s *Sandbox) parseUpdate(body []byte) (*card, content, *refusal) {
	object, c, refused := s.parseCard(body)
	if refused != nil {
		return nil, content{}, refused
	}
	for name := range object {
		if name != "card_id" && name != c.kind {
			return nil, content{}, malformed(name)
		}
	}
	var changes content
	changes.special, _ = object[c.kind].(map[string]any)
	if base, given := changes.special["base_info"]; given {
		delete(changes.special, "base_info")
		if changes.base, _ = base.(map[string]any); len(changes.base) == 0 {
			return nil, content{}, malformed(c.kind + ".base_info")
		}
	}
	if len(changes.base)+len(changes.special) == 0 {
		return nil, content{}, malformed(c.kind)
	}
	for _, level := range []struct {
		path    string
		allowed fields
		changes map[string]any
	}{
		{c.kind, changeable(c.kind), changes.special},
		{c.kind + ".base_info", changeable("base_info"), changes.base},
	} {
		for name, value := range level.changes {
			if level.allowed[name] != typeOf(value) {
				return nil, content{}, malformed(level.path + "." + name)
			}
		}
	}
	return c, changes, nil
}

// changeable are the fields of an object that /card/update takes, with their
// types. The object is base_info or a type of card.
func changeable(object string) fields {
	types := map[string]map[string]string{
		"base_info": {
			"string": "title logo_url notice description service_phone color code_type " +
				"custom_url_name custom_url custom_url_sub_title custom_app_brand_user_name custom_app_brand_pass " +
				"center_title center_sub_title center_url center_app_brand_user_name center_app_brand_pass " +
				"promotion_url_name promotion_url promotion_url_sub_title promotion_app_brand_user_name promotion_app_brand_pass",
			"number":  "get_limit",
			"boolean": "can_share can_give_friend use_all_locations",
			"array":   "location_id_list",
			"object":  "date_info pay_info",
		},
		"member_card": {
			"string": "background_pic_url prerogative bonus_cleared bonus_rules balance_rules bonus_url balance_url " +
				"activate_url activate_app_brand_user_name activate_app_brand_pass",
			"number":  "discount",
			"boolean": "supply_bonus supply_balance auto_activate wx_activate",
			"object":  "bonus_rule custom_field1 custom_field2 custom_field3 custom_cell1",
		},
		"scenic_ticket":  {"string": "guide_url"},
		"movie_ticket":   {"string": "detail"},
		"boarding_pass":  {"string": "gate check_in_url"},
		"meeting_ticket": {"string": "map_url"},
	}
	allowed := make(fields)
	for kind, names := range types[object] {
		for name := range strings.FieldsSeq(names) {
			allowed[name] = kind
		}
	}
	return allowed
}

// Review sends the updates from now on to review, or, as at first, does not. An
// update in review is answered with send_check, and the card goes on showing
// its old values, with the status CARD_STATUS_NOT_VERIFY, until
// [Sandbox.ApproveReviews] or [Sandbox.RefuseReviews]. Until then further
// updates of the card go to review in any case.
func (s *Sandbox) Review(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.review = on
}

// ApproveReviews shows all changes in review; their cards' status is
// CARD_STATUS_VERIFY_OK then.
func (s *Sandbox) ApproveReviews() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endReviews(passed, func(c *card) { c.apply(*c.proposed, s.ignored, s.now()) })
}

// RefuseReviews drops all changes in review; their cards' status is
// CARD_STATUS_VERIFY_FAIL then.
func (s *Sandbox) RefuseReviews() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endReviews(failed, func(*card) {})
}

func (s *Sandbox) endReviews(status string, end func(*card)) {
	for _, c := range s.cards {
		if c.proposed != nil {
			end(c)
			c.proposed = nil
			c.shown.base["status"] = status
		}
	}
}

// Ignore makes the sandbox take updates of a field, in base_info or beside it,
// that never show, until [Sandbox.Heal].
func (s *Sandbox) Ignore(field string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ignored[field] = true
}

// Quota sets how many calls of /card/update are left today; then they are
// refused with 45009. There is no limit if n is negative, as at first. Refused
// updates count.
func (s *Sandbox) Quota(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updateQuota = quota(n)
}

// Card is a card as /card/get shows it, its values as encoding/json decodes
// them.
type Card struct {
	ID       string
	Type     string         // such as MEMBER_CARD
	BaseInfo map[string]any // the fields of base_info
	Special  map[string]any // the fields beside base_info
}

// Cards are the account's cards. The first is the membership card.
func (s *Sandbox) Cards() []Card {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cards []Card
	for _, c := range s.cards {
		cards = append(cards, c.copy())
	}
	return cards
}

// Card is the card with an ID; it panics if there is none.
func (s *Sandbox) Card(id string) Card {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.find(id)
	if c == nil {
		panic("officialaccount: no card " + id)
	}
	return c.copy()
}

func (c *card) copy() Card {
	clone := func(fields map[string]any) map[string]any {
		var into map[string]any
		if err := json.Unmarshal(sandbox.JSON(fields), &into); err != nil {
			panic(err) // of what was JSON before
		}
		return into
	}
	return Card{c.id, strings.ToUpper(c.kind), clone(c.shown.base), clone(c.shown.special)}
}

// AddCards gives the account n more membership cards, without links, and
// returns their IDs.
func (s *Sandbox) AddCards(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for range n {
		id := fmt.Sprintf("pbLatjMemberCard%04d", len(s.cards))
		s.cards = append(s.cards, newCard(id, "member_card", memberCard(), s.now()))
		ids = append(ids, id)
	}
	return ids
}

// sampleCards are the cards that the account has at first.
func sampleCards(now time.Time) []*card {
	member := newCard("pbLatjvWOibDc5-TBnbUk1pD12o0", "member_card", memberCard(), now)
	maps.Copy(member.shown.base, map[string]any{
		"custom_url_name":               "立即使用",
		"custom_url":                    "http://www.qq.com",
		"custom_app_brand_user_name":    "gh_86a091e50ad4@app",
		"custom_app_brand_pass":         "API/cardPage",
		"custom_url_sub_title":          "6个汉字tips",
		"promotion_url_name":            "更多优惠",
		"promotion_url":                 "http://www.qq.com",
		"promotion_app_brand_user_name": "gh_86a091e50ad4@app",
		"promotion_app_brand_pass":      "API/cardPage",
	})
	cards := []*card{member}
	for _, sample := range []struct {
		id, kind string
		special  map[string]any
	}{
		{"pbLatjGroupon", "groupon", map[string]any{"deal_detail": "双人套餐\n-进口红酒一支。\n孜然牛肉一份。"}},
		{"pbLatjCash", "cash", map[string]any{"least_cost": 1000, "reduce_cost": 100}},
		{"pbLatjDiscount", "discount", map[string]any{"discount": 30}},
		{"pbLatjGift", "gift", map[string]any{"gift": "可兑换音乐木盒一个"}},
		{"pbLatjGeneralCoupon", "general_coupon", map[string]any{"default_detail": "音乐木盒"}},
		{"pbLatjScenicTicket", "scenic_ticket", map[string]any{"ticket_class": "全日票", "guide_url": "http://www.qq.com"}},
		{"pbLatjMovieTicket", "movie_ticket", map[string]any{"detail": "不与其他优惠同享"}},
		{"pbLatjBoardingPass", "boarding_pass", map[string]any{"from": "成都", "to": "广州", "flight": "CE123", "gate": "A11"}},
		{"pbLatjMeetingTicket", "meeting_ticket", map[string]any{"meeting_detail": "小程序开放日", "map_url": "http://www.qq.com"}},
	} {
		cards = append(cards, newCard(sample.id, sample.kind, sample.special, now))
	}
	return cards
}

// memberCard are the fields of a membership card beside base_info.
func memberCard() map[string]any {
	return map[string]any{
		"supply_bonus":   true,
		"supply_balance": false,
		"prerogative":    "会员专享价",
		"auto_activate":  false,
		"activate_url":   "http://www.qq.com",
	}
}

// newCard makes a card that was created a month ago and passed its review.
func newCard(id, kind string, special map[string]any, now time.Time) *card {
	created := now.AddDate(0, -1, 0)
	date := map[string]any{
		"type":            "DATE_TYPE_FIX_TIME_RANGE",
		"begin_timestamp": created.Unix(),
		"end_timestamp":   created.AddDate(1, 0, 0).Unix(),
	}
	if kind == "member_card" {
		date = map[string]any{"type": "DATE_TYPE_PERMANENT"}
	}
	return &card{id: id, kind: kind, shown: content{special: special, base: map[string]any{
		"id":               id,
		"logo_url":         "http://mmbiz.qpic.cn/mmbiz/sandbox/0",
		"code_type":        "CODE_TYPE_BARCODE",
		"brand_name":       "微信餐厅",
		"title":            "示例卡券",
		"date_info":        date,
		"color":            "#63b359",
		"notice":           "使用时向服务员出示此券",
		"service_phone":    "020-88888888",
		"description":      "不可与其他优惠同享",
		"location_id_list": []int{123, 12321, 345345},
		"get_limit":        1,
		"can_share":        true,
		"can_give_friend":  false,
		"use_custom_code":  false,
		"bind_openid":      false,
		"status":           passed,
		"sku":              map[string]any{"quantity": 49_999_999, "total_quantity": 50_000_000},
		"create_time":      created.Unix(),
		"update_time":      created.Unix(),
	}}}
}
