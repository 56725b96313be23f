package officialaccount

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"membercard/wechat/sandbox"
)

// Values of base_info.status.
const (
	inReview = "CARD_STATUS_NOT_VERIFY"
	passed   = "CARD_STATUS_VERIFY_OK"
)

type card struct {
	id       string
	kind     string           // the key of its object, such as member_card
	shown    map[string]any   // the object, as /card/get returns it
	proposed []map[string]any // changes in review
}

// base returns the fields in base_info.
func (c *card) base() map[string]any { return c.shown["base_info"].(map[string]any) }

// apply makes changes to an object of a card, except to ignored fields. An empty string
// clears a field. An object other than base_info is replaced whole.
func apply(shown, changes map[string]any, ignored map[string]bool) {
	for name, value := range changes {
		switch {
		case ignored[name]:
		case name == "base_info":
			apply(shown[name].(map[string]any), value.(map[string]any), ignored)
		case value == any(""):
			delete(shown, name)
		default:
			shown[name] = value
		}
	}
}

func (s *Sandbox) find(id string) *card {
	i := slices.IndexFunc(s.cards, func(c *card) bool { return c.id == id })
	if i < 0 {
		return nil
	}
	return s.cards[i]
}

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
	return ok("card", map[string]any{"card_type": strings.ToUpper(c.kind), c.kind: c.shown}), nil
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
		apply(c.shown, changes, s.ignored)
		c.base()["update_time"] = r.Time.Unix()
	}
	return ok("send_check", check), nil
}

// propose adds changes to those in review.
func (c *card) propose(changes map[string]any) {
	c.proposed = append(c.proposed, changes)
	c.base()["status"] = inReview
}

func (s *Sandbox) createCard(r *Request) (any, error) {
	kind, made, err := parseCreate(r.Given["card"])
	if err != nil {
		return nil, err
	}
	c := &card{id: "p" + sandbox.RandomText(27), kind: kind, shown: made}
	maps.Copy(c.base(), map[string]any{
		"id": c.id, "status": passed, "create_time": r.Time.Unix(), "update_time": r.Time.Unix(),
	})
	if s.review {
		c.propose(nil)
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

const kinds = " member_card groupon cash discount gift general_coupon scenic_ticket movie_ticket boarding_pass meeting_ticket "

func parseCreate(text string) (kind string, made map[string]any, err error) {
	var envelope map[string]any
	sandbox.MustUnmarshal([]byte(text), &envelope)
	cardType, _ := envelope["card_type"].(string)
	if kind = strings.ToLower(cardType); cardType != strings.ToUpper(kind) || !strings.Contains(kinds, " "+kind+" ") {
		return "", nil, malformed("card.card_type")
	}
	for name := range envelope {
		if name != "card_type" && name != kind {
			return "", nil, malformed("card." + name)
		}
	}
	object := sandbox.Field{Name: kind, Kind: "object", Required: true, Members: []sandbox.Field{baseInfo}}
	if kind == "member_card" {
		object.Members = append(object.Members, sandbox.Field{Name: "prerogative", Required: true})
	}
	if _, err := sandbox.ParseObject([]byte(text), "body", "/card", []sandbox.Field{object}); err != nil {
		return "", nil, err
	}
	made = envelope[kind].(map[string]any)
	return kind, made, checkTypes("card."+kind, changeable()[kind], made, false)
}

// baseInfo is what a new card must have.
var baseInfo = sandbox.Field{Name: "base_info", Kind: "object", Required: true, Members: []sandbox.Field{
	{Name: "logo_url", Required: true}, {Name: "brand_name", Required: true}, {Name: "code_type", Required: true},
	{Name: "title", Required: true}, {Name: "color", Required: true}, {Name: "notice", Required: true}, {Name: "description", Required: true},
	{Name: "sku", Kind: "object", Required: true, Members: []sandbox.Field{{Name: "quantity", Kind: "integer", Required: true}}},
	{Name: "date_info", Kind: "object", Required: true},
}}

func parseUpdate(kind string, body []byte) (changes map[string]any, err error) {
	var object map[string]any
	sandbox.MustUnmarshal(body, &object)
	for name := range object {
		if name != "card_id" && name != kind {
			return nil, malformed(name)
		}
	}
	if changes, _ = object[kind].(map[string]any); len(changes) == 0 {
		return nil, malformed(kind)
	}
	return changes, checkTypes(kind, changeable()[kind], changes, true)
}

// checkTypes checks the types of an object's changeable fields, whose values are like those
// in cards.json. If strict is set, other fields, and an empty base_info, are refused.
func checkTypes(path string, like, given map[string]any, strict bool) error {
	for name, value := range given {
		at, wanted := path+"."+name, like[name]
		members, _ := wanted.(map[string]any)
		inner, _ := value.(map[string]any)
		isInfo := name == "base_info"
		if wanted == nil && strict || wanted != nil && fmt.Sprintf("%T", value) != fmt.Sprintf("%T", wanted) || isInfo && strict && len(inner) == 0 {
			return malformed(at)
		}
		if err := checkTypes(at, members, inner, strict && isInfo); err != nil {
			return err
		}
	}
	return nil
}

// Review sets whether updates go to review. By default only those of a card in review do.
// An update that goes to review is answered with send_check, and the card keeps its old
// values, with the status CARD_STATUS_NOT_VERIFY, until [Sandbox.ApproveReviews].
func (s *Sandbox) Review(on bool) { s.Do(func() { s.review = on }) }

// ApproveReviews applies all changes in review and sets the status of their cards to
// CARD_STATUS_VERIFY_OK.
func (s *Sandbox) ApproveReviews() {
	s.Do(func() {
		for _, c := range s.cards {
			if c.proposed == nil {
				continue
			}
			for _, changes := range c.proposed {
				apply(c.shown, changes, s.ignored)
			}
			c.proposed = nil
			maps.Copy(c.base(), map[string]any{"status": passed, "update_time": s.now().Unix()})
		}
	})
}

// Ignore makes updates of a field, inside or outside base_info, succeed without effect
// until [Sandbox.Heal].
func (s *Sandbox) Ignore(field string) { s.Do(func() { s.ignored[field] = true }) }

// Quota sets how many calls of /card/update, also refused ones, are left today. More are
// refused with 45009. A negative n, the default, means no limit.
func (s *Sandbox) Quota(n int) { s.Do(func() { s.updateQuota = n }) }

// Card is a card as /card/get returns it, with values as encoding/json decodes them.
type Card struct {
	ID       string
	Type     string         // such as MEMBER_CARD
	BaseInfo map[string]any // the fields of base_info
	Special  map[string]any // the fields outside base_info
}

func (c *card) copy() Card {
	var shown map[string]any
	sandbox.MustUnmarshal(sandbox.JSON(c.shown), &shown)
	base := shown["base_info"].(map[string]any)
	delete(shown, "base_info")
	return Card{c.id, strings.ToUpper(c.kind), base, shown}
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
func (s *Sandbox) Card(id string) Card {
	return sandbox.Get(s.Server, func() Card { return s.find(id).copy() })
}

// AddCards adds n membership cards without links, and returns their IDs.
func (s *Sandbox) AddCards(n int) (ids []string) {
	s.Do(func() {
		for range n {
			c := sampleCards(s.now())[0]
			c.id = fmt.Sprintf("pbLatjMemberCard%04d", len(s.cards))
			c.base()["id"] = c.id
			maps.DeleteFunc(c.base(), func(name string, _ any) bool {
				return strings.HasPrefix(name, "custom_") || strings.HasPrefix(name, "promotion_")
			})
			s.cards = append(s.cards, c)
			ids = append(ids, c.id)
		}
	})
	return ids
}

//go:embed cards.json
var cardsJSON []byte

// cards is cards.json.
type cards struct {
	// Changeable has a value of each field that /card/update accepts, by its object:
	// base_info, or a type of card. An object has such values of its members.
	Changeable map[string]map[string]any
	Cards      []struct {
		ID, Type string
		Card     map[string]any
	}
}

func readCards() (all cards) {
	sandbox.MustUnmarshal(cardsJSON, &all)
	return all
}

// changeable returns the fields that can be changed, by type of card.
var changeable = sync.OnceValue(func() map[string]map[string]any {
	all := readCards().Changeable
	for _, kind := range strings.Fields(kinds) {
		all[kind] = maps.Clone(all[kind])
		if all[kind] == nil {
			all[kind] = map[string]any{}
		}
		all[kind]["base_info"] = all["base_info"]
	}
	return all
})

// sampleCards returns the account's initial cards, one of each type. They were created a
// month ago and have passed review.
func sampleCards(now time.Time) (cards []*card) {
	created := now.AddDate(0, -1, 0)
	for _, sample := range readCards().Cards {
		c := &card{id: sample.ID, kind: sample.Type, shown: sample.Card}
		maps.Copy(c.base(), map[string]any{"create_time": created.Unix(), "update_time": created.Unix()})
		if dates := c.base()["date_info"].(map[string]any); dates["type"] == "DATE_TYPE_FIX_TIME_RANGE" {
			dates["begin_timestamp"], dates["end_timestamp"] = created.Unix(), created.AddDate(1, 0, 0).Unix()
		}
		cards = append(cards, c)
	}
	return cards
}
