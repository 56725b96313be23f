package stack_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"membercard/local/aws"
	"membercard/local/sandbox"
	"membercard/local/stack"
	"membercard/local/wechatpay"
	"membercard/shared/signing/wechatpaytest"
)

const (
	notifications = "/wechatpay/notifications"
	cardCreated   = "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE"
	userCardCode  = "478515832665000000000001" // of wechatpaytest.Created
)

// notified is a stack whose merchant has a key of the test's as WeChat Pay's public
// key, so that the test can sign notifications. The sandbox signs its answers with its
// certificate.
type notified struct {
	*running
	serial, apiv3Key string
}

func startNotified(t *testing.T, config stack.Config) *notified {
	t.Helper()
	config.Keys = wechatpay.Both
	if config.QueueSpeed == 0 {
		config.QueueSpeed = 100
	}
	r := startAs(t, config)
	var secret map[string]string
	if err := json.Unmarshal([]byte(r.WeChatPay.MerchantSecret(wechatpay.Both)), &secret); err != nil {
		t.Fatal(err)
	}
	_, key := wechatpaytest.Keys()
	secret["wechatpay_public_key"] = wechatpaytest.PublicPEM(&key.PublicKey)
	text, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	r.Secrets.Put(stack.MerchantSecret, string(text))
	r.WeChatPay.SignWith(wechatpay.Certificates)
	return &notified{r, secret["wechatpay_public_key_id"], secret["apiv3_key"]}
}

// notify sends a notification that WeChat Pay signed now, and returns the status.
func (n *notified) notify(eventType string) int {
	n.t.Helper()
	body := wechatpaytest.Notification(eventType, wechatpaytest.Created, n.apiv3Key)
	header := http.Header{}
	_, key := wechatpaytest.Keys()
	wechatpaytest.Sign(header, body, n.serial, key, time.Now())
	return n.send(body, header)
}

// send sends a notification past the contract, which does not know the route yet.
func (n *notified) send(body string, header http.Header) int {
	n.t.Helper()
	request, err := http.NewRequest("POST", n.URL+notifications, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	request.Header = header.Clone()
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		n.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
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
func (n *notified) confirmations() (calls []wechatpay.Request) {
	for _, r := range n.WeChatPay.Requests() {
		if r.URI == "/v3/brand/partner/card-member/user-cards/"+userCardCode+"/confirm" {
			calls = append(calls, r)
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
	seen := make(chan aws.Event, 10)
	defer n.Events.Subscribe(func(e aws.Event) { seen <- e })()
	if status := n.notify(cardCreated); status != 204 {
		t.Fatalf("the notification was answered %d", status)
	}
	if len(seen) != 1 || len(n.Events.History()) != 1 {
		t.Fatalf("%d events seen, %d in the history", len(seen), len(n.Events.History()))
	}
	if e := <-seen; e.Bus != "local" || e.Source != "membercard" || e.DetailType != cardCreated || e.Time != "2025-06-22T02:34:56Z" ||
		e.Region != stack.Region || !strings.Contains(string(e.Detail), userCardCode) {
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
	for _, private := range []string{openid, userCardCode, "13800138000", "张三"} {
		if strings.Contains(n.log.String(), private) {
			t.Errorf("the log has %s", private)
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
	if status := n.notify(cardCreated); status != 204 {
		t.Fatalf("the notification was answered %d", status)
	}
	letters := n.Queues.Get("ConfirmDeadLetters")
	eventually(t, "a dead letter", func() bool { return len(letters.Messages()) == 1 })
	if m := letters.Messages()[0]; m.Received != 12 || m.Attributes["Code"] != "" {
		t.Errorf("received %d times, want 12 as in the template; attributes %v", m.Received, m.Attributes)
	}
}

// WeChat Pay sends a notification again until the bus has taken it.
func TestBusIsDown(t *testing.T) {
	t.Parallel()
	n := startNotified(t, stack.Config{})
	for _, row := range []struct {
		name   string
		fault  *aws.Fault
		entry  string
		status int
	}{
		{"an error", &aws.Fault{Status: 500, Code: "InternalException"}, "", 500},
		{"throttled", &aws.Fault{Status: 400, Code: "ThrottlingException"}, "", 500},
		{"no answer", &aws.Fault{Hang: true}, "", 500},
		{"the entry is refused", nil, "InternalFailure", 500},
		{"up", nil, "", 204},
	} {
		t.Run(row.name, func(t *testing.T) {
			n.Events.Fail(row.fault)
			n.Events.FailEntries(row.entry)
			begin := time.Now()
			if status := n.notify("SECURITY_ECHO.SUCCESS"); status != row.status {
				t.Errorf("answered %d, want %d", status, row.status)
			}
			t.Logf("answered after %v", time.Since(begin))
			if events := len(n.Events.History()); (events == 1) != (row.status == 204) {
				t.Errorf("%d events", events)
			}
		})
	}
	if messages := n.Queues.Get("ConfirmQueue").Messages(); len(messages) > 0 {
		t.Errorf("%d messages of an event that the rule does not match", len(messages))
	}
}

// Nobody but WeChat Pay puts an event on the bus, though everybody may call.
func TestForgedNotification(t *testing.T) {
	t.Parallel()
	n := startNotified(t, stack.Config{Auth: stack.AuthIAM})
	body := wechatpaytest.Notification(cardCreated, wechatpaytest.Created, n.apiv3Key)
	merchant, _ := wechatpaytest.Keys()
	header := http.Header{}
	wechatpaytest.Sign(header, body, n.serial, merchant, time.Now())
	if status := n.send(body, header); status != 401 {
		t.Errorf("answered %d, want 401", status)
	}
	if events := n.Events.History(); len(events) > 0 {
		t.Errorf("%d events", len(events))
	}
}

// With ConfirmCards=OWN the bus has the event, and nobody confirms the card.
func TestOwnConfirmation(t *testing.T) {
	t.Parallel()
	n := startNotified(t, stack.Config{Parameters: map[string]string{"ConfirmCards": "OWN"}})
	if status := n.notify(cardCreated); status != 204 || len(n.Events.History()) != 1 {
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

func TestInvoke(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	if _, err := r.Invoke(t.Context(), "functions/none", nil); err == nil {
		t.Error("a function that does not exist answered")
	}
	if _, err := r.Invoke(t.Context(), "functions/card-ext", []byte(`{"action":"refresh"}`)); err != nil {
		t.Error(err)
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
