package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/invocation"
	"membercard/shared/signing/signingtest"
	"membercard/shared/signing/wechatpaytest"
	"membercard/shared/telemetry"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

const notifyURL = "https://abc123.execute-api.eu-central-1.amazonaws.com/wechatpay/notifications"

// invoke invokes the function with an event.
func invoke(t *testing.T, endpoint, notifyURL, event string) (answer, log string, err error) {
	t.Helper()
	return invokeWithin(t, time.Minute, endpoint, notifyURL, event)
}

func invokeWithin(t *testing.T, left time.Duration, endpoint, notifyURL, event string) (answer, log string, err error) {
	t.Helper()
	var written bytes.Buffer
	l := telemetry.New(&written, "MemberCard", "key-check")
	client := signingtest.Client(signingtest.Source(t), endpoint)
	h := handler{wechatpay: client, notifyURL: notifyURL}
	ctx, cancel := context.WithTimeout(t.Context(), left)
	defer cancel()
	raw, err := invocation.Action{Log: l, Name: "check", Do: h.check}.Invoke(ctx, []byte(event))
	return string(raw), written.String(), err
}

// startWeChatPay starts a WeChat Pay for POST /v3/security/echo. It answers with the message that was
// sent, in the clear and encrypted for the merchant, after it has answered limited calls with
// 429.
func startWeChatPay(t testing.TB, limited int) (endpoint string, received func() string) {
	merchant, wechatpay := wechatpaytest.Keys()
	return signingtest.Serve(t, func(call string, _ http.Header) (int, string, string) {
		if limited > 0 {
			limited--
			return http.StatusTooManyRequests, `{"code":"FREQUENCY_LIMITED","message":"频率超过限制"}`, ""
		}
		var sent map[string]string
		if err := json.Unmarshal([]byte(strings.TrimPrefix(call, "POST /v3/security/echo ")), &sent); err != nil {
			t.Error(err)
		}
		message, err := utils.DecryptOAEP(sent["encrypted_echo_message"], wechatpay)
		if err != nil || message != sent["echo_message"] {
			t.Errorf("%q was encrypted, %q sent: %v", message, sent["echo_message"], err)
		}
		encrypted, err := utils.EncryptOAEPWithPublicKey(message, &merchant.PublicKey)
		if err != nil {
			t.Error(err)
		}
		answer := `{"echo_message":"` + message + `","encrypted_echo_message":"` + encrypted + `"}`
		return http.StatusOK, answer, answer
	})
}

const passed = `{"name":"secret read","ok":true},{"name":"WeChat Pay answered","ok":true},{"name":"signature accepted","ok":true},` +
	`{"name":"answer verified","ok":true},{"name":"message echoed","ok":true},{"name":"encrypted for WeChat Pay","ok":true},{"name":"decrypted from WeChat Pay","ok":true}`

func TestCheckReturnsTheSteps(t *testing.T) {
	for _, row := range []struct{ name, event, notifyURL, steps string }{
		{"the schedule's event", `{"action":"check"}`, "", passed},
		{"the schedule's, and there is an URL", `{"action":"check"}`, notifyURL, passed},
		{"no notification", `{"action":"check","notify":false}`, notifyURL, passed},
		{"a notification", `{"action":"check","notify":true}`, notifyURL, passed + `,{"name":"notification requested","ok":true}`},
		{"a notification to nowhere", `{"action":"check","notify":true}`, "", passed + `,{"name":"notification requested","ok":true,"skipped":"NOTIFY_URL is empty: set it to the URL of /wechatpay/notifications"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			endpoint, received := startWeChatPay(t, 0)
			answer, log, err := invoke(t, endpoint, row.notifyURL, row.event)
			if want := `{"ok":true,"steps":[` + row.steps + `]}`; err != nil || answer != want {
				t.Errorf("%s, %v, want %s", answer, err, want)
			}
			call := received()
			if !strings.HasPrefix(call, `POST /v3/security/echo {"echo_message":"`) || strings.Contains(call, `"notify_url":"`+notifyURL+`"`) != strings.Contains(row.steps, `"notification requested","ok":true}`) {
				t.Errorf("sent %s", call)
			}
			if strings.Count(log, "\n") != 1 || !strings.Contains(log, `"level":"INFO"`) || !strings.Contains(log, `"Code":"OK"`) {
				t.Errorf("logged %s", log)
			}
		})
	}
}

// TestA429IsWaitedOut, if there is time: it says nothing about the keys.
func TestA429IsWaitedOut(t *testing.T) {
	for _, row := range []struct {
		what    string
		limited int
		left    time.Duration
		calls   int
		err     string
	}{
		{"once", 1, 15 * time.Second, 2, ""},
		{"twice", 2, 15 * time.Second, 3, ""},
		{"with too little time", 1, 3 * time.Second, 1, "FREQUENCY_LIMITED"},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			endpoint, received := startWeChatPay(t, row.limited)
			answer, log, err := invokeWithin(t, row.left, endpoint, "", `{"action":"check"}`)
			if row.err == "" && (err != nil || answer != `{"ok":true,"steps":[`+passed+`]}`) || row.err != "" && (err == nil || !strings.Contains(log, row.err)) {
				t.Errorf("%s, %v, logged %s", answer, err, log)
			}
			calls := 0
			for received() != "" {
				calls++
			}
			if calls != row.calls {
				t.Errorf("%d calls, want %d", calls, row.calls)
			}
		})
	}
}

func TestAFailedCheckIsAnErrorAndAMetric(t *testing.T) {
	for _, row := range []struct {
		name       string
		status     int
		answer     string
		code, step string
		says       []string // in the error
	}{
		{"another message", 200, `{"echo_message":"another"}`, "INVALID_RESPONSE", "message echoed", []string{"echo_message is not what was sent"}},
		{"a revoked certificate", 401, `{"code":"SIGN_ERROR","message":"签名错误"}`, "SIGN_ERROR", "signature accepted", []string{"answered 401", "certificate_serial_no", "revoked or replaced"}},
		{"a key that does not encrypt", 400, `{"code":"PARAM_ERROR","message":"参数错误","detail":{"field":"/encrypted_echo_message","issue":"解密失败","location":"body"}}`,
			"PARAM_ERROR", "encrypted for WeChat Pay", []string{"wechatpay_public_key_id"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			endpoint, _ := signingtest.WeChatPay(t, row.status, row.answer)
			answer, log, err := invoke(t, endpoint, "", `{"action":"check"}`)
			if answer != "" || err == nil || !strings.HasPrefix(err.Error(), `the key check failed at "`+row.step+`": `) || !strings.Contains(err.Error(), "; cure: ") {
				t.Fatalf("%q, %v", answer, err)
			}
			for _, text := range row.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%v does not say %q", err, text)
				}
			}
			var record struct {
				KeyCheckFailures               int
				Level, Code, Step, Cause, Cure string
				AWS                            struct {
					CloudWatchMetrics []struct {
						Metrics []struct{ Name string }
					}
				} `json:"_aws"`
			}
			if err := json.Unmarshal([]byte(log), &record); err != nil { // fails for two records as well
				t.Fatalf("%s, %v", log, err)
			}
			if record.Level != "ERROR" || record.Code != row.code || record.Step != row.step || !strings.HasPrefix(record.Cause, row.step+": ") || record.Cure == "" {
				t.Errorf("the record is %s", log)
			}
			if record.KeyCheckFailures != 1 || len(record.AWS.CloudWatchMetrics) != 1 || record.AWS.CloudWatchMetrics[0].Metrics[0].Name != "KeyCheckFailures" {
				t.Errorf("it counts no failure: %s", log)
			}
		})
	}
}

func TestEventsThatAreRefused(t *testing.T) {
	for _, row := range []struct{ name, event, notifyURL, says string }{
		{"a misspelt member", `{"action":"check","notfy":true}`, notifyURL, "/notfy is not a field"},
		{"a member in another case", `{"action":"check","Notify":true}`, notifyURL, "/Notify is not a field"},
		{"notify as a string", `{"action":"check","notify":"true"}`, notifyURL, "/notify must be true or false"},
		{"notify null", `{"action":"check","notify":null}`, notifyURL, "/notify must not be null"},
		{"notify twice", `{"action":"check","notify":true,"notify":false}`, notifyURL, "/notify must not be given twice"},
		{"another action", `{"action":"chek"}`, notifyURL, `no action "chek"`},
		{"no action", `{}`, notifyURL, "no action"},
	} {
		t.Run(row.name, func(t *testing.T) {
			answer, _, err := invoke(t, gatewaytest.Nowhere, row.notifyURL, row.event)
			if answer != "" || err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("%q, %v", answer, err)
			}
		})
	}
}
