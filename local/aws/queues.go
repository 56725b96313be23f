package aws

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/template"
)

// pollInterval is how often an event source mapping looks for messages.
const pollInterval = 20 * time.Millisecond

// Queues is SQS with standard queues. Messages are kept until they are deleted; there
// is no retention period.
type Queues struct {
	*service
	region string
	speed  int
	queues []*Queue
	moves  map[string]move // the last one by the ARN of its source
}

func newQueues(region string) *Queues {
	s := &Queues{region: region, speed: 1, moves: map[string]move{}}
	s.service = newService("sqs", map[string]operation{
		"SendMessage":             s.of((*Queue).sendMessage),
		"ReceiveMessage":          s.of((*Queue).receiveMessage),
		"ChangeMessageVisibility": s.of((*Queue).changeMessageVisibility),
		"GetQueueAttributes":      s.of((*Queue).getQueueAttributes),
		"StartMessageMoveTask":    decoding(s.startMessageMoveTask),
		"ListMessageMoveTasks":    decoding(s.listMessageMoveTasks),
	})
	return s
}

// queueInput is the input of the operations on a queue.
type queueInput struct {
	QueueURL            string `json:"QueueUrl"`
	MessageBody         string
	MessageAttributes   map[string]events.SQSMessageAttribute
	VisibilityTimeout   *template.Number // nil: the queue's
	MaxNumberOfMessages int
	ReceiptHandle       string
	AttributeNames      []string
}

// of returns an operation on the queue that its input names.
func (s *Queues) of(f func(*Queue, queueInput) (any, *failure)) operation {
	return decoding(func(in queueInput) (any, *failure) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if q := s.find(func(q *Queue) bool { return q.config.URL == in.QueueURL }); q != nil {
			return f(q, in)
		}
		return nil, exception("QueueDoesNotExist", "The specified queue does not exist.")
	})
}

// Speed divides visibility timeouts by n from now on, so that tests don't
// have to wait for them. A message in process by an event source mapping stays invisible
// until [Queue.Finish], even if its shortened visibility timeout ends before that.
func (s *Queues) Speed(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.speed = n
}

// Create creates queues. They may refer to each other as dead-letter queues.
func (s *Queues) Create(configs []template.Queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, config := range configs {
		s.queues = append(s.queues, &Queue{config: config, service: s})
	}
}

// Get returns the queue with the given logical ID, or nil.
func (s *Queues) Get(logicalID string) *Queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(func(q *Queue) bool { return q.config.LogicalID == logicalID })
}

func (s *Queues) find(is func(*Queue) bool) *Queue {
	if i := slices.IndexFunc(s.queues, is); i >= 0 {
		return s.queues[i]
	}
	return nil
}

// after returns the time at which a delay of d, divided by the speed, ends. The caller
// holds s.mu.
func (s *Queues) after(d time.Duration) time.Time { return time.Now().Add(d / time.Duration(s.speed)) }

// A Queue is a queue of SQS.
type Queue struct {
	config  template.Queue
	service *Queues // whose mutex guards the fields below

	messages []*message
}

type message struct {
	events.SQSMessage
	visible    time.Time // when it becomes visible
	sent       time.Time
	received   int
	processing bool // received by an event source mapping and not finished
}

func (m *message) isVisible() bool { return !m.processing && !m.visible.After(time.Now()) }

// A Message is a message in a queue.
type Message struct {
	ID, Body   string
	Attributes map[string]string // the sender's
	Sent       time.Time
	Received   int       // how many times
	Visible    time.Time // when it becomes visible, unless it is being processed
	Processing bool      // a function is processing it
}

// Messages returns the messages in the queue, oldest first. They contain personal data.
func (q *Queue) Messages() []Message {
	q.service.mu.Lock()
	defer q.service.mu.Unlock()
	messages := make([]Message, len(q.messages))
	for i, m := range q.messages {
		messages[i] = Message{m.MessageId, m.Body, map[string]string{}, m.sent, m.received, m.visible, m.processing}
		for name, attribute := range m.MessageAttributes {
			if attribute.StringValue != nil {
				messages[i].Attributes[name] = *attribute.StringValue
			}
		}
	}
	return messages
}

// URL returns the queue's URL.
func (q *Queue) URL() string { return q.config.URL }

// Send adds a message and returns its ID.
func (q *Queue) Send(body string, attributes map[string]events.SQSMessageAttribute) (id string) {
	q.service.mu.Lock()
	defer q.service.mu.Unlock()
	return q.send(body, attributes)
}

// send is like Send. The caller holds the mutex.
func (q *Queue) send(body string, attributes map[string]events.SQSMessageAttribute) (id string) {
	if attributes == nil {
		attributes = map[string]events.SQSMessageAttribute{}
	}
	m := &message{sent: time.Now(), SQSMessage: events.SQSMessage{
		MessageId: rand.Text(), Body: body, MessageAttributes: attributes, EventSource: "aws:sqs", AWSRegion: q.service.region,
	}}
	q.add(m)
	return m.MessageId
}

// add adds a message. The caller holds the mutex.
func (q *Queue) add(m *message) {
	m.EventSourceARN = q.config.ARN
	q.messages = append(q.messages, m)
}

// Receive waits for a visible message and returns up to n of them, as records of an
// event for a function. The caller must call [Queue.Finish] for each. Receive returns
// nil when ctx ends.
func (q *Queue) Receive(ctx context.Context, n int) []events.SQSMessage {
	for ctx.Err() == nil {
		q.service.mu.Lock()
		received := q.take(n, q.config.VisibilityTimeout.Seconds(), true)
		q.service.mu.Unlock()
		if len(received) > 0 {
			return received
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
		}
	}
	return nil
}

// take receives up to n messages and makes them invisible for a time and, if processing
// is set, until they are finished. Messages that were received too often go to the
// dead-letter queue instead. The caller holds the mutex.
func (q *Queue) take(n int, invisible time.Duration, processing bool) (received []events.SQSMessage) {
	s := q.service
	deadLetters := s.find(func(other *Queue) bool { return other.config.ARN == q.config.RedrivePolicy.DeadLetterTargetArn })
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool {
		if !m.isVisible() {
			return false
		}
		if deadLetters != nil && m.received >= int(q.config.RedrivePolicy.MaxReceiveCount) {
			deadLetters.add(m)
			return true
		}
		if len(received) == n {
			return false
		}
		m.received++
		m.processing, m.visible, m.ReceiptHandle = processing, s.after(invisible), rand.Text()
		m.Attributes = map[string]string{"ApproximateReceiveCount": strconv.Itoa(m.received), "SentTimestamp": strconv.FormatInt(m.sent.UnixMilli(), 10)}
		received = append(received, m.SQSMessage)
		return false
	})
	return received
}

// Finish ends the processing of a message. If done is set, it deletes the message;
// otherwise the message becomes visible again when its visibility timeout ends.
func (q *Queue) Finish(receiptHandle string, done bool) {
	q.service.mu.Lock()
	defer q.service.mu.Unlock()
	i := slices.IndexFunc(q.messages, func(m *message) bool { return m.ReceiptHandle == receiptHandle })
	if i < 0 {
		return
	}
	if done {
		q.messages = slices.Delete(q.messages, i, i+1)
		return
	}
	q.messages[i].processing = false
}

func (q *Queue) sendMessage(in queueInput) (any, *failure) {
	return map[string]string{"MessageId": q.send(in.MessageBody, in.MessageAttributes)}, nil
}

func (q *Queue) changeMessageVisibility(in queueInput) (any, *failure) {
	i := slices.IndexFunc(q.messages, func(m *message) bool { return m.ReceiptHandle == in.ReceiptHandle })
	if i < 0 || q.messages[i].isVisible() {
		return nil, exception("ReceiptHandleIsInvalid", "The input receipt handle is not that of a message in flight.")
	}
	q.messages[i].visible = q.service.after(in.VisibilityTimeout.Seconds())
	return struct{}{}, nil
}

// getQueueAttributes supports the ARN and the numbers of messages.
func (q *Queue) getQueueAttributes(in queueInput) (any, *failure) {
	visible := 0
	for _, m := range q.messages {
		if m.isVisible() {
			visible++
		}
	}
	all := map[string]string{
		"QueueArn":                              q.config.ARN,
		"ApproximateNumberOfMessages":           strconv.Itoa(visible),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(len(q.messages) - visible),
	}
	attributes := map[string]string{}
	for _, name := range in.AttributeNames {
		attributes[name] = all[name]
	}
	return map[string]any{"Attributes": attributes}, nil
}

// receiveMessage does not wait for a message, and returns all attributes but no digest of
// them.
func (q *Queue) receiveMessage(in queueInput) (any, *failure) {
	type attribute struct {
		DataType    string
		StringValue *string
	}
	type receivedMessage struct {
		MessageID         string `json:"MessageId"`
		ReceiptHandle     string
		Body              string
		Attributes        map[string]string
		MessageAttributes map[string]attribute
	}
	received := q.take(max(in.MaxNumberOfMessages, 1), cmp.Or(in.VisibilityTimeout, &q.config.VisibilityTimeout).Seconds(), false)
	var out struct {
		Messages []receivedMessage `json:",omitempty"`
	}
	for _, m := range received {
		result := receivedMessage{m.MessageId, m.ReceiptHandle, m.Body, m.Attributes, map[string]attribute{}}
		for name, value := range m.MessageAttributes {
			result.MessageAttributes[name] = attribute{value.DataType, value.StringValue}
		}
		out.Messages = append(out.Messages, result)
	}
	return out, nil
}

// A move is a task that has moved the visible messages of a queue to another.
type move struct {
	SourceARN                         string `json:"SourceArn"`
	DestinationARN                    string `json:"DestinationArn"`
	Status                            string // COMPLETED
	ApproximateNumberOfMessagesMoved  int
	ApproximateNumberOfMessagesToMove int
}

// startMessageMoveTask moves the messages at once, whatever rate the request sets.
func (s *Queues) startMessageMoveTask(in struct {
	SourceARN      string `json:"SourceArn"`
	DestinationARN string `json:"DestinationArn"`
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	withARN := func(arn string) *Queue { return s.find(func(q *Queue) bool { return q.config.ARN == arn }) }
	from, to := withARN(in.SourceARN), withARN(in.DestinationARN)
	if from == nil || to == nil {
		return nil, exception("ResourceNotFoundException", "One or more specified resources don't exist.")
	}
	moved := 0
	from.messages = slices.DeleteFunc(from.messages, func(m *message) bool {
		if !m.isVisible() {
			return false
		}
		moved++
		m.received = 0
		to.add(m)
		return true
	})
	s.moves[in.SourceARN] = move{in.SourceARN, in.DestinationARN, "COMPLETED", moved, moved}
	return map[string]string{"TaskHandle": rand.Text()}, nil
}

func (s *Queues) listMessageMoveTasks(in struct {
	SourceARN string `json:"SourceArn"`
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := []move{}
	if last, ok := s.moves[in.SourceARN]; ok {
		results = append(results, last)
	}
	return map[string]any{"Results": results}, nil
}
