// Package networktest sends the requests of tests, and closes their servers.
package networktest

import (
	"io"
	"net/http"
	"testing"
)

// Close closes a server at the end of the test. The test fails if Close does.
func Close(t testing.TB, server io.Closer) {
	t.Helper()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Do sends a request with send, such as http.DefaultClient.Do, and returns the answer
// and its body. The test fails if there is no answer.
func Do(t testing.TB, send func(*http.Request) (*http.Response, error), request *http.Request) (*http.Response, []byte) {
	t.Helper()
	response, err := send(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}
