package apigateway

// This file has the authorizers for IAM and for functions.

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
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
	// authorize returns the caller of r, or the status of a refusal. body and event are r's.
	authorize(r *http.Request, body []byte, event *events.APIGatewayV2HTTPRequest) (by *caller, refused int)
}

type caller = events.APIGatewayV2HTTPRequestContextAuthorizerDescription

// IAM returns the authorizer AWS_IAM for a single role, which has the given credentials
// and may call everything. Requests must have a signature for execute-api in their
// headers. The value of the session token is not checked.
func IAM(region, accessKeyID, secretAccessKey string) Authorizer {
	return iam{sigv4.Key{Region: region, AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey}}
}

type iam struct{ key sigv4.Key }

func (a iam) authorize(r *http.Request, body []byte, _ *events.APIGatewayV2HTTPRequest) (*caller, int) {
	if a.key.Verify(r, body, "execute-api", time.Now()) != nil {
		return nil, http.StatusForbidden
	}
	return &caller{IAM: &events.APIGatewayV2HTTPRequestContextAuthorizerIAMDescription{AccessKey: a.key.AccessKeyID}}, 0
}

// Lambda returns an authorizer that invokes a function with payload format 2.0 and expects
// a simple response. The identity source is the named header; a request that lacks it is
// refused without an invocation. A decision is cached for ttl, for all routes and requests
// with the same value of the header. Concurrent requests are not coalesced.
//
// A request is answered 500 if the function fails or takes more than 10 seconds.
func Lambda(function *lambda.Function, identitySource string, ttl time.Duration) Authorizer {
	return &lambdaAuthorizer{function: function, source: identitySource, ttl: ttl, decisions: make(map[string]decision)}
}

type lambdaAuthorizer struct {
	function *lambda.Function
	source   string // name of the header
	ttl      time.Duration

	mu        sync.Mutex
	decisions map[string]decision // by the value of the identity source
}

// A decision is the answer of an authorizer's function.
type decision struct {
	events.APIGatewayV2CustomAuthorizerSimpleResponse
	expires time.Time // from the cache
}

func (a *lambdaAuthorizer) authorize(r *http.Request, _ []byte, event *events.APIGatewayV2HTTPRequest) (*caller, int) {
	value := r.Header.Get(a.source)
	if value == "" {
		return nil, http.StatusUnauthorized
	}
	found, ok := a.cached(value)
	if !ok {
		if found, ok = a.ask(r.Context(), value, event); !ok {
			return nil, http.StatusInternalServerError
		}
		a.keep(value, found)
	}
	if !found.IsAuthorized {
		return nil, http.StatusForbidden
	}
	return &caller{Lambda: found.Context}, 0
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
func (a *lambdaAuthorizer) ask(ctx context.Context, value string, event *events.APIGatewayV2HTTPRequest) (found decision, ok bool) {
	payload, _ := json.Marshal(events.APIGatewayV2CustomAuthorizerV2Request{ // always marshals
		Version:        "2.0",
		Type:           "REQUEST",
		IdentitySource: []string{value},
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
