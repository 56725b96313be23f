package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"membercard/shared/brandcard"
	"membercard/shared/strictjson"
)

// A finding is a card that nobody confirmed, or a call that was refused. It has no personal
// data: the line of the input stands for the openid.
type finding struct {
	Line    int    `json:"line"`
	Kind    string `json:"kind"`              // brand or merchant
	CardID  string `json:"card_id,omitempty"` // of the template
	State   string `json:"state,omitempty"`   // UNACTIVATED or NOT_ACTIVATE
	Outcome string `json:"outcome"`           // lost, confirmed or refused
	Code    string `json:"code,omitempty"`    // of a refusal
}

func (f finding) String() string {
	what := f.Kind + " cards"
	if f.State != "" {
		what = f.Kind + " card " + f.CardID + " " + f.State
	}
	return printable(strings.TrimSpace(fmt.Sprintf("line %d: %s: %s %s", f.Line, what, f.Outcome, f.Code)))
}

// tally is what was found so far.
type tally struct {
	Asked        int            `json:"asked"`         // openids
	Members      int            `json:"members"`       // openids with a card that is EFFECTIVE
	LostBrand    int            `json:"lost_brand"`    // cards that were UNACTIVATED
	LostMerchant int            `json:"lost_merchant"` // cards that are NOT_ACTIVATE
	Confirmed    int            `json:"confirmed"`     // of LostBrand
	Refused      map[string]int `json:"refused"`       // calls by code
}

// progress is what the file beside the input has. It is no personal data.
type progress struct {
	tally
	Line int    `json:"line"` // up to which the input is done
	Sum  string `json:"sum"`  // SHA-256 of what is asked for, and of the input up to Line
}

// reconciliation is a run of membercard reconcile.
type reconciliation struct {
	*app
	progress
	api     *api
	lines   []string // of the input: an openid each, or nothing
	openids int      // in lines
	place   string   // the file beside the input; none for standard input

	brandID string // empty: brand cards are not asked for
	confirm bool
	closed  map[string]bool // kinds of cards that are not asked for
}

func (a *app) reconcile() *cobra.Command {
	var stack string
	rc := reconciliation{app: a}
	cmd := a.withArgument("reconcile [FILE]", a.text("Find the cards that nobody confirmed, and confirm them", "查找未确认的会员卡，并确认"), func(ctx context.Context, r *report, path string) error {
		if bad := rc.read(path); bad != nil {
			return bad
		}
		d, err := a.deployed(ctx, r, stack)
		if err != nil {
			return err
		}
		if d != nil && r.failed() == 0 {
			rc.api, rc.closed = a.api(d), map[string]bool{"brand": rc.brandID == ""}
			rc.resume()
			rc.report(r, rc.run(ctx, r))
		}
		return nil
	})
	cmd.Long = a.text(`Find the cards of customers whose notifications were lost: of each openid in FILE or
standard input, one a line, those that are UNACTIVATED (brand) or NOT_ACTIVATE (merchant).
With --confirm, the brand cards are confirmed; the others wait for the customer, or for
your page. There are at most 4 calls a second. A run that was ended goes on where it was
when it is started again; FILE.reconcile.json has the place.

It needs permission for execute-api:Invoke, cloudformation:DescribeStacks and
cloudformation:ListStackResources.`,
		`查找因通知丢失而未确认的会员卡：对于 FILE（或标准输入）中每行一个的 openid，列出状态为
UNACTIVATED（品牌）和 NOT_ACTIVATE（商家）的会员卡。加 --confirm 时确认品牌会员卡；
其余的要由用户或你的页面激活。每秒最多调用 4 次。中断后再次执行会从中断处继续，
进度保存在 FILE.reconcile.json。

所需权限：execute-api:Invoke、cloudformation:DescribeStacks 和
cloudformation:ListStackResources。`)
	cmd.Example = "  membercard reconcile openids.txt --brand-id 1004 --stack membercard-production --confirm"
	cmd.Flags().StringVar(&rc.brandID, "brand-id", "", a.text("the brand's `ID`; without it, only merchant cards are asked for", "品牌 `ID`；不填则只查询商家会员卡"))
	cmd.Flags().BoolVar(&rc.confirm, "confirm", false, a.text("confirm brand cards that are UNACTIVATED", "确认状态为 UNACTIVATED 的品牌会员卡"))
	return a.stackFlag(cmd, &stack)
}

var openID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// read reads the openids, each once. A first line that names the column is none.
func (rc *reconciliation) read(path string) (bad *fault) {
	var text []byte
	switch {
	case path != "":
		rc.place = path + ".reconcile.json"
		text, bad = readUpTo(path, 64<<20)
	case rc.inIsTerminal:
		bad = faultf("name the file with them, an openid a line", "there are no openids on standard input")
	default:
		path = "standard input"
		var err error
		if text, err = io.ReadAll(rc.in); err != nil {
			bad = asFault(err)
		}
	}
	if bad != nil {
		return bad
	}
	text, _ = mend(text)
	known := map[string]bool{"": true}
	for i, openid := range strings.Split(string(text), "\n") {
		openid = strings.TrimSpace(openid)
		switch {
		case known[openid], i == 0 && openid == "openid":
			openid = ""
		case !openID.MatchString(openid):
			return faultf("an openid has letters, digits, - and _, at most 128, and a line to itself", "line %d of %s is no openid", i+1, path)
		default:
			rc.openids++
		}
		rc.lines, known[openid] = append(rc.lines, openid), true
	}
	if rc.openids == 0 {
		return faultf("give an openid a line", "%s has no openids", path)
	}
	return nil
}

// resume goes on where an earlier run with the same input and flags ended.
func (rc *reconciliation) resume() {
	var before progress
	if text, err := os.ReadFile(rc.place); err != nil || json.Unmarshal(text, &before) != nil {
		before = progress{}
	}
	rc.progress = progress{tally: tally{Refused: map[string]int{}}, Sum: link("", fmt.Sprint(rc.api.url, " ", rc.brandID, " ", rc.confirm))}
	sum := rc.Sum
	for i, openid := range rc.lines {
		if sum = link(sum, openid); i+1 == before.Line && sum == before.Sum && before.Refused != nil {
			rc.progress = before
			return
		}
	}
}

// link is the SHA-256 of a line, and of all before it.
func link(before, line string) string {
	sum := sha256.Sum256([]byte(before + "\n" + line))
	return hex.EncodeToString(sum[:])
}

// keep writes the place.
func (rc *reconciliation) keep() *fault {
	if rc.place != "" && overwrite(rc.place, string(strictjson.Encode(rc.progress))+"\n") != nil {
		return faultf("put the input into a folder that you may write to, or give it as standard input", "%s can't be written", rc.place)
	}
	return nil
}

// run asks for the cards of each openid, until ctx ends. An openid that is not done is begun
// anew in the next run, so of its cards only those that were confirmed count.
func (rc *reconciliation) run(ctx context.Context, r *report) *fault {
	defer rc.show("")
	first, began := rc.Asked, time.Now()
	for rc.Line < len(rc.lines) {
		openid := rc.lines[rc.Line]
		var found []finding
		var member bool
		bad := rc.keep()
		if openid != "" && bad == nil {
			rc.show(bar(rc.Asked-first, rc.Asked, rc.openids, rc.api.calls, time.Since(began)))
			found, member, bad = rc.customer(ctx, openid)
		}
		for _, f := range found {
			if bad == nil || f.Outcome == "confirmed" {
				rc.count(&f)
				r.Findings = append(r.Findings, f)
			}
		}
		if bad != nil {
			_ = rc.keep() // which worked before, or is the fault
			bad.cause = fmt.Sprintf("at line %d: %s", rc.Line+1, bad.cause)
			return bad
		}
		if rc.Line, rc.Sum = rc.Line+1, link(rc.Sum, openid); openid != "" {
			rc.Asked++
		}
		if member {
			rc.Members++
		}
	}
	_ = os.Remove(rc.place) // what stays says that all is done
	return nil
}

// count counts a finding, and prints it as a line.
func (rc *reconciliation) count(f *finding) {
	switch {
	case f.State == "UNACTIVATED":
		rc.LostBrand++
	case f.State == "NOT_ACTIVATE":
		rc.LostMerchant++
	}
	switch f.Outcome {
	case "confirmed":
		rc.Confirmed++
	case "refused":
		rc.Refused[f.Code]++
	}
	if !rc.json {
		rc.show("")
		fmt.Fprintln(rc.out, rc.say(f.String()))
	}
}

// customer asks for the cards of an openid, and confirms what is to be confirmed.
func (rc *reconciliation) customer(ctx context.Context, openid string) (found []finding, member bool, bad *fault) {
	for _, kind := range []string{"brand", "merchant"} {
		if rc.closed[kind] {
			continue
		}
		cards, refused, bad := rc.list(ctx, kind, openid)
		if rc.closed[kind] = refused == "NO_AUTH"; rc.closed["brand"] && rc.closed["merchant"] {
			bad = faultf("apply to WeChat Pay for it, or name another stack", "WeChat Pay lets no cards be asked for: NO_AUTH")
		}
		if refused != "" {
			found = append(found, finding{Line: rc.Line + 1, Kind: kind, Outcome: "refused", Code: refused})
		}
		for i := 0; i < len(cards) && bad == nil; i++ {
			c, f := &cards[i], finding{Line: rc.Line + 1, Kind: kind, CardID: cards[i].CardID, Outcome: "lost"}
			if kind == "merchant" { // the list has no states
				f.Code, bad = rc.api.call(ctx, http.MethodGet, merchantCards+"cards/"+url.PathEscape(c.CardID)+"/codes/"+url.PathEscape(c.Code), nil, c)
			}
			switch f.State = c.UserCardState + c.UserCardStatus; {
			case f.State == "EFFECTIVE":
				member = true
			case f.State == "UNACTIVATED" && rc.confirm:
				f.Outcome = "confirmed"
				f.Code, bad = rc.confirmCard(ctx, c, openid)
			}
			if f.Code != "" {
				f.Outcome = "refused"
			}
			if bad == nil && (f.Code != "" || f.State == "UNACTIVATED" || f.State == "NOT_ACTIVATE") {
				found = append(found, f)
			}
		}
		if bad != nil {
			return found, false, bad
		}
	}
	return found, member, nil
}

const (
	brandCards    = "/v3/brand/partner/card-member/user-cards"
	merchantCards = "/v3/marketing/membercard-open/"
)

// card is a user's card, as the queries tell of it: a brand card has the first two members, a
// merchant card the others.
type card struct {
	UserCardCode   string `json:"user_card_code"`
	UserCardState  string `json:"user_card_state"`
	Code           string `json:"code"`
	UserCardStatus string `json:"user_card_status"`
	CardID         string `json:"card_id"`
}

// list asks for the cards of an openid, 20 at a time. In the list of brand cards offset is a
// position (分页开始位置), in that of merchant cards the number of a page (分页页码).
func (rc *reconciliation) list(ctx context.Context, kind, openid string) (cards []card, refused string, bad *fault) {
	path, query := merchantCards+"user/cards", url.Values{"openid": {openid}, "limit": {"20"}}
	if kind == "brand" {
		path = brandCards
		query.Set("brand_id", rc.brandID)
	}
	for number := 0; ; number++ {
		var page struct {
			Data       []card `json:"data"`
			TotalCount int    `json:"total_count"`
		}
		before, offset := len(cards), number
		if kind == "brand" {
			offset = before
		}
		query.Set("offset", strconv.Itoa(offset))
		if refused, bad = rc.api.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); refused != "" || bad != nil {
			return nil, refused, bad
		}
		for _, c := range page.Data {
			if !slices.Contains(cards, c) {
				cards = append(cards, c)
			}
		}
		if len(cards) == before || len(cards) >= page.TotalCount {
			return cards, "", nil
		}
	}
}

// confirmCard confirms a brand card. If that is refused the card decides, for somebody else
// may have confirmed it meanwhile.
func (rc *reconciliation) confirmCard(ctx context.Context, c *card, openid string) (refused string, bad *fault) {
	path := brandCards + "/" + url.PathEscape(c.UserCardCode) + "/confirm"
	body := map[string]string{"brand_id": rc.brandID, "card_id": c.CardID, "openid": openid, "user_card_confirm_state": "CREATE_CARD_SUCCESS"}
	if refused, bad = rc.api.call(ctx, http.MethodPost, path, body, nil); refused != "" {
		named := brandcard.Card{UserCardCode: c.UserCardCode, BrandID: rc.brandID, CardID: c.CardID, OpenID: openid}
		var now card
		if other, _ := rc.api.call(ctx, http.MethodGet, named.Path(), nil, &now); other == "" && now.UserCardState == brandcard.Effective {
			return "", nil
		}
	}
	return refused, bad
}

// report adds the summary. ended is why the run ended early.
func (rc *reconciliation) report(r *report, ended *fault) {
	r.Reconciled = &rc.tally
	brand := fmt.Sprintf("%d brand cards", rc.LostBrand)
	if rc.brandID == "" {
		brand = "no brand card was asked for, without --brand-id"
	}
	lost := step{Name: "found lost", OK: rc.LostBrand == 0 || rc.confirm, Detail: fmt.Sprintf("%s, %d merchant cards", brand, rc.LostMerchant)}
	switch {
	case !lost.OK:
		lost.Cause, lost.Cure = "the brand cards are UNACTIVATED: nobody confirmed them", "run this again with --confirm"
	case rc.LostMerchant > 0:
		lost.Warning = "the merchant cards are NOT_ACTIVATE: they wait for the customer, or for your page (docs/opening-a-card.md)"
	}
	number := func(name string, n int) step { return step{Name: name, OK: true, Detail: strconv.Itoa(n)} }
	r.add(step{Name: "asked", OK: true, Detail: fmt.Sprintf("%d of %d openids, until %s", rc.Asked, rc.openids, time.Now().UTC().Format(time.RFC3339))},
		number("members", rc.Members), lost, number("confirmed", rc.Confirmed))
	if codes := fmt.Sprint(rc.Refused); len(rc.Refused) > 0 {
		r.fail("refused", faultf("look the codes up: docs/runbook.md, section DeadLettersAlarm", "%s", printable(codes[len("map["):len(codes)-1])))
	} else {
		r.add(number("refused", 0))
	}
	if ended != nil {
		r.fail("ended early", faultf(strings.TrimPrefix(ended.cure+"; run this again: it goes on there", interrupted().cure+"; "), "%s", ended.cause))
	}
}

// bar is how far a command is, how many calls a second it makes, and how much time is left.
// Of those that are done, asked were done by this run, in the time that it took.
func bar(asked, done, all, calls int, took time.Duration) string {
	const width = 20
	filled := done * width / all
	text := fmt.Sprintf("[%s%s] %d of %d", strings.Repeat("#", filled), strings.Repeat(".", width-filled), done, all)
	if asked > 0 {
		left := took / time.Duration(asked) * time.Duration(all-done)
		text += fmt.Sprintf(", %.1f calls/s, %v left", float64(calls-1)/took.Seconds(), left.Round(time.Second))
	}
	return text
}
