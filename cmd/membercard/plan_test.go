package main

import (
	"context"
	"crypto/rand"
	"encoding/xml"
	"io"
	"math"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"membercard/local/discovery"
	"membercard/shared/awsconfig"
	"membercard/shared/awsconfig/mototest"
	"membercard/shared/cardplan"
	"membercard/shared/plansync/plansynctest"
)

// The documented example of a plan.
const examplePlan = `{"cards": [{"card_id": "pbLatjvWOibDc5-TBnbUk1pD12o0",
            "fields": {"promotion_url_name": "更多优惠", "promotion_url": "https://example.com/", "promotion_app_brand_user_name": "gh_86a091e50ad4@app", "promotion_app_brand_pass": "pages/offers"},
            "campaigns": [{"name": "new year", "from": "2027-01-01T00:00:00+08:00", "until": "2027-01-04T00:00:00+08:00",
                           "fields": {"promotion_url_name": "新年活动", "promotion_app_brand_pass": "pages/new-year"}}]}]}`

func TestPlanValidate(t *testing.T) {
	for _, row := range []struct {
		name, plan string
		fails      []string // steps
		cause      string   // of the last
	}{
		{"the documented example", examplePlan, nil, ""},
		{"no cards", `{"cards":[]}`, nil, ""},
		{"a misspelt field", strings.Replace(examplePlan, `"promotion_url"`, `"promotion_link"`, 1), []string{"/cards/0/fields/promotion_link"}, "is not a field"},
		{"two faults", `{"cards":[{"card_id":"a b","fields":{}},{"card_id":"x","fields":{"custom_url":"ftp://x"}}]}`, []string{"/cards/0/card_id", "/cards/1/fields/custom_url"}, "http"},
		{"until before from", strings.Replace(examplePlan, "2027-01-04", "2026-01-04", 1), []string{"/cards/0/campaigns/0/until"}, "must be after from"},
		{"no JSON", `cards: []`, []string{"plan"}, "JSON object"},
		{"a byte-order mark", "\ufeff" + examplePlan, []string{"plan"}, "must be UTF-8 without a byte-order mark"},
		{"another encoding", `{"cards": "` + "\xd0\xc2" + `"}`, []string{"plan"}, "must be UTF-8"},
		{"UTF-16 without a byte-order mark", strings.Join(strings.Split(examplePlan, ""), "\x00") + "\x00", []string{"plan"}, "must be UTF-8"},
		{"nothing", ``, []string{"plan"}, "is empty"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := tool(t, "plan", "validate", "--json", write(t, "plan.json", row.plan))
			if row.fails == nil {
				o.requirePassed(t)
				return
			}
			if s := o.requireFailed(t, row.fails...); !strings.Contains(s.Cause, row.cause) || s.Cure == "" || strings.Contains(s.Cause, "UTF-8") != strings.Contains(s.Cure, "UTF-8") {
				t.Errorf("%+v", s)
			}
		})
	}
	if o := tool(t, "plan", "validate", "/nowhere/plan.json"); o.code != exitFailed || !strings.Contains(o.out, "there is no file") {
		t.Errorf("%+v", o)
	}
	for _, args := range [][]string{{"validate"}, {"put", "x"}, {"diff", "x", "--at", "bucket/key"}, {"history", "--at", "s3://bucket"}} {
		if o := tool(t, append([]string{"plan"}, args...)...); o.code != exitUsage {
			t.Errorf("%q: %+v", args, o)
		}
	}
}

// What may be wrong is a warning, and the plan is valid.
func TestPlanWarnings(t *testing.T) {
	card := func(members string) string { return `{"cards":[{"card_id":"p",` + members + `}]}` }
	const jan1, jan2 = `"from":"2027-01-01T00:00:00Z"`, `"until":"2027-01-02T00:00:00Z"`
	for _, row := range []struct {
		what, plan string
		warnings   []string // the name of a step, and what it says
	}{
		{"nothing", examplePlan, nil},
		{"15 bytes", card(`"fields":{"custom_url_name":"五个中文字"}`), nil},
		{"18 bytes for 15 characters", card(`"fields":{"custom_url_name":"六个中文汉字"}`), []string{"lengths /cards/0/fields/custom_url_name"}},
		{"19 bytes for 18 characters", card(`"fields":{"custom_cell1.tips":"六个中文汉字x"}`), []string{"lengths /cards/0/fields/custom_cell1.tips"}},
		{"a long link of a campaign", card(`"fields":{"center_url":""},"campaigns":[{` + jan1 + `,` + jan2 + `,"fields":{"center_url":"https://example.com/` + strings.Repeat("卡", 40) + `"}}]`), []string{"lengths /cards/0/campaigns/0/fields/center_url"}},
		{"a path, which has no limit", card(`"fields":{"custom_app_brand_user_name":"gh_x@app","custom_app_brand_pass":"` + strings.Repeat("卡", 400) + `"}`), nil},
		{"what only a campaign names", card(`"campaigns":[{` + jan1 + `,` + jan2 + `,"fields":{"center_title":"x"},"service_modules":{"666":null,"7":null}}],"service_modules":{"7":null}`), []string{"ends of campaigns /cards/0/fields/center_title, /cards/0/service_modules/666"}},
		{"what a campaign for ever has", card(`"campaigns":[{` + jan1 + `,"fields":{"center_title":"x"},"service_modules":{"666":null}}]`), nil},
		{"what the next campaign has", card(`"campaigns":[{` + jan1 + `,` + jan2 + `,"fields":{"center_title":"x"}},{"from":"2027-01-02T00:00:00Z","fields":{"center_title":"y"}}]`), nil},
		{"what the next campaign has too late", card(`"campaigns":[{` + jan1 + `,` + jan2 + `,"fields":{"center_title":"x"}},{"from":"2027-01-02T00:00:01Z","fields":{"center_title":"y"}}]`), []string{"ends of campaigns /cards/0/fields/center_title"}},
		{"two fields", card(`"fields":{"center_title":"六个中文汉字x","center_sub_title":"八个中文汉字汉字x"}`), []string{"lengths /cards/0/fields/center_title, /cards/0/fields/center_sub_title"}},
	} {
		t.Run(row.what, func(t *testing.T) {
			var got []string
			for _, s := range tool(t, "plan", "validate", "--json", write(t, "plan.json", row.plan)).requirePassed(t).Steps {
				if s.Warning != "" {
					_, places, _ := strings.Cut(s.Warning, ": ")
					got = append(got, s.Name+" "+places)
				}
			}
			if !slices.Equal(got, row.warnings) {
				t.Errorf("%q, want %q", got, row.warnings)
			}
		})
	}
}

func TestTimeline(t *testing.T) {
	p, faults := cardplan.Parse([]byte(`{"cards":[
		{"card_id":"a","campaigns":[
			{"name":"over","from":"2026-12-01T00:00:00Z","until":"2026-12-11T00:00:00Z","fields":{}},
			{"name":"新年","from":"2027-01-01T00:00:00Z","until":"2027-01-18T00:00:00Z","fields":{}},
			{"until":"2026-12-21T00:00:00Z","fields":{}},
			{"name":"short\u001b[2J","from":"2027-01-05T00:00:00Z","until":"2027-01-05T00:01:00Z","fields":{}}]},
		{"card_id":"b","fields":{}},
		{"card_id":"c","campaigns":[{"name":"for ever","fields":{}},{"name":"both","service_modules":{"7":null,"666":null}}]}]}`))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	const want = `
a
  over     ██████████·············|························  2026-12-01T00:00:00Z … 2026-12-11T00:00:00Z
  新年     ·······················|·······█████████████████  2027-01-01T00:00:00Z … 2027-01-18T00:00:00Z
  campaign ████████████████████···|························  until 2026-12-21T00:00:00Z
  short[2J ·······················|···········█············  2027-01-05T00:00:00Z … 2027-01-05T00:01:00Z

c
  for ever ███████████████████████|████████████████████████  always
  both     ███████████████████████|████████████████████████  always; service modules 666, 7

           2026-12-01 … 2027-01-18; | is now`
	if got := strings.Join(timeline(p, time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC), 120), "\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	const narrow = `
a
  over     ███████······|···············
    2026-12-01T00:00:00Z … 2026-12-11T00:00:00Z
`
	if got := strings.Join(timeline(p, time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC), 40), "\n"); !strings.HasPrefix(got, narrow) || !strings.HasSuffix(got, "\n  2026-12-01 … 2027-01-18; | is now") {
		t.Errorf("in 40 columns\n%s", got)
	}
	if lines := timeline(&cardplan.Plan{Cards: []cardplan.Card{{CardID: "a"}}}, time.Now(), 0); lines != nil {
		t.Errorf("%q", lines)
	}
}

// Whatever the times, a bar has its width.
func TestTimelineOfAnyTimes(t *testing.T) {
	times := []string{"", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2026-12-24T00:00:00Z", "2026-12-24T00:00:01Z", "2027-01-01T00:00:00+08:00", "9999-12-31T23:59:59Z"}
	for _, from := range times {
		for _, until := range times {
			for _, now := range times[1:] {
				moment, err := time.Parse(time.RFC3339, now)
				if err != nil {
					t.Fatal(err)
				}
				members := `"fields":{}`
				for name, value := range map[string]string{"from": from, "until": until} {
					if value != "" {
						members += `,"` + name + `":"` + value + `"`
					}
				}
				p, faults := cardplan.Parse([]byte(`{"cards":[{"card_id":"a","campaigns":[{` + members + `}]}]}`))
				if len(faults) > 0 {
					continue // from is not before until
				}
				for _, line := range timeline(p, moment, 0) {
					if bar := strings.Count(line, "·") + strings.Count(line, "█") + strings.Count(line, "|"); strings.HasPrefix(line, "  campaign") && bar != timelineWidth {
						t.Errorf("%s … %s at %s: %d\n%s", from, until, now, bar, line)
					}
				}
			}
		}
	}
}

// What differs between two plans is shown by card and campaign: what is new or changed, then
// what is gone; and what stays on the cards because the new plan names it nowhere.
func TestCompare(t *testing.T) {
	parse := func(text string) *cardplan.Plan {
		p, faults := cardplan.Parse([]byte(text))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		return p
	}
	before := parse(`{"cards":[
		{"card_id":"gone","fields":{"custom_url":"https://a.example/"},"campaigns":[{"name":"sale","fields":{"center_title":"x"}}]},
		{"card_id":"same","fields":{"custom_url":"https://a.example/"}},
		{"card_id":"kept","fields":{"custom_url":"https://a.example/","center_title":"x","custom_url_name":""},"service_modules":{"7":null,"666":{"appid":"wx1","path":"p"}},
			"campaigns":[{"name":"sale","fields":{"center_title":"y","center_sub_title":"s"}},{"name":"over","fields":{"promotion_url_name":"z"}}]}]}`)
	after := parse(`{"cards":[
		{"card_id":"new","fields":{"custom_url":"https://b.example/"}},
		{"card_id":"kept","fields":{"custom_url":"https://b.example/","custom_url_name":""},"service_modules":{"7":{"appid":"wx2","path":"p"},"9":null},
			"campaigns":[{"name":"sale","fields":{"center_title":"x"}},{"name":"sale","from":"2027-01-01T00:00:00Z","fields":{"center_title":"z"}}]},
		{"card_id":"same","fields":{"custom_url":"https://a.example/"}}]}`)
	const want = `+ new
+ new custom_url: "https://b.example/"
~ kept custom_url: "https://a.example/" → "https://b.example/"
~ kept service_modules.7: "null" → "wx2 p"
+ kept service_modules.9: "null"
- kept center_title: "x"
- kept service_modules.666: "wx1 p"
~ kept [sale, always] center_title: "y" → "x"
- kept [sale, always] center_sub_title: "s"
+ kept [sale, from 2027-01-01T00:00:00Z]
+ kept [sale, from 2027-01-01T00:00:00Z] center_title: "z"
- kept [over, always]
- gone
- gone custom_url: "https://a.example/"
- gone [sale, always]`
	r := &report{}
	if r.compare(before, after); strings.Join(r.after, "\n") != want || r.Steps[0].Detail != "15" {
		t.Errorf("%s changes\n%s\nwant\n%s", r.Steps[0].Detail, strings.Join(r.after, "\n"), want)
	}
	const dropped = "stay on the cards as they are: gone custom_url, gone center_title, kept service_modules.666, kept center_sub_title, kept promotion_url_name"
	if len(r.Steps) != 2 || r.Steps[1].Warning != dropped {
		t.Errorf("%+v", r.Steps)
	}
	r = &report{}
	if r.compare(after, after); len(r.Changes) != 0 || len(r.Steps) != 1 {
		t.Errorf("the same plan: %+v", r)
	}
}

func TestPlansInTheLocalS3(t *testing.T) {
	client := s3.New(s3.Options{
		BaseEndpoint: &manager.URL, UsePathStyle: true, Region: region,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey}, nil
		}),
	})
	testPlans(t, client, func(bucket string) { manager.aws.S3.Put(bucket, "plan.json.old", []byte("another object")) }, local)
}

// TestPlansInMoto puts plans in force in an implementation of S3 that is not this
// project's.
func TestPlansInMoto(t *testing.T) {
	mototest.Use(t, "AWS_ENDPOINT_URL_S3")
	client := s3.NewFromConfig(awsconfig.Load(), func(o *s3.Options) { o.UsePathStyle = true })
	makeBucket := func(bucket string) {
		if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
			t.Fatal(err)
		}
	}
	testPlans(t, client, makeBucket)

	// A plan that was deleted is the one that a rollback brings back.
	bucket := "plans-" + strings.ToLower(rand.Text())
	makeBucket(bucket)
	plan := func(args ...string) outcome {
		return tool(t, append([]string{"plan", "--at", "s3://" + bucket + "/plan.json", "--json"}, args...)...)
	}
	plan("put", write(t, "old.json", `{"cards":[]}`)).requirePassed(t)
	plan("put", write(t, "last.json", examplePlan)).requirePassed(t)
	last := plan("history").requirePassed(t).Versions[0].ID
	if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("plan.json")}); err != nil {
		t.Fatal(err)
	}
	if r := plan("history").requirePassed(t); len(r.Versions) != 2 || r.Versions[0].Current {
		t.Errorf("%+v", r.Versions)
	}
	if r := plan("rollback").requirePassed(t); r.Steps[0].Detail != last {
		t.Errorf("%+v, want the version %s", r.Steps, last)
	}
}

func testPlans(t *testing.T, client *s3.Client, makeBucket func(name string), more ...string) {
	bucket := "plans-" + strings.ToLower(rand.Text())
	at := "s3://" + bucket + "/plan.json"
	more = append(more, "plan", "--at", at)
	plan := func(args ...string) outcome { return tool(t, append(append(more, "--json"), args...)...) }
	if s := plan("history").requireFailed(t, "versions of the plan"); !strings.Contains(s.Cause, "no bucket") {
		t.Errorf("%+v", s)
	}
	makeBucket(bucket)
	inForce := func() string {
		t.Helper()
		p, _, bad := (&app{console: &console{}}).planText(t.Context(), &planPlace{uri: at, bucket: bucket, key: "plan.json", client: client}, "")
		if bad != nil {
			t.Fatal(bad)
		}
		return string(p)
	}
	if s := plan("history").requireFailed(t, "versions of the plan"); !strings.Contains(s.Cause, "no plan") || !strings.Contains(s.Cure, "plan put") {
		t.Errorf("%+v", s)
	}
	first := write(t, "first.json", examplePlan)
	changed := strings.NewReplacer("pages/offers", "pages/sale", `"promotion_url_name": "新年活动", `, "").Replace(examplePlan)
	second := write(t, "second.json", changed)

	if r := plan("diff", first).requirePassed(t); len(r.Changes) != 8 || r.Changes[0].Kind != "added" || r.Changes[0].CardID == "" {
		t.Errorf("%+v", r.Changes)
	}
	plan("put", first).requirePassed(t)
	if inForce() != examplePlan {
		t.Errorf("%s", inForce())
	}
	if r := plan("put", first).requirePassed(t); r.Steps[len(r.Steps)-1].Detail != "it is in force already" {
		t.Errorf("%+v", r)
	}
	if r := plan("diff", first).requirePassed(t); len(r.Changes) != 0 {
		t.Errorf("%+v", r.Changes)
	}
	o := tool(t, append(more, "diff", second)...)
	for _, line := range []string{
		`~ pbLatjvWOibDc5-TBnbUk1pD12o0 promotion_app_brand_pass: "pages/offers" → "pages/sale"`,
		`- pbLatjvWOibDc5-TBnbUk1pD12o0 [new year, 2027-01-01T00:00:00+08:00 … 2027-01-04T00:00:00+08:00] promotion_url_name: "新年活动"`,
		`█`,
	} {
		if !strings.Contains(o.out, line) {
			t.Errorf("%s\nis not in\n%s", line, o.out)
		}
	}
	if inForce() != examplePlan {
		t.Error("a diff wrote")
	}
	plan("put", write(t, "bad.json", `{"cards":[{"fields":{}}]}`)).requireFailed(t, "/cards/0/card_id")
	plan("put", second).requirePassed(t)
	if r := plan("history").requirePassed(t); len(r.Versions) != 2 || !r.Versions[0].Current || r.Versions[1].Current || r.Versions[1].Size != int64(len(examplePlan)) {
		t.Errorf("%+v", r.Versions)
	}
	plan("rollback").requirePassed(t)
	if inForce() != examplePlan {
		t.Errorf("%s", inForce())
	}
	plan("rollback").requirePassed(t)
	if inForce() != changed {
		t.Errorf("a rollback is not rolled back: %s", inForce())
	}
	oldest := plan("history").requirePassed(t).Versions
	plan("rollback", "--version", oldest[len(oldest)-1].ID).requirePassed(t)
	if inForce() != examplePlan {
		t.Errorf("%s", inForce())
	}
	if s := plan("rollback", "--version", "00000000-0000-4000-8000-000000000000").requireFailed(t, "older version"); !strings.Contains(s.Cure, "plan history") {
		t.Errorf("%+v", s)
	}

	// What an older plan does not name stays on the cards.
	third := strings.Replace(examplePlan, `"campaigns"`, `"service_modules": {"666": {"appid": "wx1", "path": "p"}, "7": null}, "campaigns"`, 1)
	if r := plan("put", write(t, "third.json", third)).requirePassed(t); len(r.Changes) != 2 || r.Changes[0].Field != "service_modules.666" || *r.Changes[0].New != "wx1 p" || *r.Changes[1].New != "null" {
		t.Errorf("%+v", r.Changes)
	}
	if s := plan("rollback").requirePassed(t).Steps; inForce() != examplePlan || !slices.ContainsFunc(s, func(s step) bool {
		return strings.HasSuffix(s.Warning, "pbLatjvWOibDc5-TBnbUk1pD12o0 service_modules.666, pbLatjvWOibDc5-TBnbUk1pD12o0 service_modules.7") && s.Cure != ""
	}) {
		t.Errorf("%+v", s)
	}

	// Another plan is put between the comparison and the put.
	place := &planPlace{uri: at, bucket: bucket, key: "plan.json", client: client}
	put := func(body string, match *string) error {
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &place.key, Body: strings.NewReader(body), IfMatch: match})
		return err
	}
	_, tag, bad := (&app{console: &console{}}).planText(t.Context(), place, "")
	if bad != nil {
		t.Fatal(bad)
	}
	if err := put("two", nil); err != nil {
		t.Fatal(err)
	}
	if s := plan("diff", first).requirePassed(t).Steps; !slices.ContainsFunc(s, func(s step) bool { return s.Warning != "" && strings.Contains(s.Cure, "plan rollback") }) {
		t.Errorf("a plan in force that is not valid: %+v", s)
	}
	if err := put("three", &tag); err == nil || !strings.Contains(s3Fault(err, place).cause, "somebody else") {
		t.Errorf("%v", err)
	}
}

// A plan that somebody else puts between the comparison and the put stays in force.
func TestAPlanThatIsPutMeanwhile(t *testing.T) {
	const theirs = `{"cards":[]}`
	for name, before := range map[string]string{"the first one": "", "another one": `{"cards": [] }`} {
		t.Run(name, func(t *testing.T) {
			b := plansynctest.NewBucket(before)
			b.Refuse = func(method, name string) (int, string) {
				if method == "PUT" {
					b.Put(name, theirs)
				}
				return 0, ""
			}
			s := httptest.NewServer(b)
			defer s.Close()
			useAWS(t, discovery.AWS{Endpoint: s.URL, Region: region, AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey})
			fault := tool(t, "plan", "put", "--json", "--at", "s3://plans/"+plansynctest.Plan, write(t, "plan.json", examplePlan)).requireFailed(t, "plan put")
			if got := b.Content(plansynctest.Plan); got != theirs || !strings.Contains(fault.Cause, "somebody else") {
				t.Errorf("%+v, and in force is %s", fault, got)
			}
		})
	}
}

// The picture is XML, with its contents in words, whatever the plan's texts are.
func TestTimelineSVG(t *testing.T) {
	p, faults := cardplan.Parse([]byte(`{"cards":[
		{"card_id":"a","campaigns":[
			{"name":"<script>&\"新年\"","from":"2027-01-01T00:00:00Z","until":"2027-01-18T00:00:00Z","fields":{}},
			{"name":"` + strings.Repeat("长", 60) + `","until":"2026-12-21T00:00:00Z","fields":{}},
			{"from":"0001-01-01T00:00:00Z","until":"9999-12-31T23:59:59Z","fields":{}}]},
		{"card_id":"b","fields":{}},
		{"card_id":"c","campaigns":[{"name":"for ever","fields":{}},{"name":"both","service_modules":{"7":null,"666":null}}]}]}`))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for _, row := range []struct {
		plan *cardplan.Plan
		says []string
		bars int
	}{
		{p, []string{"Campaigns: 5.", "both: always; service modules 666, 7", `<script>&"新年": 2027-01-01T00:00:00Z … 2027-01-18T00:00:00Z`, "for ever: always", "campaign: 0001-01-01T00:00:00Z … 9999-12-31T23:59:59Z"}, 5},
		{&cardplan.Plan{}, []string{"Campaigns: 0."}, 0},
	} {
		text := timelineSVG(row.plan, time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC))
		var words strings.Builder
		bars := 0
		for d := xml.NewDecoder(strings.NewReader(text)); ; {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			switch token := token.(type) {
			case xml.StartElement:
				if token.Name.Local == "rect" {
					bars++
				}
				for _, a := range token.Attr {
					if n, err := strconv.ParseFloat(a.Value, 64); err == nil && (n < 0 || n > 1000 || math.IsNaN(n)) {
						t.Errorf("%s %s=%q", token.Name.Local, a.Name.Local, a.Value)
					}
				}
				if token.Name.Local == "script" {
					t.Error("a name is not escaped")
				}
			case xml.CharData:
				words.Write(token)
			}
		}
		for _, s := range row.says {
			if !strings.Contains(words.String(), s) {
				t.Errorf("%q is not in %s", s, text)
			}
		}
		if bars != row.bars {
			t.Errorf("bars: %d, want %d", bars, row.bars)
		}
	}
	if o := tool(t, "plan", "validate", "--json", "--svg", "/nowhere/x.svg", write(t, "plan.json", examplePlan)); !strings.Contains(o.requireFailed(t, "time line written").Cause, "can't be written") {
		t.Errorf("%+v", o)
	}
}
