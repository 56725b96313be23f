package stack_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// A brand card goes from its token to a member by itself, whichever keys the merchant
// has and whatever happens to the notifications. A forged one has no effect.
func TestBrandCardBecomesEffective(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string]wechatpay.Mode{"public key": wechatpay.PublicKey, "certificates": wechatpay.Certificates} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startAs(t, stack.Config{Keys: keys, QueueSpeed: 100})
			d := wechatpay.NewDelivery()
			d.Interval = 100 * time.Millisecond
			r.WeChatPay.Deliver(d)
			for _, trouble := range []wechatpay.Trouble{wechatpay.LostAnswer, wechatpay.Twice, wechatpay.Probe} {
				r.WeChatPay.Next(trouble)
			}
			card, _, err := r.WeChatPay.OpenCard(r.post(preAuthTokens, brandExample).Token, openid)
			if err != nil {
				t.Fatal(err)
			}
			forged := r.WeChatPay.Forge(card.BrandID, card.CardID, openid)
			eventually(t, "a confirmation for each time that the notification was received", func() bool {
				c, _ := r.WeChatPay.UserCard(card.Code)
				return c.State == wechatpay.Effective && c.Repetitions == 2 // the lost and the further one
			})
			if c, _ := r.WeChatPay.UserCard(card.Code); c.Confirmations != 1 {
				t.Errorf("%+v", c)
			}
			if c, _ := r.WeChatPay.UserCard(forged.Code); c.State != wechatpay.Unactivated {
				t.Errorf("the forged notification had an effect: %+v", c)
			}
			for _, a := range r.WeChatPay.Deliveries() {
				if want := map[bool]int{true: 401, false: 204}[a.Kind == wechatpay.Probing || a.Kind == wechatpay.Forgery]; a.Status != want {
					t.Errorf("%s answered %d", a.Kind, a.Status)
				}
			}
			for _, call := range r.WeChatPay.Requests() {
				if call.Status == 429 {
					t.Errorf("too many in a second: %s", call.URI)
				}
			}
		})
	}
}

// A card with JUMP_ACTIVATE goes from its token to a member as the merchant's page
// takes it there: with what the jump has, the page's backend calls the API.
func TestJumpCardBecomesEffective(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	minted := r.post(permissionTokens, `{"activate_type":"JUMP_ACTIVATE","activate_url":"https://a.example/b","outer_str":"szwxtd"}`)
	card, jump, err := r.WeChatPay.OpenCard(minted.PermissionToken, openid)
	if err != nil {
		t.Fatal(err)
	}
	cards := "/v3/marketing/membercard-open/cards/" + card.CardID
	_, rest, _ := strings.Cut(jump.URL, "encrypt_code=")
	encrypted, _, _ := strings.Cut(rest, "&") // as it came
	page, err := url.Parse(jump.URL)
	if err != nil {
		t.Fatal(err)
	}
	code := r.call("GET", cards+"/decrypt-code?encrypt_code="+encrypted, "", nil).Code
	if code != card.Code {
		t.Fatalf("the code is %s, want %s", code, card.Code)
	}
	ticket := url.QueryEscape(page.Query().Get("activate_ticket"))
	if form := r.call("GET", "/v3/marketing/membercard-open/activate-informations/"+ticket, "", nil); form.status != 200 || !strings.Contains(string(form.body), "user_information") {
		t.Errorf("%d %s", form.status, form.body)
	}
	if a := r.post(cards+"/codes/"+code+"/confirm", `{"user_card_confirm_state":"CREATE_CARD_SUCCESS"}`); a.status != 204 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.post(cards+"/codes/"+code+"/activate", "{}"); a.status != 204 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if c, _ := r.WeChatPay.UserCard(code); c.State != wechatpay.Effective || c.ConfirmState != "CREATE_CARD_SUCCESS" || c.MembershipNumber != code {
		t.Errorf("%+v", c)
	}
	eventually(t, "two events", func() bool { return len(r.Events.History()) == 2 })
	if messages := r.Queues.Get("ConfirmQueue").Messages(); len(messages) > 0 {
		t.Errorf("%d messages of events that the rule does not match", len(messages))
	}
	for _, private := range []string{openid, code, encrypted, ticket} {
		if strings.Contains(r.log.String(), private) {
			t.Errorf("the log has %s", private)
		}
	}
}
