package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

func (a *app) tokenMerchant() *cobra.Command {
	var from source
	var cardID, bodyFile string
	cmd := command("merchant", a.text("Get a permission_token for a merchant card", "获取商家会员卡的 permission_token"), func(ctx context.Context, _ string) error {
		if issue := validation.CardID(cardID); issue != "" {
			return usagef("--card-id %s", issue)
		}
		body := []byte(`{"activate_type":"AUTO_ACTIVATE"}`)
		if bodyFile != "" {
			f, bad := load(bodyFile)
			if bad != nil {
				return bad
			}
			if body = f.text; !json.Valid(body) {
				return faultf("correct it", "%s is not JSON", bodyFile)
			}
		}
		return a.token(ctx, &from, "/v3/marketing/membercard-open/cards/"+cardID+"/permission-tokens", body, "permission_token")
	})
	cmd.Long = a.text(`Get a permission_token for a merchant card (商户预授权), signed on this machine. Only the
token is printed, so that a script can use it.`,
		"获取商家会员卡的 permission_token（商户预授权），在本机签名。只输出 token，便于脚本使用。")
	cmd.Flags().StringVar(&cardID, "card-id", "", a.text("the card's `ID`", "会员卡 `ID`"))
	cmd.Flags().StringVar(&bodyFile, "body", "", a.text("`FILE` with the request's JSON (default {\"activate_type\":\"AUTO_ACTIVATE\"})", "请求 JSON 文件（`FILE`，默认 {\"activate_type\":\"AUTO_ACTIVATE\"}）"))
	require(cmd, "card-id")
	return from.flags(a, cmd)
}

func (a *app) tokenBrand() *cobra.Command {
	var from source
	var asked struct {
		BrandID string `json:"brand_id"`
		CardID  string `json:"card_id"`
		OpenID  string `json:"openid"`
	}
	cmd := command("brand", a.text("Get a token for a brand card", "获取品牌会员卡的 token"), func(ctx context.Context, _ string) error {
		if asked.BrandID == "" || asked.OpenID == "" {
			return usagef("--brand-id, --card-id and --openid must not be empty")
		}
		if issue := validation.CardID(asked.CardID); issue != "" {
			return usagef("--card-id %s", issue)
		}
		return a.token(ctx, &from, "/v3/brand/partner/card-member/pre-auth-tokens", strictjson.Encode(asked), "token")
	})
	cmd.Long = a.text(`Get a token for a user of a brand card (入会组件预授权), signed on this machine. Only the
token is printed, so that a script can use it. WeChat Pay allows 5 a second.`,
		`为用户获取品牌会员卡的 token（入会组件预授权），在本机签名。只输出 token，便于脚本使用。
微信支付限制每秒 5 次。`)
	cmd.Flags().StringVar(&asked.BrandID, "brand-id", "", a.text("the brand's `ID`", "品牌 `ID`"))
	cmd.Flags().StringVar(&asked.CardID, "card-id", "", a.text("the card's `ID`", "会员卡 `ID`"))
	cmd.Flags().StringVar(&asked.OpenID, "openid", "", a.text("the user's `OPENID`", "用户的 `OPENID`"))
	require(cmd, "brand-id", "card-id", "openid")
	return from.flags(a, cmd)
}

// token makes a signed call and prints the token in the answer, or as JSON the whole
// answer.
func (a *app) token(ctx context.Context, from *source, path string, body []byte, member string) error {
	r := &report{}
	client, secret, err := a.merchantOf(ctx, r, from)
	if err != nil {
		return err
	}
	if client == nil {
		return a.print(a.out, r)
	}
	var token string
	end := a.during("asking WeChat Pay")
	answer, err := client.Post(ctx, path, body)
	if end(); err == nil {
		token, err = answer.Text(member)
	}
	if err != nil {
		r.add(failedCall("token", err))
		a.cure(r, from, secret)
		s := r.Steps[len(r.Steps)-1]
		return &fault{cause: s.Cause, cure: s.Cure, requestID: s.RequestID}
	}
	if a.json {
		token = string(answer.Body)
	}
	_, err = fmt.Fprintln(a.out, token)
	return err
}
