package lambda

// This file has event source mappings, which invoke a function with the messages of a
// queue.

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/aws"
	"membercard/local/template"
)

// Poll invokes f with the messages of a queue until stop is called. Messages of the
// invocations in progress at that time stay in the queue.
//
// A batch stays in the queue if the function fails, if the invocation is throttled, or if
// the answer has invalid batch item failures. Messages that stay are received again after
// the queue's visibility timeout.
func (f *Function) Poll(queue *aws.Queue, source template.EventSource) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var pollers sync.WaitGroup
	for range source.ScalingConfig.MaximumConcurrency {
		pollers.Go(func() {
			for {
				messages := queue.Receive(ctx, source.BatchSize)
				if messages == nil {
					return
				}
				kept := f.process(ctx, messages)
				for _, m := range messages {
					queue.Finish(m.ReceiptHandle, !kept[m.MessageId])
				}
			}
		})
	}
	return func() {
		cancel()
		pollers.Wait()
	}
}

// process invokes f with a batch and returns the IDs of the messages to keep.
func (f *Function) process(ctx context.Context, messages []events.SQSMessage) (kept map[string]bool) {
	all := make(map[string]bool)
	for _, m := range messages {
		all[m.MessageId] = true
	}
	payload, _ := json.Marshal(events.SQSEvent{Records: messages}) // strings always marshal
	result, err := f.Invoke(ctx, payload)
	if err != nil || result.FunctionError != nil {
		return all
	}
	var response events.SQSEventResponse
	if json.Unmarshal(result.Payload, &response) != nil {
		return all
	}
	kept = make(map[string]bool)
	for _, failure := range response.BatchItemFailures {
		if !all[failure.ItemIdentifier] {
			return all
		}
		kept[failure.ItemIdentifier] = true
	}
	return kept
}
