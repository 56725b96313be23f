package aws

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/template"
)

// Queues is SQS with standard queues. Messages are kept until they are deleted; there
// is no retention period.
type Queues struct {
	*service
	region string
	speed  int
	queues []*Queue
	moves  []*move // newest first
}

func newQueues(region string) *Queues {
	s := &Queues{region: region, speed: 1}
	s.service = newService("sqs", map[string]operation{
		"SendMessage":             decoding(s.sendMessage),
		"ReceiveMessage":          decoding(s.receiveMessage),
		"ChangeMessageVisibility": decoding(s.changeMessageVisibility),
		"GetQueueAttributes":      decoding(s.getQueueAttributes),
		"StartMessageMoveTask":    decoding(s.startMessageMoveTask),
		"ListMessageMoveTasks":    decoding(s.listMessageMoveTasks),
	})
	return s
}

// Speed divides visibility timeouts and delays by n from now on, so that tests don't
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
		s.queues = append(s.queues, &Queue{config: config, service: s, changed: make(chan struct{})})
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
	changed  chan struct{} // closed and replaced when a message may have become visible
}

type message struct {
	events.SQSMessage
	visible    time.Time // when it becomes visible
	sent       time.Time
	first      time.Time // when it was first received
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

// Send adds a message that becomes visible after delay, and returns its ID.
func (q *Queue) Send(body string, attributes map[string]events.SQSMessageAttribute, delay time.Duration) (id string) {
	if attributes == nil {
		attributes = map[string]events.SQSMessageAttribute{}
	}
	q.service.mu.Lock()
	defer q.service.mu.Unlock()
	m := &message{sent: time.Now(), visible: q.service.after(delay), SQSMessage: events.SQSMessage{
		MessageId: rand.Text(), Body: body, Md5OfBody: md5Hex(body), MessageAttributes: attributes, EventSource: "aws:sqs", AWSRegion: q.service.region,
	}}
	q.add(m)
	return m.MessageId
}

// SendEvent adds an event as a rule does.
func (q *Queue) SendEvent(event []byte) {
	q.Send(string(event), nil, q.config.DelaySeconds.Seconds())
}

// add adds a message. The caller holds the mutex.
func (q *Queue) add(m *message) {
	m.EventSourceARN = q.config.ARN
	q.messages = append(q.messages, m)
	q.wake()
}

func (q *Queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// Receive waits for a visible message and returns up to n of them, as records of an
// event for a function. The caller must call [Queue.Finish] for each. Receive returns
// nil when ctx ends.
func (q *Queue) Receive(ctx context.Context, n int) []events.SQSMessage {
	for {
		received, changed, next := q.take(n, q.config.VisibilityTimeout.Seconds(), true)
		if len(received) > 0 {
			return received
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		timer.Stop()
	}
}

// take receives up to n messages and makes them invisible for a time and, if processing
// is set, until they are finished. Messages that were received too often go to the
// dead-letter queue instead. If take returns no messages, it is worth trying again at
// next or when changed is closed.
func (q *Queue) take(n int, invisible time.Duration, processing bool) (received []events.SQSMessage, changed <-chan struct{}, next time.Time) {
	s := q.service
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	next = now.Add(time.Hour)
	deadLetters := s.find(func(other *Queue) bool { return other.config.ARN == q.config.RedrivePolicy.DeadLetterTargetArn })
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool {
		if m.processing || m.visible.After(now) {
			if !m.processing && m.visible.Before(next) {
				next = m.visible
			}
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
		if m.first.IsZero() {
			m.first = now
		}
		m.processing, m.visible, m.ReceiptHandle = processing, s.after(invisible), rand.Text()
		m.Attributes = map[string]string{
			"ApproximateReceiveCount":          strconv.Itoa(m.received),
			"SentTimestamp":                    strconv.FormatInt(m.sent.UnixMilli(), 10),
			"SenderId":                         account,
			"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.first.UnixMilli(), 10),
		}
		received = append(received, m.SQSMessage)
		return false
	})
	return received, q.changed, next
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
	q.wake()
}

// named returns the queue that is has. The caller holds s.mu.
func (s *Queues) named(is func(*Queue) bool) (*Queue, *failure) {
	if q := s.find(is); q != nil {
		return q, nil
	}
	return nil, exception("QueueDoesNotExist", "The specified queue does not exist.")
}

func (s *Queues) withURL(url string) (*Queue, *failure) {
	return s.named(func(q *Queue) bool { return q.config.URL == url })
}

// inSeconds returns a number of seconds from 0 to most, or the queue's own duration if
// there is none.
func inSeconds(parameter string, seconds *int64, most int64, byDefault time.Duration) (time.Duration, *failure) {
	if seconds == nil {
		return byDefault, nil
	}
	if *seconds < 0 || *seconds > most {
		return 0, exception("InvalidParameterValue", fmt.Sprintf("Value for parameter %s is invalid. Reason: Must be between 0 and %d.", parameter, most))
	}
	return time.Duration(*seconds) * time.Second, nil
}

func (s *Queues) sendMessage(in struct {
	QueueURL          string `json:"QueueUrl"`
	MessageBody       string
	DelaySeconds      *int64
	MessageAttributes map[string]events.SQSMessageAttribute
}) (any, *failure) {
	s.mu.Lock()
	queue, failed := s.withURL(in.QueueURL)
	s.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	delay, failed := inSeconds("DelaySeconds", in.DelaySeconds, 900, queue.config.DelaySeconds.Seconds())
	if failed != nil {
		return nil, failed
	}
	for name, a := range in.MessageAttributes {
		if a.StringValue == nil || *a.StringValue == "" {
			return nil, exception("InvalidParameterValue", "The message (user) attribute '"+name+"' must contain a non-empty value.")
		}
	}
	id := queue.Send(in.MessageBody, in.MessageAttributes, delay)
	return map[string]string{"MessageId": id, "MD5OfMessageBody": md5Hex(in.MessageBody)}, nil
}

func (s *Queues) changeMessageVisibility(in struct {
	QueueURL          string `json:"QueueUrl"`
	ReceiptHandle     string
	VisibilityTimeout *int64
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue, failed := s.withURL(in.QueueURL)
	if failed != nil {
		return nil, failed
	}
	timeout, failed := inSeconds("VisibilityTimeout", in.VisibilityTimeout, 43200, 0)
	if failed != nil {
		return nil, failed
	}
	i := slices.IndexFunc(queue.messages, func(m *message) bool { return m.ReceiptHandle == in.ReceiptHandle })
	if i < 0 || queue.messages[i].isVisible() {
		return nil, exception("ReceiptHandleIsInvalid", "The input receipt handle is not that of a message in flight.")
	}
	queue.messages[i].visible = s.after(timeout)
	queue.wake()
	return struct{}{}, nil
}

// getQueueAttributes supports the ARN and the numbers of messages.
func (s *Queues) getQueueAttributes(in struct {
	QueueURL       string `json:"QueueUrl"`
	AttributeNames []string
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue, failed := s.withURL(in.QueueURL)
	if failed != nil {
		return nil, failed
	}
	visible, invisible, delayed := 0, 0, 0
	for _, m := range queue.messages {
		switch {
		case m.isVisible():
			visible++
		case m.received == 0:
			delayed++
		default:
			invisible++
		}
	}
	all := map[string]string{
		"QueueArn":                              queue.config.ARN,
		"ApproximateNumberOfMessages":           strconv.Itoa(visible),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(invisible),
		"ApproximateNumberOfMessagesDelayed":    strconv.Itoa(delayed),
	}
	attributes := map[string]string{}
	for _, name := range in.AttributeNames {
		value, ok := all[name]
		if !ok {
			return nil, exception("InvalidAttributeName", "Unknown Attribute "+name+".")
		}
		attributes[name] = value
	}
	return map[string]any{"Attributes": attributes}, nil
}

// receiveMessage does not wait for a message, and returns all attributes but no digest of
// them.
func (s *Queues) receiveMessage(in struct {
	QueueURL            string `json:"QueueUrl"`
	MaxNumberOfMessages int
	VisibilityTimeout   *int64
}) (any, *failure) {
	s.mu.Lock()
	queue, failed := s.withURL(in.QueueURL)
	s.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	invisible, failed := inSeconds("VisibilityTimeout", in.VisibilityTimeout, 43200, queue.config.VisibilityTimeout.Seconds())
	if failed != nil {
		return nil, failed
	}
	type attribute struct {
		DataType    string
		StringValue *string
	}
	type receivedMessage struct {
		MessageID         string `json:"MessageId"`
		ReceiptHandle     string
		MD5OfBody         string
		Body              string
		Attributes        map[string]string
		MessageAttributes map[string]attribute
	}
	received, _, _ := queue.take(max(in.MaxNumberOfMessages, 1), invisible, false)
	var out struct {
		Messages []receivedMessage `json:",omitempty"`
	}
	for _, m := range received {
		result := receivedMessage{m.MessageId, m.ReceiptHandle, m.Md5OfBody, m.Body, m.Attributes, map[string]attribute{}}
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
	withARN := func(arn string) (*Queue, *failure) {
		return s.named(func(q *Queue) bool { return q.config.ARN == arn })
	}
	from, failed := withARN(in.SourceARN)
	if failed != nil {
		return nil, failed
	}
	to, failed := withARN(in.DestinationARN)
	if failed != nil {
		return nil, failed
	}
	moved := 0
	from.messages = slices.DeleteFunc(from.messages, func(m *message) bool {
		if !m.isVisible() {
			return false
		}
		moved++
		m.received, m.first = 0, time.Time{}
		to.add(m)
		return true
	})
	s.moves = slices.Insert(s.moves, 0, &move{in.SourceARN, in.DestinationARN, "COMPLETED", moved, moved})
	return map[string]string{"TaskHandle": rand.Text()}, nil
}

func (s *Queues) listMessageMoveTasks(in struct {
	SourceARN string `json:"SourceArn"`
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.moves, func(m *move) bool { return m.SourceARN == in.SourceARN })
	if i < 0 {
		return map[string]any{"Results": []move{}}, nil
	}
	return map[string]any{"Results": s.moves[i : i+1]}, nil
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}
