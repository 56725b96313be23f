package main

import (
	"cmp"
	"context"

	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/validation"
)

// request is the body of the merchant pre-authorisation (商户预授权, 2023-11-28).
type request struct {
	ActivateType             string `json:"activate_type"`
	NavigateBackPreviousPage *bool  `json:"navigate_back_previous_page,omitempty"`
	ActivateURL              string `json:"activate_url,omitempty"`
	ActivateAppID            string `json:"activate_appid,omitempty"`
	ActivatePath             string `json:"activate_path,omitempty"`
	OuterStr                 string `json:"outer_str,omitempty"`
}

func (r *request) validate(cardID string) error {
	return cmp.Or(
		validation.Check("/path/card_id", cardID, validation.Required, validation.CardID),
		validation.Check("/body/activate_type", r.ActivateType, validation.Required, validation.OneOf("AUTO_ACTIVATE", "JUMP_ACTIVATE")),
		validation.Check("/body/activate_url", r.ActivateURL, validation.MaxLength(128), validation.WebURL),
		validation.Check("/body/activate_appid", r.ActivateAppID, validation.MaxLength(32)),
		validation.Check("/body/activate_path", r.ActivatePath, validation.MaxLength(128)),
		validation.Check("/body/outer_str", r.OuterStr, validation.MaxLength(32), validation.OuterStr),
		validation.RefuseIf(r.ActivateType == "JUMP_ACTIVATE" && r.ActivateURL == "" && r.ActivateAppID == "",
			"/body/activate_url", "or activate_appid is required with JUMP_ACTIVATE"),
	)
}

// mint returns a permission_token for a card:
// POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens.
func (j jump) mint(ctx context.Context, wechatpay *signing.Client, r *gateway.Request) (*gateway.Response, error) {
	var body request
	cardID := r.PathParameter("card_id")
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if err := body.validate(cardID); err != nil {
		return nil, err
	}
	if err := j.allow(r, &body); err != nil {
		return nil, err
	}
	answer, err := wechatpay.Post(ctx, "/v3/marketing/membercard-open/cards/"+cardID+"/permission-tokens", body)
	if err == nil {
		_, err = answer.Text("permission_token")
	}
	return gateway.Pass(answer, advice.Apply(err))
}
