package journey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"membercard/local/aws"
	"membercard/local/stack"
	"membercard/local/wechatpay"
)

const (
	openInterval = 100 * time.Millisecond // between two cards that are opened
	resend       = 2 * time.Second        // WeChat Pay's is 60
	queueSpeed   = 10                     // of the queue's delays
	allowed      = 5                      // confirmations a second, WeChat Pay's limit
	phone        = "13900000000"          // in the sandbox's notifications
)

// Many takes n brand cards from the token to a member and writes figures to w. A tenth
// of the notifications are forged. A tenth of the answers are lost, a tenth of the
// notifications come twice, and a tenth each of the first attempts to confirm are refused
// with 429 and with 500; one card may have several of these troubles, and seed decides
// which. In the middle the bus is down for a while.
//
// It fails unless every card of which WeChat Pay has notified is confirmed exactly once,
// no forgery has an effect, WeChat Pay receives at most 5 confirmations in any second,
// and no log has personal data.
func Many(ctx context.Context, w io.Writer, project *stack.Project, n int, seed uint64) error {
	log := new(logBuffer)
	s, err := project.Start(stack.Config{Address: "127.0.0.1:0", QueueSpeed: queueSpeed, Unthrottled: true, Log: log})
	if err != nil {
		return err
	}
	defer s.Close()
	s.WeChatPay.LimitBrandTokens(0)
	d := wechatpay.NewDelivery()
	d.Interval, d.Delay = resend, openInterval
	s.WeChatPay.Deliver(d)

	m := &many{Stack: s, log: log, plan: newPlan(n, seed), begin: time.Now()}
	fmt.Fprintf(w, "%d notifications of brand cards, seed %d: %d of cards that customers open, %d forged.\n", n, seed, n-m.plan.tenth, m.plan.tenth)
	fmt.Fprintf(w, "Scaled: WeChat sends again after %v, not 60 s; the queue's delays are divided by %d; brand tokens are not limited to 5 a second.\n", resend, queueSpeed)
	fmt.Fprintln(w, "Not scaled: the rate of confirmations, and the functions' timeouts and attempts.")
	if err := m.open(ctx, w); err != nil {
		return err
	}
	if err := m.settle(ctx, w); err != nil {
		return err
	}
	if err := s.Close(); err != nil { // so that the log is complete
		return err
	}
	return m.report(w)
}

// plan says which cards have which trouble, by their indices.
type plan struct {
	n, tenth                                    int
	forged, lost, twice, limited, failed, probe []bool
	downFrom                                    int           // the bus goes down before this card is opened
	outage                                      time.Duration // how long it is down
}

func newPlan(n int, seed uint64) plan {
	p := plan{n: n, tenth: n / 10}
	random := rand.New(rand.NewPCG(seed, 0))
	order := random.Perm(n)
	p.forged = make([]bool, n)
	for _, i := range order[:p.tenth] {
		p.forged[i] = true
	}
	open := order[p.tenth:]
	choose := func() []bool {
		chosen := make([]bool, n)
		for _, i := range random.Perm(len(open))[:p.tenth] {
			chosen[open[i]] = true
		}
		return chosen
	}
	p.lost, p.twice, p.probe = choose(), choose(), choose()
	// A card can't have its first confirmation refused in both ways.
	refused := random.Perm(len(open))
	p.limited, p.failed = make([]bool, n), make([]bool, n)
	for i := range p.tenth {
		p.limited[open[refused[i]]], p.failed[open[refused[p.tenth+i]]] = true, true
	}
	// A shorter outage would not be noticed: the function itself tries again for 4 s.
	p.downFrom, p.outage = n/2, max(6*time.Second, time.Duration(n/10)*openInterval)
	return p
}

// many is a run of Many.
type many struct {
	*stack.Stack
	log    *logBuffer
	plan   plan
	begin  time.Time
	opened []string // codes of the cards that customers opened
	forged []string // codes that only forged notifications have
	secret []string // what no log may have: openids, codes and tokens
	lines  int      // of progress
}

// open opens the cards, one after the other.
func (m *many) open(ctx context.Context, w io.Writer) error {
	var refusals sync.Map // by URI: the status of the first confirmation
	m.WeChatPay.RefuseIf(func(r *wechatpay.Request) (int, string, string) {
		switch status, _ := refusals.LoadAndDelete(r.URI); status {
		case http.StatusTooManyRequests:
			return http.StatusTooManyRequests, "FREQUENCY_LIMITED", "请求频率超过限制，请稍后重试"
		case http.StatusInternalServerError:
			return http.StatusInternalServerError, "SYSTEM_ERROR", "系统异常，请稍后重试"
		}
		return 0, "", ""
	})
	ticker := time.NewTicker(openInterval)
	defer ticker.Stop()
	for i := range m.plan.n {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if i == m.plan.downFrom {
			m.Events.Fail(&aws.Fault{Status: http.StatusInternalServerError, Code: "InternalException"})
			time.AfterFunc(m.plan.outage, func() { m.Events.Fail(nil) })
		}
		m.progress(w)
		openid := fmt.Sprintf("obLatjnx9gnqzS4myYG%09d", i)
		m.secret = append(m.secret, openid)
		if m.plan.forged[i] {
			code := m.WeChatPay.Forge(brandID, cardID, openid).Code
			m.forged, m.secret = append(m.forged, code), append(m.secret, code)
			continue
		}
		for trouble, has := range map[wechatpay.Trouble]bool{wechatpay.LostAnswer: m.plan.lost[i], wechatpay.Twice: m.plan.twice[i], wechatpay.Probe: m.plan.probe[i]} {
			if has {
				m.WeChatPay.Next(trouble)
			}
		}
		token, err := mint(ctx, m.Stack, preAuthTokens, brandBody(openid))
		if err != nil {
			return err
		}
		card, _, err := m.WeChatPay.OpenCard(token, openid)
		if err != nil {
			return err
		}
		// The notification is sent later, after openInterval.
		switch {
		case m.plan.limited[i]:
			refusals.Store(uri(confirmBrand, card), http.StatusTooManyRequests)
		case m.plan.failed[i]:
			refusals.Store(uri(confirmBrand, card), http.StatusInternalServerError)
		}
		m.opened, m.secret = append(m.opened, card.Code), append(m.secret, card.Code, token)
	}
	return nil
}

// settle waits until all notifications are delivered and the queue is empty, or for much
// longer than that takes at the rate of confirmations.
func (m *many) settle(ctx context.Context, w io.Writer) error {
	given, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(m.plan.n)*500*time.Millisecond)
	defer cancel()
	for {
		d := m.deliveries()
		// The queue gets the last message before the last notification is answered.
		if d.accepted == len(m.opened) && d.forged == len(m.forged) && d.duplicates >= m.plan.tenth && len(m.Queues.Get("ConfirmQueue").Messages()) == 0 {
			return nil
		}
		m.progress(w)
		select {
		case <-time.After(200 * time.Millisecond):
		case <-given.Done():
			return ctx.Err()
		}
	}
}

// deliveries are the figures of the notifications.
type deliveries struct {
	attempts, lost, probes, duplicates, forged int
	accepted                                   int // notifications, by an attempt whose answer arrived
	refused                                    int // 401
	failed                                     int // 5xx
	unanswered                                 int
	believed                                   int // forgeries and probes that were not refused with 401
}

func (m *many) deliveries() (d deliveries) {
	for _, a := range m.WeChatPay.Deliveries() {
		d.attempts++
		switch a.Kind {
		case wechatpay.Probing:
			d.probes++
		case wechatpay.Duplicate:
			d.duplicates++
		case wechatpay.Forgery:
			d.forged++
		}
		genuine := a.Kind == wechatpay.Regular || a.Kind == wechatpay.Duplicate
		switch {
		case a.Lost:
			d.lost++
		case a.Kind == wechatpay.Regular && a.Status/100 == 2:
			d.accepted++
		}
		switch {
		case a.Status == http.StatusUnauthorized:
			d.refused++
		case !genuine && a.Status/100 == 2:
			d.believed++
		case a.Status == 0:
			d.unanswered++
		case a.Status >= 500:
			d.failed++
		}
	}
	return d
}

// confirmations are the calls that WeChat Pay received.
type confirmations struct {
	calls, effective, repeated, limited, failed int
	most                                        int // in any second
}

func (m *many) confirmations() (c confirmations) {
	var times []time.Time
	for _, r := range m.WeChatPay.Requests() {
		if !strings.HasSuffix(r.URI, "/confirm") {
			continue
		}
		times = append(times, r.Time)
		switch r.Status {
		case http.StatusOK:
			c.effective++
		case http.StatusBadRequest:
			c.repeated++
		case http.StatusTooManyRequests:
			c.limited++
		default:
			c.failed++
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	c.calls = len(times)
	first := 0
	for i, t := range times {
		for t.Sub(times[first]) >= time.Second {
			first++
		}
		c.most = max(c.most, i-first+1)
	}
	return c
}

// report writes the figures, and returns what does not hold.
func (m *many) report(w io.Writer) error {
	d, c := m.deliveries(), m.confirmations()
	members, once, fooled := 0, 0, 0
	for _, code := range m.opened {
		card, _ := m.WeChatPay.UserCard(code)
		if card.State == wechatpay.Effective {
			members++
		}
		if card.Confirmations == 1 {
			once++
		}
	}
	for _, code := range m.forged {
		if card, _ := m.WeChatPay.UserCard(code); card.State != wechatpay.Unactivated {
			fooled++
		}
	}
	letters := len(m.Queues.Get("ConfirmDeadLetters").Messages())
	lines, private := m.log.search(append(m.secret, phone))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(what string, figure any) { fmt.Fprintf(table, "%s\t%v\n", what, figure) }
	fmt.Fprintln(table)
	row("time", time.Since(m.begin).Round(time.Second))
	row("attempts to notify", d.attempts)
	row("  of them: answers lost", d.lost)
	row("  of them: duplicates after success", d.duplicates)
	row("  of them: forgeries", d.forged)
	row("  of them: WeChat's probes", d.probes)
	row("  answered 401", d.refused)
	row("  answered 500 (the bus was down)", d.failed)
	row("  not answered within 5 s", d.unanswered)
	row("events on the bus", len(m.Events.History()))
	row("confirmations that WeChat received", c.calls)
	row("  took effect", c.effective)
	row("  of a card that is confirmed already", c.repeated)
	row("  refused with 429", c.limited)
	row("  refused with 500", c.failed)
	row("  most in any second", c.most)
	row("  refused because there were more than 5", m.WeChatPay.LimitedConfirmations())
	row("cards EFFECTIVE, of those that customers opened", fmt.Sprintf("%d of %d", members, len(m.opened)))
	row("  confirmed exactly once", once)
	row("forged cards that are still UNACTIVATED", fmt.Sprintf("%d of %d", len(m.forged)-fooled, len(m.forged)))
	row("dead letters", letters)
	row("lines in the functions' log", lines)
	row("  with an openid, a code, a token or a telephone number", private)
	if err := table.Flush(); err != nil {
		return err
	}
	var faults []string
	for fault, is := range map[string]bool{
		"cards are not EFFECTIVE":                       members != len(m.opened),
		"cards are not confirmed exactly once":          once != len(m.opened) || c.effective != len(m.opened),
		"a forgery had an effect":                       fooled > 0 || d.believed > 0,
		"too many confirmations in a second":            c.most > allowed || m.WeChatPay.LimitedConfirmations() > 0,
		"there are dead letters":                        letters > 0,
		"personal data is in a log, or there is no log": private > 0 || lines == 0,
		"too little went wrong":                         m.plan.tenth > 0 && (d.lost < m.plan.tenth || d.failed == 0 || c.limited < m.plan.tenth || c.failed < m.plan.tenth),
	} {
		if is {
			faults = append(faults, fault)
		}
	}
	if len(faults) > 0 {
		slices.Sort(faults)
		return errors.New(strings.Join(faults, "; "))
	}
	fmt.Fprintln(w, "\nEvery card is EFFECTIVE, confirmed once; no forgery had an effect.")
	return nil
}

// progress writes a line every 10 seconds.
func (m *many) progress(w io.Writer) {
	if lines := int(time.Since(m.begin) / (10 * time.Second)); lines > m.lines {
		m.lines = lines
		fmt.Fprintf(w, "after %d s: %d cards opened, %d confirmed, %d messages in the queue\n",
			lines*10, len(m.opened), m.confirmations().effective, len(m.Queues.Get("ConfirmQueue").Messages()))
	}
}

// logBuffer is the functions' log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// search returns the number of lines, and of the given texts that are in one.
func (l *logBuffer) search(texts []string) (lines, found int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.b.Bytes()
	for _, text := range texts {
		if bytes.Contains(log, []byte(text)) {
			found++
		}
	}
	return bytes.Count(log, []byte("\n")), found
}
