package discovery

// This file has how a stack proves to the tool that both belong to one user. Whoever gets
// the port before the stack does would otherwise get the secrets that the tool sends.
//
// At start the stack writes a token into a file that only its user can read. The tool
// sends a nonce, and the stack answers with HMAC-SHA-256, under the token, of the nonce
// and its description. The token itself is never sent. The description names the address
// that the stack listens at, so a relay at another address gains nothing.

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

const (
	nonceHeader = "X-Local-Nonce"
	proofHeader = "X-Local-Proof" // hex
)

// The errors of [Find].
var (
	ErrNotLoopback = errors.New("it is not an address of the loopback interface, 127.0.0.1 or [::1]")
	ErrNoAnswer    = errors.New("nothing answers there")
	ErrNotAStack   = errors.New("what answers there is not a local stack with sandboxes")
	ErrNotProved   = errors.New("what answers there does not prove that it is this user's local stack")
)

// A Server serves the description of a stack, with a proof if the request has a nonce.
type Server struct {
	describe func() Stack
	token    string
	file     string
}

// Publish writes a new token for the stack at the URL api into this user's cache folder.
func Publish(api string, describe func() Stack) (*Server, error) {
	file, err := tokenFile(api)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	s := &Server{describe: describe, token: rand.Text(), file: file}
	fresh, err := os.CreateTemp(filepath.Dir(file), "token-*") // mode 0600
	if err != nil {
		return nil, err
	}
	_, err = fresh.WriteString(s.token)
	if err = errors.Join(err, fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), file) // which does not follow a link
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(fresh.Name()))
	}
	return s, nil
}

// Close removes the token's file, unless another stack has replaced it.
func (s *Server) Close() error {
	if text, err := os.ReadFile(s.file); err != nil || string(text) != s.token {
		return nil
	}
	return os.Remove(s.file)
}

// ServeHTTP implements [http.Handler] for [Path].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	WithoutPages(s.serve).ServeHTTP(w, r)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(s.describe())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if nonce := r.Header.Get(nonceHeader); nonce != "" {
		w.Header().Set(proofHeader, hex.EncodeToString(prove(s.token, nonce, body)))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body) // a client that left needs no answer
}

func prove(token, nonce string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(token))
	fmt.Fprintf(mac, "%s\n%s", nonce, body)
	return mac.Sum(nil)
}

// tokenFile returns the file with the token of the stack at a URL.
func tokenFile(api string) (string, error) {
	u, err := url.Parse(api)
	if err != nil {
		return "", err
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		err = fmt.Errorf("%w; set HOME to your own folder, for the stack as well as for the tool", err)
	}
	return filepath.Join(dir, "membercard", "local-"+u.Port()), err
}

// readToken reads the token of the stack at a URL.
func readToken(api string) (string, error) {
	file, err := tokenFile(api)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(file)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s is not a file that only its user can use", file)
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

// Client returns a client that connects to loopback addresses only, without a proxy, and
// follows no redirect.
func Client() *http.Client {
	dialer := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if at, err := netip.ParseAddrPort(address); err != nil || !at.Addr().IsLoopback() {
			return ErrNotLoopback
		}
		return nil
	}}
	return &http.Client{
		Transport:     &http.Transport{DialContext: dialer.DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Find returns the description of the stack at a URL. It fails if the URL or an address in
// the description is not a loopback address, or without a proof.
func Find(ctx context.Context, api string) (*Stack, error) {
	u, err := url.Parse(api)
	if err != nil || u.Hostname() != "localhost" && !isLoopback(api) {
		return nil, ErrNotLoopback
	}
	var connected string
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { connected = info.Conn.RemoteAddr().String() },
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(api, "/")+Path, nil)
	if err != nil {
		return nil, err
	}
	nonce := rand.Text()
	request.Header.Set(nonceHeader, nonce)
	client := Client()
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	switch {
	case errors.Is(err, ErrNotLoopback):
		return nil, ErrNotLoopback
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	var found Stack
	if err != nil || response.StatusCode != http.StatusOK || json.Unmarshal(body, &found) != nil || found.CA == "" {
		return nil, ErrNotAStack
	}
	if found.API != "http://"+connected {
		return nil, fmt.Errorf("%w: it says that it is at %q", ErrNotProved, found.API)
	}
	token, err := readToken(found.API)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotProved, err)
	}
	proof, _ := hex.DecodeString(response.Header.Get(proofHeader)) // what is not hex proves nothing
	if !hmac.Equal(proof, prove(token, nonce, body)) {
		return nil, ErrNotProved
	}
	for _, address := range found.addresses() {
		if !isLoopback(address) {
			return nil, fmt.Errorf("%w: the stack names %s", ErrNotLoopback, address)
		}
	}
	return &found, nil
}

// Running returns the URLs of this user's stacks that answer.
func Running(ctx context.Context) (urls []string) {
	anyPort, err := tokenFile("")
	if err != nil {
		return nil
	}
	files, _ := filepath.Glob(anyPort + "*") // a folder that is no pattern only finds nothing
	for _, file := range files {
		_, port, _ := strings.Cut(filepath.Base(file), "-")
		if stack, err := Find(ctx, "http://localhost:"+port); err == nil {
			urls = append(urls, stack.API)
		}
	}
	return urls
}

// addresses returns the addresses that the tool connects to. The URL of a queue is not one
// of them: it names the queue, and requests go to AWS.Endpoint.
func (s *Stack) addresses() []string {
	addresses := append([]string{s.API, s.AWS.Endpoint}, s.WeChatPay...)
	addresses = append(addresses, s.WeChat...)
	for _, name := range []string{"ApiUrl", "NotificationUrl"} {
		if address := s.Outputs[name]; address != "" {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

func isLoopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}
