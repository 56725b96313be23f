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

// find returns the card with an ID, or nil.
func (s *Sandbox) find(id string) *card {
	i := slices.IndexFunc(s.cards, func(c *card) bool { return c.id == id })
	if i < 0 {
		return nil
	}
	return s.cards[i]
}

// called returns the card that a request names.
func (s *Sandbox) called(r *Request) (*card, error) {
	if c := s.find(r.Given["card_id"]); c != nil {
		return c, nil
	}
	return nil, refuse(40053, "invalid actioninfo, please check card_id")
}

func (s *Sandbox) getCard(r *Request) (any, error) {
	c, err := s.called(r)
	if err != nil {
		return nil, err
	}
	special := maps.Clone(c.shown.special)
	special["base_info"] = c.shown.base
	return ok("card", map[string]any{"card_type": strings.ToUpper(c.kind), c.kind: special}), nil
}

func (s *Sandbox) updateCard(r *Request) (any, error) {
	c, err := s.called(r)
	if err != nil {
		return nil, err
	}
	changes, err := parseUpdate(c.kind, r.Body)
	if err != nil {
		return nil, err
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

func (s *Sandbox) createCard(r *Request) (any, error) {
	kind, made, err := parseCreate(r.Given["card"])
	if err != nil {
		return nil, err
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

// decryptCode decrypts the code of a card that a user has taken with wx.addCard.
func (s *Sandbox) decryptCode(r *Request) (any, error) {
	if r.Given["encrypt_code"] != s.encryptCode {
		return nil, refuse(40056, "invalid serial code")
	}
	return ok("code", "110201201245"), nil
}

// SampleEncryptCode returns the encrypted code of a card that a user has from the start.
func (s *Sandbox) SampleEncryptCode() string { return s.encryptCode }

// parseCreate validates a new card.
func parseCreate(card string) (kind string, made content, err error) {
	var envelope map[string]any
	sandbox.MustUnmarshal([]byte(card), &envelope)
	cardType, _ := envelope["card_type"].(string)
	if kind = strings.ToLower(cardType); cardType != strings.ToUpper(kind) || !slices.Contains(kinds(), kind) {
		return "", made, malformed("card.card_type")
	}
	for name := range envelope {
		if name != "card_type" && name != kind {
			return "", made, malformed("card." + name)
		}
	}
	special := field{Name: kind, Kind: sandbox.Object, Required: true, Members: []field{baseInfo}}
	if kind == "member_card" {
		special.Members = append(special.Members, field{Name: "prerogative", Required: true})
	}
	if _, err := sandbox.ParseObject([]byte(card), "/card", []field{special}); err != nil {
		return "", made, err
	}
	made = contentOf(envelope[kind])
	return kind, made, checkTypes("card."+kind, kind, made, false)
}

// baseInfo is what a new card must have.
var baseInfo = field{Name: "base_info", Kind: sandbox.Object, Required: true, Members: []field{
	{Name: "logo_url", Required: true},
	{Name: "brand_name", Required: true},
	{Name: "code_type", Required: true},
	{Name: "title", Required: true},
	{Name: "color", Required: true},
	{Name: "notice", Required: true},
	{Name: "description", Required: true},
	{Name: "sku", Kind: sandbox.Object, Required: true, Members: []field{{Name: "quantity", Kind: sandbox.Integer, Required: true}}},
	{Name: "date_info", Kind: sandbox.Object, Required: true},
}}

// contentOf returns the fields of a card's object.
func contentOf(object any) (c content) {
	c.special, _ = object.(map[string]any)
	c.base, _ = c.special["base_info"].(map[string]any)
	delete(c.special, "base_info")
	return c
}

// parseUpdate validates changes to a card.
func parseUpdate(kind string, body []byte) (changes content, err error) {
	var object map[string]any
	sandbox.MustUnmarshal(body, &object)
	for name := range object {
		if name != "card_id" && name != kind {
			return changes, malformed(name)
		}
	}
	special, _ := object[kind].(map[string]any)
	_, hasBase := special["base_info"]
	changes = contentOf(special)
	switch {
	case hasBase && len(changes.base) == 0:
		return changes, malformed(kind + ".base_info")
	case len(changes.base)+len(changes.special) == 0:
		return changes, malformed(kind)
	}
	return changes, checkTypes(kind, kind, changes, true)
}

// changeable are the fields that /card/update accepts, by their object, base_info or a
// type of card, and by their type.
var changeable = map[string]map[string]string{
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

// checkTypes checks the types of a card's changeable fields. If strict is set, other
// fields are refused.
func checkTypes(path, kind string, given content, strict bool) error {
	for name, value := range given.special {
		if err := checkType(path+"."+name, changeable[kind], name, value, strict); err != nil {
			return err
		}
	}
	for name, value := range given.base {
		if err := checkType(path+".base_info."+name, changeable["base_info"], name, value, strict); err != nil {
			return err
		}
	}
	return nil
}

func checkType(path string, types map[string]string, name string, value any, strict bool) error {
	want := ""
	for kind, names := range types {
		if slices.Contains(strings.Fields(names), name) {
			want = kind
		}
	}
	if (want != "" || strict) && typeOf(value) != want {
		return malformed(path)
	}
	return nil
}

// typeOf returns the type of a JSON value.
func typeOf(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}

// Review sets whether updates go to review. By default they do not. An update that goes to
// review is answered with send_check, and the card keeps its old values, with the status
// CARD_STATUS_NOT_VERIFY, until [Sandbox.ApproveReviews]. Updates of a card in review
// always go to review.
func (s *Sandbox) Review(on bool) { s.Do(func() { s.review = on }) }

// ApproveReviews applies all changes in review and sets the status of their cards to
// CARD_STATUS_VERIFY_OK.
func (s *Sandbox) ApproveReviews() {
	s.Do(func() {
		for _, c := range s.cards {
			if c.proposed != nil {
				c.apply(*c.proposed, s.ignored, s.now())
				c.proposed = nil
				c.shown.base["status"] = passed
			}
		}
	})
}

// Ignore makes updates of a field, inside or outside base_info, succeed without effect
// until [Sandbox.Heal].
func (s *Sandbox) Ignore(field string) { s.Do(func() { s.ignored[field] = true }) }

// Quota sets how many calls of /card/update are left today. More are refused with 45009.
// Calls that are refused for another reason count too. A negative n, the default, means no
// limit.
func (s *Sandbox) Quota(n int) { s.Do(func() { s.updateQuota = n }) }

// Card is a card as /card/get returns it, with values as encoding/json decodes
// them.
type Card struct {
	ID       string
	Type     string         // such as MEMBER_CARD
	BaseInfo map[string]any // the fields of base_info
	Special  map[string]any // the fields outside base_info
}

// Cards returns the account's cards. The first is the membership card.
func (s *Sandbox) Cards() (cards []Card) {
	s.Do(func() {
		for _, c := range s.cards {
			cards = append(cards, c.copy())
		}
	})
	return cards
}

// Card returns the card with an ID. It panics if there is none.
func (s *Sandbox) Card(id string) (card Card) {
	s.Do(func() { card = s.find(id).copy() })
	return card
}

func (c *card) copy() Card {
	clone := func(fields map[string]any) (into map[string]any) {
		sandbox.MustUnmarshal(sandbox.JSON(fields), &into)
		return into
	}
	return Card{c.id, strings.ToUpper(c.kind), clone(c.shown.base), clone(c.shown.special)}
}

// AddCards adds n membership cards without links, and returns their IDs.
func (s *Sandbox) AddCards(n int) (ids []string) {
	s.Do(func() {
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
	})
	return ids
}

//go:embed cards.json
var samples []byte

// sample is cards.json.
type sample struct {
	Base  map[string]any `json:"base_info"`
	Links map[string]any // of the membership card
	Cards []struct {
		ID, Type string
		Special  map[string]any
	}
}

// kinds returns the types of cards. The account has a card of each.
func kinds() (kinds []string) {
	var sample sample
	sandbox.MustUnmarshal(samples, &sample)
	for _, c := range sample.Cards {
		kinds = append(kinds, c.Type)
	}
	return kinds
}

// sampleCards returns the account's initial cards. They were created a month ago and have
// passed review.
func sampleCards(now time.Time) (cards []*card) {
	created := now.AddDate(0, -1, 0)
	for i := range kinds() {
		var fresh sample // each card has maps of its own
		sandbox.MustUnmarshal(samples, &fresh)
		c := fresh.Cards[i]
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
			maps.Copy(fresh.Base, fresh.Links)
		}
		cards = append(cards, &card{id: c.ID, kind: c.Type, shown: content{fresh.Base, c.Special}})
	}
	return cards
}
