// Package mototest is for tests against moto, an implementation of AWS that is not
// this project's.
package mototest

import (
	"os"
	"testing"
)

// Use points awsconfig at moto for the rest of a test. endpoint is the SDK's variable for
// the service, such as AWS_ENDPOINT_URL_S3. If MOTO_ENDPOINT is not set, the test is
// skipped, or fails in CI.
func Use(t *testing.T, endpoint string) {
	t.Helper()
	moto := os.Getenv("MOTO_ENDPOINT")
	if moto == "" {
		const how = "MOTO_ENDPOINT is not set: run `moto_server -p 5000` and set MOTO_ENDPOINT=http://127.0.0.1:5000"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	for name, value := range map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_SESSION_TOKEN": "",
		"AWS_ENDPOINT_URL": "", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "", endpoint: moto,
	} {
		t.Setenv(name, value)
	}
}
