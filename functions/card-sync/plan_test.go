package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"membercard/shared/cardfields"
	"membercard/shared/cardplan"
	"membercard/shared/strictjson"
)

// examplePlan is the documented example.
const examplePlan = `{"cards": [{"card_id": "pbLatjvWOibDc5-TBnbUk1pD12o0",
            "fields": {"promotion_url_name": "更多优惠", "promotion_url": "https://example.com/", "promotion_app_brand_user_name": "gh_86a091e50ad4@app", "promotion_app_brand_pass": "pages/offers"},
            "campaigns": [{"name": "new year", "from": "2027-01-01T00:00:00+08:00", "until": "2027-01-04T00:00:00+08:00",
                           "fields": {"promotion_url_name": "新年活动", "promotion_app_brand_pass": "pages/new-year"}}]}]}`

const offers = `{"appid":"wx37178d097a6851d8","path":"pages/offers"}`

// planOf returns a plan for one card that has these members beside its card_id.
func planOf(members string) string {
	return `{"cards":[{"card_id":"` + cardID + `"` + members + `}]}`
}

// campaigns returns the members of a card: its fields and campaigns.
func campaigns(fields string, list ...string) string {
	return planOf(`,"fields":{` + fields + `},"campaigns":[` + strings.Join(list, ",") + `]`)
}

// during returns a campaign. An empty time is left out.
func during(from, until, fields string) string {
	var members []string
	for _, m := range [][2]string{{"from", from}, {"until", until}} {
		if m[1] != "" {
			members = append(members, `"`+m[0]+`":"`+m[1]+`"`)
		}
	}
	return "{" + strings.Join(append(members, `"fields":{`+fields+`}`), ",") + "}"
}

func mustParse(t *testing.T, document string) *cardplan.Plan {
	t.Helper()
	p, faults := cardplan.Parse([]byte(document))
	if len(faults) > 0 {
		t.Fatalf("%s: %v", document, faults)
	}
	return p
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

func TestTheContractsPlan(t *testing.T) {
	p := mustParse(t, examplePlan)
	if len(p.Cards) != 1 || p.Cards[0].CardID != cardID {
		t.Fatalf("%+v", p)
	}
	always := cardfields.Fields{"promotion_url_name": "更多优惠", "promotion_url": "https://example.com/", "promotion_app_brand_user_name": "gh_86a091e50ad4@app", "promotion_app_brand_pass": "pages/offers"}
	newYear := maps.Clone(always)
	maps.Copy(newYear, cardfields.Fields{"promotion_url_name": "新年活动", "promotion_app_brand_pass": "pages/new-year"})
	for _, row := range []struct {
		when, now string
		want      cardfields.Fields
	}{
		{"long before", "2026-06-01T12:00:00+08:00", always},
		{"a nanosecond before from", "2026-12-31T23:59:59.999999999+08:00", always},
		{"exactly at from", "2027-01-01T00:00:00+08:00", newYear},
		{"exactly at from, as London has it", "2026-12-31T16:00:00Z", newYear},
		{"a nanosecond before from, as London has it", "2026-12-31T15:59:59.999999999Z", always},
		{"midnight in London", "2027-01-01T00:00:00Z", newYear},
		{"exactly at from, as New York has it", "2026-12-31T11:00:00-05:00", newYear},
		{"within", "2027-01-02T12:00:00+08:00", newYear},
		{"a nanosecond before until", "2027-01-03T23:59:59.999999999+08:00", newYear},
		{"exactly at until", "2027-01-04T00:00:00+08:00", always},
		{"exactly at until, as Kathmandu has it", "2027-01-03T21:45:00+05:45", always},
		{"long after", "2028-01-01T00:00:00+08:00", always},
	} {
		if got := p.Cards[0].At(at(t, row.now)).Fields; !maps.Equal(got, row.want) {
			t.Errorf("%s: %v, want %v", row.when, got, row.want)
		}
	}
	if !maps.Equal(p.Cards[0].Fields, always) {
		t.Errorf("the plan itself became %v", p.Cards[0].Fields)
	}
}

func TestCampaignsOverlay(t *testing.T) {
	const (
		jan1, jan2, jan3, jan4 = "2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z", "2027-01-03T00:00:00Z", "2027-01-04T00:00:00Z"
		a, b, c                = `"center_title":"a"`, `"center_title":"b","center_sub_title":"b"`, `"center_title":"c"`
	)
	for _, row := range []struct{ what, plan, now, title, subTitle string }{
		{"the later in the list wins", campaigns(c, during(jan1, jan3, a), during(jan2, jan4, b)), "2027-01-02T12:00:00Z", "b", "b"},
		{"the list's order counts, not the time's", campaigns(c, during(jan2, jan4, b), during(jan1, jan3, a)), "2027-01-02T12:00:00Z", "a", "b"},
		{"what it does not name is the earlier one's", campaigns(``, during(jan1, jan4, b), during(jan1, jan4, c)), jan2, "c", "b"},
		{"only the first", campaigns(c, during(jan1, jan3, a), during(jan2, jan4, b)), jan1, "a", "-"},
		{"only the second", campaigns(c, during(jan1, jan3, a), during(jan2, jan4, b)), jan3, "b", "b"},
		{"one ends where the next begins", campaigns(c, during(jan1, jan2, a), during(jan2, jan3, b)), jan2, "b", "b"},
		{"none", campaigns(c, during(jan1, jan3, a), during(jan2, jan4, b)), jan4, "c", "-"},
		{"no from: long ago", campaigns(c, during("", jan2, a)), "1970-01-01T00:00:00Z", "a", "-"},
		{"no from: until its end", campaigns(c, during("", jan2, a)), jan2, "c", "-"},
		{"no until: from its beginning", campaigns(c, during(jan2, "", a)), jan2, "a", "-"},
		{"no until: for ever", campaigns(c, during(jan2, "", a)), "9999-12-31T23:59:59Z", "a", "-"},
		{"no until: not before", campaigns(c, during(jan2, "", a)), jan1, "c", "-"},
		{"neither: always", campaigns(c, during("", "", a)), jan1, "a", "-"},
		{"an end before all that is", campaigns(c, during("", "0001-01-01T00:00:00Z", a)), jan1, "c", "-"},
		{"fractions of a second", campaigns(c, during("2027-01-01T00:00:00.5Z", "", a)), "2027-01-01T00:00:00.499999999Z", "c", "-"},
		{"an offset of -00:00", campaigns(c, during("2027-01-01T00:00:00-00:00", "", a)), "2026-12-31T23:59:59Z", "c", "-"},
		{"a campaign that clears", campaigns(c, during(jan1, jan2, `"center_title":""`)), jan1, "", "-"},
		{"a campaign without fields", campaigns(c, during(jan1, jan2, ``)), jan1, "c", "-"},
		{"no fields but a campaign's", planOf(`,"campaigns":[` + during(jan1, jan2, a) + `]`), jan1, "a", "-"},
		{"no fields but a campaign's, that is over", planOf(`,"campaigns":[` + during(jan1, jan2, a) + `]`), jan2, "-", "-"},
	} {
		f := mustParse(t, row.plan).Cards[0].At(at(t, row.now)).Fields
		for name, want := range map[string]string{"center_title": row.title, "center_sub_title": row.subTitle} {
			got, ok := f[name]
			if !ok {
				got = "-"
			}
			if got != want {
				t.Errorf("%s: %s is %q, want %q", row.what, name, got, want)
			}
		}
	}
}

func TestValidPlans(t *testing.T) {
	const (
		user, page   = `"custom_app_brand_user_name":"gh_86a091e50ad4@app"`, `"custom_app_brand_pass":"p"`
		noUser, noPg = `"custom_app_brand_user_name":""`, `"custom_app_brand_pass":""`
		jan1, jan2   = "2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z"
	)
	for _, row := range []struct{ rule, plan string }{
		{"no cards", `{"cards":[]}`},
		{"service modules", planOf(`,"service_modules":{"666":` + offers + `,"A_-z9":null}`)},
		{"service modules beside fields", planOf(`,"service_modules":{"666":null},"fields":{"center_title":"x"}`)},
		{"no service modules", planOf(`,"service_modules":{}`)},
		{"a campaign's service modules", planOf(`,"campaigns":[{"service_modules":{"666":` + offers + `}}]`)},
		{"an appid of 32 and a path of 128", planOf(`,"service_modules":{"123456789":{"appid":"` + strings.Repeat("a", 32) + `","path":"` + strings.Repeat("卡", 128) + `"}}`)},
		{"empty fields", planOf(`,"fields":{},"campaigns":[]`)},
		{"a campaign without a name", campaigns(``, during(jan1, jan2, pair))},
		{"empty fields clear", planOf(`,"fields":{"custom_url":"","center_title":""}`)},
		{"an empty pair clears", planOf(`,"fields":{` + noUser + `,` + noPg + `}`)},
		{"fields of a membership card", planOf(`,"fields":{"activate_url":"http://www.qq.com",` + activatePair + `}`)},
		{"a campaign changes the page alone", campaigns(pair, during(jan1, jan2, page))},
		{"a campaign clears both", campaigns(pair, during(jan1, jan2, noUser+`,`+noPg))},
		{"a campaign for ever has the other half", campaigns(user, during("", "", page))},
		{"two campaigns at the same time have a half each", campaigns(``, during(jan1, jan2, user), during(jan1, jan2, page))},
		{"one ends where the next begins", campaigns(user, during("", jan1, page), during(jan1, "", `"custom_app_brand_pass":"q"`))},
		{"a later campaign mends an earlier one", campaigns(pair, during(jan1, jan2, noUser), during(jan1, jan2, noPg))},
	} {
		if _, faults := cardplan.Parse([]byte(row.plan)); len(faults) > 0 {
			t.Errorf("%s: %v", row.rule, faults)
		}
	}
}

// faultsOf returns the faults of a plan, each as "path issue".
func faultsOf(t *testing.T, document string) strictjson.Faults {
	t.Helper()
	p, faults := cardplan.Parse([]byte(document))
	if len(faults) == 0 || p != nil {
		t.Fatalf("%+v, %v, want faults", p, faults)
	}
	return faults
}

func TestInvalidPlans(t *testing.T) {
	const (
		user, page   = `"custom_app_brand_user_name":"gh_86a091e50ad4@app"`, `"custom_app_brand_pass":"p"`
		noUser       = `"custom_app_brand_user_name":""`
		jan1, jan2   = "2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z"
		jan3         = "2027-01-03T00:00:00Z"
		inFields     = "/cards/0/fields/"
		inCampaign   = "/cards/0/campaigns/0/"
		inModules    = "/cards/0/service_modules/"
		campaignUser = inCampaign + "fields/custom_app_brand_user_name"
	)
	for _, row := range []struct {
		rule, plan string
		faults     []string // path and a part of the issue
	}{
		{"nothing", ``, []string{" empty"}},
		{"no JSON", `cards: []`, []string{" one JSON object"}},
		{"cut off", examplePlan[:len(examplePlan)-1], []string{" one JSON object"}},
		{"trailing data", examplePlan + `{}`, []string{" one JSON object"}},
		{"a byte-order mark", "\ufeff" + examplePlan, []string{" byte-order mark"}},
		{"no UTF-8", "{\"cards\":\xff}", []string{" UTF-8"}},
		{"a broken byte in a text", planOf(",\"fields\":{\"center_title\":\"a\xff\"}"), []string{" UTF-8"}},
		{"a raw control character in a text", planOf(",\"fields\":{\"center_title\":\"a\x14\"}"), []string{" one JSON object"}},
		{"a raw line feed in a text", planOf(",\"fields\":{\"center_title\":\"a\n\"}"), []string{" one JSON object"}},
		{"an array", `[]`, []string{" an object"}},
		{"null", `null`, []string{" null"}},
		{"no cards", `{}`, []string{"/cards is required"}},
		{"cards null", `{"cards":null}`, []string{"/cards null"}},
		{"cards as an object", `{"cards":{}}`, []string{"/cards an array"}},
		{"cards twice", `{"cards":[],"cards":[]}`, []string{"/cards twice"}},
		{"an unknown member", `{"cards":[],"version":1}`, []string{"/version not a field"}},
		{"a name in another case", `{"Cards":[]}`, []string{"/Cards not a field"}},
		{"a card as a string", `{"cards":["` + cardID + `"]}`, []string{"/cards/0 an object"}},
		{"a card null", `{"cards":[null]}`, []string{"/cards/0 null"}},

		{"no card_id", `{"cards":[{"fields":{}}]}`, []string{"/cards/0/card_id is required"}},
		{"an empty card_id", `{"cards":[{"card_id":"","fields":{}}]}`, []string{"/cards/0/card_id empty"}},
		{"card_id as a number", `{"cards":[{"card_id":1,"fields":{}}]}`, []string{"/cards/0/card_id a string"}},
		{"card_id of another alphabet", `{"cards":[{"card_id":"p/q","fields":{}}]}`, []string{"/cards/0/card_id 1 to 32"}},
		{"card_id of 33", `{"cards":[{"card_id":"` + strings.Repeat("p", 33) + `","fields":{}}]}`, []string{"/cards/0/card_id 1 to 32"}},
		{"a card twice", `{"cards":[{"card_id":"p","fields":{}},{"card_id":"q","fields":{}},{"card_id":"p","fields":{}}]}`, []string{"/cards/2/card_id already planned at /cards/0"}},
		{"an unknown member of a card", planOf(`,"fields":{},"field":{}`), []string{"/cards/0/field not a field"}},

		{"fields null", planOf(`,"fields":null`), []string{"/cards/0/fields null"}},
		{"fields as an array", planOf(`,"fields":[]`), []string{"/cards/0/fields an object"}},
		{"an unknown field", planOf(`,"fields":{"brand_name":"x"}`), []string{inFields + "brand_name not a field"}},
		{"a field with a slash", planOf(`,"fields":{"a/b":"x"}`), []string{inFields + "a~1b not a field"}},
		{"an unknown field as a number", planOf(`,"fields":{"x":1}`), []string{inFields + "x not a field"}},
		{"a field as a number", planOf(`,"fields":{"custom_url_name":1}`), []string{inFields + "custom_url_name a string"}},
		{"a field null", planOf(`,"fields":{"custom_url":null}`), []string{inFields + "custom_url null"}},
		{"a field twice", planOf(`,"fields":{"custom_url_name":"a","custom_url_name":"b"}`), []string{inFields + "custom_url_name twice"}},
		{"a link that is none", planOf(`,"fields":{"custom_url":"www.qq.com"}`), []string{inFields + "custom_url http or https"}},
		{"a user name that is none", planOf(`,"fields":{"custom_app_brand_user_name":"wxea9c30a90fs8d3fe","custom_app_brand_pass":"p"}`), []string{inFields + "custom_app_brand_user_name gh_86a091e50ad4@app"}},

		{"half a pair", planOf(`,"fields":{` + user + `}`), []string{inFields + "custom_app_brand_pass together with custom_app_brand_user_name"}},
		{"the other half", planOf(`,"fields":{` + page + `}`), []string{inFields + "custom_app_brand_user_name together with custom_app_brand_pass"}},
		{"a pair half empty", planOf(`,"fields":{` + noUser + `,` + page + `}`), []string{inFields + "custom_app_brand_user_name must not be empty unless"}},
		{"a pair to activate with, half", planOf(`,"fields":{"activate_app_brand_pass":"p"}`), []string{inFields + "activate_app_brand_user_name together"}},

		{"neither fields nor service modules", planOf(``), []string{"/cards/0 must have fields or service_modules, its own or a campaign's"}},
		{"neither, and no campaign", planOf(`,"campaigns":[]`), []string{"/cards/0 must have fields or service_modules"}},
		{"service_modules null", planOf(`,"service_modules":null`), []string{"/cards/0/service_modules null"}},
		{"service_modules as an array", planOf(`,"service_modules":[]`), []string{"/cards/0/service_modules an object"}},
		{"a module as a string", planOf(`,"service_modules":{"666":"pages"}`), []string{inModules + "666 an object"}},
		{"a module twice", planOf(`,"service_modules":{"666":null,"666":null}`), []string{inModules + "666 twice"}},
		{"a module of 10", planOf(`,"service_modules":{"1234567890":null}`), []string{inModules + "1234567890 1 to 9"}},
		{"a module without an ID", planOf(`,"service_modules":{"":null}`), []string{inModules + " empty"}},
		{"a module with a slash", planOf(`,"service_modules":{"6/6":` + offers + `}`), []string{inModules + "6~16 1 to 9"}},
		{"an empty module", planOf(`,"service_modules":{"666":{}}`), []string{inModules + "666/appid required", inModules + "666/path required"}},
		{"an empty appid", planOf(`,"service_modules":{"666":{"appid":"","path":"p"}}`), []string{inModules + "666/appid empty"}},
		{"a path null", planOf(`,"service_modules":{"666":{"appid":"wx1","path":null}}`), []string{inModules + "666/path null"}},
		{"an appid of 33", planOf(`,"service_modules":{"666":{"appid":"` + strings.Repeat("a", 33) + `","path":"p"}}`), []string{inModules + "666/appid at most 32"}},
		{"a path of 129", planOf(`,"service_modules":{"666":{"appid":"wx1","path":"` + strings.Repeat("p", 129) + `"}}`), []string{inModules + "666/path at most 128"}},
		{"an unknown member of a module", planOf(`,"service_modules":{"666":{"appid":"wx1","path":"p","url":"u"}}`), []string{inModules + "666/url not a field"}},
		{"a campaign's module", planOf(`,"campaigns":[{"service_modules":{"666":{"appid":"wx1"}}}]`), []string{inCampaign + "service_modules/666/path required"}},

		{"campaigns as an object", planOf(`,"campaigns":{}`), []string{"/cards/0/campaigns an array"}},
		{"a campaign without fields", planOf(`,"campaigns":[{"name":"x"}]`), []string{"/cards/0/campaigns/0 must have fields or service_modules"}},
		{"an unknown member of a campaign", planOf(`,"campaigns":[{"fields":{},"to":"x"}]`), []string{inCampaign + "to not a field"}},
		{"an empty name", planOf(`,"campaigns":[{"fields":{},"name":""}]`), []string{inCampaign + "name empty"}},
		{"a campaign's unknown field", campaigns(``, during(jan1, jan2, `"x":"y"`)), []string{inCampaign + "fields/x not a field"}},
		{"a campaign's link that is none", campaigns(``, during(jan1, jan2, `"center_url":"x"`)), []string{inCampaign + "fields/center_url http or https"}},
		{"until before from", campaigns(``, during(jan2, jan1, pair)), []string{inCampaign + "until after from"}},
		{"until at from", campaigns(``, during(jan1, jan1, pair)), []string{inCampaign + "until after from"}},
		{"until at from, in another time zone", campaigns(``, during("2027-01-01T08:00:00+08:00", jan1, pair)), []string{inCampaign + "until after from"}},
		{"an empty from", planOf(`,"campaigns":[{"fields":{},"from":""}]`), []string{inCampaign + "from empty"}},
		{"from null", planOf(`,"campaigns":[{"fields":{},"from":null}]`), []string{inCampaign + "from null"}},
		{"from as a number", planOf(`,"campaigns":[{"fields":{},"from":1798732800}]`), []string{inCampaign + "from a string"}},
		{"no offset", campaigns(``, during("2027-01-01T00:00:00", "", pair)), []string{inCampaign + "from offset"}},
		{"an offset without a colon", campaigns(``, during("", "2027-01-01T00:00:00+0800", pair)), []string{inCampaign + "until offset"}},
		{"a date alone", campaigns(``, during("2027-01-01", "", pair)), []string{inCampaign + "from offset"}},
		{"a blank for the T", campaigns(``, during("2027-01-01 00:00:00Z", "", pair)), []string{inCampaign + "from offset"}},
		{"a day that there is not", campaigns(``, during("2027-02-29T00:00:00Z", "", pair)), []string{inCampaign + "from offset"}},
		{"an hour that there is not", campaigns(``, during("", "2027-01-01T24:00:00Z", pair)), []string{inCampaign + "until offset"}},
		{"an hour of one digit", campaigns(``, during("2027-01-01T0:00:00Z", "", pair)), []string{inCampaign + "from offset"}},
		{"a comma before the fraction", campaigns(``, during("2027-01-01T00:00:00,5Z", "", pair)), []string{inCampaign + "from offset"}},
		{"an offset that there is not", campaigns(``, during("2027-01-01T00:00:00+24:00", "", pair)), []string{inCampaign + "from offset"}},

		{"a campaign takes half of a pair away", campaigns(pair, during(jan1, jan2, noUser)), []string{campaignUser + " must not be empty unless"}},
		{"a campaign has half a pair", campaigns(``, during(jan1, jan2, page)), []string{campaignUser + " together"}},
		{"a campaign without until has half a pair", campaigns(``, during(jan1, "", page)), []string{campaignUser + " together"}},
		{"a campaign without from has half a pair", campaigns(``, during("", jan1, page)), []string{campaignUser + " together"}},
		{"a campaign has the other half only for a time", campaigns(page, during(jan1, jan2, user)), []string{inFields + "custom_app_brand_user_name together"}},
		{"two campaigns have a half each, the first for longer", campaigns(``, during(jan1, jan3, page), during(jan1, jan2, user)), []string{campaignUser + " together"}},
		{"two campaigns have a half each, a moment apart", campaigns(``, during(jan1, jan2, page), during("2027-01-01T00:00:00.000000001Z", jan2, user)), []string{campaignUser + " together"}},
		{"one fault is told once, where it is", campaigns(page, during(jan1, jan2, `"center_title":"x"`), during(jan2, jan3, `"center_title":"y"`)), []string{inFields + "custom_app_brand_user_name together"}},
		{"a fault of a campaign is not told of the next", campaigns(``, during(jan1, jan3, page), during(jan2, jan3, `"center_title":"y"`)), []string{campaignUser + " together"}},

		{"two campaigns with the same fault", campaigns(``, during(jan1, jan2, page), during(jan2, jan3, page)), []string{campaignUser + " together", strings.Replace(campaignUser, "campaigns/0", "campaigns/1", 1) + " together"}},
		{"the campaign that has half a pair, not the one after it", campaigns(``, during(jan1, jan2, page), during(jan1, jan2, `"center_title":"x"`)), []string{campaignUser + " together"}},

		{"three faults of different kinds", `{"cards":[{"card_id":"p q","fields":{"custom_url":7}},{"card_id":"q","campaigns":[{"from":"soon","fields":{"center_app_brand_pass":"p"}}]}]}`, []string{
			"/cards/0/fields/custom_url a string", "/cards/0/card_id 1 to 32", "/cards/1/campaigns/0/from offset", "/cards/1/campaigns/0/fields/center_app_brand_user_name together",
		}},
		{"faults of many cards", `{"cards":[{"card_id":"p","fields":{}},{"card_id":"p","fields":{}},{"card_id":"q","fields":{},"colour":"red"},{"card_id":"r","fields":{"custom_url":"x"}}]}`, []string{
			"/cards/2/colour not a field", "/cards/1/card_id already planned at /cards/0", "/cards/3/fields/custom_url http or https",
		}},
	} {
		t.Run(row.rule, func(t *testing.T) {
			got := faultsOf(t, row.plan)
			for _, want := range row.faults {
				path, issue, _ := strings.Cut(want, " ")
				if !slices.ContainsFunc(got, func(f strictjson.Fault) bool { return f.Path == path && strings.Contains(f.Issue, issue) }) {
					t.Errorf("no fault %q at %q", issue, path)
				}
			}
			if len(got) != len(row.faults) || t.Failed() {
				t.Errorf("%d faults, want %d: %v", len(got), len(row.faults), got)
			}
		})
	}
}

// manyOf returns a document with as many items as fit into 1 MiB, or at most n of them.
// %d in an item is its number. A plan may have 4 MiB, but the race detector is slow.
func manyOf(head, item, tail string, n int) string {
	var b strings.Builder
	b.WriteString(head)
	for i := 0; i < n && b.Len() < 1<<20; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strings.ReplaceAll(item, "%d", strconv.Itoa(i)))
	}
	return b.String() + tail
}

// What is too much is counted before it is decoded, and a thousand faults are enough: no
// plan takes much more memory than a good one of its size.
func TestWhatAPlanMayCost(t *testing.T) {
	const inCard = `{"cards":[{"card_id":"p",`
	for _, row := range []struct {
		what, plan string
		faults     int
		first      string // the first fault
	}{
		{"10,000 cards", manyOf(`{"cards":[`, `{"card_id":"p%d","fields":{}}`, `]}`, 10_000), 0, ""},
		{"10,001 cards", manyOf(`{"cards":[`, `{"card_id":"p%d","fields":{}}`, `]}`, 10_001), 1, "/cards must have at most 10000 cards"},
		{"hundreds of thousands of tiny cards", manyOf(`{"cards":[`, `{}`, `]}`, math.MaxInt), 1, "/cards must have at most 10000 cards"},
		{"numbers for cards", manyOf(`{"cards":[`, `1`, `]}`, math.MaxInt), 1, "/cards must have at most 10000 cards"},
		{"cards, given twice", manyOf(`{"cards":[`, `{}`, `],"cards":[]}`, math.MaxInt), 1, "/cards must have at most 10000 cards"},
		{"1,000 campaigns", manyOf(inCard+`"campaigns":[`, `{"fields":{}}`, `]}]}`, 1000), 0, ""},
		{"1,001 campaigns", manyOf(inCard+`"campaigns":[`, `{"fields":{}}`, `]}]}`, 1001), 1, "/cards/0/campaigns must have at most 1000 campaigns"},
		{"hundreds of thousands of tiny campaigns", manyOf(inCard+`"campaigns":[`, `{}`, `]}]}`, math.MaxInt), 1, "/cards/0/campaigns must have at most 1000 campaigns"},
		{"75,000 campaigns", manyOf(`{"cards":[`, `{"card_id":"p%d","campaigns":[`+strings.Repeat(`{"fields":{}},`, 999)+`{"fields":{}}]}`, `]}`, math.MaxInt), 0, ""},
		{"as many modules", manyOf(inCard+`"service_modules":{`, `"%d":null`, `}}]}`, math.MaxInt), 0, ""},
		{"modules that there can't be", manyOf(inCard+`"service_modules":{`, `"too-long-%d":null`, `}}]}`, math.MaxInt), 1000, ""},
		{"999 faults", manyOf(`{"cards":[`, `{"fields":{}}`, `]}`, 999), 999, "/cards/0/card_id is required"},
		{"1,001 faults", manyOf(`{"cards":[`, `{}`, `]}`, 1001), 1000, "/cards/0/card_id is required"},
		{"faults of campaigns", manyOf(`{"cards":[`, `{"card_id":"p%d","campaigns":[`+strings.Repeat(`{},`, 999)+`{}]}`, `]}`, math.MaxInt), 1000, "/cards/0/campaigns/0 must have fields or service_modules"},
		{"fields that there are not", manyOf(inCard+`"fields":{`, `"%d":""`, `}}]}`, math.MaxInt), 1000, "/cards/0/fields/0 is not a field of this document"},
		{"one card again and again", manyOf(`{"cards":[`, `{"card_id":"p","fields":{}}`, `]}`, 10_000), 1000, "/cards/1/card_id is already planned at /cards/0"},
		{"unknown members", manyOf(`{"cards":[],`, `"%d":1`, `}`, math.MaxInt), 1000, "/0 is not a field of this document"},
	} {
		t.Run(row.what, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, faults := cardplan.Parse([]byte(row.plan))
			runtime.ReadMemStats(&after)
			if len(faults) != row.faults || len(faults) > 0 && row.first != "" && faults[:1].String() != row.first {
				t.Errorf("%d faults, the first of them %q; want %d and %q", len(faults), faults[:min(1, len(faults))], row.faults, row.first)
			}
			// What is allocated in all, freed or not, is more than what is held at a time.
			if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > 128 {
				t.Errorf("%d MiB were allocated", allocated)
			}
		})
	}
}

// FuzzPlan checks that a valid plan is still valid and the same after re-encoding,
// that the fields in force have complete pairs, and that the schema accepts it too.
func FuzzPlan(f *testing.F) {
	f.Add(examplePlan)
	f.Add(`{"cards":[]}`)
	f.Add(planOf(`,"fields":{"a/b":1}`))
	f.Add(campaigns(pair, during("2027-01-01T00:00:00Z", "2027-01-02T00:00:00+08:00", activatePair), during("", "2027-01-01T00:00:00Z", `"custom_url":"HTTP://x"`)))
	f.Add(planOf(`,"service_modules":{"666":` + offers + `,"7":null},"campaigns":[{"service_modules":{"666":null}}]`))
	f.Add(campaigns(`"custom_app_brand_pass":"p"`, during("", "", `"custom_app_brand_user_name":"gh_x@app"`)))
	schema := compileSchema(f)
	f.Fuzz(func(t *testing.T, document string) {
		p, faults := cardplan.Parse([]byte(document))
		if len(faults) > 0 {
			for _, fault := range faults {
				if fault.Issue == "" || fault.Path != "" && !strings.HasPrefix(fault.Path, "/") {
					t.Fatalf("%q: %+v", document, fault)
				}
			}
			return
		}
		var content any
		if err := json.Unmarshal([]byte(document), &content); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(content); err != nil {
			t.Fatalf("%q: the schema says %v", document, err)
		}
		again := strictjson.Encode(content)
		p2, faults := cardplan.Parse(again)
		if len(faults) > 0 || len(p2.Cards) != len(p.Cards) {
			t.Fatalf("%q is accepted, %s is not: %v", document, again, faults)
		}
		for i := range p.Cards {
			for _, now := range turnsOf(&p.Cards[i]) {
				f := p.Cards[i].At(now).Fields
				if f2 := p2.Cards[i].At(now).Fields; !maps.Equal(f, f2) {
					t.Fatalf("%q: at %v %v, after re-encoding %v", document, now, f, f2)
				}
				for _, entry := range []string{"custom", "center", "promotion", "activate"} {
					user, there := f[entry+"_app_brand_user_name"]
					page, pageThere := f[entry+"_app_brand_pass"]
					if there != pageThere || (user == "") != (page == "") {
						t.Fatalf("%q: at %v %q beside %q", document, now, user, page)
					}
				}
			}
		}
	})
}

// turnsOf returns the times just before, at and after those at which a card may
// change.
func turnsOf(c *cardplan.Card) []time.Time {
	turns := []time.Time{{}, time.Now(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
	for _, campaign := range c.Campaigns {
		for _, text := range []string{campaign.From, campaign.Until} {
			if moment, err := time.Parse(time.RFC3339, text); err == nil {
				turns = append(turns, moment.Add(-1), moment, moment.Add(1))
			}
		}
	}
	return turns
}

func BenchmarkParse(b *testing.B) {
	var cards []string
	for i := range 2000 {
		cards = append(cards, fmt.Sprintf(`{"card_id":"p%d","fields":{%s},"campaigns":[%s]}`, i, pair, during("2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z", `"custom_app_brand_pass":"q"`)))
	}
	document := []byte(`{"cards":[` + strings.Join(cards, ",") + `]}`)
	b.SetBytes(int64(len(document)))
	for b.Loop() {
		if _, faults := cardplan.Parse(document); len(faults) > 0 {
			b.Fatal(faults)
		}
	}
}
