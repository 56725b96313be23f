package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"membercard/local/discovery"
	"membercard/local/journey"
	"membercard/local/sigv4"
	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// cardsAPI has the routes that reconcile calls, as strict as the functions, and the cards
// behind them. It refuses a request that is not signed, and one with a parameter too many.
type cardsAPI struct {
	mu       sync.Mutex
	brand    map[string][]string // states by openid; the card's code is the openid and a number
	merchant map[string][]string
	answers  map[string][]string // first, by the request's beginning: a status and a body each; + before it makes the call nevertheless
	calls    []string
	at       []time.Time
	onCall   func(call string)
}

func (c *cardsAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	at := manager.discovery()
	key := sigv4.Key{Region: at.Region, AccessKeyID: at.AccessKeyID, SecretAccessKey: at.SecretAccessKey}
	instead := ""
	say := func(status int, text string) {
		if instead != "" {
			status, text = http.StatusBadGateway, instead
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
	if err := key.Verify(r, body, "execute-api", time.Now()); err != nil {
		say(http.StatusForbidden, `{"message":"Forbidden"}`)
		return
	}
	call := r.Method + " " + r.URL.Path
	c.calls, c.at = append(c.calls, call), append(c.at, time.Now())
	if c.onCall != nil {
		c.onCall(call)
	}
	for _, prefix := range slices.Sorted(maps.Keys(c.answers)) {
		if queue := c.answers[prefix]; len(queue) > 0 && strings.HasPrefix(call, prefix) {
			c.answers[prefix] = queue[1:]
			if instead = strings.TrimPrefix(queue[0], "+"); instead != queue[0] {
				break
			}
			var status int
			_, _ = fmt.Sscan(instead, &status)
			if status == http.StatusTooManyRequests {
				w.Header().Set("Retry-After", "1")
			}
			_, instead, _ = strings.Cut(queue[0], " ")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, instead)
			return
		}
	}
	query := r.URL.Query()
	want := func(names ...string) bool {
		return slices.Equal(slices.Sorted(maps.Keys(query)), names)
	}
	page := func(states []string, unit int, item func(i int) string) {
		var offset int
		_, _ = fmt.Sscan(query.Get("offset"), &offset)
		from := offset * unit
		var items []string
		for i := from; i < min(from+20, len(states)); i++ {
			items = append(items, item(i))
		}
		data := `"data":[` + strings.Join(items, ",") + `],`
		if len(items) == 0 {
			data = ""
		}
		say(http.StatusOK, fmt.Sprintf(`{%s"total_count":%d,"offset":%d,"limit":20}`, data, len(states), offset))
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	openid := query.Get("openid")
	locate := func(cards map[string][]string, code string) (owner string, number int, state *string) {
		owner, n, _ := strings.Cut(code, "-")
		_, _ = fmt.Sscan(n, &number)
		return owner, number, &cards[owner][number]
	}
	brandCard := func(owner string, i int) string {
		return fmt.Sprintf(`{"user_card_code":"%s-%d","card_id":"pb","openid":%q,"brand_id":"1004","user_card_state":%q}`, owner, i, owner, c.brand[owner][i])
	}
	switch {
	case call == "GET /v3/brand/partner/card-member/user-cards" && want("brand_id", "limit", "offset", "openid"):
		page(map[string][]string{"1004": c.brand[openid]}[query.Get("brand_id")], 1, func(i int) string { return brandCard(openid, i) })
	case call == "GET /v3/marketing/membercard-open/user/cards" && want("limit", "offset", "openid"):
		page(c.merchant[openid], 20, func(i int) string { return fmt.Sprintf(`{"card_id":"pm","code":"%s-%d"}`, openid, i) })
	case strings.HasPrefix(call, "GET /v3/marketing/membercard-open/cards/pm/codes/") && want():
		_, _, state := locate(c.merchant, parts[len(parts)-1])
		say(http.StatusOK, fmt.Sprintf(`{"membership_number":"1","user_card_status":%q}`, *state))
	case strings.HasPrefix(call, "GET /v3/brand/partner/card-member/user-cards/") && want("brand_id", "card_id", "openid"):
		owner, number, _ := locate(c.brand, parts[len(parts)-1])
		say(http.StatusOK, brandCard(owner, number))
	case strings.HasSuffix(call, "/confirm") && r.Method == http.MethodPost && want() && r.Header.Get("Content-Type") == "application/json":
		owner, number, state := locate(c.brand, parts[len(parts)-2])
		var given map[string]string
		if err := json.Unmarshal(body, &given); err != nil || !maps.Equal(given, map[string]string{"brand_id": "1004", "card_id": "pb", "openid": owner, "user_card_confirm_state": "CREATE_CARD_SUCCESS"}) {
			say(http.StatusBadRequest, `{"code":"PARAM_ERROR","message":"the body"}`)
			return
		}
		if *state != "UNACTIVATED" {
			say(http.StatusBadRequest, `{"code":"INVALID_REQUEST","message":"用户会员卡已确认，请勿重复确认"}`)
			return
		}
		*state = "EFFECTIVE"
		say(http.StatusOK, brandCard(owner, number))
	default:
		say(http.StatusNotFound, `{"message":"Not Found"}`)
	}
}

// deploy serves the API, and returns its stack.
func (c *cardsAPI) deploy(t *testing.T) *cloudFormation {
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return &cloudFormation{status: "CREATE_COMPLETE", outputs: map[string]string{"ApiUrl": server.URL, "FunctionLogGroup": "logs"}}
}

// unpaced makes calls without waiting between them.
func unpaced(t *testing.T) {
	before := callInterval
	callInterval = 0
	t.Cleanup(func() { callInterval = before })
}

func many(state string, n int) []string { return slices.Repeat([]string{state}, n) }

func TestReconcile(t *testing.T) {
	unpaced(t)
	const lost, member = "UNACTIVATED", "EFFECTIVE"
	const query, confirm, user = "GET /v3/brand/partner/card-member/user-cards", "POST /v3/brand/partner/card-member/user-cards", "GET /v3/marketing/membercard-open/user"
	rows := []struct {
		rule            string
		openids         string
		brand, merchant map[string][]string
		answers         map[string][]string
		args            string // beside --stack and the file
		want            tally  // without the place
		failed          string
		lines           string // of the findings
	}{
		{"members are counted by openid", "a\nb\nc\n", map[string][]string{"a": {member, member}, "b": {"EXPIRED", "INVALID"}}, map[string][]string{"a": {member}, "c": {member}}, nil, "--brand-id 1004",
			tally{Asked: 3, Members: 2}, "", ""},
		{"a lost card is shown", "a\nb\n", map[string][]string{"b": {lost}}, nil, nil, "--brand-id 1004",
			tally{Asked: 2, LostBrand: 1}, "found lost", "line 2: brand card pb UNACTIVATED: lost\n"},
		{"and confirmed if that is asked for", "a\nb\n", map[string][]string{"a": {member, lost, lost, "EXPIRED", "INVALID"}}, nil, nil, "--brand-id 1004 --confirm",
			tally{Asked: 2, Members: 1, LostBrand: 2, Confirmed: 2}, "", "line 1: brand card pb UNACTIVATED: confirmed\nline 1: brand card pb UNACTIVATED: confirmed\n"},
		{"a merchant card is only shown", "a\n", nil, map[string][]string{"a": {"NOT_ACTIVATE", "EXPIRE", "UNAVAILABLE", "DELETE"}}, nil, "--brand-id 1004 --confirm",
			tally{Asked: 1, LostMerchant: 1}, "", "line 1: merchant card pm NOT_ACTIVATE: lost\n"},
		{"without a brand, merchant cards only", "a\n", map[string][]string{"a": {lost}}, map[string][]string{"a": {member}}, nil, "",
			tally{Asked: 1, Members: 1}, "", ""},
		{"every page is asked for", "a\n", map[string][]string{"a": append(many(member, 40), lost)}, map[string][]string{"a": append(many("EXPIRE", 20), "NOT_ACTIVATE")}, nil, "--brand-id 1004",
			tally{Asked: 1, Members: 1, LostBrand: 1, LostMerchant: 1}, "found lost", "line 1: brand card pb UNACTIVATED: lost\nline 1: merchant card pm NOT_ACTIVATE: lost\n"},
		{"an openid is asked for once, with its first line", "\ufeffopenid\r\n\r\n a \r\nb\r\na\r\n", map[string][]string{"a": {lost}}, nil, nil, "--brand-id 1004",
			tally{Asked: 2, LostBrand: 1}, "found lost", "line 3: brand card pb UNACTIVATED: lost\n"},
		{"a refusal has its code, and the others are asked for", "a\nb\n", map[string][]string{"b": {member}}, nil, map[string][]string{query: {`400 {"code":"PARAM_ERROR","message":"openid a"}`}}, "--brand-id 1004",
			tally{Asked: 2, Members: 1, Refused: map[string]int{"PARAM_ERROR": 1}}, "refused", "line 1: brand cards: refused PARAM_ERROR\n"},
		{"a refused confirmation", "a\n", map[string][]string{"a": {lost}}, nil, map[string][]string{confirm: {`400 {"code":"INVALID_REQUEST","message":"品牌会员卡模板已失效"}`}}, "--brand-id 1004 --confirm",
			tally{Asked: 1, LostBrand: 1, Refused: map[string]int{"INVALID_REQUEST": 1}}, "refused", "line 1: brand card pb UNACTIVATED: refused INVALID_REQUEST\n"},
		{"a confirmation whose answer was lost", "a\n", map[string][]string{"a": {lost}}, nil, map[string][]string{confirm: {"+{}"}}, "--brand-id 1004 --confirm",
			tally{Asked: 1, LostBrand: 1, Confirmed: 1}, "", "line 1: brand card pb UNACTIVATED: confirmed\n"},
		{"a 429 is waited out", "a\n", map[string][]string{"a": {member}}, nil, map[string][]string{query: {`429 {"code":"FREQUENCY_LIMITED"}`, `429 {"message":"Too Many Requests"}`}}, "--brand-id 1004",
			tally{Asked: 1, Members: 1}, "", ""},
		{"a failure is tried again", "a\n", map[string][]string{"a": {member}}, nil, map[string][]string{query: {`502 {"code":"SYSTEM_ERROR"}`}}, "--brand-id 1004",
			tally{Asked: 1, Members: 1}, "", ""},
		{"a merchant without brand cards", "a\nb\n", nil, map[string][]string{"b": {member}}, map[string][]string{query: {`403 {"code":"NO_AUTH"}`, "500 once"}}, "--brand-id 1004",
			tally{Asked: 2, Members: 1, Refused: map[string]int{"NO_AUTH": 1}}, "refused", "line 1: brand cards: refused NO_AUTH\n"},
		{"a merchant without any cards", "a\nb\n", nil, nil, map[string][]string{query: {`403 {"code":"NO_AUTH"}`}, user: {`403 {"code":"NO_AUTH"}`}}, "--brand-id 1004",
			tally{}, "ended early", ""},
		{"IAM does not allow it", "a\n", nil, nil, map[string][]string{query: {`403 {"message":"Forbidden"}`}}, "--brand-id 1004",
			tally{}, "ended early", ""},
		{"a stack of an older version", "a\n", nil, nil, map[string][]string{query: {`404 {"message":"Not Found"}`}}, "--brand-id 1004",
			tally{}, "ended early", ""},
		{"a secret that can't be read", "a\n", nil, nil, map[string][]string{query: {`500 {"code":"CONFIG_ERROR"}`}}, "--brand-id 1004",
			tally{}, "ended early", ""},
	}
	stacks := map[string]*cloudFormation{}
	name := func(i int) string { return fmt.Sprint(stackName, "-", i) }
	for i, row := range rows {
		stacks[name(i)] = (&cardsAPI{brand: row.brand, merchant: row.merchant, answers: row.answers}).deploy(t)
	}
	useAWS(t, manager.discovery())
	serveStacks(t, stacks)
	for i, row := range rows {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel() // some wait
			if row.want.Refused == nil {
				row.want.Refused = map[string]int{}
			}
			path := write(t, "openids.txt", row.openids)
			args := append(strings.Fields("reconcile --stack "+name(i)+" "+row.args), path)
			o := tool(t, append(args, "--json")...)
			r := o.report(t)
			got := *r.Reconciled
			if fmt.Sprint(got) != fmt.Sprint(row.want) {
				t.Errorf("%+v", got)
			}
			if row.failed == "" {
				o.requirePassed(t)
			} else if s := o.requireFailed(t, strings.Split(row.failed, "; ")...); s.Cause == "" || s.Cure == "" {
				t.Errorf("%+v", s)
			}
			lines := ""
			for _, f := range r.Findings {
				lines += fmt.Sprintln(f)
			}
			if lines != row.lines {
				t.Errorf("%s", o.out)
			}
			o.requireNo(t, "openid a", "user_card_code")
			if strings.Contains(o.out, "no brand card was asked for") == strings.Contains(row.args, "--brand-id") {
				t.Errorf("%s", o.out)
			}
			if _, err := os.Stat(path + ".reconcile.json"); (err == nil) != (row.failed == "ended early") {
				t.Errorf("the place: %v", err)
			}
		})
	}
}

// A run that is ended goes on where it was. What was confirmed before counts once, and no
// openid is kept or printed.
func TestReconcileGoesOn(t *testing.T) {
	unpaced(t)
	c := &cardsAPI{brand: map[string][]string{"customer1": {"UNACTIVATED"}, "customer2": {"UNACTIVATED", "UNACTIVATED"}, "customer3": {"EFFECTIVE"}}}
	useAWS(t, manager.discovery())
	c.deploy(t).serve(t)
	path := write(t, "openids.txt", "customer1\ncustomer2\ncustomer3\n")
	place := path + ".reconcile.json"
	args := []string{"reconcile", path, "--brand-id", "1004", "--confirm", "--stack", stackName}
	ctx, interrupt := context.WithCancel(t.Context())
	c.onCall = func(call string) {
		if strings.Contains(call, "customer2-0/confirm") {
			interrupt()
		}
	}
	var out, errs strings.Builder
	code := run(ctx, args, &console{in: strings.NewReader(""), out: &out, err: &errs})
	if code != exitFailed || !strings.HasPrefix(out.String(), "line 1: brand card pb UNACTIVATED: confirmed\nline 2: brand card pb UNACTIVATED: confirmed\n") || !strings.Contains(out.String(), "cause: at line 2: it was interrupted\n    cure: run this again: it goes on there\n") {
		t.Errorf("%d\n%s%s", code, out.String(), errs.String())
	}
	kept := string(must(os.ReadFile(place)))
	if info, err := os.Stat(place); err != nil || info.Mode().Perm() != 0o600 || strings.Contains(kept+out.String(), "customer") {
		t.Errorf("%v, %v\n%s", info, err, kept)
	}
	first := len(c.calls)
	r := tool(t, append(args, "--json")...).requirePassed(t)
	if got := *r.Reconciled; got.Asked != 3 || got.LostBrand != 3 || got.Confirmed != 3 || got.Members != 2 || len(r.Findings) != 1 {
		t.Errorf("%+v, %v", got, r.Findings)
	}
	if strings.Contains(fmt.Sprint(c.calls[first:]), "customer1") {
		t.Errorf("%q", c.calls[first:])
	}
	// Another input, or other flags, begin anew; lines that were added don't.
	for _, row := range []struct {
		name, input string
		args        []string
		asked       int // in this run
	}{
		{"the same", "customer1\ncustomer2\ncustomer3\n", args, 2},
		{"a line more", "customer1\ncustomer2\ncustomer3\ncustomer4\n", args, 3},
		{"another first line", "customer4\ncustomer2\ncustomer3\n", args, 3},
		{"fewer lines", "", append(args, "--brand-id", "1005"), 0},
		{"another brand", "customer1\ncustomer2\n", append(args, "--brand-id", "1005"), 2},
		{"without --confirm", "customer1\ncustomer2\n", slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == "--confirm" }), 2},
		{"from standard input", "customer1\ncustomer2\n", slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == path }), 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := errors.Join(os.WriteFile(place, []byte(kept), 0o600), os.WriteFile(path, []byte(row.input), 0o600)); err != nil {
				t.Fatal(err)
			}
			c.calls = nil
			terminal{stdin: row.input}.run(t, row.args...)
			if asked := strings.Count(strings.Join(c.calls, "\n"), "membercard-open/user/cards"); asked != row.asked {
				t.Errorf("asked for %d openids: %q", asked, c.calls)
			}
		})
	}
}

func TestReconcileRefusesItsInput(t *testing.T) {
	useAWS(t, manager.discovery())
	for _, row := range []struct{ name, input, cause string }{
		{"a table", "obLatjnx9gnqzS4myYGmLZ7LgLBA,张三\n", "line 1 of "},
		{"two a line", "a b\n", "line 1 of "},
		{"one of 129", "a\n" + strings.Repeat("o", 129), "line 2 of "},
		{"a heading only", "openid\n", "has no openids"},
		{"nothing", "", "is empty"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := tool(t, "reconcile", write(t, "openids.txt", row.input), "--stack", stackName)
			if o.code != exitFailed || !strings.Contains(o.err, row.cause) || !strings.Contains(o.err, "cure: ") {
				t.Errorf("%+v", o)
			}
			o.requireNo(t, "obLatjnx9gnqzS4myYGmLZ7LgLBA", "张三")
		})
	}
	if o := (terminal{in: true}).run(t, "reconcile", "--stack", stackName); o.code != exitFailed || !strings.Contains(o.err, "standard input") {
		t.Errorf("%+v", o)
	}
}

// There are at most 4 calls in any second, with confirmations. On a terminal, a bar shows
// how far it is.
func TestReconcileIsPaced(t *testing.T) {
	t.Parallel()
	c := &cardsAPI{brand: map[string][]string{"a": {"UNACTIVATED"}, "b": {"UNACTIVATED"}, "c": {"UNACTIVATED"}}}
	mux := http.NewServeMux()
	mux.Handle("/", c)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(publish(mux, func() discovery.Stack {
		return discovery.Stack{API: server.URL, AWS: manager.discovery(), CA: string(pay.CA()), Outputs: map[string]string{"ApiUrl": server.URL}}
	}))
	begun := time.Now()
	o := terminal{in: true}.run(t, "reconcile", write(t, "openids.txt", "a\nb\nc\n"), "--brand-id", "1004", "--local="+server.URL, "--confirm")
	if o.code != exitOK || len(c.at) != 9 {
		t.Fatalf("%d calls: %+v", len(c.at), o)
	}
	for i, at := range c.at { // a call may come late, but none too early
		if took := at.Sub(begun); took < time.Duration(i)*time.Second/4 {
			t.Errorf("call %d comes after %v", i, took)
		}
	}
	bars := regexp.MustCompile("(\r *)+").ReplaceAllString(o.err, "\n")
	if want := regexp.MustCompile(`^\n\[\.{20}\] 0 of 3\n\[#{6}\.{14}\] 1 of 3, [0-3]\.\d calls/s, \d+s left\n\[#{13}\.{7}\] 2 of 3, [0-3]\.\d calls/s, \d+s left\n$`); !want.MatchString(bars) {
		t.Errorf("%q", o.err)
	}
}

// The whole way on the local stack: notifications are lost, WeChat Pay gives up, and one
// command confirms the cards.
func TestReconcileTheLocalStack(t *testing.T) {
	unpaced(t)
	s := ownStack(t, stack.Config{Auth: stack.AuthIAM, Unthrottled: true})
	s.WeChatPay.Deliver(wechatpay.Delivery{Timeout: 5 * time.Second, Interval: 10 * time.Millisecond, Retries: 1})
	right, wrong := s.WeChatPay.MerchantSecret(wechatpay.Both), map[string]string{}
	if err := json.Unmarshal([]byte(right), &wrong); err != nil {
		t.Fatal(err)
	}
	wrong["apiv3_key"] = strings.Repeat("0", 32)
	s.Secrets.Put(stack.MerchantSecret, string(must(json.Marshal(wrong))))
	card := must(journey.OpenBrandCard(t.Context(), s))
	for deadline := time.Now().Add(20 * time.Second); len(s.WeChatPay.Deliveries()) < 2 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	s.Secrets.Put(stack.MerchantSecret, right)
	args := []string{"reconcile", write(t, "openids.txt", card.OpenID), "--brand-id", card.BrandID, "--json", "--local=" + s.URL}
	tool(t, args...).requireFailed(t, "found lost")
	o := tool(t, append(args, "--confirm")...)
	if r := o.requirePassed(t); r.Reconciled.Confirmed != r.Reconciled.LostBrand || r.Reconciled.Confirmed == 0 || r.Reconciled.LostMerchant == 0 {
		t.Errorf("%s", o.out)
	}
	if after, _ := s.WeChatPay.UserCard(card.Code); after.State != wechatpay.Effective {
		t.Errorf("%+v", after)
	}
	o.requireNo(t, card.OpenID, card.Code)
}
