package stack_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"membercard/local/aws"
	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/wechat/network"
	"membercard/wechat/officialaccount"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

const (
	cardSync   = "functions/card-sync"
	memberCard = "pbLatjvWOibDc5-TBnbUk1pD12o0"

	// The document's own example, in the form that /card/update takes.
	cardExample = `{"card_id":"` + memberCard + `","member_card":{"base_info":{"custom_url_name":"立即使用","custom_url":"http://www.qq.com","custom_app_brand_user_name":"gh_86a091e50ad4@app","custom_app_brand_pass":"API/cardPage","custom_url_sub_title":"6个汉字tips","promotion_url_name":"更多优惠","promotion_url":"http://www.qq.com","promotion_app_brand_user_name":"gh_86a091e50ad4@app","promotion_app_brand_pass":"API/cardPage"}}}`

	// A change of one field of the sandbox's membership card.
	passExample = `{"card_id":"` + memberCard + `","member_card":{"base_info":{"custom_app_brand_user_name":"gh_86a091e50ad4@app","custom_app_brand_pass":"pages/card"}}}`
)

// fields are a card's in a plan.
type fields map[string]string

// planned is a card of a plan.
type planned struct {
	CardID    string     `json:"card_id"`
	Fields    fields     `json:"fields,omitempty"`
	Campaigns []campaign `json:"campaigns,omitempty"`
}

type campaign struct {
	From   string `json:"from,omitempty"`
	Until  string `json:"until,omitempty"`
	Fields fields `json:"fields"`
}

// planOf returns a plan with the same fields for every card.
func planOf(f fields, ids ...string) (cards []planned) {
	for _, id := range ids {
		cards = append(cards, planned{CardID: id, Fields: f})
	}
	return cards
}

// report is the result of a sync.
type report struct {
	Updated, Unchanged, Failed, Deferred int
	NotApplied                           int  `json:"not_applied"`
	DryRun                               bool `json:"dry_run"`
	Cards                                []cardReport
	Error                                *struct {
		Code, Message string
		Faults        []struct{ Path, Issue string }
	}
	raw string
}

type cardReport struct {
	CardID     string `json:"card_id"`
	Status     string
	Changed    []string
	SendCheck  *bool  `json:"send_check"`
	CardStatus string `json:"card_status"`
	Error      *struct{ Code, Message string }
}

// counts returns the report's counts: updated, unchanged, not applied, failed,
// deferred. It fails the test if they differ from the cards' statuses.
func (r *running) counts(rep *report) string {
	r.t.Helper()
	by := map[string]int{}
	for _, c := range rep.Cards {
		by[c.Status]++
		if (c.Error != nil) != (c.Status == "failed") || c.SendCheck != nil && c.Status != "updated" && c.Status != "not_applied" {
			r.t.Errorf("%+v", c)
		}
	}
	want := map[string]int{"updated": rep.Updated, "unchanged": rep.Unchanged, "not_applied": rep.NotApplied, "failed": rep.Failed, "deferred": rep.Deferred}
	maps.DeleteFunc(want, func(_ string, n int) bool { return n == 0 })
	if !maps.Equal(by, want) {
		r.t.Errorf("the report counts %v, the cards are %v", want, by)
	}
	return fmt.Sprintf("%d %d %d %d %d", rep.Updated, rep.Unchanged, rep.NotApplied, rep.Failed, rep.Deferred)
}

// invoke has a function sync; event has the fields beside action.
func (r *running) invoke(f *lambda.Function, event map[string]any) *report {
	r.t.Helper()
	event = maps.Clone(event)
	if event == nil {
		event = map[string]any{}
	}
	event["action"] = "sync"
	payload, err := json.Marshal(event)
	if err != nil {
		r.t.Fatal(err)
	}
	result, err := f.Invoke(context.Background(), payload)
	if err == nil && result.FunctionError != nil {
		err = result.FunctionError
	}
	if err != nil {
		r.t.Fatal(err)
	}
	rep := &report{raw: string(result.Payload)}
	if err := json.Unmarshal(result.Payload, rep); err != nil {
		r.t.Fatalf("%s: %v", result.Payload, err)
	}
	return rep
}

// sync applies a plan with the stack's function.
func (r *running) sync(cards []planned) *report {
	r.t.Helper()
	return r.invoke(r.Functions[cardSync], map[string]any{"plan": map[string]any{"cards": cards}})
}

func (r *running) wantCounts(rep *report, want string) {
	r.t.Helper()
	if got := r.counts(rep); got != want || rep.Error != nil {
		r.t.Fatalf("updated, unchanged, not applied, failed, deferred: %s, want %s: %.2000s", got, want, rep.raw)
	}
}

// another returns a further function like the stack's, with its own instances.
func (r *running) another(timeout time.Duration) *lambda.Function {
	r.t.Helper()
	config := r.Configs[cardSync]
	if timeout != 0 {
		config.Timeout = timeout
	}
	f := lambda.New(config)
	r.t.Cleanup(func() { f.Close() })
	return f
}

// received returns the bodies of the calls of a path since the last ClearRequests.
func (r *running) received(path string) (bodies []string) {
	for _, request := range r.OfficialAccount.Requests() {
		if request.Path == path {
			bodies = append(bodies, string(request.Body))
		}
	}
	return bodies
}

// wantUpdates fails the test unless exactly these updates were received since.
func (r *running) wantUpdates(want ...string) {
	r.t.Helper()
	got := r.received("/card/update")
	if len(got) != len(want) {
		r.t.Fatalf("the account received %q, want %q", got, want)
	}
	for i := range want {
		var a, b any
		if json.Unmarshal([]byte(got[i]), &a) != nil || json.Unmarshal([]byte(want[i]), &b) != nil || !reflect.DeepEqual(a, b) {
			r.t.Errorf("the account received %s, want %s", got[i], want[i])
		}
	}
	r.OfficialAccount.ClearRequests()
}

// update calls the API, and fails the test unless the answer has this status and
// code.
func (r *running) update(body string, status int, code string) *answer {
	r.t.Helper()
	a := r.post("/card/update", body)
	if a.status != status || a.Code != code || (a.Message == "") != (code == "") || a.header.Get("Cache-Control") != "no-store" {
		r.t.Errorf("answered %d %s, want %d %q", a.status, a.body, status, code)
	}
	return a
}

// shows fails the test unless a card has these fields in base_info.
func (r *running) shows(id string, want fields) {
	r.t.Helper()
	card := r.OfficialAccount.Card(id)
	for name, value := range want {
		if got, _ := card.BaseInfo[name].(string); got != value {
			r.t.Errorf("%s of %s is %q, want %q", name, id, got, value)
		}
	}
}

func startCards(t *testing.T) *running {
	t.Parallel()
	return start(t, wechatpay.PublicKey)
}

func TestACardIsUpdated(t *testing.T) {
	r := startCards(t)
	before := r.OfficialAccount.Card(memberCard)
	if a := r.update(cardExample, 200, ""); string(a.body) != `{"errcode":0,"errmsg":"ok","send_check":false}` {
		t.Errorf("answered %s", a.body)
	}
	r.wantUpdates(cardExample)
	r.shows(memberCard, fields{"custom_app_brand_pass": "API/cardPage", "promotion_url": "http://www.qq.com"})

	r.update(passExample, 200, "")
	after := r.OfficialAccount.Card(memberCard)
	for name, value := range before.BaseInfo {
		want := value
		switch name {
		case "custom_app_brand_pass":
			want = "pages/card"
		case "update_time":
			continue
		}
		if !reflect.DeepEqual(after.BaseInfo[name], want) {
			t.Errorf("%s became %v, from %v", name, after.BaseInfo[name], value)
		}
	}
	if !reflect.DeepEqual(after.Special, before.Special) || len(after.BaseInfo) != len(before.BaseInfo) {
		t.Errorf("what was not sent became %v, from %v", after, before)
	}

	r.update(`{"card_id":"`+memberCard+`","member_card":{"base_info":{"custom_app_brand_user_name":"","custom_app_brand_pass":""}}}`, 200, "")
	r.shows(memberCard, fields{"custom_app_brand_user_name": "", "custom_app_brand_pass": "", "custom_url": "http://www.qq.com"})
	r.update(`{"card_id":"`+memberCard+`","member_card":{"activate_app_brand_user_name":"gh_86a091e50ad4@app","activate_app_brand_pass":"pages/activate"}}`, 200, "")
	if got := r.OfficialAccount.Card(memberCard).Special; got["activate_app_brand_pass"] != "pages/activate" || got["activate_url"] != "http://www.qq.com" {
		t.Errorf("beside base_info: %v", got)
	}
}

func TestCardsOfEveryType(t *testing.T) {
	r := startCards(t)
	var ids []string
	for _, card := range r.OfficialAccount.Cards() {
		body := `{"card_id":"` + card.ID + `","` + strings.ToLower(card.Type) + `":{"base_info":{"center_title":"快速买单"}}}`
		r.update(body, 200, "")
		r.wantUpdates(body)
		ids = append(ids, card.ID)
	}
	if len(ids) != 10 {
		t.Errorf("cards %v", ids)
	}
	r.wantCounts(r.sync(planOf(fields{"center_title": "快速买单", "center_url": "http://www.qq.com"}, ids...)), "10 0 0 0 0")
	for _, id := range ids {
		r.shows(id, fields{"center_title": "快速买单", "center_url": "http://www.qq.com"})
	}
}

func TestBadCardUpdates(t *testing.T) {
	r := startCards(t)
	for _, row := range []struct{ body, field string }{
		{``, "/body"},
		{`{"card_id":"` + memberCard + `"}`, "/body"},
		{`{"card_id":"` + memberCard + `","member_card":{"base_info":{"custom_app_brand_pass":"p"}}}`, "/body/member_card/base_info/custom_app_brand_user_name"},
		{`{"card_id":"` + memberCard + `","member_card":{"base_info":{"brand_name":"p"}}}`, "/body/member_card/base_info/brand_name"},
	} {
		if a := r.update(row.body, 400, "PARAM_ERROR"); a.Detail.Field != row.field {
			t.Errorf("detail.field is %q, want %q", a.Detail.Field, row.field)
		}
	}
	r.wantUpdates()
	if a := r.update(strings.ReplaceAll(cardExample, memberCard, "pbLatjNowhere"), 400, "WECHAT_40053"); a.Solution == "" {
		t.Errorf("answered %s", a.body)
	}
	r.update(strings.ReplaceAll(cardExample, `"member_card"`, `"groupon"`), 400, "WECHAT_47001")
}

// An update has only the fields that differ from the plan, and a card without any
// is not updated.
func TestDriftIsCorrected(t *testing.T) {
	r := startCards(t)
	plan := planOf(fields{
		"promotion_url_name": "更多优惠", "promotion_url": "http://www.qq.com",
		"promotion_app_brand_user_name": "gh_86a091e50ad4@app", "promotion_app_brand_pass": "pages/offers",
	}, memberCard)
	plan = append(plan, planned{CardID: "pbLatjGroupon", Fields: fields{"custom_url": ""}}) // which it does not have
	rep := r.sync(plan)
	r.wantCounts(rep, "1 1 0 0 0")
	if c := rep.Cards[0]; c.CardID != memberCard || !slices.Equal(c.Changed, []string{"promotion_app_brand_pass"}) || c.SendCheck == nil || *c.SendCheck {
		t.Errorf("%+v", c)
	}
	if c := rep.Cards[1]; c.CardID != "pbLatjGroupon" || c.Status != "unchanged" || c.Changed != nil {
		t.Errorf("%+v", c)
	}
	r.wantUpdates(`{"card_id":"` + memberCard + `","member_card":{"base_info":{"promotion_app_brand_pass":"pages/offers"}}}`)

	r.wantCounts(r.sync(plan), "0 2 0 0 0")
	r.wantUpdates()

	drift := `{"card_id":"` + memberCard + `","member_card":{"base_info":{"promotion_url_name":"别的","custom_url_name":"别的"}}}`
	r.update(drift, 200, "")
	r.OfficialAccount.ClearRequests()
	r.wantCounts(r.sync(plan), "1 1 0 0 0")
	r.wantUpdates(`{"card_id":"` + memberCard + `","member_card":{"base_info":{"promotion_url_name":"更多优惠"}}}`)
	r.shows(memberCard, fields{"promotion_url_name": "更多优惠", "custom_url_name": "别的"})

	plan[0].Fields = fields{"activate_url": "", "custom_url": ""}
	r.wantCounts(r.sync(plan), "1 1 0 0 0")
	r.wantUpdates(`{"card_id":"` + memberCard + `","member_card":{"activate_url":"","base_info":{"custom_url":""}}}`)
	r.wantCounts(r.sync(plan), "0 2 0 0 0")
	r.wantUpdates()
}

// A dry run reports what would change, and sends nothing.
func TestDryRun(t *testing.T) {
	r := startCards(t)
	event := map[string]any{"dry_run": true, "plan": map[string]any{"cards": planOf(fields{"custom_url_name": "马上使用"}, memberCard, "pbLatjCash")}}
	for range 2 {
		rep := r.invoke(r.Functions[cardSync], event)
		r.wantCounts(rep, "2 0 0 0 0")
		if c := rep.Cards[0]; !rep.DryRun || !slices.Equal(c.Changed, []string{"custom_url_name"}) || c.SendCheck != nil {
			t.Errorf("%+v", c)
		}
		r.wantUpdates()
	}
	r.shows(memberCard, fields{"custom_url_name": "立即使用"})
}

// The plan in S3 is read for each sync; one that can't be read or is invalid
// changes nothing.
func TestThePlanInS3(t *testing.T) {
	r := startCards(t)
	env := r.Configs[cardSync].Environment
	put := func(plan string) { r.Plans.Put(env["CARD_PLAN_BUCKET"], env["CARD_PLAN_KEY"], []byte(plan)) }
	fails := func(code, tells string) {
		t.Helper()
		rep := r.invoke(r.Functions[cardSync], nil)
		if e := rep.Error; e == nil || e.Code != code || !strings.Contains(rep.raw, tells) || rep.Cards != nil {
			t.Errorf("%s, want %s with %q", rep.raw, code, tells)
		}
		r.log.waitFor(t, code)
		r.wantUpdates()
	}
	r.wantCounts(r.invoke(r.Functions[cardSync], nil), "0 0 0 0 0") // there is no plan yet
	put(`{"cards":[{"card_id":"` + memberCard + `","fields":{"custom_url_name":"马上使用"}}]}`)
	r.Plans.Fail(&aws.Fault{Status: 403, Code: "AccessDenied"})
	fails("PLAN_UNREADABLE", "AccessDenied")
	r.Plans.Fail(nil)
	r.wantCounts(r.invoke(r.Functions[cardSync], nil), "1 0 0 0 0")
	r.shows(memberCard, fields{"custom_url_name": "马上使用"})
	r.OfficialAccount.ClearRequests()
	put(`{"cards":[{"card_id":"` + memberCard + `","fields":{"custom_url_name":"x","custom_url":"x"}},{"fields":{}}]}`)
	fails("INVALID_PLAN", "/cards/0/fields/custom_url")
	put(strings.Repeat(" ", 4<<20+1))
	fails("PLAN_UNREADABLE", "4 MiB")
	r.Plans.Delete(env["CARD_PLAN_BUCKET"], env["CARD_PLAN_KEY"])
	fails("PLAN_UNREADABLE", "deleted")
	put(`{"cards":[]}`)
	r.wantCounts(r.invoke(r.Functions[cardSync], nil), "0 0 0 0 0")
	if pids := r.Functions[cardSync].PIDs(); len(pids) != 1 {
		t.Errorf("instances are %v, want the one that started", pids)
	}
}

// An event that is neither a request nor a sync is an error and does not end the
// instance.
func TestOtherInvocations(t *testing.T) {
	r := startCards(t)
	for _, event := range []string{`{"action":"purge"}`, `{}`, `[]`, `"sync"`, `{"source":"aws.events"}`} {
		result, err := r.Functions[cardSync].Invoke(context.Background(), []byte(event))
		if err != nil || result.FunctionError == nil || strings.HasPrefix(result.FunctionError.Type, "Runtime.") {
			t.Errorf("%s: %+v, %v", event, result, err)
		}
	}
	if pids := r.Functions[cardSync].PIDs(); len(pids) != 1 {
		t.Errorf("instances are %v, want the one that started", pids)
	}
}

// One card's failure does not stop the others.
func TestOneCardFails(t *testing.T) {
	r := startCards(t)
	ids := r.OfficialAccount.AddCards(8)
	r.OfficialAccount.Errcode("/card/update", ids[2], 47001, "data format error", -1)
	r.OfficialAccount.Errcode("/card/get", ids[4], 40053, "invalid actioninfo, please check card_id", -1)
	plan := planOf(fields{"center_title": "快速买单"}, ids...)
	plan = append(plan, planned{CardID: "pbLatjNowhere", Fields: fields{"center_title": "x"}}, planned{CardID: "pbLatjGift", Fields: fields{"activate_url": "http://www.qq.com"}})
	rep := r.sync(plan)
	r.wantCounts(rep, "6 0 0 4 0")
	for i, code := range map[int]string{2: "WECHAT_47001", 4: "WECHAT_40053", 8: "WECHAT_40053", 9: "PARAM_ERROR"} {
		if e := rep.Cards[i].Error; e == nil || e.Code != code || e.Message == "" {
			t.Errorf("%+v, want %s", rep.Cards[i], code)
		}
	}
	r.OfficialAccount.Heal()
	r.wantCounts(r.sync(plan[:8]), "2 6 0 0 0")
}

// An exhausted quota ends the run: the remaining cards are deferred.
func TestQuota(t *testing.T) {
	r := startCards(t)
	ids := r.OfficialAccount.AddCards(30)
	plan := planOf(fields{"center_title": "快速买单"}, ids...)
	const before = 5
	r.OfficialAccount.Quota(before)
	rep := r.sync(plan)
	if rep.Updated != before || rep.Failed < 1 || rep.Failed > 4 || rep.Deferred != len(ids)-before-rep.Failed {
		t.Errorf("%s", rep.raw)
	}
	for _, c := range rep.Cards {
		if c.Status == "failed" && c.Error.Code != "WECHAT_45009" {
			t.Errorf("%+v", c)
		}
	}
	if a := r.update(passExample, 429, "WECHAT_45009"); a.header.Get("Retry-After") == "" {
		t.Errorf("429 without Retry-After: %v", a.header)
	}
	r.OfficialAccount.Quota(-1)
	r.wantCounts(r.sync(plan), fmt.Sprintf("%d %d 0 0 0", len(ids)-before, before))
}

// A change in review is not sent again, by no instance.
func TestReview(t *testing.T) {
	r := startCards(t)
	r.OfficialAccount.Review(true)
	plan := planOf(fields{"custom_url_name": "马上使用"}, memberCard)
	rep := r.sync(plan)
	r.wantCounts(rep, "0 0 1 0 0")
	if c := rep.Cards[0]; c.CardStatus != "CARD_STATUS_NOT_VERIFY" || c.SendCheck == nil || !*c.SendCheck || !slices.Equal(c.Changed, []string{"custom_url_name"}) {
		t.Errorf("%+v", c)
	}
	r.wantUpdates(`{"card_id":"` + memberCard + `","member_card":{"base_info":{"custom_url_name":"马上使用"}}}`)
	event := map[string]any{"plan": map[string]any{"cards": plan}}
	for _, f := range []*lambda.Function{r.Functions[cardSync], r.another(0)} {
		rep := r.invoke(f, event)
		r.wantCounts(rep, "0 0 1 0 0")
		if c := rep.Cards[0]; c.CardStatus != "CARD_STATUS_NOT_VERIFY" || c.SendCheck != nil {
			t.Errorf("%+v", c)
		}
		r.wantUpdates()
	}
	// Another change of the card is not sent either: it would go to review too.
	r.wantCounts(r.sync(planOf(fields{"custom_url_name": "去使用"}, memberCard)), "0 0 1 0 0")
	r.wantUpdates()
	r.OfficialAccount.Review(false)
	r.OfficialAccount.ApproveReviews()
	r.wantCounts(r.sync(plan), "0 1 0 0 0")
	r.wantCounts(r.sync(planOf(fields{"custom_url_name": "去使用"}, memberCard)), "1 0 0 0 0")
}

// A change that WeChat accepts but never applies is not sent again by the same
// instance.
func TestAChangeThatNeverShows(t *testing.T) {
	r := startCards(t)
	r.OfficialAccount.Ignore("custom_url_name")
	plan := planOf(fields{"custom_url_name": "马上使用", "custom_url_sub_title": "tips"}, memberCard)
	rep := r.sync(plan)
	r.wantCounts(rep, "0 0 1 0 0")
	if c := rep.Cards[0]; !slices.Equal(c.Changed, []string{"custom_url_name"}) || c.CardStatus != "CARD_STATUS_VERIFY_OK" {
		t.Errorf("%+v", c)
	}
	r.wantUpdates(`{"card_id":"` + memberCard + `","member_card":{"base_info":{"custom_url_name":"马上使用","custom_url_sub_title":"tips"}}}`)
	for range 2 {
		r.wantCounts(r.sync(plan), "0 0 1 0 0")
		r.wantUpdates()
	}
	r.OfficialAccount.Heal()
	plan[0].Fields["custom_url_name"] = "去使用"
	r.wantCounts(r.sync(plan), "1 0 0 0 0")
	r.wantUpdates(`{"card_id":"` + memberCard + `","member_card":{"base_info":{"custom_url_name":"去使用"}}}`)
}

// The fields of the campaigns that are running now are applied.
func TestCampaigns(t *testing.T) {
	r := startCards(t)
	now := time.Now().In(time.FixedZone("", 8*60*60))
	stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	for _, row := range []struct{ what, from, until, want string }{
		{"on", stamp(-time.Hour), stamp(time.Hour), "campaign"},
		{"over", stamp(-2 * time.Hour), stamp(-time.Hour), "always"},
		{"begun", stamp(-time.Hour), "", "campaign"},
		{"to come", stamp(time.Hour), stamp(2 * time.Hour), "always"},
		{"not over", "", stamp(time.Hour), "campaign"},
	} {
		plan := planOf(fields{"custom_url_name": "always"}, memberCard)
		plan[0].Campaigns = []campaign{{row.from, row.until, fields{"custom_url_name": "campaign"}}}
		rep := r.sync(plan)
		if rep.Updated != 1 {
			t.Errorf("%s: %s", row.what, rep.raw)
		}
		r.shows(memberCard, fields{"custom_url_name": row.want})
	}
}

// Cards for which there is no time left are deferred and not failed. A few cards
// are processed concurrently.
func TestShortDeadline(t *testing.T) {
	r := startCards(t)
	plan := planOf(fields{"center_title": "快速买单"}, r.OfficialAccount.AddCards(10)...)
	f := r.another(4 * time.Second)
	if _, err := f.Start(); err != nil { // it has its token
		t.Fatal(err)
	}
	r.OfficialAccount.Break(0, sandbox.Hang(), -1)
	r.OfficialAccount.Break(1, sandbox.Hang(), -1)
	r.OfficialAccount.ClearRequests()
	r.wantCounts(r.invoke(f, map[string]any{"plan": map[string]any{"cards": plan}}), fmt.Sprintf("0 0 0 0 %d", len(plan)))
	begun := map[string]bool{}
	for _, body := range r.received("/card/get") {
		begun[body] = true
	}
	if len(begun) == 0 || len(begun) > 4 {
		t.Errorf("%d cards were begun, want a few", len(begun))
	}
	if pids := f.PIDs(); len(pids) != 1 {
		t.Errorf("instances are %v, want the one that started", pids)
	}
	r.OfficialAccount.Heal()
	r.wantCounts(r.invoke(f, map[string]any{"plan": map[string]any{"cards": plan}}), fmt.Sprintf("%d 0 0 0 0", len(plan)))
}

// A run that is a new instance's and manages a third of the plan goes on where the last one
// ended: every card is read before any is read twice.
func TestEveryCardGetsItsTurn(t *testing.T) {
	r := startCards(t)
	const cards = 120
	plan := map[string]any{"plan": map[string]any{"cards": planOf(fields{"center_title": "快速买单"}, r.OfficialAccount.AddCards(cards)...)}}
	r.wantCounts(r.invoke(r.Functions[cardSync], plan), fmt.Sprintf("%d 0 0 0 0", cards))
	r.OfficialAccount.Break(0, sandbox.Slow(150*time.Millisecond), -1)
	r.OfficialAccount.Break(1, sandbox.Slow(150*time.Millisecond), -1)
	r.OfficialAccount.ClearRequests()
	runs, unchanged := 0, 0
	for ; unchanged < cards; runs++ {
		rep := r.invoke(r.another(4*time.Second), plan)
		if rep.Unchanged == 0 || rep.Deferred == 0 || rep.Unchanged+rep.Deferred != cards {
			t.Fatalf("%s", rep.raw)
		}
		unchanged += rep.Unchanged
	}
	read := r.received("/card/get") // with the repetitions of slow ones
	slices.Sort(read)
	if n := len(slices.Compact(read)); n != cards || runs < 3 {
		t.Errorf("%d runs read %d of %d cards", runs, n, cards)
	}
}

// Of two syncs that begin at once, by two instances, one applies the plan: no card gets two
// updates.
func TestTwoSyncsAtOnce(t *testing.T) {
	r := startCards(t)
	const cards = 40
	event := map[string]any{"plan": map[string]any{"cards": planOf(fields{"center_title": "快速买单"}, r.OfficialAccount.AddCards(cards)...)}}
	instances := []*lambda.Function{r.another(0), r.another(0)}
	for _, f := range instances {
		if _, err := f.Start(); err != nil {
			t.Fatal(err)
		}
	}
	r.OfficialAccount.ClearRequests()
	reports := make([]*report, len(instances))
	var both sync.WaitGroup
	for i, f := range instances {
		both.Go(func() { reports[i] = r.invoke(f, event) })
	}
	both.Wait()
	running := slices.IndexFunc(reports, func(rep *report) bool { return rep.Error != nil })
	if running < 0 || reports[running].Error.Code != "SYNC_RUNNING" || reports[1-running].Updated != cards {
		t.Errorf("%s\n%s", reports[0].raw, reports[1].raw)
	}
	updates := r.received("/card/update")
	slices.Sort(updates)
	if n := len(slices.Compact(updates)); n != len(updates) || n != cards {
		t.Errorf("%d cards got %d updates", n, len(updates))
	}
	r.wantCounts(r.invoke(instances[running], event), fmt.Sprintf("0 %d 0 0 0", cards)) // the lease is free
}

// A plan of 500 cards is applied over a few connections.
func TestManyCards(t *testing.T) {
	r := startCards(t)
	plan := planOf(fields{"center_title": "快速买单", "center_url": "http://www.qq.com", "center_app_brand_user_name": "gh_86a091e50ad4@app", "center_app_brand_pass": "pages/pay"}, r.OfficialAccount.AddCards(500)...)
	r.wantCounts(r.sync(plan), "500 0 0 0 0")
	r.wantCounts(r.sync(plan), "0 500 0 0 0")
	if n := len(r.received("/card/update")); n != 500 {
		t.Errorf("%d updates", n)
	}
	if n := len(r.received("/cgi-bin/stable_token")); n != 1 {
		t.Errorf("%d tokens", n)
	}
	if n := r.OfficialAccount.Listener(0).Accepted(); n > 20 {
		t.Errorf("%d connections were opened", n)
	}
}

// The error for an IP that is not on the allow-list names the IP.
func TestAllowList(t *testing.T) {
	r := startCards(t)
	r.OfficialAccount.Allow(false)
	for range 2 {
		if a := r.update(passExample, 502, "WECHAT_40164"); !strings.Contains(a.Message, "203.0.113.7") {
			t.Errorf("answered %s", a.body)
		}
	}
	rep := r.sync(planOf(fields{"center_title": "x"}, r.OfficialAccount.AddCards(10)...))
	if rep.Failed == 0 || rep.Failed+rep.Deferred != 10 || !strings.Contains(rep.raw, "203.0.113.7") {
		t.Errorf("%s", rep.raw)
	}
	r.OfficialAccount.Allow(true)
	r.update(passExample, 200, "")
}

// No request fails because of an invalid access token.
func TestDeadToken(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		kill   func(*officialaccount.Sandbox)
		forced int
	}{
		{"revoked", (*officialaccount.Sandbox).RevokeToken, 0},
		{"frozen", (*officialaccount.Sandbox).FreezeToken, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := startCards(t)
			r.update(passExample, 200, "")
			row.kill(r.OfficialAccount)
			r.OfficialAccount.ClearRequests()
			r.update(passExample, 200, "")
			r.update(passExample, 200, "")
			forced := 0
			for _, body := range r.received("/cgi-bin/stable_token") {
				if strings.Contains(body, `"force_refresh":true`) {
					forced++
				}
			}
			if forced != row.forced || len(r.received("/card/update")) != 3 {
				t.Errorf("%d tokens by force, %d updates", forced, len(r.received("/card/update")))
			}
			row.kill(r.OfficialAccount)
			if row.forced > 0 { // too soon for another by force
				r.update(passExample, 502, "WECHAT_40001")
				return
			}
			r.wantCounts(r.sync(planOf(fields{"center_title": "x"}, r.OfficialAccount.AddCards(10)...)), "10 0 0 0 0")
		})
	}
}

// No request fails because the secret was rotated. A wrong secret is CONFIG_ERROR
// until it is corrected.
func TestAccountSecret(t *testing.T) {
	t.Parallel()
	rotate := func(r *running) {
		r.OfficialAccount.RotateSecret()
		r.OfficialAccount.RevokeToken()
	}
	t.Run("rotated", func(t *testing.T) {
		r := startCards(t)
		r.update(passExample, 200, "")
		rotate(r)
		r.Secrets.Put(stack.OfficialAccountSecret, r.OfficialAccount.Secret())
		r.update(passExample, 200, "")
		r.update(passExample, 200, "")
		if n := r.Secrets.Calls("GetSecretValue"); n != 2 {
			t.Errorf("the secret was read %d times", n)
		}
	})
	t.Run("refused", func(t *testing.T) {
		r := startCards(t)
		r.update(passExample, 200, "")
		rotate(r)
		for range 3 {
			r.update(passExample, 500, "CONFIG_ERROR")
		}
		if n := r.Secrets.Calls("GetSecretValue"); n != 2 {
			t.Errorf("the secret was read %d times", n)
		}
		rep := r.sync(planOf(fields{"center_title": "x"}, r.OfficialAccount.AddCards(10)...))
		if rep.Failed == 0 || rep.Failed+rep.Deferred != 10 || !strings.Contains(rep.raw, "CONFIG_ERROR") {
			t.Errorf("%s", rep.raw)
		}
	})
	t.Run("unreadable, then malformed", func(t *testing.T) {
		r := startCards(t)
		r.Secrets.Fail(&aws.Fault{Status: 400, Code: "AccessDeniedException"})
		if a := r.update(passExample, 500, "CONFIG_ERROR"); strings.Contains(string(a.body), "AccessDenied") {
			t.Errorf("the caller is told of it: %s", a.body)
		}
		r.Secrets.Fail(nil)
		good := r.OfficialAccount.Secret()
		r.Secrets.Put(stack.OfficialAccountSecret, strings.Replace(good, `"secret"`, `"appsecret"`, 1))
		r.update(passExample, 500, "CONFIG_ERROR")
		for _, logged := range []string{"AccessDeniedException", "appsecret"} {
			r.log.waitFor(t, logged)
		}
		r.Secrets.Put(stack.OfficialAccountSecret, good)
		r.update(passExample, 200, "")
	})
}

// A temporary failure of the primary endpoint fails over to the other one; other
// failures are not retried.
func TestCardFailures(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		fault    sandbox.Fault
		backup   bool // the backup makes up for it
		status   int  // if both endpoints have it
		code     string
		attempts int
	}{
		{"busy", sandbox.Body(`{"errcode":-1,"errmsg":"system error"}`), true, 502, "WECHAT_-1", 4},
		{"500", sandbox.Status(500, ""), true, 502, "SYSTEM_ERROR", 4},
		{"a proxy's 502", sandbox.Status(502, "<html></html>"), true, 502, "SYSTEM_ERROR", 4},
		{"429", sandbox.Status(429, ""), false, 429, "RATELIMIT_EXCEEDED", 1},
		{"truncated", sandbox.Truncated(), true, 502, "UPSTREAM_UNREACHABLE", 4},
		{"reset", sandbox.Reset(), true, 502, "UPSTREAM_UNREACHABLE", 4},
		{"over 1 MiB", sandbox.Oversized(), false, 502, "INVALID_RESPONSE", 1},
		{"redirect", sandbox.Redirect(), false, 502, "INVALID_RESPONSE", 1},
		{"404", sandbox.Status(404, "<html></html>"), false, 502, "INVALID_RESPONSE", 1},
		{"no JSON", sandbox.Body("ok"), false, 502, "INVALID_RESPONSE", 1},
		{"no errcode", sandbox.Body("{}"), false, 502, "INVALID_RESPONSE", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := startCards(t) // with a full retry budget
			r.update(passExample, 200, "")
			r.OfficialAccount.Break(0, row.fault, -1)
			if row.backup {
				r.update(passExample, 200, "")
			} else {
				r.update(passExample, row.status, row.code)
			}
			r.OfficialAccount.Break(1, row.fault, -1)
			r.OfficialAccount.ClearRequests()
			if a := r.update(passExample, row.status, row.code); row.status == 429 && a.header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			if n := len(r.received("/card/update")); n != row.attempts {
				t.Errorf("%d attempts, want %d", n, row.attempts)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		r := startCards(t)
		for _, row := range []struct {
			endpoint, status int
			code             string
		}{{0, 200, ""}, {1, 502, "UPSTREAM_UNREACHABLE"}} {
			if err := r.OfficialAccount.Listener(row.endpoint).Refuse(true); err != nil {
				t.Fatal(err)
			}
			r.OfficialAccount.Listener(row.endpoint).Drop(network.FIN)
			r.update(passExample, row.status, row.code)
		}
	})
}

// A hanging primary endpoint delays requests but fails none, also for a token.
func TestHangingEndpoint(t *testing.T) {
	r := startCards(t)
	r.OfficialAccount.Break(0, sandbox.Hang(), -1)
	r.update(passExample, 200, "")
}

// Neither the log nor an answer has the account's secret or an access token.
func TestNothingOfTheAccountIsLogged(t *testing.T) {
	r := startCards(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.OfficialAccount.CA())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	private := []string{"a-secret-access-key", "a-session-token", "access_token="}
	keep := func() {
		t.Helper()
		var secret map[string]any
		if err := json.Unmarshal([]byte(r.OfficialAccount.Secret()), &secret); err != nil {
			t.Fatal(err)
		}
		private = append(private, secret["secret"].(string))
		secret["grant_type"] = "client_credential"
		body, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Post(r.OfficialAccount.Endpoints()[0]+"/cgi-bin/stable_token", "application/json", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		var token struct {
			AccessToken string `json:"access_token"`
		}
		if err != nil || json.Unmarshal(content, &token) != nil || token.AccessToken == "" {
			t.Fatalf("%s, %v", content, err)
		}
		private = append(private, token.AccessToken)
	}
	keep()
	current := private[len(private)-1]
	plan := planOf(fields{"center_title": "x"}, memberCard, "pbLatjNowhere")
	var told strings.Builder
	call := func() {
		told.Write(r.post("/card/update", passExample).body)
		told.WriteString(r.sync(plan).raw)
	}
	call()
	for _, fault := range []sandbox.Fault{
		sandbox.Body(`{"errcode":40053,"errmsg":"invalid ` + current + `"}`), sandbox.Body(`{"errcode":-1,"errmsg":"busy ` + current + `"}`),
		sandbox.Status(500, current), sandbox.Body(current), sandbox.Redirect(), sandbox.Truncated(), sandbox.Reset(),
	} {
		r.OfficialAccount.Break(0, fault, -1)
		r.OfficialAccount.Break(1, fault, -1)
		call()
		r.OfficialAccount.Heal()
	}
	r.OfficialAccount.FreezeToken()
	call()
	keep()
	r.OfficialAccount.RotateSecret()
	r.OfficialAccount.RevokeToken()
	call()
	keep()
	r.Secrets.Put(stack.OfficialAccountSecret, strings.Replace(r.OfficialAccount.Secret(), "appid", "appids", 1))
	told.WriteString(r.invoke(r.another(0), map[string]any{"plan": map[string]any{"cards": plan}}).raw)

	for _, provoked := range []string{"CONFIG_ERROR", "WECHAT_40053", "WECHAT_-1", "CARDS_FAILED", "appids"} {
		r.log.waitFor(t, provoked)
	}
	log := r.log.String()
	for _, value := range private {
		if strings.Contains(log, value) || strings.Contains(told.String(), value) {
			t.Errorf("the log or an answer has %q", value)
		}
	}
}

// A plan that is put into the bucket is applied by the template's rule, which leaves alone
// what a sync keeps beside it.
func TestAPutPlanIsApplied(t *testing.T) {
	t.Parallel()
	r := startAs(t, stack.Config{})
	environment := r.Configs[cardSync].Environment
	bucket, key, place := environment["CARD_PLAN_BUCKET"], environment["CARD_PLAN_KEY"], "card-sync.json"
	r.Plans.Put(bucket, "another", nil) // the bucket exists
	client := s3.New(s3.Options{
		BaseEndpoint: &r.AWS, UsePathStyle: true, Region: stack.Region,
		Credentials: awssdk.CredentialsProviderFunc(func(context.Context) (awssdk.Credentials, error) {
			return awssdk.Credentials{AccessKeyID: stack.AccessKeyID, SecretAccessKey: stack.SecretAccessKey}, nil
		}),
	})
	for _, object := range []*string{&place, &key} {
		if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: object, Body: strings.NewReader(`{"cards":[]}`)}); err != nil {
			t.Fatal(err)
		}
	}
	for folder, function := range map[string]string{cardSync: "CardSyncFunction", moduleSync: "ServiceModuleSyncFunction"} {
		r.log.waitFor(t, `"Function":"`+function+`"`)
		if pids := r.Functions[folder].PIDs(); len(pids) != 1 || strings.Count(r.log.String(), `"Function":"`+function+`"`) != 1 {
			t.Errorf("%s has the instances %v, and the log %s", function, pids, r.log)
		}
	}
}
