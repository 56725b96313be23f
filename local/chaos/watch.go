package chaos

// This file observes what WeChat is asked for, and reads the functions' log.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"membercard/local/officialaccount"
	"membercard/local/stack"
	"membercard/local/wechatpay"
)

// watch is the functions' log (an io.Writer) and the sandboxes' observer.
type watch struct {
	mu       sync.Mutex
	made     map[string]string // what a token was made for, by token
	received []time.Time       // when requests reached WeChat
	private  []string          // what no log may contain
	attempts map[string]int    // calls to WeChat that a function logged, by invocation
	leaks    []string
}

// phoneNumber is in the sandbox's notifications.
const phoneNumber = "13900000000"

func newWatch() *watch {
	return &watch{made: map[string]string{}, attempts: map[string]int{}, private: []string{openidPrefix, forgedToken, phoneNumber, stack.SecretAccessKey, stack.SessionToken}}
}

// observe has the sandboxes report requests, and the log searched for the secrets.
func (w *watch) observe(s *stack.Stack) {
	for _, secret := range []string{s.WeChatPay.MerchantSecret(wechatpay.Both), s.OfficialAccount.Secret(), s.OfficialAccount.LoginSecret()} {
		w.keepPrivate(secret)
	}
	s.WeChatPay.Observe(func(q wechatpay.Request) {
		var answer struct {
			Permission string `json:"permission_token"`
			Brand      string `json:"token"`
		}
		_ = json.Unmarshal(q.Answer, &answer) // others have neither
		w.answered(map[string]string{answer.Permission: q.URI, answer.Brand: q.URI + string(q.Body)})
	})
	s.OfficialAccount.Observe(func(q officialaccount.Request) {
		var answer struct {
			AccessToken string `json:"access_token"`
			SessionKey  string `json:"session_key"`
		}
		_ = json.Unmarshal(q.Answer, &answer) // others have neither
		w.answered(map[string]string{answer.AccessToken: q.Path, answer.SessionKey: q.Path})
	})
}

// answered records a request, and what each value in its answer was made for. An empty
// value is none.
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

// keepPrivate has the log searched for the values of a secret, line by line.
func (w *watch) keepPrivate(secret string) {
	var values any
	_ = json.Unmarshal([]byte(secret), &values) // a malformed one has none
	w.mu.Lock()
	defer w.mu.Unlock()
	w.collect("", values)
}

func (w *watch) collect(name string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			w.collect(name, member)
		}
	case string:
		if name != "private_key" && name != "apiv3_key" && name != "secret" {
			return
		}
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") && len(line) >= 16 {
				w.private = append(w.private, line)
			}
		}
	}
}

// take returns what a token was made for. A token is given to one caller.
func (w *watch) take(token string) (madeFor string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	madeFor, ok = w.made[token]
	return madeFor, ok
}

// words are what a token could be in a log.
var words = regexp.MustCompile(`[A-Za-z0-9_+/=-]{16,}`)

// Write reads whole lines of the log.
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
	if len(line) == 0 {
		return
	}
	// aws-lambda-go writes the errors of functions in this form.
	isError := bytes.Contains(line, []byte(` {"errorMessage":`))
	if err := json.Unmarshal(line, &logged); err != nil && !isError {
		w.leak("a line is no JSON: %.200s", line)
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
