package main

import "math"

// The CPU time of a token request. It signs once and verifies once, which makes it the
// most expensive request. Measured with
//
//	go run ./local -bench 41
//
// on two shared cores of an AMD EPYC (linux/amd64, Go 1.26.8), 2026-11-25: the minimum for
// brand-token. warmCPU is the whole duration of a warm request, including the sandbox's
// own signature, so it is an upper bound. The times depend on the processor.
const (
	warmCPU = 2.6 // ms of a request
	coldCPU = 7.9 // ms from the start of the process to the first answer
)

// wechatWait is how long a request waits for WeChat. It is an assumption, not a measurement,
// for a region in or near mainland China and an open connection. The saved query "slow
// requests" shows the actual time.
const wechatWait = 100.0 // ms

// logBytes is what a successful request writes to the logs: the function's record, Lambda's
// platform.start and platform.report with a trace, and the access log for a page in
// WeChat's browser, plus 26 bytes each that CloudWatch adds. The numbers are the lengths of
// sample lines, not from a bill.
const logBytes = 380 + 290 + 385 + 590 + 4*26

const (
	fullCPU     = 1769   // MB of memory at which a function has one vCPU, according to AWS
	cacheTTL    = 300.0  // s for which an instance keeps a secret: shared/secret
	traceShare  = 0.05   // of the requests after the first in each second, X-Ray's default rule
	confirmRate = 2 * 2  // cards per second from the queue: 2 instances, 2 a second each
	tokenRate   = 5      // brand tokens per second that WeChat Pay allows
	tokenLife   = 3600   // s, as WeChat Pay documents
	users       = 10_000 // of the campaign
	campaign    = 60     // s within which they come
	defaultSize = 256    // MB: MemorySize
	routeRate   = 100    // ThrottlingRateLimit
)

var (
	sizes = []float64{128, 256, 512, 1024, 1769}
	rates = []float64{10, 100, 1000, 10_000} // requests per second
)

// slowed returns how long ms of CPU time take with the given memory. A request is the work
// of one goroutine, so more than one vCPU does not help.
func slowed(ms, memory float64) float64 { return ms / min(1, memory/fullCPU) }

// duration returns the billed milliseconds of a warm request.
func duration(memory float64) float64 { return math.Ceil(wechatWait + slowed(warmCPU, memory)) }

// lambda returns the price of a million warm requests.
func lambda(memory float64) float64 {
	return million * (lambdaRequest + memory/1024*duration(memory)/1000*lambdaGBSecond)
}

// instances returns how many execution environments a rate keeps busy.
func instances(rate float64) float64 { return math.Ceil(rate * duration(defaultSize) / 1000) }

// traces returns how many requests X-Ray records per second.
func traces(rate float64) float64 { return 1 + traceShare*(rate-1) }

// secretCalls returns the number of calls of Secrets Manager per second.
func secretCalls(rate float64) float64 { return instances(rate) / cacheTTL }

// logs is the price of the log of a million requests.
const logs = million * logBytes / gigabyte * logGB

// perMillion returns the price of a million requests at a rate.
func perMillion(rate, memory float64) float64 {
	return lambda(memory) + million*apiRequest + logs + million/rate*(traces(rate)*trace+secretCalls(rate)*secretCall)
}
