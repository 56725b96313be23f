package aws

import (
	"crypto/rand"
	"encoding/xml"
	"net/http"
	"strings"
	"time"
)

// elsewhere says, for the services that a runbook calls and that are not here, what to
// do instead. They are called by the name that requests are signed for.
var elsewhere = map[string]struct{ service, instead string }{
	"logs":          {"CloudWatch Logs", "The records are on the standard error of go run ./local: search them there."},
	"monitoring":    {"CloudWatch, so no alarms and no metrics", "A record counts what an alarm watches, as \"SecretFailures\":1 does: search the standard error of go run ./local."},
	"ec2":           {"EC2, so no VPC and no NAT gateway", "The functions call the sandboxes on this machine."},
	"servicequotas": {"Service Quotas", "Functions have no limit of concurrency here."},
}

// missingHere is an operation of a service that the local stack does not have.
func missingHere(what, instead string) *failure {
	message := "The local stack does not have " + what + "."
	if instead != "" {
		message += " " + instead
	}
	return exception("UnknownOperationException", message)
}

// newMissing returns the service of a request for what is not here. It refuses all
// authentic requests.
func newMissing(signingName string, r *http.Request) *service {
	p := &missingProtocol{signingName: signingName}
	if r.Header.Get("X-Amz-Target") != "" {
		p.protocol = &jsonProtocol{contentType: r.Header.Get("Content-Type")}
	} else {
		p.protocol = &queryProtocol{}
	}
	return &service{name: signingName, maxSkew: 5 * time.Minute, calls: make(map[string]int), protocol: p}
}

// missingProtocol is AWS JSON or Query, as the request is. EC2's errors have a form of
// their own.
type missingProtocol struct {
	protocol
	signingName string
}

func (p *missingProtocol) answer(http.ResponseWriter, *http.Request, []byte) *failure {
	return missingHere(elsewhere[p.signingName].service, elsewhere[p.signingName].instead)
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
