// Package s3 serves Amazon S3's GetObject over the loopback interface, path
// style, from memory and from files, and as strictly as the original: a request
// must be signed with the server's key, for its region, now. All buckets are
// versioned.
package s3

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"membercard/local/sigv4"
)

const maxBodySize = 1 << 20 // bytes of a request's body

// A Server is the S3 of one account in one region. Its methods may be called
// concurrently.
type Server struct {
	signature sigv4.Verifier
	server    *http.Server
	url       string

	mu      sync.Mutex
	buckets map[string]map[string]*object // by name, then by key
	gets    int
	fault   *Fault
}

// An object has versions, or is a file.
type object struct {
	versions []version // the last is the current one
	file     string    // a path, whose content is the current version; empty if there is none
}

type version struct {
	id       string
	body     []byte
	modified time.Time
}

// A Fault is an outage: how every request fails while it lasts.
type Fault struct {
	Status int    // HTTP status of the answer
	Code   string // its error, such as SlowDown
}

// Start listens on a free loopback port. Requests have to be signed for region
// with the given key; a session token is signed with the rest, but any will do.
func Start(region, accessKeyID, secretAccessKey string) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	s := &Server{
		signature: sigv4.Verifier{
			Service:         "s3",
			Region:          region,
			AccessKeyID:     accessKeyID,
			SecretAccessKey: secretAccessKey,
			MaxSkew:         15 * time.Minute,
		},
		url:     "http://" + listener.Addr().String(),
		buckets: make(map[string]map[string]*object),
	}
	s.server = &http.Server{Handler: s}
	go s.server.Serve(listener) // until Close
	return s, nil
}

// URL returns the endpoint, http://127.0.0.1:port.
func (s *Server) URL() string { return s.url }

// Close ends the server and breaks off the requests under way.
func (s *Server) Close() error { return s.server.Close() }

// Put stores body as the current version of an object, creating the object and
// its bucket if there are none.
func (s *Server) Put(bucket, key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.object(bucket, key)
	o.file = ""
	o.versions = append(o.versions, version{rand.Text(), slices.Clone(body), time.Now()})
}

// PutFile serves a file as an object. It is read at each request, and while
// there is none, there is no object either.
func (s *Server) PutFile(bucket, key, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.object(bucket, key).file = path
}

// object returns an object to be put. The caller holds s.mu.
func (s *Server) object(bucket, key string) *object {
	if s.buckets[bucket] == nil {
		s.buckets[bucket] = make(map[string]*object)
	}
	if s.buckets[bucket][key] == nil {
		s.buckets[bucket][key] = new(object)
	}
	return s.buckets[bucket][key]
}

// Gets returns how many GET requests have come in, however they were answered.
func (s *Server) Gets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

// Fail makes every request fail as fault says; nil ends that.
func (s *Server) Fail(fault *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// A failure is S3's refusal of a request.
type failure struct {
	XMLName   xml.Name `xml:"Error"`
	Status    int      `xml:"-"`
	Code      string
	Message   string
	Bucket    string `xml:"BucketName,omitempty"`
	Key       string `xml:",omitempty"`
	Region    string `xml:",omitempty"` // to be signed for
	RequestID string `xml:"RequestId"`
	HostID    string `xml:"HostId"`
}

func fail(status int, code, message string) *failure {
	return &failure{Status: status, Code: code, Message: message}
}

// ServeHTTP answers a request with an object, or with an error in XML.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodySize))
	if err != nil {
		return // too large, or the client broke off
	}
	s.mu.Lock()
	if r.Method == http.MethodGet {
		s.gets++
	}
	fault := s.fault
	s.mu.Unlock()

	h := w.Header()
	h.Set("Server", "AmazonS3")
	h.Set("X-Amz-Request-Id", rand.Text()[:16])
	h.Set("X-Amz-Id-2", rand.Text())
	var found version
	failed := s.verify(r, body)
	if fault != nil {
		failed = fail(fault.Status, fault.Code, "The service is failing on purpose.")
	}
	if failed == nil {
		found, failed = s.find(r)
	}
	if failed != nil {
		failed.RequestID, failed.HostID = h.Get("X-Amz-Request-Id"), h.Get("X-Amz-Id-2")
		h.Set("Content-Type", "application/xml")
		w.WriteHeader(failed.Status)
		io.WriteString(w, xml.Header)
		_ = xml.NewEncoder(w).Encode(failed) // a client that left needs no answer
		return
	}
	sum := md5.Sum(found.body)
	h.Set("Etag", `"`+hex.EncodeToString(sum[:])+`"`)
	h.Set("X-Amz-Version-Id", found.id)
	h.Set("Content-Type", contentType(r.URL.Path))
	http.ServeContent(w, r, "", found.modified, bytes.NewReader(found.body)) // conditions and ranges too
}

// contentType is what the tools that upload to S3 choose.
func contentType(key string) string {
	if kind := mime.TypeByExtension(path.Ext(key)); kind != "" {
		return kind
	}
	return "binary/octet-stream"
}

// verify returns what S3 has against who sent r, which has the given body.
func (s *Server) verify(r *http.Request, body []byte) *failure {
	sum := sha256.Sum256(body)
	hash := r.Header.Get("X-Amz-Content-Sha256")
	signed := r.Header.Get("Authorization") != ""
	switch {
	case signed && hash == "":
		return fail(http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	case signed && hash != "UNSIGNED-PAYLOAD" && hash != hex.EncodeToString(sum[:]):
		return fail(http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	refusal := s.signature.Verify(r, body, time.Now())
	if refusal == nil {
		return checkSigned(r)
	}
	switch refusal.Reason {
	case sigv4.Missing:
		return fail(http.StatusForbidden, "AccessDenied", "Access Denied")
	case sigv4.UnknownKey:
		return fail(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
	case sigv4.Skewed:
		return fail(http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
	case sigv4.Mismatch:
		return fail(http.StatusForbidden, "SignatureDoesNotMatch", refusal.Message)
	}
	failed := fail(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; "+refusal.Message)
	failed.Region = s.signature.Region
	return failed
}

// checkSigned refuses a request with one of AWS's own headers left out of the
// signature.
func checkSigned(r *http.Request) *failure {
	_, names, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	signed := strings.Split(names, ";")
	for name := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(signed, name) {
			return fail(http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed")
		}
	}
	return nil
}

// find returns the version that r asks for.
func (s *Server) find(r *http.Request) (version, *failure) {
	if r.Method != http.MethodGet {
		return version{}, fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	for name := range query {
		if name != "x-id" && name != "versionId" {
			err = fmt.Errorf("parameter %s", name)
		}
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if err != nil || key == "" { // another operation
		return version{}, fail(http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, ok := s.buckets[bucket]
	if !ok {
		failed := fail(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
		failed.Bucket = bucket
		return version{}, failed
	}
	missing := fail(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	missing.Key = key
	o, ok := objects[key]
	if !ok {
		return version{}, missing
	}
	versions := o.versions
	if o.file != "" {
		current, err := readFile(o.file)
		if err != nil {
			return version{}, missing
		}
		versions = append(slices.Clip(versions), current)
	}
	if !query.Has("versionId") {
		return versions[len(versions)-1], nil
	}
	i := slices.IndexFunc(versions, func(v version) bool { return v.id == query.Get("versionId") })
	if i < 0 {
		failed := fail(http.StatusNotFound, "NoSuchVersion", "The specified version does not exist.")
		failed.Key = key
		return version{}, failed
	}
	return versions[i], nil
}

// readFile makes a version of a file, with an ID that changes with its content.
func readFile(path string) (version, error) {
	info, err := os.Stat(path)
	if err != nil {
		return version{}, err
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return version{}, err
	}
	sum := sha256.Sum256(body)
	return version{base32.StdEncoding.EncodeToString(sum[:])[:26], body, info.ModTime()}, nil
}
