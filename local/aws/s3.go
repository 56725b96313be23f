package aws

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"hash/crc32"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"membercard/local/sigv4"
)

// S3 is S3's GetObject, HeadObject, PutObject, CopyObject and ListObjectVersions with
// path-style URLs. Objects are in memory or in files. All buckets are versioned.
type S3 struct {
	service
	buckets map[string]map[string]*object // by name, then by key
	created func(bucket, key string)
}

type object struct {
	versions []objectVersion // oldest first
	file     string          // path of the current version, if that is a file
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

// OnCreated calls f after each PutObject and CopyObject, when S3 would send the event
// "Object Created" to EventBridge.
func (s *S3) OnCreated(f func(bucket, key string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created = f
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
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Has("versions"):
		return "ListObjectVersions"
	case r.Method == http.MethodGet:
		return "GetObject"
	case r.Method == http.MethodHead:
		return "HeadObject"
	case r.Method == http.MethodPut && r.Header.Get(copySource) != "":
		return "CopyObject"
	case r.Method == http.MethodPut:
		return "PutObject"
	}
	return r.Method
}

// verify also checks that the hash in the request is the body's and that all x-amz-*
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

func (s *S3) answer(w http.ResponseWriter, r *http.Request, body []byte) *failure {
	bucket, key, failed := address(r)
	if failed != nil {
		return failed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, ok := s.buckets[bucket]
	if !ok {
		return &failure{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist"}
	}
	switch s.operation(r) {
	case "ListObjectVersions":
		return s.listObjectVersions(w, bucket, r.URL.Query(), objects)
	case "PutObject", "CopyObject":
		put := s.putObject
		if s.operation(r) == "CopyObject" {
			put = s.copyObject
		}
		failed := put(w, r, objects, key, body)
		if failed == nil && s.created != nil {
			go s.created(bucket, key)
		}
		return failed
	}
	return s.getObject(w, r, objects[key])
}

// address returns the bucket and the key in r's path. ListObjectVersions has no key.
func address(r *http.Request) (bucket, key string, failed *failure) {
	known := map[string]bool{"x-id": true}
	bucket, key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	isList := key == "" && r.URL.Query().Has("versions")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPut:
		return "", "", &failure{http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource."}
	case isList:
		known["versions"], known["prefix"], known["encoding-type"] = true, true, true
	case r.Method != http.MethodPut:
		known["versionId"] = true
	}
	for name := range r.URL.Query() {
		if !known[name] {
			return "", "", notImplemented
		}
	}
	if !isList && key == "" {
		return "", "", notImplemented
	}
	return bucket, key, nil
}

var notImplemented = &failure{http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented."}

// all returns the versions of an object, the current one last. A nil object has none.
func (o *object) all() []objectVersion {
	if o == nil {
		return nil
	}
	versions := slices.Clone(o.versions)
	if o.file != "" {
		current, err := readFile(o.file)
		if err != nil {
			return nil
		}
		versions = append(versions, current)
	}
	return versions
}

func (v objectVersion) etag() string {
	sum := md5.Sum(v.body)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// pick returns the version that a query names, or the current one.
func pick(versions []objectVersion, query url.Values) (v objectVersion, failed *failure) {
	if !query.Has("versionId") {
		return versions[len(versions)-1], nil
	}
	i := slices.IndexFunc(versions, func(v objectVersion) bool { return v.id == query.Get("versionId") })
	if i < 0 {
		return v, &failure{http.StatusNotFound, "NoSuchVersion", "The specified version does not exist."}
	}
	return versions[i], nil
}

// getObject also answers HeadObject, to which the server sends no body.
func (s *S3) getObject(w http.ResponseWriter, r *http.Request, o *object) *failure {
	versions := o.all()
	if len(versions) == 0 {
		return &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	}
	found, failed := pick(versions, r.URL.Query())
	if failed != nil {
		return failed
	}
	h := w.Header()
	h.Set("Etag", found.etag())
	h.Set("X-Amz-Version-Id", found.id)
	h.Set("Content-Type", "binary/octet-stream")
	if byExtension := mime.TypeByExtension(path.Ext(r.URL.Path)); byExtension != "" { // as tools that upload to S3 do
		h.Set("Content-Type", byExtension)
	}
	http.ServeContent(w, r, "", found.modified, bytes.NewReader(found.body)) // handles conditions and ranges
	return nil
}

// putObject adds a version if the request's conditions hold. If the object was a file,
// the file is not written; its content becomes a noncurrent version.
func (s *S3) putObject(w http.ResponseWriter, r *http.Request, objects map[string]*object, key string, body []byte) *failure {
	versions := objects[key].all()
	match := r.Header.Get("If-Match")
	switch {
	case strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked"):
		return notImplemented
	case r.Header.Get("X-Amz-Checksum-Crc32") != "" && r.Header.Get("X-Amz-Checksum-Crc32") != checksum(body):
		return &failure{http.StatusBadRequest, "BadDigest", "The CRC32 you specified did not match the calculated checksum."}
	case match != "" && len(versions) == 0:
		return &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	case match != "" && match != versions[len(versions)-1].etag(),
		r.Header.Get("If-None-Match") == "*" && len(versions) > 0:
		return &failure{http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"}
	}
	added := objectVersion{rand.Text(), slices.Clone(body), time.Now()}
	objects[key] = &object{versions: append(versions, added)}
	w.Header().Set("Etag", added.etag())
	w.Header().Set("X-Amz-Version-Id", added.id)
	return nil
}

// copySource is the header of CopyObject.
const copySource = "X-Amz-Copy-Source"

// copyObject adds a copy of a version. Conditions are not supported.
func (s *S3) copyObject(w http.ResponseWriter, r *http.Request, objects map[string]*object, key string, _ []byte) *failure {
	for name := range r.Header {
		if strings.HasPrefix(name, copySource+"-") {
			return notImplemented
		}
	}
	from, err := url.Parse(r.Header.Get(copySource))
	if err != nil {
		return &failure{http.StatusBadRequest, "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"}
	}
	bucket, fromKey, _ := strings.Cut(strings.TrimPrefix(from.Path, "/"), "/")
	source, ok := s.buckets[bucket]
	switch {
	case fromKey == "":
		return &failure{http.StatusBadRequest, "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"}
	case !ok:
		return &failure{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist"}
	case len(source[fromKey].all()) == 0:
		return &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	}
	original, failed := pick(source[fromKey].all(), from.Query())
	if failed != nil {
		return failed
	}
	added := objectVersion{rand.Text(), original.body, time.Now()}
	objects[key] = &object{versions: append(objects[key].all(), added)}
	w.Header().Set("X-Amz-Version-Id", added.id)
	w.Header().Set("X-Amz-Copy-Source-Version-Id", original.id)
	writeXML(w, struct {
		XMLName            xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CopyObjectResult"`
		ETag, LastModified string
	}{ETag: added.etag(), LastModified: added.modified.UTC().Format(timeInXML)})
	return nil
}

// timeInXML is the form of times in the answers of S3 and CloudFormation.
const timeInXML = "2006-01-02T15:04:05.000Z"

// writeXML writes an answer. It fails only if the client closed the connection.
func writeXML(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/xml")
	io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(answer)
}

func checksum(body []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)))
}

// listObjectVersions lists all versions of the keys with a prefix: by key, newest first.
func (s *S3) listObjectVersions(w http.ResponseWriter, bucket string, query url.Values, objects map[string]*object) *failure {
	prefix, encoding := query.Get("prefix"), query.Get("encoding-type")
	write := func(key string) string { return key }
	switch encoding {
	case "":
	case "url":
		write = url.QueryEscape
	default:
		return &failure{http.StatusBadRequest, "InvalidArgument", "Invalid Encoding Method specified in Request"}
	}
	type version struct {
		Key, VersionId string
		IsLatest       bool
		LastModified   string
		ETag           string
		Size           int
		StorageClass   string
	}
	list := struct {
		XMLName      xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListVersionsResult"`
		Name, Prefix string
		EncodingType string `xml:",omitempty"`
		MaxKeys      int
		IsTruncated  bool
		Version      []version
	}{Name: bucket, Prefix: write(prefix), EncodingType: encoding, MaxKeys: 1000}
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		versions := objects[key].all()
		for i, v := range slices.Backward(versions) {
			list.Version = append(list.Version, version{write(key), v.id, i == len(versions)-1, v.modified.UTC().Format(timeInXML), v.etag(), len(v.body), "STANDARD"})
		}
	}
	if len(list.Version) > list.MaxKeys {
		return notImplemented
	}
	writeXML(w, list)
	return nil
}

// readFile returns a file as a version with an ID that is derived from the content.
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
	writeXML(w, struct {
		XMLName                          xml.Name `xml:"Error"`
		Code, Message, RequestId, HostId string
	}{Code: f.code, Message: f.message, RequestId: requestID, HostId: hostID})
}
