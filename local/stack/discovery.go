package stack

import "membercard/local/discovery"

// Discovery is what the stack says about itself. Both sandboxes must be there.
func (s *Stack) Discovery() discovery.Stack {
	plan := s.Configs["functions/card-sync"].Environment
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
		Plan:    "s3://" + plan["CARD_PLAN_BUCKET"] + "/" + plan["CARD_PLAN_KEY"],
		Secrets: discovery.Secrets{Merchant: MerchantSecret, OfficialAccount: OfficialAccountSecret, Login: LoginSecret},
	}
}
