package wechatpay

// This file sends notifications, signed and encrypted, and retries them.

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"membercard/wechat/sandbox"
)

// Trouble is what may happen to a notification.
type Trouble int

const (
	// LostAnswer loses the answer to an attempt, so that the notification is retried.
	LostAnswer Trouble = iota
	// Twice sends a notification once more after it has succeeded.
	Twice
	// Probe first sends the notification with a signature that is deliberately wrong and
	// begins with WECHATPAY/SIGNTEST/, and then at once with the right one.
	Probe
)

// Delivery is how notifications are delivered. They are delivered concurrently and may
// arrive in any order.
type Delivery struct {
	Timeout  time.Duration // of an attempt
	Interval time.Duration // between attempts, until one is answered with 2xx
	Retries  int           // maximum of attempts after the first
	Delay    time.Duration // before the first attempt
}

// NewDelivery returns the default, which is how WeChat Pay delivers these notifications: a
// timeout of 5 s, and up to 11 retries at intervals of 60 s.
func NewDelivery() Delivery {
	return Delivery{Timeout: 5 * time.Second, Interval: time.Minute, Retries: 11}
}

// Deliver sets how notifications are delivered from now on.
func (s *Sandbox) Deliver(d Delivery) { s.Do(func() { s.delivery = d }) }

// Next makes a trouble happen to the next notification, or to the next attempt if it is
// LostAnswer.
func (s *Sandbox) Next(t Trouble) { s.Do(func() { s.next[t]++ }) }

// Attempt is an attempt to deliver a notification.
type Attempt struct {
	ID     string // of the notification
	Event  string // its event_type
	Code   string // of the user's card; empty for SECURITY_ECHO.SUCCESS
	Kind   Kind
	Number int // 1 for the first Regular attempt
	Time   time.Time
	URL    string
	Header http.Header // as sent
	Status int         // of the answer; 0 if there was none in time
	Lost   bool        // the answer was lost
}

// Kind is the kind of an attempt.
type Kind string

const (
	Regular   Kind = "regular"
	Probing   Kind = "probe"     // of [Probe]
	Duplicate Kind = "duplicate" // of [Twice]
	Forgery   Kind = "forgery"   // of [Sandbox.Forge]
)

// Deliveries returns the newest attempts to deliver notifications, at most 10,000, in the
// order in which they ended.
func (s *Sandbox) Deliveries() (attempts []Attempt) {
	s.Do(func() { attempts = slices.Clone(s.attempts) })
	return attempts
}

const maxAttempts = 10_000 // kept in the log

// notifier sends the notifications.
type notifier struct {
	local                         string // the address of NotifyAt
	localHeader                   http.Header
	brandAddress, merchantAddress string
	delivery                      Delivery
	next                          map[Trouble]int
	attempts                      []Attempt

	client     *http.Client
	ctx        context.Context // ends with the sandbox
	stop       context.CancelFunc
	deliveries sync.WaitGroup
}

func (n *notifier) start() {
	n.delivery, n.next = NewDelivery(), make(map[Trouble]int)
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.client = &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// notification is a notification to be delivered.
type notification struct {
	to                   *merchant // whose APIv3 key encrypts it
	url, id, event, code string
	body                 []byte
	forged               bool
	delivery             Delivery
}

const brandCardCreated = "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE"

// notifyBrand sends a notification of a brand card.
func (s *Sandbox) notifyBrand(c *UserCard, n notification, summary string) {
	n.code, n.to = c.Code, c.merchant
	s.notify(s.brandAddress, n, summary, "user_card", "user_card", c.notified())
}

// notified returns a brand card as it is in notifications.
func (c *UserCard) notified() map[string]any {
	resource := c.resource()
	resource["phone_number"] = "13900000000"
	return resource
}

// Notification returns a freshly signed notification that a brand card was opened, without
// sending it. ok is false if there is no brand card with the code.
func (s *Sandbox) Notification(code string) (header http.Header, body []byte, ok bool) {
	s.Do(func() {
		c := s.findCard(func(c *UserCard) bool { return c.BrandID != "" && c.Code == code })
		if ok = c != nil; !ok {
			return
		}
		n := notification{event: brandCardCreated, to: c.merchant}
		s.write(&n, "用户开通会员卡通知", "user_card", "user_card", c.notified())
		header, body = n.sign(Regular, s.keyFor(&n), s.now()), n.body
	})
	return header, body, ok
}

// notifyMerchant sends a notification of a merchant card.
func (s *Sandbox) notifyMerchant(c *UserCard, event, summary string, resource map[string]string) {
	maps.Copy(resource, map[string]string{"event_time": rfc3339(s.now()), "openid": c.OpenID, "card_id": c.CardID, "code": c.Code})
	if c.OuterStr != "" {
		resource["outer_str"] = c.OuterStr
	}
	s.notify(s.merchantAddress, notification{event: event, code: c.Code, to: c.merchant}, summary, "membercard", "", resource)
}

// notify sends a notification to an address, unless that is empty.
func (s *Sandbox) notify(address string, n notification, summary, originalType, associatedData string, resource any) {
	if address == "" || s.ctx.Err() != nil {
		return
	}
	n.url, n.delivery = address, s.delivery
	s.write(&n, summary, originalType, associatedData, resource)
	s.deliveries.Go(func() { s.deliver(&n) })
}

// write sets a notification's ID and body.
func (s *Sandbox) write(n *notification, summary, originalType, associatedData string, resource any) {
	id := sandbox.RandomText(32)
	n.id = id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
	n.body = sandbox.JSON(map[string]any{
		"id":            n.id,
		"create_time":   rfc3339(s.now()),
		"event_type":    n.event,
		"resource_type": "encrypt-resource",
		"summary":       summary,
		"resource": struct {
			OriginalType string `json:"original_type"`
			encrypted
		}{originalType, encrypt(n.to.apiv3Key, string(sandbox.JSON(resource)), associatedData)},
	})
}

// sign returns the header of an attempt to deliver a notification, signed with a key.
func (n *notification) sign(kind Kind, key signingKey, now time.Time) http.Header {
	header := http.Header{
		"Accept":       {"*/*"},
		"Content-Type": {"application/json"},
		"Request-ID":   {sandbox.RandomText(32)}, // spelt so, as WeChat Pay does
		"User-Agent":   {"Mozilla/4.0"},          // WeChat Pay's
	}
	signing := &signing{time: now, key: key, probe: kind == Probing}
	signing.sign(header, n.body)
	return header
}

// keyFor returns the key that signs a notification. A forged one names the right key.
func (s *Sandbox) keyFor(n *notification) signingKey {
	key := s.signingKey(publicKeyPrefix)
	if n.forged {
		key.key = s.unknown.key
	}
	return key
}

// deliver delivers a notification.
func (s *Sandbox) deliver(n *notification) {
	if !s.pause(n.delivery.Delay) {
		return
	}
	if n.forged {
		s.attempt(n, Attempt{Kind: Forgery})
		return
	}
	if s.troubles(Probe) {
		s.attempt(n, Attempt{Kind: Probing})
	}
	for number := 1; !s.attempt(n, Attempt{Kind: Regular, Number: number, Lost: s.troubles(LostAnswer)}); number++ {
		if number > n.delivery.Retries || !s.pause(n.delivery.Interval) {
			return
		}
	}
	if s.troubles(Twice) {
		s.attempt(n, Attempt{Kind: Duplicate})
	}
}

// pause waits, and reports whether the sandbox is still running.
func (s *Sandbox) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
	return s.ctx.Err() == nil
}

// troubles decides whether a trouble happens.
func (s *Sandbox) troubles(t Trouble) (happens bool) {
	s.Do(func() {
		if happens = s.next[t] > 0; happens {
			s.next[t]--
		}
	})
	return happens
}

// attempt sends a notification, logs the attempt, and reports whether it succeeded.
func (s *Sandbox) attempt(n *notification, a Attempt) (ok bool) {
	a.ID, a.Event, a.Code, a.URL, a.Time = n.id, n.event, n.code, n.url, s.now()
	var key signingKey
	s.Do(func() { key = s.keyFor(n) })
	a.Header = n.sign(a.Kind, key, a.Time)
	a.Status = s.post(n, a.Header)
	s.Do(func() {
		if len(s.attempts) >= maxAttempts {
			s.attempts = s.attempts[1:]
		}
		s.attempts = append(s.attempts, a)
	})
	return a.Status/100 == 2 && !a.Lost
}

// post sends a notification and returns the status of the answer, or 0.
func (s *Sandbox) post(n *notification, header http.Header) int {
	ctx, cancel := context.WithTimeout(s.ctx, n.delivery.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url, bytes.NewReader(n.body))
	if err != nil {
		return 0
	}
	r.Header = header.Clone()
	s.Do(func() {
		if n.url == s.local {
			maps.Copy(r.Header, s.localHeader)
		}
	})
	resp, err := s.client.Do(r)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return 0
	}
	return resp.StatusCode
}
