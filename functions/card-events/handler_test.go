package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/secret"
	"membercard/shared/signing"
	"membercard/shared/signing/wechatpaytest"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

const (
	route       = "POST /wechatpay/notifications"
	busName     = "membercard-events"
	apiv3Key    = "Kq7vXw2Zr9Tb4Nc6Ym1Lp8Hd3Jf5Gs0A"
	cardCreated = "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE"
)

// private is what no record may contain.
var private = []string{"obLatjnx9gnqzS4myYGmLZ7LgLBA", "478515832665000000000001", "3800138000", "张三", apiv3Key}

// versions are those of a merchant's secret, in order.
type versions struct {
	secrets []string
	parsed  *signing.Merchant
}

func (v *versions) Get(context.Context) (*signing.Merchant, error) {
	if len(v.secrets) == 0 {
		return nil, errors.New("Secrets Manager answered AccessDeniedException")
	}
	var err error
	if v.parsed == nil {
		v.parsed, err = signing.ParseMerchant([]byte(v.secrets[0]))
	}
	return v.parsed, err
}

func (v *versions) Refresh(ctx context.Context, _ *signing.Merchant) (*signing.Merchant, error) {
	if len(v.secrets) > 1 {
		v.secrets, v.parsed = v.secrets[1:], nil
	}
	return v.Get(ctx)
}

// entry is one of a call of PutEvents.
type entry struct {
	Source, DetailType, Detail, EventBusName string
	Time                                     json.Number
}

// eventBridge stands for EventBridge: PutEvents in AWS JSON 1.1.
type eventBridge struct {
	*httptest.Server
	t      testing.TB
	answer func(w http.ResponseWriter, attempt int) // instead of a success; nil: none

	mu       sync.Mutex
	attempts int
	events   []entry
}

func startEventBridge(t testing.TB, answer func(http.ResponseWriter, int)) *eventBridge {
	b := &eventBridge{t: t, answer: answer}
	b.Server = httptest.NewServer(b)
	t.Cleanup(b.Close)
	return b
}

func (b *eventBridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var asked struct{ Entries []entry }
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil || len(asked.Entries) != 1 {
		b.t.Errorf("PutEvents with %s: %v", body, err)
	}
	authorization := r.Header.Get("Authorization")
	if r.Method != http.MethodPost || r.URL.RequestURI() != "/" || r.Header.Get("X-Amz-Target") != "AWSEvents.PutEvents" ||
		r.Header.Get("Content-Type") != "application/x-amz-json-1.1" ||
		!strings.HasPrefix(authorization, "AWS4-HMAC-SHA256 Credential=AKID/") || !strings.Contains(authorization, "/eu-central-1/events/aws4_request") {
		b.t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	b.mu.Lock()
	b.attempts++
	attempt := b.attempts
	b.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if b.answer != nil {
		b.answer(w, attempt)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, asked.Entries...)
	_, _ = io.WriteString(w, `{"FailedEntryCount":0,"Entries":[{"EventId":"11710aed-b79e-4468-a20b-bb3c0c3b4860"}]}`)
}

func (b *eventBridge) config() aws.Config {
	return aws.Config{
		Region: "eu-central-1", BaseEndpoint: &b.URL, HTTPClient: b.Client(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "a-secret-access-key"}, nil
		}),
	}
}

// took returns the only event that the bus has taken.
func (b *eventBridge) took(t *testing.T) entry {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.events) != 1 {
		t.Fatalf("%d events on the bus, want 1", len(b.events))
	}
	return b.events[0]
}

// instance is an instance of the function, as main makes it.
type instance struct {
	merchant versions
	bus      *eventBridge
}

func start(t *testing.T, answer func(http.ResponseWriter, int), secrets ...string) *instance {
	return &instance{versions{secrets: secrets}, startEventBridge(t, answer)}
}

// receive hands an event to the function. It returns what the sender got and the
// last record, and checks that nothing private is in either.
func (i *instance) receive(t *testing.T, event gatewaytest.Event) (o gatewaytest.Outcome, record map[string]any) {
	t.Helper()
	log, records := telemetrytest.New()
	wechatpay := signing.NewClient(&i.merchant, upstream.New([]string{gatewaytest.Nowhere}))
	o = gatewaytest.Invoke(t, newHandler(log, wechatpay, newBus(i.bus.config(), busName)), records, event)
	o.RequireNotRepeated(t, private...)
	all := records.All(t)
	return o, all[len(all)-1]
}

// fails checks an error: WeChat Pay gets FAIL, the operator the code and the cause,
// and the bus nothing.
func (i *instance) fails(t *testing.T, event gatewaytest.Event, status int, level, code, cause string) {
	t.Helper()
	o, record := i.receive(t, event)
	var answer map[string]string
	if err := json.Unmarshal([]byte(o.Body), &answer); err != nil || o.Status != status || len(answer) != 2 || answer["code"] != "FAIL" || answer["message"] == "" {
		t.Errorf("%d %s, want %d FAIL", o.Status, o.Body, status)
	}
	// Whoever sends what is not signed learns nothing, not even what is wrong with it.
	if unsigned := `{"code":"FAIL","message":"the notification is not signed by WeChat Pay"}`; status == 401 && o.Body != unsigned {
		t.Errorf("%s, want %s", o.Body, unsigned)
	}
	if told, _ := record["cause"].(string); record["level"] != level || record["Code"] != code || !strings.Contains(told, cause) {
		t.Errorf("%s, want %s %s for %q", o.Log, level, code, cause)
	}
	if cure, _ := record["cure"].(string); (cure == "") != (level == "INFO") {
		t.Errorf("the cure is %q", cure)
	}
	i.bus.mu.Lock()
	defer i.bus.mu.Unlock()
	if len(i.bus.events) > 0 {
		t.Errorf("on the bus: %+v", i.bus.events)
	}
}

// signed is the event of a notification that WeChat Pay has signed.
func signed(body string) gatewaytest.Event { return signedAt(body, time.Now()) }

func signedAt(body string, at time.Time) gatewaytest.Event {
	_, key := wechatpaytest.Keys()
	header := http.Header{}
	wechatpaytest.Sign(header, body, wechatpaytest.PublicKeyID, key, at)
	header.Set("Wechatpay-Signature-Type", "WECHATPAY2-SHA256-RSA2048")
	event := gatewaytest.Request(route, body)
	event.Headers = map[string]string{}
	for name := range header {
		event.Headers[strings.ToLower(name)] = header.Get(name) // as API Gateway sends them
	}
	return event
}

func good() string { return wechatpaytest.Notification(cardCreated, wechatpaytest.Created, apiv3Key) }

// tampered is a good notification with one header changed.
func tampered(name, value string) gatewaytest.Event {
	event := signed(good())
	event.Headers[name] = value
	return event
}

func TestANotificationBecomesAnEvent(t *testing.T) {
	i := start(t, nil, wechatpaytest.Secret("apiv3_key", apiv3Key))
	o, record := i.receive(t, signed(good()))
	if o.Status != 204 || o.Body != "" || o.Headers["Content-Type"] != "" {
		t.Errorf("%d %q %v, want 204", o.Status, o.Body, o.Headers)
	}
	got := i.bus.took(t)
	want := entry{
		Source: "membercard", DetailType: cardCreated, EventBusName: busName, Time: "1750559696",
		Detail: `{"id":"` + wechatpaytest.NotificationID + `","event_type":"` + cardCreated + `","create_time":"2025-06-22T10:34:56+08:00","summary":"用户开卡","original_type":"user_card","resource":` + wechatpaytest.Created + `}`,
	}
	if got != want {
		t.Errorf("the bus got\n%+v, want\n%+v", got, want)
	}
	if record["level"] != "INFO" || record["Code"] != "OK" || record["id"] != wechatpaytest.NotificationID || record["event_type"] != cardCreated {
		t.Errorf("the record is %v", record)
	}
}

func TestAcceptedNotifications(t *testing.T) {
	small := wechatpaytest.Notification("SECURITY_ECHO.SUCCESS", `{"echo_message":"x"}`, apiv3Key)
	// Blanks between two members fill it up to 64 KiB.
	full := strings.Replace(small, `,"`, ","+strings.Repeat(" ", maxBody-len(small))+`"`, 1)
	base64Body := signed(good())
	base64Body.Body, base64Body.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(base64Body.Body)), true
	mixedCase := signed(good())
	for name, value := range mixedCase.Headers {
		delete(mixedCase.Headers, name)
		mixedCase.Headers[strings.ToUpper(name[:1])+name[1:]] = value
	}
	for _, row := range []struct {
		rule      string
		event     gatewaytest.Event
		eventType string
	}{
		{"an event type that nobody knows", signed(wechatpaytest.Notification("SOMETHING.NEW", `{}`, apiv3Key)), "SOMETHING.NEW"},
		{"a body in base64", base64Body, cardCreated},
		{"header names in another case", mixedCase, cardCreated},
		{"a body of 64 KiB", signed(full), "SECURITY_ECHO.SUCCESS"},
		{"an id that may be personal data is not logged", signed(strings.Replace(good(), wechatpaytest.NotificationID, "o_13800138000", 1)), cardCreated},
		{"a timestamp of 4:50 ago", signedAt(good(), time.Now().Add(-290*time.Second)), cardCreated},
	} {
		t.Run(row.rule, func(t *testing.T) {
			i := start(t, nil, wechatpaytest.Secret("apiv3_key", apiv3Key))
			o, _ := i.receive(t, row.event)
			if o.Status != 204 {
				t.Errorf("%d %s", o.Status, o.Body)
			}
			o.RequireNotLogged(t, "13800138000")
			if got := i.bus.took(t); got.DetailType != row.eventType {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestUnverifiedNotificationsAreRefused(t *testing.T) {
	merchant, _ := wechatpaytest.Keys()
	forged := signed(good())
	header := http.Header{}
	wechatpaytest.Sign(header, good(), wechatpaytest.PublicKeyID, merchant, time.Now())
	for name := range header {
		forged.Headers[strings.ToLower(name)] = header.Get(name)
	}
	replayed := signed(good())
	replayed.Body = wechatpaytest.Notification(cardCreated, `{}`, apiv3Key)
	bare := gatewaytest.Request(route, good())
	notBase64 := signed(good())
	notBase64.IsBase64Encoded = true
	for _, row := range []struct {
		rule               string
		event              gatewaytest.Event
		level, code, cause string
	}{
		{"no headers", bare, "WARN", "SIGNATURE_INVALID", "Wechatpay-Timestamp"},
		{"no headers and no body", gatewaytest.Request(route, ""), "WARN", "SIGNATURE_INVALID", "Wechatpay-Timestamp"},
		{"no headers and over 64 KiB", gatewaytest.Request(route, strings.Repeat(" ", maxBody)+good()), "WARN", "SIGNATURE_INVALID", "Wechatpay-Timestamp"},
		{"no timestamp", tampered("wechatpay-timestamp", ""), "WARN", "SIGNATURE_INVALID", "Wechatpay-Timestamp"},
		{"no nonce", tampered("wechatpay-nonce", ""), "WARN", "SIGNATURE_INVALID", "Wechatpay-Nonce"},
		{"no serial number", tampered("wechatpay-serial", ""), "WARN", "SIGNATURE_INVALID", "Wechatpay-Serial"},
		{"no signature", tampered("wechatpay-signature", ""), "WARN", "SIGNATURE_INVALID", "Wechatpay-Signature"},
		{"another kind of signature", tampered("wechatpay-signature-type", "WECHATPAY2-SM2-WITH-SM3"), "WARN", "SIGNATURE_INVALID", "Signature-Type"},
		{"an unknown serial number", tampered("wechatpay-serial", "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"), "WARN", "SIGNATURE_INVALID", "unknown key"},
		{"the ID of another public key", tampered("wechatpay-serial", wechatpaytest.PublicKeyID+"1"), "WARN", "SIGNATURE_INVALID", "unknown key"},
		{"too old", signedAt(good(), time.Now().Add(-6*time.Minute)), "WARN", "SIGNATURE_INVALID", "5 minutes"},
		{"too new", signedAt(good(), time.Now().Add(6*time.Minute)), "WARN", "SIGNATURE_INVALID", "5 minutes"},
		{"signed with another key", forged, "WARN", "SIGNATURE_INVALID", "signature"},
		{"replayed with another body", replayed, "WARN", "SIGNATURE_INVALID", "signature"},
		{"over 64 KiB", signed(strings.Repeat(" ", maxBody) + good()), "WARN", "SIGNATURE_INVALID", "64 KiB"},
		{"marked as base64", notBase64, "WARN", "SIGNATURE_INVALID", "base64"},
		{"WeChat Pay's own probe", tampered("wechatpay-signature", "WECHATPAY/SIGNTEST/YWFhYWFhYWFhYWFhYWFhYWE="), "INFO", "SIGNATURE_TEST", "SIGNTEST"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			start(t, nil, wechatpaytest.Secret("wechatpay_public_key_id", wechatpaytest.PublicKeyID)).fails(t, row.event, 401, row.level, row.code, row.cause)
		})
	}
}

func TestUnreadableNotificationsAreRefused(t *testing.T) {
	outer, resource := wechatpaytest.Document(cardCreated, "", apiv3Key)
	withNonce := func(nonce string) gatewaytest.Event {
		resource["nonce"], resource["ciphertext"] = nonce, wechatpaytest.Encrypt(`{}`, "user_card", nonce, apiv3Key)
		return signed(wechatpaytest.Encode(outer))
	}
	for _, row := range []struct {
		rule               string
		event              gatewaytest.Event
		status             int
		level, code, cause string
		secrets            []string
	}{
		{"not JSON", signed(`<xml/>`), 400, "WARN", "NOTIFICATION_MALFORMED", "JSON", nil},
		{"a member twice", signed(strings.Replace(good(), `"id":`, `"id":"x","id":`, 1)), 400, "WARN", "NOTIFICATION_MALFORMED", "twice", nil},
		{"a nonce of 11 bytes", withNonce("fdasflkja48"), 400, "WARN", "NOTIFICATION_MALFORMED", "12 bytes", nil},
		{"a nonce of 13 bytes", withNonce("fdasflkja4845"), 400, "WARN", "NOTIFICATION_MALFORMED", "12 bytes", nil},
		{"encrypted with another key", signed(wechatpaytest.Notification(cardCreated, `{}`, strings.Repeat("0", 32))), 500, "ERROR", "CONFIG_ERROR", "apiv3_key does not decrypt", nil},
		{"no apiv3_key", signed(good()), 500, "ERROR", "CONFIG_ERROR", "no apiv3_key", []string{wechatpaytest.Secret()}},
		{"a wrong apiv3_key", signed(good()), 500, "ERROR", "CONFIG_ERROR", "apiv3_key does not decrypt", []string{wechatpaytest.Secret("apiv3_key", strings.Repeat("0", 32))}},
		{"no secret", signed(good()), 500, "ERROR", "CONFIG_ERROR", "AccessDeniedException", []string{}},
	} {
		t.Run(row.rule, func(t *testing.T) {
			if row.secrets == nil {
				row.secrets = []string{wechatpaytest.Secret("apiv3_key", apiv3Key)}
			}
			start(t, nil, row.secrets...).fails(t, row.event, row.status, row.level, row.code, row.cause)
		})
	}
}

func TestANewKeyServesAtOnce(t *testing.T) {
	now := wechatpaytest.Secret("apiv3_key", apiv3Key)
	for rule, before := range map[string]string{
		"an apiv3_key at last": wechatpaytest.Secret(),
		"a new apiv3_key":      wechatpaytest.Secret("apiv3_key", strings.Repeat("0", 32)),
		"a new public key":     wechatpaytest.Secret("apiv3_key", apiv3Key, "wechatpay_public_key_id", wechatpaytest.PublicKeyID+"0"),
	} {
		t.Run(rule, func(t *testing.T) {
			i := start(t, nil, before, now)
			if o, record := i.receive(t, signed(good())); o.Status != 204 || record["secret_changed"] != true {
				t.Errorf("%d %s %s", o.Status, o.Body, o.Log)
			}
			i.bus.took(t)
		})
	}
}

// TestUnknownKeysCostOneDownloadAndOneReadOfTheSecret has requests of unknown serial
// numbers, each with another one, and the secret as AWS hands it out.
func TestUnknownKeysCostOneDownloadAndOneReadOfTheSecret(t *testing.T) {
	var reads, downloads atomic.Int64
	manager := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads.Add(1)
		answer, _ := json.Marshal(map[string]string{"ARN": "a", "Name": "n", "VersionId": "v", "SecretString": wechatpaytest.Secret("apiv3_key", apiv3Key)})
		_, _ = w.Write(answer)
	}))
	t.Cleanup(manager.Close)
	wechat := tlsdialtest.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		downloads.Add(1)
		_, key := wechatpaytest.Keys()
		wechatpaytest.Sign(w.Header(), "", wechatpaytest.PublicKeyID, key, time.Now())
		w.WriteHeader(http.StatusNotFound)
	}))
	b := startEventBridge(t, nil)
	config := b.config()
	config.BaseEndpoint = &manager.URL
	log, records := telemetrytest.New()
	client := signing.NewClient(secret.New(config, "merchant", signing.ParseMerchant, log), upstream.New([]string{wechat.URL}))
	function := newHandler(log, client, newBus(b.config(), busName))
	for i := range 100 {
		serial := fmt.Sprintf("%040X", i)
		if i%2 == 1 {
			serial = fmt.Sprintf("PUB_KEY_ID_%040d", i)
		}
		if o := gatewaytest.Invoke(t, function, records, tampered("wechatpay-serial", serial)); o.Status != 401 {
			t.Fatalf("%d %s", o.Status, o.Log)
		}
	}
	if reads.Load() != 2 || downloads.Load() != 1 { // the first read is the one that any request needs
		t.Errorf("%d reads of the secret, %d downloads", reads.Load(), downloads.Load())
	}
	if o := gatewaytest.Invoke(t, function, records, signed(good())); o.Status != 204 {
		t.Errorf("afterwards: %d %s", o.Status, o.Body)
	}
}

// answers makes the bus answer each attempt the same.
func answers(status int, body string) func(http.ResponseWriter, int) {
	return func(w http.ResponseWriter, _ int) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestWithoutTheBusWeChatPaySendsItAgain(t *testing.T) {
	t.Parallel()
	echo := `{"openid":"obLatjnx9gnqzS4myYGmLZ7LgLBA"}`
	quoted, _ := json.Marshal(echo)
	for _, row := range []struct {
		rule   string
		answer func(http.ResponseWriter, int)
		cause  string
	}{
		{"may not put events", answers(400, `{"__type":"AccessDeniedException","message":`+string(quoted)+`}`), "AccessDeniedException"},
		{"no such bus", answers(400, `{"__type":"com.amazonaws.events#ResourceNotFoundException","message":"Event bus does not exist."}`), "ResourceNotFoundException"},
		{"throttled", answers(400, `{"__type":"ThrottlingException","message":"Rate exceeded"}`), "ThrottlingException"},
		{"an internal error", answers(500, `{"__type":"InternalException","message":"x"}`), "InternalException"},
		{"no JSON", answers(503, `<html>`), "EventBridge"},
		{"the entry failed", answers(200, `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"InternalFailure","ErrorMessage":`+string(quoted)+`}]}`), "InternalFailure"},
		{"the entry failed, without a code", answers(200, `{"FailedEntryCount":1,"Entries":[{}]}`), "did not confirm"},
		{"a count alone", answers(200, `{"FailedEntryCount":1,"Entries":[{"EventId":"1"}]}`), "did not confirm"},
		{"a success that says nothing", answers(200, `{}`), "did not confirm"},
		{"an answer that is cut short", answers(200, `{"FailedEntryCount":0,"Entries":[{"Ev`), "EventBridge"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			start(t, row.answer, wechatpaytest.Secret("apiv3_key", apiv3Key)).fails(t, signed(good()), 500, "ERROR", "EVENT_BUS_UNAVAILABLE", row.cause)
		})
	}
	t.Run("the bus can't be reached", func(t *testing.T) {
		t.Parallel()
		i := start(t, nil, wechatpaytest.Secret("apiv3_key", apiv3Key))
		i.bus.URL = gatewaytest.Nowhere
		i.fails(t, signed(good()), 500, "ERROR", "EVENT_BUS_UNAVAILABLE", "could not be reached")
	})
}

func TestABusThatHangs(t *testing.T) {
	t.Parallel()
	t.Run("once", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		i := start(t, func(w http.ResponseWriter, attempt int) {
			if attempt == 1 {
				<-release
			}
			_, _ = io.WriteString(w, `{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}`)
		}, wechatpaytest.Secret("apiv3_key", apiv3Key))
		t.Cleanup(func() { close(release) }) // before the server closes
		if o, _ := i.receive(t, signed(good())); o.Status != 204 {
			t.Errorf("%d %s", o.Status, o.Log)
		}
	})
	t.Run("for good", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		i := start(t, func(http.ResponseWriter, int) { <-release }, wechatpaytest.Secret("apiv3_key", apiv3Key))
		t.Cleanup(func() { close(release) })
		i.fails(t, signed(good()), 500, "ERROR", "EVENT_BUS_UNAVAILABLE", "in time")
	})
}

// TestTheLargestEventFits has the text that grows most: a line separator has 3 bytes
// in the notification and 6 in the event.
func TestTheLargestEventFits(t *testing.T) {
	const maxEvent = 256 << 10 // what EventBridge has taken of one event since 2020
	i := start(t, nil, wechatpaytest.Secret("apiv3_key", apiv3Key))
	outer, _ := wechatpaytest.Document(cardCreated, `{}`, apiv3Key)
	room := maxBody - len(wechatpaytest.Encode(outer))
	body := strings.Replace(wechatpaytest.Encode(outer), "用户开卡", strings.Repeat("\u2028", room/3), 1)
	if o, _ := i.receive(t, signed(body)); o.Status != 204 {
		t.Fatalf("%d %s", o.Status, o.Body)
	}
	got := i.bus.took(t)
	if size := len(got.Source) + len(got.DetailType) + len(got.Detail) + 14; size > maxEvent || len(got.Detail) < maxBody {
		t.Errorf("the event has %d bytes", size)
	}
}
