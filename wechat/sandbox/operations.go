package sandbox

// This file finds the operation for a request.

import (
	"net/url"
	"strings"
)

// Operation is an operation of a service S.
type Operation[S any] struct {
	Method string
	Path   string  // a name in braces matches one segment
	Needs  Needs   // besides what all operations of the service need
	Limit  string  // of the rate, which operations of the same limit share; empty for none
	Fields []Field // of the body, or for GET of the query

	// Serve is called with the server's lock held, after everything else has been checked.
	// An answer of nil is 204.
	Serve func(S, *Request) (answer any, err error)
}

// Needs is a credential of the caller, or another condition of an operation.
type Needs int

// Find returns the operation for a request, or nil, and sets r's segments. allowed has the
// methods of the operations with the request's path.
func Find[S any](operations []Operation[S], r *Request) (found *Operation[S], allowed []string) {
	for i, o := range operations {
		segments, ok := match(o.Path, r.Path)
		if !ok {
			continue
		}
		if allowed = append(allowed, o.Method); o.Method == r.Method {
			found, r.segments = &operations[i], segments
		}
	}
	return found, allowed
}

// match returns the segments of a path that match the names in a pattern.
func match(pattern, path string) (segments map[string]string, ok bool) {
	names, values := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(names) != len(values) {
		return nil, false
	}
	segments = make(map[string]string)
	for i, name := range names {
		if strings.HasPrefix(name, "{") {
			segments[strings.Trim(name, "{}")] = values[i]
		} else if name != values[i] {
			return nil, false
		}
	}
	return segments, true
}

// Segment returns the decoded segment of the path that has a name in the table.
func (r *Request) Segment(name string) string {
	return Must(url.PathUnescape(r.segments[name])) // cannot fail: the server has parsed the path
}

// CheckSegments checks the segments of the path.
func (r *Request) CheckSegments(fields []Field) error {
	for _, f := range fields {
		if _, ok := r.segments[f.Name]; !ok {
			continue
		}
		if issue := f.checkText("/url/"+f.Name, r.Segment(f.Name)); issue != "" {
			return &Issue{f.Name, r.Segment(f.Name), issue, "url"}
		}
	}
	return nil
}
