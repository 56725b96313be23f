package awsconfig

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// environment sets variables, and unsets the others that are read: to the SDK an empty
// variable is not the same as none.
func environment(t *testing.T, variables map[string]string) {
	for _, name := range []string{
		"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL_S3", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
	} {
		t.Setenv(name, variables[name]) // restores it at the end
		if variables[name] == "" {
			os.Unsetenv(name)
		}
	}
}

func TestCredentialsAreThoseOfTheFunctionsRole(t *testing.T) {
	for _, row := range []struct {
		what            string
		id, key, token  string
		complete        bool
		wantTokenAsWell string
	}{
		{"a role's", "AKID", "SECRET", "TOKEN", true, "TOKEN"},
		{"a user's", "AKID", "SECRET", "", true, ""},
		{"no ID", "", "SECRET", "TOKEN", false, ""},
		{"no key", "AKID", "", "TOKEN", false, ""},
		{"none", "", "", "", false, ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			environment(t, map[string]string{"AWS_ACCESS_KEY_ID": row.id, "AWS_SECRET_ACCESS_KEY": row.key, "AWS_SESSION_TOKEN": row.token})
			got, err := Load().Credentials.Retrieve(t.Context())
			if !row.complete {
				if err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") || strings.Contains(err.Error(), "SECRET ") {
					t.Errorf("%v, want an error that names the variables", err)
				}
				return
			}
			if err != nil || got.AccessKeyID != row.id || got.SecretAccessKey != row.key || got.SessionToken != row.wantTokenAsWell {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// ask reads a secret with the SDK, in one attempt.
func ask(t *testing.T, config aws.Config) error {
	_, err := secretsmanager.NewFromConfig(config, func(o *secretsmanager.Options) { o.RetryMaxAttempts = 1 }).
		GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("s")})
	return err
}

func TestEndpointVariables(t *testing.T) {
	var asked string
	server := func(name string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = name
			if !strings.Contains(r.Header.Get("Authorization"), "Credential=AKID/") || !strings.Contains(r.Header.Get("Authorization"), "/cn-north-1/secretsmanager/") ||
				r.Header.Get("X-Amz-Security-Token") != "TOKEN" {
				t.Errorf("signed as %q with the token %q", r.Header.Get("Authorization"), r.Header.Get("X-Amz-Security-Token"))
			}
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			_, _ = w.Write([]byte(`{"SecretString":"x","VersionId":"v"}`))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	own, general := server("own"), server("general")
	for _, row := range []struct {
		what, own, general, ignore string
		want                       string
	}{
		{"the service's own", own, "", "", "own"},
		{"the one for all services", "", general, "", "general"},
		{"its own goes first", own, general, "", "own"},
		{"not to be ignored", own, "", "false", "own"},
		{"a value that is no boolean", own, "", "maybe", "own"},
	} {
		t.Run(row.what, func(t *testing.T) {
			environment(t, map[string]string{
				"AWS_REGION": "cn-north-1", "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_SESSION_TOKEN": "TOKEN",
				"AWS_ENDPOINT_URL_SECRETS_MANAGER": row.own, "AWS_ENDPOINT_URL": row.general, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": row.ignore,
			})
			asked = ""
			if err := ask(t, Load()); err != nil || asked != row.want {
				t.Errorf("asked %q, %v, want %q", asked, err, row.want)
			}
		})
	}
}

// roundTripper records where a request would go, and sends nothing.
type roundTripper struct{ host string }

func (r *roundTripper) Do(request *http.Request) (*http.Response, error) {
	r.host = request.URL.Host
	return nil, context.Canceled
}

func TestTheDefaultEndpointIsAWS(t *testing.T) {
	for _, row := range []struct {
		what, region, own, general, ignore string
		want                               string
	}{
		{"the commercial partition", "eu-central-1", "", "", "", "secretsmanager.eu-central-1.amazonaws.com"},
		{"the China partition", "cn-north-1", "", "", "", "secretsmanager.cn-north-1.amazonaws.com.cn"},
		{"variables that are to be ignored", "eu-central-1", "http://127.0.0.1:1", "http://127.0.0.1:1", "true", "secretsmanager.eu-central-1.amazonaws.com"},
		{"the one for all services is to be ignored", "eu-central-1", "", "http://127.0.0.1:1", "true", "secretsmanager.eu-central-1.amazonaws.com"},
	} {
		t.Run(row.what, func(t *testing.T) {
			environment(t, map[string]string{
				"AWS_REGION": row.region, "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "SECRET",
				"AWS_ENDPOINT_URL_SECRETS_MANAGER": row.own, "AWS_ENDPOINT_URL": row.general, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": row.ignore,
			})
			config := Load()
			way := &roundTripper{}
			config.HTTPClient = way
			if err := ask(t, config); err == nil || way.host != row.want {
				t.Errorf("asked %q, %v, want %q", way.host, err, row.want)
			}
		})
	}
}

func TestTheVariableOfAServiceHasItsNameInCapitals(t *testing.T) {
	environment(t, map[string]string{"AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://sm", "AWS_ENDPOINT_URL_S3": "http://s3"})
	for service, want := range map[string]string{"Secrets Manager": "http://sm", "S3": "http://s3", "SSM": ""} {
		got, ok, err := endpoints{}.GetServiceBaseEndpoint(t.Context(), service)
		if got != want || ok != (want != "") || err != nil {
			t.Errorf("%s: %q, %v, %v, want %q", service, got, ok, err, want)
		}
	}
}

func TestAServerThatIsNotTrustedIsRefused(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := Load().HTTPClient.Do(request)
	if err == nil {
		response.Body.Close()
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("the error is %v", err)
	}
}
