package stack

import (
	"encoding/json"
	"maps"
	"net/http"

	"membercard/local/aws"
	"membercard/local/discovery"
)

// Discovery returns what the stack says about itself. It must have both sandboxes.
func (s *Stack) Discovery() discovery.Stack {
	return discovery.Stack{
		API:       s.URL,
		WeChatPay: s.WeChatPay.Endpoints(),
		WeChat:    s.OfficialAccount.Endpoints(),
		CA:        string(s.WeChatPay.CA()) + string(s.OfficialAccount.CA()),
		AWS: discovery.AWS{
			Region: Region, AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey, SessionToken: SessionToken,
			Endpoint: s.AWS,
		},
		Files:   s.WeChatPay.Files(),
		Plan:    s.deployed.Outputs["CardPlan"],
		Secrets: discovery.Secrets{Merchant: MerchantSecret, OfficialAccount: OfficialAccountSecret, Login: LoginSecret},

		Auth:       s.Auth,
		Outputs:    maps.Clone(s.deployed.Outputs),
		Parameters: maps.Clone(s.deployed.Parameters),
		Resources:  maps.Clone(s.deployed.Resources),
	}
}

// ServeEvents streams each further event that the bus takes, one line of JSON each,
// until the client disconnects.
func (s *Stack) ServeEvents(w http.ResponseWriter, r *http.Request) {
	if discovery.RefusePage(w, r) {
		return
	}
	taken := make(chan aws.Event, 1000)
	defer s.Events.Subscribe(func(e aws.Event) {
		select {
		case taken <- e:
		default: // a client that does not read must not hold up the bus
		}
	})()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	for {
		_ = flush.Flush() // fails only if the client left
		select {
		case e := <-taken:
			_ = json.NewEncoder(w).Encode(e)
		case <-r.Context().Done():
			return
		}
	}
}

// ServeEnrol registers a [discovery.Merchant] with the sandbox of WeChat Pay, which the
// stack must have.
func (s *Stack) ServeEnrol(w http.ResponseWriter, r *http.Request) {
	if discovery.RefusePage(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	var merchant discovery.Merchant
	var answer discovery.Enrolled
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&merchant)
	if err == nil {
		answer.PublicKey, answer.PublicKeyID, err = s.WeChatPay.Enrol([]byte(merchant.Certificate), merchant.APIv3Key)
	}
	if err != nil {
		answer.Error = err.Error()
		w.WriteHeader(http.StatusBadRequest)
	}
	_ = json.NewEncoder(w).Encode(answer) // a client that left needs no answer
}
