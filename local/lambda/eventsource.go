package lambda

// This file has event source mappings, which invoke a function with the messages of a
// queue.

import (
	"cmp"
	"context"
	"encoding/json"
	"sync"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/aws"
	"membercard/local/template"
)

// defaultConcurrency is the number of concurrent batches if a mapping has no maximum.
// Lambda starts with as many, but then scales up.
const defaultConcurrency = 5

// Poll invokes f with the messages of a queue until stop is called. Messages of the
// invocations in progress at that time stay in the queue.
//
// A batch stays in the queue if the function fails, if the invocation is throttled, or if
// the answer has invalid batch item failures. Messages that stay are received again after
// the queue's visibility timeout.
func (f *Function) Poll(queue *aws.Queue, source template.EventSource) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var pollers sync.WaitGroup
	for range cmp.Or(source.MaxConcurrency, defaultConcurrency) {
		pollers.Go(func() {
			for {
				messages := queue.Receive(ctx, source.BatchSize)
				if messages == nil {
					return
				}
				kept := f.process(ctx, messages, source.ReportsFailures)
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
func (f *Function) process(ctx context.Context, messages []events.SQSMessage, reportsFailures bool) (kept map[string]bool) {
	all := make(map[string]bool)
	for _, m := range messages {
		all[m.MessageId] = true
	}
	payload, _ := json.Marshal(events.SQSEvent{Records: messages}) // strings always marshal
	result, err := f.Invoke(ctx, payload)
	switch {
	case err != nil || result.FunctionError != nil:
		return all
	case !reportsFailures:
		return nil
	}
	var response struct{ BatchItemFailures []map[string]any }
	if len(result.Payload) > 0 && json.Unmarshal(result.Payload, &response) != nil {
		return all
	}
	kept = make(map[string]bool)
	for _, failure := range response.BatchItemFailures {
		id, _ := failure["itemIdentifier"].(string)
		if !all[id] {
			return all
		}
		kept[id] = true
	}
	return kept
}
