package officialaccount

// This file has the account's cards, the operations that read and change them, and the
// review of changes.

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"membercard/wechat/sandbox"
)

// Values of base_info.status.
const (
	inReview = "CARD_STATUS_NOT_VERIFY"
	passed   = "CARD_STATUS_VERIFY_OK"
	failed   = "CARD_STATUS_VERIFY_FAIL"
)

// card is a card of the account.
type card struct {
	id       string
	kind     string   // the key of its object, such as member_card
	shown    content  // what /card/get returns
	proposed *content // changes in review; nil if there are none
}

// content is the fields of a card, or changes to them. In changes, an empty string clears
// a field.
type content struct {
	base    map[string]any // in base_info
	special map[string]any // outside base_info
}

// apply makes changes to the card, except to ignored fields.
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

// find returns the card with an ID, or nil. The caller holds s.mu.
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
	special := maps.Clone(c.shown.special)
	special["base_info"] = c.shown.base
	return ok("card", map[string]any{"card_type": strings.ToUpper(c.kind), c.kind: special}), nil
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
	// Changes made during a review wait for it too; otherwise the older changes
	// would undo them.
	check := s.review || c.proposed != nil
	if check {
		c.propose(changes)
	} else {
		c.apply(changes, s.ignored, r.Time)
	}
	return ok("send_check", check), nil
}

// createCard is 创建卡券.
func (s *Sandbox) createCard(r *Request) (any, *refusal) {
	kind, made, refused := s.parseCreate(r.Body)
	if refused != nil {
		return nil, refused
	}
	c := &card{id: "p" + sandbox.RandomText(27), kind: kind, shown: made}
	maps.Copy(c.shown.base, map[string]any{
		"id": c.id, "status": passed, "create_time": r.Time.Unix(), "update_time": r.Time.Unix(),
	})
	if s.review {
		c.propose(content{})
	}
	s.cards = append(s.cards, c)
	return ok("card_id", c.id), nil
}

// parseCreate validates a new card. The caller holds s.mu.
func (s *Sandbox) parseCreate(body []byte) (kind string, made content, refused *refusal) {
	object, refused := parse(body, fields{"card": "object"})
	if refused != nil {
		return "", made, refused
	}
	envelope, _ := object["card"].(map[string]any)
	cardType, _ := envelope["card_type"].(string)
	kind = strings.ToLower(cardType)
	// The account has a card of every type.
	if cardType != strings.ToUpper(kind) || !slices.ContainsFunc(s.cards, func(c *card) bool { return c.kind == kind }) {
		return "", made, malformed("card.card_type")
	}
	for name := range envelope {
		if name != "card_type" && name != kind {
			return "", made, malformed("card." + name)
		}
	}
	path := "card." + kind
	made.special, _ = envelope[kind].(map[string]any)
	if made.base, _ = made.special["base_info"].(map[string]any); made.base == nil {
		return "", made, malformed(path + ".base_info")
	}
	delete(made.special, "base_info")
	for name := range strings.FieldsSeq("logo_url brand_name code_type title color notice description") {
		if text, _ := made.base[name].(string); text == "" {
			return "", made, malformed(path + ".base_info." + name)
		}
	}
	if sku, _ := made.base["sku"].(map[string]any); typeOf(sku["quantity"]) != "number" {
		return "", made, malformed(path + ".base_info.sku.quantity")
	}
	if typeOf(made.base["date_info"]) != "object" {
		return "", made, malformed(path + ".base_info.date_info")
	}
	if text, _ := made.special["prerogative"].(string); kind == "member_card" && text == "" {
		return "", made, malformed(path + ".prerogative")
	}
	if refused := checkTypes(path, kind, made.special, false); refused != nil {
		return "", made, refused
	}
	return kind, made, checkTypes(path+".base_info", "base_info", made.base, false)
}

// parseCard parses a body and finds the card that it names. The caller holds s.mu.
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

// parseUpdate validates changes and finds the card that they are for. The caller holds
// s.mu.
func (s *Sandbox) parseUpdate(body []byte) (*card, content, *refusal) {
	var changes content
	object, c, refused := s.parseCard(body)
	if refused != nil {
		return nil, changes, refused
	}
	for name := range object {
		if name != "card_id" && name != c.kind {
			return nil, changes, malformed(name)
		}
	}
	changes.special, _ = object[c.kind].(map[string]any)
	if base, given := changes.special["base_info"]; given {
		delete(changes.special, "base_info")
		if changes.base, _ = base.(map[string]any); len(changes.base) == 0 {
			return nil, changes, malformed(c.kind + ".base_info")
		}
	}
	if len(changes.base)+len(changes.special) == 0 {
		return nil, changes, malformed(c.kind)
	}
	if refused := checkTypes(c.kind, c.kind, changes.special, true); refused != nil {
		return nil, changes, refused
	}
	return c, changes, checkTypes(c.kind+".base_info", "base_info", changes.base, true)
}

// checkTypes checks the types of an object's changeable fields. If strict is set, other
// fields are refused.
func checkTypes(path, object string, given map[string]any, strict bool) *refusal {
	types := changeable(object)
	for name, value := range given {
		if want, known := types[name]; (known || strict) && typeOf(value) != want {
			return malformed(path + "." + name)
		}
	}
	return nil
}

// changeable returns the fields of an object that /card/update accepts, and their types.
// The object is base_info or a type of card.
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

// Review sets whether updates go to review. By default they do not. An update that goes to
// review is answered with send_check, and the card keeps its old values, with the status
// CARD_STATUS_NOT_VERIFY, until [Sandbox.ApproveReviews] or [Sandbox.RefuseReviews].
// Updates of a card in review always go to review.
func (s *Sandbox) Review(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.review = on
}

// ApproveReviews applies all changes in review and sets the status of their cards to
// CARD_STATUS_VERIFY_OK.
func (s *Sandbox) ApproveReviews() {
	s.endReviews(passed, func(c *card) { c.apply(*c.proposed, s.ignored, s.now()) })
}

// RefuseReviews discards all changes in review and sets the status of their cards to
// CARD_STATUS_VERIFY_FAIL.
func (s *Sandbox) RefuseReviews() { s.endReviews(failed, func(*card) {}) }

func (s *Sandbox) endReviews(status string, end func(*card)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.cards {
		if c.proposed != nil {
			end(c)
			c.proposed = nil
			c.shown.base["status"] = status
		}
	}
}

// Ignore makes updates of a field, inside or outside base_info, succeed without effect
// until [Sandbox.Heal].
func (s *Sandbox) Ignore(field string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ignored[field] = true
}

// Quota sets how many calls of /card/update are left today. More are refused with 45009.
// Calls that are refused for another reason count too. A negative n, the default, means no
// limit.
func (s *Sandbox) Quota(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updateQuota = quota(n)
}

// Card is a card as /card/get returns it, with values as encoding/json decodes
// them.
type Card struct {
	ID       string
	Type     string         // such as MEMBER_CARD
	BaseInfo map[string]any // the fields of base_info
	Special  map[string]any // the fields outside base_info
}

// Cards returns the account's cards. The first is the membership card.
func (s *Sandbox) Cards() []Card {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cards []Card
	for _, c := range s.cards {
		cards = append(cards, c.copy())
	}
	return cards
}

// Card returns the card with an ID. It panics if there is none.
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
	clone := func(fields map[string]any) (into map[string]any) {
		sandbox.MustUnmarshal(sandbox.JSON(fields), &into)
		return into
	}
	return Card{c.id, strings.ToUpper(c.kind), clone(c.shown.base), clone(c.shown.special)}
}

// AddCards adds n membership cards without links, and returns their IDs.
func (s *Sandbox) AddCards(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for range n {
		c := sampleCards(s.now())[0]
		c.id = fmt.Sprintf("pbLatjMemberCard%04d", len(s.cards))
		c.shown.base["id"] = c.id
		maps.DeleteFunc(c.shown.base, func(name string, _ any) bool {
			return strings.HasPrefix(name, "custom_") || strings.HasPrefix(name, "promotion_")
		})
		s.cards = append(s.cards, c)
		ids = append(ids, c.id)
	}
	return ids
}

//go:embed cards.json
var samples []byte

// sampleCards returns the account's initial cards. They were created a month ago and have
// passed review.
func sampleCards(now time.Time) []*card {
	created := now.AddDate(0, -1, 0)
	var sample struct {
		Links map[string]any // of the membership card
		Cards []struct {
			ID, Type string
			Special  map[string]any
		}
	}
	sandbox.MustUnmarshal(samples, &sample)
	var cards []*card
	for _, c := range sample.Cards {
		var fresh struct {
			Base map[string]any `json:"base_info"`
		}
		sandbox.MustUnmarshal(samples, &fresh)
		maps.Copy(fresh.Base, map[string]any{
			"id":          c.ID,
			"create_time": created.Unix(),
			"update_time": created.Unix(),
			"date_info": map[string]any{
				"type":            "DATE_TYPE_FIX_TIME_RANGE",
				"begin_timestamp": created.Unix(),
				"end_timestamp":   created.AddDate(1, 0, 0).Unix(),
			},
		})
		if c.Type == "member_card" {
			fresh.Base["date_info"] = map[string]any{"type": "DATE_TYPE_PERMANENT"}
			maps.Copy(fresh.Base, sample.Links)
		}
		cards = append(cards, &card{id: c.ID, kind: c.Type, shown: content{fresh.Base, c.Special}})
	}
	return cards
}
