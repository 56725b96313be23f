package main

import (
	"encoding/json"
	"strings"
	"testing"

	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

func TestCallback(t *testing.T) {
	const first, second = "https://abc123.execute-api.eu-central-1.amazonaws.com/wechatpay/notifications", "https://cards.example.com/wechatpay/notifications"
	secret := write(t, "s.json", pay.MerchantSecret(wechatpay.Both))
	pay.NotifyAt("")
	callback := func(args ...string) outcome {
		return tool(t, append([]string{"callback", "--json", local, "--file", secret}, args...)...)
	}
	if s := callback("get").requireFailed(t, "callback URL"); !strings.Contains(s.Cure, "membercard callback set --file ") {
		t.Errorf("%+v", s)
	}
	for _, row := range []struct{ url, detail string }{{first, first}, {second, second + " (before: " + first + ")"}, {second, second}} {
		r := callback("set", row.url).requirePassed(t)
		if got := r.Steps[len(r.Steps)-1]; r.NotifyURL != row.url || got.Detail != row.detail {
			t.Errorf("%+v", r)
		}
		if r := callback("get").requirePassed(t); r.NotifyURL != row.url {
			t.Errorf("%+v", r)
		}
	}
	pay.Break(0, sandbox.Status(403, `{"code":"NO_AUTH","message":"商户无权限"}`), 1)
	if s := callback("get").requireFailed(t, "callback URL"); !strings.Contains(s.Cause, "403 NO_AUTH") || s.RequestID == "" {
		t.Errorf("%+v", s)
	}
	for _, row := range []struct{ name, url, cause string }{
		{"in the clear", "http://cards.example.com/n", "https URLs only"},
		{"with a query", second + "?a=b", "without a query"},
		{"with a fragment", second + "#a", "without a query"},
		{"a path", "/wechatpay/notifications", "is not a URL"},
		{"with a password", "https://a:b@example.com/n", "is not a URL"},
		{"this machine", "https://localhost/n", "can't reach localhost"},
		{"this machine's address", "https://127.0.0.1:8080/n", "can't reach 127.0.0.1"},
		{"a private address", "https://10.0.0.1/n", "can't reach 10.0.0.1"},
		{"too long", second + strings.Repeat("x", 256), "256 are allowed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if s := callback("set", row.url).requireFailed(t, "URL"); !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, "describe-stacks") {
				t.Errorf("%+v", s)
			}
		})
	}
	if o := callback("set"); o.code != exitUsage {
		t.Errorf("%+v", o)
	}
}

func TestToken(t *testing.T) {
	const card, openid = "pbLatjvWOibDc5-TBnbUk1pD12o0", "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	secret := write(t, "s.json", pay.MerchantSecret(wechatpay.Both))
	body := write(t, "body.json", `{"activate_type":"JUMP_ACTIVATE","activate_url":"https://w.url.cn/s/Ahz3p2C"}`)
	brand := []string{"brand", "--brand-id", "1004", "--card-id", card, "--openid", openid}
	for _, row := range []struct {
		name   string
		args   []string
		member string // of the answer
		fails  string
		code   int
	}{
		{"merchant", []string{"merchant", "--card-id", card}, "permission_token", "", exitOK},
		{"merchant, with a body", []string{"merchant", "--card-id", card, "--body", body}, "permission_token", "", exitOK},
		{"brand", brand, "token", "", exitOK},
		{"a card of another merchant", []string{"merchant", "--card-id", "pForeign"}, "", "会员卡的创建商户号不等于调用方商户号", exitFailed},
		{"a body that is not JSON", []string{"merchant", "--card-id", card, "--body", secret + "x"}, "", "there is no file", exitFailed},
		{"a card ID that is a path", []string{"merchant", "--card-id", "../x"}, "", "--card-id", exitUsage},
		{"no card", []string{"merchant"}, "", "--card-id not set", exitUsage},
		{"no user", brand[:5], "", "--openid not set", exitUsage},
	} {
		t.Run(row.name, func(t *testing.T) {
			args := append([]string{"token", local, "--file", secret}, row.args...)
			o := tool(t, args...)
			if o.code != row.code || row.code == exitOK && (len(strings.Fields(o.out)) != 1 || o.err != "") || !strings.Contains(o.err, row.fails) {
				t.Errorf("exit code %d\n%s%s", o.code, o.out, o.err)
			}
			if row.code != exitOK {
				return
			}
			var answer map[string]any
			if o := tool(t, append(args, "--json")...); json.Unmarshal([]byte(o.out), &answer) != nil || answer[row.member] == "" {
				t.Errorf("%s", o.out)
			}
		})
	}
	if o := tool(t, "token", "merchant", "--card-id", card, local, "--file", body); o.code != exitFailed || !strings.Contains(o.out, "✗ secret is well-formed") {
		t.Errorf("%+v", o)
	}
}
