package stack

import (
	"encoding/json"
	"net/http"

	"membercard/local/aws"
	"membercard/local/discovery"
)

const (
	stackName = "local"        // AWS::StackName
	archive   = "EventArchive" // logical ID
)

// Discovery returns what the stack says about itself. It must have both sandboxes.
func (s *Stack) Discovery() discovery.Stack {
	deployed := s.inCloudFormation()
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
		Plan:    deployed.Outputs["CardPlan"],
		Secrets: discovery.Secrets{Merchant: MerchantSecret, OfficialAccount: OfficialAccountSecret, Login: LoginSecret},

		Auth:       s.Auth,
		Outputs:    deployed.Outputs,
		Parameters: deployed.Parameters,
		Resources:  map[string]string{},
	}
	for id, resource := range deployed.Resources {
		d.Resources[id] = resource.PhysicalID
	}
	return d
}

// inCloudFormation returns the stack as CloudFormation describes it, with the parameters
// that an operator needs and the resources that exist here. The log groups have a name
// but do not exist.
func (s *Stack) inCloudFormation() aws.Stack {
	plan := s.Configs["functions/card-sync"].Environment
	deployed := aws.Stack{
		Name: stackName,
		Outputs: map[string]string{
			"ApiUrl":               s.URL,
			"NotificationUrl":      s.URL + notifications,
			"EventBusName":         s.Configs["functions/card-events"].Environment["EVENT_BUS_NAME"],
			"CardPlanBucketName":   plan["CARD_PLAN_BUCKET"],
			"CardPlan":             "s3://" + plan["CARD_PLAN_BUCKET"] + "/" + plan["CARD_PLAN_KEY"],
			"CardSyncFunctionName": s.Configs["functions/card-sync"].Name,
			"CardExtFunctionName":  s.Configs["functions/card-ext"].Name,
			"FunctionLogGroup":     "FunctionLogs",
		},
		Parameters: map[string]string{"CardPlanKey": plan["CARD_PLAN_KEY"]},
		Resources: map[string]aws.Resource{
			"CardTicket":   {Type: "AWS::SecretsManager::Secret", PhysicalID: s.Configs["functions/card-ext"].Environment["CARD_TICKET_SECRET_ID"]},
			"EventArchive": {Type: "AWS::Events::Archive", PhysicalID: archive},
			"ApiLogs":      {Type: "AWS::Logs::LogGroup", PhysicalID: "ApiLogs"},
		},
	}
	for _, id := range []string{"ConfirmQueue", "ConfirmDeadLetters", "FailedInvocations"} {
		if q := s.Queues.Get(id); q != nil {
			deployed.Resources[id] = aws.Resource{Type: "AWS::SQS::Queue", PhysicalID: q.URL()}
		}
	}
	for output, queue := range map[string]string{"ConfirmDeadLetterQueueUrl": "ConfirmDeadLetters", "FailedInvocationsQueueUrl": "FailedInvocations"} {
		if url := deployed.Resources[queue].PhysicalID; url != "" {
			deployed.Outputs[output] = url
		}
	}
	for _, parameter := range []string{"MerchantSecretArn", "OfficialAccountSecretArn", "LoginSecretArn"} {
		if arn := s.parameters[parameter]; arn != "" {
			deployed.Parameters[parameter] = arn
		}
	}
	for _, config := range s.Configs {
		deployed.Resources[config.Name] = aws.Resource{Type: "AWS::Lambda::Function", PhysicalID: config.Name}
	}
	return deployed
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
