package aws

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/xml"
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"membercard/local/sigv4"
)

// S3 is S3's GetObject, path style, from memory and from files. All buckets are
// versioned.
type S3 struct {
	service
	buckets map[string]map[string]*object // by name, then by key
}

// An object has versions, the last of which is the current one, unless that is a
// file.
type object struct {
	versions []objectVersion
	file     string // path; empty if there is none
}

type objectVersion struct {
	id       string
	body     []byte
	modified time.Time
}

func newS3() *S3 {
	s := &S3{buckets: make(map[string]map[string]*object)}
	s.service = service{name: "s3", maxSkew: 15 * time.Minute, protocol: s, calls: make(map[string]int)}
	return s
}

// Put stores body as the current version of an object, creating the object and
// its bucket if there are none.
func (s *S3) Put(bucket, key string, body []byte) {
	s.put(bucket, key, func(o *object) {
		o.file = ""
		o.versions = append(o.versions, objectVersion{rand.Text(), slices.Clone(body), time.Now()})
	})
}

// PutFile serves a file as an object. The file is read for each request; while
// it can't be read, the object does not exist.
func (s *S3) PutFile(bucket, key, path string) {
	s.put(bucket, key, func(o *object) { o.file = path })
}

func (s *S3) put(bucket, key string, change func(*object)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[bucket] == nil {
		s.buckets[bucket] = make(map[string]*object)
	}
	if s.buckets[bucket][key] == nil {
		s.buckets[bucket][key] = new(object)
	}
	change(s.buckets[bucket][key])
}

func (s *S3) operation(r *http.Request) string {
	if r.Method == http.MethodGet {
		return "GetObject"
	}
	return r.Method
}

// verify also checks that the signed hash is the body's, and that all of AWS's own
// headers are signed.
func (s *S3) verify(r *http.Request, body []byte, signature func() *sigv4.Refusal) *failure {
	sum := sha256.Sum256(body)
	hash := r.Header.Get("X-Amz-Content-Sha256")
	isSigned := r.Header.Get("Authorization") != ""
	switch {
	case isSigned && hash == "":
		return &failure{http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"}
	case isSigned && hash != "UNSIGNED-PAYLOAD" && hash != hex.EncodeToString(sum[:]):
		return &failure{http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."}
	}
	if refusal := signature(); refusal != nil {
		codes := map[sigv4.Reason]string{
			sigv4.Missing:    "AccessDenied",
			sigv4.UnknownKey: "InvalidAccessKeyId",
			sigv4.Skewed:     "RequestTimeTooSkewed",
			sigv4.Mismatch:   "SignatureDoesNotMatch",
		}
		if code, ok := codes[refusal.Reason]; ok {
			return &failure{http.StatusForbidden, code, refusal.Message}
		}
		return &failure{http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; " + refusal.Message}
	}
	signed := sigv4.SignedHeaders(r)
	for name := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(signed, name) {
			return &failure{http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed"}
		}
	}
	return nil
}

func (s *S3) answer(w http.ResponseWriter, r *http.Request, _ []byte) *failure {
	found, failed := s.find(r)
	if failed != nil {
		return failed
	}
	sum := md5.Sum(found.body)
	h := w.Header()
	h.Set("Etag", `"`+hex.EncodeToString(sum[:])+`"`)
	h.Set("X-Amz-Version-Id", found.id)
	h.Set("Content-Type", "binary/octet-stream")
	if byExtension := mime.TypeByExtension(path.Ext(r.URL.Path)); byExtension != "" { // as tools that upload to S3 do
		h.Set("Content-Type", byExtension)
	}
	http.ServeContent(w, r, "", found.modified, bytes.NewReader(found.body)) // handles conditions and ranges
	return nil
}

// find returns the version that r asks for.
func (s *S3) find(r *http.Request) (found objectVersion, failed *failure) {
	if r.Method != http.MethodGet {
		return found, &failure{http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource."}
	}
	query := r.URL.Query()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	for name := range query {
		if name != "x-id" && name != "versionId" {
			key = ""
		}
	}
	if key == "" { // another operation than GetObject
		return found, &failure{http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented."}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, ok := s.buckets[bucket]
	if !ok {
		return found, &failure{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist"}
	}
	noSuchKey := &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	o, ok := objects[key]
	if !ok {
		return found, noSuchKey
	}
	versions := slices.Clone(o.versions)
	if o.file != "" {
		current, err := readFile(o.file)
		if err != nil {
			return found, noSuchKey
		}
		versions = append(versions, current)
	}
	if !query.Has("versionId") {
		return versions[len(versions)-1], nil
	}
	i := slices.IndexFunc(versions, func(v objectVersion) bool { return v.id == query.Get("versionId") })
	if i < 0 {
		return found, &failure{http.StatusNotFound, "NoSuchVersion", "The specified version does not exist."}
	}
	return versions[i], nil
}

// readFile returns a file as a version. Its ID is derived from the content.
func readFile(path string) (v objectVersion, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return v, err
	}
	body, err := os.ReadFile(path)
	sum := sha256.Sum256(body)
	return objectVersion{base32.StdEncoding.EncodeToString(sum[:])[:26], body, info.ModTime()}, err
}

func (s *S3) refuse(w http.ResponseWriter, f *failure) {
	requestID, hostID := rand.Text()[:16], rand.Text()
	h := w.Header()
	h.Set("X-Amz-Request-Id", requestID)
	h.Set("X-Amz-Id-2", hostID)
	h.Set("Content-Type", "application/xml")
	w.WriteHeader(f.status)
	io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(struct { // fails only if the client closed the connection
		XMLName                          xml.Name `xml:"Error"`
		Code, Message, RequestId, HostId string
	}{Code: f.code, Message: f.message, RequestId: requestID, HostId: hostID})
}
