package main

import (
	"bytes"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"membercard/shared/gateway"
	"membercard/shared/gateway/gatewaytest"
	wechattest "membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/telemetry"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

const cardID = "pbLatjvWOibDc5-TBnbUk1pD12o0"

// post sends a body to POST /card/update.
func post(t *testing.T, body string, from *wechattest.Source, endpoint string) gatewaytest.Outcome {
	t.Helper()
	var log bytes.Buffer
	h := handler{wechattest.Client(from, endpoint)}
	o := gatewaytest.Invoke(t, gateway.Handler{Operation: h.update, Log: telemetry.New(&log, "MemberCard", "test")}, &log,
		events.APIGatewayV2HTTPRequest{RouteKey: "POST /card/update", RawPath: "/card/update", Body: body})
	wechattest.RequireNoSecrets(t, o)
	return o
}
