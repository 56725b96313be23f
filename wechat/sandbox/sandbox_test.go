package sandbox

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"membercard/wechat/network/networktest"
)

func start(t *testing.T) *Server {
	t.Helper()
	s, err := Start(time.Now, func(_ *Request, a *Answer) { a.Body = []byte("{}") })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func post(t *testing.T, s *Server, endpoint int, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Endpoints()[endpoint]+"/a%2Fb?c=d", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestBreak checks the statuses of four requests to each endpoint.
func TestBreak(t *testing.T) {
	type broken struct {
		endpoint, status, times int
	}
	s := start(t)
	networktest.Close(t, s)
	c := clientOf(s)
	statuses := func(endpoint int) string {
		var got []string
		for range 4 {
			resp, _ := networktest.Do(t, c.Do, post(t, s, endpoint, ""))
			got = append(got, fmt.Sprint(resp.StatusCode))
		}
		return strings.Join(got, " ")
	}
	for _, tt := range []struct {
		name   string
		broken []broken
		want   [2]string
	}{
		{"none", []broken{{0, 500, 0}}, [2]string{"200 200 200 200", "200 200 200 200"}},
		{"twice, at the other", []broken{{1, 500, 2}}, [2]string{"200 200 200 200", "500 500 200 200"}},
		{"queued", []broken{{0, 500, 1}, {0, 503, 2}, {1, 502, -1}}, [2]string{"500 503 503 200", "502 502 502 502"}},
		{"healed", nil, [2]string{"200 200 200 200", "200 200 200 200"}},
	} {
		for _, b := range tt.broken {
			s.Break(b.endpoint, Status(b.status, "{}"), b.times)
		}
		for i, want := range tt.want {
			if got := statuses(i); got != want {
				t.Errorf("%s: endpoint %d: %s, want %s", tt.name, i, got, want)
			}
		}
		s.Heal()
	}
}

// TestLog checks that the log has the newest 10,000 requests. A request of more than
// 1 MiB is not answered.
func TestLog(t *testing.T) {
	s := start(t)
	networktest.Close(t, s)
	c := clientOf(s)
	if _, err := c.Do(post(t, s, 0, strings.Repeat(" ", 1<<20+1))); err == nil || len(s.Requests()) != 0 {
		t.Errorf("a body of over 1 MiB: %v", err)
	}
	networktest.Do(t, c.Do, post(t, s, 1, "first"))
	if l := s.Requests()[0]; l.Endpoint != 1 || time.Since(l.Time) > time.Minute || l.Method != "POST" || l.URI != "/a%2Fb?c=d" ||
		l.Header.Get("User-Agent") == "" || string(l.Body) != "first" || l.Status != 200 || string(l.Answer) != "{}" {
		t.Errorf("logged %+v", l)
	}
	for i := range maxLog {
		s.log(Request{Body: fmt.Append(nil, i)})
	}
	if log := s.Requests(); len(log) != 10_000 || string(log[0].Body) != "0" || string(log[9_999].Body) != "9999" {
		t.Errorf("%d logged, from %s", len(log), log[0].Body)
	}
}

// TestClose closes the server while a request hangs.
func TestClose(t *testing.T) {
	s := start(t)
	s.Break(1, Hang(), -1)
	r, answered := post(t, s, 1, ""), make(chan error)
	go func() {
		_, err := clientOf(s).Do(r)
		answered <- err
	}()
	for len(s.Requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-answered; err == nil || s.Listener(1).Open() != 0 {
		t.Errorf("%v, %d connections open", err, s.Listener(1).Open())
	}
	if err := s.Close(); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("the second Close: %v", err)
	}
}

// TestTLS checks for TLS 1.2 or later, and for a certificate that has WeChat's hosts.
func TestTLS(t *testing.T) {
	s := start(t)
	networktest.Close(t, s)
	for _, row := range []struct {
		name string
		most uint16
		ok   bool
	}{{"api.mch.weixin.qq.com", 0, true}, {"api2.weixin.qq.com", tls.VersionTLS12, true}, {"localhost", tls.VersionTLS11, false}, {"pay.weixin.qq.com", 0, false}} {
		c := clientOf(s)
		config := c.Transport.(*http.Transport).TLSClientConfig
		config.ServerName, config.MaxVersion = row.name, row.most
		if _, err := c.Do(post(t, s, 0, "")); (err == nil) != row.ok {
			t.Errorf("%s: %v", row.name, err)
		}
		c.CloseIdleConnections()
	}
}

// clientOf returns a client that trusts a sandbox, and does not follow redirects.
func clientOf(s *Server) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA())
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       time.Minute,
	}
}
