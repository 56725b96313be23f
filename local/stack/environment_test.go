package stack_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAFunctionDoesNotStartWithoutItsEnvironment has a row for each variable of the
// template that a function can't do without, and for endpoints that are none.
func TestAFunctionDoesNotStartWithoutItsEnvironment(t *testing.T) {
	const merchant, account = "MERCHANT_SECRET_ID", "OFFICIAL_ACCOUNT_SECRET_ID"
	for _, row := range []struct{ function, variable, value string }{
		{"merchant-token", merchant, ""},
		{"brand-token", merchant, ""},
		{"card-events", merchant, ""},
		{"card-events", "EVENT_BUS_NAME", ""},
		{"brand-confirm", merchant, ""},
		{"merchant-confirm", merchant, ""},
		{"merchant-activate", merchant, ""},
		{"merchant-activate-information", merchant, ""},
		{"merchant-decrypt-code", merchant, ""},
		{"brand-card", merchant, ""},
		{"brand-cards", merchant, ""},
		{"merchant-card", merchant, ""},
		{"merchant-cards", merchant, ""},
		{"key-check", merchant, ""},
		{"card-update", account, ""},
		{"card-sync", account, ""},
		{"card-sync", "CARD_PLAN_BUCKET", ""},
		{"card-sync", "CARD_PLAN_KEY", ""},
		{"card-sync", "CARD_PLAN_KEY", "card-sync.json"},
		{"card-sync", "CARD_PLAN_KEY", "plans/service-modules.json"},
		{"card-sync", "CARD_PLAN_KEY", "card-sync.lease.json"},
		{"service-module-sync", merchant, ""},
		{"service-module-sync", "CARD_PLAN_BUCKET", ""},
		{"service-module-sync", "CARD_PLAN_KEY", "service-modules.json"},
		{"card-create", account, ""},
		{"card-code", account, ""},
		{"card-ext", account, ""},
		{"card-ext", "CARD_TICKET_SECRET_ID", ""},
		{"wechat-authorizer", "LOGIN_SECRET_ID", ""},

		{"merchant-token", "WECHATPAY_ENDPOINTS", "http://api.mch.weixin.qq.com"},
		{"merchant-token", "WECHATPAY_ENDPOINTS", "https://api.mch.weixin.qq.com,"},
		{"card-update", "WECHAT_ENDPOINTS", "api.weixin.qq.com"},
		{"wechat-authorizer", "WECHAT_ENDPOINTS", "https://api.weixin.qq.com/cgi-bin"},
	} {
		t.Run(row.function+" "+row.variable+" "+row.value, func(t *testing.T) {
			t.Parallel()
			binary := project.Binaries["functions/"+row.function]
			if binary == "" {
				t.Fatal("the template has no such function")
			}
			environment := map[string]string{
				"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1", "AWS_REGION": "eu-central-1",
				"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "SECRET",
				"AWS_ENDPOINT_URL": "http://127.0.0.1:1", // nothing listens there
				merchant:           "m", account: "a", "EVENT_BUS_NAME": "b", "CARD_PLAN_BUCKET": "b", "CARD_PLAN_KEY": "k",
				"CARD_TICKET_SECRET_ID": "t", "LOGIN_SECRET_ID": "l",
				"WECHATPAY_ENDPOINTS": "https://127.0.0.1:1", "WECHAT_ENDPOINTS": "https://127.0.0.1:1",
			}
			environment[row.variable] = row.value
			command := exec.Command(binary)
			command.Dir = filepath.Dir(binary)
			for name, value := range environment {
				command.Env = append(command.Env, name+"="+value)
			}
			out, err := command.Output()
			failed, ok := errors.AsType[*exec.ExitError](err)
			if !ok || failed.ExitCode() != 1 {
				t.Fatalf("%v, want exit code 1; it wrote %s", err, out)
			}
			var record struct{ Level, Cause, Cure string }
			if err := json.Unmarshal(out, &record); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			if record.Level != "ERROR" || record.Cure == "" || !strings.Contains(record.Cause, "the environment variable "+row.variable) {
				t.Errorf("%s", out)
			}
		})
	}
}
