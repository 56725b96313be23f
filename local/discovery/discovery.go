// Package discovery is what a running local stack says about itself, so that a
// tool can work against it as it works against AWS and WeChat.
package discovery

import (
	"encoding/json"
	"net/http"
)

// Where the local stack's API serves its [Stack], as JSON; the events that its bus
// takes, a JSON text a line, until the client leaves; and where it has a customer open a
// card, or makes a [Merchant] known. Events contain personal data, of the sandbox.
const (
	Path       = "/-/stack"
	EventsPath = "/-/events"
	OpenPath   = "/-/open" // ?card=brand or merchant
	EnrolPath  = "/-/merchants"
)

// Merchant is what is posted to EnrolPath: a merchant of one's own, for the sandbox of
// WeChat Pay to know. Neither is a private key.
type Merchant struct {
	Certificate string `json:"certificate"` // PEM of apiclient_cert.pem
	APIv3Key    string `json:"apiv3_key"`
}

// Enrolled is the answer: what the merchant platform hands out, or why not.
type Enrolled struct {
	PublicKey   string `json:"wechatpay_public_key,omitempty"` // PEM of pub_key.pem
	PublicKeyID string `json:"wechatpay_public_key_id,omitempty"`
	Error       string `json:"error,omitempty"`
}

// RefusePage refuses a request of a web page, also of the playground, and reports whether
// it did. What is served here is for cmd/membercard.
func RefusePage(w http.ResponseWriter, r *http.Request) (refused bool) {
	if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return false
	}
	http.Error(w, "this is for cmd/membercard, not for pages", http.StatusForbidden)
	return true
}

// Stack is where the parts of a local stack listen. It has no keys but those of
// the sandboxes, so a stack that calls the real WeChat must not serve it.
type Stack struct {
	API       string   `json:"api"`       // base URL of the API
	WeChatPay []string `json:"wechatpay"` // base URLs of the sandbox of WeChat Pay
	WeChat    []string `json:"wechat"`    // base URLs of the sandbox of the official account
	CA        string   `json:"ca"`        // PEM of the authorities of the sandboxes' certificates

	AWS     AWS     `json:"aws"`
	Secrets Secrets `json:"secrets"`
	Plan    string  `json:"plan"` // URI of the card plan, s3://bucket/key

	Auth       string            `json:"auth"`       // who may call the API; none: everybody
	Outputs    map[string]string `json:"outputs"`    // as of the stack in CloudFormation
	Parameters map[string]string `json:"parameters"` // of them, the secrets' ARNs
	Resources  map[string]string `json:"resources"`  // of functions, queues and the card ticket: physical IDs by logical ID

	// Files are what the sandbox's merchant gets from WeChat Pay, by file name.
	Files map[string]string `json:"files"`
}

// AWS is the AWS of the local stack.
type AWS struct {
	Region          string `json:"region"`
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	SessionToken    string `json:"session_token"`
	Endpoint        string `json:"endpoint"` // base URL of all services
}

// Secrets are the names of the secrets.
type Secrets struct {
	Merchant        string `json:"merchant"`
	OfficialAccount string `json:"official_account"`
	Login           string `json:"login"`
}

// ServeHTTP implements [http.Handler].
func (s Stack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if RefusePage(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(s) // a client that left needs no answer
}
