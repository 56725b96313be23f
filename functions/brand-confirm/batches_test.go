package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing"
	"membercard/shared/signing/signingtest"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
)

const (
	queueURL     = "https://sqs.eu-central-1.amazonaws.com/123456789012/confirm"
	deadLetters  = "https://sqs.eu-central-1.amazonaws.com/123456789012/confirm-dead-letters"
	eventID      = "EV-2018022511223320873"
	asked        = "?brand_id=1004&card_id=pbLatjvWOibDc5-TBnbUk1pD12o0&openid=" + openid
	confirmation = `{"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"` + openid + `","user_card_confirm_state":"CREATE_CARD_SUCCESS"}`
)

// resource is the decrypted resource of an event.
const resource = `{"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"` + openid + `","user_card_code":"` + userCardCode + `","phone_number":"13800138000","user_card_state":"UNACTIVATED"}`

// event is an event of the bus as SQS gets it from a rule.
func event(detailType, resource string) string {
	return `{"version":"0","id":"17793124-05d4-b198-2fde-7ededc63b103","detail-type":"` + detailType + `","source":"membercard","account":"123456789012",` +
		`"time":"2025-06-22T02:34:56Z","region":"eu-central-1","resources":[],"detail":{"id":"` + eventID + `","event_type":"` + detailType + `",` +
		`"create_time":"2025-06-22T10:34:56+08:00","summary":"用户开卡","original_type":"user_card","resource":` + resource + `}}`
}

func createdEvent() string { return event("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", resource) }

// answer is what WeChat Pay answers a confirmation with.
type answer struct {
	status     int
	body       string
	retryAfter string
	forged     bool
}

var (
	success = answer{status: 200, body: card}
	already = answer{status: 400, body: `{"code":"INVALID_REQUEST","message":"会员卡已确认"}`}
)

// cardIn is the answer to a query for a card in a state.
func cardIn(state string) *answer {
	return &answer{status: 200, body: strings.Replace(card, "EFFECTIVE", state, 1)}
}

// message returns WeChat Pay's message.
func (a answer) message(t *testing.T) string {
	t.Helper()
	var refusal struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(a.body), &refusal); err != nil {
		t.Fatal(err)
	}
	return refusal.Message
}

// wechatpay stands for WeChat Pay.
type wechatpay struct {
	URL string

	mu    sync.Mutex
	calls []string
	times []time.Time
}

func startWeChatPay(t *testing.T, answers ...answer) *wechatpay {
	w := &wechatpay{}
	w.URL, _ = signingtest.Serve(t, func(call string, header http.Header) (status int, body, signed string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		a := answers[min(len(w.calls), len(answers)-1)]
		w.calls = append(w.calls, call)
		w.times = append(w.times, time.Now())
		if a.retryAfter != "" {
			header.Set("Retry-After", a.retryAfter)
		}
		if a.forged {
			return a.status, a.body, ""
		}
		return a.status, a.body, a.body
	})
	return w
}

// sqsServer stands for SQS: ChangeMessageVisibility and SendMessage in AWS JSON 1.0.
type sqsServer struct {
	*httptest.Server
	t       *testing.T
	refuses bool

	mu      sync.Mutex
	delays  map[string]time.Duration // by receipt handle
	letters []letter
}

type letter struct{ body, code, message string }

func startSQS(t *testing.T) *sqsServer {
	s := &sqsServer{t: t, delays: map[string]time.Duration{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *sqsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var asked struct {
		QueueURL          string `json:"QueueUrl"`
		ReceiptHandle     string
		VisibilityTimeout *int64
		MessageBody       string
		MessageAttributes map[string]struct{ DataType, StringValue string }
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil || !strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/sqs/aws4_request") {
		s.t.Errorf("%s: %v", body, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	switch operation := r.Header.Get("X-Amz-Target"); {
	case s.refuses:
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"com.amazonaws.sqs#AccessDenied","message":"`+openid+`"}`)
	case operation == "AmazonSQS.ChangeMessageVisibility" && asked.QueueURL == queueURL && asked.VisibilityTimeout != nil && 0 <= *asked.VisibilityTimeout && *asked.VisibilityTimeout <= 43200:
		s.delays[asked.ReceiptHandle] = time.Duration(*asked.VisibilityTimeout) * time.Second
		_, _ = io.WriteString(w, `{}`)
	case operation == "AmazonSQS.SendMessage" && asked.QueueURL == deadLetters && len(asked.MessageAttributes) == 2 && asked.MessageAttributes["Code"].DataType == "String" && asked.MessageAttributes["ErrorMessage"].DataType == "String" && asked.MessageAttributes["ErrorMessage"].StringValue != "":
		s.letters = append(s.letters, letter{asked.MessageBody, asked.MessageAttributes["Code"].StringValue, asked.MessageAttributes["ErrorMessage"].StringValue})
		digest := md5.Sum([]byte(asked.MessageBody))
		fmt.Fprintf(w, `{"MessageId":"1","MD5OfMessageBody":%q}`, hex.EncodeToString(digest[:]))
	default:
		s.t.Errorf("%s %s", operation, body)
	}
}

func (s *sqsServer) config() aws.Config {
	return aws.Config{
		Region: "eu-central-1", BaseEndpoint: &s.URL, HTTPClient: s.Client(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "a-secret-access-key"}, nil
		}),
	}
}

// batch is the event of messages with these bodies, which were received for the nth
// time. The first was sent at the given time, the others just now.
func batch(t *testing.T, received int, sent time.Time, bodies ...string) []byte {
	t.Helper()
	var e events.SQSEvent
	for i, body := range bodies {
		e.Records = append(e.Records, events.SQSMessage{
			MessageId: fmt.Sprint("message-", i), ReceiptHandle: fmt.Sprint("receipt-", i), Body: body, EventSource: "aws:sqs",
			Attributes: map[string]string{"ApproximateReceiveCount": fmt.Sprint(received), "SentTimestamp": fmt.Sprint(sent.UnixMilli())},
		})
		sent = time.Now()
	}
	payload, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// result is what an invocation left behind.
type result struct {
	kept    []string // the messages that SQS keeps
	log     string
	records []map[string]any
}

// invoke hands a batch to the function, and checks that nothing private is logged.
func invoke(t *testing.T, ctx context.Context, endpoint string, merchant *signing.Merchant, q *queue, interval time.Duration, payload []byte) (r result) {
	t.Helper()
	log, records := telemetrytest.New()
	client := signingtest.Client(&gatewaytest.Source[signing.Merchant]{Secret: merchant}, endpoint)
	f := newFunction(log, client, q)
	f.batches.interval = interval
	raw, err := f.Invoke(ctx, payload)
	if err != nil {
		t.Fatal(err)
	}
	var response struct {
		BatchItemFailures []struct{ ItemIdentifier string } `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(raw, &response); err != nil || !strings.HasPrefix(string(raw), `{"batchItemFailures":[`) {
		t.Fatalf("%s: %v", raw, err)
	}
	for _, failure := range response.BatchItemFailures {
		r.kept = append(r.kept, failure.ItemIdentifier)
	}
	r.log, r.records = records.String(), records.All(t)
	for _, private := range []string{openid, userCardCode, "13800138000"} {
		if strings.Contains(r.log, private) {
			t.Errorf("%s is logged: %s", private, r.log)
		}
	}
	return r
}

// requireCounts checks the record of the batch, which is the last one.
func (r result) requireCounts(t *testing.T, counts map[string]float64) {
	t.Helper()
	last := r.records[len(r.records)-1]
	for _, name := range []string{"confirmed", "confirmed_before", "kept", "dead_lettered", "deferred"} {
		if last[name] != counts[name] {
			t.Errorf("%s: %v, want %v: %s", name, last[name], counts[name], r.log)
		}
	}
}

// requireFailure checks the record of a message, which comes before that of the
// batch.
func (r result) requireFailure(t *testing.T, code, event string) {
	t.Helper()
	id, _ := r.records[0]["event_id"].(string)
	if len(r.records) != 2 || r.records[0]["code"] != code || id != event || r.records[0]["cause"] == "" || r.records[0]["cure"] == "" {
		t.Errorf("%s, want one failure %s", r.log, code)
	}
}

func TestABatchIsConfirmed(t *testing.T) {
	w := startWeChatPay(t, success)
	r := invoke(t, t.Context(), w.URL, signingtest.Merchant(t), newQueue(startSQS(t).config(), queueURL, deadLetters), 0,
		batch(t, 1, time.Now(), createdEvent(), event("MEMBERCARDSP.USER_CARD.CREATE", strings.Replace(resource, userCardCode, "478515832665000000000002", 1))))
	want := []string{"POST " + path + userCardCode + "/confirm " + confirmation, "POST " + path + "478515832665000000000002/confirm " + confirmation}
	if !slices.Equal(w.calls, want) {
		t.Errorf("WeChat got %q, want %q", w.calls, want)
	}
	if len(r.kept) > 0 || len(r.records) != 1 || r.records[0]["level"] != "INFO" || r.records[0]["Code"] != "OK" {
		t.Errorf("kept %q: %s", r.kept, r.log)
	}
	r.requireCounts(t, map[string]float64{"confirmed": 2})
}

type refusal struct {
	rule    string
	answer  answer
	queried *answer // nil if there must be no query
	code    string
	want    outcome
}

// answers are those to the calls.
func (r refusal) answers() []answer {
	if r.queried == nil {
		return []answer{r.answer}
	}
	return []answer{r.answer, *r.queried}
}

// refusals are answers to the confirmation of one message, and to the query that may follow,
// and what becomes of the message.
var refusals = []refusal{
	{"too many requests", answer{status: 429, body: `{"code":"RATELIMIT_EXCEEDED","message":"x"}`}, nil, "RATELIMIT_EXCEEDED", kept},
	{"an error of WeChat's", answer{status: 500, body: `{"code":"SYSTEM_ERROR","message":"x"}`}, nil, "SYSTEM_ERROR", kept},
	{"an error of WeChat's that says that the card is confirmed", answer{status: 500, body: `{"code":"SYSTEM_ERROR","message":"会员卡已确认"}`}, nil, "SYSTEM_ERROR", kept},
	{"the signature is refused", answer{status: 401, body: `{"code":"SIGN_ERROR","message":"x"}`}, nil, "SIGN_ERROR", kept},
	{"a success that is signed wrongly", answer{status: 200, body: card, forged: true}, nil, "INVALID_RESPONSE", kept},
	{"an error that is signed wrongly", answer{status: 400, body: `{"code":"PARAM_ERROR","message":"x"}`, forged: true}, nil, "INVALID_RESPONSE", kept},
	{"a success that is not a card", answer{status: 200, body: `"EFFECTIVE"`}, nil, "INVALID_RESPONSE", kept},
	{"a success without a card", answer{status: 200, body: ``}, nil, "INVALID_RESPONSE", kept},
	{"a redirect", answer{status: 302}, nil, "INVALID_RESPONSE", kept},
	{"a bad parameter", answer{status: 400, body: `{"code":"PARAM_ERROR","message":"openid ` + openid + ` 无效"}`}, nil, "PARAM_ERROR", deadLettered},
	{"no authority", answer{status: 403, body: `{"code":"NO_AUTH","message":"商户暂无权限使用此功能"}`}, nil, "NO_AUTH", deadLettered},
	{"no such card", answer{status: 404, body: `{"code":"NOT_FOUND","message":"` + userCardCode + `"}`}, nil, "NOT_FOUND", deadLettered},

	{"confirmed already", already, &success, "", confirmedBefore},
	{"said to be confirmed, and is not", already, cardIn("UNACTIVATED"), "INVALID_REQUEST", deadLettered},
	{"said to be confirmed, and has expired", already, cardIn("EXPIRED"), "INVALID_REQUEST", deadLettered},
	{"said to be confirmed, and was refused", already, cardIn("INVALID"), "INVALID_REQUEST", deadLettered},
	{"said to be confirmed, and has no state", already, &answer{status: 200, body: `{"user_card_code":"1"}`}, "INVALID_REQUEST", deadLettered},
	{"said to be confirmed, and there is no such card", already, &answer{status: 404, body: `{"code":"RESOURCE_NOT_EXISTS","message":"x"}`}, "INVALID_REQUEST", deadLettered},
	{"said to be confirmed, and may not be queried", already, &answer{status: 403, body: `{"code":"NO_AUTH","message":"会员卡已确认"}`}, "INVALID_REQUEST", deadLettered},
	{"too many queries", already, &answer{status: 429, body: `{"code":"FREQUENCY_LIMITED","message":"x"}`}, "FREQUENCY_LIMITED", kept},
	{"an error of WeChat's at the query", already, &answer{status: 500, body: `{"code":"SYSTEM_ERROR","message":"x"}`}, "SYSTEM_ERROR", kept},
	{"the query's signature is refused", already, &answer{status: 401, body: `{"code":"SIGN_ERROR","message":"x"}`}, "SIGN_ERROR", kept},
	{"a queried card that is signed wrongly", already, &answer{status: 200, body: card, forged: true}, "INVALID_RESPONSE", kept},
	{"a query's answer that is not a card", already, &answer{status: 200, body: `"EFFECTIVE"`}, "INVALID_RESPONSE", kept},
}

func TestARefusedMessageIsDelayedOrDeadLettered(t *testing.T) {
	t.Parallel()
	for _, row := range refusals {
		for _, queues := range []struct{ name, url, deadLetters string }{
			{"with both queues", queueURL, deadLetters}, {"without queues", "", ""},
		} {
			t.Run(row.rule+", "+queues.name, func(t *testing.T) {
				t.Parallel()
				s := startSQS(t)
				w := startWeChatPay(t, row.answers()...)
				r := invoke(t, t.Context(), w.URL, signingtest.Merchant(t), newQueue(s.config(), queues.url, queues.deadLetters), 0, batch(t, 1, time.Now(), createdEvent()))
				calls := []string{"POST " + path + userCardCode + "/confirm " + confirmation, "GET " + path + userCardCode + asked}
				if !slices.Equal(w.calls, calls[:len(row.answers())]) {
					t.Errorf("WeChat got %q, want %q: the queue repeats calls", w.calls, calls[:len(row.answers())])
				}
				want := row.want
				if want == deadLettered && queues.deadLetters == "" {
					want = kept
				}
				r.requireCounts(t, map[string]float64{string(want): 1})
				if (want == kept) != slices.Equal(r.kept, []string{"message-0"}) {
					t.Errorf("SQS keeps %q", r.kept)
				}
				if row.want != confirmedBefore {
					r.requireFailure(t, row.code, eventID)
				}
				if r.records[0]["Throttled"] != nil {
					t.Errorf("a 429 is counted, though no caller waits: %s", r.log)
				}
				if delayed := len(s.delays) == 1; delayed != (row.want == kept && queues.url != "") {
					t.Errorf("delayed: %v", s.delays)
				}
				if want != deadLettered && len(s.letters) > 0 || want == deadLettered && !slices.Equal(s.letters, []letter{{createdEvent(), row.code, row.answer.message(t)}}) {
					t.Errorf("dead letters: %v", s.letters)
				}
			})
		}
	}
}

// TestTheAgeOfACard has a row for each batch: what WeChat Pay answers, how often and how
// long ago the messages came, and the metric ConfirmAge of the batch's record. A card that
// is confirmed at once writes none.
func TestTheAgeOfACard(t *testing.T) {
	busy := answer{status: 500, body: `{"code":"SYSTEM_ERROR","message":"x"}`}
	refused := answer{status: 403, body: `{"code":"NO_AUTH","message":"x"}`}
	for _, row := range []struct {
		rule     string
		answers  []answer // the last one for all further calls
		received int
		age      time.Duration // of the first message; that of the second is 0
		messages int
		want     any // seconds, or nil
	}{
		{"confirmed at once", []answer{success}, 1, time.Second, 1, nil},
		{"not confirmed", []answer{busy}, 1, 90 * time.Second, 1, 90.0},
		{"not confirmed for an hour", []answer{busy}, 8, time.Hour, 1, 3600.0},
		{"confirmed after retries", []answer{success}, 2, time.Hour, 1, 0.0},
		{"the older one of two is confirmed", []answer{success, busy}, 2, time.Hour, 2, 0.0},
		{"the younger one of two is confirmed", []answer{busy, success}, 2, time.Hour, 2, 3600.0},
		{"neither of two is confirmed", []answer{busy}, 2, time.Hour, 2, 3600.0},
		{"refused after retries: a dead letter has an alarm of its own", []answer{refused}, 3, time.Hour, 1, 0.0},
		{"received for the last time: a dead letter too", []answer{busy}, maxReceives, 6 * time.Hour, 1, 0.0},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			s, w := startSQS(t), startWeChatPay(t, row.answers...)
			sent := time.Now().Add(-row.age)
			bodies := slices.Repeat([]string{createdEvent()}, row.messages)
			r := invoke(t, t.Context(), w.URL, signingtest.Merchant(t), newQueue(s.config(), queueURL, deadLetters), 0, batch(t, row.received, sent, bodies...))
			if got := r.records[len(r.records)-1]["ConfirmAge"]; got != row.want && !(row.want != nil && got == row.want.(float64)+1) { // the clock goes on
				t.Errorf("ConfirmAge is %v, want %v: %s", got, row.want, r.log)
			}
			if row.received == maxReceives && len(s.letters) != 1 {
				t.Errorf("dead letters: %v", s.letters)
			}
		})
	}
}

func TestAMessageIsKeptWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		rule     string
		merchant *signing.Merchant
		code     string
	}{
		{"WeChat can't be reached", signingtest.Merchant(t), "UPSTREAM_UNREACHABLE"},
		{"no secret", nil, "CONFIG_ERROR"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			s := startSQS(t)
			r := invoke(t, t.Context(), gatewaytest.Nowhere, row.merchant, newQueue(s.config(), queueURL, deadLetters), 0, batch(t, 1, time.Now(), createdEvent()))
			r.requireFailure(t, row.code, eventID)
			r.requireCounts(t, map[string]float64{"kept": 1})
			if !slices.Equal(r.kept, []string{"message-0"}) || len(s.delays) != 1 || len(s.letters) > 0 {
				t.Errorf("kept %q, delayed %v, dead letters %v", r.kept, s.delays, s.letters)
			}
		})
	}
}

func TestAMalformedEventIsDeadLetteredAtOnce(t *testing.T) {
	without := func(member string) string {
		return event("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", strings.Replace(resource, `"`+member+`"`, `"another"`, 1))
	}
	const malformed, foreign = "EVENT_MALFORMED", "EVENT_FOREIGN"
	from := func(source string) string {
		return strings.Replace(createdEvent(), `"source":"membercard",`, source, 1)
	}
	for _, row := range []struct{ fault, code, body, event string }{
		{"no body", malformed, ``, ""},
		{"not JSON", malformed, `<xml/>`, ""},
		{"another kind of message", malformed, `{"Type":"Notification"}`, ""},
		{"another type of event", malformed, event("BRAND_MEMBER_CARD_SP.USER_CARD.DELETE", resource), eventID},
		{"no brand_id", malformed, without("brand_id"), eventID},
		{"no card_id", malformed, without("card_id"), eventID},
		{"no openid", malformed, without("openid"), eventID},
		{"no user_card_code", malformed, without("user_card_code"), eventID},
		{"a user_card_code for another path", malformed, event("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", strings.Replace(resource, userCardCode, "../1", 1)), eventID},
		{"openid in another case", malformed, event("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", strings.Replace(resource, `"openid"`, `"OpenID"`, 1)), eventID},
		{"brand_id as a number", malformed, event("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", strings.Replace(resource, `"1004"`, "1004", 1)), eventID},
		{"an id that is no notification's", malformed, strings.Replace(without("openid"), eventID, "openid="+openid, 1), ""},

		{"an event of somebody else", foreign, from(`"source":"com.example.crm",`), eventID},
		{"a source that begins with ours", foreign, from(`"source":"membercard.crm",`), eventID},
		{"an event of AWS", foreign, from(`"source":"aws.s3",`), eventID},
		{"an event without a source", foreign, from(``), eventID},
		{"a source in another case", foreign, from(`"source":"MemberCard",`), eventID},
		{"a source that is not a string", foreign, from(`"source":["membercard"],`), eventID},
		{"the source in the wrong place", foreign, from(`"detail.source":"membercard",`), eventID},
		{"another type of event of somebody else", foreign, strings.Replace(from(`"source":"x",`), ".CREATE", ".DELETE", -1), eventID},
	} {
		t.Run(row.fault, func(t *testing.T) {
			s := startSQS(t)
			w := startWeChatPay(t, success)
			r := invoke(t, t.Context(), w.URL, signingtest.Merchant(t), newQueue(s.config(), queueURL, deadLetters), 0, batch(t, 1, time.Now(), row.body))
			r.requireFailure(t, row.code, row.event)
			r.requireCounts(t, map[string]float64{"dead_lettered": 1})
			if len(r.kept) > 0 || len(w.calls) > 0 || len(s.letters) != 1 || s.letters[0].body != row.body || s.letters[0].code != row.code || s.letters[0].message == "" {
				t.Errorf("kept %q, calls %q, dead letters %v", r.kept, w.calls, s.letters)
			}
		})
	}
}

func TestAFailedMessageDoesNotStopTheOthers(t *testing.T) {
	s := startSQS(t)
	w := startWeChatPay(t, success, answer{status: 403, body: `{"code":"NO_AUTH","message":"x"}`}, already, success, success)
	r := invoke(t, t.Context(), w.URL, signingtest.Merchant(t), newQueue(s.config(), queueURL, deadLetters), 0, batch(t, 1, time.Now(), createdEvent(), createdEvent(), createdEvent(), `{}`, createdEvent()))
	r.requireCounts(t, map[string]float64{"confirmed": 2, "confirmed_before": 1, "dead_lettered": 2})
	if last := r.records[len(r.records)-1]; len(r.kept) > 0 || last["level"] != "WARN" || last["Code"] != "CONFIRMATIONS_FAILED" || last["messages"] != 5.0 {
		t.Errorf("kept %q: %s", r.kept, r.log)
	}
}

func TestAMessageIsKeptIfSQSFails(t *testing.T) {
	for _, row := range refusals {
		if row.want == confirmedBefore {
			continue
		}
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			s := startSQS(t)
			s.refuses = true
			r := invoke(t, t.Context(), startWeChatPay(t, row.answers()...).URL, signingtest.Merchant(t), newQueue(s.config(), queueURL, deadLetters), 0, batch(t, 1, time.Now(), createdEvent()))
			r.requireCounts(t, map[string]float64{"kept": 1})
			if !slices.Equal(r.kept, []string{"message-0"}) || len(r.records) != 3 || r.records[1]["cause"] != "SQS answered AccessDenied" {
				t.Errorf("kept %q: %s", r.kept, r.log)
			}
		})
	}
}

func TestTheDelayGrows(t *testing.T) {
	for _, row := range []struct {
		received   int
		retryAfter string
		from, to   time.Duration
	}{
		{1, "", 30 * time.Second, 45 * time.Second},
		{2, "", time.Minute, 90 * time.Second},
		{3, "", 2 * time.Minute, 3 * time.Minute},
		{7, "", 32 * time.Minute, 48 * time.Minute},
		{8, "", 40 * time.Minute, time.Hour},
		{maxReceives - 1, "", 40 * time.Minute, time.Hour},
		{1, "600", 10 * time.Minute, 10 * time.Minute},
		{1, "5", 30 * time.Second, 45 * time.Second},
	} {
		t.Run(fmt.Sprint(row.received, " ", row.retryAfter), func(t *testing.T) {
			t.Parallel()
			s := startSQS(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			w := startWeChatPay(t, answer{status: 429, body: `{"code":"RATELIMIT_EXCEEDED","message":"x"}`, retryAfter: row.retryAfter})
			invoke(t, ctx, w.URL, signingtest.Merchant(t), newQueue(s.config(), queueURL, deadLetters), 0, batch(t, row.received, time.Now(), createdEvent()))
			if got := s.delays["receipt-0"]; got < row.from || got > row.to {
				t.Errorf("%v, want %v to %v", got, row.from, row.to)
			}
		})
	}
}

func TestCallsKeepTheirInterval(t *testing.T) {
	t.Parallel()
	w := startWeChatPay(t, success, already, success)
	r := invoke(t, t.Context(), w.URL, signingtest.Merchant(t), newQueue(aws.Config{}, "", ""), callInterval, batch(t, 1, time.Now(), createdEvent(), createdEvent(), createdEvent()))
	end := time.Now()
	if len(w.times) != 4 || len(r.kept) > 0 {
		t.Fatalf("%d calls, kept %q", len(w.times), r.kept)
	}
	for i, next := range append(w.times[1:], end) {
		if gap := next.Sub(w.times[i]); gap < callInterval {
			t.Errorf("%v after call %d, want at least %v", gap, i+1, callInterval)
		}
	}
}

// answerTime is what an invocation leaves for its own answer.
const answerTime = 500 * time.Millisecond

func TestAMessageWithoutAnAnswerInTimeIsDelayed(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	w := tlsdialtest.Start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() { close(release) }) // before the server closes
	ctx, cancel := context.WithTimeout(t.Context(), answerTime+queueTimeout+minCallTime+200*time.Millisecond)
	defer cancel()
	s := startSQS(t)
	r := invoke(t, ctx, w.URL, signingtest.Merchant(t), newQueue(s.config(), queueURL, deadLetters), 0, batch(t, 1, time.Now(), createdEvent(), createdEvent()))
	r.requireFailure(t, "UPSTREAM_TIMEOUT", eventID)
	r.requireCounts(t, map[string]float64{"kept": 1, "deferred": 1})
	if !slices.Equal(r.kept, []string{"message-0", "message-1"}) || len(s.delays) != 1 {
		t.Errorf("kept %q, delayed %v", r.kept, s.delays)
	}
}

func TestMessagesAreDeferredWithoutTime(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), answerTime+callInterval+queueTimeout+minCallTime)
	defer cancel()
	s := startSQS(t)
	w := startWeChatPay(t, success)
	r := invoke(t, ctx, w.URL, signingtest.Merchant(t), newQueue(s.config(), queueURL, deadLetters), callInterval, batch(t, 1, time.Now(), createdEvent(), createdEvent()))
	r.requireCounts(t, map[string]float64{"deferred": 2})
	if !slices.Equal(r.kept, []string{"message-0", "message-1"}) || len(w.calls) > 0 || len(s.delays) > 0 || len(s.letters) > 0 {
		t.Errorf("kept %q, calls %q", r.kept, w.calls)
	}
}

func TestACardIsNotAskedForWithoutTime(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), answerTime+callInterval+queueTimeout+minCallTime+callInterval/2)
	defer cancel()
	s := startSQS(t)
	w := startWeChatPay(t, already)
	r := invoke(t, ctx, w.URL, signingtest.Merchant(t), newQueue(s.config(), queueURL, deadLetters), callInterval, batch(t, 1, time.Now(), createdEvent()))
	r.requireCounts(t, map[string]float64{"deferred": 1})
	if !slices.Equal(r.kept, []string{"message-0"}) || len(w.calls) != 1 || len(s.delays) > 0 || len(s.letters) > 0 {
		t.Errorf("kept %q, calls %q", r.kept, w.calls)
	}
}

func TestTheFunctionHandlesRequestsAndBatches(t *testing.T) {
	w := startWeChatPay(t, success)
	log, records := telemetrytest.New()
	client := signingtest.Client(signingtest.Source(t), w.URL)
	f := newFunction(log, client, newQueue(aws.Config{}, "", ""))
	if o := gatewaytest.Invoke(t, f, records, post(userCardCode, example)); o.Status != 200 || o.Body != card {
		t.Errorf("%d %s", o.Status, o.Body)
	}
	for _, event := range []string{`{}`, `null`, `{"Records":null}`, `{"Records":"x"}`, `{"action":"confirm"}`} {
		if _, err := f.Invoke(t.Context(), []byte(event)); err == nil {
			t.Errorf("%s is taken", event)
		}
	}
}

// A refusal that is final has a cure that is its own, in the log and for a caller. The
// first row is the refusal that the sandbox has a button for.
func TestTheCureOfARefusal(t *testing.T) {
	for _, row := range []struct {
		status              int
		code, message, cure string
	}{
		{400, "INVALID_REQUEST", "品牌会员卡模板已失效", "the card's template is no longer valid"},
		{400, "INVALID_REQUEST", "用户会员卡已失效", "there is nothing to confirm"},
		{400, "INVALID_REQUEST", "用户会员卡已确认，请勿重复确认", "query the card"},
		{400, "INVALID_REQUEST", "品牌ID、会员卡模板ID或用户标识与用户会员卡不匹配", "as they are in the notification"},
		{400, "INVALID_REQUEST", "其他", "do what WeChat's message (of a dead letter: ErrorMessage) says"},
		{400, "PARAM_ERROR", "参数错误", "correct the request"},
		{403, "NO_AUTH", "商户暂无权限使用此功能", "have WeChat Pay open brand cards"},
		{403, "RULE_LIMIT", "规则限制", "which rule it is"},
		{404, "RESOURCE_NOT_EXISTS", "用户会员卡不存在", "WeChat Pay has no such card"},
		{404, "NOT_FOUND", "请求的资源不存在", "check that the endpoints are WeChat Pay's"},
		{400, "ANOTHER_CODE", "其他", "look the code up"},
	} {
		t.Run(row.code+" "+row.message, func(t *testing.T) {
			refusal := answer{status: row.status, body: fmt.Sprintf(`{"code":%q,"message":%q}`, row.code, row.message)}
			got := invoke(t, t.Context(), startWeChatPay(t, refusal).URL, signingtest.Merchant(t), newQueue(startSQS(t).config(), queueURL, deadLetters), 0, batch(t, 1, time.Now(), createdEvent()))
			got.requireFailure(t, row.code, eventID)
			if cure, _ := got.records[0]["cure"].(string); !strings.Contains(cure, row.cure) || strings.Contains(got.log, row.message) {
				t.Errorf("%s, want the cure %q and not WeChat's message", got.log, row.cure)
			}
		})
	}
}
