//go:build unix

package faults

import (
	"encoding/json"
	"testing"
	"time"

	"membercard/local/aws"
	"membercard/local/stack"
	"membercard/wechat/network"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

// scenario is a row of the table.
type scenario struct {
	name      string
	load      load
	rate      float64       // requests a second
	burst     int           // further requests at the moment when the fault begins
	setup     func(*rig)    // before the first request; may be nil
	fault     func(*rig)    // begins the fault, and may change it later; see [rig.later]
	lasts     time.Duration // how long the fault lasts in a long run
	shows     time.Duration // the same in a short run; 0 means 2 s
	heal      func(*rig)    // ends the fault, in addition to [rig.heal]; may be nil
	finally   func(*rig)    // after the last request; may be nil
	codes     []string      // the errors that callers may get
	share     float64       // the largest share of requests that get one; 0 means any
	calls     int           // calls to WeChat for a request if nothing fails; 0 means 1
	recovers  time.Duration // limit for the recovery; 0 means 30 s
	settles   bool          // an instance's calls after its first take as long as without the fault
	fails     bool          // no request succeeds during the fault
	noRetries bool          // no call is repeated, but hedges may be made on a busy machine
	confirms  bool          // the queue confirms cards
	long      bool          // takes too long for a short run
}

const (
	steadily  = 40 // requests a second
	forAWhile = 20 * time.Second
	always    = -1 // times of a fault
)

// The codes of errors that callers may get.
var (
	none        []string
	unreachable = []string{"UPSTREAM_UNREACHABLE"}
	timeouts    = []string{"UPSTREAM_UNREACHABLE", "UPSTREAM_TIMEOUT"}
	untrusted   = []string{"INVALID_RESPONSE"}
	failing     = []string{"SYSTEM_ERROR"}
	limited     = []string{"FREQUENCY_LIMITED"}
	unsigned    = []string{"SIGN_ERROR"}
	unsettled   = []string{"CONFIG_ERROR"}
	notTaken    = []string{"FAIL"}
)

var (
	outage    = sandbox.Status(500, `{"code":"SYSTEM_ERROR","message":"系统异常，请稍后重试"}`)
	malformed = `{"mchid": "1900000001", "private_kye": "x"}`
	internal  = &aws.Fault{Status: 500, Code: "InternalFailure"}
)

var scenarios = []scenario{
	// From the token to a member. It takes longest, so it begins first.
	{
		name:  "token to member: the event bus down, then WeChat, then SQS",
		setup: (*rig).disturbMembers, load: members, calls: 3, rate: 3, lasts: forAWhile, shows: 10 * time.Second,
		codes: failing, confirms: true, recovers: time.Minute, finally: (*rig).allAreMembers,
		fault: func(r *rig) {
			r.Events.Fail(internal)
			r.later(5*time.Second, func() { // the function itself tries for 4 s
				r.Events.Fail(nil)
				r.breakBoth(outage)
			})
			r.later(7*time.Second, func() {
				r.WeChatPay.Heal()
				r.Queues.Fail(internal)
			})
		},
	},

	{
		name: "200 requests at once, no instance running",
		load: merchantTokens, burst: 200, lasts: 10 * time.Second, codes: none,
	},
	{
		name: "brand tokens: 50 a second, WeChat allows 5",
		load: brandTokens, rate: 50, lasts: time.Minute, codes: limited, noRetries: true,
		fault: func(r *rig) { r.WeChatPay.LimitBrandTokens(5) },
		heal:  func(r *rig) { r.WeChatPay.LimitBrandTokens(0) },
	},

	// WeChat's first endpoint.
	{
		name: "first endpoint refuses connections",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { down(r.WeChatPay.Listener(0)) },
	},
	{
		name: "first endpoint accepts requests and never answers",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { r.WeChatPay.Break(0, sandbox.Hang(), always) },
	},
	{
		name: "first endpoint's network drops everything",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) {
			r.WeChatPay.Listener(0).Delay(time.Hour)
			r.WeChatPay.Listener(0).Drop(network.Silence)
		},
		heal: func(r *rig) { r.WeChatPay.Listener(0).Drop(network.Silence) },
	},
	{
		name: "first endpoint loses every other answer",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: unreachable, share: 0.05,
		fault: func(r *rig) { r.WeChatPay.Break(0, r.sometimes(0.5, sandbox.Reset(), sandbox.Truncated()), always) },
	},

	// All of WeChat.
	{
		name: "both endpoints down, and back",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: unreachable, fails: true,
		fault: func(r *rig) { down(r.WeChatPay.Listener(0)); down(r.WeChatPay.Listener(1)) },
	},
	{
		name: "both endpoints hang, and back",
		// Each request occupies an instance, so there are fewer.
		load: merchantTokens, rate: 5, lasts: forAWhile, shows: 10 * time.Second, codes: timeouts, fails: true,
		fault: func(r *rig) { r.breakBoth(sandbox.Hang()) },
	},
	{
		name: "WeChat answers 500",
		load: merchantTokens, rate: steadily, lasts: 30 * time.Second, codes: failing, fails: true,
		fault: func(r *rig) { r.breakBoth(outage) },
	},
	{
		name: "brand tokens: a tenth of the answers is forged",
		// One in a hundred requests gets two of them.
		load: brandTokens, rate: steadily, lasts: forAWhile, codes: untrusted, share: 0.05,
		fault: func(r *rig) { r.breakBoth(r.sometimes(0.1, forgeries()...)) },
	},
	{
		name: "both endpoints cut connections, each at another point",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: unreachable,
		fault: func(r *rig) { r.cut(0); r.cut(1) },
	},

	// Keys and secrets.
	{
		name: "the merchant's key rotated, then WeChat Pay's public key",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none,
		fault: func(r *rig) {
			rotate := func(key func()) {
				r.quiet(func() { // both keys are valid until the old one is revoked
					key()
					r.putMerchant()
				})
			}
			rotate(r.WeChatPay.RotateMerchantKey)
			r.later(time.Second, func() { rotate(r.WeChatPay.RotatePublicKey) })
		},
	},
	{
		name: "merchant's certificate revoked, new secret after 20 s",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: unsigned, fails: true,
		fault: func(r *rig) { r.quiet(r.WeChatPay.RotateMerchantKey) },
		heal:  (*rig).putMerchant,
		// An instance reads a secret that WeChat refuses at most once a minute.
		recovers: 65 * time.Second, long: true,
	},
	{
		name: "malformed secret for new instances, cured",
		load: merchantTokens, rate: steadily, lasts: 10 * time.Second, codes: unsettled, fails: true,
		fault: func(r *rig) {
			r.Secrets.Put(stack.MerchantSecret, malformed)
			r.replace()
		},
		heal: (*rig).putMerchant,
	},
	{
		name: "Secrets Manager down for running instances, then a malformed secret",
		// Twice longer than the 5 minutes for which a secret is kept. New instances
		// could not start, so there are enough.
		setup: (*rig).warm, load: merchantTokens, rate: 10, lasts: 660 * time.Second, codes: none, long: true,
		fault: func(r *rig) {
			r.Secrets.Fail(internal)
			r.later(330*time.Second, func() {
				r.Secrets.Put(stack.MerchantSecret, malformed)
				r.Secrets.Fail(nil)
			})
		},
		heal: (*rig).putMerchant,
	},
	{
		name: "Secrets Manager takes 2 s for new instances",
		load: merchantTokens, rate: 10, lasts: 10 * time.Second, shows: 4 * time.Second, codes: none,
		fault: func(r *rig) {
			r.Secrets.Fail(&aws.Fault{Delay: 2 * time.Second})
			r.replace()
		},
	},
	{
		name: "Secrets Manager never answers new instances",
		load: merchantTokens, rate: 5, lasts: 10 * time.Second, shows: 8 * time.Second, codes: unsettled, fails: true,
		fault: func(r *rig) {
			r.Secrets.Fail(&aws.Fault{Hang: true})
			r.replace()
		},
	},
	{
		// 12 s stand for 10 minutes: what matters is that it is longer than the 7 s for
		// which a function trusts a connection, by the wall clock.
		name: "instances frozen for 12 s, their connections silent afterwards",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { r.freeze(12*time.Second, network.Silence) },
	},

	// The official account.
	{
		name: "logins: first endpoint takes 2 s",
		load: logins, rate: 5, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { r.OfficialAccount.Break(0, sandbox.Slow(2*time.Second), always) },
	},
	{
		name:  "syncs: first endpoint never answers, then a fifth of the answers breaks off",
		setup: func(r *rig) { r.cards = r.OfficialAccount.AddCards(1000) },
		load:  syncs, calls: 3, rate: 5, lasts: forAWhile, shows: 6 * time.Second, codes: unreachable,
		fault: func(r *rig) {
			r.OfficialAccount.Break(0, sandbox.Hang(), always)
			r.later(3*time.Second, func() {
				r.OfficialAccount.Heal()
				lossy := r.sometimes(0.2, sandbox.Reset(), sandbox.Truncated())
				r.OfficialAccount.Break(0, lossy, always)
				r.OfficialAccount.Break(1, lossy, always)
			})
		},
	},

	// The event bus. WeChat Pay repeats a notification that was not answered with 204.
	{
		name: "notifications: the event bus refuses the event, then answers 500",
		load: notifications, rate: 20, lasts: 30 * time.Second, shows: 6 * time.Second, codes: notTaken, fails: true,
		fault: func(r *rig) {
			r.Events.Fail(&aws.Fault{Entry: true, Code: "InternalFailure"})
			r.later(time.Second, func() { r.Events.Fail(internal) })
		},
	},
	{
		name: "notifications: the event bus never answers",
		load: notifications, rate: 5, lasts: forAWhile, shows: 7 * time.Second, codes: notTaken, fails: true,
		fault: func(r *rig) { r.Events.Fail(&aws.Fault{Hang: true}) },
	},
	{
		name: "notifications: half of them is forged",
		load: notifications, rate: 20, lasts: forAWhile, codes: notTaken,
		fault: func(r *rig) { r.forges.Store(true) },
	},
}

// Callers get right answers or documented errors, and a fault ends when it ends.
func TestFaults(t *testing.T) {
	if !*long {
		t.Parallel()
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			if s.long && !*long {
				t.Skip("takes minutes; -long runs it")
			}
			if !*long || !s.settles { // times are compared on a machine that does nothing else
				t.Parallel()
			}
			s.run(t)
		})
	}
}

// down refuses new connections and resets those that are open, also one that was being
// accepted.
func down(l *network.Listener) {
	_ = l.Refuse(true) // it listens
	l.Drop(network.Reset)
	time.Sleep(50 * time.Millisecond)
	l.Drop(network.Reset)
}

// forgeries are answers with a forged token, each with another wrong signature.
func forgeries() (faults []sandbox.Fault) {
	body := sandbox.Body(`{"permission_token":"` + forgedToken + `","token":"` + forgedToken + `","expire_time":"2036-01-01T00:00:00+08:00"}`)
	for _, sign := range []sandbox.Fault{
		wechatpay.WrongSignature(), wechatpay.SignatureProbe(), wechatpay.Unsigned(), wechatpay.UnknownKey(),
		wechatpay.Stamped(-10 * time.Minute), wechatpay.Stamped(10 * time.Minute),
		wechatpay.MissingHeader("Wechatpay-Nonce"), wechatpay.MissingHeader("Wechatpay-Timestamp"),
	} {
		faults = append(faults, func(a *sandbox.Answer) {
			body(a)
			sign(a)
		})
	}
	return faults
}

// putMerchant puts the merchant's current key into the secret.
func (r *rig) putMerchant() {
	secret := r.WeChatPay.MerchantSecret(wechatpay.Both)
	r.watch.keepPrivate(secret)
	r.Secrets.Put(stack.MerchantSecret, secret)
}

// warm starts more instances than the load needs.
func (r *rig) warm() {
	for range 10 {
		if _, err := r.functions["functions/merchant-token"].Start(); err != nil {
			r.t.Error(err)
		}
	}
}

// cut cuts the connections to an endpoint of WeChat Pay, beginning within the handshake,
// and each connection a few bytes later than the previous one. A handshake, a request and
// its answer take about 4,000 bytes.
func (r *rig) cut(endpoint int) {
	const last = 6000
	point, step := 0, 37
	if race { // there are fewer requests
		step *= 5
	}
	l := r.WeChatPay.Listener(endpoint)
	l.Cut(func() int { // the listener does not call it concurrently
		point = (point + step) % last
		return point
	})
	l.Drop(network.Reset)
}

// disturbMembers makes much go wrong from the token to a member: WeChat Pay sends again
// after 2 s instead of a minute, and refuses the first confirmation of some cards, quoting
// the user. See [members] for the rest.
func (r *rig) disturbMembers() {
	delivery := wechatpay.NewDelivery()
	delivery.Interval, delivery.Retries = 2*time.Second, 60
	r.WeChatPay.Deliver(delivery)
	confirmations := map[string]int{}
	r.WeChatPay.RefuseIf(func(q *wechatpay.Request) (status int, code, message string) { // not called concurrently
		var body struct{ OpenID string }
		if !isConfirmation(q.URI) || json.Unmarshal(q.Body, &body) != nil {
			return 0, "", ""
		}
		if confirmations[q.URI]++; confirmations[q.URI] > 1 {
			return 0, "", ""
		}
		switch len(confirmations) % 5 {
		case 0:
			return 429, "FREQUENCY_LIMITED", "用户 " + body.OpenID + " 请求频率超过限制"
		case 1:
			return 500, "SYSTEM_ERROR", "用户 " + body.OpenID + " 系统异常"
		}
		return 0, "", ""
	})
}
