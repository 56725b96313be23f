package journey_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"membercard/local/journey"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/wechat/wechatpay"
)

// project is built once for all tests.
var project *stack.Project

func TestMain(m *testing.M) { stacktest.Main(m, "../..", &project) }

func start(t *testing.T, config stack.Config) *stack.Stack {
	t.Helper()
	config.QueueSpeed = 100
	return stacktest.Start(t, project, config)
}

// names are the steps in short.
func names(story journey.Story) (names []string) {
	for _, step := range story.Steps {
		name := step.What
		if step.What == journey.Call || step.What == journey.Event || step.What == journey.Notification {
			name = fmt.Sprintf("%s %s %d", step.What, step.Name[strings.LastIndexAny(step.Name, "/.")+1:], step.Status)
		}
		names = append(names, name)
	}
	return names
}

// Both kinds of cards become EFFECTIVE, whoever may call the API.
func TestOpen(t *testing.T) {
	t.Parallel()
	for _, auth := range []string{stack.NoAuth, stack.AuthIAM, stack.AuthJWT, stack.AuthWechat} {
		s := start(t, stack.Config{Auth: auth})
		for kind, wants := range map[string][]string{
			journey.Brand:    {"token", "opened", "notification CREATE 204", "event CREATE 0", "call confirm 200", "member", "call {user_card_code} 200"},
			journey.Merchant: {"token", "opened", "notification ACCEPT_CARD 204", "event ACCEPT_CARD 0", "call decrypt-code 200", "call {activate_ticket} 200", "call activate 204", "call confirm 204", "notification ACTIVATE_CARD 204", "event ACTIVATE_CARD 0", "member", "call {code} 200"},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			story, err := journey.Open(ctx, s, kind)
			cancel()
			if err != nil || story.State != wechatpay.Effective {
				t.Errorf("%s, %s: %s: %v", auth, kind, story.State, err)
			}
			got := strings.Join(names(story), "\n")
			for _, want := range wants {
				if strings.Count(got, want) != 1 {
					t.Errorf("%s, %s: %q is not once in\n%s", auth, kind, want, got)
				}
			}
		}
	}
}

// What is missing is said, when the time is over.
func TestOpenSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	elsewhere := func(s *stack.Stack) { s.WeChatPay.NotifyAt("http://127.0.0.1:1/") }
	tried := func(s *stack.Stack) bool { return len(s.WeChatPay.Deliveries()) > 0 }
	for _, row := range []struct {
		name, kind string
		disturb    func(*stack.Stack)
		over       func(*stack.Stack) bool // whether the disturbance has happened
		want       string
	}{
		{"not notified", journey.Brand, elsewhere, tried, "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE was not accepted"},
		{"no notification of a merchant card", journey.Merchant, elsewhere, tried, "MEMBERCARD.ACCEPT_CARD was not accepted"},
		{"refused", journey.Brand, func(s *stack.Stack) {
			s.WeChatPay.RefuseIf(func(r *wechatpay.Request) (int, string, string) {
				if strings.HasSuffix(r.URI, "/confirm") {
					return 400, "INVALID_REQUEST", "x"
				}
				return 0, "", ""
			})
		}, func(s *stack.Stack) bool {
			return slices.ContainsFunc(s.WeChatPay.Requests(), func(r wechatpay.Request) bool { return r.Status == 400 })
		}, "UNACTIVATED"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, stack.Config{})
			row.disturb(s)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			go func() {
				for !row.over(s) && ctx.Err() == nil {
					time.Sleep(20 * time.Millisecond)
				}
				cancel()
			}()
			story, err := journey.Open(ctx, s, row.kind)
			if err == nil || !strings.Contains(err.Error(), row.want) || len(story.Steps) < 2 {
				t.Errorf("%v: %v", err, names(story))
			}
		})
	}
}
