package apigateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/golang-jwt/jwt/v5"

	"membercard/local/lambda"
)

// guard serves a route to an echoing function behind a.
func guard(t *testing.T, a Authorizer) *httptest.Server {
	t.Helper()
	f := newFunction(t)
	server := httptest.NewServer(New([]Route{
		{Key: "POST /a/{x}", Function: f, Authorizer: a},
		{Key: "POST /b", Function: f, Authorizer: a},
		{Key: "POST /open", Function: f},
	}, nil))
	t.Cleanup(server.Close)
	return server
}

func request(t *testing.T, url, authorization, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return req
}

// known returns the caller in the event that is a 200's body, or nil.
func known(t *testing.T, res *http.Response, body string) *caller {
	t.Helper()
	var event events.APIGatewayV2HTTPRequest
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&event); err != nil {
		t.Fatalf("%d %s: %v", res.StatusCode, body, err)
	}
	return event.RequestContext.Authorizer
}

// messages are the gateway's answers by status.
var messages = map[int]string{
	401: `{"message":"Unauthorized"}`,
	403: `{"message":"Forbidden"}`,
	500: `{"message":"Internal Server Error"}`,
}

func TestOpen(t *testing.T) {
	server := guard(t, IAM("eu-west-1", "AKIDEXAMPLE", "secret"))
	res, body := send(t, request(t, server.URL+"/open", "", ""))
	if res.StatusCode != 200 || known(t, res, body) != nil {
		t.Errorf("%d %s, want 200 and nothing known of the caller", res.StatusCode, body)
	}
}

func TestIAM(t *testing.T) {
	server := guard(t, IAM("eu-west-1", "AKIDEXAMPLE", "secret"))
	tests := []struct {
		name                       string
		path                       string // empty: /a/1
		key, secret, service, body string // empty: the good one
		region, token              string
		age                        time.Duration
		unsigned                   bool
		status                     int
	}{
		{name: "good", status: 200},
		{name: "with a session token", token: "x", status: 200},
		{name: "escaped path", path: "/a/%E5%8D%A1%20+", status: 200},
		{name: "query", path: "/a/1?b=2&a=x%20y", status: 200},
		{name: "unsigned", unsigned: true, status: 403},
		{name: "another key", key: "AKIDOTHER", status: 403},
		{name: "wrong secret", secret: "other", status: 403},
		{name: "another service", service: "lambda", status: 403},
		{name: "another region", region: "us-east-1", status: 403},
		{name: "another body", body: "b", status: 403},
		{name: "old", age: 6 * time.Minute, status: 403},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			or := func(value, otherwise string) string {
				if value == "" {
					return otherwise
				}
				return value
			}
			req := request(t, server.URL+or(test.path, "/a/1"), "", or(test.body, "a"))
			if !test.unsigned {
				hash := sha256.Sum256([]byte("a"))
				credentials := aws.Credentials{AccessKeyID: or(test.key, "AKIDEXAMPLE"), SecretAccessKey: or(test.secret, "secret"), SessionToken: test.token}
				err := v4.NewSigner().SignHTTP(t.Context(), credentials, req, hex.EncodeToString(hash[:]), or(test.service, "execute-api"), or(test.region, "eu-west-1"), time.Now().Add(-test.age))
				if err != nil {
					t.Fatal(err)
				}
			}
			res, body := send(t, req)
			if res.StatusCode != test.status || test.status != 200 && body != messages[test.status] {
				t.Fatalf("%d %s, want %d", res.StatusCode, body, test.status)
			}
			if test.status != 200 {
				return
			}
			if c := known(t, res, body); c == nil || c.IAM == nil || c.IAM.AccessKey != "AKIDEXAMPLE" || c.IAM.AccountID != "123456789012" ||
				c.IAM.UserARN != "arn:aws:sts::123456789012:assumed-role/local/local" {
				t.Errorf("caller is %+v", c)
			}
		})
	}
}

func TestJWT(t *testing.T) {
	const here = "https://issuer.example.com"
	issuer := NewIssuer(here)
	server := guard(t, JWT("Authorization", here, []string{"app", "web"}, issuer))
	now := time.Now().Unix()
	claims := func(changes map[string]any) jwt.MapClaims {
		all := jwt.MapClaims{"iss": here, "aud": "app", "exp": now + 60}
		for name, value := range changes {
			if value == nil {
				delete(all, name)
			} else {
				all[name] = value
			}
		}
		return all
	}
	with := func(name string, value any) string { return issuer.Sign(claims(map[string]any{name: value})) }
	signed := func(method jwt.SigningMethod, keyID, key any) string {
		token := jwt.NewWithClaims(method, claims(nil))
		token.Header["kid"] = keyID
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	good := issuer.Sign(claims(nil))
	parts := strings.Split(good, ".")
	tests := []struct {
		name, authorization string
		err                 error // the reason in the challenge; nil: 200
	}{
		{"good", "Bearer " + good, nil},
		{"bare", good, nil},
		{"lower case", "bearer " + with("aud", "web"), nil},
		{"list of audiences", with("aud", []string{"x", "web"}), nil},
		{"past nbf and iat", issuer.Sign(claims(map[string]any{"nbf": now - 1, "iat": now - 1})), nil},
		{"no token", "token", jwt.ErrTokenMalformed},
		{"another scheme", "Basic YTpi", jwt.ErrTokenMalformed},
		{"two parts", parts[0] + "." + parts[1], jwt.ErrTokenMalformed},
		{"four parts", good + ".", jwt.ErrTokenMalformed},
		{"padded", good + "=", jwt.ErrTokenMalformed},
		{"no header", "." + parts[1] + "." + parts[2], jwt.ErrTokenMalformed},
		{"algorithm none", signed(jwt.SigningMethodNone, issuer.keyID, jwt.UnsafeAllowNoneSignatureType), jwt.ErrTokenSignatureInvalid},
		{"algorithm HS256", signed(jwt.SigningMethodHS256, issuer.keyID, x509.MarshalPKCS1PublicKey(&issuer.key.PublicKey)), jwt.ErrTokenSignatureInvalid},
		{"algorithm RS512", signed(jwt.SigningMethodRS512, issuer.keyID, issuer.key), jwt.ErrTokenSignatureInvalid},
		{"no signature", parts[0] + "." + parts[1] + ".", jwt.ErrTokenSignatureInvalid},
		{"claims of another token", parts[0] + "." + strings.Split(with("sub", "bob"), ".")[1] + "." + parts[2], jwt.ErrTokenSignatureInvalid},
		{"another key", NewIssuer(here).Sign(claims(nil)), jwt.ErrTokenUnverifiable},
		{"another key under the ID", signed(jwt.SigningMethodRS256, issuer.keyID, NewIssuer(here).key), jwt.ErrTokenSignatureInvalid},
		{"another issuer", with("iss", "https://x"), jwt.ErrTokenInvalidIssuer},
		{"no issuer", with("iss", ""), jwt.ErrTokenRequiredClaimMissing},
		{"another audience", with("aud", "x"), jwt.ErrTokenInvalidAudience},
		{"audience is no text", with("aud", []any{"x", 1}), jwt.ErrInvalidType},
		{"no audience", with("aud", nil), jwt.ErrTokenRequiredClaimMissing},
		{"expired", with("exp", now), jwt.ErrTokenExpired},
		{"no exp", with("exp", nil), jwt.ErrTokenRequiredClaimMissing},
		{"exp is no number", with("exp", "never"), jwt.ErrInvalidType},
		{"nbf ahead", with("nbf", now+60), jwt.ErrTokenNotValidYet},
		{"iat ahead", with("iat", now+60), jwt.ErrTokenUsedBeforeIssued},
		{"iat is no number", with("iat", "x"), jwt.ErrInvalidType},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res, body := send(t, request(t, server.URL+"/b", test.authorization, ""))
			challenge := res.Header.Get("Www-Authenticate")
			if test.err == nil {
				if c := known(t, res, body); challenge != "" || c == nil || c.JWT == nil || c.JWT.Claims["iss"] != here {
					t.Errorf("challenge %s, caller is %+v", challenge, c)
				}
			} else if res.StatusCode != 401 || body != messages[401] || !strings.Contains(challenge, test.err.Error()) ||
				!strings.HasPrefix(challenge, `Bearer scope="" error="invalid_token" error_description="`) {
				t.Errorf("%d %s, challenge %s, want 401 because of %v", res.StatusCode, body, challenge, test.err)
			}
		})
	}
	res, _ := send(t, request(t, server.URL+"/b", "", ""))
	if got := res.Header.Get("Www-Authenticate"); res.StatusCode != 401 || got != "Bearer" {
		t.Errorf("without a token: %d, challenge %s", res.StatusCode, got)
	}
}

// TestClaims checks that claims of all types are strings in the event.
func TestClaims(t *testing.T) {
	issuer := NewIssuer("https://a")
	server := guard(t, JWT("Authorization", "https://a", []string{"app"}, issuer))
	token := issuer.Sign(map[string]any{
		"iss": "https://a", "aud": []string{"app", "b"}, "exp": 4102444800, "sub": "alice", "admin": true, "n": 1.5,
	})
	res, body := send(t, request(t, server.URL+"/b", token, ""))
	want := map[string]string{"iss": "https://a", "aud": "[app b]", "exp": "4102444800", "sub": "alice", "admin": "true", "n": "1.5"}
	if c := known(t, res, body); c == nil || c.JWT == nil || !reflect.DeepEqual(c.JWT.Claims, want) {
		t.Errorf("%s, want the claims %v", body, want)
	}
}

// ask returns a Lambda authorizer with a real function of one instance.
func ask(t *testing.T, ttl time.Duration, source ...string) *lambdaAuthorizer {
	t.Helper()
	f, err := lambda.New(lambda.Config{Name: "authorizer", Binary: binary(t), Timeout: time.Minute, MaxInstances: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return Lambda(f, source, ttl).(*lambdaAuthorizer)
}

func TestLambda(t *testing.T) {
	server := guard(t, ask(t, 0, "Authorization"))
	tests := []struct {
		name, order string
		status      int
		context     map[string]any
	}{
		{"yes", `{"isAuthorized":true}`, 200, nil},
		{"null context", `{"isAuthorized":true,"context":null}`, 200, nil},
		{"context", `{"isAuthorized":true,"context":{"openid":"o1","n":12345678901234567890,"list":["a",true],"map":{"a":null}}}`, 200,
			map[string]any{"openid": "o1", "n": json.Number("12345678901234567890"), "list": []any{"a", true}, "map": map[string]any{"a": nil}}},
		{"no", `{"isAuthorized":false}`, 403, nil},
		{"no with context", `{"isAuthorized":false,"context":{"a":1}}`, 403, nil},
		{"missing", "", 401, nil},
		{"empty answer", `{}`, 500, nil},
		{"null", `null`, 500, nil},
		{"a string", `"yes"`, 500, nil},
		{"a list", `[true]`, 500, nil},
		{"not true or false", `{"isAuthorized":"true"}`, 500, nil},
		{"context is no object", `{"isAuthorized":true,"context":"a"}`, 500, nil},
		{"a policy", `{"principalId":"a","policyDocument":{}}`, 500, nil},
		{"function error", "error", 500, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res, body := send(t, request(t, server.URL+"/b", test.order, ""))
			if res.StatusCode != test.status || test.status != 200 && body != messages[test.status] {
				t.Fatalf("%d %s, want %d", res.StatusCode, body, test.status)
			}
			if test.status == 200 {
				if c := known(t, res, body); c == nil || !reflect.DeepEqual(c.Lambda, test.context) {
					t.Errorf("caller is %+v, want %v", c, test.context)
				}
			}
			if got := res.Header.Get("Www-Authenticate"); got != "" {
				t.Errorf("challenge %s, want none", got)
			}
		})
	}
}

// TestLambdaUnavailable uses an authorizer that exceeds its time, is busy, and is
// closed.
func TestLambdaUnavailable(t *testing.T) {
	a := ask(t, time.Hour, "Authorization")
	a.timeout = 100 * time.Millisecond
	server := guard(t, a)
	for _, step := range []struct{ name, order string }{
		{"no time left", "hang"}, {"busy with the one before", "true"}, {"closed", "true"},
	} {
		if step.name == "closed" {
			a.function.Close()
		}
		if res, body := send(t, request(t, server.URL+"/b", step.order, "")); res.StatusCode != 500 || body != messages[500] {
			t.Errorf("%s: %d %s, want 500", step.name, res.StatusCode, body)
		}
	}
}

func TestLambdaEvent(t *testing.T) {
	server := guard(t, ask(t, 0, "Authorization", "X-App"))
	req := request(t, server.URL+"/a/1?b=2", "true", "a body")
	req.Header.Set("X-App", "wx1")
	res, body := send(t, req)
	c := known(t, res, body)
	if c == nil {
		t.Fatalf("%d %s, want 200", res.StatusCode, body)
	}
	text, _ := json.Marshal(c.Lambda["event"])
	if bytes.Contains(text, []byte("a body")) {
		t.Errorf("event has the body: %s", text)
	}
	var event events.APIGatewayV2CustomAuthorizerV2Request
	if err := json.Unmarshal(text, &event); err != nil {
		t.Fatal(err)
	}
	if event.Headers["x-app"] != "wx1" || event.RequestContext.HTTP.Path != "/a/1" || event.RequestContext.RequestID != res.Header.Get("Apigw-Requestid") {
		t.Errorf("headers %v, context %+v", event.Headers, event.RequestContext)
	}
	event.Headers, event.RequestContext = nil, events.APIGatewayV2HTTPRequestContext{}
	want := events.APIGatewayV2CustomAuthorizerV2Request{
		Version:        "2.0",
		Type:           "REQUEST",
		RouteArn:       "arn:aws:execute-api:us-east-1:123456789012:local/$default/POST/a/1",
		IdentitySource: []string{"true", "wx1"},
		RouteKey:       "POST /a/{x}",
		RawPath:        "/a/1",
		RawQueryString: "b=2",
		PathParameters: map[string]string{"x": "1"},
	}
	if !reflect.DeepEqual(event, want) {
		t.Errorf("event is\n%+v, want\n%+v", event, want)
	}
}

// TestCache counts the invocations of the function.
func TestCache(t *testing.T) {
	const ttl = 30 * time.Minute
	now := time.Now()
	clock := &now
	type step struct {
		after               time.Duration // the step before
		path, authorization string
		app                 string
		status              int
		count               string // of requests to the function, by a 200
	}
	tests := []struct {
		name   string
		ttl    time.Duration
		source []string
		steps  []step
	}{
		{"kept for the time", ttl, []string{"Authorization"}, []step{
			{0, "/b", "true", "", 200, "1"},
			{ttl - 1, "/b", "true", "", 200, "1"},
			{1, "/b", "true", "", 200, "2"},
		}},
		{"for all routes", ttl, []string{"Authorization"}, []step{{0, "/b", "true", "", 200, "1"}, {0, "/a/1", "true", "", 200, "1"}}},
		{"whatever else differs", ttl, []string{"Authorization"}, []step{{0, "/b", "true", "x", 200, "1"}, {0, "/b", "true", "y", 200, "1"}}},
		{"by all values", ttl, []string{"Authorization", "X-App"}, []step{
			{0, "/b", "true", "x", 200, "1"}, {0, "/b", "true", "y", 200, "2"}, {0, "/b", "true", "x", 200, "1"}, {0, "/b", "true", "", 401, ""},
		}},
		{"no time", 0, []string{"Authorization"}, []step{{0, "/b", "true", "", 200, "1"}, {0, "/b", "true", "", 200, "2"}}},
		{"denials too", ttl, []string{"X-App"}, []step{
			{0, "/b", `{"isAuthorized":false}`, "x", 403, ""},
			{ttl - 1, "/b", "true", "x", 403, ""},
			{1, "/b", "true", "x", 200, "2"},
		}},
		{"not errors", ttl, []string{"X-App"}, []step{
			{0, "/b", "error", "x", 500, ""}, {0, "/b", "{}", "x", 500, ""}, {0, "/b", "true", "x", 200, "3"},
		}},
		{"missing is not asked", ttl, []string{"Authorization"}, []step{{0, "/b", "", "", 401, ""}, {0, "/b", "true", "", 200, "1"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := ask(t, test.ttl, test.source...)
			a.now = func() time.Time { return *clock }
			server := guard(t, a)
			for i, step := range test.steps {
				*clock = clock.Add(step.after)
				req := request(t, server.URL+step.path, step.authorization, "")
				if step.app != "" {
					req.Header.Set("X-App", step.app)
				}
				res, body := send(t, req)
				if res.StatusCode != step.status {
					t.Fatalf("step %d: %d %s, want %d", i, res.StatusCode, body, step.status)
				}
				if step.status != 200 {
					continue
				}
				if c := known(t, res, body); c.Lambda["count"] != json.Number(step.count) {
					t.Errorf("step %d: request %v to the function, want %s", i, c.Lambda["count"], step.count)
				}
			}
		})
	}
}
