package apigateway

// This file has the authorizers for IAM and for functions.

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/lambda"
	"membercard/local/sigv4"
)

const authorizerTimeout = 10 * time.Second

// An Authorizer decides whether a request is allowed. The implementations are [IAM],
// [JWT] and [Lambda]. Routes may share one.
type Authorizer interface {
	// authorize returns the caller of r, or a refusal. body and event are r's.
	authorize(r *http.Request, body []byte, event *events.APIGatewayV2HTTPRequest) (*caller, *refusal)
}

type caller = events.APIGatewayV2HTTPRequestContextAuthorizerDescription

// A refusal is the answer to a request that is not authorized.
type refusal struct {
	status    int
	challenge string // for WWW-Authenticate; may be empty
}

var (
	forbidden    = &refusal{status: http.StatusForbidden}
	unauthorized = &refusal{status: http.StatusUnauthorized}
	failed       = &refusal{status: http.StatusInternalServerError}
)

func (r *refusal) answer(w http.ResponseWriter) {
	if r.challenge != "" {
		w.Header().Set("Www-Authenticate", r.challenge)
	}
	message(w, r.status, http.StatusText(r.status))
}

// identity returns the values of the named headers, or false if one is missing.
func identity(r *http.Request, names []string) ([]string, bool) {
	values := make([]string, len(names))
	for i, name := range names {
		values[i] = strings.Join(r.Header.Values(name), ",")
		if values[i] == "" {
			return nil, false
		}
	}
	return values, true
}

// IAM returns the authorizer AWS_IAM for a single role, which has the given credentials
// and may call everything. Requests must have a signature for execute-api in their
// headers. The value of the session token is not checked.
func IAM(region, accessKeyID, secretAccessKey string) Authorizer {
	return iam{sigv4.Key{Region: region, AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey}}
}

type iam struct{ key sigv4.Key }

func (a iam) authorize(r *http.Request, body []byte, _ *events.APIGatewayV2HTTPRequest) (*caller, *refusal) {
	if a.key.Verify(r, body, "execute-api", time.Now()) != nil {
		return nil, forbidden
	}
	return &caller{IAM: &events.APIGatewayV2HTTPRequestContextAuthorizerIAMDescription{AccessKey: a.key.AccessKeyID}}, nil
}

// Lambda returns an authorizer that invokes a function with payload format 2.0 and expects
// a simple response. The identity source is the named headers; a request that lacks one
// of them is refused without an invocation. A decision is cached for ttl, for all routes
// and requests with the same header values. Concurrent requests are not coalesced.
//
// A request is answered 500 if the function fails or takes more than 10 seconds.
func Lambda(function *lambda.Function, identitySource []string, ttl time.Duration) Authorizer {
	return &lambdaAuthorizer{function: function, source: identitySource, ttl: ttl, decisions: make(map[string]decision)}
}

type lambdaAuthorizer struct {
	function *lambda.Function
	source   []string // names of headers
	ttl      time.Duration

	mu        sync.Mutex
	decisions map[string]decision // by the values of the identity source
}

// A decision is the answer of an authorizer's function.
type decision struct {
	events.APIGatewayV2CustomAuthorizerSimpleResponse
	expires time.Time // from the cache
}

func (a *lambdaAuthorizer) authorize(r *http.Request, _ []byte, event *events.APIGatewayV2HTTPRequest) (*caller, *refusal) {
	values, ok := identity(r, a.source)
	if !ok {
		return nil, unauthorized
	}
	key := strings.Join(values, "\n") // a header can't contain a newline
	found, ok := a.cached(key)
	if !ok {
		if found, ok = a.ask(r.Context(), values, event); !ok {
			return nil, failed
		}
		a.keep(key, found)
	}
	if !found.IsAuthorized {
		return nil, forbidden
	}
	return &caller{Lambda: found.Context}, nil
}

func (a *lambdaAuthorizer) cached(key string) (decision, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, ok := a.decisions[key]
	return found, ok && time.Now().Before(found.expires)
}

func (a *lambdaAuthorizer) keep(key string, found decision) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(a.decisions, func(_ string, old decision) bool { return !now.Before(old.expires) })
	found.expires = now.Add(a.ttl)
	a.decisions[key] = found
}

// ask invokes the function. It returns false if the function fails.
func (a *lambdaAuthorizer) ask(ctx context.Context, values []string, event *events.APIGatewayV2HTTPRequest) (found decision, ok bool) {
	payload, _ := json.Marshal(events.APIGatewayV2CustomAuthorizerV2Request{ // always marshals
		Version:        "2.0",
		Type:           "REQUEST",
		IdentitySource: values,
		RouteKey:       event.RouteKey,
		Headers:        event.Headers,
	})
	ctx, cancel := context.WithTimeout(ctx, authorizerTimeout)
	defer cancel()
	res, err := a.function.Invoke(ctx, payload)
	if err != nil || res.FunctionError != nil {
		return found, false
	}
	err = json.Unmarshal(res.Payload, &found.APIGatewayV2CustomAuthorizerSimpleResponse)
	return found, err == nil
}
