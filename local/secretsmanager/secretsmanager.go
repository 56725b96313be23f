// Package secretsmanager serves AWS Secrets Manager's GetSecretValue and
// PutSecretValue over the loopback interface, from memory, and as strictly as the
// original: a request must be signed with the server's key, for its region, now.
package secretsmanager

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"membercard/local/sigv4"
)

const (
	getSecretValue = "secretsmanager.GetSecretValue"
	putSecretValue = "secretsmanager.PutSecretValue"

	maxBodySize   = 1 << 20 // bytes
	maxSecretSize = 64 << 10
)

// A Server is a Secrets Manager of one account in one region. Its methods may
// be called concurrently.
type Server struct {
	signature sigv4.Verifier
	server    *http.Server
	url       string

	mu      sync.Mutex
	secrets []*secret
	gets    int
	puts    int
	fault   *Fault
	delay   time.Duration
}

type secret struct {
	name, arn string
	versions  []version // the last is AWSCURRENT, the one before it AWSPREVIOUS
}

type version struct {
	id, value string
	created   time.Time
}

// A Fault is an outage: how every request fails while it lasts.
type Fault struct {
	Status int    // HTTP status of the answer
	Type   string // its exception, such as InternalServiceError
	Hang   bool   // no answer at all, until the client gives up or the server is closed
}

// Start listens on a free loopback port. Requests have to be signed for region
// with the given key; a session token is signed with the rest, but any will do.
func Start(region, accessKeyID, secretAccessKey string) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("secretsmanager: %w", err)
	}
	s := &Server{
		signature: sigv4.Verifier{
			Service:         "secretsmanager",
			Region:          region,
			AccessKeyID:     accessKeyID,
			SecretAccessKey: secretAccessKey,
			MaxSkew:         5 * time.Minute,
		},
		url: "http://" + listener.Addr().String(),
	}
	s.server = &http.Server{Handler: s}
	go s.server.Serve(listener) // until Close
	return s, nil
}

// URL returns the endpoint, http://127.0.0.1:port.
func (s *Server) URL() string { return s.url }

// Close ends the server and breaks off the requests under way.
func (s *Server) Close() error { return s.server.Close() }

// Put stores value as the current version of the secret called name, creating
// the secret if there is none, and returns its ARN.
func (s *Server) Put(name, value string) (arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.find(name)
	if found == nil {
		found = &secret{
			name: name,
			arn:  fmt.Sprintf("arn:aws:secretsmanager:%s:123456789012:secret:%s-%s", s.signature.Region, name, rand.Text()[:6]),
		}
		s.secrets = append(s.secrets, found)
	}
	id := rand.Text()
	found.versions = append(found.versions, version{id, value, time.Now()})
	return found.arn
}

// Gets returns how many requests for a secret have come in, however they were
// answered.
func (s *Server) Gets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

// Puts returns how many requests to put a secret's value have come in, however
// they were answered.
func (s *Server) Puts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puts
}

// Fail makes every request fail as fault says; nil ends that. A request that
// hangs by then is not answered any more.
func (s *Server) Fail(fault *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Delay holds every answer back for d.
func (s *Server) Delay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// find returns the secret of the given name or ARN, nil if there is none. The
// caller holds s.mu.
func (s *Server) find(id string) *secret {
	i := slices.IndexFunc(s.secrets, func(sec *secret) bool { return id == sec.name || id == sec.arn })
	if i < 0 {
		return nil
	}
	return s.secrets[i]
}

// ServeHTTP answers in AWS JSON 1.1.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodySize))
	if err != nil {
		return // too large, or the client broke off
	}
	s.mu.Lock()
	switch r.Header.Get("X-Amz-Target") {
	case getSecretValue:
		s.gets++
	case putSecretValue:
		s.puts++
	}
	fault, delay := s.fault, s.delay
	s.mu.Unlock()

	if fault != nil && fault.Hang {
		<-r.Context().Done()
		return
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	if fault != nil {
		refuse(w, fault.Status, &exception{fault.Type, "The service is failing on purpose."})
		return
	}
	answer, refusal := s.answer(r, body)
	if refusal != nil {
		refuse(w, http.StatusBadRequest, refusal)
		return
	}
	reply(w, http.StatusOK, answer)
}

// An exception is AWS's refusal of a request.
type exception struct {
	Type    string `json:"__type"`
	Message string `json:"message"`
}

// secretValue is the answer to GetSecretValue.
type secretValue struct {
	ARN           string
	CreatedDate   float64 // seconds since 1970
	Name          string
	SecretString  string
	VersionID     string `json:"VersionId"`
	VersionStages []string
}

// newVersion is the answer to PutSecretValue.
type newVersion struct {
	ARN           string
	Name          string
	VersionID     string `json:"VersionId"`
	VersionStages []string
}

// answer returns a *secretValue or a *newVersion.
func (s *Server) answer(r *http.Request, body []byte) (any, *exception) {
	if refusal := s.verify(r, body, time.Now()); refusal != nil {
		return nil, refusal
	}
	target := r.Header.Get("X-Amz-Target")
	if r.Method != http.MethodPost || r.URL.Path != "/" || target != getSecretValue && target != putSecretValue {
		return nil, &exception{"UnknownOperationException", ""}
	}
	if r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		return nil, &exception{"SerializationException", "The content type is not application/x-amz-json-1.1."}
	}
	var query query
	if err := json.Unmarshal(body, &query); err != nil {
		return nil, &exception{"SerializationException", "The body is not JSON of the expected form."}
	}
	if query.SecretID == "" {
		return nil, missing("secretId")
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.find(query.SecretID)
	if found == nil {
		return nil, &exception{"ResourceNotFoundException", "Secrets Manager can't find the specified secret."}
	}
	if target == putSecretValue {
		return found.put(query)
	}
	return found.get(query)
}

// A query is the body of a request, of either operation.
type query struct {
	SecretID string `json:"SecretId"`

	// Of GetSecretValue.
	VersionID    string `json:"VersionId"`
	VersionStage string

	// Of PutSecretValue.
	ClientRequestToken string
	SecretBinary       []byte
	SecretString       *string
	VersionStages      []string
}

func missing(member string) *exception {
	return &exception{"ValidationException", "1 validation error detected: Value null at '" + member + "' failed to satisfy constraint: Member must not be null"}
}

// get returns the version that query asks for. The caller holds the server's mu.
func (found *secret) get(query query) (any, *exception) {
	missing := "VersionId: " + query.VersionID
	if query.VersionID == "" && query.VersionStage == "" {
		query.VersionStage = "AWSCURRENT"
	}
	if query.VersionStage != "" {
		missing = "staging label: " + query.VersionStage
	}
	for i, v := range found.versions {
		stages := stages(i, len(found.versions))
		if query.VersionID != "" && query.VersionID != v.id ||
			query.VersionStage != "" && !slices.Contains(stages, query.VersionStage) {
			continue
		}
		return &secretValue{
			ARN:           found.arn,
			CreatedDate:   float64(v.created.UnixMilli()) / 1000,
			Name:          found.name,
			SecretString:  v.value,
			VersionID:     v.id,
			VersionStages: stages,
		}, nil
	}
	return nil, &exception{"ResourceNotFoundException", "Secrets Manager can't find the specified secret value for " + missing}
}

// put adds the version in query, of which the request's token is the ID. The
// same version once more is only confirmed. The caller holds the server's mu.
func (found *secret) put(query query) (any, *exception) {
	token := query.ClientRequestToken
	switch {
	case token == "":
		return nil, missing("clientRequestToken")
	case len(token) < 32 || len(token) > 64:
		return nil, &exception{"ValidationException", "1 validation error detected: Value at 'clientRequestToken' failed to satisfy constraint: Member must have length between 32 and 64"}
	case query.SecretString == nil || query.SecretBinary != nil:
		return nil, &exception{"InvalidParameterException", "You must provide SecretString, and it alone."}
	case *query.SecretString == "" || len(*query.SecretString) > maxSecretSize:
		return nil, &exception{"ValidationException", "1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have length between 1 and 65536"}
	case query.VersionStages != nil && !slices.Equal(query.VersionStages, []string{"AWSCURRENT"}):
		return nil, &exception{"InvalidParameterException", "Only AWSCURRENT is supported here."}
	}
	i := slices.IndexFunc(found.versions, func(v version) bool { return v.id == token })
	if i < 0 {
		i = len(found.versions)
		found.versions = append(found.versions, version{token, *query.SecretString, time.Now()})
	} else if found.versions[i].value != *query.SecretString {
		return nil, &exception{"ResourceExistsException", "You can't use ClientRequestToken " + token + " because that value is already in use for a version of secret " + found.arn + "."}
	}
	return &newVersion{ARN: found.arn, Name: found.name, VersionID: token, VersionStages: stages(i, len(found.versions))}, nil
}

// stages returns the staging labels of the i-th of n versions.
func stages(i, n int) []string {
	switch i {
	case n - 1:
		return []string{"AWSCURRENT"}
	case n - 2:
		return []string{"AWSPREVIOUS"}
	}
	return nil
}

func refuse(w http.ResponseWriter, status int, e *exception) {
	w.Header().Set("X-Amzn-Errortype", e.Type)
	reply(w, status, e)
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", strings.ToLower(rand.Text()))
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left needs no answer
}
