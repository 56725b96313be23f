package main

import (
	"crypto/rand"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"membercard/shared/awsconfig"
	"membercard/shared/awsconfig/mototest"
)

// TestASecretInMoto stores a secret in an implementation of Secrets Manager that is
// not this project's.
func TestASecretInMoto(t *testing.T) {
	mototest.Use(t, "AWS_ENDPOINT_URL_SECRETS_MANAGER")
	name := "membercard/" + rand.Text()
	client := secretsmanager.NewFromConfig(awsconfig.Load())
	t.Cleanup(func() {
		_, _ = client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: &name, ForceDeleteWithoutRecovery: aws.Bool(true)})
	})
	read := func(stage string) string {
		t.Helper()
		out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &name, VersionStage: &stage})
		if err != nil {
			t.Fatal(err)
		}
		return *out.SecretString
	}
	put := func(f files) *stored {
		t.Helper()
		return tool(t, f.args(t, "--json", "--put", name)...).requirePassed(t).Stored
	}
	first := tool(t, given().args(t)...).out
	if s := put(given()); !s.Created || s.Unchanged || read("AWSCURRENT")+"\n" != first {
		t.Errorf("%+v", s)
	}
	if s := put(given()); s.Created || !s.Unchanged {
		t.Errorf("%+v", s)
	}
	if s := put(given().but("apiv3-key-file", "-")); s.Created || s.Unchanged || read("AWSPREVIOUS")+"\n" != first || read("AWSCURRENT")+"\n" == first {
		t.Errorf("%+v", s)
	}
	if s := put(given()); s.Created || s.Unchanged || read("AWSCURRENT")+"\n" != first {
		t.Errorf("back to the first version: %+v", s)
	}
}
