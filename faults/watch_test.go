//go:build unix

package faults

// This file observes what WeChat is asked for and the bus takes, and reads the functions'
// log.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"membercard/local/aws"
	"membercard/local/stack"
	"membercard/wechat/officialaccount"
	"membercard/wechat/wechatpay"
)

// watch observes the sandboxes' requests and the bus. It reads the functions' log, for
// which it is an io.Writer.
type watch struct {
	mu       sync.Mutex
	made     map[string]string // the request that each token was issued for
	taken    map[string]bool   // notifications that the bus took, by ID
	received []time.Time       // when WeChat received requests
	private  []string          // texts that no log may contain
	attempts map[string]int    // calls to WeChat in the log, by invocation
	leaks    []string
}

// phoneNumber is in the sandbox's notifications.
const phoneNumber = "13900000000"

func newWatch() *watch {
	return &watch{made: map[string]string{}, taken: map[string]bool{}, attempts: map[string]int{},
		private: []string{openidPrefix, forgedToken, phoneNumber, stack.SecretAccessKey, stack.SessionToken}}
}

// observe starts observing the stack, and searching the log for its secrets.
func (w *watch) observe(s *stack.Stack) {
	for _, secret := range []string{s.WeChatPay.MerchantSecret(wechatpay.Both), s.OfficialAccount.Secret(), s.OfficialAccount.LoginSecret()} {
		w.keepPrivate(secret)
	}
	s.WeChatPay.Observe(func(q wechatpay.Request) {
		var a answer
		_ = json.Unmarshal(q.Answer, &a) // others have no token
		w.answered(map[string]string{a.PermissionToken: q.URI, a.Token: q.URI + string(q.Body)})
	})
	s.OfficialAccount.Observe(func(q officialaccount.Request) {
		var a struct {
			AccessToken string `json:"access_token"`
			SessionKey  string `json:"session_key"`
		}
		_ = json.Unmarshal(q.Answer, &a) // others have neither
		w.answered(map[string]string{a.AccessToken: q.Path, a.SessionKey: q.Path})
	})
	s.Events.Subscribe(func(e aws.Event) {
		var detail struct{ ID string }
		_ = json.Unmarshal(e.Detail, &detail) // on an error the ID is empty
		w.mu.Lock()
		defer w.mu.Unlock()
		w.taken[detail.ID] = true
	})
}

// answered records that WeChat received a request. made has the tokens in the answer and
// the request that they were issued for; empty tokens are ignored.
func (w *watch) answered(made map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.received = append(w.received, time.Now())
	for value, request := range made {
		if value != "" {
			w.made[value] = request
		}
	}
}

// secretValues matches what no log may contain in the text of a secret.
var secretValues = regexp.MustCompile(`"(?:private_key|apiv3_key|secret)" ?: ?"([^"]*)"`)

// keepPrivate adds the keys of a secret to what no log may contain. A key of several
// lines, such as a PEM, may not even appear in part.
func (w *watch) keepPrivate(secret string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, value := range secretValues.FindAllStringSubmatch(secret, -1) {
		for line := range strings.SplitSeq(value[1], `\n`) {
			if len(line) >= 16 && !strings.HasPrefix(line, "-----") {
				w.private = append(w.private, line)
			}
		}
	}
}

// madeFor returns the request that a token was issued for, or "".
func (w *watch) madeFor(token string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.made[token]
}

// isTaken reports whether the bus took a notification.
func (w *watch) isTaken(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken[id]
}

// words matches everything in a log that could be a token.
var words = regexp.MustCompile(`[A-Za-z0-9_+/=-]{16,}`)

// Write checks lines of the log. A write has whole lines.
func (w *watch) Write(lines []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range bytes.Lines(lines) {
		w.read(bytes.TrimSpace(line))
	}
	return len(lines), nil
}

func (w *watch) read(line []byte) {
	var logged struct {
		Type      string `json:"type"`
		RequestID string `json:"requestId"`
		Attempts  int    `json:"attempts"`
	}
	if err := json.Unmarshal(line, &logged); err != nil && len(line) > 0 {
		w.leak("a line is not JSON: %.200s", line)
		return
	}
	if strings.HasPrefix(logged.Type, "platform.") {
		return
	}
	for _, value := range w.private {
		if bytes.Contains(line, []byte(value)) {
			w.leak("the log has %.6s…", value)
		}
	}
	for _, word := range words.FindAll(line, -1) {
		if _, ok := w.made[string(word)]; ok {
			w.leak("the log has the token %.6s…", word)
		}
	}
	w.attempts[logged.RequestID] += logged.Attempts
}

func (w *watch) leak(format string, args ...any) {
	const enough = 5
	if len(w.leaks) < enough {
		w.leaks = append(w.leaks, fmt.Sprintf(format, args...))
	}
}
