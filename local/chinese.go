package main

import (
	"cmp"
	"os"
	"strings"
)

// isChinese returns whether the locale of the environment is Chinese, as POSIX has it.
func isChinese() bool {
	return strings.HasPrefix(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_MESSAGES"), os.Getenv("LANG")), "zh")
}

// say returns a text of the start, which may have verbs, in the reader's language.
func (o options) say(text string) string {
	if o.chinese {
		return cmp.Or(chinese[text], text)
	}
	return text
}

// chinese has the texts in Chinese. What the functions log stays English.
var chinese = map[string]string{
	":": "：",

	"local: unexpected argument %q; -h lists the flags":                                                                        "local: 多余的参数 %q；用 -h 查看所有参数",
	"%s: other machines could reach the stack, and with -live or -live-account it has real keys; give it 127.0.0.1 and a port": "%s：其他机器也能访问本机环境，而使用 -live 或 -live-account 时其中有真实的凭据；请改为 127.0.0.1 加端口",
	"%s; another stack may run there. A free port is taken with %s":                                                            "%s；该地址可能已有本机环境在运行。换用空闲端口：%s",
	"-auth: %q is neither none nor iam, jwt or wechat":                                                                         "-auth：%q 不是 none、iam、jwt 或 wechat",
	"-auth wechat: users log in to the sandbox's official account, so it does not go with -live-account":                       "-auth wechat：用户登录的是沙箱公众号，不能与 -live-account 一起使用",
	"-plan: %s is not a plan: %s; all its faults: go run ./cmd/membercard plan validate %s":                                    "-plan：%s 不是有效的计划：%s；查看所有错误：go run ./cmd/membercard plan validate %s",
	"-origins: %q is not an origin like http://localhost:5173":                                                                 "-origins：%q 不是 http://localhost:5173 这样的源（origin）",
	"local: membercard --local does not work with this stack: %v":                                                              "local: membercard --local 无法用于本机环境：%v",
	"local: no card ticket: %v": "local: 没有得到卡券 ticket：%v",
	"WARNING: %s: everybody on your network can reach this stack, call it and read the sandboxes' keys and events. 127.0.0.1 keeps it on this machine.": "警告：%s：同一网络中的任何人都能访问并调用本机环境，读取沙箱的凭据和事件。改为 127.0.0.1 则仅限本机。",

	"LIVE: it calls the real WeChat with your keys. Put your own cards, brand and openid into the lines below.":                "真实环境：使用你的凭据调用真实的微信。请把下面命令中的卡、品牌和 openid 换成自己的。",
	"Each request needs the header %s. The lines below have it, and the playground's address; the token ends with this stack.": "每个请求都要带请求头 %s。下面的命令和试用页的地址已带上；令牌在本机环境结束后失效。",
	"auth: %s": "认证方式：%s",
	"NO AUTH: everybody who reaches this address may call. In AWS there is always authorization; try -auth iam, jwt or wechat.": "未启用认证：能访问该地址的程序都可以调用。AWS 上始终需要认证，可用 -auth iam、jwt 或 wechat 试用。",
	"apply the card plan %s; without dry_run it changes the cards":                                                              "执行卡券计划 %s；去掉 dry_run 才会更改卡券",
	"the customer opens a brand card, or a merchant card of JUMP_ACTIVATE: each step from the token to EFFECTIVE;":              "模拟用户开通品牌会员卡，或 JUMP_ACTIVATE 的商家会员卡：显示从 token 到 EFFECTIVE 的每一步；",
	"and what the card plan %s would change":                                                                                    "以及卡券计划 %s 将更改什么",
	"a shop that opens cards and greets members, beside this stack":                                                             "在旁边运行示例商城：打开会员卡，并向会员问好",
	"What the functions log follows; Ctrl-C stops it all.":                                                                      "下面是函数的日志；按 Ctrl-C 全部结束。",

	"merchant pre-authorisation, a permission_token": "商户预授权：获取 permission_token",
	"brand pre-authorisation, a token":               "入会组件预授权：获取 token",
	"the same under its name since November 2025":    "同上，2025 年 11 月起的路径",
	"parameters of wx.addCard":                       "wx.addCard 的参数",
	"the links of a card":                            "更改卡券上的链接",
	"another card, with links; each call makes one":  "创建带链接的卡券；每次调用新建一张",
	"the code for wx.openCard":                       "wx.openCard 所需的 code",
	"confirm that a user has opened a brand card":    "品牌会员卡：同步会员开通结果",
	"confirm a merchant card":                        "商家会员卡：同步登记结果",
	"the code of a merchant card, after the jump":    "跳转激活后解密商家会员卡的 code",
	"what its user has filled in":                    "查询用户填写的内容",
	"activate it; the answer is 204 without a body":  "激活商家会员卡；应答为 204，没有内容",
	"a user's brand card: is the user a member?":     "查询用户的一张品牌会员卡：是否已是会员",
	"the user's cards of the brand":                  "查询用户在品牌下的所有会员卡",
	"a user's merchant card":                         "查询用户的一张商家会员卡",
	"the user's merchant cards":                      "查询用户的所有商家会员卡",
}
