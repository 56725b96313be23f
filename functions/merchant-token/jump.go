package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"membercard/shared/apierror"
	"membercard/shared/gateway"
	"membercard/shared/telemetry"
	"membercard/shared/validation"
)

// jump has the targets that a page may send its customers to. WeChat appends encrypt_code
// and activate_ticket to activate_url, so an official card-opening flow must not end on a
// stranger's page.
type jump struct {
	origins []string // as [origin] returns them
	appids  []string
}

// allowedJumps reads the comma-separated lists JUMP_ORIGINS and JUMP_APPIDS. An entry of
// JUMP_ORIGINS that is not an origin is logged, and allows nothing.
func allowedJumps(log *telemetry.Log) jump {
	j := jump{appids: list("JUMP_APPIDS")}
	for _, entry := range list("JUMP_ORIGINS") {
		if u, err := url.Parse(entry); err == nil && isOrigin(u) {
			j.origins = append(j.origins, origin(u))
			continue
		}
		log.Failure(context.Background(), "", "an entry of JUMP_ORIGINS allows nothing", errors.New(entry+" is not an origin"),
			"give the parameter JumpOrigins origins such as https://shop.example.com, with a scheme and without a path")
	}
	return j
}

func list(name string) (entries []string) {
	for entry := range strings.SplitSeq(os.Getenv(name), ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}

// allow refuses a target that a page may not choose, whatever activate_type is.
func (j jump) allow(r *gateway.Request, body *request) error {
	if !r.FromPage() {
		return nil
	}
	if u, err := url.Parse(body.ActivateURL); body.ActivateURL != "" && (err != nil || !slices.Contains(j.origins, origin(u))) {
		return apierror.JumpNotAllowed("/body/activate_url", "JumpOrigins")
	}
	if body.ActivateAppID != "" && !slices.Contains(j.appids, body.ActivateAppID) {
		return apierror.JumpNotAllowed("/body/activate_appid", "JumpAppIds")
	}
	return nil
}

// isOrigin reports whether a URL is an origin (RFC 6454) and nothing else. The name of the
// host must be ASCII, because browsers send others as Punycode, and must not be a pattern.
func isOrigin(u *url.URL) bool {
	host := u.Hostname()
	isHost := host != "" && (validation.Alphanumeric(len(host), "-._")(host) == "" || net.ParseIP(host) != nil)
	return (u.Scheme == "http" || u.Scheme == "https") && isHost && *u == url.URL{Scheme: u.Scheme, Host: u.Host}
}

// origin returns the origin of a URL, with the port that browsers leave out.
func origin(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	case u.Scheme == "https":
		port = "443"
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
