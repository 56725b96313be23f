package discovery

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
)

// stackAt starts a stack with a description, which a test may change.
func stackAt(t *testing.T, change func(*Stack)) (*Server, string) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	mux := http.NewServeMux()
	listening := httptest.NewServer(mux)
	t.Cleanup(listening.Close)
	stack := described(listening.URL)
	if change != nil {
		change(&stack)
	}
	server, err := Publish(listening.URL, func() Stack { return stack })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	mux.Handle("GET "+Path, server)
	return server, listening.URL
}

func described(url string) Stack {
	return Stack{API: url, WeChatPay: []string{"https://127.0.0.1:1"}, WeChat: []string{"https://[::1]:1"}, CA: "PEM", AWS: AWS{Endpoint: "http://127.0.0.1:2"}, Outputs: map[string]string{"ApiUrl": url, "CardPlan": "s3://bucket/plan.json"}}
}

func TestFind(t *testing.T) {
	_, at := stackAt(t, nil)
	found, err := Find(t.Context(), at+"/")
	if want := described(at); err != nil || !reflect.DeepEqual(*found, want) {
		t.Errorf("%+v, %v", found, err)
	}
}

// Nothing but the stack itself is believed, at its own address.
func TestFindRefuses(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Stack)
		at     func(t *testing.T, s *Server, at string) string // where the tool asks
		want   error
	}{
		{"another machine", nil, func(*testing.T, *Server, string) string { return "http://192.0.2.1:8080" }, ErrNotLoopback},
		{"a name that is not localhost", nil, func(*testing.T, *Server, string) string { return "http://stack.example:8080" }, ErrNotLoopback},
		{"no URL", nil, func(*testing.T, *Server, string) string { return "http://[" }, ErrNotLoopback},
		{"nobody", nil, func(*testing.T, *Server, string) string { return "http://127.0.0.1:1" }, ErrNoAnswer},
		{"another server", nil, func(t *testing.T, _ *Server, _ string) string { return serving(t, http.NotFoundHandler()) }, ErrNotAStack},
		{"a fake that knows no token", nil, func(t *testing.T, _ *Server, _ string) string {
			var fake *httptest.Server
			fake = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				(&Server{describe: func() Stack { return described(fake.URL) }, token: "guessed"}).ServeHTTP(w, r)
			}))
			t.Cleanup(fake.Close)
			return fake.URL
		}, ErrNotProved},
		{"a fake where a stack was before", nil, func(t *testing.T, s *Server, at string) string {
			s.token = "guessed"
			return at
		}, ErrNotProved},
		{"a relay", nil, func(t *testing.T, _ *Server, at string) string {
			return relay(t, at, func(r *http.Response) error { return nil })
		}, ErrNotProved},
		{"a relay that names itself", nil, func(t *testing.T, s *Server, at string) string {
			return relay(t, at, func(r *http.Response) error {
				body, err := io.ReadAll(r.Body)
				changed := strings.ReplaceAll(string(body), at, "http://"+r.Request.Header.Get("X-Relay"))
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(changed)), int64(len(changed))
				r.Header.Del("Content-Length")
				return errors.Join(err, os.Link(s.file, strings.TrimSuffix(s.file, port(at))+port("http://"+r.Request.Header.Get("X-Relay")))) // as if there was a token for it
			})
		}, ErrNotProved},
		{"a redirect to the stack", nil, func(t *testing.T, _ *Server, at string) string {
			return serving(t, http.RedirectHandler(at+Path, http.StatusFound))
		}, ErrNotAStack},
		{"no token's file", nil, func(t *testing.T, s *Server, at string) string { s.Close(); return at }, ErrNotProved},
		{"no home folder", nil, func(t *testing.T, _ *Server, at string) string {
			t.Setenv("HOME", "")
			t.Setenv("XDG_CACHE_HOME", "")
			return at
		}, ErrNotProved},
		{"a token that others can read", nil, func(t *testing.T, s *Server, at string) string {
			if err := os.Chmod(s.file, 0o640); err != nil {
				t.Fatal(err)
			}
			return at
		}, ErrNotProved},
		{"an AWS elsewhere", func(s *Stack) { s.AWS.Endpoint = "http://192.0.2.1:2" }, nil, ErrNotLoopback},
		{"a WeChat Pay elsewhere", func(s *Stack) { s.WeChatPay = append(s.WeChatPay, "https://192.0.2.1:2") }, nil, ErrNotLoopback},
		{"a WeChat by name", func(s *Stack) { s.WeChat = []string{"https://localhost:2"} }, nil, ErrNotLoopback},
		{"an output elsewhere", func(s *Stack) { s.Outputs["ApiUrl"] = "https://api.example.com" }, nil, ErrNotLoopback},
	} {
		t.Run(row.name, func(t *testing.T) {
			server, at := stackAt(t, row.change)
			if row.at != nil {
				at = row.at(t, server, at)
			}
			found, err := Find(t.Context(), at)
			if found != nil || !errors.Is(err, row.want) {
				t.Errorf("%+v, %v, want %v", found, err, row.want)
			}
		})
	}
}

func port(address string) string {
	u, _ := url.Parse(address)
	return u.Port()
}

func serving(t *testing.T, handler http.Handler) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// relay passes requests on to a stack, under the stack's own name.
func relay(t *testing.T, to string, change func(*http.Response) error) string {
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return serving(t, &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set("X-Relay", r.In.Host)
		},
		ModifyResponse: change,
	})
}

func TestTheTokenIsItsUsersAndNeverSent(t *testing.T) {
	server, at := stackAt(t, nil)
	if info, err := os.Stat(server.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	request, _ := http.NewRequest(http.MethodGet, at+Path, nil)
	request.Header.Set(nonceHeader, "nonce")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	sent, _ := httputil.DumpResponse(response, true)
	if response.Header.Get(proofHeader) == "" || strings.Contains(string(sent), server.token) {
		t.Errorf("%s", sent)
	}
	if server.Close(); !errors.Is(notThere(server.file), os.ErrNotExist) {
		t.Error("the file is left")
	}
}

func notThere(path string) error {
	_, err := os.Lstat(path)
	return err
}

func TestPublishFollowsNoLink(t *testing.T) {
	server, at := stackAt(t, nil)
	victim := t.TempDir() + "/victim"
	if err := errors.Join(os.WriteFile(victim, []byte("theirs"), 0o644), os.Remove(server.file), os.Symlink(victim, server.file)); err != nil {
		t.Fatal(err)
	}
	again, err := Publish(at, func() Stack { return described(at) })
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if text, _ := os.ReadFile(victim); string(text) != "theirs" {
		t.Errorf("the link was followed: %s", text)
	}
	if info, err := os.Lstat(server.file); err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestPagesAreRefused(t *testing.T) {
	_, at := stackAt(t, nil)
	for _, header := range []string{"Origin", "Sec-Fetch-Site"} {
		request, _ := http.NewRequest(http.MethodGet, at+Path, nil)
		request.Header.Set(header, "same-origin")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if response.Body.Close(); response.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", header, response.StatusCode)
		}
	}
}
