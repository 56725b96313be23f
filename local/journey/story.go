// Package journey takes cards from the token to a member in a running stack, doing what
// customers and the merchant's backend do.
package journey

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"membercard/local/stack"
	"membercard/shared/brandcard"
	"membercard/wechat/wechatpay"
)

// What happened in a step.
const (
	Token        = "token"        // the API answered with a token
	Opened       = "opened"       // the customer opened the card in WeChat's component
	Notification = "notification" // WeChat Pay's attempt to notify the API has ended
	Event        = "event"        // the notification is on the event bus
	Waiting      = "waiting"      // the confirmation failed and will be retried
	DeadLetter   = "dead_letter"  // the confirmation is a dead letter
	Call         = "call"         // WeChat Pay received a call about the card
	Member       = "member"       // the card is EFFECTIVE
)

// Step is something that happened to a card.
type Step struct {
	ID   string    `json:"id"` // identifies the step among those of the card
	Time time.Time `json:"time"`
	What string    `json:"what"`
	// Name is the type of an event, the operation of a call, or the error code of a dead
	// letter.
	Name   string `json:"name,omitempty"`
	Status int    `json:"status,omitempty"` // HTTP status of a token, a notification or a call; 0 if there was no answer

	// Of a notification.
	Kind   wechatpay.Kind    `json:"kind,omitempty"`
	Number int               `json:"number,omitempty"` // of the attempt; for Waiting, the number of attempts
	Lost   bool              `json:"lost,omitempty"`   // WeChat Pay did not receive the answer
	Header map[string]string `json:"header,omitempty"`

	Refusal string          `json:"refusal,omitempty"` // of a call, by WeChat Pay
	Next    *time.Time      `json:"next,omitempty"`    // for Waiting, the time of the next attempt
	Content json.RawMessage `json:"content,omitempty"` // of an event, decrypted, or the answer to a query; contains personal data
}

// Story is what has happened to a card so far.
type Story struct {
	State string `json:"state"`
	Steps []Step `json:"steps"` // by time
}

// Tell returns the story of the user's card with a code, as the sandbox, the bus and
// the queues know it. ok is false if there is no such card.
func Tell(s *stack.Stack, code string) (story Story, ok bool) {
	card, ok := s.WeChatPay.UserCard(code)
	if !ok {
		return Story{}, false
	}
	story = Story{State: card.State, Steps: []Step{{ID: Opened, Time: card.Opened, What: Opened}}}
	for _, a := range s.WeChatPay.Deliveries() {
		if a.Code == code {
			story.Steps = append(story.Steps, notificationStep(a))
		}
	}
	for _, e := range s.Events.History() {
		if strings.Contains(string(e.Detail), `"`+code+`"`) {
			story.Steps = append(story.Steps, Step{ID: e.ID, Time: e.Taken, What: Event, Name: e.DetailType, Content: e.Detail})
		}
	}
	operations := operations(card)
	member := card.Opened // of a card with AUTO_ACTIVATE
	for _, r := range s.WeChatPay.Requests() {
		name, ok := operations[r.URI]
		if !ok {
			continue
		}
		step := Step{ID: fmt.Sprint(Call, r.Time.UnixNano()), Time: r.Time, What: Call, Name: r.Method + " " + name, Status: r.Status, Refusal: r.Refusal}
		if r.Status == http.StatusOK && (name == queryBrand || name == queryMerchant) {
			step.Content = r.Answer
		}
		story.Steps = append(story.Steps, step)
		if r.Status/100 == 2 && (name == confirmBrand || name == activate) {
			member = r.Time
		}
	}
	if queue := s.Queues.Get("ConfirmQueue"); queue != nil {
		for _, m := range queue.Messages() {
			if m.Received > 0 && !m.Processing && strings.Contains(m.Body, `"`+code+`"`) {
				story.Steps = append(story.Steps, Step{ID: Waiting, Time: time.Now(), What: Waiting, Number: m.Received, Next: &m.Visible})
			}
		}
	}
	if letters := s.Queues.Get("ConfirmDeadLetters"); letters != nil {
		for _, m := range letters.Messages() {
			if strings.Contains(m.Body, `"`+code+`"`) {
				story.Steps = append(story.Steps, Step{ID: m.ID, Time: m.Sent, What: DeadLetter, Name: m.Attributes["Code"]})
			}
		}
	}
	if card.State == wechatpay.Effective {
		story.Steps = append(story.Steps, Step{ID: Member, Time: member, What: Member, Name: card.State})
	}
	slices.SortStableFunc(story.Steps, func(a, b Step) int { return a.Time.Compare(b.Time) })
	return story, true
}

func notificationStep(a wechatpay.Attempt) Step {
	header := map[string]string{}
	for _, name := range []string{"Wechatpay-Serial", "Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Signature", "Wechatpay-Signature-Type", "Request-Id"} {
		value := a.Header.Get(name)
		if n := len(value); n > 48 {
			value = value[:24] + "…" + value[n-8:]
		}
		header[name] = value
	}
	return Step{
		ID: fmt.Sprint(a.ID, a.Kind, a.Number), Time: a.Time, What: Notification, Name: a.Event,
		Status: a.Status, Kind: a.Kind, Number: a.Number, Lost: a.Lost, Header: header,
	}
}

// Paths of the operations on users' cards.
const (
	confirmBrand    = "/v3/brand/partner/card-member/user-cards/{user_card_code}/confirm"
	decryptCode     = "/v3/marketing/membercard-open/cards/{card_id}/decrypt-code"
	information     = "/v3/marketing/membercard-open/activate-informations/{activate_ticket}"
	activate        = "/v3/marketing/membercard-open/cards/{card_id}/codes/{code}/activate"
	confirmMerchant = "/v3/marketing/membercard-open/cards/{card_id}/codes/{code}/confirm"
	queryBrand      = "/v3/brand/partner/card-member/user-cards/{user_card_code}"
	queryMerchant   = "/v3/marketing/membercard-open/cards/{card_id}/codes/{code}"
)

// operations returns the paths of the operations on a card, by the URIs of their calls.
func operations(c wechatpay.UserCard) map[string]string {
	if c.BrandID != "" {
		return map[string]string{uri(confirmBrand, c): confirmBrand, uri(queryBrand, c): queryBrand}
	}
	found := map[string]string{uri(activate, c): activate, uri(confirmMerchant, c): confirmMerchant, uri(queryMerchant, c): queryMerchant}
	if c.ActivateTicket != "" {
		found[uri(decryptCode, c)], found[uri(information, c)] = decryptCode, information
	}
	return found
}

// uri returns the path and query of a call of an operation on a card.
func uri(operation string, c wechatpay.UserCard) string {
	path := strings.NewReplacer("{user_card_code}", c.Code, "{code}", c.Code, "{card_id}", c.CardID,
		"{activate_ticket}", url.QueryEscape(c.ActivateTicket)).Replace(operation)
	switch operation {
	case decryptCode:
		path += "?encrypt_code=" + c.EncryptCode // not escaped
	case queryBrand:
		path = brandcard.Card{UserCardCode: c.Code, BrandID: c.BrandID, CardID: c.CardID, OpenID: c.OpenID}.Path()
	}
	return path
}

// has reports whether there is a step with the given name. A notification must have been
// accepted.
func (s Story) has(what, name string) bool {
	return slices.ContainsFunc(s.Steps, func(step Step) bool {
		return step.What == what && step.Name == name && (what != Notification || step.Status/100 == 2)
	})
}

// missing returns what has not happened yet for a card to have a state after a notification
// of type event, or "".
func (s Story) missing(event, state string) string {
	switch {
	case !s.has(Notification, event):
		return "WeChat Pay's notification " + event + " was not accepted"
	case !s.has(Event, event):
		return "the bus has no event " + event
	case s.State != state:
		return "the card is " + cmp.Or(s.State, "unknown")
	}
	return ""
}
