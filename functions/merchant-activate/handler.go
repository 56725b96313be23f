package main

import (
	"cmp"
	"context"

	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/validation"
)

// request is the body of the activation of a user's card. Without a membership
// number WeChat shows the card's code.
type request struct {
	MembershipNumber string `json:"membership_number,omitempty"`
}

func (r *request) validate(cardID, code string) error {
	return cmp.Or(
		validation.Check("/path/card_id", cardID, validation.Required, validation.CardID),
		validation.CheckPrivate("/path/code", code, validation.Required, validation.Code),
		validation.CheckPrivate("/body/membership_number", r.MembershipNumber, validation.MaxLength(32), validation.HalfWidth),
	)
}

// activate activates a user's card:
// POST /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/activate. The body
// may be left out. WeChat's answer is 204.
func activate(ctx context.Context, wechatpay *signing.Client, r *gateway.Request) (*gateway.Response, error) {
	var body request
	cardID, code := r.PathParameter("card_id"), r.PathParameter("code")
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if err := body.validate(cardID, code); err != nil {
		return nil, err
	}
	return gateway.PassObjectOrNothing(wechatpay.PostChange(ctx, "/v3/marketing/membercard-open/cards/"+cardID+"/codes/"+code+"/activate", body))
}

func decode(r *gateway.Request, body *request) error {
	sent, err := r.Body()
	if err != nil || len(sent) == 0 {
		return err
	}
	return r.Decode(body)
}
