package main

import "membercard/shared/apierror"

// advice is the document's table of business errors.
var advice = apierror.Advice{
	{"INVALID_REQUEST", "会员卡模版ID不属于该品牌", "check that brand_id and card_id belong together"},
	{"PARAM_ERROR", "OpenID有误", "use the openid that the user has under the card template's AppID"},
}
