package lambda

// This file has event source mappings: what invokes a function with the messages of
// a queue.

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/aws"
	"membercard/local/template"
)

// defaultConcurrency is how many batches Lambda begins with at once if a mapping has
// no maximum. It never has more here.
const defaultConcurrency = 5

// Poll invokes f with the messages of a queue until stop is called, after which the
// outcome of the invocations under way does not count. A batch that the function fails is kept, as is one whose
// invocation is throttled or answered with batch item failures that Lambda does not
// accept. Kept messages come again after the queue's visibility timeout.
//
// It fails if that is shorter than the function's timeout.
func (f *Function) Poll(queue *aws.Queue, source template.EventSource) (stop func(), err error) {
	if queue.VisibilityTimeout() < f.cfg.Timeout {
		return nil, fmt.Errorf("lambda: %s: the queue's visibility timeout, %v, is shorter than the function's timeout, %v",
			source.LogicalID, queue.VisibilityTimeout(), f.cfg.Timeout)
	}
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
	}, nil
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
