package chaos

// This file has the scenarios.

import (
	"context"
	"fmt"
	"time"

	"membercard/local/aws"
	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/wechat/network"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

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

// outage is the answer of WeChat Pay during an outage.
var outage = sandbox.Status(500, `{"code":"SYSTEM_ERROR","message":"系统异常，请稍后重试"}`)

var scenarios = []scenario{
	// Bursts.
	{
		name: "200 requests at once, no instance running", zh: "无实例运行时同时到达 200 个请求",
		load: merchantTokens, burst: 200, lasts: 10 * time.Second, codes: none,
	},
	{
		name: "brand tokens: 50 a second, WeChat allows 5", zh: "品牌 token：每秒 50 个请求，微信只允许 5 个",
		load: brandTokens, rate: 50, lasts: time.Minute, shows: 5 * time.Second, codes: limited,
		fault: func(r *rig) { r.WeChatPay.LimitBrandTokens(5) },
		heal:  func(r *rig) { r.WeChatPay.LimitBrandTokens(0) },
	},

	// WeChat's first endpoint.
	{
		name: "first endpoint refuses connections", zh: "首选接入点拒绝连接",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) {
			r.WeChatPay.Listener(0).Refuse(true)
			r.WeChatPay.Listener(0).Drop(network.Reset)
		},
	},
	{
		name: "first endpoint accepts requests and never answers", zh: "首选接入点收到请求但从不应答",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { r.WeChatPay.Break(0, sandbox.Hang(), always) },
	},
	{
		name: "first endpoint's network drops everything", zh: "首选接入点的网络丢弃所有数据",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) {
			r.WeChatPay.Listener(0).Delay(time.Hour)
			r.WeChatPay.Listener(0).Drop(network.Silence)
		},
		heal: func(r *rig) { r.WeChatPay.Listener(0).Drop(network.Silence) },
	},
	{
		name: "first endpoint takes 2 s", zh: "首选接入点耗时 2 秒",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { r.WeChatPay.Break(0, sandbox.Slow(2*time.Second), always) },
	},
	{
		name: "first endpoint sends half of each answer", zh: "首选接入点每个应答只发送一半",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { r.WeChatPay.Break(0, sandbox.Truncated(), always) },
	},
	{
		name: "first endpoint loses every other answer", zh: "首选接入点随机丢失一半应答",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: unreachable,
		fault: func(r *rig) { r.WeChatPay.Break(0, r.sometimes(0.5, sandbox.Reset()), always) },
	},

	// All of WeChat.
	{
		name: "both endpoints down for 20 s, and back", zh: "两个接入点同时中断 20 秒后恢复",
		load: merchantTokens, rate: steadily, lasts: 20 * time.Second, codes: unreachable, fails: true,
		fault: func(r *rig) {
			for i := range 2 {
				r.WeChatPay.Listener(i).Refuse(true)
				r.WeChatPay.Listener(i).Drop(network.Reset)
			}
		},
	},
	{
		name: "both endpoints hang for 20 s, and back", zh: "两个接入点同时无应答 20 秒后恢复",
		// Each request occupies an instance, so there are fewer.
		load: merchantTokens, rate: 5, lasts: 20 * time.Second, shows: 10 * time.Second, codes: timeouts, fails: true,
		fault: func(r *rig) {
			r.WeChatPay.Break(0, sandbox.Hang(), always)
			r.WeChatPay.Break(1, sandbox.Hang(), always)
		},
	},
	{
		name: "WeChat answers 500 for 30 s", zh: "微信在 30 秒内始终返回 500",
		load: merchantTokens, rate: steadily, lasts: 30 * time.Second, codes: failing, fails: true,
		fault: func(r *rig) {
			r.WeChatPay.Break(0, outage, always)
			r.WeChatPay.Break(1, outage, always)
		},
	},

	// Forged and broken answers.
	{
		name: "a tenth of the answers is forged", zh: "十分之一的应答是伪造的",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: untrusted,
		fault: func(r *rig) { r.forge(0.1) },
	},
	{
		name: "half of the answers is forged", zh: "一半的应答是伪造的",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: untrusted,
		fault: func(r *rig) { r.forge(0.5) },
	},
	{
		name: "brand tokens: half of the answers is forged", zh: "品牌 token：一半的应答是伪造的",
		load: brandTokens, rate: steadily, lasts: forAWhile, codes: untrusted,
		fault: func(r *rig) { r.forge(0.5) },
	},
	{
		name: "first endpoint cuts connections, each at another point", zh: "首选接入点切断连接，每次位置不同",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none,
		fault: func(r *rig) { r.cut(0) },
	},
	{
		name: "both endpoints cut connections at every point", zh: "两个接入点的连接在每一个位置被切断",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: unreachable, finally: (*rig).allWereCut,
		fault: func(r *rig) { r.cut(0); r.cut(1) },
	},

	// Keys and clocks.
	{
		name: "merchant's key rotated", zh: "轮换商户密钥",
		load: merchantTokens, rate: steadily, lasts: 10 * time.Second, codes: none,
		fault: func(r *rig) {
			r.quiet(func() { // both certificates are valid until the old one is revoked
				r.WeChatPay.RotateMerchantKey()
				r.putMerchant()
			})
		},
	},
	{
		name: "WeChat Pay's public key rotated", zh: "轮换微信支付公钥",
		load: merchantTokens, rate: steadily, lasts: 10 * time.Second, codes: none,
		fault: func(r *rig) {
			r.quiet(func() {
				r.WeChatPay.RotatePublicKey()
				r.putMerchant()
			})
		},
	},
	{
		name: "merchant's certificate revoked, new secret after 20 s", zh: "商户证书被吊销，20 秒后换上新密钥",
		load: merchantTokens, rate: steadily, lasts: 20 * time.Second, codes: unsigned, fails: true,
		fault: func(r *rig) { r.quiet(r.WeChatPay.RotateMerchantKey) },
		heal:  (*rig).putMerchant,
		// An instance reads a secret that WeChat refuses at most once a minute.
		recovers: 65 * time.Second, long: true,
	},
	{
		name: "malformed secret for new instances, cured", zh: "新实例读到格式错误的密钥，随后修复",
		load: merchantTokens, rate: steadily, lasts: 10 * time.Second, codes: unsettled, fails: true,
		fault: func(r *rig) {
			r.Secrets.Put(stack.MerchantSecret, `{"mchid": "1900000001", "private_kye": "x"}`)
			r.replace()
		},
		heal: (*rig).putMerchant,
	},
	{
		name: "malformed secret for running instances, cured", zh: "运行中的实例读到格式错误的密钥，随后修复",
		// Longer than the 5 minutes for which a secret is kept.
		setup: (*rig).warm, load: merchantTokens, rate: 10, lasts: 330 * time.Second, codes: none, long: true,
		fault: func(r *rig) { r.Secrets.Put(stack.MerchantSecret, `{"mchid": "1900000001", "private_kye": "x"}`) },
		heal:  (*rig).putMerchant,
	},
	{
		name: "WeChat's clock is 10 minutes ahead", zh: "微信的时钟快 10 分钟",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: unsigned, fails: true,
		fault: func(r *rig) { r.WeChatPay.Skew(10 * time.Minute) },
	},
	{
		name: "answers are stamped 10 minutes ago", zh: "应答的时间戳是 10 分钟前",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: untrusted, fails: true,
		fault: func(r *rig) {
			r.WeChatPay.Break(0, wechatpay.Stamped(-10*time.Minute), always)
			r.WeChatPay.Break(1, wechatpay.Stamped(-10*time.Minute), always)
		},
	},

	// Secrets Manager. Running instances have their secret, so these are new ones.
	{
		name: "Secrets Manager throttles new instances", zh: "Secrets Manager 对新实例限流",
		load: merchantTokens, rate: 5, lasts: 10 * time.Second, shows: 8 * time.Second, codes: unsettled, fails: true,
		fault: func(r *rig) {
			r.Secrets.Fail(&aws.Fault{Status: 400, Code: "ThrottlingException"})
			r.replace()
		},
	},
	{
		name: "Secrets Manager takes 2 s for new instances", zh: "Secrets Manager 对新实例耗时 2 秒",
		load: merchantTokens, rate: 10, lasts: 10 * time.Second, shows: 4 * time.Second, codes: none,
		fault: func(r *rig) {
			r.Secrets.Delay(2 * time.Second)
			r.replace()
		},
	},
	{
		name: "Secrets Manager never answers new instances", zh: "Secrets Manager 从不应答新实例",
		// Each request occupies an instance, so there are fewer.
		load: merchantTokens, rate: 5, lasts: 10 * time.Second, shows: 8 * time.Second, codes: unsettled, fails: true,
		fault: func(r *rig) {
			r.Secrets.Fail(&aws.Fault{Hang: true})
			r.replace()
		},
	},
	{
		name: "Secrets Manager down for running instances", zh: "Secrets Manager 对运行中的实例不可用",
		// Longer than the 5 minutes for which a secret is kept.
		setup: (*rig).warm, load: merchantTokens, rate: 10, lasts: 330 * time.Second, codes: none, long: true,
		fault: func(r *rig) { r.Secrets.Fail(&aws.Fault{Status: 500, Code: "InternalServiceError"}) },
	},

	// Freezes. 12 s stand for 10 minutes: what matters is that it is longer than the 7 s
	// for which a function trusts a connection, by the wall clock.
	{
		name: "instances frozen for 3 s, their connections silent afterwards", zh: "实例被冻结 3 秒，之后其连接无任何响应",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { r.freeze(3*time.Second, network.Silence) },
	},
	{
		name: "instances frozen for 12 s, their connections silent afterwards", zh: "实例被冻结 12 秒，之后其连接无任何响应",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { r.freeze(12*time.Second, network.Silence) },
	},
	{
		name: "instances frozen for 12 s, their connections closed meanwhile", zh: "实例被冻结 12 秒，期间其连接被关闭",
		load: merchantTokens, rate: steadily, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { r.freeze(12*time.Second, network.FIN) },
	},

	// The official account.
	{
		name: "logins: first endpoint takes 2 s", zh: "登录：首选接入点耗时 2 秒",
		load: logins, rate: 20, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { r.OfficialAccount.Break(0, sandbox.Slow(2*time.Second), always) },
	},
	{
		name: "logins: first endpoint refuses connections", zh: "登录：首选接入点拒绝连接",
		load: logins, rate: 20, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) {
			r.OfficialAccount.Listener(0).Refuse(true)
			r.OfficialAccount.Listener(0).Drop(network.Reset)
		},
	},
	{
		name: "syncs: first endpoint accepts requests and never answers", zh: "同步：首选接入点收到请求但从不应答",
		setup: (*rig).addCards, load: syncs, calls: 3, rate: 5, lasts: forAWhile, codes: none, settles: true,
		fault: func(r *rig) { r.OfficialAccount.Break(0, sandbox.Hang(), always) },
	},
	{
		name: "syncs: both endpoints down for 20 s, and back", zh: "同步：两个接入点同时中断 20 秒后恢复",
		setup: (*rig).addCards, load: syncs, calls: 3, rate: 5, lasts: 20 * time.Second, codes: unreachable, fails: true,
		fault: func(r *rig) {
			for i := range 2 {
				r.OfficialAccount.Listener(i).Refuse(true)
				r.OfficialAccount.Listener(i).Drop(network.Reset)
			}
		},
	},
	{
		name: "syncs: WeChat answers 500 for 30 s", zh: "同步：微信在 30 秒内始终返回 500",
		setup: (*rig).addCards, load: syncs, calls: 3, rate: 5, lasts: 30 * time.Second, codes: failing, fails: true,
		fault: func(r *rig) {
			r.OfficialAccount.Break(0, sandbox.Status(500, "<html>"), always)
			r.OfficialAccount.Break(1, sandbox.Status(500, "<html>"), always)
		},
	},
	{
		name: "syncs: a fifth of the answers breaks off", zh: "同步：五分之一的应答中途断开",
		setup: (*rig).addCards, load: syncs, calls: 3, rate: 5, lasts: forAWhile, codes: unreachable,
		fault: func(r *rig) {
			lossy := r.sometimes(0.2, sandbox.Reset(), sandbox.Truncated())
			r.OfficialAccount.Break(0, lossy, always)
			r.OfficialAccount.Break(1, lossy, always)
		},
	},

	// The event bus. WeChat Pay repeats a notification that was not answered with 204.
	{
		name: "notifications: the event bus answers 500 for 30 s", zh: "通知：事件总线在 30 秒内始终返回 500",
		setup: (*rig).signNotifications, load: notifications, rate: 20, lasts: 30 * time.Second, shows: 5 * time.Second, codes: notTaken, fails: true,
		fault: func(r *rig) { r.Events.Fail(&aws.Fault{Status: 500, Code: "InternalFailure"}) },
	},
	{
		name: "notifications: the event bus refuses the event for 30 s", zh: "通知：事件总线在 30 秒内拒收事件",
		setup: (*rig).signNotifications, load: notifications, rate: 20, lasts: 30 * time.Second, codes: notTaken, fails: true,
		fault: func(r *rig) { r.Events.FailEntries("InternalFailure") },
	},
	{
		name: "notifications: the event bus never answers", zh: "通知：事件总线从不应答",
		// Each notification occupies an instance, so there are fewer.
		setup: (*rig).signNotifications, load: notifications, rate: 5, lasts: 20 * time.Second, shows: 7 * time.Second, codes: notTaken, fails: true,
		fault: func(r *rig) { r.Events.Fail(&aws.Fault{Hang: true}) },
	},
	{
		name: "notifications: half of them is forged", zh: "通知：一半是伪造的",
		setup: (*rig).signNotifications, load: notifications, rate: 20, lasts: forAWhile, codes: notTaken,
		fault: func(r *rig) { r.sender.forges.Store(true) },
	},

	// From the token to a member: every card that is opened is confirmed once in the
	// end. A tenth of the answers to notifications is lost; a tenth of the notifications
	// is sent twice.
	{
		name: "token to member: the event bus down for 20 s", zh: "从 token 到会员：事件总线中断 20 秒",
		setup: (*rig).takeNotifications, load: journeys, calls: 3, rate: 2, lasts: 20 * time.Second, shows: 4 * time.Second, codes: none, finally: (*rig).allAreMembers,
		fault: func(r *rig) { r.Events.Fail(&aws.Fault{Status: 500, Code: "InternalFailure"}) },
	},
	{
		name: "token to member: WeChat answers 500 for 20 s", zh: "从 token 到会员：微信在 20 秒内始终返回 500",
		setup: (*rig).takeNotifications, load: journeys, calls: 3, rate: 2, lasts: 20 * time.Second, shows: 4 * time.Second, codes: failing, fails: true, finally: (*rig).allAreMembers,
		fault: func(r *rig) { r.WeChatPay.Break(0, outage, always); r.WeChatPay.Break(1, outage, always) },
	},
	{
		name: "token to member: SQS down for 20 s", zh: "从 token 到会员：SQS 中断 20 秒",
		setup: (*rig).takeNotifications, load: journeys, calls: 3, rate: 2, lasts: 20 * time.Second, shows: 4 * time.Second, codes: failing, finally: (*rig).allAreMembers,
		fault: func(r *rig) {
			r.Queues.Fail(&aws.Fault{Status: 500, Code: "InternalFailure"})
			r.WeChatPay.Break(0, outage, 3) // so that messages have to be delayed
			r.WeChatPay.Break(1, outage, 3)
		},
	},
}

// forge replaces a share of both endpoints' answers by others with a forged token and one
// of several wrong signatures.
func (r *rig) forge(share float64) {
	forged := sandbox.Body(`{"permission_token":"` + forgedToken + `","token":"` + forgedToken + `","expire_time":"2036-01-01T00:00:00+08:00"}`)
	var faults []sandbox.Fault
	for _, sign := range []sandbox.Fault{
		wechatpay.WrongSignature(), wechatpay.SignatureProbe(), wechatpay.Unsigned(), wechatpay.UnknownKey(),
		wechatpay.MissingHeader("Wechatpay-Nonce"), wechatpay.MissingHeader("Wechatpay-Timestamp"),
	} {
		faults = append(faults, func(a *sandbox.Answer) {
			forged(a)
			sign(a)
		})
	}
	for endpoint := range 2 {
		r.WeChatPay.Break(endpoint, r.sometimes(share, faults...), always)
	}
}

// A handshake, a request and its answer take about 4,000 bytes. Some connections are cut
// during the second request.
const (
	lastCut = 6000
	cutStep = 37
)

// cut cuts the connections to an endpoint of WeChat Pay, beginning within the handshake,
// and each connection a few bytes later than the previous one.
func (r *rig) cut(endpoint int) {
	point := 0
	l := r.WeChatPay.Listener(endpoint)
	l.Cut(func() int { // the listener does not call it concurrently
		if endpoint == 0 {
			r.cuts.Add(1)
		}
		point = (point + cutStep) % lastCut
		return point
	})
	l.Drop(network.Reset)
}

// allWereCut returns what is wrong if some points of a connection were not cut.
func (r *rig) allWereCut() (broken string) {
	if n, all := r.cuts.Load(), int64(lastCut/cutStep); n < all && !r.short {
		return fmt.Sprintf("connections were cut at %d of %d points", n, all)
	}
	return ""
}

// addCards adds cards, so that each sync can have its own and its effect be checked.
func (r *rig) addCards() {
	const most = 1000
	r.cards = r.OfficialAccount.AddCards(most)
}

// warm starts more instances than the load needs, because an instance can't start while
// the secret can't be read.
func (r *rig) warm() {
	for range 10 {
		// If it fails, the requests of the row fail too.
		_, _ = r.functions["functions/merchant-token"].Start(context.Background())
	}
}

// putMerchant puts the merchant's current key into the secret.
func (r *rig) putMerchant() {
	secret := r.WeChatPay.MerchantSecret(wechatpay.PublicKey)
	r.watch.keepPrivate(secret)
	r.Secrets.Put(stack.MerchantSecret, secret)
}

// freeze stops all instances between two requests, as Lambda does, and drops their
// connections in the meantime.
func (r *rig) freeze(d time.Duration, how network.Drop) {
	r.quiet(func() {
		r.eachInstance(lambda.Freeze)
		for _, l := range r.listeners() {
			l.Drop(how)
		}
		time.Sleep(d)
		r.eachInstance(lambda.Thaw)
	})
}
