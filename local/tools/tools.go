// Package tools serves the paths of a stack that are for command-line tools: those of
// package discovery. No page may call them, not even the playground.
package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"membercard/local/aws"
	"membercard/local/discovery"
	"membercard/local/journey"
	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// openTimeout is how long a card may take to become EFFECTIVE. It covers several
// attempts to notify and to confirm.
const openTimeout = time.Minute

// Handle adds the paths to those of s. The caller closes what it returns.
func Handle(s *stack.Stack) (io.Closer, error) {
	post := func(path string, serve http.HandlerFunc) { s.Mux.Handle("POST "+path, discovery.WithoutPages(serve)) }
	post(discovery.SyncPath, func(w http.ResponseWriter, r *http.Request) { serveSync(w, r, s) })
	post(discovery.OpenPath, func(w http.ResponseWriter, r *http.Request) { serveOpen(w, r, s) })
	if s.WeChatPay == nil || s.OfficialAccount == nil {
		return io.NopCloser(nil), nil
	}
	post(discovery.LoginPath, func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]string{"code": s.OfficialAccount.OAuthCode(r.PostFormValue("openid"))})
	})
	s.Mux.Handle("POST "+discovery.EnrolPath, Enrol(s.WeChatPay))
	s.Mux.Handle("GET "+discovery.EventsPath, Events(s))
	published, err := discovery.Publish(s.URL, func() discovery.Stack { return Describe(s) })
	if err == nil {
		s.Mux.Handle("GET "+discovery.Path, published)
	}
	return published, err
}

// Describe returns what a stack says about itself. It must have both sandboxes.
func Describe(s *stack.Stack) discovery.Stack {
	return discovery.Stack{
		API:       s.URL,
		WeChatPay: s.WeChatPay.Endpoints(),
		WeChat:    s.OfficialAccount.Endpoints(),
		CA:        string(s.WeChatPay.CA()) + string(s.OfficialAccount.CA()),
		AWS: discovery.AWS{
			Region: stack.Region, AccessKeyID: stack.AccessKeyID, SecretAccessKey: stack.SecretAccessKey, SessionToken: stack.SessionToken,
			Endpoint: s.AWS,
		},
		Files:   s.WeChatPay.Files(),
		Plan:    s.Deployed.Outputs["CardPlan"],
		Secrets: discovery.Secrets{Merchant: stack.MerchantSecret, OfficialAccount: stack.OfficialAccountSecret, Login: stack.LoginSecret},

		Auth:       s.Auth,
		Outputs:    maps.Clone(s.Deployed.Outputs),
		Parameters: maps.Clone(s.Deployed.Parameters),
		Resources:  maps.Clone(s.Deployed.Resources),
	}
}

// Events serves [discovery.EventsPath]: a stream of the events that the bus takes from now
// on, until the client disconnects.
func Events(s *stack.Stack) http.Handler {
	return discovery.WithoutPages(func(w http.ResponseWriter, r *http.Request) {
		taken := make(chan aws.Event, 1000)
		defer s.Events.Subscribe(func(e aws.Event) {
			select {
			case taken <- e:
			default: // a client that does not read must not hold up the bus
			}
		})()
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.WriteHeader(http.StatusOK)
		flush := http.NewResponseController(w)
		for {
			_ = flush.Flush() // fails only if the client left
			select {
			case e := <-taken:
				_ = json.NewEncoder(w).Encode(e)
			case <-r.Context().Done():
				return
			}
		}
	})
}

// Enrol serves [discovery.EnrolPath].
func Enrol(pay *wechatpay.Sandbox) http.Handler {
	return discovery.WithoutPages(func(w http.ResponseWriter, r *http.Request) {
		var merchant discovery.Merchant
		var answer discovery.Enrolled
		status := http.StatusOK
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&merchant)
		if err == nil {
			answer.PublicKey, answer.PublicKeyID, err = pay.Enrol([]byte(merchant.Certificate), merchant.APIv3Key)
		}
		if err != nil {
			answer.Error, status = err.Error(), http.StatusBadRequest
		}
		reply(w, status, answer)
	})
}

// serveOpen answers with what has happened to a card and, if it is not EFFECTIVE, with what
// is missing. For a token it only opens the card, and answers with its code and with the
// jump to the merchant's page.
func serveOpen(w http.ResponseWriter, r *http.Request, s *stack.Stack) {
	if token := r.PostFormValue("token"); token != "" && s.WeChatPay != nil {
		card, jump, err := s.WeChatPay.OpenCard(token, r.PostFormValue("openid"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		reply(w, http.StatusOK, map[string]any{"code": card.Code, "jump": jump})
		return
	}
	kind := r.URL.Query().Get("card")
	if kind != journey.Brand && kind != journey.Merchant {
		http.Error(w, "card must be brand or merchant", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), openTimeout)
	defer cancel()
	var answer struct {
		journey.Story
		Missing string `json:"missing,omitempty"`
	}
	err := errors.New("the real WeChat Pay is called; cards are opened in the sandbox only")
	if s.WeChatPay != nil {
		answer.Story, err = journey.Open(ctx, s, kind)
	}
	if err != nil {
		answer.Missing = err.Error()
	}
	reply(w, http.StatusOK, answer)
}

// serveSync answers with the report of card-sync.
func serveSync(w http.ResponseWriter, r *http.Request, s *stack.Stack) {
	event := fmt.Appendf(nil, `{"action": "sync", "dry_run": %t}`, r.URL.Query().Get("dry_run") == "true")
	report, err := s.Invoke(r.Context(), "functions/card-sync", event)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	reply(w, http.StatusOK, json.RawMessage(report))
}

func reply(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // a client that left needs no answer
}
