// Package signingtest is for the tests of functions that make signed calls: a
// merchant, a WeChat Pay behind TLS that signs, and the function behind its
// gateway. What WeChat Pay would refuse it does not check.
package signingtest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/shared/apierror"
	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
)

// Source gives the merchant, and notes that somebody asked: validation is over.
type Source struct {
	Asked    bool
	Merchant *signing.Merchant
}

// Get implements [signing.Source].
func (s *Source) Get(context.Context) (*signing.Merchant, error) {
	if s.Asked = true; s.Merchant == nil {
		return nil, errors.New("this source has no merchant")
	}
	return s.Merchant, nil
}

// Refresh implements [signing.Source].
func (s *Source) Refresh(context.Context) (*signing.Merchant, bool, error) {
	return s.Merchant, false, nil
}

// Outcome is what a caller got and what the log has of it.
type Outcome struct {
	Status  int
	Body    string
	Headers map[string]string
	Told    apierror.Error
	Log     string
}

// Function makes the operation under test with a client.
type Function func(*signing.Client) func(context.Context, *gateway.Request) (*gateway.Response, error)

// Invoke calls the function behind its gateway.
func (f Function) Invoke(t testing.TB, event events.APIGatewayV2HTTPRequest, from *Source, endpoint string) Outcome {
	t.Helper()
	event.Version, event.RequestContext.HTTP.Method = "2.0", "POST"
	payload, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	var records bytes.Buffer
	operation := f(signing.NewClient(from, upstream.New([]string{endpoint})))
	raw, err := gateway.Handler{Operation: operation, Log: telemetry.New(&records, "MemberCard", "test")}.Invoke(t.Context(), payload)
	if err != nil {
		t.Fatalf("the runtime got an error: %v", err)
	}
	var answer events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatal(err)
	}
	o := Outcome{Status: answer.StatusCode, Body: answer.Body, Headers: answer.Headers, Log: records.String()}
	if o.Status >= 400 {
		if err := json.Unmarshal([]byte(o.Body), &o.Told); err != nil || o.Told.Code == "" || o.Told.Message == "" {
			t.Fatalf("%s has no code or no message: %v", o.Body, err)
		}
	}
	return o
}

// Nowhere is an endpoint that is never called.
const Nowhere = "https://127.0.0.1:1"

// Refuses checks that input is refused at a field, before anybody asks for the
// merchant.
func (f Function) Refuses(t *testing.T, event events.APIGatewayV2HTTPRequest, field, issue string) Outcome {
	t.Helper()
	from := &Source{}
	o := f.Invoke(t, event, from, Nowhere)
	if from.Asked {
		t.Error("bad input came as far as to the merchant")
	}
	if o.Status != 400 || o.Told.Code != "PARAM_ERROR" || o.Told.Detail == nil {
		t.Fatalf("%d %s, want a PARAM_ERROR with detail", o.Status, o.Body)
	}
	location, _, _ := strings.Cut(field[1:], "/")
	if o.Told.Detail.Field != field || o.Told.Detail.Location != location || !strings.Contains(o.Told.Detail.Issue, issue) {
		t.Errorf("detail %+v, want %s %q", *o.Told.Detail, field, issue)
	}
	return o
}

// Accepts checks that input gets past validation: to the merchant, who is not
// there.
func (f Function) Accepts(t *testing.T, event events.APIGatewayV2HTTPRequest) {
	t.Helper()
	from := &Source{}
	if o := f.Invoke(t, event, from, Nowhere); !from.Asked || o.Told.Code != "CONFIG_ERROR" {
		t.Errorf("refused: %s", o.Body)
	}
}

const publicKeyID = "PUB_KEY_ID_0119000000012025062400291234567890"

var keys = sync.OnceValue(func() (k struct{ merchant, wechatpay *rsa.PrivateKey }) {
	var both sync.WaitGroup
	for _, key := range []**rsa.PrivateKey{&k.merchant, &k.wechatpay} {
		both.Go(func() {
			made, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				panic(err)
			}
			*key = made
		})
	}
	both.Wait()
	return k
})

// Merchant is who the answers of [WeChatPay] are good for.
func Merchant(t *testing.T) *signing.Merchant {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(keys().merchant)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&keys().wechatpay.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := json.Marshal(map[string]string{
		"mchid": "1900000001", "certificate_serial_no": "1DDE55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2",
		"private_key":             string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		"wechatpay_public_key_id": publicKeyID,
		"wechatpay_public_key":    string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := signing.ParseMerchant(secret)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// WeChatPay answers each call in the same way, signed. came tells what came, call
// by call, as "POST /path body", and then "".
func WeChatPay(t *testing.T, status int, answer string) (endpoint string, came func() string) {
	calls := make(chan string, 8)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls <- r.Method + " " + r.URL.RequestURI() + " " + string(body)
		stamp, nonce := strconv.FormatInt(time.Now().Unix(), 10), rand.Text()
		digest := sha256.Sum256([]byte(stamp + "\n" + nonce + "\n" + answer + "\n"))
		signature, err := rsa.SignPKCS1v15(rand.Reader, keys().wechatpay, crypto.SHA256, digest[:])
		if err != nil {
			t.Error(err)
		}
		for name, value := range map[string]string{
			"Wechatpay-Timestamp": stamp, "Wechatpay-Nonce": nonce, "Wechatpay-Serial": publicKeyID,
			"Wechatpay-Signature": base64.StdEncoding.EncodeToString(signature), "Request-ID": "08F78BB5AF0610D302",
		} {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() string {
		select {
		case c := <-calls:
			return c
		default:
			return ""
		}
	}
}
