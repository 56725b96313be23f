package main

// List prices in us-east-1 in US dollars, without free tiers, and their sources. The
// sources are not AWS's own: check the prices before you rely on them. No source was found
// for cn-north-1.
const (
	// https://cloudchipr.com/blog/aws-lambda-pricing (2024)
	lambdaRequest  = 0.20 / million
	lambdaGBSecond = 0.0000133334 // arm64

	// https://awsforengineers.com/blog/aws-api-gateway-pricing-explained (2025-05-19)
	apiRequest = 1.00 / million // HTTP API

	// https://www.factualminds.com/blog/amazon-cloudwatch-pricing-metrics-logs-alarms-dashboards (2026-06-13),
	// https://signoz.io/guides/cloudwatch-pricing (2026-02-15)
	logGB          = 0.50 // ingestion
	metricMonth    = 0.30
	alarmMonth     = 0.10
	compositeMonth = 0.50
	dashboardMonth = 3.00

	// https://awsnegotiations.com/x-ray-pricing-strategy.html (2026)
	trace = 5.00 / million

	// https://hivebook.wiki/wiki/aws-secrets-manager-rotated-secrets-dynamic-db-credentials-kms (2026)
	secretMonth = 0.40
	secretCall  = 0.05 / 10_000

	// https://cloudburn.io/blog/amazon-eventbridge-pricing (2026-03-13)
	event          = 1.00 / million
	archiveGB      = 0.10 // processing
	archiveGBMonth = 0.023

	// https://cloudburn.io/blog/amazon-sqs-pricing (2026-03-14)
	queueRequest = 0.40 / million

	// https://cloudpipelines.pages.dev/guides/aws-nat-gateway-pricing-2026 (2026),
	// https://www.doit.com/aws-public-ipv4-price-increase-the-complete-guide (2024)
	natHour  = 0.045
	ipv4Hour = 0.005
)

const (
	million    = 1e6
	gigabyte   = 1 << 30
	monthDays  = 30
	monthHours = 24 * monthDays
	month      = 3600 * monthHours // seconds
)
