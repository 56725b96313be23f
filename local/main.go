// Command local runs the whole stack on one machine, with nothing but Go: the
// functions as Lambda runs them, API Gateway in front of them, Secrets Manager
// and a WeChat Pay sandbox behind them. Routes, environment and timeouts are
// template.yaml's.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"membercard/local/stack"
)

func main() {
	address := flag.String("addr", "127.0.0.1:8080", "where the API listens; port 0 is a free one")
	live := flag.String("live", "", "call the real WeChat Pay with the merchant's secret in this `file`")
	rounds := flag.Int("bench", 0, "measure the functions with this many cold starts each, and stop")
	against := flag.String("against", "", "with -bench: another function's `binary` to measure beside them")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, *address, *live, *rounds, *against)
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address, live string, rounds int, against string) error {
	config := stack.Config{Address: address, Log: os.Stderr}
	if live != "" {
		secret, err := os.ReadFile(live)
		if err != nil {
			return err
		}
		config.Secret = string(secret)
	}
	project, err := stack.Build(ctx, ".")
	if err != nil {
		return err
	}
	defer project.Close()
	if rounds > 0 {
		return measure(ctx, os.Stdout, project, rounds, against)
	}
	s, err := project.Start(config)
	if err != nil {
		return err
	}
	defer s.Close()
	greet(os.Stdout, s)
	<-ctx.Done()
	return nil
}

// greet prints where the stack is and, for each operation, a line to paste.
func greet(w io.Writer, s *stack.Stack) {
	fmt.Fprintf(w, "membercard runs at %s\n", s.URL)
	if s.WeChatPay == nil {
		fmt.Fprintln(w, "LIVE: it calls the real WeChat Pay with your keys. Put your own card, brand and openid into the lines below.")
	}
	for _, route := range s.Routes {
		if example, ok := examples[route.Key]; ok {
			fmt.Fprintf(w, "\n%s:\n%s\n", example.says, example.curl(s.URL, route.Key))
		}
	}
	fmt.Fprintln(w, "\nWhat the functions log follows; Ctrl-C stops it all.")
}

// example is a request for an operation, its document's own.
type example struct {
	says       string
	parameters map[string]string
	body       string
}

var examples = map[string]example{
	"POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens": {
		says:       "merchant pre-authorisation, a permission_token",
		parameters: map[string]string{"card_id": "pbLatjvWOibDc5-TBnbUk1pD12o0"},
		body:       `{"activate_type": "AUTO_ACTIVATE", "navigate_back_previous_page": true, "activate_url": "https://w.url.cn/s/Ahz3p2C", "activate_appid": "wxea9c30a90fs8d3fe", "activate_path": "pages/activate/activate", "outer_str": "szwxtd"}`,
	},
	"POST /v3/brand/partner/card-member/open-user-card-tokens": {
		says: "brand pre-authorisation, a token",
		body: brandExample,
	},
	"POST /v3/brand/partner/card-member/pre-auth-tokens": {
		says: "the same under its name since November 2025",
		body: brandExample,
	},
}

const brandExample = `{"brand_id": "1004", "card_id": "pbLatjvWOibDc5-TBnbUk1pD12o0", "openid": "obLatjnx9gnqzS4myYGmLZ7LgLBA"}`

// path is the path of a route with the example's parameters in it.
func (e example) path(route string) string {
	_, path, _ := strings.Cut(route, " ")
	for name, value := range e.parameters {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	return path
}

func (e example) curl(url, route string) string {
	return fmt.Sprintf("curl -sS %s -H 'Content-Type: application/json' -d '%s'", url+e.path(route), e.body)
}
