package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"membercard/shared/gateway"
	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/telemetry"
)

func TestInitIsDeductedFromTheFirstTimeout(t *testing.T) {
	for _, row := range []struct {
		what        string
		init        time.Duration
		first, then time.Duration
	}{
		{"init takes no time", 0, timeout, timeout},
		{"Secrets Manager was slow", 1500 * time.Millisecond, 2800 * time.Millisecond, timeout},
		{"Secrets Manager hung", 3300 * time.Millisecond, time.Second, timeout},
		{"everything took too long", 10 * time.Second, minTimeout, timeout},
		{"started ahead", time.Hour, minTimeout, timeout},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var left time.Duration
				f := &deductInit{begun: time.Now(), Handler: gateway.Handler{
					Log:     telemetry.New(io.Discard, "MemberCard", "test"),
					Timeout: timeout,
					Operation: func(ctx context.Context, _ *gateway.Request) (*gateway.Response, error) {
						deadline, _ := ctx.Deadline()
						left = time.Until(deadline)
						return &gateway.Response{Status: http.StatusNoContent}, nil
					},
				}}
				time.Sleep(row.init)
				event, err := json.Marshal(gatewaytest.Request(route, "{}"))
				if err != nil {
					t.Fatal(err)
				}
				for _, want := range []time.Duration{row.first, row.then, row.then} {
					if _, err := f.Invoke(t.Context(), event); err != nil {
						t.Fatal(err)
					}
					if left != want {
						t.Errorf("a notification has %v, want %v", left, want)
					}
				}
			})
		})
	}
}
