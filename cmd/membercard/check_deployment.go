package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cloudwatchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/spf13/cobra"

	"membercard/shared/apierror"
	"membercard/shared/plansync"
	"membercard/shared/signing"
)

// notificationTimeout is how long a notification may take. A new rule of EventBridge
// may take some of it.
const (
	notificationTimeout = 2 * time.Minute
	notificationAgain   = 30 * time.Second // between two requests for one
)

func (a *app) checkDeployment() *cobra.Command {
	var stack string
	var notify bool
	cmd := a.reporting("deployment", a.text("Check a deployed stack", "检查已部署的堆栈"), func(ctx context.Context, r *report) error {
		d, err := a.deployed(ctx, r, stack)
		if d == nil {
			return err
		}
		r.Outputs = d.outputs
		a.checkRoutes(ctx, r, d)
		a.checkSecrets(ctx, r, d)
		a.checkKeys(ctx, r, d, notify)
		a.checkSyncs(ctx, r, d)
		a.checkQueues(ctx, r, d)
		a.checkAlarms(ctx, r, d)
		return nil
	})
	cmd.Long = a.text(`Check a deployed stack: that its routes refuse requests without credentials, that the
secrets can be read and used, by you and by its functions, that the card ticket is
valid, that no alarm is on, and that no message was given up.

It invokes key-check, and the syncs as dry runs, which shows what the next ones will
do. With --notify it also has WeChat Pay send a notification, and waits until that is on
the event bus: with a rule and a queue of its own, which it deletes afterwards. No card
is changed.

It needs permission for cloudformation:DescribeStacks, ListStackResources,
secretsmanager:GetSecretValue, lambda:InvokeFunction, sqs:GetQueueAttributes and
cloudwatch:DescribeAlarms; --notify needs those of membercard events tail too.`,
		`检查已部署的堆栈：路由是否拒绝没有凭证的请求；你和函数能否读取和使用各项凭据；
卡券 api_ticket 是否有效；是否有告警；是否有处理失败的消息。

工具会调用 key-check，并以试运行方式调用各个同步函数，显示下一次同步将更改什么。
加 --notify 时还会请求微信支付发送一次通知，并等到事件总线上收到为止：为此创建
临时的规则和队列，结束时删除。不更改任何会员卡。

所需权限：cloudformation:DescribeStacks、ListStackResources、
secretsmanager:GetSecretValue、lambda:InvokeFunction、sqs:GetQueueAttributes 和
cloudwatch:DescribeAlarms；--notify 还需要 membercard events tail 的权限。`)
	cmd.Example = `  membercard check deployment --stack membercard-production --notify`
	cmd.Flags().BoolVar(&notify, "notify", false, a.text("have WeChat Pay send a notification, and wait for it on the event bus", "请求微信支付发送一次通知，并等待事件总线上收到"))
	return a.stackFlag(cmd, &stack)
}

// checkSecrets checks that the secrets of the stack are well-formed, and that there is a
// card ticket.
func (a *app) checkSecrets(ctx context.Context, r *report, d *deployment) {
	read := func(name, id string) (text []byte, ok bool) {
		if id == "" {
			return nil, false
		}
		text, bad := a.getSecret(ctx, id)
		switch {
		case bad == nil:
			return text, true
		case bad.denied:
			r.add(step{Name: name, Skipped: "whoever runs this may not read it; the functions' own checks follow"})
		default:
			r.fail(name, bad)
		}
		return nil, false
	}
	for _, secret := range []struct{ kind, id string }{
		{ofMerchant, d.parameters["MerchantSecretArn"]}, {ofAccount, d.parameters["OfficialAccountSecretArn"]}, {ofLogin, d.parameters["LoginSecretArn"]},
	} {
		wanted := kinds[secret.kind]
		text, ok := read(wanted.whose, secret.id)
		if !ok {
			continue
		}
		var bad *fault
		if _, err := wanted.parse(text); err != nil {
			bad = faultf("make it anew: "+a.makeAnew(secret.kind, &source{id: secret.id}, text), "%v", err)
			if other := kindOf(text); other != "" {
				bad = faultf("give the parameter the ARN of the "+wanted.whose+", and deploy", "it is the %s", kinds[other].whose)
			}
		}
		r.check(step{Name: wanted.whose, Detail: "well-formed"}, bad)
	}
	if text, ok := read("card ticket", d.resources["CardTicket"]); ok {
		r.check(step{Name: "card ticket", Detail: "well-formed"}, ticketFault(text, d, time.Now()))
	}
}

// ticketFault is what is wrong with the card ticket that card-ext stored.
func ticketFault(text []byte, d *deployment, now time.Time) *fault {
	var ticket struct {
		Ticket    string `json:"ticket"`
		ExpiresAt string `json:"expires_at"`
	}
	cure := "renew it: aws lambda invoke --function-name " + quote(d.outputs["CardExtFunctionName"]) +
		` --cli-binary-format raw-in-base64-out --payload '{"action": "refresh"}' /dev/stdout; then see docs/runbook.md, section TicketFailuresAlarm`
	_ = json.Unmarshal(text, &ticket) // what can't be read stays empty
	expires, err := time.Parse(time.RFC3339, ticket.ExpiresAt)
	switch {
	case ticket.Ticket == "":
		return faultf(cure, "there is none yet: card-ext has not fetched one")
	case err != nil:
		return faultf(cure, "its secret is malformed")
	case !now.Before(expires):
		return faultf(cure, "it expired at %s: card-ext has not renewed it", ticket.ExpiresAt)
	}
	return nil
}

// checkKeys has key-check test the merchant's keys.
func (a *app) checkKeys(ctx context.Context, r *report, d *deployment, notify bool) {
	const name = "key-check"
	function := d.resources["KeyCheckFunction"]
	if function == "" {
		return
	}
	var result signing.SelfTest
	if !a.invokeFor(ctx, r, name, d, function, map[string]any{"action": "check"}, &result) {
		return
	}
	if !result.OK {
		r.fail(name, faultf("deploy the template again", "its answer is not the documented one"))
		return
	}
	r.add(step{Name: name, OK: true, Detail: fmt.Sprintf("the functions read the merchant's secret, and WeChat Pay accepts it (steps: %d)", len(result.Steps))})
	if notify {
		a.checkNotification(ctx, r, d, function)
	}
}

// checkNotification has WeChat Pay send a notification and waits until it is on the
// event bus, which proves apiv3_key, card-events and the bus.
func (a *app) checkNotification(ctx context.Context, r *report, d *deployment, keyCheck string) {
	const name = "a notification of WeChat Pay is on the event bus"
	ctx, cancel := context.WithTimeout(ctx, notificationTimeout)
	defer cancel()
	bus, bad := a.follow(ctx, d, "SECURITY_ECHO.SUCCESS")
	if bad != nil {
		r.fail(name, bad)
		return
	}
	defer func() {
		if bad := bus.close(); bad != nil {
			r.fail("temporary rule and queue deleted", bad)
		}
	}()
	arrived := make(chan *fault, 1)
	go func() {
		for {
			events, bad := bus.receive(ctx)
			if bad != nil || len(events) > 0 {
				arrived <- bad
				return
			}
		}
	}()
	begun := time.Now()
	defer a.during("waiting for the notification")()
	for requests := 1; ; requests++ {
		// A rule that is new may miss the first one.
		if _, bad := a.invoke(ctx, d, keyCheck, map[string]any{"action": "check", "notify": true}); bad != nil && !bad.busy {
			r.fail(name, bad)
			return
		}
		select {
		case bad := <-arrived:
			if bad == nil {
				r.add(step{Name: name, OK: true, Detail: fmt.Sprintf("after %s; requested: %d", time.Since(begun).Round(time.Millisecond), requests)})
			} else if ctx.Err() == nil {
				r.fail(name, bad)
			} else {
				r.fail(name, faultf("see whether it came: docs/runbook.md, section “Notifications don't reach the bus”; the log has the cause if card-events refused it",
					"WeChat Pay was asked for it, and it has not come within %s", time.Since(begun).Round(time.Second)))
			}
			return
		case <-time.After(notificationAgain):
		}
	}
}

// syncReport is what a sync returns: an error if the plan can't be used.
type syncReport struct {
	plansync.Report
	Error *apierror.Error `json:"error"`
}

// syncs are the functions that carry out the card plan, and what they compare it with.
var syncs = []struct{ name, output, compared string }{
	{"card-sync", "CardSyncFunctionName", "compared with the cards"},
	{"service-module-sync", "ServiceModuleSyncFunctionName", "compared with the service modules"},
}

// dryRun has a sync compare the cards with a plan, by default the one in force, for a step of
// the report. If it can't, it returns nil and the report says why.
func (a *app) dryRun(ctx context.Context, r *report, name string, d *deployment, output string, plan []byte) *syncReport {
	event := map[string]any{"action": "sync", "dry_run": true}
	if plan != nil {
		event["plan"] = json.RawMessage(plan)
	}
	s := &syncReport{}
	if !a.invokeFor(ctx, r, name, d, d.outputs[output], event, s) {
		return nil
	}
	return s
}

// checkSyncs has the syncs compare the cards with the plan, which proves the official
// account's secret, the allow-list and the plan, and shows what the next syncs will do.
func (a *app) checkSyncs(ctx context.Context, r *report, d *deployment) {
	for _, sync := range syncs {
		if d.outputs[sync.output] == "" {
			continue
		}
		s := a.dryRun(ctx, r, sync.name, d, sync.output, nil)
		switch {
		case s == nil:
		case s.Error != nil:
			cure, cause := "membercard plan validate FILE; the version before: membercard plan rollback --at "+d.outputs["CardPlan"]+a.where(), s.Error.Code+": "+s.Error.Message
			if s.Error.Code == "PLAN_UNREADABLE" {
				cure, cause = "membercard plan put FILE --at "+d.outputs["CardPlan"]+a.where()+" puts one, also after the plan was deleted; see docs/runbook.md, section SyncFailuresAlarm", s.Error.Message
			}
			r.fail(sync.name, faultf(cure, "%s", cause))
			return // the other sync would report the same plan
		default:
			r.addDryRun(sync.name, s)
			// A card that differs is no fault: it did not have a sync yet, or a campaign has
			// begun since the last one. If syncs fail or don't run, an alarm is on.
			if last := &r.Steps[len(r.Steps)-1]; last.OK && s.Updated > 0 {
				last.Detail += "; the next sync does that"
			}
		}
	}
}

// addDryRun adds a step for the report of a dry run.
func (r *report) addDryRun(name string, s *syncReport) {
	var counts []string
	for _, cards := range []struct {
		n    int
		text string
	}{
		{s.Unchanged, "up to date"}, {s.Updated, "to be changed"}, {s.NotApplied, "in review at WeChat"}, {s.Deferred, "not compared for lack of time or quota"}, {s.Failed, "failed"},
	} {
		if cards.n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", cards.n, cards.text))
		}
	}
	detail := "cards: " + strings.Join(counts, ", ")
	if counts == nil {
		detail = "there is no plan yet, or it has no cards for it, so no card was compared"
	}
	for i := range s.Cards {
		if e := s.Cards[i].Error; e != nil {
			r.fail(name, faultf("look the code up: docs/runbook.md, section Codes", "%s; the first that failed is %s: %s %s", detail, s.Cards[i].CardID, e.Code, e.Message))
			return
		}
	}
	r.add(step{Name: name, OK: true, Detail: detail})
}

// checkQueues checks that nothing was given up.
func (a *app) checkQueues(ctx context.Context, r *report, d *deployment) {
	client := sqs.NewFromConfig(d.aws)
	for _, queue := range []struct{ name, url, section string }{
		{"dead letters of brand-confirm", d.outputs["ConfirmDeadLetterQueueUrl"], "DeadLettersAlarm"},
		{"events that did not reach the bus", d.outputs["UndeliveredEventsQueueUrl"], "UndeliveredEventsAlarm"},
		{"scheduled invocations that failed", d.outputs["FailedInvocationsQueueUrl"], "FailedInvocationsAlarm"},
	} {
		if queue.url == "" {
			continue
		}
		end := a.during("asking SQS")
		out, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &queue.url, AttributeNames: []sqstypes.QueueAttributeName{
			sqstypes.QueueAttributeNameApproximateNumberOfMessages, sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
		}})
		end()
		if isCode(err, "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue") {
			r.fail(queue.name, faultf("deploy the template again", "the queue is gone: %s", queue.url))
			continue
		}
		if err != nil {
			r.fail(queue.name, apiFault(err, "SQS", "sqs:GetQueueAttributes"))
			continue
		}
		n := 0
		for _, value := range out.Attributes {
			messages, _ := strconv.Atoi(value) // SQS's are numbers
			n += messages
		}
		var bad *fault
		if n > 0 {
			bad = faultf("docs/runbook.md, section "+queue.section, "messages in the queue: %d; none is expected", n)
		}
		r.check(step{Name: queue.name, Detail: "none"}, bad)
	}
}

// isOn reports whether an alarm with the given logical ID tells of a fault. The alarms of
// overdue syncs do so by having no data. Those of a fresh stack have none either, until the
// first sync is started, at most an hour after the deployment.
func isOn(alarm cloudwatchtypes.MetricAlarm, id string) bool {
	switch alarm.StateValue {
	case cloudwatchtypes.StateValueAlarm:
		return true
	case cloudwatchtypes.StateValueInsufficientData:
		return strings.HasSuffix(id, "SyncOverdueAlarm") && time.Since(aws.ToTime(alarm.AlarmConfigurationUpdatedTimestamp)) > 2*time.Hour
	default:
		return false
	}
}

// checkAlarms checks that no alarm of the stack is on.
func (a *app) checkAlarms(ctx context.Context, r *report, d *deployment) {
	const name = "alarms"
	if a.local != nil {
		r.add(step{Name: name, Skipped: "the local stack has none"})
		return
	}
	sections := map[string]string{} // of the runbook, which are logical IDs, by the alarm's name
	for id, alarm := range d.resources {
		if strings.HasSuffix(id, "Alarm") {
			sections[alarm] = id
		}
	}
	if len(sections) == 0 {
		r.add(step{Name: name, Skipped: "the stack has none"})
		return
	}
	on := map[string]string{} // descriptions of alarms that are on, by section
	defer a.during("asking CloudWatch")()
	pages := cloudwatch.NewDescribeAlarmsPaginator(cloudwatch.NewFromConfig(d.aws), &cloudwatch.DescribeAlarmsInput{
		AlarmNames: slices.Sorted(maps.Keys(sections)),
		AlarmTypes: []cloudwatchtypes.AlarmType{cloudwatchtypes.AlarmTypeMetricAlarm}, // the composite ones only repeat these
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			r.fail(name, apiFault(err, "CloudWatch", "cloudwatch:DescribeAlarms"))
			return
		}
		for _, alarm := range page.MetricAlarms {
			if section := sections[aws.ToString(alarm.AlarmName)]; isOn(alarm, section) {
				on[section] = aws.ToString(alarm.AlarmDescription)
			}
		}
	}
	for _, section := range slices.Sorted(maps.Keys(on)) {
		r.fail("alarm "+section, faultf("docs/runbook.md, section "+section, "it is on: %s", on[section]))
	}
	if len(on) > 0 {
		return
	}
	s := step{Name: name, OK: true, Detail: fmt.Sprintf("none of %d is on", len(sections))}
	if d.parameters["AlarmTopicArn"] == "" {
		s.Warning, s.Cure = "nobody is told of an alarm", "set the parameter AlarmTopicArn to an SNS topic, and deploy"
	}
	r.add(s)
}
