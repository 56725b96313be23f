package chaos

// This file takes users from the token to a member.

import (
	"encoding/json"
	"fmt"
	"time"

	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/local/wechatpay"
)

// takeNotifications has WeChat Pay's notifications arrive with its troubles, but come
// again after 2 s, not a minute.
func (r *rig) takeNotifications() {
	delivery := wechatpay.NewDelivery()
	delivery.Interval, delivery.Retries = 2*time.Second, 60
	delivery.Rates = map[wechatpay.Trouble]float64{wechatpay.LostAnswer: 0.1, wechatpay.Twice: 0.1, wechatpay.Probe: 0.1}
	delivery.Seed = r.seed
	r.WeChatPay.Deliver(delivery)
	r.Secrets.Put(stack.MerchantSecret, r.WeChatPay.MerchantSecret(wechatpay.Both))
}

// journeys asks for brand tokens, as [brandTokens]. With each, a user opens the card.
func journeys(r *rig, n int) request {
	asked := brandTokens(r, n)
	judge := asked.judge
	asked.judge = func(result *lambda.Result) (code, wrong string) {
		if code, wrong = judge(result); code != "" || wrong != "" {
			return code, wrong
		}
		var made struct{ Token string }
		a, _ := readAnswer(result)                // it was judged
		_ = json.Unmarshal([]byte(a.Body), &made) // the same
		if _, _, err := r.WeChatPay.OpenCard(made.Token, fmt.Sprintf("%s%08d", openidPrefix, n)); err != nil {
			return "", err.Error()
		}
		return "", ""
	}
	return asked
}

// allAreMembers waits until every card that was opened is confirmed, once. It returns
// what is missing.
func (r *rig) allAreMembers() (missing string) {
	const patience = 2 * time.Minute
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		waiting, twice, all := 0, 0, 0
		for _, card := range r.WeChatPay.UserCards() {
			if len(card.OpenID) != len(openidPrefix)+8 {
				continue // a sample
			}
			all++
			if card.State != wechatpay.Effective {
				waiting++
			}
			if card.Confirmations > 1 {
				twice++
			}
		}
		switch {
		case twice > 0:
			return fmt.Sprintf("%d of %d cards were confirmed twice", twice, all)
		case all == 0:
			return "no card was opened"
		case waiting == 0:
			return ""
		case time.Since(begun) > patience:
			return fmt.Sprintf("%d of %d cards are not confirmed after %v", waiting, all, patience)
		}
	}
}
