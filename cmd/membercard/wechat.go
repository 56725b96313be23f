package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"membercard/local/discovery"
	"membercard/shared/apierror"
	"membercard/shared/officialaccount"
	"membercard/shared/signing"
	"membercard/shared/upstream"
)

// wechat returns a client for the endpoints of an API of WeChat: those of --endpoint, those
// of the local stack, or the real ones.
func (a *app) wechat(local func(*discovery.Stack) []string, real string) *upstream.Client {
	switch {
	case len(a.endpoints) > 0:
		return upstream.New(a.endpoints)
	case a.local != nil:
		return upstream.New(local(a.local))
	}
	return upstream.New(strings.Split(real, ","))
}

// official returns a client of the official-account API.
func (a *app) official() *upstream.Client {
	return a.wechat(func(s *discovery.Stack) []string { return s.WeChat }, officialaccount.Endpoints)
}

// pay returns a client of WeChat Pay that does not sign.
func (a *app) pay() *upstream.Client {
	return a.wechat(func(s *discovery.Stack) []string { return s.WeChatPay }, signing.Endpoints)
}

// signingAs returns a client that signs as a merchant.
func (a *app) signingAs(merchant *signing.Merchant) *signing.Client {
	return signing.NewClient(fixed{merchant}, a.pay())
}

// fixed is a [signing.Source] of a merchant that does not change.
type fixed struct{ merchant *signing.Merchant }

func (f fixed) Get(context.Context) (*signing.Merchant, error) { return f.merchant, nil }

func (f fixed) Refresh(context.Context, *signing.Merchant) (*signing.Merchant, error) {
	return f.merchant, nil
}

// echo runs WeChat Pay's self-test.
func (a *app) echo(ctx context.Context, client *signing.Client) *signing.SelfTest {
	defer a.during("asking WeChat Pay")()
	echo, _ := client.SelfTest(ctx, "") // the failed step has the error
	return echo
}

// selfTest runs WeChat Pay's self-test and adds its steps, without its reading of the secret.
// A reason that a step was skipped for is not repeated where the self-test fails for it later.
func (a *app) selfTest(ctx context.Context, r *report, client *signing.Client) {
	reason := ""
	for _, s := range a.echo(ctx, client).Steps[1:] {
		if _, why, ok := strings.Cut(s.Skipped, ": "); ok {
			reason = ": " + why
		}
		if reason != "" {
			s.Cause = strings.ReplaceAll(s.Cause, reason, " (see above)")
		}
		shown := step{Name: s.Name, OK: s.OK, Skipped: s.Skipped, Cause: s.Cause, Cure: s.Cure, RequestID: s.RequestID}
		shown.fromHere()
		r.add(shown)
	}
}

// proxyCure is the cure of a proxy that can't be reached, or lets nothing through.
const proxyCure = "correct the proxy in HTTPS_PROXY, with its user and password if it answers 407; hosts in NO_PROXY are reached without it"

// failedCall is the step of a call to WeChat that failed.
func failedCall(name string, err error) step {
	s := step{Name: name, Cause: err.Error()}
	if e, ok := errors.AsType[*apierror.Error](err); ok {
		s.Cause, s.Cure, s.RequestID = e.Message, e.Cure, e.RequestID
		if e.Cause != nil {
			s.Cause = e.Cause.Error()
		}
		if e.Cause != nil && e.Status < http.StatusInternalServerError { // WeChat's own message
			s.Cause += ": " + e.Message
		}
	}
	s.fromHere()
	return s
}

// fromHere replaces what the error of a call says of functions.
func (s *step) fromHere() {
	switch {
	case strings.Contains(s.Cause, " signal received"): // the cause of signal.NotifyContext
		bad := interrupted()
		s.Cause, s.Cure = bad.cause, bad.cure
	case s.Cure == apierror.Unreachable(nil).Cure && strings.Contains(s.Cause, "proxyconnect "):
		s.Cure = proxyCure
	case s.Cure == apierror.Unreachable(nil).Cure && strings.Contains(s.Cause, "x509: "):
		s.Cure = "see what answers in place of WeChat, maybe a proxy that opens TLS; or this machine has no root certificates (apt-get install ca-certificates)"
	case s.Cure == apierror.Unreachable(nil).Cure:
		s.Cure = "check that this machine has a way to the internet, and resolves WeChat's names"
	}
}

// maxSkew is how much a signature's time may differ from WeChat Pay's clock.
const maxSkew = 5 * time.Minute

// clock compares this machine's clock with WeChat Pay's, whose answers have a Date.
// WeChat Pay refuses a signature whose time is wrong like any other wrong signature.
func (a *app) clock(ctx context.Context, r *report) {
	wechat := a.pay()
	defer a.during("asking WeChat Pay")()
	answer, err := wechat.Do(ctx, false, func(ctx context.Context, endpoint string) (*upstream.Answer, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/", nil)
		if err != nil {
			return nil, err
		}
		return wechat.Send(request)
	})
	if err != nil {
		r.add(step{Name: stepClock, Skipped: "WeChat Pay did not answer"})
		return
	}
	r.compareClock("WeChat Pay", answer.Header.Get("Date"))
}

// compareClock compares this machine's clock with the Date of a server's answer. Without
// one, the step is skipped.
func (r *report) compareClock(server, date string) {
	now, err := http.ParseTime(date)
	switch skew := time.Since(now).Round(time.Second); {
	case err != nil:
		r.add(step{Name: stepClock, Skipped: server + " gave no Date"})
	case skew.Abs() >= maxSkew:
		r.fail(stepClock, faultf("set the clock: sudo timedatectl set-ntp true", "this machine's clock differs from %s's by %s; less than %s is allowed", server, skew.Abs(), maxSkew))
	default:
		r.add(step{Name: stepClock, OK: true})
	}
}
