package stack

import (
	"encoding/json"
	"net/http"

	"membercard/local/aws"
	"membercard/local/discovery"
)

// Discovery is what the stack says about itself. Both sandboxes must be there.
func (s *Stack) Discovery() discovery.Stack {
	plan := s.Configs["functions/card-sync"].Environment
	d := discovery.Stack{
		API:       s.URL,
		WeChatPay: s.WeChatPay.Endpoints(),
		WeChat:    s.OfficialAccount.Endpoints(),
		CA:        string(s.WeChatPay.CA()) + string(s.OfficialAccount.CA()),
		AWS: discovery.AWS{
			Region: Region, AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey, SessionToken: SessionToken,
			Endpoint: s.AWS,
		},
		Files:   s.WeChatPay.Files(),
		Plan:    "s3://" + plan["CARD_PLAN_BUCKET"] + "/" + plan["CARD_PLAN_KEY"],
		Secrets: discovery.Secrets{Merchant: MerchantSecret, OfficialAccount: OfficialAccountSecret, Login: LoginSecret},

		Auth:       s.Auth,
		Outputs:    map[string]string{"ApiUrl": s.URL, "NotificationUrl": s.URL + notifications},
		Parameters: map[string]string{},
		Resources:  map[string]string{"CardTicket": s.Configs["functions/card-ext"].Environment["CARD_TICKET_SECRET_ID"]},
	}
	d.Outputs["CardPlan"] = d.Plan
	d.Outputs["EventBusName"] = s.Configs["functions/card-events"].Environment["EVENT_BUS_NAME"]
	for name, queue := range map[string]string{"ConfirmDeadLetterQueueUrl": "ConfirmDeadLetters", "FailedInvocationsQueueUrl": "FailedInvocations"} {
		if q := s.Queues.Get(queue); q != nil {
			d.Outputs[name] = q.URL()
		}
	}
	for _, name := range []string{"MerchantSecretArn", "OfficialAccountSecretArn", "LoginSecretArn"} {
		if arn := s.parameters[name]; arn != "" {
			d.Parameters[name] = arn
		}
	}
	for _, config := range s.Configs {
		d.Resources[config.Name] = config.Name
	}
	d.Outputs["CardSyncFunctionName"] = d.Resources["CardSyncFunction"]
	d.Outputs["CardExtFunctionName"] = d.Resources["CardExtFunction"]
	return d
}

// ServeEvents answers with each event that the bus takes from now on, a JSON text a
// line, until the client leaves.
func (s *Stack) ServeEvents(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		http.Error(w, "this is for cmd/membercard, not for pages", http.StatusForbidden)
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
