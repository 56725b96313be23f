package playground

import (
	"cmp"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"sync"

	"membercard/local/journey"
	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// troubles are the troubles of POST /open that happen to the notification. There are two
// more: with forged, there is only a forged notification; with refused, WeChat Pay
// permanently refuses the confirmation.
var troubles = map[string]wechatpay.Trouble{
	"lost":  wechatpay.LostAnswer,
	"twice": wechatpay.Twice,
	"probe": wechatpay.Probe,
}

// customer opens cards in WeChat's component.
type customer struct {
	*stack.Stack
	refused sync.Map // codes of the cards whose confirmation is refused
}

// openRequest is the body of POST /open.
type openRequest struct {
	Token   string `json:"token"`
	OpenID  string `json:"openid"` // empty for the logged-in user
	Trouble string `json:"trouble"`
	BrandID string `json:"brand_id"` // for the trouble forged
	CardID  string `json:"card_id"`  // for the trouble forged
}

// jump is a [wechatpay.Jump] as JSON.
type jump struct {
	URL       string            `json:"url,omitempty"`
	AppID     string            `json:"appid,omitempty"`
	Path      string            `json:"path,omitempty"`
	ExtraData map[string]string `json:"extra_data,omitempty"`
}

func newCustomer(s *stack.Stack) *customer {
	c := &customer{Stack: s}
	s.WeChatPay.RefuseIf(func(r *wechatpay.Request) (int, string, string) {
		path, ok := strings.CutSuffix(r.URI, "/confirm")
		if !ok {
			return 0, "", ""
		}
		if _, ok := c.refused.Load(path[strings.LastIndex(path, "/")+1:]); !ok {
			return 0, "", ""
		}
		return http.StatusBadRequest, "INVALID_REQUEST", "品牌会员卡模板已失效"
	})
	return c
}

// serveOpen opens a card, and answers with its code and jump.
func (c *customer) serveOpen(w http.ResponseWriter, r *http.Request) {
	var order openRequest
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&order)
	trouble, known := troubles[order.Trouble]
	if kind != "application/json" || err != nil || !known && order.Trouble != "" && order.Trouble != "forged" && order.Trouble != "refused" {
		answer(w, http.StatusBadRequest, map[string]string{"message": `wants {"token": "…", "trouble": "", "lost", "twice", "probe", "forged" or "refused"} as application/json`})
		return
	}
	openid := cmp.Or(order.OpenID, sampleOpenID)
	var opened struct {
		Code string `json:"code"`
		Jump *jump  `json:"jump,omitempty"`
	}
	if order.Trouble == "forged" {
		opened.Code = c.WeChatPay.Forge(order.BrandID, order.CardID, openid).Code
		answer(w, http.StatusOK, opened)
		return
	}
	card, to, err := c.WeChatPay.OpenCard(order.Token, openid)
	if err != nil {
		answer(w, http.StatusConflict, map[string]string{"message": err.Error()})
		return
	}
	// The notification and its confirmation follow a moment later.
	if known {
		c.WeChatPay.Next(trouble)
	}
	if order.Trouble == "refused" {
		c.refused.Store(card.Code, true)
	}
	opened.Code, opened.Jump = card.Code, (*jump)(to)
	answer(w, http.StatusOK, opened)
}

// serveJourney answers with what has happened so far to the card with ?code=.
func (c *customer) serveJourney(w http.ResponseWriter, r *http.Request) {
	story, ok := journey.Tell(c.Stack, r.FormValue("code"))
	if !ok {
		answer(w, http.StatusNotFound, map[string]string{"message": "no customer has this card"})
		return
	}
	answer(w, http.StatusOK, story)
}
