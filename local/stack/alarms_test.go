package stack_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/aws"
	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/local/template"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

// This file plays days of CloudWatch: the alarms are the template's, the metrics are what
// the binaries emit, and the rules are those of the CloudWatch User Guide. The runbook has
// the times that the rows of TestAlarms show.

const (
	minutes = 24 * 60 // of a day
	ours    = "MemberCard/local"
)

// point is a data point of a metric, whose name is as [metricName] has it.
type point struct {
	metric string
	value  float64
}

// cloudwatchAlarm has the properties of an alarm. It goes on when all of its
// EvaluationPeriods breach the threshold: DatapointsToAlarm is not supported.
type cloudwatchAlarm struct {
	metric             // of an alarm without Metrics
	Metrics []struct { // an expression, and what it refers to
		Id, Expression string
		ReturnData     *bool
		MetricStat     *struct {
			Metric metric
			Stat   string
			Period template.Number // seconds
		}
	}

	Threshold          template.Number
	ComparisonOperator string
	EvaluationPeriods  template.Number
	TreatMissingData   string

	EvaluateLowSampleCountPercentile                 string
	AlarmActions, InsufficientDataActions, OKActions []string
	AlarmDescription                                 string
}

// metric is a metric of CloudWatch and how its data points are made.
type metric struct {
	Namespace, MetricName        string
	Dimensions                   []struct{ Name, Value string }
	Statistic, ExtendedStatistic string
	Period                       template.Number // seconds

	name string // as [metricName] has it
}

func metricName(m metric) string {
	name := m.Namespace + " " + m.MetricName
	for _, d := range m.Dimensions {
		name += " " + d.Value
	}
	return name
}

// day has the data points of each metric, by minute.
type day map[string]map[int][]repeated

type repeated struct {
	value float64
	times int
}

// put adds data points in a minute, each so many times.
func (d day) put(minute, times int, points ...point) {
	for _, p := range points {
		if d[p.metric] == nil {
			d[p.metric] = map[int][]repeated{}
		}
		d[p.metric][minute] = append(d[p.metric][minute], repeated{p.value, times})
	}
}

// statistic is over the minutes from begin to end; missing if there is no data. low is
// set if a percentile has too few samples: fewer than 10 / (1 - percentile).
func (d day) statistic(metric, statistic string, begin, end int) (value float64, missing, low bool) {
	points := d[metric]
	if points == nil {
		return 0, true, false
	}
	var found []repeated
	n := 0
	for minute := begin; minute < end; minute++ {
		for _, r := range points[minute] {
			found = append(found, r)
			n += r.times
		}
	}
	if n == 0 {
		return 0, true, false
	}
	slices.SortFunc(found, func(a, b repeated) int { return int(a.value - b.value) })
	switch statistic {
	case "Sum":
		for _, r := range found {
			value += r.value * float64(r.times)
		}
	case "Maximum":
		value = found[len(found)-1].value
	case "p99":
		rank := n - n/100
		for _, r := range found {
			if rank -= r.times; rank <= 0 {
				return r.value, false, n < 1000
			}
		}
	default:
		panic("no statistic " + statistic)
	}
	return value, false, false
}

// truth is what AWS's pages leave open, or have changed.
type truth struct {
	// aligned periods begin at multiples of their length, and only whole ones count.
	// “Alarm evaluation window” has sliding ones by default, which older pages don't say.
	aligned bool
	// start is the minute of the hour at which the day begins, for aligned periods.
	start int
	// extra data points, from further back, are retrieved where some are missing.
	// “Configuring how CloudWatch alarms treat missing data” says so without the
	// number; its example has 2.
	extra int
	// fills says that FILL fills a range without any data point. “Using metric math” does
	// not say.
	fills bool
}

type state string

const (
	ok           state = "OK"
	alarm        state = "ALARM"
	insufficient state = "INSUFFICIENT_DATA"
)

// evaluate returns the state that follows from the data points of the evaluation range, the
// newest first, where nil is missing: see “How alarm state is evaluated when data is
// missing”. All of needed points have to breach.
func evaluate(before state, breaching []*bool, needed int, treatMissing string) state {
	var existing []bool
	for _, b := range breaching {
		if b != nil && len(existing) < needed {
			existing = append(existing, *b)
		}
	}
	switch {
	case slices.Contains(existing, false):
		return ok
	case len(existing) == needed:
		return alarm
	}
	switch treatMissing {
	case "breaching":
		return alarm
	case "notBreaching":
		return ok
	case "ignore":
		return before
	}
	if len(existing) == 0 {
		return insufficient
	}
	// The oldest point decides whether it is premature to go to ALARM.
	for i := needed - 1; i < len(breaching); i++ {
		if breaching[i] != nil {
			return alarm
		}
	}
	return before
}

// AWS's own examples, in the first table of the page that [evaluate] follows.
func TestEvaluate(t *testing.T) {
	const retain = state("the state before")
	for _, row := range []struct {
		points                                 string // oldest first; X is breaching
		missing, ignore, breaching, noBreaches state
	}{
		{"0-X-X", ok, ok, ok, ok},
		{"0----", ok, ok, ok, ok},
		{"-----", insufficient, retain, alarm, ok},
		{"0XX-X", alarm, alarm, alarm, alarm},
		{"--X--", alarm, retain, alarm, ok},
		{"----X", retain, retain, alarm, ok}, // “avoiding premature transitions to alarm state”
		{"---X-", retain, retain, alarm, ok},
	} {
		var points []*bool
		for _, c := range row.points {
			var p *bool
			if c != '-' {
				breaches := c == 'X'
				p = &breaches
			}
			points = append([]*bool{p}, points...)
		}
		for treat, want := range map[string]state{"missing": row.missing, "ignore": row.ignore, "breaching": row.breaching, "notBreaching": row.noBreaches} {
			if got := evaluate(retain, points, 3, treat); got != want {
				t.Errorf("%s, %s: %s, want %s", row.points, treat, got, want)
			}
		}
	}
}

// watched is an alarm and what happened to it in a day.
type watched struct {
	cloudwatchAlarm
	logicalID     string
	period        int // minutes
	state         state
	on            []int // the minutes in which it went on and off, by turns
	notifications int
}

// value is the alarm's data point over the minutes from begin to end.
func (w *watched) value(d day, begin, end int) (value float64, missing, low bool) {
	if w.Metrics == nil {
		statistic := w.Statistic + w.ExtendedStatistic
		return d.statistic(w.name, statistic, begin, end)
	}
	missing = true
	for _, m := range w.Metrics {
		if m.MetricStat != nil {
			if v, none, _ := d.statistic(m.MetricStat.Metric.name, m.MetricStat.Stat, begin, end); !none {
				value, missing = value+v, false
			}
		}
	}
	return value, missing, false
}

// fills returns whether the alarm has an expression, which is FILL(…, 0).
func (w *watched) fills(t *testing.T) bool {
	for _, m := range w.Metrics {
		switch {
		case m.Expression == "":
		case m.Expression == "FILL(m0, 0)" || m.Expression == "FILL(SUM(METRICS()), 0)":
			return true
		default:
			t.Fatalf("%s: the expression %s is not known here", w.logicalID, m.Expression)
		}
	}
	return false
}

// step evaluates the alarm at the end of a minute.
func (w *watched) step(t *testing.T, d day, now int, truth truth) {
	needed := int(w.EvaluationPeriods)
	end := now
	if truth.aligned {
		end -= (now + truth.start) % w.period
	}
	var points []*bool
	empty := true
	for i := range needed + truth.extra {
		value, missing, low := w.value(d, end-(i+1)*w.period, end-i*w.period)
		if low && w.EvaluateLowSampleCountPercentile == "ignore" && i < needed {
			return
		}
		empty = empty && missing
		var p *bool
		if !missing || w.fills(t) {
			breaches := value >= float64(w.Threshold)
			if w.ComparisonOperator == "LessThanThreshold" {
				breaches = value < float64(w.Threshold)
			}
			p = &breaches
		}
		points = append(points, p)
	}
	if empty && !truth.fills {
		points = make([]*bool, len(points))
	}
	after := evaluate(w.state, points, needed, w.TreatMissingData)
	if after == w.state {
		return
	}
	actions := map[state][]string{alarm: w.AlarmActions, insufficient: w.InsufficientDataActions, ok: w.OKActions}
	w.notifications += len(actions[after])
	isOn := func(s state) bool { return s == alarm || s == insufficient && len(w.InsufficientDataActions) > 0 }
	if isOn(after) != (len(w.on)%2 == 1) {
		w.on = append(w.on, now)
	}
	w.state = after
}

func clock(minute int) string { return fmt.Sprintf("%d:%02d", minute/60, minute%60) }

// String says when the alarm was on, and how often it notified.
func (w *watched) String() string {
	text := w.logicalID
	for i := 0; i < len(w.on); i += 2 {
		text += " " + clock(w.on[i]) + "–"
		if i+1 < len(w.on) {
			text += clock(w.on[i+1])
		}
	}
	return text + " ×" + strconv.Itoa(w.notifications)
}

// play returns the alarms that went on or notified, by logical ID.
func play(t *testing.T, alarms map[string]json.RawMessage, d day, truth truth) map[string]*watched {
	t.Helper()
	found := map[string]*watched{}
	for id, properties := range alarms {
		w := &watched{logicalID: id, state: insufficient}
		decoder := json.NewDecoder(bytes.NewReader(properties))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&w.cloudwatchAlarm); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		w.period, w.name = int(w.Period)/60, metricName(w.metric)
		for _, m := range w.Metrics {
			if m.MetricStat != nil {
				w.period, m.MetricStat.Metric.name = int(m.MetricStat.Period)/60, metricName(m.MetricStat.Metric)
			}
		}
		for now := 1; now <= minutes; now++ {
			w.step(t, d, now, truth)
		}
		if len(w.on) > 0 && !(len(w.on) == 1 && w.TreatMissingData == "missing" && w.state == ok) || w.notifications > 0 {
			found[id] = w
		}
	}
	return found
}

// emissions is what the binaries emit in each situation of the days.
type emissions struct {
	keyAccepted, keyRefused                     []point
	planMissing, planBad, planApplied, planDown []point
	ticketMissing, ticketFailed, ticketRenewed  []point
	tokenGiven, tokenDown, tokenThrottled       []point
	cardDone, deadLetter                        []point
	cardRetried                                 func(age time.Duration, received int, others int, fails bool) []point
	eventLost, secretMalformed                  []point
}

// emits returns the metrics in the records that a function writes while do is run. The last
// record has a text.
func (r *running) emits(last string, do func()) (points []point) {
	r.t.Helper()
	r.log.Reset()
	do()
	r.log.waitFor(r.t, last)
	for line := range strings.Lines(r.log.String()) {
		var record map[string]any
		var embedded struct {
			AWS struct {
				CloudWatchMetrics []struct {
					Namespace  string
					Dimensions [][]string
					Metrics    []struct{ Name string }
				}
			} `json:"_aws"`
		}
		if json.Unmarshal([]byte(line), &record) != nil || json.Unmarshal([]byte(line), &embedded) != nil {
			continue // the text of an error, which aws-lambda-go writes
		}
		for _, directive := range embedded.AWS.CloudWatchMetrics {
			for _, m := range directive.Metrics {
				value, isNumber := record[m.Name].(float64)
				if directive.Namespace != ours || len(directive.Dimensions) != 1 || len(directive.Dimensions[0]) != 0 || !isNumber {
					r.t.Errorf("no metric of ours: %s", line)
				}
				points = append(points, point{ours + " " + m.Name, value})
			}
		}
	}
	return points
}

// observe runs the binaries in each situation.
func observe(t *testing.T) (e emissions) {
	r := startAs(t, stack.Config{Keys: wechatpay.Both, Unthrottled: true})
	invoke := func(f *lambda.Function, event string) func() {
		return func() {
			if _, err := f.Invoke(t.Context(), []byte(event)); err != nil {
				t.Error(err)
			}
		}
	}
	function := func(folder string) *lambda.Function {
		if r.Functions[folder] == nil {
			t.Fatalf("there is no %s", folder)
		}
		return r.Functions[folder]
	}
	request := func(status int) func() {
		return func() {
			if a := r.mint(); a.status != status {
				t.Errorf("answered %d, want %d", a.status, status)
			}
		}
	}
	broken := func(f sandbox.Fault, do func() []point) []point {
		for endpoint := range 2 {
			r.WeChatPay.Break(endpoint, f, -1)
			r.OfficialAccount.Break(endpoint, f, -1)
		}
		defer r.WeChatPay.Heal()
		defer r.OfficialAccount.Heal()
		return do()
	}
	// Without the queues' URLs no message has to be in them.
	config := r.Configs["functions/brand-confirm"]
	config.Environment = maps.Clone(config.Environment)
	config.Environment["CONFIRM_QUEUE_URL"] = ""
	brandConfirm := lambda.New(config)
	t.Cleanup(func() { brandConfirm.Close() })
	n := r.brandCard()
	// batch has a card with a code, and others that are received for the first time.
	batch := func(code string, age time.Duration, received, others int) string {
		var batch events.SQSEvent
		for i := range others + 1 {
			code, sent, times := code, time.Now().Add(-age), received
			if i > 0 {
				code, sent, times = n.Code, time.Now(), 1
			}
			body := fmt.Sprintf(`{"source":"membercard","detail-type":%q,"detail":{"id":"EV-1","resource":{"brand_id":%q,"card_id":%q,"openid":%q,"user_card_code":%q}}}`,
				cardCreated, n.BrandID, n.CardID, n.OpenID, code)
			batch.Records = append(batch.Records, events.SQSMessage{MessageId: strconv.Itoa(i), Body: body, EventSource: "aws:sqs", Attributes: map[string]string{
				"ApproximateReceiveCount": strconv.Itoa(times), "SentTimestamp": strconv.FormatInt(sent.UnixMilli(), 10),
			}})
		}
		text, err := json.Marshal(batch)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const confirmed = `"message":"batch confirmed"`
	e.cardDone = r.emits(confirmed, invoke(brandConfirm, batch(n.Code, 0, 1, 0)))
	const failing = "100500"
	r.WeChatPay.LimitConfirmations(0)
	r.WeChatPay.LimitQueries(0)
	r.WeChatPay.RefuseIf(func(q *wechatpay.Request) (int, string, string) {
		if strings.Contains(q.URI, failing) {
			return 500, "SYSTEM_ERROR", "x"
		}
		return 0, "", ""
	})
	// Each attempt has a function with its own log, so that many can be made at the same time.
	e.cardRetried = func(age time.Duration, received, others int, fails bool) []point {
		config, code := config, n.Code
		if fails {
			code = failing
		}
		log := new(logBuffer)
		config.Log = log
		f := lambda.New(config)
		defer f.Close()
		return (&running{r.Stack, t, log}).emits(confirmed, invoke(f, batch(code, age, received, others)))
	}
	e.deadLetter = broken(sandbox.Status(400, `{"code":"INVALID_REQUEST","message":"x"}`), func() []point {
		return r.emits(confirmed, invoke(brandConfirm, batch(n.Code, 0, 1, 0)))
	})
	if len(r.Queues.Get("ConfirmDeadLetters").Messages()) != 1 {
		t.Error("there is no dead letter")
	}

	const sync, refresh, check = `{"action":"sync"}`, `{"action":"refresh"}`, `{"action":"check"}`
	e.planMissing = r.emits("there is no plan yet", invoke(function(cardSync), sync))
	e.planBad = r.emits("INVALID_PLAN", invoke(function(cardSync), `{"action":"sync","plan":{"cards":1}}`))
	plan := `{"action":"sync","plan":{"cards":[{"card_id":"` + memberCard + `","fields":{"custom_url":"https://example.com/"}}]}}`
	e.planApplied = r.emits(`"message":"synced"`, invoke(function(cardSync), plan))

	const ext = "/card/ext"
	e.ticketMissing = r.emits("TICKET_UNAVAILABLE", func() { r.post(ext, `{"card_id":"`+memberCard+`"}`) })
	e.ticketRenewed = r.emits("the card ticket is valid", invoke(function("functions/card-ext"), refresh))
	r.Secrets.Put("CardTicket", "{}")

	e.keyAccepted = r.emits(`"Function":"KeyCheckFunction"`, invoke(function("functions/key-check"), check))
	e.tokenGiven = r.emits(`"message":"answered"`, request(200))
	e.tokenThrottled = broken(sandbox.Status(429, `{"code":"FREQUENCY_LIMIT_EXCEED","message":"x"}`), func() []point {
		return r.emits("FREQUENCY_LIMIT_EXCEED", request(429))
	})
	r.Events.Fail(&aws.Fault{Entry: true, Code: "InternalFailure"})
	e.eventLost = r.emits("EVENT_BUS_UNAVAILABLE", func() { r.notify() })
	r.Events.Fail(nil)
	down := sandbox.Status(503, `{"code":"SYSTEM_ERROR","message":"x"}`)
	e.planDown = broken(down, func() []point { return r.emits(`"message":"synced"`, invoke(function(cardSync), plan)) })
	e.ticketFailed = broken(down, func() []point {
		return r.emits("the card ticket is not renewed", invoke(function("functions/card-ext"), refresh))
	})
	e.tokenDown = broken(down, func() []point { return r.emits(`"Code":"SYSTEM_ERROR"`, request(http.StatusBadGateway)) })
	r.WeChatPay.RotateMerchantKey()
	e.keyRefused = r.emits("KeyCheckFailures", invoke(function("functions/key-check"), check))
	r.Secrets.Put(stack.MerchantSecret, "{}")
	e.secretMalformed = r.emits("the secret is malformed", func() {
		starting := lambda.New(r.Configs["functions/merchant-token"])
		t.Cleanup(func() { starting.Close() })
		if _, err := starting.Start(); err != nil {
			t.Error(err)
		}
	})
	r.Secrets.Put(stack.MerchantSecret, r.WeChatPay.MerchantSecret(wechatpay.Both))
	return e
}

// requests puts answered requests of the API: API Gateway writes 5xx and Latency for each.
func (d day) requests(minute, n int, failed bool, latency float64, emitted []point) {
	value := 0.0
	if failed {
		value = 1
	}
	d.put(minute, n, point{"AWS/ApiGateway 5xx Api", value}, point{"AWS/ApiGateway Latency Api", latency})
	d.put(minute, n, emitted...)
}

// waits puts a message that waits in a queue. SQS writes the number of messages each minute
// while the queue is active: while it has messages, or for six hours after it was used.
func (d day) waits(queue string, from, to, activeFor int) {
	for minute := from; minute < min(from+activeFor, to); minute++ {
		d.put(minute, 1, point{"AWS/SQS ApproximateNumberOfMessagesVisible " + queue + ".QueueName", 1})
	}
	for minute := to; minute < min(to+6*60, minutes); minute++ { // to empty it is to use it
		d.put(minute, 1, point{"AWS/SQS ApproximateNumberOfMessagesVisible " + queue + ".QueueName", 0})
	}
}

// schedules puts what the schedules do in a day with a plan and a valid key, except as
// given.
func (e *emissions) schedules(d day, sync, check func(minute int) []point) {
	for minute := 5; minute < minutes; minute += 5 {
		if points := sync(minute); points != nil {
			d.put(minute, 1, points...)
		}
		d.put(minute, 1, point{"AWS/Events Invocations CardSyncFunctionTimer", 1})
	}
	for minute := 60; minute < minutes; minute += 60 {
		d.put(minute, 1, check(minute)...)
	}
	d.put(5, 1, e.ticketRenewed...)
}

func always(points []point) func(int) []point { return func(int) []point { return points } }

// within returns points in a part of the day, and others in the rest.
func within(from, to int, points, others []point) func(int) []point {
	return func(minute int) []point {
		if from <= minute && minute < to {
			return points
		}
		return others
	}
}

func TestAlarms(t *testing.T) {
	t.Parallel()
	e := observe(t)
	// retried puts a card that is tried again after each delay, and then done. Others are in
	// its batches, and done at once.
	retried := func(d day, begin int, delays []float64, others int) {
		emitted, starts := make([][]point, len(delays)+1), make([]int, len(delays)+1)
		var attempts sync.WaitGroup
		at := 0.0 // minutes
		for i, delay := range slices.Concat(delays, []float64{0}) {
			starts[i] = begin + int(at)
			age := time.Duration(at * float64(time.Minute))
			attempts.Go(func() { emitted[i] = e.cardRetried(age, i+1, others, i < len(delays)) })
			at += delay
		}
		attempts.Wait()
		for i, points := range emitted {
			d.put(starts[i], 1, points...)
		}
	}
	// The pauses between attempts, in minutes, without jitter and with the most.
	least := []float64{0.5, 1, 2, 4, 8, 16, 32, 40, 40}
	most := []float64{0.75, 1.5, 3, 6, 12, 24, 48, 60}
	const noLimit = minutes
	for _, row := range []struct {
		name       string
		parameters map[string]string
		play       func(day)
		// Each alarm that goes on: when it goes on and off if periods slide and no extra
		// data points are retrieved, and how often it notifies.
		want []string
	}{
		{"quiet: a fresh stack without plan, ticket and requests", nil, func(d day) {
			e.schedules(d, always(e.planMissing), always(e.keyAccepted))
		}, nil},
		{"quiet: a day with requests, some slow", nil, func(d day) {
			e.schedules(d, always(e.planApplied), always(e.keyAccepted))
			for minute := range minutes {
				d.requests(minute, 3, false, 200, e.tokenGiven)
				d.put(minute, 3, e.cardDone...)
				if minute%30 == 0 {
					d.requests(minute, 1, false, 5000, e.tokenGiven)
				}
			}
		}, nil},
		{"a key is refused for six hours", nil, func(d day) {
			e.schedules(d, always(e.planApplied), within(60, 7*60, slices.Concat(e.keyRefused, e.keyRefused), e.keyAccepted))
			d.waits("FailedInvocations", 60, 8*60, noLimit)
		}, []string{"KeyCheckAlarm 1:01–7:16 ×1", "FailedInvocationsAlarm 1:01–8:05 ×1"}},
		{"a key is refused for a day, checked every six hours", map[string]string{"KeyCheckRate": "rate(6 hours)"}, func(d day) {
			for minute := 2 * 60; minute < minutes; minute += 6 * 60 {
				d.put(minute, 1, e.keyRefused...)
			}
		}, []string{"KeyCheckAlarm 2:01– ×1"}},
		{"a card is retried for two hours, low traffic", nil, func(d day) { retried(d, 60, least, 0) }, []string{"ConfirmAgeAlarm 1:16–3:24 ×1"}},
		{"a card is retried for two hours, low traffic, most jitter", nil, func(d day) { retried(d, 60, most, 0) }, []string{"ConfirmAgeAlarm 1:24–3:36 ×1"}},
		{"a card is retried for two hours, high traffic", nil, func(d day) {
			retried(d, 60, least, 1)
			for minute := range minutes {
				d.put(minute, 20, e.cardDone...)
			}
		}, []string{"ConfirmAgeAlarm 1:16–3:24 ×1"}},
		{"a card is retried for two hours while others are, and done before it", nil, func(d day) {
			retried(d, 60, least, 0)
			retried(d, 110, least[:1], 0)
		}, []string{"ConfirmAgeAlarm 1:16–1:51 2:04–3:24 ×2"}},
		{"a card is retried for a quarter of an hour, with the least threshold", map[string]string{"ConfirmAgeThreshold": "300"}, func(d day) { retried(d, 60, least[:5], 0) }, []string{"ConfirmAgeAlarm 1:08–1:16 ×1"}},
		{"the plan is bad for a day, and a notification is lost", nil, func(d day) {
			e.schedules(d, always(e.planBad), always(e.keyAccepted))
			d.waits("UndeliveredEvents", 5*60, 9*60, noLimit)
		}, []string{"SyncFailuresAlarm 0:06– ×1", "UndeliveredEventsAlarm 5:01–9:05 ×1"}},
		{"the plan is bad for an hour, applied each hour", map[string]string{"SyncRate": "rate(1 hour)"}, func(d day) {
			d.put(60, 1, e.planBad...)
			d.put(120, 1, e.planApplied...)
		}, []string{"SyncFailuresAlarm 1:01–2:16 ×1"}},
		{"the plan is bad, applied only when it changes", map[string]string{"SyncSchedule": "DISABLED"}, func(d day) {
			d.put(60, 1, e.planBad...)
		}, []string{"SyncFailuresAlarm 1:01–1:11 ×1"}},
		{"the bus does not take a notification, which comes again", nil, func(d day) {
			d.requests(60, 1, true, 700, e.eventLost)
		}, []string{"OperatorErrorsAlarm 1:01–1:06 ×1"}},
		{"the ticket is not renewed for two hours", nil, func(d day) {
			for minute := 60; minute < 180; minute += 5 {
				d.put(minute, 1, e.ticketFailed...)
			}
		}, []string{"TicketFailuresAlarm 1:11–3:06 ×1"}},
		{"a page asks before the first ticket", nil, func(d day) { d.requests(2, 1, true, 200, e.ticketMissing) }, []string{"OperatorErrorsAlarm 0:03–0:08 ×1"}},
		{"WeChat is down for ten minutes, high traffic", nil, func(d day) {
			e.schedules(d, within(60, 70, e.planDown, e.planApplied), always(e.keyAccepted))
			for minute := range minutes {
				if minute >= 60 && minute < 70 {
					d.requests(minute, 60, true, 2500, e.tokenDown)
				} else {
					d.requests(minute, 60, false, 200, e.tokenGiven)
				}
			}
		}, []string{"ApiErrorsAlarm 1:01–1:15 ×1", "UpstreamErrorsAlarm 1:06–1:15 ×1", "SyncFailuresAlarm 1:01–1:16 ×1"}},
		{"WeChat is down for ten minutes, low traffic", nil, func(d day) {
			for minute := range minutes {
				if minute >= 60 && minute < 70 {
					d.requests(minute, 3, true, 2500, e.tokenDown)
				} else {
					d.requests(minute, 3, false, 200, e.tokenGiven)
				}
			}
		}, []string{"ApiErrorsAlarm 1:04–1:12 ×1"}},
		{"a campaign of 10,000 in ten minutes", nil, func(d day) {
			e.schedules(d, always(e.planApplied), always(e.keyAccepted))
			for minute := 60; minute < 70; minute++ {
				d.requests(minute, 300, false, 250, e.tokenGiven) // 5 a second
				d.requests(minute, 700, false, 250, e.tokenThrottled)
			}
			for minute := 60; minute < 75; minute++ { // 4 a second, for 3,000 cards
				d.put(minute, 240, e.cardDone...)
			}
		}, []string{"WechatThrottledAlarm 1:01–1:15 ×1"}},
		{"dead letters, for five hours", nil, func(d day) {
			d.put(60, 1, e.deadLetter...)
			d.waits("ConfirmDeadLetters", 60, 6*60, noLimit)
		}, []string{"DeadLettersAlarm 1:01–6:05 ×1"}},
		{"dead letters, for twelve hours, of which SQS reports six", nil, func(d day) {
			d.put(60, 1, e.deadLetter...)
			d.waits("ConfirmDeadLetters", 60, 13*60, 6*60)
		}, []string{"DeadLettersAlarm 1:01–13:01 ×1"}},
		{"two faults at once", nil, func(d day) {
			e.schedules(d, always(e.planApplied), within(60, 3*60, e.keyRefused, e.keyAccepted))
			d.waits("FailedInvocations", 60, 3*60, noLimit)
			d.waits("ConfirmDeadLetters", 60, 3*60, noLimit)
		}, []string{"KeyCheckAlarm 1:01–3:16 ×1", "FailedInvocationsAlarm 1:01–3:05 ×1", "DeadLettersAlarm 1:01–3:05 ×1"}},
		{"the account's concurrency limit refuses pages for five minutes", nil, func(d day) {
			for minute := 60; minute < 65; minute++ {
				d.put(minute, 4, point{"AWS/Lambda Throttles MerchantTokenFunction", 1})
				d.put(minute, 100, point{"AWS/Lambda Throttles CardSyncFunction", 1})
			}
		}, []string{"LambdaThrottlesAlarm 1:03–1:08 ×1"}},
		{"the schedules stop, and somebody looks with dry runs", nil, func(d day) {
			for minute := 5; minute < 5*60; minute += 5 {
				d.put(minute, 1, point{"AWS/Events Invocations CardSyncFunctionTimer", 1})
			}
			for minute := 5; minute < 7*60; minute += 5 {
				d.put(minute, 1, point{"AWS/Events Invocations ServiceModuleSyncFunctionTimer", 1})
			}
			for minute := 8 * 60; minute < 9*60; minute += 10 {
				d.put(minute, 1, point{"AWS/Lambda Invocations CardSyncFunction", 1}, point{"AWS/Lambda Invocations ServiceModuleSyncFunction", 1})
			}
		}, []string{"SyncOverdueAlarm 5:56– ×1", "ModuleSyncOverdueAlarm 7:56– ×1"}},
		{"a secret that is malformed for an hour", nil, func(d day) {
			for minute := 60; minute < 2*60; minute += 5 {
				d.put(minute, 1, e.secretMalformed...)
			}
		}, []string{"SecretFailuresAlarm 1:01–2:11 ×1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			parameters := map[string]string{"MerchantSecretArn": "m", "OfficialAccountSecretArn": "o", "AlarmTopicArn": "t"}
			maps.Copy(parameters, row.parameters)
			read, err := template.Read("../../template.yaml", parameters)
			if err != nil {
				t.Fatal(err)
			}
			d := day{}
			row.play(d)
			simple := play(t, read.Alarms, d, truth{})
			var got []string
			for _, w := range simple {
				got = append(got, w.String())
			}
			slices.Sort(got)
			slices.Sort(row.want)
			if !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
			// Whatever is true, the same alarms notify as often. They go on and off later by
			// the periods that they look at.
			for _, other := range []truth{
				{extra: 2}, {extra: 2, fills: true}, {aligned: true}, {aligned: true, start: 17}, {aligned: true, start: 31, extra: 2, fills: true}, {aligned: true, start: 44, extra: 2},
			} {
				differs := play(t, read.Alarms, d, other)
				if !slices.Equal(slices.Sorted(maps.Keys(differs)), slices.Sorted(maps.Keys(simple))) {
					t.Errorf("%+v: on are %v", other, differs)
				}
				for name, w := range differs {
					s := simple[name]
					if s == nil || w.notifications != s.notifications || len(w.on) != len(s.on) {
						t.Errorf("%+v: %v, otherwise %v", other, w, s)
						continue
					}
					needed := int(w.EvaluationPeriods)
					for i := range w.on {
						latest := s.on[i] + w.period*needed
						if (i%2 == 1 || w.TreatMissingData == "missing") && !w.fills(t) {
							latest += w.period * other.extra
						}
						if w.on[i] < s.on[i] || w.on[i] > latest {
							t.Errorf("%+v: %v, otherwise %v", other, w, s)
						}
					}
				}
			}
		})
	}
}
