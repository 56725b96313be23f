package main

import (
	"fmt"
	"io"
	"strings"

	"membercard/local/stack"
)

// greet prints the stack's address and a curl command for each operation.
func greet(w io.Writer, s *stack.Stack, o options, page string) {
	fmt.Fprintf(w, "membercard runs at %s\n", s.URL)
	if s.WeChatPay == nil || s.OfficialAccount == nil {
		fmt.Fprintln(w, "LIVE: it calls the real WeChat with your keys. Put your own cards, brand and openid into the lines below.")
	}
	switch s.Auth {
	case stack.NoAuth:
		fmt.Fprintln(w, "NO AUTH: everybody who reaches this address may call. In AWS there is always authorization; try -auth iam, jwt or wechat.")
	default:
		fmt.Fprintf(w, "auth: %s\n", s.Auth)
	}
	for _, route := range s.Routes {
		if example, ok := examples[route.Key]; ok {
			fmt.Fprintf(w, "\n%s:\n%s\n", example.says, example.curl(s, route.Key))
		}
	}
	fmt.Fprintf(w, "\napply the card plan %s; -dry-run only shows what would change:\ngo run ./local -sync -addr %s\n", o.plan, strings.TrimPrefix(s.URL, "http://"))
	fmt.Fprintf(w, "\nplayground: %s\n", page)
	fmt.Fprintln(w, "\nWhat the functions log follows; Ctrl-C stops it all.")
}

// example is a request from an operation's document.
type example struct {
	says       string
	parameters map[string]string
	body       string
}

const (
	updateRoute  = "POST /card/update"
	sampleCard   = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	sampleOpenID = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	brandExample = `{"brand_id": "1004", "card_id": "` + sampleCard + `", "openid": "` + sampleOpenID + `"}`
)

var examples = map[string]example{
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
	updateRoute: {
		says: "the links of a card",
		body: `{"card_id": "` + sampleCard + `", "member_card": {"base_info": {"custom_url_name": "立即使用", "custom_url": "http://www.qq.com", "custom_app_brand_user_name": "gh_86a091e50ad4@app", "custom_app_brand_pass": "API/cardPage", "custom_url_sub_title": "6个汉字tips", "promotion_url_name": "更多优惠", "promotion_url": "http://www.qq.com", "promotion_app_brand_user_name": "gh_86a091e50ad4@app", "promotion_app_brand_pass": "API/cardPage"}}}`,
	},
}

// path returns the path of a route with the example's parameters.
func (e example) path(route string) string {
	_, path, _ := strings.Cut(route, " ")
	for name, value := range e.parameters {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	return path
}

// curl returns a curl command with the authorization that the route requires.
func (e example) curl(s *stack.Stack, route string) string {
	var auth string
	switch {
	case s.Auth == stack.NoAuth:
	case s.Auth == stack.AuthIAM || route == updateRoute:
		auth = fmt.Sprintf(" --aws-sigv4 aws:amz:%s:execute-api --user %s:%s -H 'x-amz-security-token: %s'",
			stack.Region, stack.AccessKeyID, stack.SecretAccessKey, stack.SessionToken)
	case s.Auth == stack.AuthJWT:
		auth = fmt.Sprintf(" -H 'Authorization: Bearer %s'", s.Token())
	case s.Auth == stack.AuthWechat:
		auth = fmt.Sprintf(" -H 'Authorization: WeChat-MiniProgram %s'", s.OfficialAccount.LoginCode(sampleOpenID))
	}
	return fmt.Sprintf("curl -sS -w '\\n' %s%s -H 'Content-Type: application/json' -d '%s'", s.URL+e.path(route), auth, e.body)
}
