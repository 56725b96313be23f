package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"membercard/local/guard"
	"membercard/local/journey"
	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// greet prints the addresses of the stack and its playground, and a command for each
// operation.
func greet(w io.Writer, s *stack.Stack, o options, page string) {
	fmt.Fprintf(w, "membercard runs at %s\n", s.URL)
	if s.WeChatPay == nil || s.OfficialAccount == nil {
		fmt.Fprintln(w, "LIVE: it calls the real WeChat with your keys. Put your own cards, brand and openid into the lines below.")
		fmt.Fprintf(w, "Each request needs the header %s. The lines below have it, and the playground's address; the token ends with this stack.\n", guard.TokenHeader)
	}
	switch {
	case s.Auth != stack.NoAuth:
		fmt.Fprintf(w, "auth: %s\n", s.Auth)
	case s.Guard.Token == "":
		fmt.Fprintln(w, "NO AUTH: everybody who reaches this address may call. In AWS there is always authorization; try -auth iam, jwt or wechat.")
	}
	examples := examples(s)
	for _, route := range s.Routes {
		if example, ok := examples[route.Key]; ok {
			fmt.Fprintf(w, "\n%s:\n%s\n", example.says, example.curl(s, route.Key))
		}
	}
	var variable string
	if s.Guard.Token != "" {
		variable = tokenVariable + "=" + s.Guard.Token + " "
		page += "/#token=" + s.Guard.Token // browsers do not send a fragment, and pages of other origins can't read it
	}
	fmt.Fprintf(w, "\napply the card plan %s; -dry-run only shows what would change:\n%sgo run ./local -sync -addr %s\n", o.plan, variable, strings.TrimPrefix(s.URL, "http://"))
	if s.WeChatPay != nil {
		fmt.Fprintln(w, "\nthe customer opens a brand card, or a merchant card of JUMP_ACTIVATE: each step from the token to EFFECTIVE:")
		for _, kind := range []string{journey.Brand, journey.Merchant} {
			fmt.Fprintf(w, "%sgo run ./local -open %s -addr %s\n", variable, kind, strings.TrimPrefix(s.URL, "http://"))
		}
	}
	fmt.Fprintf(w, "\nplayground: %s\n", page)
	fmt.Fprintln(w, "\nWhat the functions log follows; Ctrl-C stops it all.")
}

// example is a request from an operation's document.
type example struct {
	says       string
	iam        bool              // requires AWS_IAM, whatever the frontends' authorization is
	once       bool              // WeChat refuses a second one
	parameters map[string]string // in the path, escaped
	query      string            // with the question mark
	body       string            // empty for GET
}

const (
	sampleCard   = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	sampleOpenID = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	brandExample = `{"brand_id": "1004", "card_id": "` + sampleCard + `", "openid": "` + sampleOpenID + `"}`
)

// examples returns the examples by route. They use the sample cards of the sandboxes, or
// placeholders if the stack calls the real WeChat.
func examples(s *stack.Stack) map[string]example {
	encryptCode := "ENCRYPT_CODE"
	brand, merchant := wechatpay.UserCard{Code: "USER_CARD_CODE"}, wechatpay.UserCard{Code: "CODE", EncryptCode: "ENCRYPT_CODE", ActivateTicket: "ACTIVATE_TICKET"}
	if s.OfficialAccount != nil {
		encryptCode = s.OfficialAccount.SampleEncryptCode()
	}
	if s.WeChatPay != nil {
		cards := s.WeChatPay.UserCards()
		brand, merchant = cards[0], cards[1]
	}
	return map[string]example{
		"POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens": {
			says:       "merchant pre-authorisation, a permission_token",
			parameters: map[string]string{"card_id": sampleCard},
			body:       `{"activate_type": "AUTO_ACTIVATE", "navigate_back_previous_page": true, "activate_url": "https://w.url.cn/s/Ahz3p2C", "activate_appid": "wxea9c30a90fs8d3fe", "activate_path": "pages/activate/activate", "outer_str": "szwxtd"}`,
		},
		"POST /v3/brand/partner/card-member/open-user-card-tokens": {
			says: "brand pre-authorisation, a token",
			body: brandExample,
		},
		"POST /v3/brand/partner/card-member/pre-auth-tokens": {
			says: "the same under its name since November 2025",
			body: brandExample,
		},
		"POST /card/ext": {
			says: "parameters of wx.addCard",
			body: `{"card_id": "` + sampleCard + `", "outer_str": "szwxtd"}`,
		},
		"POST /card/update": {
			says: "the links of a card",
			iam:  true,
			body: `{"card_id": "` + sampleCard + `", "member_card": {"base_info": {"custom_url_name": "立即使用", "custom_url": "http://www.qq.com", "custom_app_brand_user_name": "gh_86a091e50ad4@app", "custom_app_brand_pass": "API/cardPage", "custom_url_sub_title": "6个汉字tips", "promotion_url_name": "更多优惠", "promotion_url": "http://www.qq.com", "promotion_app_brand_user_name": "gh_86a091e50ad4@app", "promotion_app_brand_pass": "API/cardPage"}}}`,
		},
		"POST /card/create": {
			says: "another card, with links; each call makes one",
			iam:  true,
			body: `{"card": {"card_type": "MEMBER_CARD", "member_card": {"prerogative": "会员专享价", "supply_bonus": false, "supply_balance": false, "base_info": {"logo_url": "http://mmbiz.qpic.cn/mmbiz/sandbox/0", "brand_name": "微信餐厅", "code_type": "CODE_TYPE_TEXT", "title": "会员卡", "color": "Color010", "notice": "使用时向服务员出示此券", "description": "不可与其他优惠同享", "sku": {"quantity": 50000000}, "date_info": {"type": "DATE_TYPE_PERMANENT"}, "custom_url_name": "立即使用", "custom_url": "http://www.qq.com", "custom_app_brand_user_name": "gh_86a091e50ad4@app", "custom_app_brand_pass": "API/cardPage"}}}}`,
		},
		"POST /card/code/decrypt": {
			says: "the code for wx.openCard",
			body: `{"encrypt_code": "` + encryptCode + `"}`,
		},
		"POST /v3/brand/partner/card-member/user-cards/{user_card_code}/confirm": {
			says:       "confirm that a user has opened a brand card",
			iam:        true,
			once:       true,
			parameters: map[string]string{"user_card_code": brand.Code},
			body:       strings.TrimSuffix(brandExample, "}") + `, "user_card_confirm_state": "CREATE_CARD_SUCCESS"}`,
		},
		"POST /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/confirm": {
			says:       "confirm a merchant card",
			iam:        true,
			parameters: map[string]string{"card_id": sampleCard, "code": merchant.Code},
			body:       `{"user_card_confirm_state": "CREATE_CARD_SUCCESS"}`,
		},
		"GET /v3/marketing/membercard-open/cards/{card_id}/decrypt-code": {
			says:       "the code of a merchant card, after the jump",
			iam:        true,
			parameters: map[string]string{"card_id": sampleCard},
			query:      "?encrypt_code=" + merchant.EncryptCode,
		},
		"GET /v3/marketing/membercard-open/activate-informations/{activate_ticket+}": {
			says:       "what its user has filled in",
			iam:        true,
			parameters: map[string]string{"activate_ticket+": url.QueryEscape(merchant.ActivateTicket)},
		},
		"POST /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/activate": {
			says:       "activate it; the answer is 204 without a body",
			iam:        true,
			once:       true,
			parameters: map[string]string{"card_id": sampleCard, "code": merchant.Code},
			body:       `{"membership_number": "A-1"}`,
		},
	}
}

// path returns the route's path and query with the example's parameters.
func (e example) path(route string) string {
	_, path, _ := strings.Cut(route, " ")
	for name, value := range e.parameters {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	return path + e.query
}

// curl returns a curl command with the authorization that the route requires.
func (e example) curl(s *stack.Stack, route string) string {
	var auth string
	if s.Guard.Token != "" {
		auth = fmt.Sprintf(" -H '%s: %s'", guard.TokenHeader, s.Guard.Token)
	}
	switch {
	case s.Auth == stack.NoAuth:
	case s.Auth == stack.AuthIAM || e.iam:
		auth += fmt.Sprintf(" --aws-sigv4 aws:amz:%s:execute-api --user %s:%s -H 'x-amz-security-token: %s'",
			stack.Region, stack.AccessKeyID, stack.SecretAccessKey, stack.SessionToken)
	case s.Auth == stack.AuthJWT:
		auth += fmt.Sprintf(" -H 'Authorization: Bearer %s'", s.Token())
	case s.Auth == stack.AuthWechat:
		auth += fmt.Sprintf(" -H 'Authorization: WeChat-MiniProgram %s'", s.OfficialAccount.LoginCode(sampleOpenID))
	}
	command := fmt.Sprintf("curl -sS -w '\\n' '%s'%s", s.URL+e.path(route), auth)
	if e.body != "" {
		command += fmt.Sprintf(" -H 'Content-Type: application/json' -d '%s'", e.body)
	}
	return command
}
