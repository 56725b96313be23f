package secret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"membercard/shared/awsconfig"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
)

const arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:merchant-AbCdEf"

// manager is a Secrets Manager with GetSecretValue in AWS JSON 1.1.
type manager struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	answer  string // the body of a success
	status  int    // with which it is answered
	hangs   chan struct{}
	reads   int
	arrived chan struct{} // gets one for each request, if it is there
}

// version returns the answer for a version of the secret.
func version(id, text string) string {
	out, err := json.Marshal(map[string]any{"ARN": arn, "Name": "merchant", "VersionId": id, "SecretString": text, "VersionStages": []string{"AWSCURRENT"}})
	if err != nil {
		panic(err)
	}
	return string(out)
}

func start(t *testing.T) *manager {
	m := &manager{t: t, answer: version("v1", "one"), status: 200}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_SESSION_TOKEN": "",
		"AWS_ENDPOINT_URL": "", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "", "AWS_ENDPOINT_URL_SECRETS_MANAGER": m.URL,
	} {
		t.Setenv(name, value)
	}
	return m
}

func (m *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if target := r.Header.Get("X-Amz-Target"); target != "secretsmanager.GetSecretValue" || !strings.Contains(string(body), `"SecretId":"`+arn+`"`) {
		m.t.Errorf("%s %s", target, body)
	}
	m.mu.Lock()
	m.reads++
	answer, status, hangs, arrived := m.answer, m.status, m.hangs, m.arrived
	m.mu.Unlock()
	if arrived != nil {
		arrived <- struct{}{}
	}
	if hangs != nil {
		select {
		case <-hangs:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

// gives changes the manager's answer.
func (m *manager) gives(status int, answer string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status, m.answer = status, answer
}

func (m *manager) read(t *testing.T, times int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reads != times {
		t.Errorf("the secret was read %d times, want %d", m.reads, times)
	}
}

const denied = `{"__type":"AccessDeniedException","message":"not authorized to perform: secretsmanager:GetSecretValue"}`

// subject is the secret under test, how often it was parsed, and its log.
type subject struct {
	*Secret[string]
	parsed  *[]string
	records *telemetrytest.Records
}

// failures checks that the log has so many records, each of which counts one failure
// with a cause.
func (s subject) failures(t *testing.T, times int, cause string) {
	t.Helper()
	records := s.records.All(t)
	if len(records) != times {
		t.Fatalf("%d records, want %d:\n%s", len(records), times, s.records)
	}
	for _, record := range records {
		if record["level"] != "ERROR" || record["SecretFailures"] != 1.0 || record["_aws"] == nil || record["cure"] == "" {
			t.Errorf("%v counts no failure", record)
		}
		if got := fmt.Sprint(record["cause"]); !strings.Contains(got, cause) {
			t.Errorf("the cause is %q, want %q", got, cause)
		}
	}
	if strings.Contains(s.records.String(), "malformed-value") {
		t.Errorf("a value is logged: %s", s.records)
	}
}

func newSubject() subject {
	log, records := telemetrytest.New()
	s := subject{parsed: new([]string), records: records}
	s.Secret = New(awsconfig.Load(), arn, func(text []byte) (string, error) {
		*s.parsed = append(*s.parsed, string(text))
		if strings.HasPrefix(string(text), "malformed") {
			return "", errors.New("mchid is missing")
		}
		return "parsed " + string(text), nil
	}, log)
	return s
}

// later lets time pass for the secret.
func (s subject) later(d time.Duration) {
	s.expiresAt = s.expiresAt.Add(-d)
	s.unchangedAt = s.unchangedAt.Add(-d)
}

func (s subject) gets(t *testing.T, want string) {
	t.Helper()
	got, err := s.Get(t.Context())
	if err != nil || got != want {
		t.Fatalf("Get: %q, %v, want %q", got, err, want)
	}
}

// refreshes checks the value that replaces the cached one.
func (s subject) refreshes(t *testing.T, want string) {
	t.Helper()
	got, err := s.Refresh(t.Context(), s.value)
	if err != nil || got != want {
		t.Fatalf("Refresh: %q, %v, want %q", got, err, want)
	}
}

func TestASecretIsReadOnce(t *testing.T) {
	m, s := start(t), newSubject()
	m.read(t, 0)
	for range 3 {
		s.gets(t, "parsed one")
	}
	m.read(t, 1)
	s.failures(t, 0, "")
}

func TestABinarySecretIsReadToo(t *testing.T) {
	m, s := start(t), newSubject()
	m.gives(200, `{"ARN":"`+arn+`","VersionId":"v1","SecretBinary":"b25l"}`)
	s.gets(t, "parsed one")
}

func TestASecretIsReadEveryFiveMinutesAndParsedOncePerVersion(t *testing.T) {
	m, s := start(t), newSubject()
	s.gets(t, "parsed one")
	s.later(cacheTTL - time.Second)
	s.gets(t, "parsed one")
	m.read(t, 1)
	s.later(2 * time.Second)
	s.gets(t, "parsed one")
	s.gets(t, "parsed one")
	m.read(t, 2)
	m.gives(200, version("v2", "two"))
	s.later(cacheTTL + time.Second)
	s.gets(t, "parsed two")
	m.read(t, 3)
	if got := strings.Join(*s.parsed, " "); got != "one two" {
		t.Errorf("parsed were %q, want each version once", got)
	}
}

func TestTheCachedValueServesWhileReadsFail(t *testing.T) {
	for _, row := range []struct {
		what          string
		status        int
		answer, cause string
	}{
		{"it may not be read", 400, denied, "Secrets Manager answered AccessDeniedException"},
		{"it is gone", 400, `{"__type":"ResourceNotFoundException","Message":"can't find the specified secret"}`, "ResourceNotFoundException"},
		{"the new version is malformed", 200, version("v2", "malformed-value"), "mchid is missing"},
		{"the answer is no JSON", 200, `<html>`, ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			m, s := start(t), newSubject()
			s.gets(t, "parsed one")
			m.gives(row.status, row.answer)
			s.later(cacheTTL + time.Second)
			s.gets(t, "parsed one")
			s.failures(t, 1, row.cause)
			m.mu.Lock()
			reads := m.reads // the SDK may have tried more than once
			m.mu.Unlock()
			s.gets(t, "parsed one")
			m.read(t, reads) // not again at once
			s.failures(t, 1, row.cause)
			s.later(minRefreshInterval + time.Second)
			s.gets(t, "parsed one")
			s.failures(t, 2, row.cause)

			m.gives(200, version("v3", "three"))
			s.later(minRefreshInterval + time.Second)
			s.gets(t, "parsed three")
			s.failures(t, 2, row.cause)
		})
	}
}

func TestWithoutAValueEachGetReads(t *testing.T) {
	m, s := start(t), newSubject()
	m.gives(400, denied)
	for n := 1; n <= 2; n++ {
		got, err := s.Get(t.Context())
		if err == nil || got != "" || !strings.Contains(err.Error(), "AccessDeniedException") {
			t.Fatalf("%q, %v", got, err)
		}
		m.read(t, n)
		s.failures(t, n, "AccessDeniedException")
	}
	m.gives(200, version("v1", "malformed-value"))
	if _, err := s.Get(t.Context()); err == nil || !strings.Contains(err.Error(), "mchid is missing") {
		t.Fatal(err)
	}
	m.gives(200, version("v2", "two"))
	s.gets(t, "parsed two")
}

func TestAnUnreachableSecretsManagerIsAFailure(t *testing.T) {
	start(t)
	s := newSubject()
	s.gets(t, "parsed one")
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", tlsdialtest.Nowhere)
	s.client = newSubject().client
	s.later(cacheTTL + time.Second)
	s.gets(t, "parsed one")
	s.failures(t, 1, "Secrets Manager")
}

func TestRefreshReadsAtOnce(t *testing.T) {
	m, s := start(t), newSubject()
	s.gets(t, "parsed one")
	m.gives(200, version("v2", "two"))
	s.refreshes(t, "parsed two")
	m.gives(200, version("v3", "three"))
	s.refreshes(t, "parsed three") // it keeps changing: no need to wait
	s.gets(t, "parsed three")
	m.read(t, 3)
	s.later(cacheTTL - time.Second) // a refresh counts as a reading
	s.gets(t, "parsed three")
	m.read(t, 3)
}

func TestRefreshReadsAnUnchangedSecretOnceAMinute(t *testing.T) {
	m, s := start(t), newSubject()
	s.gets(t, "parsed one")
	for range 3 {
		s.refreshes(t, "parsed one")
	}
	m.read(t, 2)
	m.gives(200, version("v2", "two"))
	s.later(minRefreshInterval - time.Second)
	s.refreshes(t, "parsed one")
	m.read(t, 2)
	s.later(2 * time.Second)
	s.refreshes(t, "parsed two")
	m.read(t, 3)
}

// Of two calls with the same outdated value, the second finds what the first one read.
func TestAValueThatWasReplacedIsNotReadAgain(t *testing.T) {
	m, s := start(t), newSubject()
	s.gets(t, "parsed one")
	m.gives(200, version("v2", "two"))
	for range 2 {
		if got, err := s.Refresh(t.Context(), "parsed one"); err != nil || got != "parsed two" {
			t.Errorf("%q, %v", got, err)
		}
	}
	m.read(t, 2)
}

func TestRefreshWithoutAValueIsAnErrorEachTime(t *testing.T) {
	m, s := start(t), newSubject()
	m.gives(400, denied)
	for n := 1; n <= 2; n++ {
		got, err := s.Refresh(t.Context(), "")
		if err == nil || got != "" {
			t.Errorf("%q, %v, want an error", got, err)
		}
		m.read(t, n)
	}
	m.gives(200, version("v1", "one"))
	s.refreshes(t, "parsed one")
}

func TestAFailedRefreshKeepsTheCachedValue(t *testing.T) {
	m, s := start(t), newSubject()
	s.gets(t, "parsed one")
	m.gives(200, version("v2", "malformed-value"))
	got, err := s.Refresh(t.Context(), "parsed one")
	if err == nil || got != "parsed one" {
		t.Errorf("%q, %v", got, err)
	}
	s.failures(t, 1, "mchid is missing")
	s.refreshes(t, "parsed one") // not read again within the minute
	m.read(t, 2)
	s.gets(t, "parsed one")
}

func TestRereadDoesNotBelieveTheCache(t *testing.T) {
	m, s := start(t), newSubject()
	s.gets(t, "parsed one")
	s.refreshes(t, "parsed one") // which would not be read again within the minute
	for n, row := range []struct {
		status       int
		answer, want string
		fails        bool
	}{
		{200, version("v2", "two"), "parsed two", false},
		{200, version("v3", "malformed-value"), "parsed two", true},
		{400, denied, "parsed two", true},
	} {
		m.gives(row.status, row.answer)
		if got, err := s.Reread(t.Context()); got != row.want || (err != nil) != row.fails {
			t.Errorf("%q, %v, want %q", got, err, row.want)
		}
		m.read(t, 3+n)
	}
	s.gets(t, "parsed two")
}

func TestManyAtOnceReadOnce(t *testing.T) {
	m, s := start(t), newSubject()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got, err := s.Get(context.Background()); err != nil || got != "parsed one" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	all.Wait()
	m.read(t, 1)
	if len(*s.parsed) != 1 {
		t.Errorf("parsed %d times", len(*s.parsed))
	}
}

func TestAReadEndsBeforeTheRequest(t *testing.T) {
	m, s := start(t), newSubject()
	m.hangs = make(chan struct{})
	m.arrived = make(chan struct{}, 10)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := s.Get(ctx)
		first <- err
	}()
	<-m.arrived

	// Another call waits for its turn, but no longer than its context.
	hasty, done := context.WithCancel(t.Context())
	done()
	if _, err := s.Get(hasty); !errors.Is(err, context.Canceled) {
		t.Errorf("Get in the queue: %v", err)
	}
	if _, err := s.Refresh(hasty, "parsed one"); !errors.Is(err, context.Canceled) {
		t.Errorf("Refresh in the queue: %v", err)
	}
	cancel()
	if err := <-first; err == nil || strings.Contains(err.Error(), "in time") {
		t.Errorf("Get: %v, want it to end with its request, not with its own time", err)
	}
	close(m.hangs)
	s.gets(t, "parsed one")
	if value, err := s.Get(hasty); value != "parsed one" || err != nil {
		t.Errorf("Get of a cached value without time: %q, %v", value, err)
	}
}

// hanging is an HTTP client of the AWS SDK whose requests are never answered.
type hanging struct{}

func (hanging) Do(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// The calls that wait for a read get its result.
func TestTheTimeOfARead(t *testing.T) {
	for _, row := range []struct {
		what       string
		cached     bool
		left, want time.Duration // left is what the caller has, or 0 for no limit
	}{
		{"without a value", false, 0, 4 * time.Second},
		{"without a value, all of the caller's time", false, 2 * time.Second, 2 * time.Second},
		{"with a value", true, 0, time.Second},
		{"with a value, which the caller needs time to use", true, time.Second, 500 * time.Millisecond},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSubject()
				s.client = secretsmanager.NewFromConfig(aws.Config{Region: "eu-central-1", HTTPClient: hanging{}, Credentials: aws.AnonymousCredentials{}})
				if s.cached = row.cached; s.cached {
					s.value = "parsed one"
				}
				ctx, cancel := context.WithCancel(t.Context())
				if row.left > 0 {
					ctx, cancel = context.WithTimeout(ctx, row.left)
				}
				defer cancel()
				begun := time.Now()
				var calls sync.WaitGroup
				for range 4 {
					calls.Go(func() {
						value, err := s.Get(ctx)
						if took := time.Since(begun); took != row.want || value != s.value || (err == nil) != row.cached {
							t.Errorf("%q, %v after %v, want %v", value, err, took, row.want)
						}
					})
				}
				calls.Wait()
				s.failures(t, 1, "Secrets Manager did not answer in time")
			})
		})
	}
}
