package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"membercard/shared/env"
	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/officialaccount"
	"membercard/shared/secret"
	"membercard/shared/telemetry"
)

// The contract's limit for a decision, init included. API Gateway waits 10 s.
const decisionLimit = 9 * time.Second

// lambdaTimeout is the template's, which is longer.
const lambdaTimeout = 15 * time.Second

// TestADecisionWhileSecretsManagerHangs takes no time: the clock and the
// connections are the bubble's.
func TestADecisionWhileSecretsManagerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := aws.Config{
			Region: "eu-central-1",
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "id", SecretAccessKey: "key"}, nil
			}),
			HTTPClient: &http.Client{Transport: &http.Transport{
				DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
					here, there := net.Pipe()
					go func() { _, _ = io.Copy(io.Discard, there) }() // reads, and never answers
					return here, nil
				},
			}},
		}
		apps := secret.New(config, "login", officialaccount.ParseLogin, telemetry.New(io.Discard, "MemberCard", "test"))
		begun := time.Now()
		env.DuringInit(func(ctx context.Context) { _, _ = apps.Get(ctx) })
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), lambdaTimeout)
			invoke(t, ctx, apps, gatewaytest.Nowhere, event(mini+code)).fails(t, "CONFIG_ERROR")
			cancel()
			if took := time.Since(begun); took > decisionLimit {
				t.Errorf("the decision took %v", took)
			}
			begun = time.Now()
		}
	})
}

// TestADecisionWhileWeChatHangs, or only its last byte is missing.
func TestADecisionWhileWeChatHangs(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes the 5.5 s of an invocation; run it without -short")
	}
	for _, row := range []struct {
		what string
		sent string
	}{{"there is no answer", ""}, {"the answer does not end", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"}} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w := startWeChat(t, func(*http.Request) reply { return reply{} })
			w.Config.Handler = http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				conn, _, err := out.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, row.sent)
				_, _ = io.Copy(io.Discard, conn)
			})
			ctx, cancel := context.WithTimeout(t.Context(), lambdaTimeout)
			defer cancel()
			begun := time.Now()
			invoke(t, ctx, &fake{text: both(miniSecret)}, w.URL, event(mini+code)).fails(t, "UPSTREAM_TIMEOUT")
			const init = 3 * time.Second // at most
			if took := time.Since(begun); init+took > decisionLimit {
				t.Errorf("the decision took %v", took)
			}
		})
	}
}
