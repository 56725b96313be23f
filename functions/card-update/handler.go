package main

import (
	"context"
	"encoding/json"
	"maps"

	"membercard/shared/cardfields"
	"membercard/shared/gateway"
	"membercard/shared/officialaccount"
	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// request is the body of POST /card/update (更改卡券信息): card_id, and one object whose key
// is the card's type.
type request struct {
	CardID        string `json:"card_id"`
	Groupon       object `json:"groupon"`
	Cash          object `json:"cash"`
	Discount      object `json:"discount"`
	Gift          object `json:"gift"`
	GeneralCoupon object `json:"general_coupon"`
	MemberCard    object `json:"member_card"`
	ScenicTicket  object `json:"scenic_ticket"`
	MovieTicket   object `json:"movie_ticket"`
	BoardingPass  object `json:"boarding_pass"`
	MeetingTicket object `json:"meeting_ticket"`
}

type object = map[string]json.RawMessage

// card returns the only card object of the request and its type.
func (r *request) card() (cardType string, sent object, err error) {
	objects := []object{
		r.Groupon, r.Cash, r.Discount, r.Gift, r.GeneralCoupon,
		r.MemberCard, r.ScenicTicket, r.MovieTicket, r.BoardingPass, r.MeetingTicket,
	}
	for i, object := range objects {
		switch {
		case object == nil:
		case sent != nil:
			return "", nil, gateway.Fault(strictjson.Fault{Path: "/" + cardfields.CardTypes[i], Issue: "must not be sent beside " + cardType + ": a card has one type"})
		default:
			cardType, sent = cardfields.CardTypes[i], object
		}
	}
	if sent == nil {
		return "", nil, gateway.Fault(strictjson.Fault{Issue: "must have an object with the key of the card's type, such as member_card"})
	}
	return cardType, sent, nil
}

// validate checks the request and returns the fields to change.
func (r *request) validate() (cardType string, changes cardfields.Fields, err error) {
	if err := validation.Check("/body/card_id", r.CardID, validation.Required, validation.CardID); err != nil {
		return "", nil, err
	}
	cardType, sent, err := r.card()
	if err != nil {
		return "", nil, err
	}
	path := "/" + cardType
	var baseInfo cardfields.Fields
	var faults strictjson.Faults
	if value, ok := sent["base_info"]; ok {
		faults = strictjson.DecodeValue(value, path+"/base_info", &baseInfo)
		delete(sent, "base_info")
	}
	changes, wrong := cardfields.OnlyOf(sent, path)
	faults = append(append(faults, wrong...), cardfields.CheckCard(path, cardType, changes, baseInfo)...)
	maps.Copy(changes, baseInfo)
	if len(changes) == 0 {
		faults = append(faults, strictjson.Fault{Path: path, Issue: "must have a field to change"})
	}
	if len(faults) > 0 {
		return "", nil, gateway.Fault(faults[0])
	}
	return cardType, changes, nil
}

// update changes the fields of a card: POST /card/update.
func update(ctx context.Context, wechat *officialaccount.Client, r *gateway.Request) (*gateway.Response, error) {
	var body request
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	cardType, changes, err := body.validate()
	if err != nil {
		return nil, err
	}
	content, err := changes.UpdateRequest(body.CardID, cardType, nil)
	if err != nil {
		return nil, err
	}
	return gateway.Pass(wechat.Post(ctx, "/card/update", content))
}
