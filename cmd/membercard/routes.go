package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A route is one of the API's, and the function behind it.
type route struct{ function, method, path string }

// routes are those that ask for credentials, with path parameters that are refused
// before WeChat is called, should a route ask for none.
var routes = []route{
	{"MerchantTokenFunction", "POST", "/v3/marketing/membercard-open/cards/!/permission-tokens"},
	{"BrandTokenFunction", "POST", "/v3/brand/partner/card-member/open-user-card-tokens"},
	{"BrandTokenFunction", "POST", "/v3/brand/partner/card-member/pre-auth-tokens"},
	{"BrandConfirmFunction", "POST", "/v3/brand/partner/card-member/user-cards/!/confirm"},
	{"MerchantConfirmFunction", "POST", "/v3/marketing/membercard-open/cards/!/codes/!/confirm"},
	{"MerchantActivateFunction", "POST", "/v3/marketing/membercard-open/cards/!/codes/!/activate"},
	{"MerchantActivateInformationFunction", "GET", "/v3/marketing/membercard-open/activate-informations/!"},
	{"MerchantDecryptCodeFunction", "GET", "/v3/marketing/membercard-open/cards/!/decrypt-code"},
	{"BrandCardFunction", "GET", "/v3/brand/partner/card-member/user-cards/!"},
	{"BrandCardsFunction", "GET", "/v3/brand/partner/card-member/user-cards"},
	{"MerchantCardFunction", "GET", "/v3/marketing/membercard-open/cards/!/codes/!"},
	{"MerchantCardsFunction", "GET", "/v3/marketing/membercard-open/user/cards"},
	{"CardUpdateFunction", "POST", "/card/update"},
	{"CardCreateFunction", "POST", "/card/create"},
	{"CardCodeFunction", "POST", "/card/code/decrypt"},
	{"CardExtFunction", "POST", "/card/ext"},
}

// notifications returns the route that everybody may call; a signature of WeChat Pay
// decides. It may have a NotificationPathSuffix.
func (d *deployment) notifications() route {
	path := "/wechatpay/notifications"
	if u, err := url.Parse(d.outputs["NotificationUrl"]); err == nil && u.Path != "" {
		path = u.Path
	}
	return route{"CardEventsFunction", "POST", path}
}

// checkRoutes checks that no route answers a request without credentials, that
// notifications that are not signed are refused, and this machine's clock: AWS refuses a
// signature whose time is wrong.
func (a *app) checkRoutes(ctx context.Context, r *report, d *deployment) {
	r.compareClock("AWS", a.askRoutes(ctx, r, d))
}

// askRoutes checks the routes, and returns the Date of the last answer.
func (a *app) askRoutes(ctx context.Context, r *report, d *deployment) (date string) {
	const name = "routes ask for credentials"
	api := strings.TrimSuffix(d.outputs["ApiUrl"], "/")
	open := a.local != nil && a.local.Auth == "none"
	defer a.during("asking the API")()
	asked, refused := 0, 0
	for _, route := range routes {
		if d.resources[route.function] == "" || open {
			continue
		}
		asked++
		answer, err := route.ask(ctx, api)
		if err != nil {
			r.fail(name, faultf("check this machine's network, and that the output ApiUrl is the stack's", "%s could not be reached", api))
			return date
		}
		date = answer.date
		if bad := answer.wrong(http.StatusUnauthorized, http.StatusForbidden); bad != nil {
			r.fail("route "+route.method+" "+strings.ReplaceAll(route.path, "!", "…"), bad)
			continue
		}
		refused++
	}
	switch {
	case open:
		r.add(step{Name: name, Skipped: "the local stack is open to everybody; start it with -auth iam to check them"})
	case refused == asked && asked > 0:
		r.add(step{Name: name, OK: true, Detail: fmt.Sprintf("%d of %d", refused, asked)})
	}
	notifications := d.notifications()
	if d.resources[notifications.function] == "" {
		return date
	}
	const unsigned = "a notification without WeChat Pay's signature is refused"
	answer, err := notifications.ask(ctx, api)
	if err != nil {
		r.fail(unsigned, faultf("run this again", "%s could not be reached", api))
		return date
	}
	bad := answer.wrong(http.StatusUnauthorized)
	if bad == nil && answer.code != "FAIL" {
		bad = faultf("let nothing stand between the API and its functions, and deploy the template again", "the answer 401 is not the function's: its code is not FAIL")
	}
	r.check(step{Name: unsigned}, bad)
	return answer.date
}

// routeAnswer is how a route answered a request without credentials.
type routeAnswer struct {
	status     int
	code, date string
}

// ask requests a route without credentials, and again if it is throttled.
func (rt route) ask(ctx context.Context, api string) (answer *routeAnswer, err error) {
	for range 3 {
		if answer, err = rt.askOnce(ctx, api); err != nil || answer.status != http.StatusTooManyRequests {
			break
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return answer, err
}

func (rt route) askOnce(ctx context.Context, api string) (*routeAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second) // API Gateway's own limit
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, rt.method, api+rt.path, strings.NewReader("{}"))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var body struct{ Code string }
	_ = json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&body) // not every answer is JSON
	return &routeAnswer{response.StatusCode, body.Code, response.Header.Get("Date")}, nil
}

// wrong returns what is wrong with an answer that should have one of the statuses.
func (answer *routeAnswer) wrong(want ...int) *fault {
	if slices.Contains(want, answer.status) {
		return nil
	}
	wanted := strings.ReplaceAll(strings.Trim(fmt.Sprint(want), "[]"), " ", " or ")
	cause := fmt.Sprintf("it answered %d without credentials; %s is expected", answer.status, wanted)
	switch {
	case answer.status == http.StatusNotFound:
		return faultf("deploy the template again: somebody has removed the route", "%s", cause)
	case answer.status == http.StatusTooManyRequests:
		return faultf("run this again when there is less traffic", "%s: API Gateway's throttling was at its limit", cause)
	case answer.status >= 500:
		return faultf("read the function's log: docs/runbook.md, section ApiErrorsAlarm", "%s", cause)
	}
	return faultf("close it: deploy the template again; FrontendAuth decides who may call", "%s: the route is open", cause)
}
