package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"membercard/local/discovery"
	"membercard/local/playground"
	"membercard/local/stack"
	"membercard/shared/officialaccount"
	"membercard/shared/signing"
	"membercard/wechat/wechatpay"
)

// queueSpeed shortens the time before the second attempt to confirm a card from 30
// seconds to 3.
const queueSpeed = 10

// serve runs the stack and the playground until ctx ends.
func serve(ctx context.Context, o options) error {
	open := exposed(o)
	if len(open) > 0 && (o.merchant != "" || o.account != "") {
		return fmt.Errorf("%s: other machines could reach the stack, and with -live or -live-account it has real keys; give it 127.0.0.1 and a port", strings.Join(open, ", "))
	}
	config := stack.Config{Address: o.address, Plan: o.plan, Auth: o.auth, QueueSpeed: queueSpeed, Log: os.Stderr}
	var err error
	if config.Merchant, err = readSecret(o.merchant, signing.ParseMerchant); err != nil {
		return err
	}
	if config.Account, err = readSecret(o.account, officialaccount.ParseAccount); err != nil {
		return err
	}
	project, err := stack.Build(ctx, ".")
	if err != nil {
		return err
	}
	defer project.Close()
	page, err := net.Listen("tcp", o.page)
	if err != nil {
		return fmt.Errorf("the playground can't listen: %w", explainInUse(err, "-page"))
	}
	defer page.Close()
	origin := stack.URL(page.Addr())
	config.Origins = []string{origin}
	s, err := project.Start(config)
	if err != nil {
		return explainInUse(err, "-addr")
	}
	defer s.Close()
	handle(s)
	if s.WeChatPay != nil {
		s.WeChatPay.Deliver(delivery())
	}
	go http.Serve(page, playground.Handler(s, o.auth, "examples"))
	if err := s.RenewTicket(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "local: no card ticket:", err)
	}
	go renewTickets(ctx, s)
	greet(os.Stdout, s, o, origin)
	warn(os.Stderr, open)
	<-ctx.Done()
	return nil
}

// readSecret returns the content of a file with a secret, or "" if path is empty. It
// fails if parse does.
func readSecret[T any](path string, parse func([]byte) (T, error)) (string, error) {
	if path == "" {
		return "", nil
	}
	content, err := os.ReadFile(path)
	if err == nil {
		_, err = parse(content)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return string(content), nil
}

// handle adds the paths for command-line tools to the API's.
func handle(s *stack.Stack) {
	s.Mux.HandleFunc("POST "+discovery.SyncPath, func(w http.ResponseWriter, r *http.Request) { serveSync(w, r, s) })
	s.Mux.HandleFunc("POST "+discovery.OpenPath, func(w http.ResponseWriter, r *http.Request) { serveOpen(w, r, s) })
	if s.WeChatPay != nil && s.OfficialAccount != nil {
		s.Mux.Handle("GET "+discovery.Path, s.Discovery())
		s.Mux.HandleFunc("GET "+discovery.EventsPath, s.ServeEvents)
		s.Mux.HandleFunc("POST "+discovery.EnrolPath, s.ServeEnrol)
	}
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
