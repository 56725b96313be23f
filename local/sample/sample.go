// Package sample has a request for each operation, from its document.
package sample

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"membercard/local/apigateway"
	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// Request is a request from an operation's document.
type Request struct {
	Says       string
	Once       bool              // WeChat refuses a second one
	Body       string            // empty for GET
	parameters map[string]string // in the paths of all routes, escaped
	query      string            // with the question mark
}

// The user of the requests, the template of the cards, and the body that asks for a brand
// card's token.
const (
	OpenID    = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	CardID    = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	BrandBody = `{"brand_id": "1004", "card_id": "` + CardID + `", "openid": "` + OpenID + `"}`
)

// Requests returns a request for each route but that of notifications, by the route's key.
// They use the sample cards of the sandboxes, or placeholders if the stack calls the real
// WeChat.
func Requests(s *stack.Stack) map[string]Request {
	encryptCode := "ENCRYPT_CODE"
	brand, merchant := wechatpay.UserCard{Code: "USER_CARD_CODE"}, wechatpay.UserCard{Code: "CODE", EncryptCode: "ENCRYPT_CODE", ActivateTicket: "ACTIVATE_TICKET"}
	if s.OfficialAccount != nil {
		encryptCode = s.OfficialAccount.SampleEncryptCode()
	}
	if s.WeChatPay != nil {
		cards := s.WeChatPay.UserCards()
		brand, merchant = cards[0], cards[1]
	}
	requests := map[string]Request{
		"POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens": {
			Says: "merchant pre-authorisation, a permission_token",
			Body: `{"activate_type": "AUTO_ACTIVATE", "navigate_back_previous_page": true, "activate_url": "https://w.url.cn/s/Ahz3p2C", "activate_appid": "wxea9c30a90fs8d3fe", "activate_path": "pages/activate/activate", "outer_str": "szwxtd"}`,
		},
		"POST /v3/brand/partner/card-member/open-user-card-tokens": {
			Says: "brand pre-authorisation, a token",
			Body: BrandBody,
		},
		"POST /v3/brand/partner/card-member/pre-auth-tokens": {
			Says: "the same under its name since November 2025",
			Body: BrandBody,
		},
		"POST /card/ext": {
			Says: "parameters of wx.addCard",
			Body: `{"card_id": "` + CardID + `", "outer_str": "szwxtd"}`,
		},
		"POST /card/update": {
			Says: "the links of a card",
			Body: `{"card_id": "` + CardID + `", "member_card": {"base_info": {"custom_url_name": "立即使用", "custom_url": "http://www.qq.com", "custom_app_brand_user_name": "gh_86a091e50ad4@app", "custom_app_brand_pass": "API/cardPage", "custom_url_sub_title": "6个汉字tips", "promotion_url_name": "更多优惠", "promotion_url": "http://www.qq.com", "promotion_app_brand_user_name": "gh_86a091e50ad4@app", "promotion_app_brand_pass": "API/cardPage"}}}`,
		},
		"POST /card/create": {
			Says: "another card, with links; each call makes one",
			Body: `{"card": {"card_type": "MEMBER_CARD", "member_card": {"prerogative": "会员专享价", "supply_bonus": false, "supply_balance": false, "base_info": {"logo_url": "http://mmbiz.qpic.cn/mmbiz/sandbox/0", "brand_name": "微信餐厅", "code_type": "CODE_TYPE_TEXT", "title": "会员卡", "color": "Color010", "notice": "使用时向服务员出示此券", "description": "不可与其他优惠同享", "sku": {"quantity": 50000000}, "date_info": {"type": "DATE_TYPE_PERMANENT"}, "custom_url_name": "立即使用", "custom_url": "http://www.qq.com", "custom_app_brand_user_name": "gh_86a091e50ad4@app", "custom_app_brand_pass": "API/cardPage"}}}}`,
		},
		"POST /card/code/decrypt": {
			Says: "the code for wx.openCard",
			Body: `{"encrypt_code": "` + encryptCode + `"}`,
		},
		"POST /v3/brand/partner/card-member/user-cards/{user_card_code}/confirm": {
			Says: "confirm that a user has opened a brand card",
			Once: true,
			Body: strings.TrimSuffix(BrandBody, "}") + `, "user_card_confirm_state": "CREATE_CARD_SUCCESS"}`,
		},
		"POST /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/confirm": {
			Says: "confirm a merchant card",
			Body: `{"user_card_confirm_state": "CREATE_CARD_SUCCESS"}`,
		},
		"GET /v3/marketing/membercard-open/cards/{card_id}/decrypt-code": {
			Says:  "the code of a merchant card, after the jump",
			query: "?encrypt_code=" + merchant.EncryptCode,
		},
		"GET /v3/marketing/membercard-open/activate-informations/{activate_ticket+}": {
			Says: "what its user has filled in",
		},
		"POST /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/activate": {
			Says: "activate it; the answer is 204 without a body",
			Once: true,
			Body: `{"membership_number": "A-1"}`,
		},
		"GET /v3/brand/partner/card-member/user-cards/{user_card_code}": {
			Says:  "a user's brand card: is the user a member?",
			query: "?brand_id=1004&card_id=" + CardID + "&openid=" + OpenID,
		},
		"GET /v3/brand/partner/card-member/user-cards": {
			Says:  "the user's cards of the brand",
			query: "?brand_id=1004&limit=20&offset=0&openid=" + OpenID, // in order: curl 7 signs it as it is
		},
		"GET /v3/marketing/membercard-open/cards/{card_id}/codes/{code}": {
			Says: "a user's merchant card",
		},
		"GET /v3/marketing/membercard-open/user/cards": {
			Says:  "the user's merchant cards",
			query: "?limit=20&offset=0&openid=" + OpenID,
		},
	}
	parameters := map[string]string{"card_id": CardID, "code": merchant.Code, "user_card_code": brand.Code, "activate_ticket+": url.QueryEscape(merchant.ActivateTicket)}
	for route, request := range requests {
		request.parameters = parameters
		requests[route] = request
	}
	return requests
}

// URI returns the path and query of the request for a route.
func (r Request) URI(route string) string {
	_, path, _ := strings.Cut(route, " ")
	for name, value := range r.parameters {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	return path + r.query
}

// With returns the request with another value of a parameter in the path.
func (r Request) With(parameter, value string) Request {
	r.parameters = maps.Clone(r.parameters)
	r.parameters[parameter] = value
	return r
}

// Event returns the request as an event of API Gateway.
func (r Request) Event(route string) []byte { return event(route, r.URI(route), nil, r.Body) }

// Notification returns a freshly signed notification of the sandbox as an event of API
// Gateway.
func Notification(s *stack.Stack, route string) []byte {
	header, body, _ := s.WeChatPay.Notification(s.WeChatPay.UserCards()[0].Code) // the sample card exists
	_, path, _ := strings.Cut(route, " ")
	return event(route, path, header, string(body))
}

func event(route, uri string, header http.Header, body string) []byte {
	method, path, _ := strings.Cut(route, " ")
	request, err := http.NewRequest(method, uri, nil)
	if err != nil {
		panic(err) // the requests here are valid
	}
	request.Header = header
	parameters, _ := apigateway.Match(path, request.URL.Path)
	payload, _ := json.Marshal(apigateway.NewEvent(request, []byte(body), route, parameters)) // strings always marshal
	return payload
}
