package wechatpay

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/url"
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
	GaveUp bool        // it failed, and no further one follows
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
	return sandbox.Get(s.Server, func() []Attempt { return slices.Clone(s.attempts) })
}

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

type notification struct {
	url, id, event, code string
	body                 []byte
	forged               bool
	delivery             Delivery
}

const brandCardCreated = "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE"

func (s *Sandbox) brandNotification(c *UserCard, event, summary string) *notification {
	resource := s.resource(c)
	resource["phone_number"] = "13900000000"
	n := s.write(c.merchant, event, summary, "user_card", "user_card", resource)
	n.code = c.Code
	return n
}

// Notification returns a freshly signed notification that a brand card was opened, without
// sending it. ok is false if there is no brand card with the code.
func (s *Sandbox) Notification(code string) (header http.Header, body []byte, ok bool) {
	s.Do(func() {
		if c := s.brandCard(code); c != nil {
			n := s.brandNotification(c, brandCardCreated, "用户开通会员卡通知")
			header, body, ok = n.sign(Regular, s.signingKey(publicKeyPrefix), s.now()), n.body, true
		}
	})
	return header, body, ok
}

func (s *Sandbox) notifyMerchant(c *UserCard, event, summary string, resource map[string]string) {
	maps.Copy(resource, map[string]string{"event_time": rfc3339(s.now()), "openid": c.OpenID, "card_id": c.CardID, "code": c.Code})
	if c.OuterStr != "" {
		resource["outer_str"] = c.OuterStr
	}
	n := s.write(c.merchant, event, summary, "membercard", "", resource)
	n.code = c.Code
	s.notify(s.merchantAddress, n)
}

// write returns a notification for a merchant, whose APIv3 key encrypts the resource.
func (s *Sandbox) write(to *merchant, event, summary, originalType, associatedData string, resource any) *notification {
	id := sandbox.RandomText(32)
	id = id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
	return &notification{id: id, event: event, body: sandbox.JSON(map[string]any{
		"id":            id,
		"create_time":   rfc3339(s.now()),
		"event_type":    event,
		"resource_type": "encrypt-resource",
		"summary":       summary,
		"resource": struct {
			OriginalType string `json:"original_type"`
			encrypted
		}{originalType, encrypt(to.apiv3Key, string(sandbox.JSON(resource)), associatedData)},
	})}
}

// notify sends a notification to an address, unless that is empty.
func (s *Sandbox) notify(address string, n *notification) {
	if address == "" || s.ctx.Err() != nil {
		return
	}
	n.url, n.delivery = address, s.delivery
	s.deliveries.Go(func() { s.deliver(n) })
}

// sign returns the header of an attempt to deliver a notification, signed with a key.
func (n *notification) sign(kind Kind, key signingKey, now time.Time) http.Header {
	header := http.Header{
		"Accept":       {"*/*"},
		"Content-Type": {"application/json"},
		"Request-ID":   {sandbox.RandomText(32)}, // spelt so, as WeChat Pay does
		"User-Agent":   {"Mozilla/4.0"},          // WeChat Pay's
	}
	(&signing{time: now, key: key, probe: kind == Probing}).sign(header, n.body)
	return header
}

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
	for number := 1; !s.attempt(n, Attempt{Kind: Regular, Number: number, Lost: s.troubles(LostAnswer), GaveUp: number > n.delivery.Retries}); number++ {
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
		return true
	case <-s.ctx.Done():
		return false
	}
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
	var key signingKey
	s.Do(func() {
		if key = s.signingKey(publicKeyPrefix); n.forged {
			key.key = s.unknown.key // under the right key's name
		}
	})
	a.ID, a.Event, a.Code, a.URL, a.Time = n.id, n.event, n.code, n.url, s.now()
	a.Header = n.sign(a.Kind, key, a.Time)
	a.Status = s.post(n, a.Header)
	ok = a.Status/100 == 2 && !a.Lost
	a.GaveUp = a.GaveUp && !ok
	s.Do(func() { s.attempts = append(s.attempts[max(0, len(s.attempts)-9_999):], a) })
	return ok
}

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
	if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != io.EOF && err != nil {
		return 0
	}
	return resp.StatusCode
}

// NotifyAt sets the address of notifications of all cards. If it is empty, which is the
// default, none are sent. Unlike an address in a request, it may use http.
func (s *Sandbox) NotifyAt(address string) {
	s.Do(func() { s.local, s.brandAddress, s.merchantAddress = address, address, address })
}

// NotifyWith adds headers to requests to the address of [Sandbox.NotifyAt], which a proxy
// in front of it may require. They are not in [Attempt.Header].
func (s *Sandbox) NotifyWith(header http.Header) { s.Do(func() { s.localHeader = header }) }

// checkAddress checks the notify_url of a request.
func (s *Sandbox) checkAddress(address string) error {
	u, err := url.Parse(address)
	if address == "" || address == s.local ||
		err == nil && u.Scheme == "https" && u.Host != "" && !u.ForceQuery && u.RawQuery == "" && u.Fragment == "" {
		return nil
	}
	return &sandbox.Issue{Field: "/notify_url", Value: address, Text: "通知URL地址应为不携带参数的https地址", Location: "body"}
}

func (s *Sandbox) getCallback(r *Request) (any, error) {
	return map[string]string{"notify_url": s.merchantAddress, "mchid": r.Authorization.MchID}, nil
}

func (s *Sandbox) setCallback(r *Request) (any, error) {
	if err := s.checkAddress(r.Given["notify_url"]); err != nil {
		return nil, err
	}
	s.merchantAddress = r.Given["notify_url"]
	return s.getCallback(r)
}

func (s *Sandbox) echo(r *Request) (any, error) {
	if err := s.checkAddress(r.Given["notify_url"]); err != nil {
		return nil, err
	}
	signer, message := s.signer(r), map[string]string{"echo_message": r.Given["echo_message"]}
	answer := map[string]string{"echo_message": message["echo_message"]}
	if ciphertext := r.Given["encrypted_echo_message"]; ciphertext != "" {
		plain, err := s.decrypt(r, "/encrypted_echo_message", ciphertext)
		if err != nil {
			return nil, err
		}
		back := sandbox.Must(rsa.EncryptOAEP(sha1.New(), rand.Reader, signer.key, plain, nil)) // no key is shorter than ours
		answer["encrypted_echo_message"] = base64.StdEncoding.EncodeToString(back)
	}
	s.notify(r.Given["notify_url"], s.write(signer, "SECURITY_ECHO.SUCCESS", "回显成功", "security_echo", "", message))
	return answer, nil
}
