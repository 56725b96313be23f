package aws

import (
	"crypto/rand"
	"encoding/xml"
	"net/http"
	"strings"
	"time"
)

// missingServices are the services that runbooks use and the local stack does not have,
// by the service in a signature's scope, and what to do instead.
var missingServices = map[string]struct{ service, instead string }{
	"logs":          {"CloudWatch Logs", "The records are on the standard error of go run ./local: search them there."},
	"monitoring":    {"CloudWatch, so no alarms and no metrics", "A record counts what an alarm watches, as \"SecretFailures\":1 does: search the standard error of go run ./local."},
	"ec2":           {"EC2, so no VPC and no NAT gateway", "The functions call the sandboxes on this machine."},
	"servicequotas": {"Service Quotas", "Functions have no limit of concurrency here."},
}

// missingHere refuses something that the local stack does not have.
func missingHere(what, instead string) *failure {
	message := "The local stack does not have " + what + "."
	if instead != "" {
		message += " " + instead
	}
	return exception("UnknownOperationException", message)
}

// newMissing returns a stand-in for a missing service. It refuses every authentic
// request with missingHere.
func newMissing(signingName string, r *http.Request) *service {
	p := &missingProtocol{signingName: signingName}
	if r.Header.Get("X-Amz-Target") != "" {
		p.protocol = &jsonProtocol{contentType: r.Header.Get("Content-Type")}
	} else {
		p.protocol = &queryProtocol{}
	}
	return &service{name: signingName, maxSkew: 5 * time.Minute, calls: make(map[string]int), protocol: p}
}

// missingProtocol answers in the protocol of the request: AWS JSON or Query. EC2's
// errors differ from those of Query.
type missingProtocol struct {
	protocol
	signingName string
}

func (p *missingProtocol) answer(http.ResponseWriter, *http.Request, []byte) *failure {
	return missingHere(missingServices[p.signingName].service, missingServices[p.signingName].instead)
}

func (p *missingProtocol) refuse(w http.ResponseWriter, f *failure) {
	if p.signingName != "ec2" {
		p.protocol.refuse(w, f)
		return
	}
	type ec2Error struct{ Code, Message string }
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(f.status)
	writeXML(w, struct {
		XMLName   xml.Name `xml:"Response"`
		Error     ec2Error `xml:"Errors>Error"`
		RequestID string
	}{Error: ec2Error{f.code, f.message}, RequestID: strings.ToLower(rand.Text())})
}
