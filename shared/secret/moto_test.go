package secret

import (
	"context"
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"membercard/shared/awsenv"
	"membercard/shared/telemetry"
)

// TestARotationInMoto creates, rotates and reads a secret in another
// implementation of Secrets Manager than our own.
func TestARotationInMoto(t *testing.T) {
	endpoint := os.Getenv("MOTO_ENDPOINT")
	if endpoint == "" {
		const how = "MOTO_ENDPOINT is not set: run `moto_server -p 5000` and set MOTO_ENDPOINT=http://127.0.0.1:5000"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_SESSION_TOKEN": "",
		"AWS_ENDPOINT_URL": "", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "", "AWS_ENDPOINT_URL_SECRETS_MANAGER": endpoint,
	} {
		t.Setenv(name, value)
	}
	manager := secretsmanager.NewFromConfig(awsenv.Config())
	name := aws.String("merchant-" + rand.Text())
	log := &logBuffer{}
	s := subject{log: log, Secret: New(awsenv.Config(), *name, func(text []byte) (string, error) { return string(text), nil }, telemetry.New(log, "MemberCard", "test"))}

	if value, err := s.Get(t.Context()); err == nil {
		t.Errorf("%q came before there was a secret", value)
	}
	log.failures(t, 1, "ResourceNotFoundException")

	created, err := manager.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: name, SecretString: aws.String(`{"mchid":"1900000001"}`)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = manager.DeleteSecret(context.Background(), &secretsmanager.DeleteSecretInput{SecretId: name, ForceDeleteWithoutRecovery: aws.Bool(true)})
	})
	s.gets(t, `{"mchid":"1900000001"}`)
	s.refreshes(t, `{"mchid":"1900000001"}`, false)

	for i, text := range []string{`{"mchid":"1900000002"}`, `{"mchid":"1900000003"}`} {
		if _, err := manager.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: name, SecretString: &text}); err != nil {
			t.Fatal(err)
		}
		if s.later(patience + time.Second); i == 0 {
			s.refreshes(t, text, true)
		}
		s.later(life)
		s.gets(t, text)
	}

	byARN := New(awsenv.Config(), aws.ToString(created.ARN), func(text []byte) (string, error) { return string(text), nil }, telemetry.New(log, "MemberCard", "test"))
	if got, err := byARN.Get(t.Context()); err != nil || got != `{"mchid":"1900000003"}` {
		t.Errorf("by its ARN: %q, %v", got, err)
	}
}
