// Package awsconfig is an AWS configuration from what Lambda puts into a function's
// environment, and nothing else: the SDK's config package would look for
// profiles, SSO and instance metadata, at the price of a third of a cold start.
package awsconfig

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"membercard/shared/tlsdial"
)

// Load reads AWS_REGION, the credentials of the function's role, and the SDK's
// own variables that replace an endpoint: AWS_ENDPOINT_URL_<SERVICE>,
// AWS_ENDPOINT_URL, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS.
func Load() aws.Config {
	return aws.Config{
		Region:        os.Getenv("AWS_REGION"),
		Credentials:   aws.CredentialsProviderFunc(credentials),
		ConfigSources: []any{endpoints{}},
		HTTPClient: &http.Client{Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialTLSContext:      tlsdial.New().DialContext,
			TLSHandshakeTimeout: 5 * time.Second,
			IdleConnTimeout:     30 * time.Second,
			Protocols:           http1(),
		}},
	}
}

// credentials are those of the function's role; Lambda replaces the instance
// before they expire.
func credentials(context.Context) (aws.Credentials, error) {
	c := aws.Credentials{
		AccessKeyID:     os.Getenv("AWS_ACCESS_KEY_ID"),
		SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken:    os.Getenv("AWS_SESSION_TOKEN"),
		Source:          "environment",
	}
	if !c.HasKeys() {
		return aws.Credentials{}, errors.New("AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is not set")
	}
	return c, nil
}

func http1() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	return &p
}

// endpoints answers the SDK's question for configured endpoints.
type endpoints struct{}

// GetServiceBaseEndpoint gives the base URL that replaces a service's own.
func (endpoints) GetServiceBaseEndpoint(_ context.Context, service string) (string, bool, error) {
	name := "AWS_ENDPOINT_URL_" + strings.ToUpper(strings.ReplaceAll(service, " ", "_"))
	for _, variable := range []string{name, "AWS_ENDPOINT_URL"} {
		if value := os.Getenv(variable); value != "" {
			return value, true, nil
		}
	}
	return "", false, nil
}

// GetIgnoreConfiguredEndpoints says whether those variables are to be ignored.
func (endpoints) GetIgnoreConfiguredEndpoints(context.Context) (bool, bool, error) {
	ignore, err := strconv.ParseBool(os.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"))
	return ignore, err == nil, nil
}
