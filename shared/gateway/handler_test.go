package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/shared/apierror"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
)

// serve invokes a handler and returns its answer and its log.
func serve(t *testing.T, h Handler, event events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, string) {
	t.Helper()
	var log bytes.Buffer
	h.Log = telemetry.New(&log, "MemberCard", "test")
	event.RequestContext.HTTP.Method = "POST"
	payload, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := h.Invoke(t.Context(), payload)
	if err != nil {
		t.Fatal(err)
	}
	var answer events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatal(err)
	}
	return answer, log.String()
}

func TestPassIsWeChatsAnswer(t *testing.T) {
	for _, row := range []struct {
		what              string
		status            int
		body, contentType string
	}{
		{"200 with a body", 200, `{"code": "123"}`, "application/json"},
		{"204 without one", 204, "", ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			answer, _ := serve(t, Handler{Operation: func(context.Context, *Request) (*Response, error) {
				return Pass(&upstream.Answer{Status: row.status, Body: []byte(row.body), Header: http.Header{"Request-Id": {"08F78BB5AF0610D302"}}}, nil)
			}}, events.APIGatewayV2HTTPRequest{})
			if answer.StatusCode != row.status || answer.Body != row.body || answer.Headers["Content-Type"] != row.contentType {
				t.Errorf("%+v", answer)
			}
			if answer.Headers["Cache-Control"] != "no-store" || answer.Headers["X-WeChat-Request-Id"] != "08F78BB5AF0610D302" {
				t.Errorf("headers %v", answer.Headers)
			}
		})
	}
}

func TestHeadersInAnyCase(t *testing.T) {
	for _, name := range []string{"wechatpay-nonce", "Wechatpay-Nonce", "WECHATPAY-NONCE"} {
		var got string
		serve(t, Handler{Operation: func(_ context.Context, r *Request) (*Response, error) {
			got = r.Header().Get("Wechatpay-Nonce")
			return &Response{}, nil
		}}, events.APIGatewayV2HTTPRequest{Headers: map[string]string{name: "EcBhNPeaPgRmRTQj"}})
		if got != "EcBhNPeaPgRmRTQj" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestTheQueryIsNotDecoded(t *testing.T) {
	const query = "encrypt_code=a%2Bb+c/d==&x"
	var got string
	serve(t, Handler{Operation: func(_ context.Context, r *Request) (*Response, error) {
		got = r.RawQuery()
		return &Response{}, nil
	}}, events.APIGatewayV2HTTPRequest{RawQueryString: query})
	if got != query {
		t.Errorf("%q", got)
	}
}

func TestAGreedyPathParameterKeepsItsSlashes(t *testing.T) {
	const route = "/v3/marketing/membercard-open/activate-informations/"
	for _, row := range []struct{ what, path, parameter, want string }{
		{"one segment", route + "abc", "abc", "abc"},
		{"more segments", route + "a/b/c", "a/b/c", "a/b/c"},
		{"slashes that both have", route + "/a//b/", "/a//b/", "/a//b/"},
		{"a slash before that only the path has", route + "/a", "a", "/a"},
		{"a slash behind that only the path has", route + "a/", "a", "a/"},
		{"two slashes that only the path has", route + "a//b", "a/b", "a//b"},
		{"behind a stage", "/prod" + route + "/a/", "a", "/a/"},
		{"a path that is still encoded", route + "a%2Fb", "a/b", "a/b"},
		{"another path", "/other", "a/b", "a/b"},
		{"no path", "", "a/b", "a/b"},
		{"the route's own path within it", route + "a" + route + "b", "a" + route + "b", "a" + route + "b"},
		{"nothing", route, "", ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			var got string
			serve(t, Handler{Operation: func(_ context.Context, r *Request) (*Response, error) {
				got = r.GreedyPathParameter("activate_ticket")
				return &Response{}, nil
			}}, events.APIGatewayV2HTTPRequest{
				RouteKey: "GET " + route + "{activate_ticket+}", RawPath: row.path,
				PathParameters: map[string]string{"activate_ticket": row.parameter},
			})
			if got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func TestBodyIsTheBytesSent(t *testing.T) {
	const limit = 64 << 10
	encode := base64.StdEncoding.EncodeToString
	for _, row := range []struct {
		what, body string
		isBase64   bool
		want       string
		issue      string
	}{
		{"JSON with blanks", "{ \"a\" : 1 }\n", false, "{ \"a\" : 1 }\n", ""},
		{"base64", encode([]byte{0, 0xff, '\n'}), true, "\x00\xff\n", ""},
		{"none", "", false, "", ""},
		{"as large as MaxBody", strings.Repeat("a", limit), false, strings.Repeat("a", limit), ""},
		{"larger than MaxBody", strings.Repeat("a", limit+1), false, "", "must have at most 64 KiB"},
		{"larger than MaxBody in base64", encode([]byte(strings.Repeat("a", limit+1))), true, "", "must have at most 64 KiB"},
		{"not base64", "{}", true, "", "is marked as base64 but is not"},
	} {
		t.Run(row.what, func(t *testing.T) {
			var got string
			answer, _ := serve(t, Handler{MaxBody: limit, Operation: func(_ context.Context, r *Request) (*Response, error) {
				body, err := r.Body()
				got = string(body)
				return &Response{Status: 204}, err
			}}, events.APIGatewayV2HTTPRequest{Body: row.body, IsBase64Encoded: row.isBase64})
			if row.issue != "" {
				if answer.StatusCode != 400 || !strings.Contains(answer.Body, row.issue) {
					t.Errorf("%d %.200s, want %q", answer.StatusCode, answer.Body, row.issue)
				}
				return
			}
			if answer.StatusCode != 204 || got != row.want {
				t.Errorf("%d with %d bytes", answer.StatusCode, len(got))
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	for _, row := range []struct{ configured, want time.Duration }{
		{0, 29 * time.Second},
		{4500 * time.Millisecond, 4500 * time.Millisecond},
	} {
		var left time.Duration
		serve(t, Handler{Timeout: row.configured, Operation: func(ctx context.Context, _ *Request) (*Response, error) {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			return &Response{}, nil
		}}, events.APIGatewayV2HTTPRequest{})
		if left > row.want || left < row.want-time.Second {
			t.Errorf("%v left, want %v", left, row.want)
		}
	}
}

func TestErrorBody(t *testing.T) {
	answer, log := serve(t, Handler{
		Operation: func(context.Context, *Request) (*Response, error) {
			return nil, &apierror.Error{Status: 401, Code: "SIGNATURE_INVALID", Message: "the signature is invalid", Cause: errors.New("private")}
		},
		ErrorBody: func(e *apierror.Error) []byte { return []byte(`{"code":"FAIL","message":"` + e.Message + `"}`) },
	}, events.APIGatewayV2HTTPRequest{})
	if answer.StatusCode != 401 || answer.Body != `{"code":"FAIL","message":"the signature is invalid"}` {
		t.Errorf("%d %s", answer.StatusCode, answer.Body)
	}
	if !strings.Contains(log, `"Code":"SIGNATURE_INVALID"`) {
		t.Errorf("the record is %s", log)
	}
}

func TestTheLevelOfAnError(t *testing.T) {
	for _, row := range []struct {
		what, level string
		err         error
	}{
		{"the caller's fault", "WARN", apierror.NotFound()},
		{"the operator's or WeChat's", "ERROR", apierror.Config(errors.New("no secret"))},
		{"an expected one", "INFO", &apierror.Error{Status: 401, Code: "SIGNATURE_TEST", Message: "m", Expected: true}},
	} {
		t.Run(row.what, func(t *testing.T) {
			_, log := serve(t, Handler{Operation: func(context.Context, *Request) (*Response, error) { return nil, row.err }}, events.APIGatewayV2HTTPRequest{})
			if !strings.Contains(log, `"level":"`+row.level+`"`) {
				t.Errorf("the record is %s, want %s", log, row.level)
			}
		})
	}
}

// TestCallers: who counts as a page, and which openid is proved. The events are as API
// Gateway sends them; an authorizer that sends no context gives null.
func TestCallers(t *testing.T) {
	for _, row := range []struct {
		what, authorizer       string
		fromPage, withoutClaim bool
		openid                 string
	}{
		{"nobody", `null`, false, false, ""},
		{"an authorizer of no kind", `{}`, false, false, ""},
		{"IAM", `{"iam":{"accessKey":"AKIA","accountId":"123456789012","callerId":"x","cognitoIdentity":null,"principalOrgId":"x","userArn":"x","userId":"x"}}`, false, false, ""},
		{"a login", `{"lambda":{"openid":"` + openid + `","appid":"wx"}}`, true, false, openid},
		{"an authorizer without a context", `{"lambda":null}`, true, false, ""},
		{"an authorizer with another context", `{"lambda":{"OpenID":"` + openid + `"}}`, true, false, ""},
		{"an openid that is not a string", `{"lambda":{"openid":1}}`, true, false, ""},
		{"a JWT with the claim", `{"jwt":{"claims":{"iss":"https://a.b","openid":"` + openid + `"},"scopes":null}}`, true, false, openid},
		{"a JWT without the claim", `{"jwt":{"claims":{"sub":"` + openid + `"},"scopes":null}}`, true, true, ""},
		{"a JWT with an empty claim", `{"jwt":{"claims":{"openid":""},"scopes":null}}`, true, false, ""},
		{"a JWT without claims", `{"jwt":{}}`, true, true, ""},
		{"a JWT that is null", `{"jwt":null}`, true, true, ""},
		{"a login beside a JWT that is null", `{"lambda":{"openid":"` + openid + `"},"jwt":null}`, true, false, openid},
	} {
		t.Run(row.what, func(t *testing.T) {
			invoke(t, []byte(`{"routeKey":"POST /x","requestContext":{"authorizer":`+row.authorizer+`}}`), func(_ context.Context, r *Request) (*Response, error) {
				if r.FromPage() != row.fromPage || r.HasJWTWithoutOpenID() != row.withoutClaim || r.OpenID() != row.openid {
					t.Errorf("from a page: %v, a JWT without the claim: %v, openid %q", r.FromPage(), r.HasJWTWithoutOpenID(), r.OpenID())
				}
				for _, sent := range []string{"", openid, openid[1:]} {
					if refused := r.RequireOwnOpenID(sent, "/body/openid") != nil; refused != (row.fromPage && sent != "" && sent != row.openid) {
						t.Errorf("%q: refused: %v", sent, refused)
					}
				}
				return &Response{Body: []byte(`{}`)}, nil
			})
		})
	}
}
