package main

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/telemetry/telemetrytest"
)

// A body of the maximum size never takes more than 32 MiB, whatever it contains. All
// allocations of a request are counted, so what is in use at a time is less.
func TestMemoryIsBounded(t *testing.T) {
	const maxBody, maxAllocated = 64 << 10, 32 << 20
	// fill repeats a text within a membership card until the body has its maximum size.
	fill := func(before, text, after string) string {
		before, after = `{"card":{"card_type":"MEMBER_CARD","member_card":{"base_info":{`+info+`},`+prerogative+`,`+before, after+`}}}`
		return before + strings.Repeat(text, (maxBody-len(before)-len(after))/len(text)) + after
	}
	nested := func(levels int, name string) (opening, closing string) {
		return strings.Repeat(`"`+name+`":{`, levels), strings.Repeat("}", levels)
	}
	deep, end := nested(95, strings.Repeat("n", 64))
	deepShort, endShort := nested(95, "n")
	var unknown strings.Builder
	for i := 0; unknown.Len() < maxBody-100; i++ {
		fmt.Fprintf(&unknown, `,"%05d":0`, i)
	}
	for _, row := range []struct{ what, body string }{
		{"duplicates under long names", fill(deep+`"a":0`, `,"a":0`, end)},
		{"duplicates under short names", fill(deepShort+`"a":0`, `,"a":0`, endShort)},
		{"broken Unicode under long names", fill(deep+`"a":0`, `,"\ud800":0`, end)},
		{"levels", fill(strings.Repeat(`"n":{`, 9000), " ", strings.Repeat("}", 9000))},
		{"arrays", fill(`"n":`, "[", "")},
		{"too deep again and again", fill(deep+`"n":[0`, `,[[[[[[[[]]]]]]]]`, "]"+end)},
		{"empty objects", fill(`"n":[{}`, `,{}`, "]")},
		{"small objects", fill(`"n":[{}`, `,{"a":0}`, "]")},
		{"small objects under long names", fill(deep+`"n":[{}`, `,{"a":0}`, "]"+end)},
		{"duplicates in small objects", fill(`"n":[{}`, `,{"":0,"":0}`, "]")},
		{"numbers", fill(`"n":[0`, `,0`, "]")},
		{"a long name", fill(`"`, "n", `":0,"":0`)},
		{"a long name twice", fill(`"n":{"`+strings.Repeat("n", maxBody/2-100)+`":0,"`, "n", `":0}`)},
		{"escapes", fill(`"n":"`, `\u0001`, `"`)},
		{"unknown members", `{"card":{"card_type":"MEMBER_CARD"` + unknown.String() + `}}`},
		{"members of WeChat's", fill(`"n":{"":0`+unknown.String()[:50_000]+`}`, " ", "")},
		{"a long link", fill(`"activate_url":"`, "卡", `"`)},
		{"what is no JSON", strings.Repeat("[", maxBody)},
	} {
		t.Run(row.what, func(t *testing.T) {
			log, records := telemetrytest.New()
			from := officialaccounttest.Source()
			from.Secret = nil
			function := newHandler(log, officialaccounttest.Client(from, gatewaytest.Nowhere))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			code := gatewaytest.Invoke(t, function, records, post(row.body)).Error.Code
			runtime.ReadMemStats(&after)
			allocated := after.TotalAlloc - before.TotalAlloc
			t.Logf("%s: %d bytes, %.1f MiB", code, len(row.body), float64(allocated)/(1<<20))
			if allocated > maxAllocated {
				t.Errorf("%d bytes take %d MiB", len(row.body), allocated>>20)
			}
		})
	}
}
