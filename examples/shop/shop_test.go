package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"membercard/local/discovery"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/local/tools"
	"membercard/shared/awsconfig"
	"membercard/shared/awsconfig/mototest"
	"membercard/wechat/network/networktest"
	"membercard/wechat/wechatpay"
)

var project *stack.Project

func TestMain(m *testing.M) { stacktest.Main(m, "../..", &project) }

// A customer of the local stack joins with each card, and is a member.
func TestShop(t *testing.T) {
	s := stacktest.Start(t, project, stack.Config{Auth: stack.AuthIAM, Unthrottled: true})
	delivery := wechatpay.NewDelivery()
	delivery.Delay = 200 * time.Millisecond
	s.WeChatPay.Deliver(delivery)
	published, err := tools.Handle(s)
	if err != nil {
		t.Fatal(err)
	}
	defer published.Close()
	described := tools.Describe(s)
	server := httptest.NewUnstartedServer(nil)
	handler, follow, err := beside(&described, "http://"+server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	go follow()
	server.Config.Handler = handler
	server.Start()
	defer server.Close()
	for name, path := range map[string]string{
		"brand":    "/v3/brand/partner/card-member/pre-auth-tokens",
		"merchant": "/v3/marketing/membercard-open/cards/" + merchantCard + "/permission-tokens",
	} {
		t.Run(name, func(t *testing.T) {
			jar, _ := cookiejar.New(nil) // never fails
			customer := &http.Client{Jar: jar}
			call := func(method, address string, input url.Values) (answer struct {
				Member                 bool
				Token, PermissionToken string
				Jump                   struct{ URL string }
			}) {
				t.Helper()
				request, err := http.NewRequest(method, address, strings.NewReader(input.Encode()))
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				response, body := networktest.Do(t, customer.Do, request)
				if response.StatusCode != http.StatusOK {
					t.Fatalf("%s %s: %d %s", method, address, response.StatusCode, body)
				}
				_ = json.Unmarshal(bytes.ReplaceAll(body, []byte("permission_token"), []byte("PermissionToken")), &answer) // a page stays empty
				return answer
			}
			call("GET", server.URL+"/login", nil)
			if call("GET", server.URL+"/me", nil).Member {
				t.Error("a new customer is a member")
			}
			token := call("POST", server.URL+path, nil)
			opened := call("POST", server.URL+"/wechat/open", url.Values{"token": {token.Token + token.PermissionToken}})
			if (opened.Jump.URL != "") != (name == "merchant") {
				t.Fatalf("the jump is %q", opened.Jump.URL)
			}
			if opened.Jump.URL != "" {
				call("GET", opened.Jump.URL, nil)
				call("POST", opened.Jump.URL, nil)
			}
			for deadline := time.Now().Add(30 * time.Second); !call("GET", server.URL+"/me", nil).Member; time.Sleep(100 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the customer is no member")
				}
			}
		})
	}
}

func event(kind, time, resource string) string {
	return fmt.Sprintf(`{"source":"membercard","detail-type":%q,"detail":{"id":"EV-1","event_type":%[1]q,"create_time":%q,"resource":{"openid":"o1","card_id":"p1",%s}}}`, kind, time, resource)
}

var (
	opened  = event("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", "2026-11-20T13:29:35+08:00", `"brand_id":"1004","user_card_code":"1"`)
	deleted = event("BRAND_MEMBER_CARD_SP.USER_CARD.DELETE", "2026-11-20T06:00:00Z", `"brand_id":"1004","user_card_code":"1"`)
	taken   = event("MEMBERCARD.ACCEPT_CARD", "2026-11-20T13:29:35+08:00", `"code":"2"`)
	active  = event("MEMBERCARD.ACTIVATE_CARD", "2026-11-20T13:30:35+08:00", `"code":"2"`)
	viewed  = event("MEMBERCARD.USERCARD_MANAGE", "2026-11-20T14:00:00+08:00", `"code":"2","event_type":"USER_VIEW_MEMBERCARD"`)
	dropped = event("MEMBERCARD.USERCARD_MANAGE", "2026-11-20T14:00:00+08:00", `"code":"2","event_type":"USER_DELETE_MEMBERCARD"`)
)

// Who is a member after events, in each store. WeChat says that each card is effective.
func TestMembers(t *testing.T) {
	wechat := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, map[string]string{map[bool]string{true: "user_card_state", false: "user_card_status"}[r.FormValue("brand_id") == "1004"]: "EFFECTIVE"})
	}))
	defer wechat.Close()
	for name, store := range map[string]func(*testing.T) members{
		"memory":   func(*testing.T) members { return &memory{} },
		"DynamoDB": newTable,
	} {
		t.Run(name, func(t *testing.T) {
			for _, row := range []struct {
				what   string
				events []string
				code   string // of the member's card; empty for none
				left   int    // messages that SQS has to deliver again
			}{
				{"nothing happened", nil, "", 0},
				{"a brand card", []string{opened}, "1", 0},
				{"the same event again", []string{opened, opened}, "1", 0},
				{"a deleted brand card", []string{opened, deleted}, "", 0},
				{"the deletion comes first", []string{deleted, opened}, "", 0},
				{"a merchant card", []string{taken, active}, "2", 0},
				{"the activation comes first", []string{active, taken}, "2", 0},
				{"a viewed card", []string{active, viewed}, "2", 0},
				{"a deleted merchant card", []string{active, dropped}, "", 0},
				{"another kind of event", []string{event("SECURITY_ECHO.SUCCESS", "2026-11-20T14:00:00+08:00", `"a":1`)}, "", 0},
				{"what is no event stays in the queue", []string{"x", event("MEMBERCARD.ACCEPT_CARD", "2026-11-20T14:00:00Z", `"a":1`), opened}, "1", 2},
			} {
				t.Run(row.what, func(t *testing.T) {
					s := &shop{members: store(t), membercard: &membercard{wechat.URL, "us-east-1", aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
						return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "x"}, nil
					})}}
					var batch events.SQSEvent
					for i, e := range row.events {
						batch.Records = append(batch.Records, events.SQSMessage{MessageId: fmt.Sprint(i), Body: e})
					}
					response, err := s.consume(t.Context(), batch)
					if err != nil || len(response.BatchItemFailures) != row.left {
						t.Errorf("%v %v, want %d failures", response, err, row.left)
					}
					for range 2 { // asked, and kept
						if number, err := s.member(t.Context(), "o1"); err != nil || number != row.code {
							t.Errorf("%q %v, want the card %q", number, err, row.code)
						}
					}
					if number, err := s.member(t.Context(), "o2"); err != nil || number != "" {
						t.Errorf("another customer: %q %v", number, err)
					}
				})
			}
		})
	}
}

// newTable makes a table as the template's.
func newTable(t *testing.T) members {
	mototest.Use(t, "AWS_ENDPOINT_URL_DYNAMODB")
	client, name := dynamodb.NewFromConfig(awsconfig.Load()), "members-"+rand.Text()
	key := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: &name, KeyType: kind}
	}
	text := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeTypeS}
	}
	if _, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{text("openid"), text("code")},
		KeySchema:            []types.KeySchemaElement{key("openid", types.KeyTypeHash), key("code", types.KeyTypeRange)},
	}); err != nil {
		t.Fatal(err)
	}
	return &table{client, name}
}

// An error at the start is one line, in the reader's language.
func TestStartErrors(t *testing.T) {
	start := func(stack discovery.Stack, origin string) error {
		_, _, err := beside(&stack, origin)
		return err
	}
	for _, row := range []struct {
		what             string
		err              func() error
		english, chinese string
	}{
		{"no stack", func() error { return run("http://127.0.0.1:1", "") }, "there is no local stack at http://127.0.0.1:1; start it first", "http://127.0.0.1:1 没有本机环境"},
		{"a stack elsewhere", func() error { return run("https://example.com", "") }, "-local https://example.com is not on this machine", "不在本机"},
		{"pages call the stack", func() error { return start(discovery.Stack{Auth: "jwt"}, "http://127.0.0.1:1") }, "the stack runs with -auth jwt", "以 -auth jwt 启动"},
		{"other machines reach the shop", func() error { return start(discovery.Stack{Auth: "none"}, "http://0.0.0.0:1") }, "only this machine may reach it", "只能由本机访问"},
	} {
		for locale, want := range map[string]string{"C.UTF-8": row.english, "zh_CN.UTF-8": row.chinese} {
			t.Setenv("LC_ALL", locale)
			if err := row.err(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", row.what, err, want)
			}
		}
	}
}

// Without the shop's own session, nothing is told and nothing is called.
func TestSession(t *testing.T) {
	s := &shop{page: page, scheme: "https", members: &memory{}, account: &account{AppID: "wx1", Secret: "s", authorize: "https://open.weixin.qq.com/x"}}
	good := "bzE.32503680000." // o1, until the year 3000
	good += s.sign(good[:len(good)-1])
	serve := serveLambda(s.handler())
	for _, row := range []struct {
		what, method, path, cookie string
		status                     int
	}{
		{"a session", "GET", "/me", "session=" + good, 200},
		{"no session", "GET", "/me", "", 401},
		{"another openid", "GET", "/me", "session=bzI" + good[3:], 401},
		{"another end", "GET", "/me", "session=bzE.32503680001" + good[len("bzE.32503680000"):], 401},
		{"an expired session", "GET", "/me", "session=bzE.1." + s.sign("bzE.1"), 401},
		{"no signature", "GET", "/me", "session=bzE.32503680000", 401},
		{"a token without a session", "POST", "/v3/brand/partner/card-member/pre-auth-tokens", "", 401},
		{"an activation without a session", "GET", "/activate?openid=o1", "", 302},
		{"an activation of another customer", "POST", "/activate?card_id=" + merchantCard + "&openid=o2", "session=" + good, 403},
		{"an activation of another card", "GET", "/activate?card_id=p&openid=o1", "session=" + good, 403},
		{"a login that was not asked for", "GET", "/login?code=c&state=s", "", 403},
		{"a login with another state", "GET", "/login?code=c&state=s", "state=t", 403},
		{"the page", "GET", "/", "", 200},
		{"the client", "GET", "/membercard/index.js", "", 200},
	} {
		var request events.APIGatewayV2HTTPRequest
		request.RequestContext.HTTP.Method, request.RequestContext.DomainName = row.method, "shop.example.com"
		address, err := http.NewRequest("GET", row.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.RawPath, request.RawQueryString, request.Cookies = address.URL.Path, address.URL.RawQuery, []string{row.cookie}
		response, err := serve(t.Context(), request)
		if err != nil || response.StatusCode != row.status {
			text, _ := json.Marshal(response)
			t.Errorf("%s: %s %v, want %d", row.what, text, err, row.status)
		}
	}
}
