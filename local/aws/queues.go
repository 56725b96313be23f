package aws

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/template"
	"membercard/local/uuid"
)

const (
	maxVisibilityTimeout = 12 * time.Hour
	maxDelay             = 15 * time.Minute
	maxWait              = 20 * time.Second
	maxAttributes        = 10
	maxReceived          = 10 // messages of one request
	purgeInterval        = time.Minute
)

// Queues is SQS with standard queues. Messages are kept until they are deleted; there
// is no retention period.
type Queues struct {
	service
	region string
	speed  int
	queues []*Queue
	moves  []*move // oldest first
}

func newQueues(region string) *Queues {
	s := &Queues{region: region, speed: 1}
	s.service = newJSON("sqs", "application/x-amz-json-1.0", map[string]operation{
		"SendMessage":             decoding(s.sendMessage),
		"ReceiveMessage":          decoding(s.receiveMessage),
		"DeleteMessage":           decoding(s.deleteMessage),
		"ChangeMessageVisibility": decoding(s.changeMessageVisibility),
		"GetQueueAttributes":      decoding(s.getQueueAttributes),
		"PurgeQueue":              decoding(s.purgeQueue),
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
	purged   time.Time
}

type message struct {
	events.SQSMessage
	visible    time.Time // when it becomes visible
	sent       time.Time
	first      time.Time // when it was first received
	received   int
	processing bool   // received by an event source mapping and not finished
	source     *Queue // for a dead letter, the queue that it came from
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

// VisibilityTimeout returns the configured timeout, not divided by [Queues.Speed].
func (q *Queue) VisibilityTimeout() time.Duration { return q.config.VisibilityTimeout }

// Send adds a message that becomes visible after delay, and returns its ID.
func (q *Queue) Send(body string, attributes map[string]events.SQSMessageAttribute, delay time.Duration) (id string) {
	q.service.mu.Lock()
	defer q.service.mu.Unlock()
	m := &message{sent: time.Now(), visible: q.service.after(delay), SQSMessage: events.SQSMessage{
		MessageId: uuid.New(), Body: body, Md5OfBody: md5Hex(body), MessageAttributes: attributes, EventSource: "aws:sqs", AWSRegion: q.service.region,
	}}
	q.add(m)
	return m.MessageId
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
		received, changed, next := q.take(n, q.config.VisibilityTimeout, true)
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
	deadLetters := s.find(func(other *Queue) bool { return other.config.LogicalID == q.config.DeadLetters })
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool {
		if m.processing || m.visible.After(now) {
			if !m.processing && m.visible.Before(next) {
				next = m.visible
			}
			return false
		}
		if deadLetters != nil && m.received >= q.config.MaxReceiveCount {
			m.source = q
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
		m.processing, m.visible, m.ReceiptHandle = processing, s.after(invisible), uuid.New()
		m.Attributes = map[string]string{
			"ApproximateReceiveCount":          strconv.Itoa(m.received),
			"SentTimestamp":                    strconv.FormatInt(m.sent.UnixMilli(), 10),
			"SenderId":                         account,
			"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.first.UnixMilli(), 10),
		}
		if m.source != nil {
			m.Attributes["DeadLetterQueueSourceArn"] = m.source.config.ARN
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

// queue returns the queue that a request names.
func (s *Queues) queue(url string) (*Queue, *failure) {
	if url == "" {
		return nil, missing("QueueUrl")
	}
	if q := s.find(func(q *Queue) bool { return q.config.URL == url }); q != nil {
		return q, nil
	}
	return nil, exception("QueueDoesNotExist", "The specified queue does not exist.")
}

func missing(parameter string) *failure {
	return exception("MissingParameter", "The request must contain the parameter "+parameter+".")
}

func wrongValue(parameter, reason string, args ...any) *failure {
	return exception("InvalidParameterValue", "Value for parameter "+parameter+" is invalid. Reason: "+fmt.Sprintf(reason, args...)+".")
}

// checkSeconds refuses a parameter that is negative or longer than most.
func checkSeconds(parameter string, seconds int64, most time.Duration) *failure {
	if high := int64(most / time.Second); seconds < 0 || seconds > high {
		return wrongValue(parameter, "Must be between 0 and %d", high)
	}
	return nil
}

func (s *Queues) sendMessage(in struct {
	QueueURL          string `json:"QueueUrl"`
	MessageBody       string
	DelaySeconds      *int64
	MessageAttributes map[string]messageAttribute
}) (any, *failure) {
	s.mu.Lock()
	queue, failed := s.queue(in.QueueURL)
	s.mu.Unlock()
	switch {
	case failed != nil:
		return nil, failed
	case in.MessageBody == "":
		return nil, missing("MessageBody")
	case !isMessageText(in.MessageBody):
		return nil, exception("InvalidMessageContents", "Invalid characters found in the message body.")
	case len(in.MessageAttributes) > maxAttributes:
		return nil, wrongValue("MessageAttributes", "A message has at most %d attributes", maxAttributes)
	}
	delay := queue.config.Delay
	if in.DelaySeconds != nil {
		if failed := checkSeconds("DelaySeconds", *in.DelaySeconds, maxDelay); failed != nil {
			return nil, failed
		}
		delay = time.Duration(*in.DelaySeconds) * time.Second
	}
	attributes := make(map[string]events.SQSMessageAttribute)
	for name, a := range in.MessageAttributes {
		kind, _, _ := strings.Cut(a.DataType, ".") // a custom type such as Number.int
		isText := kind == "String" || kind == "Number"
		switch {
		case !isText && kind != "Binary":
			return nil, wrongValue(name, "The type of message (user) attribute is invalid")
		case isText && (a.StringValue == nil || *a.StringValue == "" || !isMessageText(*a.StringValue)), !isText && len(a.BinaryValue) == 0:
			return nil, wrongValue(name, "The message (user) attribute must contain a non-empty value of its type")
		}
		attributes[name] = events.SQSMessageAttribute{DataType: a.DataType, StringValue: a.StringValue, BinaryValue: a.BinaryValue}
	}
	id := queue.Send(in.MessageBody, attributes, delay)
	return map[string]string{"MessageId": id, "MD5OfMessageBody": md5Hex(in.MessageBody)}, nil
}

func (s *Queues) changeMessageVisibility(in struct {
	QueueURL          string `json:"QueueUrl"`
	ReceiptHandle     string
	VisibilityTimeout *int64
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue, failed := s.queue(in.QueueURL)
	switch {
	case failed != nil:
		return nil, failed
	case in.ReceiptHandle == "":
		return nil, missing("ReceiptHandle")
	case in.VisibilityTimeout == nil:
		return nil, missing("VisibilityTimeout")
	}
	if failed := checkSeconds("VisibilityTimeout", *in.VisibilityTimeout, maxVisibilityTimeout); failed != nil {
		return nil, failed
	}
	for _, m := range queue.messages {
		if m.ReceiptHandle != in.ReceiptHandle {
			continue
		}
		if m.isVisible() {
			return nil, exception("MessageNotInflight", "The message is not in flight.")
		}
		m.visible = s.after(time.Duration(*in.VisibilityTimeout) * time.Second)
		queue.wake()
		return struct{}{}, nil
	}
	return nil, exception("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
}

// getQueueAttributes supports the ARN and the numbers of messages.
func (s *Queues) getQueueAttributes(in struct {
	QueueURL       string `json:"QueueUrl"`
	AttributeNames []string
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue, failed := s.queue(in.QueueURL)
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

// systemAttributes are the valid names in a request for system attributes.
var systemAttributes = []string{"All", "ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SenderId", "SentTimestamp", "DeadLetterQueueSourceArn"}

// A receivedMessage is a message in the output of ReceiveMessage.
type receivedMessage struct {
	MessageID         string `json:"MessageId"`
	ReceiptHandle     string
	MD5OfBody         string
	Body              string
	Attributes        map[string]string           `json:",omitempty"`
	MessageAttributes map[string]messageAttribute `json:",omitempty"`
}

type messageAttribute struct {
	DataType    string
	StringValue *string `json:",omitempty"`
	BinaryValue []byte  `json:",omitempty"`
}

// receiveMessage waits for a message as long as the request sets. Unlike SQS it returns
// no digest of the attributes.
func (s *Queues) receiveMessage(in struct {
	QueueURL                                    string `json:"QueueUrl"`
	MaxNumberOfMessages                         *int64
	VisibilityTimeout, WaitTimeSeconds          *int64
	AttributeNames, MessageSystemAttributeNames []string // AttributeNames is the deprecated name
	MessageAttributeNames                       []string
}) (any, *failure) {
	s.mu.Lock()
	queue, failed := s.queue(in.QueueURL)
	s.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	n, invisible, wait := 1, queue.config.VisibilityTimeout, time.Duration(0)
	if in.MaxNumberOfMessages != nil {
		if n = int(*in.MaxNumberOfMessages); n < 1 || n > maxReceived {
			return nil, wrongValue("MaxNumberOfMessages", "Must be between 1 and %d, if provided", maxReceived)
		}
	}
	for _, given := range []struct {
		name    string
		seconds *int64
		most    time.Duration
		to      *time.Duration
	}{{"VisibilityTimeout", in.VisibilityTimeout, maxVisibilityTimeout, &invisible}, {"WaitTimeSeconds", in.WaitTimeSeconds, maxWait, &wait}} {
		if given.seconds == nil {
			continue
		}
		if failed := checkSeconds(given.name, *given.seconds, given.most); failed != nil {
			return nil, failed
		}
		*given.to = time.Duration(*given.seconds) * time.Second
	}
	system := append(in.AttributeNames, in.MessageSystemAttributeNames...)
	for _, name := range system {
		if !slices.Contains(systemAttributes, name) {
			return nil, exception("InvalidAttributeName", "Unknown Attribute "+name+".")
		}
	}
	received, changed, next := queue.take(n, invisible, false)
	for until := time.Now().Add(wait); len(received) == 0 && time.Now().Before(until); received, changed, next = queue.take(n, invisible, false) {
		select {
		case <-changed:
		case <-time.After(min(time.Until(next), time.Until(until))):
		}
	}
	var messages []receivedMessage
	for _, m := range received {
		result := receivedMessage{m.MessageId, m.ReceiptHandle, m.Md5OfBody, m.Body, map[string]string{}, map[string]messageAttribute{}}
		for name, value := range m.Attributes {
			if slices.Contains(system, "All") || slices.Contains(system, name) {
				result.Attributes[name] = value
			}
		}
		for name, value := range m.MessageAttributes {
			if slices.ContainsFunc(in.MessageAttributeNames, func(pattern string) bool { return selects(pattern, name) }) {
				result.MessageAttributes[name] = messageAttribute{value.DataType, value.StringValue, value.BinaryValue}
			}
		}
		messages = append(messages, result)
	}
	return struct {
		Messages []receivedMessage `json:",omitempty"`
	}{messages}, nil
}

// selects returns whether an entry of MessageAttributeNames selects an attribute.
func selects(pattern, attribute string) bool {
	prefix, isPrefix := strings.CutSuffix(pattern, ".*")
	return pattern == "All" || pattern == attribute || isPrefix && (prefix == "" || strings.HasPrefix(attribute, prefix+"."))
}

// deleteMessage also succeeds if the message has already been deleted.
func (s *Queues) deleteMessage(in struct {
	QueueURL      string `json:"QueueUrl"`
	ReceiptHandle string
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue, failed := s.queue(in.QueueURL)
	switch {
	case failed != nil:
		return nil, failed
	case in.ReceiptHandle == "":
		return nil, missing("ReceiptHandle")
	case len(in.ReceiptHandle) != len(uuid.New()): // every handle is a UUID
		return nil, exception("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
	}
	queue.messages = slices.DeleteFunc(queue.messages, func(m *message) bool { return m.ReceiptHandle == in.ReceiptHandle })
	return struct{}{}, nil
}

func (s *Queues) purgeQueue(in struct {
	QueueURL string `json:"QueueUrl"`
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue, failed := s.queue(in.QueueURL)
	switch {
	case failed != nil:
		return nil, failed
	case time.Since(queue.purged) < purgeInterval:
		return nil, exception("PurgeQueueInProgress", "Only one PurgeQueue operation on "+queue.config.LogicalID+" is allowed every 60 seconds.")
	}
	queue.messages, queue.purged = nil, time.Now()
	return struct{}{}, nil
}

// isMessageText returns whether s has only characters that SQS allows.
func isMessageText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool {
		return c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0xfffe || c == 0xffff
	})
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}
