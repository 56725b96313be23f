package main

import (
	"cmp"
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"sync"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/apierror"
	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
	"membercard/shared/validation"
)

type function struct {
	requests lambda.Handler
	batches  *batches
}

func newFunction(log *telemetry.Log, wechatpay *signing.Client, queue *queue) function {
	return function{
		requests: gateway.NewHandler(log, wechatpay, confirmRequest),
		batches:  &batches{wechatpay: wechatpay.Once(), queue: queue, log: log, interval: callInterval},
	}
}

// Invoke implements [lambda.Handler].
func (f function) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	var messages []events.SQSMessage
	if strictjson.Member(event, "Records", &messages) {
		return strictjson.Encode(f.batches.confirm(ctx, messages)), nil
	}
	return f.requests.Invoke(ctx, event)
}

// request is the body of the confirmation (同步会员开通结果, 2025-06-22).
//
// The caller has to encrypt phone_number and the values in user_information with the
// public key or platform certificate of WeChat Pay that the merchant's secret has,
// because the request names that key in Wechatpay-Serial.
type request struct {
	BrandID              string                     `json:"brand_id"`
	CardID               string                     `json:"card_id"`
	OpenID               string                     `json:"openid"`
	CardColor            string                     `json:"card_color,omitempty"`
	CardPictureURL       string                     `json:"card_picture_url,omitempty"`
	PhoneNumber          string                     `json:"phone_number,omitempty"`
	UserInformation      map[string]json.RawMessage `json:"user_information,omitzero"`
	Level                string                     `json:"level,omitempty"`
	ValidDateInformation *validDate                 `json:"valid_date_information,omitempty"`
	Attach               string                     `json:"attach,omitempty"`
	UserCardConfirmState string                     `json:"user_card_confirm_state"`
}

type validDate struct {
	Type                     string `json:"type"`
	AvailableBeginTime       string `json:"available_begin_time,omitempty"` // RFC 3339
	AvailableEndTime         string `json:"available_end_time,omitempty"`   // RFC 3339
	AvailableDayAfterReceive *int64 `json:"available_day_after_receive,omitempty"`
}

const created = "CREATE_CARD_SUCCESS"

// validate checks the document's rules. The alphabet of user_card_code is stricter,
// because it becomes part of the URL path.
func (r *request) validate(userCardCode string) error {
	return cmp.Or(
		validation.CheckPrivate("/path/user_card_code", userCardCode, validation.Required, validation.Code),
		validation.Check("/body/brand_id", r.BrandID, validation.Required, validation.MaxLength(32)),
		validation.Check("/body/card_id", r.CardID, validation.Required, validation.CardID),
		validation.CheckPrivate("/body/openid", r.OpenID, validation.Required, validation.MaxLength(128)),
		validation.Check("/body/user_card_confirm_state", r.UserCardConfirmState, validation.Required, validation.OneOf(created, "CREATE_CARD_FAIL")),
		validation.Check("/body/card_color", r.CardColor, color),
		validation.Check("/body/card_picture_url", r.CardPictureURL, validation.MaxLength(256), validation.WebURL),
		validation.CheckPrivate("/body/phone_number", r.PhoneNumber, validation.MaxLength(512)),
		r.ValidDateInformation.validate(),
	)
}

func (v *validDate) validate() error {
	if v == nil {
		return nil
	}
	const at = "/body/valid_date_information/"
	return cmp.Or(
		validation.Check(at+"type", v.Type, validation.Required, validation.OneOf("FIX_TIME_RANGE", "FIX_TERM", "PERMANENT")),
		validation.Check(at+"available_begin_time", v.AvailableBeginTime, validation.Time),
		validation.Check(at+"available_end_time", v.AvailableEndTime, validation.Time),
	)
}

func color(value string) string {
	if digits, ok := strings.CutPrefix(value, "#"); value != "" && !(ok && len(digits) == 6 && strings.Trim(digits, "0123456789abcdefABCDEF") == "") {
		return "must have the form #RRGGBB"
	}
	return ""
}

// confirmRequest tells WeChat Pay whether the user has become a member, and returns
// the user's card: POST /v3/brand/partner/card-member/user-cards/{user_card_code}/confirm.
func confirmRequest(ctx context.Context, wechatpay *signing.Client, r *gateway.Request) (*gateway.Response, error) {
	var body request
	userCardCode := r.PathParameter("user_card_code")
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if err := body.validate(userCardCode); err != nil {
		return nil, err
	}
	return gateway.Pass(confirm(ctx, wechatpay, userCardCode, body))
}

func confirm(ctx context.Context, wechatpay *signing.Client, userCardCode string, body request) (*upstream.Answer, error) {
	answer, err := wechatpay.PostChange(ctx, "/v3/brand/partner/card-member/user-cards/"+userCardCode+"/confirm", body)
	if err != nil {
		return nil, advice.Apply(err)
	}
	return answer, answer.RequireObject()
}

// confirmedAlready matches the message of a refusal whose reason is that this card is
// confirmed already. No document states such messages, so this is only a hint to ask for the
// card. The card has to be the subject of the verb: a brand or a merchant number that is
// confirmed or activated, or a user who has done something, says nothing about the card. What
// follows the verb must not negate it.
var confirmedAlready = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`卡[^，。,.;；、！!]{0,4}已(经|被|成功)?(确认|同步|生效|激活)([^失不未前]|$)`)
})

// isConfirmedAlready reports whether WeChat Pay says that it refused a confirmation because the
// card is already confirmed.
func isConfirmedAlready(refusal *apierror.Error) bool {
	return !apierror.Transient(refusal.Status) && confirmedAlready().MatchString(refusal.Message)
}
