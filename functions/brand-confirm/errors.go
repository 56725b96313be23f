package main

import "membercard/shared/apierror"

// advice is for refusals that another attempt does not cure. The document has no table of
// business errors, so the codes are those of all operations (公共错误码), and the messages
// are the known ones. For a card from the queue, to confirm again means to redrive its
// message from the dead-letter queue, whose attribute ErrorMessage has WeChat's message.
var advice = apierror.Advice{
	{"INVALID_REQUEST", "模板已失效", "the card's template is no longer valid: have it made valid with WeChat Pay and confirm again; if that can't be done, the card can't be confirmed: tell the customer"},
	{"INVALID_REQUEST", "已失效", "the user's card is no longer valid, because the user has deleted it or it was refused: there is nothing to confirm"},
	{"INVALID_REQUEST", "已确认", "query the card: if it is EFFECTIVE there is nothing more to do; otherwise it was refused, has expired or was deleted, and can't be confirmed"},
	{"INVALID_REQUEST", "不匹配", "send brand_id, card_id and openid as they are in the notification of this card"},
	{"INVALID_REQUEST", "", "compare the request with the operation's document and do what WeChat's message (of a dead letter: ErrorMessage) says; if the card can never be confirmed, tell the customer"},
	{"PARAM_ERROR", "", "correct the request as WeChat's message (of a dead letter: ErrorMessage) says, and confirm again"},
	{"NO_AUTH", "", "have WeChat Pay open brand cards for the merchant number, and confirm again"},
	{"RULE_LIMIT", "", "see in WeChat's message (of a dead letter: ErrorMessage) which rule it is, wait until it allows the card, and confirm again"},
	{"RESOURCE_NOT_EXISTS", "", "WeChat Pay has no such card: if the user has deleted it there is nothing to confirm; otherwise check that the merchant number is the one of the card's brand"},
	{"NOT_FOUND", "", "WeChat Pay does not have this operation: check that the endpoints are WeChat Pay's"},
}
