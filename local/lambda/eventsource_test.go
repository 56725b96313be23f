package lambda

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"membercard/local/aws"
	"membercard/local/template"
)

// newQueue returns a queue whose messages a function fails only once: then they are
// dead letters. A second takes a millisecond.
func newQueue(t *testing.T) (queue, deadLetters *aws.Queue) {
	t.Helper()
	cloud, err := aws.Start("eu-west-1", "AKIDEXAMPLE", "secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cloud.Close() })
	cloud.Queues.Speed(1000)
	cloud.Queues.Create([]template.Queue{
		{LogicalID: "Queue", ARN: "arn:aws:sqs:eu-west-1:123456789012:Queue", VisibilityTimeout: 120,
			RedrivePolicy: template.RedrivePolicy{DeadLetterTargetArn: "arn:aws:sqs:eu-west-1:123456789012:Dead", MaxReceiveCount: 1}},
		{LogicalID: "Dead", ARN: "arn:aws:sqs:eu-west-1:123456789012:Dead"},
	})
	return cloud.Queues.Get("Queue"), cloud.Queues.Get("Dead")
}

func poll(t *testing.T, f *Function, queue *aws.Queue, source template.EventSource) {
	t.Helper()
	t.Cleanup(f.Poll(queue, source))
}

// drain waits until the queue is empty and returns the dead letters.
func drain(t *testing.T, queue, deadLetters *aws.Queue) []aws.Message {
	t.Helper()
	for range 2000 {
		if len(queue.Messages()) == 0 {
			return deadLetters.Messages()
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("still in the queue: %+v", queue.Messages())
	return nil
}

func order(answer string) string { return `{"do":"answer","answer":` + answer + `}` }

// TestBatch has a function answer a batch of two messages, and checks which of them
// are kept.
func TestBatch(t *testing.T) {
	for _, test := range []struct {
		name   string
		order  string // to the function; ID stands for the first message's
		ignore bool   // the mapping does not report batch item failures
		kept   string // which of the messages
	}{
		{"none", order(`{"batchItemFailures":[]}`), false, ""},
		{"null list", order(`{"batchItemFailures":null}`), false, ""},
		{"empty object", order(`{}`), false, ""},
		{"null", order(`null`), false, ""},
		{"the first", order(`{"batchItemFailures":[{"itemIdentifier":"ID"}]}`), false, "0"},
		{"the first twice", order(`{"batchItemFailures":[{"itemIdentifier":"ID"},{"itemIdentifier":"ID"}]}`), false, "0"},
		{"not reported", order(`{"batchItemFailures":[{"itemIdentifier":"ID"}]}`), true, ""},
		{"function error", `{"do":"error"}`, false, "01"},
		{"function error, not reported", `{"do":"error"}`, true, "01"},
		{"function exits", `{"do":"exit"}`, false, "01"},
		{"empty identifier", order(`{"batchItemFailures":[{"itemIdentifier":""}]}`), false, "01"},
		{"null identifier", order(`{"batchItemFailures":[{"itemIdentifier":null}]}`), false, "01"},
		{"identifier under another name", order(`{"batchItemFailures":[{"ItemIdentifier":"ID"}]}`), false, "01"},
		{"unknown identifier", order(`{"batchItemFailures":[{"itemIdentifier":"ID"},{"itemIdentifier":"x"}]}`), false, "01"},
		{"not a list", order(`{"batchItemFailures":"ID"}`), false, "01"},
		{"not an object", order(`["ID"]`), false, "01"},
	} {
		t.Run(test.name, func(t *testing.T) {
			queue, deadLetters := newQueue(t)
			ids := []string{queue.Send(test.order, nil, 0), queue.Send("second", nil, 0)}
			poll(t, newFunction(t, Config{}), queue, template.EventSource{BatchSize: 2, ReportsFailures: !test.ignore})
			var kept string
			for _, m := range drain(t, queue, deadLetters) {
				kept += fmt.Sprint(slices.Index(ids, m.ID))
			}
			if kept != test.kept {
				t.Errorf("kept %q, want %q", kept, test.kept)
			}
		})
	}
}

// TestBatchesAtOnce counts the batches that are under way at once, and their messages.
func TestBatchesAtOnce(t *testing.T) {
	gate, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	for _, test := range []struct{ maxConcurrency, want int }{{2, 2}, {3, 3}, {0, defaultConcurrency}} {
		t.Run(fmt.Sprint(test.maxConcurrency), func(t *testing.T) {
			queue, deadLetters := newQueue(t)
			const batchSize = 3
			for range 20 * batchSize {
				queue.Send(fmt.Sprintf(`{"do":"wait","addr":%q}`, gate.Addr()), nil, 0)
			}
			f := newFunction(t, Config{})
			poll(t, f, queue, template.EventSource{BatchSize: batchSize, MaxConcurrency: test.maxConcurrency})
			var waiting []net.Conn
			for range test.want {
				conn, err := gate.Accept()
				if err != nil {
					t.Fatal(err)
				}
				waiting = append(waiting, conn)
			}
			time.Sleep(50 * time.Millisecond) // in which no further invocation may begin
			processing := 0
			for _, m := range queue.Messages() {
				if m.Processing {
					processing++
				}
			}
			if processing != test.want*batchSize || len(f.PIDs()) != test.want {
				t.Errorf("%d messages in %d instances, want %d in %d", processing, len(f.PIDs()), test.want*batchSize, test.want)
			}
			go func() { // lets all others through
				for range 20 - test.want {
					if conn, err := gate.Accept(); err == nil {
						conn.Close()
					}
				}
			}()
			for _, conn := range waiting {
				conn.Close()
			}
			if letters := drain(t, queue, deadLetters); len(letters) > 0 {
				t.Errorf("dead letters: %+v", letters)
			}
		})
	}
}

// A message is not received again while a function has it, though the queue's time
// runs faster than the function's.
func TestProcessingIsInvisible(t *testing.T) {
	gate, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	queue, deadLetters := newQueue(t)
	queue.Send(fmt.Sprintf(`{"do":"wait","addr":%q}`, gate.Addr()), nil, 0)
	poll(t, newFunction(t, Config{}), queue, template.EventSource{BatchSize: 1})
	conn, err := gate.Accept()
	if err != nil {
		t.Fatal(err)
	}
	m := queue.Messages()[0]
	time.Sleep(time.Until(m.Visible) + 50*time.Millisecond)
	if m = queue.Messages()[0]; !m.Processing || m.Received != 1 || len(deadLetters.Messages()) != 0 {
		t.Errorf("after its visibility timeout: %+v", m)
	}
	conn.Close()
	if letters := drain(t, queue, deadLetters); len(letters) > 0 {
		t.Errorf("dead letters: %+v", letters)
	}
}
