package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"membercard/shared/apierror"
	"membercard/shared/gateway"
	"membercard/shared/officialaccount"
	"membercard/shared/telemetry"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

const (
	cardID      = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	appSecret   = "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
	accessToken = "90_kxZ3vQ0b7uJpR5tYw2sLm8NfHdCgAeVi"
)

// source gives the account, or none, and notes that somebody asked.
type source struct {
	mu    sync.Mutex
	asked int
	none  bool
	onGet func(ctx context.Context, n int) // with the number of the asking, from 1
}

var account = &officialaccount.Account{AppID: "wx5f0c2b8e7d4a9361", Secret: appSecret}

func (s *source) Get(ctx context.Context) (*officialaccount.Account, error) {
	s.mu.Lock()
	s.asked++
	n := s.asked
	s.mu.Unlock()
	if s.onGet != nil {
		s.onGet(ctx, n)
	}
	if s.none {
		return nil, errors.New("this source has no account")
	}
	return account, nil
}

func (s *source) Refresh(context.Context) (*officialaccount.Account, bool, error) {
	return account, false, nil
}

// call is a call of the card API, as it came.
type call struct{ path, body string }

// wechat stands for WeChat: it gives access tokens, and answers the card API as
// it is told.
type wechat struct {
	*httptest.Server

	mu    sync.Mutex
	calls []call
}

func startWeChat(t *testing.T, answer func(call) string) *wechat {
	w := &wechat{}
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		out.Header().Set("Request-ID", "08F78BB5AF0610D302")
		if r.URL.Path == "/cgi-bin/stable_token" {
			_, _ = io.WriteString(out, `{"access_token":"`+accessToken+`","expires_in":7200}`)
			return
		}
		if r.Method != http.MethodPost || r.URL.RawQuery != "access_token="+accessToken || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s as %q", r.Method, r.URL, r.Header.Get("Content-Type"))
		}
		c := call{r.URL.Path, string(body)}
		w.mu.Lock()
		w.calls = append(w.calls, c)
		w.mu.Unlock()
		_, _ = io.WriteString(out, answer(c))
	}))
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.StartTLS()
	t.Cleanup(w.Close)
	return w
}

// came are the calls so far.
func (w *wechat) came(path string) (bodies []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c.path == path {
			bodies = append(bodies, c.body)
		}
	}
	return bodies
}

func client(from officialaccount.Source, endpoint string) *officialaccount.Client {
	return officialaccount.NewClient(from, upstream.New([]string{endpoint}))
}

// newFunction is the function that main makes, and its log.
func newFunction(from officialaccount.Source, endpoint string, plans planObject) (gateway.Function, *bytes.Buffer) {
	records := new(bytes.Buffer)
	return function(client(from, endpoint), plans, telemetry.New(records, "MemberCard", "test")), records
}

// outcome is what a caller got and what the log has of it.
type outcome struct {
	status  int
	body    string
	headers map[string]string
	told    apierror.Error
	log     string
}

func post(t *testing.T, body string, from officialaccount.Source, endpoint string) outcome {
	t.Helper()
	f, records := newFunction(from, endpoint, planObject{})
	payload, err := json.Marshal(events.APIGatewayV2HTTPRequest{RouteKey: "POST /card/update", RawPath: "/card/update", Body: body})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := f.Invoke(t.Context(), payload)
	if err != nil {
		t.Fatalf("the runtime got an error: %v", err)
	}
	var answer events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatal(err)
	}
	o := outcome{status: answer.StatusCode, body: answer.Body, headers: answer.Headers, log: records.String()}
	if o.headers["Cache-Control"] != "no-store" || o.headers["Content-Type"] != "application/json" {
		t.Errorf("headers %v", o.headers)
	}
	if o.status >= 400 {
		if err := json.Unmarshal([]byte(o.body), &o.told); err != nil || o.told.Code == "" || o.told.Message == "" {
			t.Fatalf("%s has no code or no message: %v", o.body, err)
		}
	}
	if strings.Contains(o.body+o.log, accessToken) || strings.Contains(o.body+o.log, appSecret) {
		t.Errorf("a secret is told or logged: %s\n%s", o.body, o.log)
	}
	return o
}
