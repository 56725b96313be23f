package secret

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"membercard/shared/awsconfig"
	"membercard/shared/awsconfig/mototest"
	"membercard/shared/telemetry/telemetrytest"
)

// TestARotationInMoto creates, rotates and reads a secret in an implementation of
// Secrets Manager that is not this project's.
func TestARotationInMoto(t *testing.T) {
	mototest.Use(t, "AWS_ENDPOINT_URL_SECRETS_MANAGER")
	manager := secretsmanager.NewFromConfig(awsconfig.Load())
	name := aws.String("merchant-" + rand.Text())
	log, records := telemetrytest.New()
	s := subject{records: records, Secret: New(awsconfig.Load(), *name, func(text []byte) (string, error) { return string(text), nil }, log)}

	if value, err := s.Get(t.Context()); err == nil {
		t.Errorf("%q came before there was a secret", value)
	}
	s.failures(t, 1, "ResourceNotFoundException")

	created, err := manager.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: name, SecretString: aws.String(`{"mchid":"1900000001"}`)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = manager.DeleteSecret(context.Background(), &secretsmanager.DeleteSecretInput{SecretId: name, ForceDeleteWithoutRecovery: aws.Bool(true)})
	})
	s.gets(t, `{"mchid":"1900000001"}`)
	s.refreshes(t, `{"mchid":"1900000001"}`)

	for i, text := range []string{`{"mchid":"1900000002"}`, `{"mchid":"1900000003"}`} {
		if _, err := manager.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: name, SecretString: &text}); err != nil {
			t.Fatal(err)
		}
		// On a busy machine moto may be slower than a read may take. Then the old value serves.
		for read, tries := "", 0; read != text && tries < 10; tries++ {
			if i == 0 {
				s.later(minRefreshInterval + time.Second)
				read, _ = s.Refresh(t.Context(), `{"mchid":"1900000001"}`)
			} else {
				s.later(cacheTTL)
				read, _ = s.Get(t.Context())
			}
		}
		s.gets(t, text)
	}

	byARN := New(awsconfig.Load(), aws.ToString(created.ARN), func(text []byte) (string, error) { return string(text), nil }, log)
	if got, err := byARN.Get(t.Context()); err != nil || got != `{"mchid":"1900000003"}` {
		t.Errorf("by its ARN: %q, %v", got, err)
	}
}
