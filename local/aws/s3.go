package aws

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/xml"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// S3 is S3's GetObject, PutObject and ListObjectVersions with path-style URLs. Objects are
// in memory or in files. All buckets are versioned.
type S3 struct {
	*service
	buckets map[string]map[string]*object // by name, then by key
	created func(bucket, key string)
}

type object struct {
	versions []objectVersion // oldest first
	file     string          // path of a further version, as long as that is the newest
}

type objectVersion struct {
	id       string
	body     []byte
	modified time.Time
	deleted  bool // it is a delete marker
}

func newS3() *S3 {
	s := &S3{buckets: make(map[string]map[string]*object)}
	s.service = newService("s3", map[string]operation{
		"GetObject":          s.of(getObject),
		"PutObject":          s.of(s.putObject),
		"ListObjectVersions": s.of(listObjectVersions),
	})
	return s
}

// CreateBucket creates a bucket, unless it exists.
func (s *S3) CreateBucket(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bucket(name)
}

// Put stores body as the current version of an object, creating the object and
// its bucket if there are none.
func (s *S3) Put(bucket, key string, body []byte) {
	s.put(bucket, key, newVersionOf(body))
}

// Get returns the current version of an object, or nil if there is none.
func (s *S3) Get(bucket, key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if current := s.buckets[bucket][key].current(); current != nil {
		return current.body
	}
	return nil
}

// Delete deletes an object, which keeps its versions.
func (s *S3) Delete(bucket, key string) {
	s.put(bucket, key, objectVersion{id: rand.Text(), modified: time.Now(), deleted: true})
}

func newVersionOf(body []byte) objectVersion {
	return objectVersion{id: rand.Text(), body: slices.Clone(body), modified: time.Now()}
}

func (s *S3) put(bucket, key string, added objectVersion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bucket(bucket)[key] = s.buckets[bucket][key].with(added)
}

// bucket returns a bucket and creates it if there is none. The caller holds s.mu.
func (s *S3) bucket(name string) map[string]*object {
	if s.buckets[name] == nil {
		s.buckets[name] = make(map[string]*object)
	}
	return s.buckets[name]
}

// PutFile serves a file as an object. The file is read for each request; while
// it can't be read, the object does not exist. Of the file and a version that is put later,
// the newer one is the current version, so an edit of the file counts again.
func (s *S3) PutFile(bucket, key, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bucket(bucket)[key] = &object{file: path}
}

// OnCreated calls f after each PutObject.
func (s *S3) OnCreated(f func(bucket, key string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created = f
}

func objectOperation(r *http.Request) string {
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Has("versions"):
		return "ListObjectVersions"
	case r.Method == http.MethodGet:
		return "GetObject"
	case r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") == "":
		return "PutObject"
	}
	return r.Method
}

// s3Input is the input of an operation: the objects of the bucket and the key in its path,
// and its body.
type s3Input struct {
	*http.Request
	objects     map[string]*object
	bucket, key string
	body        []byte
}

// of returns an operation on the bucket in a request's path.
func (s *S3) of(f func(http.ResponseWriter, s3Input) *failure) operation {
	return func(w http.ResponseWriter, r *http.Request, body []byte) *failure {
		bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		s.mu.Lock()
		defer s.mu.Unlock()
		if objects, ok := s.buckets[bucket]; ok {
			return f(w, s3Input{r, objects, bucket, key, body})
		}
		return &failure{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist"}
	}
}

// all returns the versions of an object, the current one last. A nil object has none.
func (o *object) all() []objectVersion {
	if o == nil {
		return nil
	}
	versions := slices.Clone(o.versions)
	if o.file != "" {
		current, err := readFile(o.file)
		if err == nil && (len(versions) == 0 || current.modified.After(versions[len(versions)-1].modified)) {
			versions = append(versions, current)
		}
	}
	return versions
}

// with returns an object, which may be nil, with a version more. What the file has now
// becomes a noncurrent version.
func (o *object) with(added objectVersion) *object {
	more := &object{versions: append(o.all(), added)}
	if o != nil {
		more.file = o.file
	}
	return more
}

// current returns the current version of an object, or nil if there is none.
func (o *object) current() *objectVersion {
	versions := o.all()
	if len(versions) == 0 || versions[len(versions)-1].deleted {
		return nil
	}
	return &versions[len(versions)-1]
}

// readFile returns a file as a version with an ID that is derived from the content.
func readFile(path string) (v objectVersion, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return v, err
	}
	body, err := os.ReadFile(path)
	sum := sha256.Sum256(body)
	return objectVersion{id: base32.StdEncoding.EncodeToString(sum[:])[:26], body: body, modified: info.ModTime()}, err
}

func (v objectVersion) etag() string {
	sum := md5.Sum(v.body)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func getObject(w http.ResponseWriter, in s3Input) *failure {
	found, versions := in.objects[in.key].current(), in.objects[in.key].all()
	if id := in.URL.Query().Get("versionId"); id != "" {
		i := slices.IndexFunc(versions, func(v objectVersion) bool { return v.id == id && !v.deleted })
		if i < 0 {
			return &failure{http.StatusNotFound, "NoSuchVersion", "The specified version does not exist."}
		}
		found = &versions[i]
	}
	if found == nil {
		w.Header().Set("X-Amz-Delete-Marker", strconv.FormatBool(len(versions) > 0))
		return &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	}
	w.Header().Set("Etag", found.etag())
	w.Header().Set("X-Amz-Version-Id", found.id)
	w.Header().Set("Content-Type", "binary/octet-stream")
	http.ServeContent(w, in.Request, "", found.modified, bytes.NewReader(found.body)) // handles conditions and ranges
	return nil
}

// putObject adds a version if the request's conditions hold. A file is not written.
func (s *S3) putObject(w http.ResponseWriter, in s3Input) *failure {
	current, match := in.objects[in.key].current(), in.Header.Get("If-Match")
	switch {
	case match != "" && current == nil:
		return &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	case match != "" && match != current.etag(), in.Header.Get("If-None-Match") == "*" && current != nil:
		return &failure{http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"}
	}
	added := newVersionOf(in.body)
	in.objects[in.key] = in.objects[in.key].with(added)
	if s.created != nil {
		go s.created(in.bucket, in.key)
	}
	w.Header().Set("Etag", added.etag())
	w.Header().Set("X-Amz-Version-Id", added.id)
	w.WriteHeader(http.StatusOK)
	return nil
}

// listObjectVersions lists all versions of the keys with a prefix: by key, newest first.
func listObjectVersions(w http.ResponseWriter, in s3Input) *failure {
	prefix := in.URL.Query().Get("prefix")
	type version struct {
		Key, VersionId string
		IsLatest       bool
		LastModified   string
		ETag           string
		Size           int
	}
	list := struct {
		XMLName      xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListVersionsResult"`
		Name, Prefix string
		IsTruncated  bool
		Version      []version
		DeleteMarker []version
	}{Name: in.bucket, Prefix: prefix}
	for _, key := range slices.Sorted(maps.Keys(in.objects)) {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		versions := in.objects[key].all()
		for i, v := range slices.Backward(versions) {
			to := &list.Version
			if v.deleted {
				to = &list.DeleteMarker
			}
			*to = append(*to, version{key, v.id, i == len(versions)-1, v.modified.UTC().Format("2006-01-02T15:04:05.000Z"), v.etag(), len(v.body)})
		}
	}
	answer(w, "application/xml", http.StatusOK, encodeXML(list))
	return nil
}
