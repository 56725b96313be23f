package main

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"

	"github.com/aws/aws-lambda-go/events"

	"membercard/shared/apierror"
	"membercard/shared/invocation"
	"membercard/shared/officialaccount"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
)

// source gives the apps at hand, and reads them again on demand.
type source interface {
	Get(context.Context) (*apps, error)
	Refresh(context.Context) (a *apps, changed bool, err error)
}

// authorizer proves who a user of WeChat is.
type authorizer struct {
	apps   source
	wechat *upstream.Client
	log    *telemetry.Log
}

// request is what is used of an authorizer's event of payload format 2.0.
type request struct {
	IdentitySource []string          `json:"identitySource"` // the header Authorization
	Headers        map[string]string `json:"headers"`
	RouteKey       string            `json:"routeKey"`
}

// response is a simple response: yes, with who it is, or no.
type response = events.APIGatewayV2CustomAuthorizerSimpleResponse

// authorize is the function. Its answers differ in what the caller should do:
//
//	isAuthorized true    the context has openid and appid; API Gateway keeps that
//	                     for as long as the authorizer's TTL says
//	isAuthorized false   no: the code is invalid, used or not one; API Gateway
//	                     answers 403, and keeps that too: log in again
//	an error             WeChat or the configuration is at fault: API Gateway
//	                     answers 500 and keeps nothing: try again
//
// Where WeChat took a code but its answer was lost on the way, the code is used
// up, and the next attempt is a no: then, too, the cure is to log in again.
func (a *authorizer) authorize(ctx context.Context, r request) (response, error) {
	ctx, record := a.log.Begin(ctx, invocation.ID(ctx))
	telemetry.Annotate(ctx, slog.String("route", r.RouteKey))
	ctx, cancel := invocation.WithReserve(ctx)
	defer cancel()

	openid, appid, err := a.prove(ctx, r)
	var e *apierror.Error
	switch {
	case err == nil:
		record.End(ctx, slog.LevelInfo, "authorized", "OK")
		return response{IsAuthorized: true, Context: map[string]any{"openid": openid, "appid": appid}}, nil
	case errors.As(err, &e) && !slices.Contains(refusals, e.Errcode):
		record.End(ctx, slog.LevelError, "not decided", e.Code, slog.String("cause", e.Error()), slog.String("cure", e.Cure))
		return response{}, errors.New(e.Code)
	case e != nil:
		record.End(ctx, slog.LevelWarn, "not authorized", e.Code, slog.String("cause", e.Error()))
	default:
		record.End(ctx, slog.LevelWarn, "not authorized", "NOT_A_LOGIN", slog.String("cause", err.Error()))
	}
	return response{}, nil
}

// refusals are WeChat's words for a user who is not let in: an invalid code, a
// used one, a user of high risk.
var refusals = []int{40029, 40163, 40226}

// prove turns the login of a request into an openid. Its error is a
// [apierror.Error], or another if there is no login to ask WeChat about. An app
// whose secret WeChat refuses is read again, and if it changed, asked once more.
func (a *authorizer) prove(ctx context.Context, r request) (openid, appid string, err error) {
	defer func() { // a panic would end the process
		if value := recover(); value != nil {
			telemetry.Annotate(ctx, slog.String("stack", string(debug.Stack())))
			err = apierror.FromPanic(value)
		}
	}()
	header := r.Headers["authorization"]
	if len(r.IdentitySource) > 0 {
		header = r.IdentitySource[0]
	}
	held, err := a.apps.Get(ctx)
	if err != nil {
		return "", "", apierror.Config(err)
	}
	for again := true; ; again = false {
		l, err := held.read(header)
		if err != nil {
			return "", "", err
		}
		openid, err := l.openid(ctx, a.wechat)
		if err == nil || !again || !officialaccount.IsErrcode(err, 40013, 40125) {
			return openid, l.app.AppID, err
		}
		changed, isNew, unread := a.apps.Refresh(ctx)
		if unread != nil || !isNew {
			return "", "", err
		}
		held = changed
	}
}
