package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"membercard/local/discovery"
)

func (a *app) cardOpen(kind, short string) *cobra.Command {
	cmd := a.reporting(kind, short, func(ctx context.Context, r *report) error {
		if a.local == nil {
			return usagef("cards are opened in the sandbox only: --local is needed")
		}
		a.openCard(ctx, r, kind)
		return nil
	})
	cmd.Long = a.text(short+`, in the sandbox of the local stack: from the token to a card that is
EFFECTIVE, through the stack's own functions. Each step is shown, without personal data.`,
		`在本机环境的沙箱中`+short+`：从获取 token 开始，经过堆栈中的函数，
直到会员卡变为 EFFECTIVE。每一步都会显示，不显示个人信息。`)
	cmd.Example = "  membercard card open " + kind + " --local"
	return cmd
}

// openCard has the sandbox's customer open a card.
func (a *app) openCard(ctx context.Context, r *report, kind string) {
	const name = "card"
	end := a.during("the customer opens the card")
	status, body, err := a.postLocal(ctx, discovery.OpenPath+"?card="+kind, nil)
	end()
	var story struct {
		State, Missing string
		Steps          []struct {
			Time       time.Time
			What, Name string
			Status     int
		}
	}
	if ctx.Err() != nil {
		r.fail(name, interrupted())
		return
	}
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &story) != nil || story.State+story.Missing == "" {
		r.fail(name, faultf("start it anew: go run ./local", "the local stack at %s does not open cards", a.localURL))
		return
	}
	// The activation makes a merchant card EFFECTIVE, and what follows only tells of it.
	// So that is the last step, with its time.
	since, unanswered := "", false
	for _, s := range story.Steps {
		if s.What == "member" {
			since = fmt.Sprintf(" since %d ms after the token", s.Time.Sub(story.Steps[0].Time).Milliseconds())
			continue
		}
		detail := fmt.Sprintf("after %d ms", s.Time.Sub(story.Steps[0].Time).Milliseconds())
		if s.Status > 0 {
			detail += fmt.Sprintf(", answered %d", s.Status)
		}
		shown := step{Name: strings.TrimSpace(strings.ReplaceAll(s.What, "_", " ") + " " + s.Name), OK: true, Detail: detail}
		if s.What == "notification" && s.Status == 0 {
			shown.Warning, unanswered = "nothing answered it", true
		}
		r.add(shown)
	}
	if story.Missing != "" {
		cure := "read the log of go run ./local"
		if unanswered && kind == "merchant" && a.local.Outputs["NotificationUrl"] != "" {
			cure = "have the sandbox notify this stack: membercard callback set" + a.where()
		}
		r.fail(name, faultf(cure, "the card is not EFFECTIVE: %s", story.Missing))
		return
	}
	r.add(step{Name: name, OK: true, Detail: story.State + since})
}
