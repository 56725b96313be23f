package stack_test

import (
	"maps"
	"strings"
	"testing"

	"membercard/local/lambda"
	"membercard/wechat/wechatpay"
)

// The key check, as Lambda runs it, against a WeChat Pay whose keys change.
func TestKeyCheck(t *testing.T) {
	t.Parallel()
	const passes = `{"ok":true,"steps":[`
	for _, row := range []struct {
		name  string
		keys  wechatpay.Mode
		event string
		after func(*wechatpay.Sandbox)
		says  string // the result's beginning, or part of the error
	}{
		{"public key", wechatpay.PublicKey, `{"action":"check"}`, nil, passes},
		{"certificates", wechatpay.Certificates, `{"action":"check"}`, nil, passes},
		{"both", wechatpay.Both, `{"action":"check"}`, nil, passes},
		{"with a notification", wechatpay.Both, `{"action":"check","notify":true}`, nil, passes},
		{"the merchant's certificate is replaced", wechatpay.Both, `{"action":"check"}`, (*wechatpay.Sandbox).RotateMerchantKey, `the key check failed at \"signature accepted\"`},
		{"the public key is rotated", wechatpay.PublicKey, `{"action":"check"}`, (*wechatpay.Sandbox).RotatePublicKey, `the key check failed at \"answer verified\"`},
		{"a platform certificate is rotated", wechatpay.Certificates, `{"action":"check"}`, (*wechatpay.Sandbox).RotateCertificate, passes},
		{"answers are not signed", wechatpay.PublicKey, `{"action":"check"}`, func(s *wechatpay.Sandbox) {
			s.Break(0, wechatpay.Unsigned(), -1)
			s.Break(1, wechatpay.Unsigned(), -1)
		}, `the key check failed at \"answer verified\"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := start(t, row.keys)
			config := r.Configs["functions/key-check"]
			config.Environment = maps.Clone(config.Environment)
			config.Environment["NOTIFY_URL"] = "https://api.example.com/wechatpay/notifications"
			f := lambda.New(config)
			defer f.Close()
			if row.after != nil {
				row.after(r.WeChatPay)
			}
			result, err := f.Invoke(t.Context(), []byte(row.event))
			if err != nil {
				t.Fatal(err)
			}
			if failed := row.says != passes; failed != (result.FunctionError != nil) || !strings.Contains(string(result.Payload), row.says) {
				t.Errorf("%s", result.Payload)
			}
			if row.says != passes {
				r.log.waitFor(t, `"KeyCheckFailures":1`)
			}
			for _, got := range r.WeChatPay.Requests() {
				if got.Status >= 400 && got.Status != 401 {
					t.Errorf("WeChat Pay refused: %s", got.Refusal)
				}
			}
		})
	}
}
