package main

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"strings"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/bench"
	"membercard/local/journey"
	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// measure measures the functions, an empty function and, if against is not empty, that
// binary as another implementation of the first function.
func measure(ctx context.Context, w io.Writer, project *stack.Project, rounds int, against string) error {
	s, err := project.Start(stack.Config{Address: "127.0.0.1:0", Keys: wechatpay.PublicKey, Unthrottled: true})
	if err != nil {
		return err
	}
	defer s.Close()
	s.WeChatPay.LimitBrandTokens(0)
	s.WeChatPay.LimitConfirmations(0)
	s.WeChatPay.NotifyAt("") // notifications would keep other functions busy
	if err := s.RenewTicket(ctx); err != nil {
		return err
	}

	floor, err := project.Build(ctx, "local/bench/empty")
	if err != nil {
		return err
	}
	var targets []bench.Target
	seen := map[string]bool{}
	examples := examples(s)
	for _, route := range s.Routes {
		var event func() ([]byte, error)
		example, ok := examples[route.Key]
		switch {
		case seen[route.Folder]:
			continue
		case route.Folder == "functions/card-events":
			event = func() ([]byte, error) { return notificationEvent(s, route.Key) }
		case route.Folder == "functions/brand-confirm":
			event = func() ([]byte, error) {
				card, err := journey.OpenBrandCard(ctx, s)
				example.parameters["user_card_code"] = card.Code
				return example.event(route.Key), err
			}
		case ok && !example.once:
			payload := example.event(route.Key)
			event = func() ([]byte, error) { return payload, nil }
		default:
			continue
		}
		seen[route.Folder] = true
		targets = append(targets, bench.Target{Name: route.Folder, Config: s.Configs[route.Folder], Event: event})
	}
	empty := targets[0]
	empty.Name, empty.Config.Binary = "an empty function", floor
	targets = append([]bench.Target{empty}, targets...)
	if against != "" {
		other := targets[1]
		other.Name, other.Config.Binary = against, against
		// The template sets SSL_CERT_DIR for its own functions; Lambda does not.
		other.Config.Environment = maps.Clone(other.Config.Environment)
		delete(other.Config.Environment, "SSL_CERT_DIR")
		targets = append(targets, other)
	}
	return bench.Run(ctx, w, targets, rounds, against)
}

// notificationEvent returns a freshly signed notification as an event of API Gateway.
func notificationEvent(s *stack.Stack, route string) ([]byte, error) {
	header, body, _ := s.WeChatPay.Notification(s.WeChatPay.UserCards()[0].Code)
	method, path, _ := strings.Cut(route, " ")
	event := events.APIGatewayV2HTTPRequest{Version: "2.0", RouteKey: route, RawPath: path, Headers: map[string]string{}, Body: string(body)}
	for name := range header {
		event.Headers[strings.ToLower(name)] = header.Get(name)
	}
	event.RequestContext.HTTP.Method = method
	return json.Marshal(event)
}

// event returns the example as an event of API Gateway. API Gateway decodes the path.
func (e example) event(route string) []byte {
	method, _, _ := strings.Cut(route, " ")
	path, query, _ := strings.Cut(e.path(route), "?")
	path, _ = url.PathUnescape(path)
	event := events.APIGatewayV2HTTPRequest{
		Version:        "2.0",
		RouteKey:       route,
		RawPath:        path,
		RawQueryString: query,
		PathParameters: map[string]string{},
		Body:           e.body,
	}
	for name, value := range e.parameters {
		event.PathParameters[strings.TrimSuffix(name, "+")], _ = url.PathUnescape(value)
	}
	event.RequestContext.HTTP.Method = method
	payload, _ := json.Marshal(event)
	return payload
}
