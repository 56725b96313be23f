package aws

import (
	"context"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// getSecret fetches a secret with the SDK's client, in one attempt.
func getSecret(ctx context.Context, s *Server, region, accessKey, secretKey string, input *secretsmanager.GetSecretValueInput) (*secretsmanager.GetSecretValueOutput, error) {
	return secretsClient(s, region, accessKey, secretKey).GetSecretValue(ctx, input)
}

func secretsClient(s *Server, region, accessKey, secretKey string) *secretsmanager.Client {
	return secretsmanager.NewFromConfig(config(s, region, accessKey, secretKey))
}

func input(id, versionID, stage string) *secretsmanager.GetSecretValueInput {
	in := &secretsmanager.GetSecretValueInput{SecretId: &id}
	if versionID != "" {
		in.VersionId = &versionID
	}
	if stage != "" {
		in.VersionStage = &stage
	}
	return in
}

func TestGetSecretValue(t *testing.T) {
	s := start(t)
	first := s.Secrets.Put("card/key", "one")
	oldest, err := getSecret(t.Context(), s, region, accessKey, secretKey, input("card/key", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	s.Secrets.Put("card/key", "two")
	arn := s.Secrets.Put("card/key", "three")
	s.Secrets.Put("other", "four")
	if arn != first || !regexp.MustCompile(`^arn:aws:secretsmanager:eu-west-1:123456789012:secret:card/key-\w{6}$`).MatchString(arn) {
		t.Errorf("ARN is %s, then %s", first, arn)
	}

	tests := []struct {
		name               string
		id, version, stage string
		value              string
		stages             []string
		code               string // of the error
	}{
		{name: "by name", id: "card/key", value: "three", stages: []string{"AWSCURRENT"}},
		{name: "by ARN", id: arn, value: "three", stages: []string{"AWSCURRENT"}},
		{name: "current", id: "card/key", stage: "AWSCURRENT", value: "three", stages: []string{"AWSCURRENT"}},
		{name: "previous", id: "card/key", stage: "AWSPREVIOUS", value: "two", stages: []string{"AWSPREVIOUS"}},
		{name: "by version", id: "card/key", version: *oldest.VersionId, value: "one"},
		{name: "version of another stage", id: "card/key", version: *oldest.VersionId, stage: "AWSCURRENT", code: "ResourceNotFoundException"},
		{name: "unknown version", id: "card/key", version: strings.Repeat("x", 32), code: "ResourceNotFoundException"},
		{name: "unknown stage", id: "other", stage: "AWSPREVIOUS", code: "ResourceNotFoundException"},
		{name: "unknown secret", id: "card", code: "ResourceNotFoundException"},
		{name: "ARN without its suffix", id: arn[:len(arn)-7], code: "ResourceNotFoundException"},
		{name: "empty", id: "", code: "ResourceNotFoundException"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := getSecret(t.Context(), s, region, accessKey, secretKey, input(test.id, test.version, test.stage))
			if errorCode(err) != test.code || (err != nil) != (test.code != "") {
				t.Fatalf("error %v, want %q", err, test.code)
			}
			if err != nil {
				return
			}
			if *out.SecretString != test.value || *out.ARN != arn || *out.Name != "card/key" || len(*out.VersionId) < 26 ||
				!reflect.DeepEqual(out.VersionStages, test.stages) || time.Since(*out.CreatedDate).Abs() > time.Hour {
				t.Errorf("got %s, %s %s %s %v %v, want %s with stages %v", *out.SecretString,
					*out.ARN, *out.Name, *out.VersionId, out.VersionStages, out.CreatedDate, test.value, test.stages)
			}
		})
	}
	if got := s.Secrets.Calls("GetSecretValue"); got != len(tests)+1 {
		t.Errorf("%d calls of GetSecretValue, want %d", got, len(tests)+1)
	}
}

func TestCreateSecret(t *testing.T) {
	s := start(t)
	s.Secrets.Put("there", "one")
	c := secretsClient(s, region, accessKey, secretKey)
	for _, row := range []struct{ name, text, code string }{
		{"card/new", "one", ""},
		{"card/new", "one", "ResourceExistsException"},
		{"there", "two", "ResourceExistsException"},
		{"empty", "", "ValidationException"},
		{"large", strings.Repeat("x", maxSecretSize+1), "ValidationException"},
	} {
		out, err := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &row.name, SecretString: &row.text})
		if row.code != "" {
			if errorCode(err) != row.code {
				t.Errorf("%s: %v, want %s", row.name, err, row.code)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := getSecret(t.Context(), s, region, accessKey, secretKey, input(row.name, "", ""))
		if err != nil || *got.SecretString != row.text || *got.ARN != *out.ARN || *got.VersionId != *out.VersionId || *out.Name != row.name {
			t.Errorf("%+v, then %+v, %v", out, got, err)
		}
	}
}

// AWSCURRENT moves to another version, and AWSPREVIOUS to the one that had it.
func TestUpdateSecretVersionStage(t *testing.T) {
	s := start(t)
	c := secretsClient(s, region, accessKey, secretKey)
	ids := map[string]*string{"none": aws.String(strings.Repeat("0", 32))}
	for _, value := range []string{"one", "two", "three"} {
		s.Secrets.Put("card/key", value)
		out, err := getSecret(t.Context(), s, region, accessKey, secretKey, input("card/key", "", ""))
		if err != nil {
			t.Fatal(err)
		}
		ids[value] = out.VersionId
	}
	for _, row := range []struct {
		name, id, stage   string
		to, from          string // values of the versions
		code              string // of the error
		current, previous string // values then
	}{
		{"back to the one before", "card/key", "AWSCURRENT", "two", "three", "", "two", "three"},
		{"and forth", "card/key", "AWSCURRENT", "three", "two", "", "three", "two"},
		{"to an older one", "card/key", "AWSCURRENT", "one", "three", "", "one", "three"},
		{"where it is", "card/key", "AWSCURRENT", "one", "one", "", "one", "three"},
		{"from another than the current one", "card/key", "AWSCURRENT", "two", "three", "InvalidParameterException", "one", "three"},
		{"to none", "card/key", "AWSCURRENT", "none", "one", "ResourceNotFoundException", "one", "three"},
		{"another label", "card/key", "MINE", "two", "one", "InvalidParameterException", "one", "three"},
		{"another secret", "card", "AWSCURRENT", "two", "one", "ResourceNotFoundException", "one", "three"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := c.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{
				SecretId: &row.id, VersionStage: &row.stage, MoveToVersionId: ids[row.to], RemoveFromVersionId: ids[row.from],
			})
			if errorCode(err) != row.code || (err != nil) != (row.code != "") {
				t.Fatalf("error %v, want %q", err, row.code)
			}
			for stage, want := range map[string]string{"AWSCURRENT": row.current, "AWSPREVIOUS": row.previous} {
				if out, err := getSecret(t.Context(), s, region, accessKey, secretKey, input("card/key", "", stage)); err != nil || *out.SecretString != want || *out.VersionId != *ids[want] {
					t.Errorf("%s is %v, %v, want %s", stage, out, err, want)
				}
			}
		})
	}
}

// TestPutSecretValue puts several values into one secret.
func TestPutSecretValue(t *testing.T) {
	s := start(t)
	arn := s.Secrets.Put("ticket", "{}")
	c := secretsClient(s, region, accessKey, secretKey)
	token := func(c string) *string { return aws.String(strings.Repeat(c, 32)) }
	tests := []struct {
		name              string
		input             secretsmanager.PutSecretValueInput
		code              string // of the error
		stages            []string
		current, previous string // values then
	}{
		{"by name", secretsmanager.PutSecretValueInput{SecretId: aws.String("ticket"), SecretString: aws.String("one"), ClientRequestToken: token("1")},
			"", []string{"AWSCURRENT"}, "one", "{}"},
		{"by ARN", secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("two"), ClientRequestToken: token("2")},
			"", []string{"AWSCURRENT"}, "two", "one"},
		{"the same again", secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("two"), ClientRequestToken: token("2")},
			"", []string{"AWSCURRENT"}, "two", "one"},
		{"the one before again", secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("one"), ClientRequestToken: token("1")},
			"", []string{"AWSPREVIOUS"}, "two", "one"},
		{"the SDK's own token", secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("three")},
			"", []string{"AWSCURRENT"}, "three", "two"},
		{"another stage", secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("five"), VersionStages: []string{"AWSPENDING"}},
			"InvalidParameterException", nil, "three", "two"},
		{"empty value", secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("")}, "ValidationException", nil, "three", "two"},
		{"large value", secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String(strings.Repeat("x", maxSecretSize+1))},
			"ValidationException", nil, "three", "two"},
		{"unknown secret", secretsmanager.PutSecretValueInput{SecretId: aws.String("x"), SecretString: aws.String("five")},
			"ResourceNotFoundException", nil, "three", "two"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := c.PutSecretValue(t.Context(), &test.input)
			if errorCode(err) != test.code || (err != nil) != (test.code != "") {
				t.Fatalf("error %v, want %q", err, test.code)
			}
			if err == nil && (*out.ARN != arn || *out.Name != "ticket" || !reflect.DeepEqual(out.VersionStages, test.stages) ||
				test.input.ClientRequestToken != nil && *out.VersionId != *test.input.ClientRequestToken) {
				t.Errorf("got %s %s %s %v, want stages %v", *out.ARN, *out.Name, *out.VersionId, out.VersionStages, test.stages)
			}
			for stage, want := range map[string]string{"AWSCURRENT": test.current, "AWSPREVIOUS": test.previous} {
				got, err := getSecret(t.Context(), s, region, accessKey, secretKey, input("ticket", "", stage))
				if err != nil {
					t.Fatal(err)
				}
				if *got.SecretString != want || stage == "AWSCURRENT" && test.stages != nil && test.stages[0] == stage && *got.VersionId != *out.VersionId {
					t.Errorf("%s is %s, want %s", stage, *got.SecretString, want)
				}
			}
		})
	}
	if got := s.Secrets.Calls("PutSecretValue"); got != len(tests) {
		t.Errorf("%d calls of PutSecretValue, want %d", got, len(tests))
	}
	if got := s.Secrets.Calls("GetSecretValue"); got != 2*len(tests) {
		t.Errorf("%d calls of GetSecretValue, want %d", got, 2*len(tests))
	}
	ids := func() (stages []string) {
		list, err := c.ListSecretVersionIds(t.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &arn})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range list.Versions {
			stages = append(stages, v.VersionStages...)
		}
		return stages
	}
	if got := ids(); !reflect.DeepEqual(got, []string{"AWSCURRENT", "AWSPREVIOUS"}) {
		t.Errorf("versions with the labels %q", got)
	}
}
