package main

import (
	"context"
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
	Groupon       *card  `json:"groupon"`
	Cash          *card  `json:"cash"`
	Discount      *card  `json:"discount"`
	Gift          *card  `json:"gift"`
	GeneralCoupon *card  `json:"general_coupon"`
	MemberCard    *card  `json:"member_card"`
	ScenicTicket  *card  `json:"scenic_ticket"`
	MovieTicket   *card  `json:"movie_ticket"`
	BoardingPass  *card  `json:"boarding_pass"`
	MeetingTicket *card  `json:"meeting_ticket"`
}

type card struct {
	BaseInfo                 cardfields.Fields `json:"base_info"`
	ActivateURL              *string           `json:"activate_url"`
	ActivateAppBrandUserName *string           `json:"activate_app_brand_user_name"`
	ActivateAppBrandPass     *string           `json:"activate_app_brand_pass"`
}

// card returns the only card object of the request and its type.
func (r *request) card() (cardType string, sent *card, err error) {
	objects := []*card{
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
	changes = cardfields.Fields{}
	for name, value := range map[string]*string{
		"activate_url":                 sent.ActivateURL,
		"activate_app_brand_user_name": sent.ActivateAppBrandUserName,
		"activate_app_brand_pass":      sent.ActivateAppBrandPass,
	} {
		if value != nil {
			changes[name] = *value
		}
	}
	faults := cardfields.CheckCard("/"+cardType, cardType, changes, sent.BaseInfo)
	maps.Copy(changes, sent.BaseInfo)
	if len(changes) == 0 {
		faults = append(faults, strictjson.Fault{Path: "/" + cardType, Issue: "must have a field to change"})
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
	content, err := changes.UpdateRequest(body.CardID, cardType)
	if err != nil {
		return nil, err
	}
	answer, err := wechat.Post(ctx, "/card/update", content)
	if err != nil {
		return nil, err
	}
	return gateway.Pass(answer), nil
}
