package aws

import (
	"cmp"
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"membercard/local/sigv4"
)

// Stacks is CloudFormation's DescribeStacks and DescribeStackResource. Stacks are
// added with [Stacks.Put], not by requests.
type Stacks struct {
	service
	region string
	stacks map[string]*Stack // by name
}

// A Stack is a deployed template.
type Stack struct {
	Name                string
	Outputs, Parameters map[string]string
	Resources           map[string]Resource // by logical ID

	created time.Time
}

// A Resource is a resource of a stack.
type Resource struct{ Type, PhysicalID string }

func newStacks(region string) *Stacks {
	s := &Stacks{region: region, stacks: map[string]*Stack{}}
	s.service = service{name: "cloudformation", maxSkew: 5 * time.Minute, calls: make(map[string]int), protocol: &queryProtocol{s}}
	return s
}

// Put adds a stack, or replaces the one of its name.
func (s *Stacks) Put(stack Stack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stack.created = time.Now()
	s.stacks[stack.Name] = &stack
}

// queryProtocol is AWS Query: the request is a form, the answer XML.
type queryProtocol struct{ stacks *Stacks }

// operation returns the method, because the operation's name is in the body.
func (p *queryProtocol) operation(r *http.Request) string { return r.Method }

func (p *queryProtocol) verify(_ *http.Request, _ []byte, signature func() *sigv4.Refusal) *failure {
	refusal := signature()
	if refusal == nil {
		return nil
	}
	codes := map[sigv4.Reason]string{
		sigv4.Missing:    "MissingAuthenticationToken",
		sigv4.Incomplete: "IncompleteSignature",
		sigv4.UnknownKey: "InvalidClientTokenId",
	}
	return &failure{http.StatusForbidden, cmp.Or(codes[refusal.Reason], "SignatureDoesNotMatch"), refusal.Message}
}

func (p *queryProtocol) answer(w http.ResponseWriter, r *http.Request, body []byte) *failure {
	in, _ := url.ParseQuery(string(body)) // ignores malformed parameters
	operations := map[string]func(url.Values) (any, *failure){
		"DescribeStacks":        p.stacks.describeStacks,
		"DescribeStackResource": p.stacks.describeStackResource,
	}
	operation, ok := operations[in.Get("Action")]
	if !ok || r.Method != http.MethodPost || r.URL.Path != "/" {
		return missingHere("CloudFormation's operation "+in.Get("Action"), "")
	}
	output, failed := operation(in)
	if failed == nil {
		writeXML(w, output)
	}
	return failed
}

func (p *queryProtocol) refuse(w http.ResponseWriter, f *failure) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(f.status)
	writeXML(w, struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		Error     queryError
		RequestId string
	}{Error: queryError{"Sender", f.code, f.message}, RequestId: strings.ToLower(rand.Text())})
}

type queryError struct{ Type, Code, Message string }

// named returns the stack that a request names. The caller holds s.mu.
func (s *Stacks) named(in url.Values) (*Stack, *failure) {
	if stack := s.stacks[in.Get("StackName")]; stack != nil {
		return stack, nil
	}
	return nil, exception("ValidationError", "Stack with id "+in.Get("StackName")+" does not exist")
}

// list is a list in Query's XML.
type list[T any] struct {
	Members []T `xml:"member"`
}

// describeStacks describes the stack that the request names, or all stacks.
func (s *Stacks) describeStacks(in url.Values) (any, *failure) {
	type parameter struct{ ParameterKey, ParameterValue string }
	type output struct{ OutputKey, OutputValue string }
	type description struct {
		StackId, StackName, CreationTime, StackStatus string
		Parameters                                    list[parameter]
		Outputs                                       list[output]
	}
	var answer struct {
		XMLName xml.Name          `xml:"http://cloudformation.amazonaws.com/doc/2010-05-15/ DescribeStacksResponse"`
		Stacks  list[description] `xml:"DescribeStacksResult>Stacks"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.Sorted(maps.Keys(s.stacks))
	if in.Has("StackName") {
		stack, failed := s.named(in)
		if failed != nil {
			return nil, failed
		}
		names = []string{stack.Name}
	}
	for _, name := range names {
		stack := s.stacks[name]
		d := description{
			StackId:   fmt.Sprintf("arn:aws:cloudformation:%s:%s:stack/%s/1", s.region, account, name),
			StackName: name, CreationTime: stack.created.UTC().Format(timeInXML), StackStatus: "CREATE_COMPLETE",
		}
		for _, key := range slices.Sorted(maps.Keys(stack.Parameters)) {
			d.Parameters.Members = append(d.Parameters.Members, parameter{key, stack.Parameters[key]})
		}
		for _, key := range slices.Sorted(maps.Keys(stack.Outputs)) {
			d.Outputs.Members = append(d.Outputs.Members, output{key, stack.Outputs[key]})
		}
		answer.Stacks.Members = append(answer.Stacks.Members, d)
	}
	return answer, nil
}

func (s *Stacks) describeStackResource(in url.Values) (any, *failure) {
	type detail struct{ StackName, LogicalResourceId, PhysicalResourceId, ResourceType, LastUpdatedTimestamp, ResourceStatus string }
	s.mu.Lock()
	defer s.mu.Unlock()
	stack, failed := s.named(in)
	if failed != nil {
		return nil, failed
	}
	id := in.Get("LogicalResourceId")
	resource, ok := stack.Resources[id]
	if !ok {
		return nil, exception("ValidationError", "Resource "+id+" does not exist for stack "+stack.Name)
	}
	return struct {
		XMLName xml.Name `xml:"http://cloudformation.amazonaws.com/doc/2010-05-15/ DescribeStackResourceResponse"`
		Detail  detail   `xml:"DescribeStackResourceResult>StackResourceDetail"`
	}{Detail: detail{stack.Name, id, resource.PhysicalID, resource.Type, stack.created.UTC().Format(timeInXML), "CREATE_COMPLETE"}}, nil
}
