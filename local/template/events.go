package template

// This file reads event buses, rules, queues and event source mappings. A property that is
// not supported is an error, because ignoring it could make a difference.

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	typeBus         = "AWS::Events::EventBus"
	typeEventSource = "AWS::Lambda::EventSourceMapping"
	typeQueue       = "AWS::SQS::Queue"
	typeRule        = "AWS::Events::Rule"
)

// A Queue is a resource of type AWS::SQS::Queue, a standard queue. Its name is its
// logical ID.
type Queue struct {
	LogicalID, ARN, URL string
	VisibilityTimeout   time.Duration // 0 s to 12 h
	Delay               time.Duration // of a message, 0 s to 15 min
	DeadLetters         string        // logical ID of the dead-letter queue; empty if there is none
	MaxReceiveCount     int           // before a message goes to the dead-letter queue, 1 to 1000
}

// A Rule is a resource of type AWS::Events::Rule that sends events to queues.
type Rule struct {
	LogicalID string
	Bus       string   // name
	Pattern   []byte   // JSON
	Targets   []string // logical IDs of queues
}

// An EventSource is a resource of type AWS::Lambda::EventSourceMapping for a queue.
type EventSource struct {
	LogicalID       string
	Queue, Function string // logical IDs
	BatchSize       int    // 1 to 10
	MaxConcurrency  int    // of invocations, 2 to 1000; 0 if it is not set
	ReportsFailures bool   // ReportBatchItemFailures
}

// allow fails if properties has a property that is not in names.
func (r *resolver) allow(id string, properties *yaml.Node, names ...string) {
	for name := range pairs(properties) {
		if !slices.Contains(names, name.Value) {
			r.fail(name, "%s has the property %s, which is not supported", id, name.Value)
		}
	}
}

// requiredNumber returns a number that the resource id must have.
func (r *resolver) requiredNumber(id string, properties *yaml.Node, name string, low, high int) int {
	r.required(id, properties, name)
	return r.number(name, 0, low, high, properties)
}

// busName returns the name of the event bus with a logical ID.
func (r *resolver) busName(at *yaml.Node, id string) string {
	return r.required(id, child(r.resource(at, id, typeBus), "Properties"), "Name")
}

func (r *resolver) queueURL(id string) string {
	return fmt.Sprintf("https://sqs.%s.%s/%s/%s", r.pseudo("AWS::Region"), r.pseudo("AWS::URLSuffix"), r.pseudo("AWS::AccountId"), id)
}

// queueOf returns the logical ID of the queue that a property names by its ARN.
func (r *resolver) queueOf(id string, properties *yaml.Node, name string) string {
	arn := r.required(id, properties, name)
	queue := arn[strings.LastIndex(arn, ":")+1:]
	r.resource(properties, queue, typeQueue)
	return queue
}

func (r *resolver) queue(id, resource *yaml.Node) Queue {
	properties := child(resource, "Properties") // none are required
	r.allow(id.Value, properties, "VisibilityTimeout", "DelaySeconds", "RedrivePolicy",
		"MessageRetentionPeriod", "SqsManagedSseEnabled", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "Tags")
	q := Queue{
		LogicalID:         id.Value,
		ARN:               r.arn("sqs", id.Value),
		URL:               r.queueURL(id.Value),
		VisibilityTimeout: time.Duration(r.number("VisibilityTimeout", 30, 0, 43200, properties)) * time.Second,
		Delay:             r.seconds(properties, "DelaySeconds", 900),
	}
	if policy := r.child(properties, "RedrivePolicy"); policy != nil {
		r.allow(id.Value, policy, "deadLetterTargetArn", "maxReceiveCount")
		q.DeadLetters = r.queueOf(id.Value, policy, "deadLetterTargetArn")
		q.MaxReceiveCount = r.requiredNumber(id.Value, policy, "maxReceiveCount", 1, 1000)
	}
	return q
}

func (r *resolver) rule(id, resource *yaml.Node) Rule {
	properties := r.properties(id, resource)
	r.allow(id.Value, properties, "Name", "Description", "EventBusName", "EventPattern", "Targets")
	pattern := r.child(properties, "EventPattern")
	if pattern == nil || pattern.Kind != yaml.MappingNode {
		r.fail(properties, "%s has no EventPattern that is an object", id.Value)
	}
	rule := Rule{LogicalID: id.Value, Bus: cmp.Or(r.optional(properties, "EventBusName"), "default")}
	rule.Pattern, _ = json.Marshal(r.value(pattern)) // cannot fail: value returns JSON values
	targets := r.child(properties, "Targets")
	if targets == nil || targets.Kind != yaml.SequenceNode {
		r.fail(properties, "%s has no list of Targets", id.Value)
	}
	for _, node := range targets.Content {
		target := r.eval(node)
		r.allow(id.Value, target, "Id", "Arn", "DeadLetterConfig", "RetryPolicy") // the last two have no effect: sending to a queue never fails here
		rule.Targets = append(rule.Targets, r.queueOf(id.Value, target, "Arn"))
	}
	return rule
}

// value returns a node's value as encoding/json would decode it.
func (r *resolver) value(node *yaml.Node) any {
	switch node.Kind {
	case yaml.MappingNode:
		object := make(map[string]any)
		for key, member := range pairs(node) {
			if member := r.eval(member); member != nil {
				object[key.Value] = r.value(member)
			}
		}
		return object
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range node.Content {
			if item := r.eval(item); item != nil {
				list = append(list, r.value(item))
			}
		}
		return list
	}
	var value any = node.Value
	if node.Tag != "" { // a literal; the results of functions have no tag
		if err := node.Decode(&value); err != nil {
			r.fail(node, "%v", err)
		}
	}
	return value
}

func (r *resolver) eventSource(id, resource *yaml.Node) EventSource {
	properties := r.properties(id, resource)
	r.allow(id.Value, properties, "EventSourceArn", "FunctionName", "BatchSize", "FunctionResponseTypes", "ScalingConfig")
	source := EventSource{
		LogicalID: id.Value,
		Queue:     r.queueOf(id.Value, properties, "EventSourceArn"),
		Function:  r.functionOf(id.Value, properties, "FunctionName"),
		BatchSize: r.number("BatchSize", 10, 1, 10, properties), // more needs a batching window
	}
	for _, kind := range r.optionalList(properties, "FunctionResponseTypes") {
		if kind != "ReportBatchItemFailures" {
			r.fail(properties, "%s has the FunctionResponseType %s, not ReportBatchItemFailures", id.Value, kind)
		}
		source.ReportsFailures = true
	}
	if scaling := r.child(properties, "ScalingConfig"); scaling != nil {
		r.allow(id.Value, scaling, "MaximumConcurrency")
		source.MaxConcurrency = r.requiredNumber(id.Value, scaling, "MaximumConcurrency", 2, 1000)
	}
	return source
}
