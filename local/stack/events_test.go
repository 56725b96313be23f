package stack_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"membercard/local/aws"
	"membercard/local/stack"
	"membercard/shared/gateway/gatewaytest"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

const (
	notifications = "/wechatpay/notifications"
	cardCreated   = "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE"
)

// startNotified starts a stack with fast queues.
func startNotified(t *testing.T, config stack.Config) *running {
	t.Helper()
	config.QueueSpeed = max(config.QueueSpeed, 100)
	return startAs(t, config)
}

// brandCard is the brand card that the sandbox has from the start.
func (r *running) brandCard() wechatpay.UserCard { return r.WeChatPay.UserCards()[0] }

// notification is that of the brand card, signed now.
func (r *running) notification() (headers map[string]string, body string) {
	r.t.Helper()
	header, content, ok := r.WeChatPay.Notification(r.brandCard().Code)
	if !ok {
		r.t.Fatal("there is no such card")
	}
	headers = make(map[string]string)
	for name := range header {
		headers[name] = header.Get(name)
	}
	return headers, string(content)
}

// notify sends the notification and returns the status.
func (r *running) notify() int {
	r.t.Helper()
	headers, body := r.notification()
	return r.call("POST", notifications, body, headers).status
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 3000 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("in 30 s not: %s", what)
}

// confirmations are the calls that the sandbox received for the card.
func (r *running) confirmations() (calls []wechatpay.Request) {
	for _, request := range r.WeChatPay.Requests() {
		if request.URI == "/v3/brand/partner/card-member/user-cards/"+r.brandCard().Code+"/confirm" {
			calls = append(calls, request)
		}
	}
	return calls
}

// A notification becomes an event, the event a message, the message a call of WeChat
// Pay. While that is refused for good, the message becomes a dead letter at once.
// Nothing of the user is in a log.
func TestNotificationToConfirmation(t *testing.T) {
	t.Parallel()
	n := startNotified(t, stack.Config{Auth: stack.AuthIAM}) // which the open route does not ask for
	n.WeChatPay.RefuseIf(func(r *wechatpay.Request) (int, string, string) { return 400, "INVALID_REQUEST", "x" })
	seen := make(chan aws.Event, 10)
	defer n.Events.Subscribe(func(e aws.Event) { seen <- e })()
	if status := n.notify(); status != 204 {
		t.Fatalf("the notification was answered %d", status)
	}
	if len(seen) != 1 || len(n.Events.History()) != 1 {
		t.Fatalf("%d events seen, %d in the history", len(seen), len(n.Events.History()))
	}
	if e := <-seen; e.Bus != "local" || e.Source != "membercard" || e.DetailType != cardCreated || e.Time == "" ||
		e.Region != stack.Region || !strings.Contains(string(e.Detail), n.brandCard().Code) {
		t.Errorf("the event is %+v", e)
	}
	letters := n.Queues.Get("ConfirmDeadLetters")
	eventually(t, "a dead letter", func() bool { return len(letters.Messages()) == 1 })
	if m := letters.Messages()[0]; m.Attributes["Code"] == "" || !strings.Contains(m.Body, `"detail-type":"`+cardCreated+`"`) {
		t.Errorf("the dead letter is %+v", m)
	}
	eventually(t, "an empty queue", func() bool { return len(n.Queues.Get("ConfirmQueue").Messages()) == 0 })
	if calls := n.confirmations(); len(calls) != 1 || !calls[0].Verified {
		t.Errorf("WeChat Pay received %d confirmations", len(calls))
	}
	n.log.waitFor(t, `"dead_lettered":1`)
	for _, private := range []string{openid, n.brandCard().Code, "13900000000"} {
		if strings.Contains(n.log.String(), private) {
			t.Errorf("the log has %s", private)
		}
	}
}

// WeChat's messages may quote the request in any form. The caller gets them, from the queue
// the dead letter does, and no record of any function has any of it.
func TestWeChatsWordsAreNotLogged(t *testing.T) {
	t.Parallel()
	r := startNotified(t, stack.Config{Unthrottled: true})
	const (
		words  = "微信的原话" // in each message
		ticket = "abDSQpoXIzTtMqVJds5ZZ0"
		number = "VIP-2026-0917-0042"
		userID = "310101199001011234"
		codes  = "/v3/marketing/membercard-open/cards/" + memberCard + "/codes/478515832665001/"
	)
	code := r.brandCard().Code
	confirm := `{"brand_id":"1004","card_id":"` + memberCard + `","openid":"` + openid + `","user_card_confirm_state":"CREATE_CARD_SUCCESS",` +
		`"attach":"` + number + `","user_information":{"common_field_list":[{"name":"USER_FORM_INFO_FLAG_IDCARD","value":"` + userID + `"}]}}`
	for _, path := range []string{"/card/update", "/card/code/decrypt"} {
		r.post(path, passExample) // starts the function, which fetches an access token
	}
	var private []string
	for _, row := range []struct {
		method, path, body string
		values             []string // of the request
		account            bool     // the official account answers, and not WeChat Pay
	}{
		{"POST", permissionTokens, merchantExample, []string{"https://w.url.cn/s/Ahz3p2C"}, false},
		{"POST", preAuthTokens, brandExample, []string{openid}, false},
		{"POST", "/v3/brand/partner/card-member/user-cards/" + code + "/confirm", confirm, []string{code, openid, number, userID}, false},
		{"POST", codes + "confirm", `{"user_card_confirm_state":"CREATE_CARD_FAIL","fail_reason":"` + userID + `"}`, []string{"478515832665001", userID}, false},
		{"POST", codes + "activate", `{"membership_number":"` + number + `"}`, []string{number}, false},
		{"GET", "/v3/marketing/membercard-open/activate-informations/" + ticket, "", []string{ticket}, false},
		{"GET", "/v3/marketing/membercard-open/cards/" + memberCard + "/decrypt-code?encrypt_code=" + ticket, "", []string{ticket}, false},
		{"GET", "/v3/brand/partner/card-member/user-cards/" + code + "?brand_id=1004&card_id=" + memberCard + "&openid=" + openid, "", []string{code, openid}, false},
		{"GET", "/v3/marketing/membercard-open/user/cards?openid=" + openid, "", []string{openid}, false},
		{"POST", "/card/code/decrypt", `{"encrypt_code":"` + ticket + `"}`, []string{ticket}, true},
		{"POST", "/card/update", passExample, []string{"gh_86a091e50ad4@app"}, true},
		{"", "", "", []string{openid}, false}, // the queue
	} {
		for _, value := range row.values {
			for _, quote := range gatewaytest.Quotes(value) {
				text := func(v any) string {
					encoded, err := json.Marshal(v)
					if err != nil {
						t.Fatal(err)
					}
					return string(encoded)
				}
				private = append(private, quote, strings.Trim(text(quote), `"`))
				fault := sandbox.Status(400, text(map[string]any{"code": "INVALID_REQUEST", "message": words + quote, "detail": map[string]string{
					"field": "/body/" + quote, "value": quote, "issue": words + quote, "location": "body",
				}}))
				breaks, heal := r.WeChatPay.Break, r.WeChatPay.Heal
				if row.account {
					fault = sandbox.Body(text(map[string]any{"errcode": 40056, "errmsg": words + quote}))
					breaks, heal = r.OfficialAccount.Break, r.OfficialAccount.Heal
				}
				breaks(0, fault, -1)
				breaks(1, fault, -1)
				if row.path != "" {
					if a := r.call(row.method, row.path, row.body, nil); a.status != 400 || a.Message != words+quote {
						t.Errorf("%s: %d %s, want WeChat's words", row.path, a.status, a.body)
					}
				} else {
					letters := r.Queues.Get("ConfirmDeadLetters")
					before := len(letters.Messages())
					r.notify()
					eventually(t, "a dead letter", func() bool { return len(letters.Messages()) > before })
					if m := letters.Messages()[before]; m.Attributes["Code"] != "INVALID_REQUEST" || !strings.HasPrefix(m.Attributes["ErrorMessage"], words+quote+" {") {
						t.Errorf("the dead letter has %v, want WeChat's words", m.Attributes)
					}
				}
				heal()
			}
		}
	}
	r.log.waitFor(t, `"dead_lettered":1`)
	log := r.log.String()
	for _, value := range append(private, words) {
		if strings.Contains(log, value) {
			t.Errorf("the log has %s", value)
		}
	}
}

// A confirmation that may pass is tried again and again, then given up.
func TestConfirmationIsRepeated(t *testing.T) {
	t.Parallel()
	n := startNotified(t, stack.Config{QueueSpeed: 10000})
	for endpoint := range 2 {
		n.WeChatPay.Break(endpoint, sandbox.Status(401, `{"code":"SIGN_ERROR","message":"x"}`), -1)
	}
	if status := n.notify(); status != 204 {
		t.Fatalf("the notification was answered %d", status)
	}
	letters := n.Queues.Get("ConfirmDeadLetters")
	eventually(t, "a dead letter", func() bool { return len(letters.Messages()) == 1 })
	confirms := 0
	for _, request := range n.WeChatPay.Requests() {
		if strings.HasSuffix(request.URI, "/confirm") {
			confirms++
		}
	}
	if m := letters.Messages()[0]; confirms != 12 || m.Attributes["Code"] != "SIGN_ERROR" {
		t.Errorf("confirmed %d times, want 12 as in the template; attributes %v", confirms, m.Attributes)
	}
}

// WeChat Pay sends a notification again until the bus has taken it.
func TestBusIsDown(t *testing.T) {
	t.Parallel()
	n := startNotified(t, stack.Config{})
	for _, row := range []struct {
		name   string
		fault  *aws.Fault
		status int
	}{
		{"an error", &aws.Fault{Status: 500, Code: "InternalException"}, 500},
		{"throttled", &aws.Fault{Status: 400, Code: "ThrottlingException"}, 500},
		{"no answer", &aws.Fault{Hang: true}, 500},
		{"the entry is refused", &aws.Fault{Entry: true, Code: "InternalFailure"}, 500},
		{"up", nil, 204},
	} {
		t.Run(row.name, func(t *testing.T) {
			n.Events.Fail(row.fault)
			if status := n.notify(); status != row.status {
				t.Errorf("answered %d, want %d", status, row.status)
			}
			if events := len(n.Events.History()); (events == 1) != (row.status == 204) {
				t.Errorf("%d events", events)
			}
		})
	}
}

// Nobody but WeChat Pay puts an event on the bus, though everybody may call.
func TestForgedNotification(t *testing.T) {
	t.Parallel()
	n := startNotified(t, stack.Config{Auth: stack.AuthIAM})
	headers, _ := n.notification()
	_, another := n.notification()
	if a := n.call("POST", notifications, another, headers); a.status != 401 || a.Code != "FAIL" {
		t.Errorf("answered %d %s, want 401", a.status, a.body)
	}
	if events := n.Events.History(); len(events) > 0 {
		t.Errorf("%d events", len(events))
	}
}

// With ConfirmCards=OWN the bus has the event, and nobody confirms the card.
func TestOwnConfirmation(t *testing.T) {
	t.Parallel()
	n := startNotified(t, stack.Config{Parameters: map[string]string{"ConfirmCards": "OWN"}})
	if status := n.notify(); status != 204 || len(n.Events.History()) != 1 {
		t.Errorf("answered %d, %d events", status, len(n.Events.History()))
	}
	if n.Queues.Get("ConfirmQueue") != nil || n.Queues.Get("ConfirmDeadLetters") != nil {
		t.Error("there is a queue")
	}
}

// The path of a greedy route arrives whole, though a web server would clean it.
func TestTicketWithSlashes(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	for _, sent := range []string{"a%2Fb%2F%2Fc==", "a/b//c=="} {
		r.WeChatPay.ClearRequests()
		response, err := http.Get(r.URL + "/v3/marketing/membercard-open/activate-informations/" + sent)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		const want = "/v3/marketing/membercard-open/activate-informations/a%2Fb%2F%2Fc%3D%3D"
		if got := r.WeChatPay.Requests(); len(got) != 1 || got[0].URI != want {
			t.Errorf("%s: answered %d, WeChat Pay received %+v", sent, response.StatusCode, got)
		}
	}
}

// The template limits the requests of each route, unless that is lifted.
func TestThrottling(t *testing.T) {
	t.Parallel()
	for _, lifted := range []bool{false, true} {
		s := startAs(t, stack.Config{Unthrottled: lifted, Parameters: map[string]string{"ThrottlingRateLimit": "0.001", "ThrottlingBurstLimit": "1"}})
		for i, want := range []int{200, 429} {
			response, err := http.Post(s.URL+permissionTokens, "application/json", strings.NewReader(merchantExample))
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if lifted {
				want = 200
			}
			if response.StatusCode != want {
				t.Errorf("lifted %v, request %d: %d, want %d", lifted, i, response.StatusCode, want)
			}
		}
	}
}
