package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/time/rate"

	"membercard/local/discovery"
	"membercard/shared/apierror"
	"membercard/shared/strictjson"
)

// callInterval is between the beginnings of two calls. There are at most 4 in any second,
// also if the network delays the first of them by 60 ms. Tests don't wait.
var callInterval = 265 * time.Millisecond

// api calls the routes of a stack that ask for IAM credentials.
type api struct {
	*console
	url   string
	aws   aws.Config
	pace  *rate.Limiter
	calls int
}

func (a *app) api(d *deployment) *api {
	if a.local != nil {
		d.aws.HTTPClient = discovery.Client()
	}
	return &api{a.console, strings.TrimSuffix(d.outputs["ApiUrl"], "/"), d.aws, rate.NewLimiter(rate.Every(callInterval), 1), 0}
}

// call makes a call and decodes the answer. A 429 is waited out, as long as it takes; a call
// that fails is made again up to three times, so it must be one that may be. refused is the
// code of a refusal; bad is what other calls would meet too. ctx ends the waiting, but not a
// call that has begun.
func (c *api) call(ctx context.Context, method, path string, body, answer any) (refused string, bad *fault) {
	for failed := 0; ; {
		if c.pace.Wait(ctx) != nil {
			return "", interrupted()
		}
		wait := time.Second << failed
		text, e := c.once(context.WithoutCancel(ctx), method, path, body)
		switch {
		case e == nil && answer != nil && json.Unmarshal(text, answer) != nil:
			return "", faultf("deploy the version of the template that this tool is from", "the API answered something else than the documented JSON")
		case e == nil:
			return "", nil
		case e.Status == http.StatusTooManyRequests:
			wait = max(time.Second, e.RetryAfter)
		case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden && e.Code == "":
			return "", faultf("let whoever runs this do execute-api:Invoke on the API (see who that is: aws sts get-caller-identity), log in anew, and check this machine's clock: date -u", "the API does not let you call it: it answered %d", e.Status)
		case e.Status == http.StatusNotFound && e.Code == "":
			return "", faultf("deploy the version of the template that this tool is from", "the API does not have this route: it answered 404")
		case e.Status < http.StatusInternalServerError:
			return e.Code, nil
		case failed == 3 && e.Cause != nil:
			return "", unreachable(e.Cause, "the API")
		case failed == 3 || e.Code == "CONFIG_ERROR":
			return "", faultf("look the code up: docs/runbook.md, section Codes", "the API answered %d %s", e.Status, printable(e.Code))
		default:
			failed++
		}
		c.show(fmt.Sprintf("answered %d, called again in %v", e.Status, wait))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return "", interrupted()
		}
	}
}

// once makes one call, signed as API Gateway wants it. The error has the status, and a code
// if it is a function's; without an answer it has a cause.
func (c *api) once(ctx context.Context, method, path string, body any) (text []byte, e *apierror.Error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second) // API Gateway's own limit
	defer cancel()
	c.calls++
	response, err := c.send(ctx, method, path, body)
	if err == nil {
		defer response.Body.Close()
		text, err = io.ReadAll(io.LimitReader(response.Body, 1<<20))
	}
	if err != nil {
		return nil, &apierror.Error{Status: http.StatusGatewayTimeout, Cause: err}
	}
	if response.StatusCode/100 == 2 {
		return text, nil
	}
	e = &apierror.Error{}
	_ = json.Unmarshal(text, e) // API Gateway's own errors have no code
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	e.Status, e.RetryAfter = response.StatusCode, time.Duration(seconds)*time.Second
	return nil, e
}

func (c *api) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var text []byte
	if body != nil {
		text = strictjson.Encode(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	who, err := c.aws.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, &url.Error{Op: "sign", Err: errors.New("there are no AWS credentials any more")} // they have expired
	}
	sum := sha256.Sum256(text)
	if err := v4.NewSigner().SignHTTP(ctx, who, request, hex.EncodeToString(sum[:]), "execute-api", c.aws.Region, time.Now()); err != nil {
		return nil, err
	}
	return c.aws.HTTPClient.Do(request)
}
