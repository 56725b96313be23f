package officialaccount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"membercard/shared/apierror"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

const (
	operation = "/card/get"
	example   = `{"card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0"}`
	good      = `{"errcode":0,"errmsg":"ok","card":{}}`
	requestID = "08F78BB5AF0610D302"

	appSecret = "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
	tokenStem = "90_kxZ3vQ0b7uJpR5tYw2sLm8NfHdCgAeVi" // of every access token
)

// reply is an answer of WeChat. Status 0 means 200.
type reply struct {
	status  int
	body    string
	headers map[string]string
	aborts  bool // no answer but the end of the connection
}

func says(body string) reply { return reply{body: body} }

func errcode(code int) reply { return says(fmt.Sprintf(`{"errcode":%d,"errmsg":"words"}`, code)) }

// tokenOf returns the answer with the nth token.
func tokenOf(n int) reply {
	return says(fmt.Sprintf(`{"access_token":"%s%d","expires_in":7200}`, tokenStem, n))
}

// wechat is a WeChat that gives out tokens and answers as the test says.
type wechat struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	token   func(n int, secret string, force bool) reply // of the token operation, from 1
	answer  func(n int, token string) reply              // of the operation, from 1
	forced  []bool                                       // force_refresh of the token operation's calls
	secrets []string                                     // and their secrets
	tokens  []string                                     // of the operation's calls
}

func start(t *testing.T) *wechat {
	w := &wechat{
		t:      t,
		token:  func(n int, _ string, _ bool) reply { return tokenOf(n) },
		answer: func(int, string) reply { return says(good) },
	}
	w.Server = tlsdialtest.Start(t, w)
	return w
}

func (w *wechat) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // who asked is gone
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		w.t.Errorf("%s as %q", r.Method, r.Header.Get("Content-Type"))
	}
	made := w.reply(r, body)
	if made.aborts {
		panic(http.ErrAbortHandler)
	}
	out.Header().Set("Request-ID", requestID)
	for name, value := range made.headers {
		out.Header().Set(name, value)
	}
	if made.status != 0 {
		out.WriteHeader(made.status)
	}
	_, _ = io.WriteString(out, made.body)
}

func (w *wechat) reply(r *http.Request, body []byte) reply {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch r.URL.Path {
	case "/cgi-bin/stable_token":
		var asked struct {
			GrantType    string `json:"grant_type"`
			AppID        string `json:"appid"`
			Secret       string `json:"secret"`
			ForceRefresh *bool  `json:"force_refresh"`
		}
		if err := json.Unmarshal(body, &asked); err != nil || asked.GrantType != "client_credential" || asked.AppID == "" || asked.Secret == "" || asked.ForceRefresh == nil || r.URL.RawQuery != "" {
			w.t.Errorf("a token is asked for with %s?%s", body, r.URL.RawQuery)
			return reply{status: 400}
		}
		w.forced, w.secrets = append(w.forced, *asked.ForceRefresh), append(w.secrets, asked.Secret)
		return w.token(len(w.forced), asked.Secret, *asked.ForceRefresh)
	case operation:
		if string(body) != example || len(r.URL.Query()) != 1 {
			w.t.Errorf("%s?%s", body, r.URL.RawQuery)
		}
		token := r.URL.Query().Get("access_token")
		w.tokens = append(w.tokens, token)
		return w.answer(len(w.tokens), token)
	}
	w.t.Errorf("%s", r.URL)
	return reply{status: 404}
}

// keepsItsToken makes WeChat give out the same token until another one is asked for
// by force.
func (w *wechat) keepsItsToken() {
	current := 1
	w.token = func(_ int, _ string, force bool) reply {
		if force {
			current++
		}
		return tokenOf(current)
	}
}

// refusesTheFirstToken makes WeChat answer calls that have its first token with an
// errcode.
func (w *wechat) refusesTheFirstToken(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = func(_ int, token string) reply {
		if token == tokenStem+"1" {
			return errcode(code)
		}
		return says(good)
	}
}

// counts checks how often a token was asked for, by force or not, and how often the
// operation was called.
func (w *wechat) counts(t *testing.T, forced []bool, calls int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if fmt.Sprint(w.forced) != fmt.Sprint(forced) || len(w.tokens) != calls {
		t.Errorf("tokens were asked for with force %v, and the operation called %d times; want %v, %d", w.forced, len(w.tokens), forced, calls)
	}
}

// source is a source of an account. Refresh changes to the next one, if there is one.
type source struct {
	mu        sync.Mutex
	account   *Account
	next      *Account
	err       error // of reading it again
	noAccount error
	refreshed int
}

func newSource() *source { return &source{account: &Account{"wx5f0c2b8e7d4a9361", appSecret}} }

func (s *source) Get(context.Context) (*Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account, s.noAccount
}

func (s *source) Refresh(_ context.Context, outdated *Account) (*Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refreshed++
	if s.account == outdated && s.err == nil && s.next != nil {
		s.account, s.next = s.next, nil
	}
	return s.account, s.err
}

func newClient(from Source, servers ...*wechat) *Client {
	var endpoints []string
	for _, s := range servers {
		endpoints = append(endpoints, s.URL)
	}
	return NewClient(from, upstream.New(endpoints))
}

// works makes a call that must succeed.
func works(t *testing.T, c *Client) {
	t.Helper()
	a, err := c.Post(t.Context(), operation, []byte(example))
	if err != nil || string(a.Body) != good || a.RequestID() != requestID {
		t.Errorf("%+v, %v", a, err)
	}
}

// fails makes a call that must fail.
func fails(t *testing.T, c *Client, status int, code string) *apierror.Error {
	t.Helper()
	return failsIn(t, t.Context(), c, status, code)
}

func failsIn(t *testing.T, ctx context.Context, c *Client, status int, code string) *apierror.Error {
	t.Helper()
	a, err := c.Post(ctx, operation, []byte(example))
	e, ok := errors.AsType[*apierror.Error](err)
	if !ok || e.Status != status || e.Code != code {
		t.Fatalf("%+v, %v, want %d %s", a, err, status, code)
	}
	return e
}

func TestTheTokenIsFetchedOnce(t *testing.T) {
	w := start(t)
	c := newClient(newSource(), w)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { works(t, c) })
	}
	all.Wait()
	w.counts(t, []bool{false}, 20)
}

func TestWarm(t *testing.T) {
	w := start(t)
	c := newClient(newSource(), w)
	c.Warm(t.Context())
	w.counts(t, []bool{false}, 0)
	works(t, c)
	w.counts(t, []bool{false}, 1)
}

func TestRequestsTryAgainWhatFailedInWarm(t *testing.T) {
	w, from := start(t), newSource()
	c := newClient(from, w)
	from.noAccount = errors.New("not yet")
	c.Warm(t.Context())
	fails(t, c, 500, "CONFIG_ERROR")
	w.counts(t, nil, 0)
	from.noAccount = nil
	works(t, c)
	w.counts(t, []bool{false}, 1)
}

// A token is kept until five minutes before it expires, or for half of a short life.
func TestATokenIsKeptForItsLife(t *testing.T) {
	for _, row := range []struct {
		expiresIn int
		kept      time.Duration
	}{
		{7200, 6900 * time.Second},
		{3600, 3300 * time.Second},
		{600, 300 * time.Second},
		{400, 200 * time.Second},
		{120, 60 * time.Second},
	} {
		const slack = 30 * time.Second // which the test itself may take
		w := start(t)
		w.token = func(n int, _ string, _ bool) reply {
			return says(fmt.Sprintf(`{"access_token":"%s%d","expires_in":%d}`, tokenStem, n, row.expiresIn))
		}
		c := newClient(newSource(), w)
		later := func(d time.Duration) { c.token.renewAt = c.token.renewAt.Add(-d) }
		works(t, c)
		later(row.kept - slack)
		works(t, c)
		w.counts(t, []bool{false}, 2)
		later(slack)
		works(t, c)
		w.counts(t, []bool{false, false}, 3)
		if w.tokens[1] != tokenStem+"1" || w.tokens[2] != tokenStem+"2" {
			t.Errorf("of %d s: tokens %v", row.expiresIn, w.tokens)
		}
	}
}

// While the token in hand is valid, a renewal that fails fails no call and is not tried
// again for 30 s.
func TestATokenThatCannotBeRenewedServesUntilItExpires(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what   string
		fault  reply
		status int // of a call after the token has expired
		code   string
	}{
		{"503", reply{status: 503}, 502, "SYSTEM_ERROR"},
		{"429", reply{status: 429}, 429, "RATELIMIT_EXCEEDED"},
		{"none", reply{aborts: true}, 502, "UPSTREAM_UNREACHABLE"},
		{"another shape", says(`{}`), 502, "INVALID_RESPONSE"},
		{"the quota", errcode(45009), 429, "WECHAT_45009"},
		{"an IP address that is not allowed", errcode(40164), 502, "WECHAT_40164"},
		{"a refused secret", errcode(40125), 500, "CONFIG_ERROR"},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			w.token = func(n int, _ string, _ bool) reply {
				if n > 1 {
					return row.fault
				}
				return tokenOf(1)
			}
			c := newClient(newSource(), w)
			log, records := telemetrytest.New()
			ctx, record := log.Begin(t.Context(), "id")
			works(t, c)
			c.token.renewAt = time.Now()
			if _, err := c.Post(ctx, operation, []byte(example)); err != nil {
				t.Errorf("while the token is valid: %v", err)
			}
			if record.End(ctx, slog.LevelInfo, "answered", "OK"); !strings.Contains(records.String(), `"token_not_renewed":"`+row.code+`"`) {
				t.Errorf("the record is %s", records)
			}
			asked := len(w.forced)
			works(t, c)
			if len(w.forced) != asked {
				t.Error("the next call tries again at once")
			}
			c.token.expiresAt = time.Now()
			fails(t, c, row.status, row.code)
			w.token = func(int, string, bool) reply { return tokenOf(3) }
			works(t, c)
			if last := w.tokens[len(w.tokens)-1]; last != tokenStem+"3" {
				t.Errorf("the last call has the token %s", last)
			}
		})
	}
}

// A renewal that hangs leaves time for the call.
func TestARenewalThatHangs(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := newClient(newSource(), w)
	works(t, c)
	c.token.renewAt = time.Now()
	w.token = func(int, string, bool) reply {
		w.mu.Unlock() // which the operation needs
		defer w.mu.Lock()
		time.Sleep(time.Second)
		return tokenOf(2)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	if _, err := c.Post(ctx, operation, []byte(example)); err != nil {
		t.Error(err)
	}
}

// Another account needs another token.
func TestAnotherAccountGetsAnotherToken(t *testing.T) {
	w, from := start(t), newSource()
	c := newClient(from, w)
	works(t, c)
	from.account = &Account{"wx0000000000000000", "another"}
	works(t, c)
	works(t, c)
	w.counts(t, []bool{false, false}, 3)
	if w.secrets[1] != "another" {
		t.Errorf("asked for with %v", w.secrets)
	}
}

// A token that WeChat refuses is replaced without force if that gives another one.
func TestAnInvalidTokenIsReplaced(t *testing.T) {
	for _, dead := range []int{40001, 40014, 42001} {
		w := start(t)
		w.refusesTheFirstToken(dead)
		c := newClient(newSource(), w)
		works(t, c)
		w.counts(t, []bool{false, false}, 2)
		works(t, c)
		w.counts(t, []bool{false, false}, 3)
	}
}

// If WeChat gives out the refused token again, it is replaced by force, at most once
// in 30 s.
func TestAnInvalidTokenIsReplacedByForceOncePer30s(t *testing.T) {
	w := start(t)
	w.keepsItsToken()
	deadUpTo := 1
	w.answer = func(_ int, token string) reply {
		if token <= tokenStem+fmt.Sprint(deadUpTo) {
			return errcode(40001)
		}
		return says(good)
	}
	c := newClient(newSource(), w)
	works(t, c)
	w.counts(t, []bool{false, false, true}, 2)

	w.mu.Lock()
	deadUpTo = 2
	w.mu.Unlock()
	for i := range 3 { // too soon for another by force
		fails(t, c, 502, "WECHAT_40001")
		w.counts(t, append([]bool{false, false, true}, make([]bool, i+1)...), 2+2*(i+1))
	}
	c.token.forcedAt = c.token.forcedAt.Add(-29 * time.Second)
	fails(t, c, 502, "WECHAT_40001")
	c.token.forcedAt = c.token.forcedAt.Add(-time.Second)
	works(t, c)
	w.counts(t, []bool{false, false, true, false, false, false, false, false, true}, 12)
}

// If the new token is refused as well, the caller gets an error.
func TestATokenThatIsInvalidTwiceIsAnError(t *testing.T) {
	for _, dead := range []int{40001, 40014, 42001} {
		w := start(t)
		w.answer = func(int, string) reply { return errcode(dead) }
		c := newClient(newSource(), w)
		if e := fails(t, c, 502, fmt.Sprintf("WECHAT_%d", dead)); e.RequestID != requestID {
			t.Errorf("%+v", e)
		}
		w.counts(t, []bool{false, false}, 2)
	}
}

// Many calls with a refused token ask for another one once.
func TestAnInvalidTokenIsReplacedOnceForAllCalls(t *testing.T) {
	w := start(t)
	w.keepsItsToken()
	c := newClient(newSource(), w)
	works(t, c)
	w.refusesTheFirstToken(40001)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { works(t, c) })
	}
	all.Wait()
	if fmt.Sprint(w.forced) != "[false false true]" {
		t.Errorf("tokens were asked for with force %v", w.forced)
	}
}

// If WeChat refuses the secret, it is read again. If it has changed, the call works.
func TestARefusedSecretIsReadAgain(t *testing.T) {
	rotated := &Account{"wx5f0c2b8e7d4a9361", "rotated"}
	for _, refused := range []int{40013, 40125} {
		for _, row := range []struct {
			what      string
			next      *Account
			unread    error
			works     bool
			asked     []bool
			refreshed int
		}{
			{"changed", rotated, nil, true, []bool{false, false}, 1},
			{"unchanged", nil, nil, false, []bool{false}, 1},
			{"unreadable", rotated, errors.New("AccessDeniedException"), false, []bool{false}, 1},
			{"changed to another wrong one", &Account{"wx5f0c2b8e7d4a9361", "wrong"}, nil, false, []bool{false, false}, 1},
		} {
			t.Run(fmt.Sprintf("%d, %s", refused, row.what), func(t *testing.T) {
				w, from := start(t), newSource()
				w.token = func(n int, secret string, _ bool) reply {
					if secret != "rotated" {
						return errcode(refused)
					}
					return tokenOf(n)
				}
				from.next, from.err = row.next, row.unread
				c := newClient(from, w)
				if row.works {
					works(t, c)
					works(t, c)
					w.counts(t, row.asked, 2)
				} else {
					e := fails(t, c, 500, "CONFIG_ERROR")
					w.counts(t, row.asked, 0)
					if strings.Contains(e.Message, "words") || e.Cure == "" || !strings.Contains(e.Error(), fmt.Sprint(refused)) {
						t.Errorf("%+v", e)
					}
				}
				if from.refreshed != row.refreshed {
					t.Errorf("read again %d times", from.refreshed)
				}
			})
		}
	}
}

// A secret that is refused while a token is replaced is read again too.
func TestASecretRefusedWhileATokenIsReplaced(t *testing.T) {
	w, from := start(t), newSource()
	from.next = &Account{"wx5f0c2b8e7d4a9361", "rotated"}
	w.token = func(n int, secret string, _ bool) reply {
		if n > 1 && secret != "rotated" {
			return errcode(40125)
		}
		return tokenOf(n)
	}
	w.refusesTheFirstToken(40001)
	c := newClient(from, w)
	works(t, c)
	works(t, c)
	w.counts(t, []bool{false, false, false}, 3)
}

// If WeChat is busy, the call is tried again, at the next endpoint first.
func TestBusyIsTriedAgain(t *testing.T) {
	for _, row := range []struct {
		what          string
		first, second reply
		works         bool
		code          string
		calls         [2]int
	}{
		{"the next is not", errcode(-1), says(good), true, "", [2]int{1, 1}},
		{"both are", errcode(-1), errcode(-1), false, "WECHAT_-1", [2]int{2, 2}},
		{"the next refuses", errcode(-1), errcode(40053), false, "WECHAT_40053", [2]int{1, 1}},
		{"another refusal is not tried again", errcode(40053), says(good), false, "WECHAT_40053", [2]int{1, 0}},
		{"nor is the quota", errcode(45009), says(good), false, "WECHAT_45009", [2]int{1, 0}},
		{"nor is the rate", errcode(45011), says(good), false, "WECHAT_45011", [2]int{1, 0}},
	} {
		t.Run(row.what, func(t *testing.T) {
			first, second := start(t), start(t)
			first.answer = func(int, string) reply { return row.first }
			second.answer = func(int, string) reply { return row.second }
			c := newClient(newSource(), first, second)
			if row.works {
				works(t, c)
			} else {
				a, err := c.Post(t.Context(), operation, []byte(example))
				if e, ok := errors.AsType[*apierror.Error](err); !ok || e.Code != row.code {
					t.Errorf("%+v, %v, want %s", a, err, row.code)
				}
			}
			if calls := [2]int{len(first.tokens), len(second.tokens)}; calls != row.calls {
				t.Errorf("calls %v, want %v", calls, row.calls)
			}
		})
	}
	t.Run("a token", func(t *testing.T) {
		first, second := start(t), start(t)
		first.token = func(int, string, bool) reply { return errcode(-1) }
		works(t, newClient(newSource(), first, second))
		first.counts(t, []bool{false}, 1)
		second.counts(t, []bool{false}, 0)
	})
}

// If WeChat gives out no token, the caller gets the reason.
func TestErrorsOfTheTokenOperation(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		errcode, status int
		code            string
	}{
		{40164, 502, "WECHAT_40164"}, {45009, 429, "WECHAT_45009"}, {45011, 429, "WECHAT_45011"}, {-1, 502, "WECHAT_-1"}, {40002, 400, "WECHAT_40002"},
	} {
		w := start(t)
		w.token = func(int, string, bool) reply { return errcode(row.errcode) }
		fails(t, newClient(newSource(), w), row.status, row.code)
		w.counts(t, make([]bool, len(w.forced)), 0)
	}
	w := start(t)
	w.token = func(int, string, bool) reply {
		return says(`{"errcode":40164,"errmsg":"invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist rid: 66e8b1a2"}`)
	}
	if e := fails(t, newClient(newSource(), w), 502, "WECHAT_40164"); !strings.Contains(e.Message, "add 203.0.113.7 ") {
		t.Errorf("%+v names no IP", e)
	}
}

// An answer of another shape is never a success and is not tried again. Failures of
// the network are tried again.
func TestUndocumentedAnswersAreRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what     string
		answer   reply
		status   int
		code     string
		attempts int
	}{
		{"nothing", says(``), 502, "INVALID_RESPONSE", 1},
		{"no JSON", says(`ok`), 502, "INVALID_RESPONSE", 1},
		{"HTML", says(`<html></html>`), 502, "INVALID_RESPONSE", 1},
		{"an array", says(`[]`), 502, "INVALID_RESPONSE", 1},
		{"null", says(`null`), 502, "INVALID_RESPONSE", 1},
		{"no errcode", says(`{"errmsg":"ok"}`), 502, "INVALID_RESPONSE", 1},
		{"errcode null", says(`{"errcode":null,"errmsg":"ok"}`), 502, "INVALID_RESPONSE", 1},
		{"errcode as a string", says(`{"errcode":"0","errmsg":"ok"}`), 502, "INVALID_RESPONSE", 1},
		{"errcode as a fraction", says(`{"errcode":0.5,"errmsg":"ok"}`), 502, "INVALID_RESPONSE", 1},
		{"an access token where none was asked for", says(`{"access_token":"x","expires_in":7200}`), 502, "INVALID_RESPONSE", 1},
		{"cut off", says(good[:len(good)-1]), 502, "INVALID_RESPONSE", 1},
		{"trailing data", says(good + "x"), 502, "INVALID_RESPONSE", 1},
		{"over 1 MiB", says(good + strings.Repeat(" ", 1<<20)), 502, "INVALID_RESPONSE", 1},
		{"another success", reply{status: 201, body: good}, 502, "INVALID_RESPONSE", 1},
		{"nothing on purpose", reply{status: 204}, 502, "INVALID_RESPONSE", 1},
		{"a redirect", reply{status: 302, body: good, headers: map[string]string{"Location": "/elsewhere"}}, 502, "INVALID_RESPONSE", 1},
		{"a redirect that keeps the method", reply{status: 307, body: good, headers: map[string]string{"Location": operation}}, 502, "INVALID_RESPONSE", 1},
		{"a redirect to nowhere", reply{status: 301, body: good}, 502, "INVALID_RESPONSE", 1},
		{"a redirect to what is no URL", reply{status: 302, body: good, headers: map[string]string{"Location": "https://[::1/"}}, 502, "INVALID_RESPONSE", 1},
		{"400", reply{status: 400, body: good}, 502, "INVALID_RESPONSE", 1},
		{"403", reply{status: 403, body: "<html>"}, 502, "INVALID_RESPONSE", 1},
		{"404", reply{status: 404, body: good}, 502, "INVALID_RESPONSE", 1},
		{"429", reply{status: 429, body: good}, 429, "RATELIMIT_EXCEEDED", 1},
		{"500", reply{status: 500, body: good}, 502, "SYSTEM_ERROR", 4},
		{"502", reply{status: 502, body: "<html>"}, 502, "SYSTEM_ERROR", 4},
		{"truncated", reply{body: good, headers: map[string]string{"Content-Length": "1000"}}, 502, "UPSTREAM_UNREACHABLE", 4},
		{"none", reply{aborts: true}, 502, "UPSTREAM_UNREACHABLE", 0},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			w.answer = func(int, string) reply { return row.answer }
			e := fails(t, newClient(newSource(), w), row.status, row.code)
			if n := len(w.tokens); n != row.attempts && row.attempts > 0 || n > 4 {
				t.Errorf("%d attempts, want %d", n, row.attempts)
			}
			answered := e.Code != "UPSTREAM_UNREACHABLE" && row.what != "over 1 MiB" && row.what != "a redirect to what is no URL"
			if answered && e.RequestID != requestID {
				t.Errorf("Request-ID %q", e.RequestID)
			}
		})
		t.Run(row.what+", for a token", func(t *testing.T) {
			t.Parallel()
			if row.what == "an access token where none was asked for" {
				t.Skip("here one was")
			}
			w := start(t)
			w.token = func(int, string, bool) reply { return row.answer }
			fails(t, newClient(newSource(), w), row.status, row.code)
			if n := len(w.forced); n != row.attempts && row.attempts > 0 || len(w.tokens) != 0 {
				t.Errorf("%d attempts, want %d; %d calls without a token", n, row.attempts, len(w.tokens))
			}
		})
	}
}

// Texts that people typed are read as they can be, and passed on as valid JSON. Other
// faults of an answer are not repaired.
func TestTextsThatPeopleTyped(t *testing.T) {
	answer := func(title string) string { return `{"errcode":0,"errmsg":"ok","card":{"title":"` + title + `"}}` }
	for _, row := range []struct{ what, title, passedOn, read string }{
		{"nothing unusual", "会员卡😀 \\\" \\u0014", "会员卡😀 \\\" \\u0014", "会员卡😀 \" \x14"},
		{"U+0014", "a\x14b", "a\\u0014b", "a\x14b"},
		{"U+0000", "a\x00b", "a\\u0000b", "a\x00b"},
		{"a line feed", "a\nb", "a\\u000ab", "a\nb"},
		{"a tab and U+001F", "\t\x1f", "\\u0009\\u001f", "\t\x1f"},
		{"DEL, which JSON allows", "a\x7fb", "a\x7fb", "a\x7fb"},
		{"a broken byte", "a\xffb", "a\ufffdb", "a\ufffdb"},
		{"a character cut short at the end", "会\xe4\xbc", "会\ufffd\ufffd", "会\ufffd\ufffd"},
		{"a surrogate in UTF-8", "\xed\xa0\x80", "\ufffd\ufffd\ufffd", "\ufffd\ufffd\ufffd"},
		{"after a backslash that escapes nothing", "a\\\nb\\\xffc", "a\\\\\\u000ab\\\\\ufffdc", "a\\\nb\\\ufffdc"},
		{"after an escaped backslash", "a\\\\\n", "a\\\\\\u000a", "a\\\n"},
		{"after an escaped quote", "\\\"\n", "\\\"\\u000a", "\"\n"},
	} {
		t.Run(row.what, func(t *testing.T) {
			w := start(t)
			w.answer = func(int, string) reply { return says(answer(row.title)) }
			a, err := newClient(newSource(), w).Post(t.Context(), operation, []byte(example))
			if err != nil || string(a.Body) != answer(row.passedOn) {
				t.Fatalf("%+v, %v, want %s", a, err, answer(row.passedOn))
			}
			var read struct{ Card struct{ Title string } }
			if err := json.Unmarshal(a.Body, &read); err != nil || !utf8.Valid(a.Body) || read.Card.Title != row.read {
				t.Errorf("%q, %v, want %q", read.Card.Title, err, row.read)
			}
		})
	}
	for _, body := range []string{
		"{\"errcode\":0,\x14\"errmsg\":\"ok\"}",
		"{\"errcode\":0,\"errmsg\":\"ok\"}\xff",
		"\xef\xbb\xbf" + good,
		`{"errcode":0,"errmsg":"o\k"}`,
		"{\"errcode\":0,\"errmsg\":\"o\n}",
	} {
		w := start(t)
		w.answer = func(int, string) reply { return says(body) }
		fails(t, newClient(newSource(), w), 502, "INVALID_RESPONSE")
	}
}

// FuzzRepair checks that repair changes nothing of valid JSON, and that the JSON package
// reads what it makes of a string whatever bytes are in it.
func FuzzRepair(f *testing.F) {
	f.Add([]byte("a\x14\xff\\\\\n\\u0041"))
	f.Fuzz(func(t *testing.T, text []byte) {
		valid, err := json.Marshal(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := repair(valid); string(got) != string(valid) {
			t.Errorf("%q became %q", valid, got)
		}
		if strings.ContainsAny(string(text), `"\\`) {
			return // what they mean is for the answer to say
		}
		var read string
		if repaired := repair([]byte(`"` + string(text) + `"`)); !utf8.Valid(repaired) || json.Unmarshal(repaired, &read) != nil || read != string([]rune(string(text))) {
			t.Errorf("%q became %q", text, repaired)
		}
	})
}

func TestUndocumentedTokenAnswersAreRefused(t *testing.T) {
	for _, answer := range []string{
		`{"errcode":0,"errmsg":"ok"}`,
		`{"access_token":"","expires_in":7200}`,
		`{"access_token":null,"expires_in":7200}`,
		`{"access_token":7,"expires_in":7200}`,
		"{\"access_token\":\"" + tokenStem + "\xff\",\"expires_in\":7200}",
		"{\"access_token\":\"" + tokenStem + "\n\",\"expires_in\":7200}",
		`{"access_token":"` + tokenStem + `","expires_in":86401}`,
		`{"access_token":"` + tokenStem + `"}`,
		`{"access_token":"` + tokenStem + `","expires_in":0}`,
		`{"access_token":"` + tokenStem + `","expires_in":-1}`,
		`{"access_token":"` + tokenStem + `","expires_in":"7200"}`,
		`{"access_token":"` + tokenStem + `","expires_in":null}`,
	} {
		w := start(t)
		w.token = func(int, string, bool) reply { return says(answer) }
		if e := fails(t, newClient(newSource(), w), 502, "INVALID_RESPONSE"); strings.Contains(e.Error(), tokenStem) {
			t.Errorf("%s: %v", answer, e)
		}
		w.counts(t, []bool{false}, 0)
	}
}

// What fails for the moment at the first endpoint works at the next.
func TestFailover(t *testing.T) {
	for _, row := range []struct {
		what  string
		fault reply
	}{
		{"500", reply{status: 500}}, {"truncated", reply{body: good, headers: map[string]string{"Content-Length": "1000"}}}, {"none", reply{aborts: true}},
	} {
		first, second := start(t), start(t)
		first.token = func(int, string, bool) reply { return row.fault }
		first.answer = func(int, string) reply { return row.fault }
		works(t, newClient(newSource(), first, second))
		if len(second.forced) != 1 || len(second.tokens) != 1 {
			t.Errorf("%s: %d tokens, %d calls at the second", row.what, len(second.forced), len(second.tokens))
		}
	}
}

// TestA429IsPassedOnAtOnce, with WeChat's Retry-After.
func TestA429IsPassedOnAtOnce(t *testing.T) {
	first, second := start(t), start(t)
	first.answer = func(int, string) reply { return reply{status: 429, headers: map[string]string{"Retry-After": "2"}} }
	if e := fails(t, newClient(newSource(), first, second), 429, "RATELIMIT_EXCEEDED"); e.RetryAfter != 2*time.Second {
		t.Errorf("Retry-After is %v", e.RetryAfter)
	}
	first.counts(t, []bool{false}, 1)
	second.counts(t, nil, 0)
}

// TestOnce: with PostOnce, WeChat carries out a request at most once.
func TestOnce(t *testing.T) {
	for _, row := range []struct {
		what   string
		answer reply
		code   string // "": success
	}{
		{"a success", says(good), ""},
		{"busy", errcode(-1), "WECHAT_-1"},
		{"500", reply{status: 500}, "SYSTEM_ERROR"},
		{"429", reply{status: 429}, "RATELIMIT_EXCEEDED"},
		{"truncated", reply{body: good, headers: map[string]string{"Content-Length": "1000"}}, "UPSTREAM_UNREACHABLE"},
		{"none", reply{aborts: true}, "UPSTREAM_UNREACHABLE"},
	} {
		first, second := start(t), start(t)
		first.answer = func(int, string) reply { return row.answer }
		_, err := newClient(newSource(), first, second).PostOnce(t.Context(), operation, []byte(example))
		if e, _ := errors.AsType[*apierror.Error](err); (e == nil) != (row.code == "") || e != nil && e.Code != row.code {
			t.Errorf("%s: %v, want %s", row.what, err, row.code)
		}
		first.counts(t, []bool{false}, 1)
		second.counts(t, nil, 0)
	}
	t.Run("an invalid token", func(t *testing.T) {
		w := start(t)
		w.answer = func(n int, _ string) reply {
			if n == 1 {
				return errcode(40001)
			}
			return says(good)
		}
		if _, err := newClient(newSource(), w).PostOnce(t.Context(), operation, []byte(example)); err != nil {
			t.Error(err)
		}
		w.counts(t, []bool{false, false}, 2)
	})
	t.Run("no connection", func(t *testing.T) {
		down, up := start(t), start(t)
		down.URL = tlsdialtest.Nowhere
		if _, err := newClient(newSource(), down, up).PostOnce(t.Context(), operation, []byte(example)); err != nil {
			t.Error(err)
		}
		up.counts(t, []bool{false}, 1)
	})
}

// TestALoginCodeThatWasUsed by an attempt of the same call is no refusal while that
// attempt is under way.
func TestALoginCodeThatWasUsed(t *testing.T) {
	t.Parallel()
	const path, session = "/sns/jscode2session", `{"openid":"obLatjnx9gnqzS4myYGmLZ7LgLBA"}`
	used := errcode(40163).body
	for _, row := range []struct {
		what          string
		first, second string
		slow          [2]time.Duration // until they answer
		code          string           // "": success
		calls         [2]int32
	}{
		{"the first attempt used it, and is slow", session, used, [2]time.Duration{2 * time.Second, 0}, "", [2]int32{1, 1}},
		{"the hedge used it, and is slower", used, session, [2]time.Duration{1500 * time.Millisecond, 1500 * time.Millisecond}, "", [2]int32{1, 1}},
		{"somebody else used it", used, session, [2]time.Duration{}, "WECHAT_40163", [2]int32{1, 0}},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			var calls [2]atomic.Int32
			var endpoints []string
			for i, body := range []string{row.first, row.second} {
				s := httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
					calls[i].Add(1)
					time.Sleep(row.slow[i])
					_, _ = io.WriteString(out, body)
				}))
				defer s.Close()
				endpoints = append(endpoints, s.URL)
			}
			answer, err := Call(t.Context(), upstream.New(endpoints), http.MethodGet, path, nil, nil)
			e, _ := errors.AsType[*apierror.Error](err)
			if row.code == "" && (err != nil || string(answer.Body) != session) || row.code != "" && (e == nil || e.Code != row.code) {
				t.Errorf("%+v, %v, want %q", answer, err, row.code)
			}
			if got := [2]int32{calls[0].Load(), calls[1].Load()}; got != row.calls {
				t.Errorf("calls %v, want %v", got, row.calls)
			}
		})
	}
}

// Neither the caller nor the log gets a secret, even if WeChat repeats what it was
// sent.
func TestSecretsAreNeverRepeated(t *testing.T) {
	t.Parallel()
	const token = tokenStem + "1"
	repeats := func(code int) reply {
		return says(fmt.Sprintf(`{"errcode":%d,"errmsg":"invalid secret=%s"}`, code, appSecret))
	}
	url := "https://127.0.0.1:1" + operation + "?access_token=" + token
	down := start(t)
	down.URL = tlsdialtest.Nowhere
	for _, row := range []struct {
		what   string
		token  reply
		answer reply
	}{
		{"an error", tokenOf(1), says(`{"errcode":40053,"errmsg":"invalid card_id, access_token=` + token + `"}`)},
		{"an error that quotes most of the token", tokenOf(1), says(`{"errcode":47001,"errmsg":"data format error: ` + token[:len(token)-5] + `"}`)},
		{"a dead token", tokenOf(1), says(`{"errcode":40001,"errmsg":"invalid credential ` + token + `"}`)},
		{"busy", tokenOf(1), says(`{"errcode":-1,"errmsg":"system error ` + token + `"}`)},
		{"another shape", tokenOf(1), says(`{"access":"` + token + `"}`)},
		{"cut off", tokenOf(1), says(`{"errcode":0,"errmsg":"` + token)},
		{"500", tokenOf(1), reply{status: 500, body: token}},
		{"404", tokenOf(1), reply{status: 404, body: token}},
		{"a redirect", tokenOf(1), reply{status: 302, headers: map[string]string{"Location": url}}},
		{"a redirect to what is no URL", tokenOf(1), reply{status: 302, headers: map[string]string{"Location": "https://[::1" + operation + "?access_token=" + token}}},
		{"no answer", tokenOf(1), reply{aborts: true}},
		{"a refused secret", repeats(40125), reply{}},
		{"a refused appid", repeats(40013), reply{}},
		{"a token refused", repeats(40002), reply{}},
		{"a token refused for now", repeats(-1), reply{}},
		{"a token of another shape", says(`{"access_token":"` + token + `","expires_in":"` + appSecret + `"}`), reply{}},
		{"no token", reply{aborts: true}, reply{}},
		{"a token redirected", reply{status: 307, headers: map[string]string{"Location": "/" + appSecret}}, reply{}},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			w.token = func(int, string, bool) reply { return row.token }
			w.answer = func(int, string) reply { return row.answer }
			for _, c := range []*Client{newClient(newSource(), w), newClient(newSource(), down, w)} {
				log, records := telemetrytest.New()
				ctx, record := log.Begin(t.Context(), "id")
				_, err := c.Post(ctx, operation, []byte(example))
				e, ok := errors.AsType[*apierror.Error](err)
				if !ok {
					t.Fatalf("%v, want a failure", err)
				}
				record.End(ctx, slog.LevelError, "refused", e.Code, slog.String("cause", e.Error()))
				told, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				for where, text := range map[string]string{"the error": fmt.Sprintf("%v %+v", e, *e), "the answer": string(told), "the log": records.String()} {
					if strings.Contains(text, tokenStem) || strings.Contains(text, appSecret) {
						t.Errorf("%s has it: %s", where, text)
					}
				}
			}
		})
	}
}

// No call waits longer than its context, neither for the token server nor for
// another call that waits for it.
func TestNoCallOutlastsItsContext(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 100)
	s := tlsdialtest.Start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	c := NewClient(newSource(), upstream.New([]string{s.URL}))
	long, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	begin := time.Now()
	var all sync.WaitGroup
	all.Go(func() { failsAs(t, long, c, "UPSTREAM_TIMEOUT") })
	<-arrived // that one has the turn
	for range 5 {
		all.Go(func() {
			short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			failsAs(t, short, c, "UPSTREAM_TIMEOUT")
			if long.Err() != nil {
				t.Error("who waits for the turn waits as long as who has it")
			}
		})
	}
	all.Wait()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func failsAs(t *testing.T, ctx context.Context, c *Client, code string) {
	t.Helper()
	_, err := c.Post(ctx, operation, []byte(example))
	if e, ok := errors.AsType[*apierror.Error](err); !ok || e.Code != code || e.Status != 504 {
		t.Errorf("%v, want %s", err, code)
	}
}

// Without an account, each call tries to read it again, and fails with CONFIG_ERROR
// until that works.
func TestAnUnreadableSecretIsAConfigError(t *testing.T) {
	w, from := start(t), newSource()
	from.noAccount = errors.New("AccessDeniedException")
	c := newClient(from, w)
	for range 2 {
		if e := fails(t, c, 500, "CONFIG_ERROR"); strings.Contains(e.Message, "AccessDenied") || !strings.Contains(e.Error(), "AccessDenied") {
			t.Errorf("%+v", e)
		}
	}
	from.noAccount = nil
	works(t, c)
}
