package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"membercard/local/discovery"
	"membercard/shared/upstream"
)

// discover asks the local stack where its parts are, and trusts the authorities of
// its sandboxes.
func (a *app) discover(ctx context.Context) error {
	const cure = "start it with: go run ./local; if it listens elsewhere, name that address with --local=URL"
	if !strings.Contains(a.localURL, "://") {
		a.localURL = "http://" + a.localURL // as -addr of go run ./local has it
	}
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(within, http.MethodGet, strings.TrimSuffix(a.localURL, "/")+discovery.Path, nil)
	if err != nil {
		return usagef("--local: %q is not a URL", a.localURL)
	}
	response, err := http.DefaultClient.Do(request)
	if ctx.Err() != nil {
		return interrupted()
	}
	if err != nil {
		return faultf(cure, "there is no local stack at %s", a.localURL)
	}
	defer response.Body.Close()
	var found discovery.Stack
	if response.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&found) != nil || found.CA == "" {
		return faultf(cure, "what answers at %s is not a local stack with sandboxes (one that calls the real WeChat is not used by --local)", a.localURL)
	}
	a.local = &found
	return a.trust(found.CA)
}

// trust adds authorities to the root certificates of this process. It must be called
// before the first TLS connection, when they are read.
func (a *app) trust(authorities string) error {
	const cure = "make room there, or name another folder with TMPDIR"
	file, err := os.CreateTemp("", "membercard-ca-*.pem")
	if err != nil {
		return faultf(cure, "no temporary file can be made: %v", err)
	}
	a.cleanup = append(a.cleanup, func() { os.Remove(file.Name()) })
	defer file.Close()
	if _, err := file.WriteString(authorities); err != nil {
		return faultf(cure, "a temporary file can't be written: %v", err)
	}
	return os.Setenv("SSL_CERT_FILE", file.Name())
}

// wechat returns a client for the endpoints of an API of WeChat.
func (a *app) wechat(ofLocal func(*discovery.Stack) []string, defaults string) (*upstream.Client, error) {
	list := defaults
	switch {
	case len(a.endpoints) > 0:
		list = strings.Join(a.endpoints, ",")
	case a.local != nil:
		list = strings.Join(ofLocal(a.local), ",")
	}
	endpoints, err := upstream.Endpoints(list)
	if err != nil {
		return nil, usagef("--endpoint: %v", err)
	}
	return upstream.New(endpoints), nil
}
