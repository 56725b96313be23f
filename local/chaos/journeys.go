package chaos

// This file takes users from the token to a member.

import (
	"encoding/json"
	"fmt"
	"time"

	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// takeNotifications has notifications sent again after 2 s instead of a minute.
func (r *rig) takeNotifications() {
	delivery := wechatpay.NewDelivery()
	delivery.Interval, delivery.Retries = 2*time.Second, 60
	r.WeChatPay.Deliver(delivery)
	r.Secrets.Put(stack.MerchantSecret, r.WeChatPay.MerchantSecret(wechatpay.Both))
}

// journeys requests a brand token, as [brandTokens] does, and opens the card with it. Three
// of ten notifications go wrong.
func journeys(r *rig, n int) request {
	asked := brandTokens(r, n)
	judge := asked.judge
	asked.judge = func(result *lambda.Result) (code, wrong string) {
		if code, wrong = judge(result); code != "" || wrong != "" {
			return code, wrong
		}
		var made struct{ Token string }
		a, _ := readAnswer(result) // judge has checked both
		_ = json.Unmarshal([]byte(a.Body), &made)
		if trouble, ok := map[int]wechatpay.Trouble{0: wechatpay.LostAnswer, 3: wechatpay.Twice, 6: wechatpay.Probe}[n%10]; ok {
			r.WeChatPay.Next(trouble)
		}
		if _, _, err := r.WeChatPay.OpenCard(made.Token, fmt.Sprintf("%s%08d", openidPrefix, n)); err != nil {
			return "", err.Error()
		}
		return "", ""
	}
	return asked
}

// allAreMembers waits until every card that was opened is confirmed. It returns what is
// wrong if some are not, or were confirmed twice.
func (r *rig) allAreMembers() (broken string) {
	const timeout = 2 * time.Minute
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
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
		case time.Since(begin) > timeout:
			return fmt.Sprintf("%d of %d cards are not confirmed after %v", waiting, all, timeout)
		}
	}
}
