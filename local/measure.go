package main

import (
	"context"
	"encoding/json"
	"io"
	"maps"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/bench"
	"membercard/local/stack"
	"membercard/local/wechatpay"
)

// measure runs the functions, an empty one and, if there is one, another
// implementation of the first against the same WeChat Pay and Secrets Manager.
func measure(ctx context.Context, w io.Writer, project *stack.Project, rounds int, against string) error {
	s, err := project.Start(stack.Config{Address: "127.0.0.1:0", Keys: wechatpay.PublicKey})
	if err != nil {
		return err
	}
	defer s.Close()
	s.WeChatPay.LimitBrandTokens(0)
	if err := s.RenewTicket(ctx); err != nil {
		return err
	}

	floor, err := project.Build(ctx, "local/bench/empty")
	if err != nil {
		return err
	}
	var contestants []bench.Contestant
	seen := map[string]bool{}
	for _, route := range s.Routes {
		if example, ok := examples[route.Key]; ok && !seen[route.Folder] {
			seen[route.Folder] = true
			contestants = append(contestants, bench.Contestant{Name: route.Folder, Config: s.Configs[route.Folder], Event: example.event(route.Key)})
		}
	}
	empty := contestants[0]
	empty.Name, empty.Config.Binary = "an empty function", floor
	contestants = append([]bench.Contestant{empty}, contestants...)
	if against != "" {
		other := contestants[1]
		other.Name, other.Config.Binary = against, against
		// It gets Lambda's environment without what this template adds to it.
		other.Config.Environment = maps.Clone(other.Config.Environment)
		delete(other.Config.Environment, "SSL_CERT_DIR")
		contestants = append(contestants, other)
	}
	return bench.Run(ctx, w, contestants, rounds, against)
}

// event is the example as API Gateway sends it.
func (e example) event(route string) []byte {
	event := events.APIGatewayV2HTTPRequest{
		Version:        "2.0",
		RouteKey:       route,
		RawPath:        e.path(route),
		PathParameters: e.parameters,
		Body:           e.body,
	}
	event.RequestContext.HTTP.Method = "POST"
	payload, _ := json.Marshal(event)
	return payload
}
