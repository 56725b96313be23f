package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"membercard/shared/gateway"
	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/invocation"
	"membercard/shared/officialaccount"
	"membercard/shared/secret"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

const (
	cardID      = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	openid      = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	code        = "198374613512"
	foreign     = "obLatjForeignForeignForeign1"
	appSecret   = "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
	accessToken = "90_kxZ3vQ0b7uJpR5tYw2sLm8NfHdCgAeVi"
	oldTicket   = "bxLdikRXVbTPdHSM05e5u5sUoQNKd8-41ZO3MhKoyN5OfkWITDGgnr2fwJ0m9E8N"
	newTicket   = "IpK_1T69hDhZkLQTlwsAX2xYd7C4mB0qRsVnUeJgOfWtPzHyMiKaLbDcNr5v8G3S"

	accountARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:account-AbCdEf"
	ticketARN  = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:ticket-AbCdEf"
)

// ends returns a secret with a ticket that expires after a time.
func ends(ticket string, in time.Duration) string {
	return `{"ticket":"` + ticket + `","expires_at":"` + time.Now().Add(in).Format(time.RFC3339) + `"}`
}

// manager is a Secrets Manager with GetSecretValue and PutSecretValue in AWS JSON
// 1.1.
type manager struct {
	*httptest.Server
	t testing.TB

	mu      sync.Mutex
	ticket  string            // the text of the ticket's secret
	refuses map[string]string // an operation, and the body of the error it is answered with
	reads   int               // of the ticket's secret
	puts    []string
}

func newManager(t testing.TB, ticket string) *manager {
	return &manager{t: t, ticket: ticket, refuses: map[string]string{}}
}

func startManager(t testing.TB, ticket string) *manager {
	m := newManager(t, ticket)
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var asked struct {
		SecretID           string `json:"SecretId"`
		SecretString       string
		ClientRequestToken string
	}
	if err := json.Unmarshal(body, &asked); err != nil || r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		m.t.Errorf("%s %s: %v", r.Method, body, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	text := m.ticket
	switch {
	case operation == "GetSecretValue" && asked.SecretID == accountARN:
		text = `{"appid":"wx5f0c2b8e7d4a9361","secret":"` + appSecret + `"}`
	case operation == "GetSecretValue" && asked.SecretID == ticketARN:
		m.reads++
	case operation == "PutSecretValue" && asked.SecretID == ticketARN && asked.ClientRequestToken != "":
	default:
		m.t.Errorf("%s %s", operation, body)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if refusal := m.refuses[operation]; refusal != "" && asked.SecretID == ticketARN {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, refusal)
		return
	}
	if operation == "PutSecretValue" {
		m.ticket, text = asked.SecretString, asked.SecretString
		m.puts = append(m.puts, text)
	}
	out, _ := json.Marshal(map[string]any{"ARN": asked.SecretID, "Name": "n", "VersionId": "v", "SecretString": text, "VersionStages": []string{"AWSCURRENT"}})
	_, _ = w.Write(out)
}

// stores changes the ticket's secret.
func (m *manager) stores(ticket string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ticket = ticket
}

// counts checks how often the ticket's secret was read and written.
func (m *manager) counts(t *testing.T, reads, puts int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reads != reads || len(m.puts) != puts {
		t.Errorf("the ticket was read %d times and written %d times, want %d, %d", m.reads, len(m.puts), reads, puts)
	}
}

// direct answers requests without a network, as the fake clock of synctest needs.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

func (m *manager) config() aws.Config {
	c := aws.Config{
		Region:  "eu-central-1",
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "a-secret-access-key"}, nil
		}),
		HTTPClient: &http.Client{Transport: direct{m}},
	}
	if m.Server != nil {
		c.HTTPClient, c.BaseEndpoint = m.Client(), &m.URL
	}
	return c
}

// wechat is a WeChat that gives out access tokens, and answers requests for tickets
// as the test says.
type wechat struct {
	*httptest.Server

	mu      sync.Mutex
	tickets int // how many were asked for
}

func startWeChat(t *testing.T, answer string) *wechat {
	w := &wechat{}
	w.Server = tlsdialtest.Start(t, http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.Method + " " + r.URL.RequestURI() {
		case "POST /cgi-bin/stable_token":
			_, _ = io.WriteString(out, `{"access_token":"`+accessToken+`","expires_in":7200}`)
		case "GET /cgi-bin/ticket/getticket?access_token=" + accessToken + "&type=wx_card":
			w.mu.Lock()
			w.tickets++
			w.mu.Unlock()
			if len(body) > 0 {
				t.Errorf("a ticket is asked for with %q", body)
			}
			_, _ = io.WriteString(out, answer)
		default:
			t.Errorf("%s %s", r.Method, r.URL)
		}
	}))
	return w
}

func (w *wechat) asked(t *testing.T, times int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tickets != times {
		t.Errorf("WeChat was asked for %d tickets, want %d", w.tickets, times)
	}
}

// instance is an instance of the function, as main starts it, and its log.
type instance struct {
	invocation.Action
	log *telemetrytest.Records
}

func newInstance(m *manager, endpoint string) instance {
	log, records := telemetrytest.New()
	config := m.config()
	stored := secret.New(config, ticketARN, parseTicket, log)
	r := refresher{
		wechat: officialaccount.NewClient(secret.New(config, accountARN, officialaccount.ParseAccount, log), upstream.New([]string{endpoint})),
		stored: stored,
		client: secretsmanager.NewFromConfig(config),
		id:     ticketARN,
	}
	return instance{invocation.Action{
		Log:      log,
		Name:     "refresh",
		Do:       r.refresh,
		Requests: gateway.NewHandler(log, tickets(stored), sign),
	}, records}
}

// outcome is what a caller got, and the last log record of the request.
type outcome struct {
	gatewaytest.Outcome
	record map[string]any
}

// event returns a request, with the openid that an authorizer has proven, if any.
func event(body, proven string) gatewaytest.Event {
	e := gatewaytest.Request("POST /card/ext", body)
	if proven != "" {
		e = gatewaytest.LoggedIn(e, proven)
	}
	return e
}

// post is [instance.send] for a body, and the openid that a login has proved, if any.
func (i instance) post(t testing.TB, body, proven string) outcome {
	t.Helper()
	return i.send(t, event(body, proven))
}

// send makes a request, and checks that no ticket is in the answer or the log.
func (i instance) send(t testing.TB, event gatewaytest.Event) outcome {
	t.Helper()
	i.log.Reset()
	o := outcome{Outcome: gatewaytest.Invoke(t, i.Action, i.log, event)}
	private(t, o.Body+o.Log)
	o.RequireNotLogged(t, openid, foreign)
	o.record = i.last(t)
	return o
}

// private checks that a text contains no secret.
func private(t testing.TB, told string) {
	t.Helper()
	for _, value := range []string{oldTicket, newTicket, accessToken, appSecret} {
		if strings.Contains(told, value) {
			t.Errorf("%s is told or logged: %s", value, told)
		}
	}
}

// last returns the last record of the log.
func (i instance) last(t testing.TB) map[string]any {
	t.Helper()
	records := i.log.All(t)
	if len(records) == 0 {
		t.Fatal("nothing was logged")
	}
	return records[len(records)-1]
}
