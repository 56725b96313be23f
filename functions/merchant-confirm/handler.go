package main

import (
	"cmp"
	"context"

	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/validation"
)

// request is the body of the confirmation of a user's card (2026-07). The state DEFAULT of
// the document is not accepted, because it confirms nothing.
type request struct {
	UserCardConfirmState string `json:"user_card_confirm_state"`
	FailReason           string `json:"fail_reason,omitempty"`
}

func (r *request) validate(cardID, code string) error {
	return cmp.Or(
		validation.Check("/path/card_id", cardID, validation.Required, validation.CardID),
		validation.CheckPrivate("/path/code", code, validation.Required, validation.Code),
		validation.Check("/body/user_card_confirm_state", r.UserCardConfirmState, validation.Required,
			validation.OneOf("CREATE_CARD_SUCCESS", "CREATE_CARD_FAIL", "CREATE_CARD_ALREADY_EXISTS")),
		validation.CheckPrivate("/body/fail_reason", r.FailReason, validation.MaxLength(128)),
		validation.RefuseIf(r.FailReason != "" && r.UserCardConfirmState != "CREATE_CARD_FAIL", "/body/fail_reason", "is allowed with CREATE_CARD_FAIL only"),
	)
}

// confirm tells WeChat Pay whether the merchant's own registration succeeded:
// POST /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/confirm. The document
// does not describe the answer, so any object is passed on, and an empty body as well.
func confirm(ctx context.Context, wechatpay *signing.Client, r *gateway.Request) (*gateway.Response, error) {
	var body request
	cardID, code := r.PathParameter("card_id"), r.PathParameter("code")
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if err := body.validate(cardID, code); err != nil {
		return nil, err
	}
	return gateway.PassObjectOrNothing(wechatpay.PostChange(ctx, "/v3/marketing/membercard-open/cards/"+cardID+"/codes/"+code+"/confirm", body))
}
