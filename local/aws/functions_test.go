package aws

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

func TestInvokeAFunction(t *testing.T) {
	s := start(t)
	s.Functions.Put("CardSyncFunction", func(_ context.Context, event []byte) ([]byte, bool, error) {
		switch string(event) {
		case `{"action":"busy"}`:
			return nil, false, errors.New("all instances are busy")
		case `{"action":"fail"}`:
			return []byte(`{"errorMessage":"there is no action","errorType":"errorString"}`), true, nil
		}
		return event, false, nil
	})
	url := s.URL()
	for _, row := range []struct {
		name, function, event string
		kind                  types.InvocationType
		answer                string
		failed                bool
		code                  string
	}{
		{"an answer", "CardSyncFunction", `{"action":"sync"}`, "", `{"action":"sync"}`, false, ""},
		{"a failure of the function", "CardSyncFunction", `{"action":"fail"}`, "", `{"errorMessage":"there is no action","errorType":"errorString"}`, true, ""},
		{"too many at once", "CardSyncFunction", `{"action":"busy"}`, "", "", false, "TooManyRequestsException"},
		{"no such function", "Other", `{}`, "", "", false, "ResourceNotFoundException"},
		{"no JSON", "CardSyncFunction", `{`, "", "", false, "InvalidRequestContentException"},
		{"without waiting", "CardSyncFunction", `{}`, types.InvocationTypeEvent, "", false, "InvalidParameterValueException"},
	} {
		t.Run(row.name, func(t *testing.T) {
			client := lambda.New(lambda.Options{BaseEndpoint: &url, Region: region, Credentials: credentials(accessKey, secretKey), RetryMaxAttempts: 1})
			out, err := client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &row.function, Payload: []byte(row.event), InvocationType: row.kind})
			if errorCode(err) != row.code {
				t.Fatalf("%v, want %q", err, row.code)
			}
			if err == nil && (strings.TrimSpace(string(out.Payload)) != row.answer || (aws.ToString(out.FunctionError) != "") != row.failed) {
				t.Errorf("%s, %v", out.Payload, aws.ToString(out.FunctionError))
			}
		})
	}
}
