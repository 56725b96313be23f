package chaos

// This file measures how long each function takes to answer while WeChat or AWS hangs.

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/aws"
	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/wechat/sandbox"
)

// deadline is a row: a function, its caller, and how long the caller waits for an
// answer.
type deadline struct {
	function string // its folder is functions/<function>
	caller   caller
	limit    time.Duration
	lambda   bool // the limit is the function's timeout, which excludes the start of an instance
	event    func(*rig) []byte

	wechat, aws time.Duration // how long the answer took while WeChat hung, and while AWS did
	broken      []string
}

// caller waits for a function's answer. Its name is in English and in Chinese.
type caller struct{ name, zh string }

var (
	gateway    = caller{"API Gateway", "API Gateway"}
	decision   = caller{"API Gateway, for a decision", "API Gateway，等待鉴权"}
	wechatPay  = caller{"WeChat Pay", "微信支付"}
	queue      = caller{"SQS", "SQS"}
	schedule   = caller{"the schedule", "定时任务"}
	planChange = caller{"the schedule, or a changed plan", "定时任务，或计划变更"} // both send the same event
	byHand     = caller{"by hand, with a long plan", "手动执行，计划很长"}
)

const (
	gatewayLimit  = 29 * time.Second        // API Gateway waits for 30 s
	decisionLimit = 9 * time.Second         // API Gateway waits for 10 s
	noticeLimit   = 4500 * time.Millisecond // WeChat Pay waits for 5 s
)

// deadlines returns a row for each function and each of its callers. Queues, schedules
// and operators wait as long as the function's own timeout.
func deadlines(timeout func(function string) time.Duration) []*deadline {
	const card, code = "pbLatjvWOibDc5-TBnbUk1pD12o0", "110201201245"
	post := func(route, body string, parameters map[string]string) func(*rig) []byte {
		return func(*rig) []byte {
			_, path, _ := strings.Cut(route, " ")
			for name, value := range parameters {
				path = strings.NewReplacer("{"+name+"}", value, "{"+name+"+}", value).Replace(path)
			}
			return httpCall{route: route, path: path, parameters: parameters, body: body}.event()
		}
	}
	action := func(name string) func(*rig) []byte {
		return func(*rig) []byte { return fmt.Appendf(nil, `{"action": %q}`, name) }
	}
	ofCard := map[string]string{"card_id": card}
	ofCode := map[string]string{"card_id": card, "code": code}
	return []*deadline{
		{function: "merchant-token", caller: gateway, limit: gatewayLimit,
			event: func(r *rig) []byte { return merchantTokens(r, 1).event }},
		{function: "brand-token", caller: gateway, limit: gatewayLimit,
			event: func(r *rig) []byte { return brandTokens(r, 1).event }},
		{function: "merchant-activate", caller: gateway, limit: gatewayLimit,
			event: post("POST /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/activate", "", ofCode)},
		{function: "merchant-activate-information", caller: gateway, limit: gatewayLimit,
			event: post("GET /v3/marketing/membercard-open/activate-informations/{activate_ticket+}", "", map[string]string{"activate_ticket": "abc"})},
		{function: "merchant-confirm", caller: gateway, limit: gatewayLimit,
			event: post("POST /v3/marketing/membercard-open/cards/{card_id}/codes/{code}/confirm", `{"user_card_confirm_state": "CREATE_CARD_SUCCESS"}`, ofCode)},
		{function: "merchant-decrypt-code", caller: gateway, limit: gatewayLimit,
			event: func(*rig) []byte {
				return httpCall{route: "GET /v3/marketing/membercard-open/cards/{card_id}/decrypt-code", path: "/v3/marketing/membercard-open/cards/" + card + "/decrypt-code",
					parameters: ofCard, query: "encrypt_code=abc"}.event()
			}},
		{function: "brand-confirm", caller: gateway, limit: gatewayLimit,
			event: post("POST /v3/brand/partner/card-member/user-cards/{user_card_code}/confirm",
				`{"brand_id": "1004", "card_id": "`+card+`", "openid": "`+openidPrefix+`", "user_card_confirm_state": "CREATE_CARD_SUCCESS"}`, map[string]string{"user_card_code": code})},
		{function: "brand-confirm", caller: queue, limit: timeout("brand-confirm"), lambda: true, event: confirmations},
		{function: "card-events", caller: wechatPay, limit: noticeLimit,
			event: func(r *rig) []byte { _, event, _ := r.notification(1, true); return event }},
		{function: "card-update", caller: gateway, limit: gatewayLimit,
			event: post("POST /card/update", `{"card_id": "`+card+`", "member_card": {"base_info": {"promotion_url": "http://www.qq.com"}}}`, nil)},
		{function: "card-create", caller: gateway, limit: gatewayLimit, event: post("POST /card/create", newCard, nil)},
		{function: "card-code", caller: gateway, limit: gatewayLimit, event: post("POST /card/code/decrypt", `{"encrypt_code": "abc"}`, nil)},
		{function: "card-ext", caller: gateway, limit: gatewayLimit, event: post("POST /card/ext", `{"card_id": "`+card+`"}`, nil)},
		{function: "card-ext", caller: schedule, limit: timeout("card-ext"), lambda: true, event: action("refresh")},
		{function: "card-sync", caller: planChange, limit: timeout("card-sync"), lambda: true, event: action("sync")},
		{function: "card-sync", caller: byHand, limit: timeout("card-sync"), lambda: true, event: plan},
		{function: "key-check", caller: schedule, limit: timeout("key-check"), lambda: true, event: action("check")},
		{function: "wechat-authorizer", caller: decision, limit: decisionLimit,
			event: func(r *rig) []byte { return logins(r, 1).event }},
	}
}

// newCard is a body that card-create accepts.
const newCard = `{"card": {"card_type": "MEMBER_CARD", "member_card": {"prerogative": "会员专享价", "supply_bonus": false, "supply_balance": false, "base_info": {
	"logo_url": "http://mmbiz.qpic.cn/mmbiz/sandbox/0", "brand_name": "微信餐厅", "code_type": "CODE_TYPE_BARCODE", "title": "会员卡", "color": "Color010",
	"notice": "使用时向服务员出示此券", "description": "不可与其他优惠同享", "sku": {"quantity": 1000}, "date_info": {"type": "DATE_TYPE_PERMANENT"}}}}}`

// confirmations returns the event of a batch from the queue.
func confirmations(*rig) []byte {
	var batch events.SQSEvent
	for n := range 5 {
		batch.Records = append(batch.Records, events.SQSMessage{
			MessageId: strconv.Itoa(n), ReceiptHandle: strconv.Itoa(n), EventSource: "aws:sqs",
			Attributes: map[string]string{"ApproximateReceiveCount": "1"},
			Body: fmt.Sprintf(`{"detail-type": "BRAND.USER_CARD.CREATE", "detail": {"id": "%d", "resource": {"brand_id": "1004", "card_id": "pCard", "openid": "%s%d", "user_card_code": "10%d"}}}`,
				n, openidPrefix, n, n),
		})
	}
	event, _ := json.Marshal(batch) // strings always marshal
	return event
}

// plan returns the event of a sync of more cards than there is time for.
func plan(r *rig) []byte {
	type card struct {
		CardID string            `json:"card_id"`
		Fields map[string]string `json:"fields"`
	}
	var cards []card
	for _, id := range r.cards {
		cards = append(cards, card{id, map[string]string{"custom_url_name": "首页", "custom_url": "https://example.com/"}})
	}
	event, _ := json.Marshal(map[string]any{"action": "sync", "plan": map[string]any{"cards": cards}}) // strings always marshal
	return event
}

// measureDeadlines invokes all functions at once, in new instances, while WeChat hangs,
// and again while AWS hangs.
func measureDeadlines(ctx context.Context, project *stack.Project, cfg Config) ([]*deadline, error) {
	var rows []*deadline
	measure := func(hang func(*rig), record func(*deadline, time.Duration)) error {
		r, err := start(project, nil, cfg)
		if err != nil {
			return err
		}
		defer r.Close()
		if rows == nil {
			rows = deadlines(func(function string) time.Duration { return r.Configs["functions/"+function].Timeout })
		}
		const cards, shortCards = 400, 5
		r.cards = r.OfficialAccount.AddCards(map[bool]int{false: cards, true: shortCards}[cfg.Short])
		r.signNotifications()
		hang(r)
		var running sync.WaitGroup
		for _, row := range rows {
			running.Go(func() {
				begin := time.Now()
				result, err := r.functions["functions/"+row.function].Invoke(ctx, row.event(r))
				took := time.Since(begin)
				if row.lambda && err == nil {
					took = result.Duration
				}
				record(row, took)
				row.check(result, err)
				if took > row.limit && !cfg.Short {
					row.broken = append(row.broken, fmt.Sprintf("answered after %.1f s of %.1f s", took.Seconds(), row.limit.Seconds()))
				}
			})
		}
		running.Wait()
		_, w := r.finish()
		for _, leak := range w.leaks {
			rows[0].broken = append(rows[0].broken, "the log of all functions: "+leak)
		}
		return nil
	}
	if err := measure(func(r *rig) {
		for endpoint := range 2 {
			r.WeChatPay.Break(endpoint, sandbox.Hang(), always)
			r.OfficialAccount.Break(endpoint, sandbox.Hang(), always)
		}
	}, func(d *deadline, took time.Duration) { d.wechat = took }); err != nil {
		return nil, err
	}
	return rows, measure(func(r *rig) {
		r.Secrets.Fail(&aws.Fault{Hang: true})
		r.Plans.Fail(&aws.Fault{Hang: true})
		r.Events.Fail(&aws.Fault{Hang: true})
		r.Queues.Fail(&aws.Fault{Hang: true})
	}, func(d *deadline, took time.Duration) { d.aws = took })
}

// check records a violation if the answer is not the function's own but an error of
// Lambda's.
func (d *deadline) check(result *lambda.Result, err error) {
	if err == nil && result.FunctionError != nil {
		if kind := result.FunctionError.Type; strings.HasPrefix(kind, "Sandbox.") || strings.HasPrefix(kind, "Runtime.") {
			err = result.FunctionError
		}
	}
	if err != nil {
		d.broken = append(d.broken, err.Error())
	}
}

func (r *Report) deadlinesTable(in language) string {
	b := in.table(
		"| function | who waits | answers within, s | while WeChat hangs, s | while AWS hangs, s |",
		"| 函数 | 等待方 | 时限，秒 | 微信无应答时，秒 | AWS 无应答时，秒 |")
	for _, d := range r.Deadlines {
		fmt.Fprintf(b, "| `%s` | %s | %g | %.1f | %.1f |\n", d.function, in(d.caller.name, d.caller.zh), d.limit.Seconds(), d.wechat.Seconds(), d.aws.Seconds())
	}
	return b.String()
}
