package aws

import (
	"encoding/base64"
	"slices"
	"time"

	"membercard/local/uuid"
)

const (
	moveRate    = 50 // messages a second, unless the request sets a maximum
	maxMoveRate = 500
)

// A move is a message move task. It moves the visible messages of a dead-letter queue
// to another queue, or each message back to the queue that it came from.
type move struct {
	handle  string
	source  *Queue
	to      *Queue // nil: each message's own source queue
	rate    int64  // messages a second
	started time.Time

	status        string // RUNNING, COMPLETED or FAILED
	reason        string // of FAILED
	moved, toMove int64
}

func (s *Queues) startMessageMoveTask(in struct {
	SourceARN                    string `json:"SourceArn"`
	DestinationARN               string `json:"DestinationArn"`
	MaxNumberOfMessagesPerSecond *int64
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source, failed := s.withARN("SourceArn", in.SourceARN)
	if failed != nil {
		return nil, failed
	}
	m := &move{handle: base64.StdEncoding.EncodeToString([]byte(uuid.New())), source: source, rate: moveRate, started: time.Now(), status: "RUNNING"}
	isDeadLetters := func(q *Queue) bool { return q.config.DeadLetters == source.config.LogicalID }
	isRunning := func(m *move) bool { return m.source == source && m.status == "RUNNING" }
	if !slices.ContainsFunc(s.queues, isDeadLetters) {
		return nil, wrongValue("SourceArn", "Source queue must be configured as a Dead Letter Queue")
	}
	if in.DestinationARN != "" {
		if m.to, failed = s.withARN("DestinationArn", in.DestinationARN); failed != nil {
			return nil, failed
		}
	}
	if given := in.MaxNumberOfMessagesPerSecond; given != nil {
		if m.rate = *given; m.rate < 1 || m.rate > maxMoveRate {
			return nil, wrongValue("MaxNumberOfMessagesPerSecond", "Must be between 1 and %d", maxMoveRate)
		}
	}
	if slices.ContainsFunc(s.moves, isRunning) {
		return nil, exception("UnsupportedOperation", "There is already a task running. Only one active task is allowed for a source queue arn at a given time.")
	}
	for _, message := range source.messages {
		if message.isVisible() {
			m.toMove++
		}
	}
	s.moves = append(s.moves, m)
	go s.run(m)
	return map[string]string{"TaskHandle": m.handle}, nil
}

// withARN returns the queue whose ARN a parameter has.
func (s *Queues) withARN(parameter, arn string) (*Queue, *failure) {
	if arn == "" {
		return nil, missing(parameter)
	}
	if q := s.find(func(q *Queue) bool { return q.config.ARN == arn }); q != nil {
		return q, nil
	}
	return nil, exception("ResourceNotFoundException", "The resource that you specified for the "+parameter+" parameter doesn't exist.")
}

// run moves messages until none is visible or one has no source queue.
func (s *Queues) run(m *move) {
	for s.next(m) {
		time.Sleep(time.Second / time.Duration(m.rate))
	}
}

// next moves one message. It returns false if the task has ended.
func (s *Queues) next(m *move) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(m.source.messages, (*message).isVisible)
	if i < 0 {
		m.status = "COMPLETED"
		return false
	}
	moved := m.source.messages[i]
	to := m.to
	if to == nil {
		to = moved.source
	}
	if to == nil {
		m.status, m.reason = "FAILED", "CouldNotDetermineMessageSource"
		return false
	}
	m.source.messages = slices.Delete(m.source.messages, i, i+1)
	// As in SQS, the moved message is a new one.
	copied := &message{SQSMessage: moved.SQSMessage, sent: time.Now(), visible: s.after(to.config.Delay)}
	copied.MessageId, copied.ReceiptHandle = uuid.New(), ""
	to.add(copied)
	m.moved++
	return true
}

// listMessageMoveTasks lists a queue's tasks, newest first, up to the number that the
// request sets: 1 by default.
func (s *Queues) listMessageMoveTasks(in struct {
	SourceARN  string `json:"SourceArn"`
	MaxResults *int64
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source, failed := s.withARN("SourceArn", in.SourceARN)
	if failed != nil {
		return nil, failed
	}
	most := 1
	if in.MaxResults != nil {
		if most = int(*in.MaxResults); most < 1 || most > 10 {
			return nil, wrongValue("MaxResults", "Must be between 1 and 10")
		}
	}
	type result struct {
		TaskHandle                        string `json:",omitempty"` // while it is running
		Status                            string
		SourceARN                         string `json:"SourceArn"`
		DestinationARN                    string `json:"DestinationArn,omitempty"`
		MaxNumberOfMessagesPerSecond      int64
		ApproximateNumberOfMessagesMoved  int64
		ApproximateNumberOfMessagesToMove int64
		FailureReason                     string `json:",omitempty"`
		StartedTimestamp                  int64  // milliseconds since 1970
	}
	results := []result{}
	for _, m := range slices.Backward(s.moves) {
		if m.source != source || len(results) == most {
			continue
		}
		r := result{Status: m.status, SourceARN: source.config.ARN, MaxNumberOfMessagesPerSecond: m.rate, ApproximateNumberOfMessagesMoved: m.moved,
			ApproximateNumberOfMessagesToMove: m.toMove, FailureReason: m.reason, StartedTimestamp: m.started.UnixMilli()}
		if m.status == "RUNNING" {
			r.TaskHandle = m.handle
		}
		if m.to != nil {
			r.DestinationARN = m.to.config.ARN
		}
		results = append(results, r)
	}
	return map[string]any{"Results": results}, nil
}
