package main

import "membercard/shared/apierror"

// advice is the document's table of business errors.
var advice = apierror.Advice{
	{"NO_AUTH", "", "have WeChat Pay open this feature for the merchant number"},
	{"INVALID_REQUEST", "扫码投放场景不支持实时code模式", "use a card that is not in real-time code mode"},
	{"INVALID_REQUEST", "会员卡的创建商户号不等于调用方商户号", "call with the merchant number that created the card"},
	{"INVALID_REQUEST", "请先升级会员卡才能使用此功能", "upgrade the card with the API for old card templates first"},
	{"INVALID_REQUEST", "会员卡ID无效", "check card_id"},
	{"INVALID_REQUEST", "该商户号不是会员卡的创建商户号", "call with the merchant number that created the card"},
	{"INVALID_REQUEST", "需要上架至少一个积分权益、优惠权益", "put at least one points or discount benefit on the card first"},
	{"INVALID_REQUEST", "商户号不属于该卡的创建方", "call with the merchant number of the card's creator"},
	{"PARAM_ERROR", "激活类型是JUMP_ACTIVATE时", "set activate_url or activate_appid"},
}
