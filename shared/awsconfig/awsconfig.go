// Package awsconfig makes the AWS SDK's configuration from Lambda's environment
// variables. The SDK's own package config takes a third of a cold start, because it also
// supports profiles, SSO and instance metadata.
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
// variables for endpoints: AWS_ENDPOINT_URL_<SERVICE>, AWS_ENDPOINT_URL and
// AWS_IGNORE_CONFIGURED_ENDPOINT_URLS.
func Load() aws.Config {
	transport := tlsdial.New().Transport()
	transport.TLSHandshakeTimeout = 5 * time.Second // through a proxy
	transport.IdleConnTimeout = 30 * time.Second
	return aws.Config{
		Region:        os.Getenv("AWS_REGION"),
		BaseEndpoint:  baseEndpoint(),
		Credentials:   aws.CredentialsProviderFunc(credentials),
		ConfigSources: []any{endpoints{}},
		HTTPClient:    &http.Client{Transport: transport},
	}
}

// credentials returns the credentials of the function's role. Lambda replaces the
// execution environment before they expire.
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

// baseEndpoint returns the configured base URL of every service that has none of its own.
func baseEndpoint() *string {
	if value := os.Getenv("AWS_ENDPOINT_URL"); value != "" && !ignoresEndpoints() {
		return &value
	}
	return nil
}

func ignoresEndpoints() bool {
	ignore, _ := strconv.ParseBool(os.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"))
	return ignore
}

// endpoints is a source of the SDK's configuration that has the services' own endpoints.
type endpoints struct{}

// GetServiceBaseEndpoint returns the configured base URL of a service.
func (endpoints) GetServiceBaseEndpoint(_ context.Context, service string) (string, bool, error) {
	value := os.Getenv("AWS_ENDPOINT_URL_" + strings.ToUpper(strings.ReplaceAll(service, " ", "_")))
	return value, value != "", nil
}

// GetIgnoreConfiguredEndpoints reports whether the SDK ignores these variables.
func (endpoints) GetIgnoreConfiguredEndpoints(context.Context) (ignore, found bool, err error) {
	return ignoresEndpoints(), true, nil
}
