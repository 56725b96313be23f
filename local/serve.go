package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"membercard/local/playground"
	"membercard/local/stack"
	"membercard/local/tools"
	"membercard/shared/cardplan"
	"membercard/shared/officialaccount"
	"membercard/shared/signing"
	"membercard/wechat/wechatpay"
)

// queueSpeed shortens the time before the second attempt to confirm a card from 30
// seconds to 3.
const queueSpeed = 10

// serve runs the stack and the playground until ctx ends. It greets to out and says, and
// then writes what the functions log to says.
func serve(ctx context.Context, out, says io.Writer, o options) error {
	open := exposed(o)
	if len(open) > 0 && (o.merchant != "" || o.account != "") {
		return fmt.Errorf(o.say("%s: other machines could reach the stack, and with -live or -live-account it has real keys; give it 127.0.0.1 and a port"), strings.Join(open, ", "))
	}
	config, err := o.config()
	if err != nil {
		return err
	}
	log := &heldLog{to: says}
	config.Log = log
	project, err := stack.Build(ctx, ".")
	if err != nil {
		return err
	}
	defer project.Close()
	page, err := net.Listen("tcp", o.page)
	if err != nil {
		return fmt.Errorf("the playground can't listen: %w", err)
	}
	defer page.Close()
	origin := stack.URL(page.Addr())
	config.Origins = append(config.Origins, origin)
	s, err := project.Start(config)
	if err != nil {
		return err
	}
	defer s.Close()
	if published, err := tools.Handle(s); err != nil {
		fmt.Fprintf(says, o.say("local: membercard --local does not work with this stack: %v")+"\n", err)
	} else {
		defer published.Close()
	}
	if s.WeChatPay != nil {
		s.WeChatPay.Deliver(delivery())
	}
	go http.Serve(page, playground.Handler(s, o.auth, "."))
	if err := s.RenewTicket(ctx); err != nil {
		fmt.Fprintf(says, o.say("local: no card ticket: %v")+"\n", err)
	}
	greet(out, says, s, o, origin)
	o.warn(says, open)
	fmt.Fprintln(says, "\n"+o.say("What the functions log follows; Ctrl-C stops it all."))
	log.release()
	go renewTickets(ctx, s)
	<-ctx.Done()
	return nil
}

// config returns the configuration that the flags make, or what is wrong with them. It comes
// before the build, which may take a minute.
func (o options) config() (c stack.Config, err error) {
	c = stack.Config{Address: o.address, Plan: o.plan, Auth: o.auth, QueueSpeed: queueSpeed}
	switch {
	case !slices.Contains([]string{"", stack.NoAuth, stack.AuthIAM, stack.AuthJWT, stack.AuthWechat}, o.auth):
		return c, fmt.Errorf(o.say("-auth: %q is neither none nor iam, jwt or wechat"), o.auth)
	case o.auth == stack.AuthWechat && o.account != "":
		return c, errors.New(o.say("-auth wechat: users log in to the sandbox's official account, so it does not go with -live-account"))
	}
	if c.Origins, err = allowedOrigins(o); err != nil {
		return c, err
	}
	if c.Merchant, err = readSecret("-live", o.merchant, signing.ParseMerchant); err != nil {
		return c, err
	}
	if c.Account, err = readSecret("-live-account", o.account, officialaccount.ParseAccount); err != nil {
		return c, err
	}
	if err := o.checkPlan(); err != nil {
		return c, err
	}
	return c, canListen(o)
}

// heldLog is a log that is kept until the greeting is written, so that it stands below it.
type heldLog struct {
	mu       sync.Mutex
	to       io.Writer
	held     bytes.Buffer
	released bool
}

func (l *heldLog) Write(lines []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return l.to.Write(lines)
	}
	return l.held.Write(lines)
}

func (l *heldLog) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.held.WriteTo(l.to)
	l.released = true
}

// allowedOrigins returns the origins of -origins. A browser sends an origin without a path,
// and the comparison is exact.
func allowedOrigins(o options) (origins []string, err error) {
	for origin := range strings.FieldsFuncSeq(o.origins, func(r rune) bool { return r == ',' || r == ' ' }) {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || origin != u.Scheme+"://"+u.Host {
			return nil, fmt.Errorf(o.say("-origins: %q is not an origin like http://localhost:5173"), origin)
		}
		origins = append(origins, origin)
	}
	return origins, nil
}

// addresses are the flags with an address to listen on.
func (o options) addresses() [][2]string {
	return [][2]string{{"-addr", o.address}, {"-page", o.page}}
}

// exposed returns the flags whose addresses other machines can reach, such as
// "-addr 0.0.0.0:8080". It skips addresses that can't be resolved; net.Listen reports
// them.
func exposed(o options) (flags []string) {
	for _, f := range o.addresses() {
		if address, err := net.ResolveTCPAddr("tcp", f[1]); err == nil && !address.IP.IsLoopback() {
			flags = append(flags, f[0]+" "+f[1])
		}
	}
	return flags
}

// warn prints a warning if flags are exposed.
func (o options) warn(w io.Writer, flags []string) {
	if len(flags) > 0 {
		fmt.Fprintf(w, "\n"+o.say("WARNING: %s: everybody on your network can reach this stack, call it and read the sandboxes' keys and events. 127.0.0.1 keeps it on this machine.")+"\n\n", strings.Join(flags, ", "))
	}
}

// canListen returns an error that names the addresses that are in use or can't be listened
// on, if any.
func canListen(o options) error {
	var causes, cures []string
	for _, f := range o.addresses() {
		listener, err := net.Listen("tcp", f[1])
		switch {
		case err == nil:
			defer listener.Close() // after the other one's turn: they may be the same
		case errors.Is(err, syscall.EADDRINUSE):
			causes, cures = append(causes, err.Error()), append(cures, f[0]+" 127.0.0.1:0")
		default:
			return fmt.Errorf("%s: %w", f[0], err)
		}
	}
	if len(causes) == 0 {
		return nil
	}
	return fmt.Errorf(o.say("%s; another stack may run there. A free port is taken with %s"), strings.Join(causes, "; "), strings.Join(cures, " "))
}

// checkPlan returns an error if the file of -plan can't be read or is not a valid plan. If
// the project's own plan is missing, this is not the project's folder, and stack.Build says so.
func (o options) checkPlan() error {
	if o.plan == "" {
		return nil // no plan in the bucket
	}
	content, err := os.ReadFile(o.plan)
	if o.plan == projectPlan && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("-plan: %w", err)
	}
	if _, faults := cardplan.Parse(content); len(faults) > 0 {
		return fmt.Errorf(o.say("-plan: %s is not a plan: %s; all its faults: go run ./cmd/membercard plan validate %s"), o.plan, strings.TrimSpace(faults[:1].String()), o.plan)
	}
	return nil
}

// readSecret returns the content of a flag's file with a secret, or "" if path is empty. It
// fails if parse does.
func readSecret[T any](flag, path string, parse func([]byte) (T, error)) (string, error) {
	if path == "" {
		return "", nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	if _, err := parse(content); err != nil {
		return "", fmt.Errorf("%s: %s: %w", flag, path, err)
	}
	return string(content), nil
}

// delivery returns how the sandbox delivers notifications: 200 ms after a card is opened,
// and again after 5 s, not a minute, if that fails.
func delivery() wechatpay.Delivery {
	d := wechatpay.NewDelivery()
	d.Delay, d.Interval = 200*time.Millisecond, 5*time.Second
	return d
}

// renewTickets renews the card ticket until ctx ends, at the interval of card-ext's
// schedule.
func renewTickets(ctx context.Context, s *stack.Stack) {
	for {
		select {
		case <-time.After(5 * time.Minute):
			_ = s.RenewTicket(ctx) // the function logs errors
		case <-ctx.Done():
			return
		}
	}
}
