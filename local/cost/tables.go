package main

import (
	"fmt"
	"regexp"
	"strings"
)

// The languages of the documents.
const (
	english = iota
	chinese
	languages
)

// A cell is a text in both languages.
type cell [languages]string

// same returns a cell with the same text in both languages.
func same(format string, values ...any) cell {
	text := fmt.Sprintf(format, values...)
	return cell{text, text}
}

func dollars(amount float64) cell { return same("%.2f", amount) }

// table is a table of the documents.
type table struct {
	name string
	head []cell
	rows [][]cell
}

// markdown returns the table in a language.
func (t table) markdown(language int) string {
	var b strings.Builder
	for i, row := range append([][]cell{t.head}, t.rows...) {
		for _, c := range row {
			b.WriteString("| " + c[language] + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("| --- ", len(row)) + "|\n")
		}
	}
	return b.String()
}

// stack counts the resources in template.yaml that cost something without any requests.
type stack struct {
	alarms, composites, dashboards, metrics, schedules int
}

// count counts the resources in the template's text.
func count(template string) stack {
	matches := func(pattern string) int { return len(regexp.MustCompile(pattern).FindAllString(template, -1)) }
	metrics := map[string]bool{}
	for _, found := range regexp.MustCompile(`Namespace: !Sub "\$\{MetricsNamespace\}/[^"]*", MetricName: (\w+)`).FindAllStringSubmatch(template, -1) {
		metrics[found[1]] = true
	}
	return stack{
		alarms:     matches(`(?m)^    Type: AWS::CloudWatch::Alarm$`),
		composites: matches(`(?m)^    Type: AWS::CloudWatch::CompositeAlarm$`),
		dashboards: matches(`(?m)^    Type: AWS::CloudWatch::Dashboard$`),
		metrics:    len(metrics),
		schedules:  matches(`(?m)^          Type: Schedule$`),
	}
}

// compute returns all tables.
func compute(s stack) []table {
	return []table{memoryTable(), rateTable(), limitTable(), idleTable(s), burstTable(), campaignTable()}
}

// memoryTable returns the price of a million requests for each memory size.
func memoryTable() table {
	t := table{name: "memory", head: []cell{
		{"memory, MB", "内存，MB"}, {"share of a vCPU", "占一个 vCPU 的比例"}, {"CPU of a cold start takes, ms", "冷启动的 CPU 耗时，毫秒"},
		{"a warm request is billed, ms", "热请求计费时长，毫秒"}, {"Lambda, $", "Lambda，美元"}, {"all, $", "合计，美元"},
	}}
	for _, memory := range sizes {
		size := same("%.0f", memory)
		if memory == defaultSize {
			size = cell{fmt.Sprintf("%.0f (default)", memory), fmt.Sprintf("%.0f（默认）", memory)}
		}
		t.rows = append(t.rows, []cell{size, same("%.2f", min(1, memory/fullCPU)), same("%.0f", slowed(coldCPU, memory)),
			same("%.0f", duration(memory)), dollars(lambda(memory)), dollars(perMillion(rates[0], memory))})
	}
	return t
}

// rateTable returns the cost and the use of services at each rate, with the default memory.
func rateTable() table {
	t := table{name: "rate", head: []cell{
		{"requests per second", "每秒请求数"}, {"busy instances", "忙碌的实例"}, {"Secrets Manager, calls per minute", "Secrets Manager 调用，每分钟"},
		{"Lambda", "Lambda"}, {"API Gateway", "API Gateway"}, {"logs", "日志"}, {"X-Ray", "X-Ray"}, {"Secrets Manager", "Secrets Manager"},
		{"a million, $", "每百万次，美元"}, {"a month at this rate, $", "以此速率一个月，美元"},
	}}
	for _, rate := range rates {
		t.rows = append(t.rows, []cell{same("%.0f", rate), same("%.0f", instances(rate)), same("%.1f", 60*secretCalls(rate)),
			dollars(lambda(defaultSize)), dollars(million * apiRequest), dollars(logs), dollars(million / rate * traces(rate) * trace),
			same("%.4f", million/rate*secretCalls(rate)*secretCall),
			dollars(perMillion(rate, defaultSize)), same("%.0f", rate*month/million*perMillion(rate, defaultSize))})
	}
	return t
}

// limitTable returns how much of each limit is used at each rate.
func limitTable() table {
	t := table{name: "limits", head: []cell{{"limit", "限制"}}}
	for _, rate := range rates {
		t.head = append(t.head, cell{fmt.Sprintf("%.0f/s", rate), fmt.Sprintf("每秒 %.0f", rate)})
	}
	t.head = append(t.head, cell{"what to do then", "达到之后怎么办"})
	itself := func(rate float64) float64 { return rate }
	for _, l := range []struct {
		name, then cell
		limit      float64
		used       func(rate float64) float64
	}{
		{cell{"WeChat Pay: brand tokens, 5 a second for a service provider", "微信支付：品牌 token，一个服务商每秒 5 个"},
			cell{"get tokens early, keep them, ask WeChat Pay for more", "提前获取并缓存 token，向微信支付申请更高的限额"}, tokenRate, itself},
		{cell{"the queue: brand cards confirmed, 4 a second", "队列：确认品牌会员卡，每秒 4 张"},
			cell{"nothing: the queue keeps the rest for 4 days", "不用处理：其余的在队列中保留 4 天"}, confirmRate, itself},
		{cell{"`ThrottlingRateLimit`: 100 a second for a route", "`ThrottlingRateLimit`：一个路由每秒 100 次"},
			cell{"raise the parameter, and `ThrottlingBurstLimit` with it", "调大该参数和 `ThrottlingBurstLimit`"}, routeRate, itself},
		{cell{"Lambda: concurrency of a new account, 10", "Lambda：新账户的并发数，10"},
			cell{"ask AWS for 1,000 before you open", "上线前向 AWS 申请 1,000"}, 10, instances},
		{cell{"Lambda: concurrency of an account, 1,000", "Lambda：账户的并发数，1,000"},
			cell{"ask AWS for more", "向 AWS 申请更多"}, 1000, instances},
		{cell{"Lambda: 1,000 new instances in 10 s, from none", "Lambda：从零开始，10 秒内 1,000 个新实例"},
			cell{"let the load grow for a minute, or use provisioned concurrency", "让流量在一分钟内逐渐上升，或使用预置并发"}, 1000, instances},
		{cell{"API Gateway: 10,000 a second for an account", "API Gateway：账户每秒 10,000 次"},
			cell{"ask AWS for more", "向 AWS 申请更多"}, 10_000, itself},
		{cell{"Secrets Manager: 10,000 calls a second, all instances new within 10 s", "Secrets Manager：每秒 10,000 次调用，所有实例在 10 秒内启动"},
			cell{"nothing", "不用处理"}, 10_000, func(rate float64) float64 { return instances(rate) / 10 }},
		{cell{"EventBridge: 10,000 `PutEvents` a second in us-east-1, fewer elsewhere", "EventBridge：us-east-1 每秒 10,000 次 `PutEvents`，其他区域更少"},
			cell{"ask AWS for more; WeChat Pay sends a notification again", "向 AWS 申请更多；微信支付会重发通知"}, 10_000, itself},
		{cell{"WeChat: 10,000 access tokens a minute for an account, all instances new at once", "微信：一个公众号每分钟 10,000 次获取 access_token，所有实例同时启动"},
			cell{"nothing", "不用处理"}, 10_000, instances},
	} {
		row := []cell{l.name}
		for _, rate := range rates {
			row = append(row, share(l.used(rate)/l.limit))
		}
		t.rows = append(t.rows, append(row, l.then))
	}
	return t
}

// share formats the used share of a limit, in bold if it is 100 % or more.
func share(used float64) cell {
	switch {
	case used < 0.01:
		return same("< 1 %%")
	case used < 1:
		return same("%.0f %%", 100*used)
	case used == 1:
		return same("**100 %%**")
	case used < 10:
		return same("**× %.2g**", used)
	}
	return same("**× %.0f**", used)
}

// idleTable returns the cost of a month without any requests.
func idleTable(s stack) table {
	const (
		every5Minutes = 12 * monthHours // card-sync, card-ext
		invocations   = 2*every5Minutes + monthHours
		// The schedule's interval is as long as secrets are cached, so each run reads
		// its secrets. card-ext reads the card ticket too.
		reads = 3*every5Minutes + monthHours
		// Lambda has five pollers, each of which waits for 20 s.
		polls = 5 * 3 * 60 * monthHours
	)
	t := table{name: "idle", head: []cell{{"what", "项目"}, {"how much", "数量"}, {"a month, $", "每月，美元"}}}
	sum := 0.0
	add := func(what cell, much cell, amount float64) {
		sum += amount
		t.rows = append(t.rows, []cell{what, much, dollars(amount)})
	}
	add(cell{"secrets: merchant, official account, login, card ticket", "密钥：商户、公众号、登录、卡券 api_ticket"}, same("4"), 4*secretMonth)
	add(cell{"alarms", "告警"}, same("%d", s.alarms), float64(s.alarms)*alarmMonth)
	add(cell{"composite alarms", "复合告警"}, same("%d", s.composites), float64(s.composites)*compositeMonth)
	add(cell{"dashboard", "仪表盘"}, same("%d", s.dashboards), float64(s.dashboards)*dashboardMonth)
	add(cell{"scheduled invocations: Lambda, X-Ray, logs", "定时调用：Lambda、X-Ray、日志"}, same("%d", invocations),
		invocations*(lambda(defaultSize)/million+trace+float64(logBytes)/gigabyte*logGB))
	add(cell{"their calls of Secrets Manager", "定时调用读取 Secrets Manager"}, same("%d", reads), reads*secretCall)
	add(cell{"polls of the empty queue", "轮询空队列"}, same("%d", polls), polls*queueRequest)
	t.rows = append(t.rows, []cell{{"**all**", "**合计**"}, same(""), same("**%.2f**", sum)})
	t.rows = append(t.rows,
		[]cell{{"only in an hour with an error: metrics", "仅在出现错误的小时计费：指标"}, {fmt.Sprintf("%d at most", s.metrics), fmt.Sprintf("最多 %d", s.metrics)}, dollars(float64(s.metrics) * metricMonth)},
		[]cell{{"only with a VPC: a NAT gateway and its address", "仅使用 VPC 时：一个 NAT 网关及其地址"}, {"1 for each zone", "每个可用区 1 个"}, dollars(monthHours * (natHour + ipv4Hour))},
		[]cell{{"for each 100,000 notifications of 4 KB: bus, archive, queue", "每 100,000 条 4 KB 的通知：总线、归档、队列"}, same("100,000"), dollars(notifications(100_000))},
	)
	return t
}

// notifications returns the cost of n notifications in addition to the function's: the bus,
// the archive for a month, and the three requests for a message in the queue.
func notifications(n float64) float64 {
	const size = 4 << 10
	return n * (event + size/float64(gigabyte)*(archiveGB+archiveGBMonth) + 3*queueRequest)
}

// burstTable returns the course of the campaign.
func burstTable() table {
	t := table{name: "burst", head: []cell{
		{"after, s", "秒"}, {"users who came", "到达的用户"}, {"have a token", "已获得 token"}, {"429s so far", "累计 429"}, {"told to come later", "页面提示稍后再来"},
	}}
	for _, m := range burst([]int{1, 10, 30, 60, 70}) {
		t.rows = append(t.rows, []cell{same("%d", m.second), same("%d", m.arrived), same("%d", m.served), same("%d", m.refused), same("%d", m.ended)})
	}
	return t
}

// campaignTable returns what follows from the rates alone, however often pages retry.
func campaignTable() table {
	minutes := func(seconds float64) cell {
		return cell{fmt.Sprintf("%.0f min", seconds/60), fmt.Sprintf("%.0f 分钟", seconds/60)}
	}
	return table{name: "campaign", head: []cell{{"what", "项目"}, {"how much", "数量"}}, rows: [][]cell{
		{{"users who get a token in a minute without a wait", "每分钟不用等待就能拿到 token 的用户"}, same("%d", 60*tokenRate)},
		{{fmt.Sprintf("until the last of %d users has a token", users), fmt.Sprintf("%d 个用户全部拿到 token 所需时间", users)}, minutes(users / tokenRate)},
		{{"users who can hold a valid token at a time", "同一时间最多持有有效 token 的用户"}, same("%d", tokenRate*tokenLife)},
		{{fmt.Sprintf("until %d opened cards are confirmed", users), fmt.Sprintf("确认 %d 张新开通的会员卡所需时间", users)}, minutes(users / confirmRate)},
	}}
}
