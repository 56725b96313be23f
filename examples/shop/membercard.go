package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// client does not follow redirects, because requests have personal data.
var client = &http.Client{
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// membercard calls the routes of a membercard stack that require AWS_IAM.
type membercard struct {
	api, region string
	credentials aws.CredentialsProvider
}

// refusal is an answer other than 2xx.
type refusal struct {
	status     int
	retryAfter string
	body       []byte // the API's JSON, which may quote personal data
}

func (r *refusal) Error() string { return fmt.Sprintf("membercard answered %d", r.status) }

// call sends a signed request and decodes the answer into answer, unless that is nil. uri is
// the path and query as they are sent. The error may be a [*refusal].
func (m *membercard) call(ctx context.Context, method, uri string, body map[string]string, answer any) error {
	var content []byte
	if body != nil {
		content, _ = json.Marshal(body) // texts only
	}
	request, err := http.NewRequestWithContext(ctx, method, m.api+uri, bytes.NewReader(content))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	credentials, err := m.credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(content)
	signed := request.Clone(ctx) // the signer encodes the query of what it signs again
	if err := v4.NewSigner().SignHTTP(ctx, credentials, signed, hex.EncodeToString(hash[:]), "execute-api", m.region, time.Now()); err != nil {
		return err
	}
	request.Header = signed.Header
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return &refusal{response.StatusCode, response.Header.Get("Retry-After"), got}
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(got, answer)
}
