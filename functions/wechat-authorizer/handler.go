package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/shared/apierror"
	"membercard/shared/cached"
	"membercard/shared/deadline"
	"membercard/shared/invocation"
	"membercard/shared/officialaccount"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
	"membercard/shared/validation"
)

// timeout limits an invocation. API Gateway waits 10 s for a decision, including init if
// the instance is new. Init waits at most 3 s, so a decision takes at most 9 s.
const timeout = 5500 * time.Millisecond

type authorizer struct {
	apps   cached.Source[*officialaccount.Login] // that users log in to; a cached secret
	wechat *upstream.Client
	log    *telemetry.Log
}

// request has the members of an authorizer event (payload format 2.0) that are
// used.
type request struct {
	IdentitySource []string          `json:"identitySource"` // the header Authorization
	Headers        map[string]string `json:"headers"`
	RouteKey       string            `json:"routeKey"`
}

type response = events.APIGatewayV2CustomAuthorizerSimpleResponse

// authorize handles an event. The result is one of
//
//	isAuthorized true    The context has openid and appid. API Gateway caches it for
//	                     the authorizer's TTL.
//	isAuthorized false   The code is invalid or already used. API Gateway answers 403
//	                     and caches that as well. The user has to log in again.
//	an error             WeChat or the configuration is at fault. API Gateway answers
//	                     500 and caches nothing. The page should try again.
//
// If WeChat accepted a code but its answer is lost, the code is used up, and the next
// attempt is refused.
func (a *authorizer) authorize(ctx context.Context, r request) (response, error) {
	ctx, record := a.log.Begin(ctx, invocation.ID(ctx))
	telemetry.Annotate(ctx, slog.String("route", r.RouteKey))
	ctx, cancel := deadline.WithReserve(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, timeout)
	defer cancel()

	u, err := a.authenticate(ctx, r)
	var e *apierror.Error
	switch {
	case err == nil:
		record.End(ctx, slog.LevelInfo, "authorized", "OK")
		return response{IsAuthorized: true, Context: map[string]any{"openid": u.openid, "appid": u.appid}}, nil
	case errors.As(err, &e) && !slices.Contains(apierror.LoginRefused, e.Errcode):
		record.Count(e.Metric())
		record.End(ctx, slog.LevelError, "not decided", e.Code, slog.String("cause", e.Error()), slog.String("cure", e.Cure))
		return response{}, errors.New(e.Code)
	case e != nil:
		record.End(ctx, slog.LevelWarn, "not authorized", e.Code, slog.String("cause", e.Error()))
	default:
		record.End(ctx, slog.LevelWarn, "not authorized", "NOT_A_LOGIN", slog.String("cause", err.Error()))
	}
	return response{}, nil
}

type user struct{ openid, appid string }

// authenticate returns the user who sent a request. The error is an [apierror.Error] unless the
// request has no login code. If WeChat refuses the app's AppID or AppSecret, authenticate reads
// the secret again and, if it changed, tries once more.
func (a *authorizer) authenticate(ctx context.Context, r request) (u user, err error) {
	defer apierror.Recover(ctx, &err)
	header := r.Headers["authorization"]
	if len(r.IdentitySource) > 0 {
		header = r.IdentitySource[0]
	}
	return cached.Use(ctx, a.apps, officialaccount.IsAccountRefused, func(apps *officialaccount.Login) (user, error) { return a.exchange(ctx, apps, header) })
}

func (a *authorizer) exchange(ctx context.Context, apps *officialaccount.Login, header string) (user, error) {
	l, err := readLogin(apps, header)
	if err != nil {
		return user{}, err
	}
	answer, err := officialaccount.Call(ctx, a.wechat, http.MethodGet, l.path, url.Values{
		"appid":      {l.app.AppID},
		"secret":     {l.app.Secret},
		l.param:      {l.code},
		"grant_type": {"authorization_code"},
	}, nil)
	if err != nil {
		return user{}, err
	}
	openid, err := officialaccount.Generated(answer, "openid")
	return user{openid, l.app.AppID}, err
}

// login is a login code and the operation that exchanges it for an openid.
type login struct {
	app   *officialaccount.Account
	path  string // path of the operation
	param string // query parameter that takes the code
	code  string
}

// readLogin parses the header Authorization:
//
//	WeChat-MiniProgram <code of wx.login>
//	WeChat-OAuth <code of the OAuth redirect>
func readLogin(apps *officialaccount.Login, header string) (login, error) {
	scheme, code, _ := strings.Cut(strings.TrimSpace(header), " ")
	l := login{code: strings.TrimSpace(code)}
	switch {
	case strings.EqualFold(scheme, "WeChat-MiniProgram"):
		l.app, l.path, l.param = apps.MiniProgram, "/sns/jscode2session", "js_code"
	case strings.EqualFold(scheme, "WeChat-OAuth"):
		l.app, l.path, l.param = apps.OfficialAccount, "/sns/oauth2/access_token", "code"
	}
	if l.app == nil {
		return login{}, errors.New("there is no app for this kind of login")
	}
	if l.code == "" || validation.Alphanumeric(128, "_-")(l.code) != "" { // it becomes part of a URL
		return login{}, errors.New("the login code is malformed")
	}
	return l, nil
}
