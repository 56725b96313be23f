package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"membercard/local/discovery"
	"membercard/shared/eventbus"
	"membercard/shared/strictjson"
)

// cleanupTimeout is how long deleting the temporary rule and queue may take.
const cleanupTimeout = 30 * time.Second

// follower hands over the events of a stack's bus.
type follower struct {
	receive func(ctx context.Context) ([]json.RawMessage, *fault) // waits for some; maybe none
	close   func() *fault
}

// follow follows the event bus of a stack from now on. Without detail types, all events
// of notifications are handed over. The follower must be closed.
func (a *app) follow(ctx context.Context, d *deployment, detailTypes ...string) (*follower, *fault) {
	if d.outputs["EventBusName"] == "" {
		return nil, faultf("deploy it with MerchantSecretArn", "the stack has no event bus, because it has no merchant's secret")
	}
	if a.local != nil {
		return a.followLocal(ctx, detailTypes)
	}
	defer a.during("making a temporary rule and queue")()
	return followBus(ctx, d.aws, d.outputs["EventBusName"], detailTypes)
}

// followLocal follows the bus of the local stack.
func (a *app) followLocal(ctx context.Context, detailTypes []string) (*follower, *fault) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.local.API+discovery.EventsPath, nil)
	if err != nil {
		return nil, asFault(err)
	}
	response, err := discovery.Client().Do(request)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, faultf("start it anew: go run ./local", "the local stack at %s does not tell of its events", a.localURL)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20) // an event has at most 256 KiB
	return &follower{
		receive: func(context.Context) ([]json.RawMessage, *fault) {
			for lines.Scan() {
				var event busEvent
				if json.Unmarshal(lines.Bytes(), &event) == nil && event.is(detailTypes) {
					return []json.RawMessage{append(json.RawMessage{}, lines.Bytes()...)}, nil
				}
			}
			return nil, faultf("start it anew: go run ./local", "the local stack has ended")
		},
		close: func() *fault { _ = response.Body.Close(); return nil }, // only read
	}, nil
}

// temporary is a rule and a queue that are to be deleted.
type temporary struct {
	events *eventbridge.Client
	queues *sqs.Client

	bus, name, region string
	queue             string // URL
}

// followBus makes a rule on the bus that sends events to a queue, for as long as the
// follower is open. Only EventBridge may send to the queue, and only for this rule; a
// message that nobody receives is deleted after 5 minutes.
func followBus(ctx context.Context, c aws.Config, bus string, detailTypes []string) (*follower, *fault) {
	t := &temporary{eventbridge.NewFromConfig(c), sqs.NewFromConfig(c), bus, "membercard-tail-" + strings.ToLower(rand.Text()[:10]), c.Region, ""}
	if bad := t.create(ctx, detailTypes); bad != nil {
		if left := t.delete(ctx); left != nil {
			bad.cure += "; " + left.cause + ": " + left.cure
		}
		return nil, bad
	}
	return &follower{t.receive, func() *fault { return t.delete(ctx) }}, nil
}

func (t *temporary) create(ctx context.Context, detailTypes []string) *fault {
	pattern := map[string][]string{"source": {eventbus.Source}}
	if len(detailTypes) > 0 {
		pattern["detail-type"] = detailTypes
	}
	rule, err := t.events.PutRule(ctx, &eventbridge.PutRuleInput{
		Name: &t.name, EventBusName: &t.bus, EventPattern: aws.String(string(strictjson.Encode(pattern))),
		Description: aws.String("temporary, of membercard events tail or check deployment --notify"),
	})
	if err != nil {
		return apiFault(err, "EventBridge", "events:PutRule, PutTargets, RemoveTargets and DeleteRule")
	}
	policy := strictjson.Encode(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Principal": map[string]string{"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": "*",
		"Condition": map[string]any{"ArnEquals": map[string]string{"aws:SourceArn": aws.ToString(rule.RuleArn)}},
	}}})
	const needed = "sqs:CreateQueue, GetQueueAttributes, ReceiveMessage, DeleteMessage and DeleteQueue"
	queue, err := t.queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &t.name, Attributes: map[string]string{
		"MessageRetentionPeriod": "300", "SqsManagedSseEnabled": "true", "Policy": string(policy),
	}})
	if err != nil {
		return apiFault(err, "SQS", needed)
	}
	t.queue = aws.ToString(queue.QueueUrl)
	attributes, err := t.queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &t.queue, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn}})
	if err != nil {
		return apiFault(err, "SQS", needed)
	}
	arn := attributes.Attributes["QueueArn"]
	put, err := t.events.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: &t.name, EventBusName: &t.bus, Targets: []eventtypes.Target{{Id: &t.name, Arn: &arn}}})
	if err == nil && len(put.FailedEntries) > 0 {
		failed := put.FailedEntries[0]
		return faultf("run this again; if it stays so, look the code up in the document of events:PutTargets", "EventBridge does not take the queue as a target: %s: %s", aws.ToString(failed.ErrorCode), aws.ToString(failed.ErrorMessage))
	}
	if err != nil {
		return apiFault(err, "EventBridge", "events:PutTargets")
	}
	return nil
}

func (t *temporary) receive(ctx context.Context) (events []json.RawMessage, bad *fault) {
	out, err := t.queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &t.queue, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
	if err != nil {
		return nil, apiFault(err, "SQS", "sqs:ReceiveMessage")
	}
	for _, m := range out.Messages {
		events = append(events, json.RawMessage(aws.ToString(m.Body)))
		// A message that stays is handed over again, and is gone after 5 minutes.
		_, _ = t.queues.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &t.queue, ReceiptHandle: m.ReceiptHandle})
	}
	return events, nil
}

// delete deletes the rule and the queue, even if ctx has ended by Ctrl-C. What can't be
// deleted is named.
func (t *temporary) delete(ctx context.Context) *fault {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	_, _ = t.events.RemoveTargets(ctx, &eventbridge.RemoveTargetsInput{Rule: &t.name, EventBusName: &t.bus, Ids: []string{t.name}}) // without it the rule is not deleted, which is reported
	_, rule := t.events.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: &t.name, EventBusName: &t.bus})
	var left, commands []string
	if rule != nil && !isCode(rule, "ResourceNotFoundException") {
		left = append(left, "the rule")
		commands = append(commands, "aws events remove-targets --event-bus-name "+t.bus+" --rule "+t.name+" --ids "+t.name,
			"aws events delete-rule --event-bus-name "+t.bus+" --name "+t.name)
	}
	if t.queue != "" {
		if _, err := t.queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &t.queue}); err != nil {
			left = append(left, "the queue")
			commands = append(commands, "aws sqs delete-queue --queue-url "+t.queue)
		}
	}
	if left == nil {
		return nil
	}
	return faultf("delete what is left: "+strings.Join(commands, " && "), "%s (%s) could not be deleted", strings.Join(left, " and "), t.name)
}
