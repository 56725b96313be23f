package main

import (
	"fmt"
	"io"
	"strings"

	"membercard/local/discovery"
	"membercard/local/guard"
	"membercard/local/sample"
	"membercard/local/stack"
	"membercard/local/template"
)

// greet prints the stack's addresses and a curl command for each operation to out, which
// programs may read: a line with the API's URL, the commands, a line each, and the
// playground's URL. What explains them goes to says.
func greet(out, says io.Writer, s *stack.Stack, o options, page string) {
	fmt.Fprintf(out, "membercard runs at %s\n", s.URL)
	live := s.WeChatPay == nil || s.OfficialAccount == nil
	if live {
		fmt.Fprintln(says, o.say("LIVE: it calls the real WeChat with your keys. Put your own cards, brand and openid into the lines below."))
		fmt.Fprintf(says, o.say("Each request needs the header %s. The lines below have it, and the playground's address; the token ends with this stack.")+"\n", guard.TokenHeader)
	}
	switch {
	case s.Auth != stack.NoAuth:
		fmt.Fprintf(says, o.say("auth: %s")+"\n", s.Auth)
	case s.Guard.Token == "":
		fmt.Fprintln(says, o.say("NO AUTH: everybody who reaches this address may call. In AWS there is always authorization; try -auth iam, jwt or wechat."))
	}
	colon := o.say(":")
	requests := sample.Requests(s)
	for _, route := range s.Routes {
		if request, ok := requests[route.Key]; ok {
			fmt.Fprintf(says, "\n%s%s\n", o.say(request.Says), colon)
			fmt.Fprintln(out, curl(s, route, request))
		}
	}
	if live {
		fmt.Fprintf(says, "\n"+o.say("apply the card plan %s; without dry_run it changes the cards")+colon+"\n", o.plan)
		fmt.Fprintf(says, "curl -sS -X POST '%s%s?dry_run=true' -H '%s: %s'\n", s.URL, discovery.SyncPath, guard.TokenHeader, s.Guard.Token)
		page += "/#token=" + s.Guard.Token // browsers do not send a fragment, and pages of other origins can't read it
	} else {
		fmt.Fprintln(says, "\n"+o.say("the customer opens a brand card, or a merchant card of JUMP_ACTIVATE: each step from the token to EFFECTIVE;"))
		fmt.Fprintf(says, o.say("and what the card plan %s would change")+colon+"\n", o.plan)
		for _, command := range []string{"card open brand", "card open merchant", "plan diff " + o.plan} {
			fmt.Fprintf(says, "go run ./cmd/membercard %s --local=%s\n", command, s.URL)
		}
		fmt.Fprintf(says, "\n%s%s\ngo run ./examples/shop -local %s\n", o.say("a shop that opens cards and greets members, beside this stack"), colon, s.URL)
	}
	fmt.Fprintln(says)
	fmt.Fprintf(out, "playground: %s\n", page)
}

// curl returns a curl command for a request to a route, with the authorization that the
// route requires.
func curl(s *stack.Stack, route template.Route, request sample.Request) string {
	var auth string
	if s.Guard.Token != "" {
		auth = fmt.Sprintf(" -H '%s: %s'", guard.TokenHeader, s.Guard.Token)
	}
	switch {
	case s.Auth == stack.NoAuth:
	case route.Authorization == "AWS_IAM":
		auth += fmt.Sprintf(" --aws-sigv4 aws:amz:%s:execute-api --user %s:%s -H 'x-amz-security-token: %s'",
			stack.Region, stack.AccessKeyID, stack.SecretAccessKey, stack.SessionToken)
	case s.Auth == stack.AuthJWT:
		auth += fmt.Sprintf(" -H 'Authorization: Bearer %s'", s.Token())
	case s.Auth == stack.AuthWechat:
		auth += fmt.Sprintf(" -H 'Authorization: WeChat-MiniProgram %s'", s.OfficialAccount.LoginCode(sample.OpenID))
	}
	command := fmt.Sprintf("curl -sS -w '\\n' '%s'%s", s.URL+request.URI(route.Key), auth)
	if request.Body != "" {
		command += fmt.Sprintf(" -H 'Content-Type: application/json' -d '%s'", strings.TrimSpace(request.Body))
	}
	return command
}
