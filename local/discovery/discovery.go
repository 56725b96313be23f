// Package discovery describes a running local stack, so that a tool can use it in
// place of AWS and WeChat.
package discovery

import "net/http"

// Paths of the local stack beside those of its API.
const (
	Path       = "/-/stack"     // GET: the [Stack]
	EventsPath = "/-/events"    // GET: a stream of events as the bus takes them, one line of JSON each, with the sandbox's personal data
	OpenPath   = "/-/open"      // POST: has a customer open a card, ?card=brand or merchant; or the form's openid the card of its token
	LoginPath  = "/-/login"     // POST: a code of the form's openid, as WeChat's OAuth redirect brings it
	SyncPath   = "/-/sync"      // POST: runs card-sync, ?dry_run=true or false
	EnrolPath  = "/-/merchants" // POST: registers a [Merchant] with the sandbox of WeChat Pay
)

// Merchant is the request to EnrolPath. It does not contain the merchant's private key.
type Merchant struct {
	Certificate string `json:"certificate"` // PEM of apiclient_cert.pem
	APIv3Key    string `json:"apiv3_key"`
}

// Enrolled is the answer of EnrolPath: what a merchant gets from the merchant platform,
// or an error.
type Enrolled struct {
	PublicKey   string `json:"wechatpay_public_key,omitempty"` // PEM of pub_key.pem
	PublicKeyID string `json:"wechatpay_public_key_id,omitempty"`
	Error       string `json:"error,omitempty"`
}

// WithoutPages serves a path of this package. It refuses requests from web pages, including
// the playground: the paths are for command-line tools.
func WithoutPages(serve http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			http.Error(w, "this route is for command-line tools, not for pages", http.StatusForbidden)
			return
		}
		serve(w, r)
	})
}

// Stack describes a local stack. It contains the sandboxes' keys, so a stack with real
// keys must not serve it.
type Stack struct {
	API       string   `json:"api"`       // base URL of the API
	WeChatPay []string `json:"wechatpay"` // base URLs of the sandbox of WeChat Pay
	WeChat    []string `json:"wechat"`    // base URLs of the sandbox of the official account
	CA        string   `json:"ca"`        // PEM of the CAs that issued the sandboxes' TLS certificates

	AWS     AWS     `json:"aws"`
	Secrets Secrets `json:"secrets"`
	Plan    string  `json:"plan"` // URI of the card plan, s3://bucket/key

	Auth       string            `json:"auth"`       // who may call the API; none: everybody
	Outputs    map[string]string `json:"outputs"`    // as in CloudFormation
	Parameters map[string]string `json:"parameters"` // those that an operator needs
	Resources  map[string]string `json:"resources"`  // physical IDs by logical ID

	// Files are what WeChat Pay gives to the sandbox's own merchant, by file name.
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
