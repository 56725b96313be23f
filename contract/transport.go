package contract

import (
	"bytes"
	"io"
	"net/http"
)

// Transport returns a transport that sends requests with base, or http.DefaultTransport if
// base is nil, and calls report for each violation of the contract. Concurrent requests
// call report concurrently.
func Transport(c *Contract, base http.RoundTripper, report func(error)) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{c, base, report}
}

type transport struct {
	contract *Contract
	base     http.RoundTripper
	report   func(error)
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	var requestBody []byte
	sent := request.Clone(request.Context())
	if request.Body != nil {
		var err error
		requestBody, err = io.ReadAll(request.Body)
		request.Body.Close()
		if err != nil {
			return nil, err
		}
		sent.Body = io.NopCloser(bytes.NewReader(requestBody))
	}
	response, err := t.base.RoundTrip(sent)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	responseBody, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(responseBody))
	if err := t.contract.Check(request, requestBody, response, responseBody); err != nil {
		t.report(err)
	}
	return response, nil
}
