package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"membercard/local/discovery"
)

// discover asks the local stack where its parts are, and trusts the authorities of
// its sandboxes. It fails if the stack does not prove that it is this user's.
func (a *app) discover(ctx context.Context) error {
	const cure = "start it with: go run ./local; if it listens elsewhere, name that address with --local=URL"
	if !strings.Contains(a.localURL, "://") {
		a.localURL = "http://" + a.localURL // as -addr of go run ./local has it
	}
	if _, err := url.Parse(a.localURL); err != nil {
		return usagef("--local: %q is not a URL", a.localURL)
	}
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	found, err := discovery.Find(within, a.localURL)
	switch {
	case ctx.Err() != nil:
		return interrupted()
	case errors.Is(err, discovery.ErrNoAnswer):
		if running := discovery.Running(within); len(running) > 0 {
			return faultf("name the one that runs: --local="+strings.Join(running, " or --local="), "there is no local stack at %s", a.localURL)
		}
		return faultf(cure, "there is no local stack at %s", a.localURL)
	case errors.Is(err, discovery.ErrNotLoopback):
		return faultf("name a stack that runs on this machine; keys are not sent to another", "%s can't be used by --local: %v", a.localURL, err)
	case errors.Is(err, discovery.ErrNotProved):
		return faultf("see what listens there; start the stack of this version as the same user, and name its own address", "%s can't be trusted with keys: %v", a.localURL, err)
	case err != nil:
		return faultf(cure, "what answers at %s is not a local stack with sandboxes (one that calls the real WeChat is not used by --local)", a.localURL)
	}
	a.local = found
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
	a.authorities = file.Name()
	defer file.Close()
	if _, err := file.WriteString(authorities); err != nil {
		return faultf(cure, "a temporary file can't be written: %v", err)
	}
	return os.Setenv("SSL_CERT_FILE", file.Name())
}

// postLocal makes a request to the local stack, at a path of package discovery.
func (a *app) postLocal(ctx context.Context, path string, body []byte) (status int, answer []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.local.API+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := discovery.Client().Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return response.StatusCode, answer, err
}
