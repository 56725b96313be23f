package secret

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
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"

	"membercard/shared/awsconfig"
)

const (
	// maxAnswer is the maximum size of an answer that is read. A secret has at most 64 KiB.
	maxAnswer = 1 << 20
	// maxBackoff limits the pause before another attempt. The SDK's own pauses of up to 2 s
	// and 4 s would not leave time for it; see [readTimeout].
	maxBackoff = 200 * time.Millisecond
)

// secretsManager calls one operation of Secrets Manager. The AWS SDK signs the requests and
// decides about retries, but its client of the service is left out: before main it prepares
// all operations and the endpoints of all regions. That takes 0.5 ms, a twelfth of a cold
// start, and 0.9 MB of the binary.
type secretsManager struct {
	config aws.Config
	url    string
	retry  aws.Retryer
}

func newSecretsManager(config aws.Config) *secretsManager {
	return &secretsManager{config, awsconfig.BaseURL(config, "Secrets Manager"), retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = maxBackoff })}
}

// getSecretValue returns the text of a secret's current version. It makes up to three
// attempts, as the SDK does. If Secrets Manager refuses, the error is a [smithy.APIError].
func (m *secretsManager) getSecretValue(ctx context.Context, id string) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		text, err := m.attempt(ctx, id)
		if err == nil || attempt == m.retry.MaxAttempts() || !m.retry.IsErrorRetryable(err) {
			return text, err
		}
		delay, delayErr := m.retry.RetryDelay(attempt, err)
		if delayErr != nil {
			return nil, err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// attempt calls GetSecretValue once, in the protocol AWS JSON 1.1.
func (m *secretsManager) attempt(ctx context.Context, id string) ([]byte, error) {
	input, err := json.Marshal(map[string]string{"SecretId": id})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, bytes.NewReader(input))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
	credentials, err := m.config.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(input)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, request, hex.EncodeToString(digest[:]), "secretsmanager", m.config.Region, time.Now()); err != nil {
		return nil, err
	}
	response, err := m.config.HTTPClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, newRefusal(response, body)
	}
	var output struct {
		SecretString *string
		SecretBinary []byte
	}
	if json.Unmarshal(body, &output) != nil {
		return nil, errors.New("its answer is not JSON")
	}
	if output.SecretString != nil {
		return []byte(*output.SecretString), nil
	}
	return output.SecretBinary, nil
}

// refusal is an error answer. The SDK's rules for retries know its methods.
type refusal struct {
	smithy.GenericAPIError
	status int
}

// HTTPStatusCode returns the status of the answer.
func (r *refusal) HTTPStatusCode() int { return r.status }

// newRefusal reads the code and the message of an error answer. In AWS JSON 1.1 the code is
// in a header or in __type, where it may stand between a namespace and a URL, as in
// com.amazonaws#AccessDeniedException:http://….
func newRefusal(response *http.Response, body []byte) error {
	var output struct {
		Type    string `json:"__type"`
		Message string
	}
	_ = json.Unmarshal(body, &output) // an answer of something in between may be HTML
	code := response.Header.Get("X-Amzn-ErrorType")
	if code == "" {
		code = output.Type
	}
	if _, after, found := strings.Cut(code, "#"); found {
		code = after
	}
	code, _, _ = strings.Cut(code, ":")
	if code == "" {
		code = fmt.Sprintf("status %d", response.StatusCode)
	}
	return &refusal{smithy.GenericAPIError{Code: code, Message: output.Message}, response.StatusCode}
}
