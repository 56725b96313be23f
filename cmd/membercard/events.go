package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"membercard/shared/eventbus"
	"membercard/shared/strictjson"
)

// busEvent is an event of card-events on the bus.
type busEvent struct {
	DetailType string         `json:"detail-type"`
	Source     string         `json:"source"`
	Time       string         `json:"time"`
	Detail     map[string]any `json:"detail"`
}

func (e *busEvent) is(detailTypes []string) bool {
	return e.Source == eventbus.Source && (len(detailTypes) == 0 || slices.Contains(detailTypes, e.DetailType))
}

// impersonal are the members of an event's detail and of its resource that say nothing
// about a person. All others are masked.
var impersonal = []string{
	"id", "event_type", "create_time", "summary", "original_type",
	"mchid", "brand_id", "card_id", "card_type", "event_time", "pickup_time", "activate_scene", "user_card_state", "user_card_status", "echo_message",
}

// mask replaces what is, or may be, personal data.
func (e *busEvent) mask() {
	resource, ok := e.Detail["resource"].(map[string]any)
	maskMembers(e.Detail)
	if ok {
		maskMembers(resource)
		e.Detail["resource"] = resource
	}
}

func maskMembers(members map[string]any) {
	for name, value := range members {
		if _, text := value.(string); !text || !slices.Contains(impersonal, name) {
			members[name] = "…"
		}
	}
}

func (a *app) eventsTail() *cobra.Command {
	var stack string
	var personal bool
	var count int
	var types []string
	cmd := command("tail", a.text("Follow the notifications on the event bus", "跟踪事件总线上的通知"), func(ctx context.Context, _ string) error {
		if count < 0 {
			return usagef("--count must not be negative")
		}
		r := &report{}
		d, err := a.deployed(ctx, r, stack)
		if err != nil {
			return err
		}
		if d == nil || r.failed() > 0 {
			return a.print(a.out, r)
		}
		bus, bad := a.follow(ctx, d, types...)
		if bad != nil {
			return bad
		}
		if !a.json {
			fmt.Fprintln(a.err, a.say("following the bus "+d.outputs["EventBusName"]+"; end with Ctrl-C"))
		}
		bad = a.tail(ctx, bus, personal, count)
		if left := bus.close(); left != nil {
			return left
		}
		if bad != nil {
			return bad
		}
		return nil
	})
	cmd.Long = a.text(`Follow the notifications of WeChat Pay on a stack's event bus, until Ctrl-C. What is or
may be personal data is masked, unless --personal-data is given. With --json each event
is a line.

In AWS, this makes a rule on the bus and a queue, and deletes both at the end; a new rule
may miss the events of the first seconds. It needs permission for events:PutRule,
PutTargets, RemoveTargets and DeleteRule, and for sqs:CreateQueue, GetQueueAttributes,
ReceiveMessage, DeleteMessage and DeleteQueue on membercard-tail-*.`,
		`跟踪堆栈事件总线上的微信支付通知，按 Ctrl-C 结束。个人信息（以及可能是个人信息的内容）
会被遮盖，除非加上 --personal-data。加 --json 时每行输出一个事件。

在 AWS 上会创建一条规则和一个队列，结束时都会删除；新规则可能收不到最初几秒的事件。
所需权限：events:PutRule、PutTargets、RemoveTargets 和 DeleteRule，以及对
membercard-tail-* 的 sqs:CreateQueue、GetQueueAttributes、ReceiveMessage、
DeleteMessage 和 DeleteQueue。`)
	cmd.Example = `  membercard events tail --stack membercard-production --type BRAND_MEMBER_CARD_SP.USER_CARD.CREATE`
	cmd.Flags().BoolVar(&personal, "personal-data", false, a.text("show openids, codes and what customers filled in", "显示 openid、会员卡 code 和用户填写的内容"))
	cmd.Flags().IntVar(&count, "count", 0, a.text("end after this `NUMBER` of events (default: never)", "收到指定数量（`NUMBER`）的事件后结束（默认不结束）"))
	cmd.Flags().StringSliceVar(&types, "type", nil, a.text("only events of this `DETAIL-TYPE`", "只显示指定类型（`DETAIL-TYPE`）的事件"))
	return a.stackFlag(cmd, &stack)
}

// tail prints events until there are count of them, or ctx ends.
func (a *app) tail(ctx context.Context, bus *follower, personal bool, count int) *fault {
	for shown := 0; ; {
		events, bad := bus.receive(ctx)
		if ctx.Err() != nil {
			return nil // by Ctrl-C, which is how it ends
		}
		if bad != nil {
			return bad
		}
		for _, text := range events {
			var event busEvent
			decoder := json.NewDecoder(bytes.NewReader(text))
			decoder.UseNumber()
			if decoder.Decode(&event) != nil {
				continue
			}
			if !personal {
				event.mask()
			}
			if bad := a.showEvent(&event); bad != nil {
				return bad
			}
			if shown++; shown == count {
				return nil
			}
		}
	}
}

// showEvent prints an event: its time, type and ID, and then what WeChat Pay encrypted.
func (a *app) showEvent(e *busEvent) *fault {
	text := strictjson.Encode(e)
	if !a.json {
		resource := strictjson.Encode(e.Detail["resource"])
		id, _ := e.Detail["id"].(string)
		text = fmt.Appendf(nil, "%s\n    %s", printable(e.Time+"  "+e.DetailType+"  "+id), printable(string(resource)))
	}
	if _, err := fmt.Fprintf(a.out, "%s\n", text); err != nil {
		return asFault(err)
	}
	return nil
}
