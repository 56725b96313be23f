package chaos

// This file sends notifications as WeChat Pay does.

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"membercard/local/aws"
	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/shared/signing/wechatpaytest"
	"membercard/wechat/wechatpay"
)

// sender signs and encrypts notifications, and records which ones reach the bus.
type sender struct {
	serial, apiv3Key string
	forges           atomic.Bool // sign every other notification with another key

	mu    sync.Mutex
	taken map[string]string // the resources of the events on the bus, by notification ID
}

// signNotifications gives the merchant a public key of WeChat Pay whose private key is
// known here.
func (r *rig) signNotifications() {
	var secret map[string]string
	_ = json.Unmarshal([]byte(r.WeChatPay.MerchantSecret(wechatpay.Both)), &secret) // always valid
	_, key := wechatpaytest.Keys()
	secret["wechatpay_public_key"] = wechatpaytest.PublicPEM(&key.PublicKey)
	text, _ := json.Marshal(secret) // strings always marshal
	r.Secrets.Put(stack.MerchantSecret, string(text))
	r.sender.serial, r.sender.apiv3Key = secret["wechatpay_public_key_id"], secret["apiv3_key"]
	r.sender.taken = map[string]string{}
	r.Events.Subscribe(func(e aws.Event) {
		var detail struct {
			ID       string          `json:"id"`
			Resource json.RawMessage `json:"resource"`
		}
		_ = json.Unmarshal(e.Detail, &detail) // on an error the ID is empty
		r.sender.mu.Lock()
		defer r.sender.mu.Unlock()
		r.sender.taken[detail.ID] = string(detail.Resource)
	})
}

// notifications sends a notification that a user deleted a card. The right answer is 204,
// after the event is on the bus.
func notifications(r *rig, n int) request {
	forged := n%2 == 1 && r.sender.forges.Load()
	id, event, resource := r.notification(n, !forged)
	return request{"functions/card-events", event, func(result *lambda.Result) (string, string) {
		if forged {
			return r.judgeForged(result, id)
		}
		return r.judgeNotification(result, http.StatusInternalServerError, func() string {
			r.sender.mu.Lock()
			defer r.sender.mu.Unlock()
			if r.sender.taken[id] != resource {
				return "answered 204, but the event is not on the bus"
			}
			return ""
		})
	}}
}

// judgeForged judges the answer to a forged notification.
func (r *rig) judgeForged(result *lambda.Result, id string) (code, wrong string) {
	code, wrong = r.judgeNotification(result, http.StatusUnauthorized, func() string { return "a forged notification was answered 204" })
	r.sender.mu.Lock()
	defer r.sender.mu.Unlock()
	if _, taken := r.sender.taken[id]; taken {
		wrong = "a forged notification is on the bus"
	}
	return code, wrong
}

// notification returns the n-th notification as an event of API Gateway, and its ID and
// decrypted resource.
func (r *rig) notification(n int, genuine bool) (id string, event []byte, resource string) {
	id = fmt.Sprintf("EV-%d", n)
	resource = fmt.Sprintf(`{"brand_id":"1004","card_id":"pChaos%d","openid":"%s%08d","user_card_code":"%d"}`, n, openidPrefix, n, n)
	document, _ := wechatpaytest.Document("BRAND_MEMBER_CARD_SP.USER_CARD.DELETE", resource, r.sender.apiv3Key)
	document["id"] = id
	body := wechatpaytest.Encode(document)
	other, key := wechatpaytest.Keys()
	if !genuine {
		key = other
	}
	header := http.Header{}
	wechatpaytest.Sign(header, body, r.sender.serial, key, time.Now())
	call := httpCall{route: "POST /wechatpay/notifications", path: "/wechatpay/notifications", body: body, headers: map[string]string{}}
	for name := range header {
		call.headers[strings.ToLower(name)] = header.Get(name)
	}
	return id, call.event(), resource
}

// judgeNotification judges the answer to a notification. check returns what is wrong with
// a 204; status is that of the documented error.
func (r *rig) judgeNotification(result *lambda.Result, status int, check func() string) (code, wrong string) {
	a, wrong := readAnswer(result)
	var refused struct{ Code, Message string }
	switch {
	case wrong != "":
		return "", wrong
	case a.StatusCode == http.StatusNoContent:
		return "", check()
	case a.StatusCode != status || json.Unmarshal([]byte(a.Body), &refused) != nil || refused.Code != "FAIL" || refused.Message == "":
		return "", fmt.Sprintf("%d %.100s is not documented", a.StatusCode, a.Body)
	}
	return refused.Code, ""
}
