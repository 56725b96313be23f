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
	"membercard/wechat/wechatpay"
)

const (
	openInterval = 100 * time.Millisecond // between opening two cards
	resend       = 2 * time.Second        // between attempts to notify; WeChat Pay waits for 60 s
	queueSpeed   = 10                     // divides the queue's delays
	allowed      = 5                      // confirmations a second, WeChat Pay's limit
	phone        = "13900000000"          // in the sandbox's notifications
)

// Many takes n brand cards from the token to a member while much goes wrong, and writes
// figures to w. A tenth of the notifications are forged. Of the others, a tenth of n each
// have their answer lost, are sent twice, and are preceded by a probe. A tenth of n each
// have their first confirmation refused with 429 and with 500. A card may have several of
// these troubles; seed determines which. The bus is down for a while in the middle.
//
// Many fails unless every card that was opened is confirmed exactly once, no forgery has an
// effect, WeChat Pay receives at most 5 confirmations in any second, and no log contains
// personal data.
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

// plan is which cards, by index, have which troubles.
type plan struct {
	n, tenth                                    int
	forged, lost, twice, limited, failed, probe []bool
	downFrom                                    int           // the bus goes down before this card is opened
	outage                                      time.Duration // how long the bus is down
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
	// A first confirmation can be refused in only one way.
	refused := random.Perm(len(open))
	p.limited, p.failed = make([]bool, n), make([]bool, n)
	for i := range p.tenth {
		p.limited[open[refused[i]]], p.failed[open[refused[p.tenth+i]]] = true, true
	}
	// A shorter outage would have no effect: the function itself retries for 4 s.
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
	secret []string // openids, codes and tokens, which no log may contain
	lines  int      // of progress written
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
		token, err := requestToken(ctx, m.Stack, preAuthTokens, brandBody(openid))
		if err != nil {
			return err
		}
		card, _, err := m.WeChatPay.OpenCard(token, openid)
		if err != nil {
			return err
		}
		// The notification, and so the confirmation, follows only after openInterval.
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

// settle waits until all notifications are delivered and the queue is empty. It gives up
// after much longer than the confirmations take at the allowed rate; report then fails.
func (m *many) settle(ctx context.Context, w io.Writer) error {
	timeout, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(m.plan.n)*500*time.Millisecond)
	defer cancel()
	for {
		d := m.deliveries()
		// A message is in the queue before its notification is answered.
		if d.accepted == len(m.opened) && d.forged == len(m.forged) && d.duplicates >= m.plan.tenth && len(m.Queues.Get("ConfirmQueue").Messages()) == 0 {
			return nil
		}
		m.progress(w)
		select {
		case <-time.After(200 * time.Millisecond):
		case <-timeout.Done():
			return ctx.Err()
		}
	}
}

// deliveries counts the attempts to notify.
type deliveries struct {
	attempts, lost, probes, duplicates, forged int
	accepted                                   int // regular attempts whose answer, a 2xx, arrived
	refused                                    int // answered 401
	failed                                     int // answered 5xx
	unanswered                                 int
	believed                                   int // forgeries and probes that were answered 2xx
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

// confirmations counts the confirmations that WeChat Pay received.
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

// figures are the results of a run.
type figures struct {
	deliveries
	confirmations
	members, once  int // cards that customers opened: EFFECTIVE ones, and those confirmed exactly once
	fooled         int // forged cards that are no longer UNACTIVATED
	letters        int // dead letters
	lines, private int // lines in the log, and secrets that are in it
}

func (m *many) figures() figures {
	f := figures{deliveries: m.deliveries(), confirmations: m.confirmations()}
	for _, code := range m.opened {
		card, _ := m.WeChatPay.UserCard(code)
		if card.State == wechatpay.Effective {
			f.members++
		}
		if card.Confirmations == 1 {
			f.once++
		}
	}
	for _, code := range m.forged {
		if card, _ := m.WeChatPay.UserCard(code); card.State != wechatpay.Unactivated {
			f.fooled++
		}
	}
	f.letters = len(m.Queues.Get("ConfirmDeadLetters").Messages())
	f.lines, f.private = m.log.search(append(m.secret, phone))
	return f
}

// report writes the figures, and returns the rules that do not hold.
func (m *many) report(w io.Writer) error {
	f := m.figures()
	if err := m.print(w, f); err != nil {
		return err
	}
	if err := m.check(f); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nEvery card is EFFECTIVE, confirmed once; no forgery had an effect.")
	return nil
}

// print writes the figures as a table.
func (m *many) print(w io.Writer, f figures) error {
	d, c := f.deliveries, f.confirmations
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
	row("cards EFFECTIVE, of those that customers opened", fmt.Sprintf("%d of %d", f.members, len(m.opened)))
	row("  confirmed exactly once", f.once)
	row("forged cards that are still UNACTIVATED", fmt.Sprintf("%d of %d", len(m.forged)-f.fooled, len(m.forged)))
	row("dead letters", f.letters)
	row("lines in the functions' log", f.lines)
	row("  with an openid, a code, a token or a telephone number", f.private)
	return table.Flush()
}

// check returns the rules that do not hold.
func (m *many) check(f figures) error {
	d, c := f.deliveries, f.confirmations
	var broken []string
	for rule, isBroken := range map[string]bool{
		"cards are not EFFECTIVE":                       f.members != len(m.opened),
		"cards are not confirmed exactly once":          f.once != len(m.opened) || c.effective != len(m.opened),
		"a forgery had an effect":                       f.fooled > 0 || d.believed > 0,
		"too many confirmations in a second":            c.most > allowed || m.WeChatPay.LimitedConfirmations() > 0,
		"there are dead letters":                        f.letters > 0,
		"personal data is in a log, or there is no log": f.private > 0 || f.lines == 0,
		"too little went wrong":                         m.plan.tenth > 0 && (d.lost < m.plan.tenth || d.failed == 0 || c.limited < m.plan.tenth || c.failed < m.plan.tenth),
	} {
		if isBroken {
			broken = append(broken, rule)
		}
	}
	if len(broken) > 0 {
		slices.Sort(broken)
		return errors.New(strings.Join(broken, "; "))
	}
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

// search returns the number of lines in the log, and how many of texts are in it.
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
