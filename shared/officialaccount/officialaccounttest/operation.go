package officialaccounttest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"membercard/shared/gateway"
	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/officialaccount"
)

// BaseInfo is the content of base_info in the document's example of a card.
const BaseInfo = `
            "custom_url_name": "立即使用",
            "custom_url": "http://www.qq.com",
            "custom_app_brand_user_name": "gh_86a091e50ad4@app",
            "custom_app_brand_pass":"API/cardPage",
            "custom_url_sub_title": "6个汉字tips",
            "promotion_url_name": "更多优惠",
          "promotion_url": "http://www.qq.com",
            "promotion_app_brand_user_name": "gh_86a091e50ad4@app",
            "promotion_app_brand_pass":"API/cardPage"        `

// Operation is an operation of the official-account API under test. Its methods check the
// rules of all such operations.
type Operation struct{ gatewaytest.Operation }

// Of returns an operation that [gateway.Start] takes. It fails a test if an answer or the
// log contains the account's secret or the access token.
func Of(operation func(context.Context, *officialaccount.Client, *gateway.Request) (*gateway.Response, error)) Operation {
	source := func(testing.TB) *gatewaytest.Source[officialaccount.Account] { return Source() }
	of := gatewaytest.Of(source, Client, operation)
	return Operation{func(t testing.TB, event gatewaytest.Event, endpoint string) gatewaytest.Outcome {
		t.Helper()
		o := of(t, event, endpoint)
		o.RequireNotRepeated(t, AppSecret, AccessToken)
		return o
	}}
}

// Sends checks that a request leads to one call of WeChat, at path, and that the caller
// gets WeChat's answer unchanged, with its Request-ID. It returns the body of the call.
func (f Operation) Sends(t testing.TB, event gatewaytest.Event, path, answer string) (sent string) {
	t.Helper()
	w := Start(t, func(Call) string { return answer })
	o := f.Invoke(t, event, w.URL)
	if o.Status != 200 || o.Body != answer || o.Headers["X-WeChat-Request-Id"] != RequestID {
		t.Fatalf("%d %s %v, want WeChat's answer", o.Status, o.Body, o.Headers)
	}
	calls := w.Calls()
	if len(calls) != 1 || calls[0].Path != path {
		t.Fatalf("WeChat got %q, want one call of %s", calls, path)
	}
	return calls[0].Body
}

// Errors are error answers of WeChat, and what the caller gets for them. Solution is a part
// of the solution that the caller gets.
type Errors []struct {
	Cause    string
	Answer   string
	Status   int
	Code     string
	Solution string
}

// commonErrors are errors of all operations. The tests of apierror cover the mapping of
// errcodes.
var commonErrors = Errors{
	{"malformed data", `{"errcode":47001,"errmsg":"data format error"}`, 400, "WECHAT_47001", "documented fields"},
	{"no permission", `{"errcode":48001,"errmsg":"api unauthorized"}`, 400, "WECHAT_48001", "PATCH /v3/marketing/membercard-open/cards/{card_id}"},
	{"the quota is used up", `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`, 429, "WECHAT_45009", ""},
	{"WeChat is busy", `{"errcode":-1,"errmsg":"system error"}`, 502, "WECHAT_-1", ""},
	{"no errcode", `{}`, 502, "INVALID_RESPONSE", ""},
	{"nothing", ``, 502, "INVALID_RESPONSE", ""},
	{"an access token where none was asked for", `{"access_token":"x","expires_in":7200}`, 502, "INVALID_RESPONSE", ""},
}

// PassesErrorsOn checks what the caller gets for WeChat's errors: those of the operation
// and those of all operations. Only a 429 has Retry-After.
func (f Operation) PassesErrorsOn(t *testing.T, event gatewaytest.Event, documented Errors) {
	t.Helper()
	for _, row := range slices.Concat(documented, commonErrors) {
		t.Run(row.Cause, func(t *testing.T) {
			t.Parallel()
			w := Start(t, func(Call) string { return row.Answer })
			o := f.Invoke(t, event, w.URL)
			if o.Status != row.Status || o.Error.Code != row.Code || !strings.Contains(o.Error.Solution, row.Solution) {
				t.Errorf("%d %s, want %d %s and a solution with %q", o.Status, o.Body, row.Status, row.Code, row.Solution)
			}
			if (o.Headers["Retry-After"] != "") != (row.Status == 429) {
				t.Errorf("headers %v", o.Headers)
			}
		})
	}
}

// LogsNoQuotes checks that values of a request, which WeChat's errmsg quotes, get to the
// caller and not into the log.
func (f Operation) LogsNoQuotes(t *testing.T, event gatewaytest.Event, values ...string) {
	t.Helper()
	for _, value := range values {
		for _, quote := range gatewaytest.Quotes(value) {
			for _, errcode := range []int{40056, -1} { // the record of -1 names the failed attempts, too
				t.Run(fmt.Sprint(errcode, " ", quote), func(t *testing.T) {
					t.Parallel()
					answer, err := json.Marshal(map[string]any{"errcode": errcode, "errmsg": "invalid " + quote})
					if err != nil {
						t.Fatal(err)
					}
					o := f.Invoke(t, event, Start(t, func(Call) string { return string(answer) }).URL)
					if o.Error.Message != "invalid "+quote {
						t.Errorf("%d %s, want WeChat's words", o.Status, o.Body)
					}
					o.RequireNotLogged(t, quote, "invalid")
				})
			}
		}
	}
}
