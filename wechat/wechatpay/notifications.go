package wechatpay

// This file sends notifications, signed and encrypted, and retries them.

import (
	"bytes"
	"context"
	"io"
	"maps"
	"math/rand/v2"
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

	// Rates are the probabilities of troubles, from 0 to 1: of LostAnswer for each
	// attempt, of the others for each notification. The choices depend only on the seed
	// and on the number of notifications since [Sandbox.Deliver].
	Rates map[Trouble]float64
	Seed  uint64
}

// NewDelivery returns the default, which is how WeChat Pay delivers these notifications: a
// timeout of 5 s, and up to 11 retries at intervals of 60 s. There are no troubles.
func NewDelivery() Delivery {
	return Delivery{Timeout: 5 * time.Second, Interval: time.Minute, Retries: 11}
}

// Deliver sets how notifications are delivered from now on.
func (s *Sandbox) Deliver(d Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Rates = maps.Clone(d.Rates)
	s.delivery, s.sent = d, 0
}

// Next makes a trouble happen to the next notification, or to the next attempt if it is
// LostAnswer.
func (s *Sandbox) Next(t Trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next[t]++
}

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
func (s *Sandbox) Deliveries() []Attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.attempts)
}

const maxAttempts = 10_000 // kept in the log

// notifier sends the notifications. Its fields are guarded by Sandbox.mu.
type notifier struct {
	local                         string // the address of NotifyAt
	localHeader                   http.Header
	brandAddress, merchantAddress string
	delivery                      Delivery
	next                          map[Trouble]int
	sent                          uint64 // notifications since Deliver
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
	to                   *account // whose APIv3 key encrypts it; nil for the sandbox's own merchant
	url, id, event, code string
	body                 []byte
	forged               bool
	delivery             Delivery
	random               *rand.Rand
}

const brandCardCreated = "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE"

// notifyBrand sends a notification of a brand card. The caller holds s.mu.
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
	s.mu.Lock()
	c := s.findCard(func(c *UserCard) bool { return c.BrandID != "" && c.Code == code })
	if c == nil {
		s.mu.Unlock()
		return nil, nil, false
	}
	n := notification{event: brandCardCreated, to: c.merchant}
	s.write(&n, "用户开通会员卡通知", "user_card", "user_card", c.notified())
	s.mu.Unlock()
	return s.sign(&n, Regular, s.now()), n.body, true
}

// notifyMerchant sends a notification of a merchant card. The caller holds s.mu.
func (s *Sandbox) notifyMerchant(c *UserCard, event, summary string, resource map[string]string) {
	maps.Copy(resource, map[string]string{"event_time": rfc3339(s.now()), "openid": c.OpenID, "card_id": c.CardID, "code": c.Code})
	if c.OuterStr != "" {
		resource["outer_str"] = c.OuterStr
	}
	s.notify(s.merchantAddress, notification{event: event, code: c.Code, to: c.merchant}, summary, "membercard", "", resource)
}

// notify sends a notification to an address, unless that is empty. The caller holds s.mu.
func (s *Sandbox) notify(address string, n notification, summary, originalType, associatedData string, resource any) {
	if address == "" || s.ctx.Err() != nil {
		return
	}
	s.sent++
	n.url, n.delivery, n.random = address, s.delivery, rand.New(rand.NewPCG(s.delivery.Seed, s.sent))
	s.write(&n, summary, originalType, associatedData, resource)
	s.deliveries.Go(func() { s.deliver(&n) })
}

// write sets a notification's ID and body. The caller holds s.mu.
func (s *Sandbox) write(n *notification, summary, originalType, associatedData string, resource any) {
	id := sandbox.RandomText(32)
	apiv3Key := s.apiv3Key
	if n.to != nil {
		apiv3Key = n.to.apiv3Key
	}
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
		}{originalType, encrypt(apiv3Key, sandbox.JSON(resource), associatedData)},
	})
}

// sign returns the header of an attempt to deliver a notification.
func (s *Sandbox) sign(n *notification, kind Kind, now time.Time) http.Header {
	header := http.Header{
		"Accept":       {"*/*"},
		"Content-Type": {"application/json"},
		"Request-Id":   {sandbox.RandomText(32)},
		"User-Agent":   {"Mozilla/4.0"}, // WeChat Pay's
	}
	signing := &signing{time: now, key: s.signingKey(publicKeyPrefix), probe: kind == Probing}
	if n.forged {
		signing.key.key = s.unknown.key
	}
	signing.sign(header, n.body)
	return header
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
	if s.troubles(n, Probe) {
		s.attempt(n, Attempt{Kind: Probing})
	}
	for number := 1; !s.attempt(n, Attempt{Kind: Regular, Number: number, Lost: s.troubles(n, LostAnswer)}); number++ {
		if number > n.delivery.Retries || !s.pause(n.delivery.Interval) {
			return
		}
	}
	if s.troubles(n, Twice) {
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
func (s *Sandbox) troubles(n *notification, t Trouble) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next[t] > 0 {
		s.next[t]--
		return true
	}
	return n.random.Float64() < n.delivery.Rates[t]
}

// attempt sends a notification, logs the attempt, and reports whether it succeeded.
func (s *Sandbox) attempt(n *notification, a Attempt) (ok bool) {
	a.ID, a.Event, a.Code, a.URL, a.Time = n.id, n.event, n.code, n.url, s.now()
	a.Header = s.sign(n, a.Kind, a.Time)
	a.Status = s.post(n, a.Header)

	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.attempts) >= maxAttempts {
		s.attempts = s.attempts[1:]
	}
	s.attempts = append(s.attempts, a)
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
	s.mu.Lock()
	if n.url == s.local {
		maps.Copy(r.Header, s.localHeader)
	}
	s.mu.Unlock()
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
