package officialaccount

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestGet compares every card with [Sandbox.Cards].
func TestGet(t *testing.T) {
	c := newSandbox(t)
	added := c.AddCards(500)
	cards := c.Cards()
	types := make(map[string]bool)
	seen := make(map[string]bool)
	form := regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
	token := c.token(t)
	for _, card := range cards {
		if !form.MatchString(card.ID) || seen[card.ID] {
			t.Errorf("ID %q", card.ID)
		}
		seen[card.ID], types[card.Type] = true, true
		made := get(card.ID)
		made.token = token
		got := c.do(t, made)
		var special map[string]any
		if err := json.Unmarshal(got.Card[strings.ToLower(card.Type)], &special); err != nil {
			t.Fatalf("%+v: %v", got, err)
		}
		base := special["base_info"]
		delete(special, "base_info")
		if string(got.Card["card_type"]) != `"`+card.Type+`"` || got.Errcode != 0 || got.Errmsg != "ok" ||
			!reflect.DeepEqual(base, any(card.BaseInfo)) || !reflect.DeepEqual(special, card.Special) {
			t.Errorf("%s, want %+v", got.Card, card)
		}
		if card.BaseInfo["id"] != card.ID || card.BaseInfo["status"] != passed || !reflect.DeepEqual(card, c.Card(card.ID)) {
			t.Errorf("%+v", card)
		}
	}
	if len(types) != 10 || len(cards) != 510 || cards[0].ID != member || cards[0].Type != "MEMBER_CARD" {
		t.Errorf("%d cards of the types %v", len(cards), types)
	}
	if len(added) != 500 || c.Card(added[499]).Type != "MEMBER_CARD" {
		t.Errorf("%d added", len(added))
	}
	if got := cards[0].BaseInfo["promotion_app_brand_user_name"]; got != "gh_86a091e50ad4@app" {
		t.Errorf("the example leads to %v", got)
	}
}

// TestUpdate checks that an update changes its fields and no others.
func TestUpdate(t *testing.T) {
	const cash = "pbLatjCash"
	for _, tt := range []struct {
		name, card, body string
		ignore           string
		base, special    map[string]any // the changes; nil: the field is gone
	}{
		{"base_info", member, `"member_card":{"base_info":{"promotion_app_brand_pass":"pages/offers","custom_url_name":"去看看<&>"}}`, "",
			map[string]any{"promotion_app_brand_pass": "pages/offers", "custom_url_name": "去看看<&>"}, nil},
		{"beside base_info", member, `"member_card":{"activate_url":"https://example.com/","activate_app_brand_user_name":"gh_86a091e50ad4@app","activate_app_brand_pass":"a"}`, "",
			nil, map[string]any{"activate_url": "https://example.com/", "activate_app_brand_user_name": "gh_86a091e50ad4@app", "activate_app_brand_pass": "a"}},
		{"both", member, `"member_card":{"base_info":{"center_title":"到店"},"prerogative":"积分"}`, "",
			map[string]any{"center_title": "到店"}, map[string]any{"prerogative": "积分"}},
		{"cleared", member, `"member_card":{"base_info":{"custom_app_brand_user_name":"","custom_app_brand_pass":""},"activate_url":""}`, "",
			map[string]any{"custom_app_brand_user_name": nil, "custom_app_brand_pass": nil}, map[string]any{"activate_url": nil}},
		{"cleared, and was not there", cash, `"cash":{"base_info":{"custom_url":""}}`, "", nil, nil},
		{"unchanged", member, `"member_card":{"base_info":{"custom_url":"http://www.qq.com"}}`, "", nil, nil},
		{"another type", cash, `"cash":{"base_info":{"custom_url":"https://example.com/"}}`, "",
			map[string]any{"custom_url": "https://example.com/"}, nil},
		{"an object, whole", member, `"member_card":{"custom_cell1":{"url":"https://example.com/"}}`, "",
			nil, map[string]any{"custom_cell1": map[string]any{"url": "https://example.com/"}}},
		{"ignored", member, `"member_card":{"base_info":{"custom_url":"x","custom_url_name":"y"}}`, "custom_url",
			map[string]any{"custom_url_name": "y"}, nil},
		{"ignored beside base_info", member, `"member_card":{"activate_url":"x"}`, "activate_url", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newSandbox(t)
			changed := func(card Card) Card {
				for _, level := range []struct{ shown, changes map[string]any }{
					{card.BaseInfo, tt.base},
					{card.Special, tt.special},
				} {
					maps.Copy(level.shown, level.changes)
					maps.DeleteFunc(level.shown, func(_ string, value any) bool { return value == nil })
				}
				return card
			}
			before := c.Cards()
			c.pass(time.Minute)
			if tt.ignore != "" {
				c.Ignore(tt.ignore)
			}
			got := c.do(t, update(tt.card, tt.body))
			if got.Errcode != 0 || got.Errmsg != "ok" || got.SendCheck == nil || *got.SendCheck {
				t.Fatalf("%+v", got)
			}
			for i, card := range c.Cards() {
				want := before[i]
				if card.ID == tt.card {
					want = changed(want)
					want.BaseInfo["update_time"] = float64(c.time.Load().Unix())
				}
				if !reflect.DeepEqual(card, want) {
					t.Errorf("%+v, want %+v", card, want)
				}
			}
			if tt.ignore == "" {
				return
			}
			c.Heal()
			c.do(t, update(tt.card, tt.body))
			if card := c.Card(tt.card); card.BaseInfo[tt.ignore] != "x" && card.Special[tt.ignore] != "x" {
				t.Errorf("healed: %+v", card)
			}
		})
	}
}

// TestReview has reviews of a card, in which two fields change.
func TestReview(t *testing.T) {
	const (
		url  = `"custom_url":`
		pass = `"custom_app_brand_pass":`
	)
	c := newSandbox(t)
	send := func(fields string, check bool) {
		t.Helper()
		got := c.do(t, update(member, `"member_card":{"base_info":{`+fields+`}}`))
		if got.Errcode != 0 || got.SendCheck == nil || *got.SendCheck != check {
			t.Errorf("%+v, want send_check %t", got, check)
		}
	}
	for _, tt := range []struct {
		name              string
		act               func()
		url, pass, status any
	}{
		{"at first", func() {}, "http://www.qq.com", "API/cardPage", passed},
		{"no review", func() { send(url+`"a"`, false) }, "a", "API/cardPage", passed},
		{"nothing to approve", c.ApproveReviews, "a", "API/cardPage", passed},
		{"sent", func() { c.Review(true); send(url+`"b"`, true) }, "a", "API/cardPage", inReview},
		{"sent more", func() { send(pass+`"p"`, true) }, "a", "API/cardPage", inReview},
		{"approved", c.ApproveReviews, "b", "p", passed},
		{"approved twice", c.ApproveReviews, "b", "p", passed},
		{"sent again", func() { send(url+`"c"`, true) }, "b", "p", inReview},
		{"joins the review", func() { c.Review(false); send(url+`"d"`, true) }, "b", "p", inReview},
		{"approved again", c.ApproveReviews, "d", "p", passed},
		{"cleared", func() { c.Review(true); send(url+`"",`+pass+`""`, true); c.ApproveReviews() }, nil, nil, passed},
		{"ignored", func() { c.Ignore("custom_url"); send(url+`"e",`+pass+`"q"`, true); c.ApproveReviews() }, nil, "q", passed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.act()
			if got := c.Card(member).BaseInfo; got["custom_url"] != tt.url || got["custom_app_brand_pass"] != tt.pass || got["status"] != tt.status {
				t.Errorf("%v, want %v %v %v", got, tt.url, tt.pass, tt.status)
			}
		})
	}
	if got := c.Card("pbLatjCash").BaseInfo["status"]; got != passed {
		t.Errorf("another card: %v", got)
	}
}

// TestCreate makes the same card twice: these are two cards.
func TestCreate(t *testing.T) {
	c := newSandbox(t)
	first, second := c.do(t, call{path: createPath, body: newCard}), c.do(t, call{path: createPath, body: newCard})
	if first.Errmsg != "ok" || second.Errmsg != "ok" || first.CardID == second.CardID {
		t.Fatalf("%+v, %+v", first, second)
	}
	for _, id := range []string{first.CardID, second.CardID} {
		got := c.do(t, get(id))
		card := c.Card(id)
		if got.Errcode != 0 || card.Type != "MEMBER_CARD" || card.Special["prerogative"] != "会员专享价" || card.Special["base_info"] != nil ||
			card.BaseInfo["promotion_app_brand_pass"] != "API/cardPage" || card.BaseInfo["id"] != id || card.BaseInfo["status"] != passed {
			t.Errorf("%+v", card)
		}
		if got := c.do(t, update(id, `"member_card":{"base_info":{"custom_url":"x"}}`)); got.Errcode != 0 {
			t.Errorf("%+v", got)
		}
	}
	c.Review(true)
	third := c.do(t, call{path: createPath, body: newCard}).CardID
	if got := c.Card(third).BaseInfo["status"]; got != inReview {
		t.Errorf("in review: %v", got)
	}
	c.ApproveReviews()
	if got := c.Card(third).BaseInfo["status"]; got != passed {
		t.Errorf("approved: %v", got)
	}
}

func TestQuota(t *testing.T) {
	const right, wrong = `"member_card":{"base_info":{"custom_url":"x"}}`, `"member_card":{}`
	c := newSandbox(t)
	for i, tt := range []struct {
		quota int // -2: as it is
		body  string
		want  int
	}{
		{-2, right, 0},
		{0, right, 45009},
		{2, wrong, 47001},
		{-2, right, 0},
		{-2, right, 45009},
		{-2, wrong, 45009},
		{-1, right, 0},
	} {
		if tt.quota != -2 {
			c.Quota(tt.quota)
		}
		if got := c.do(t, update(member, tt.body)); got.Errcode != tt.want {
			t.Errorf("row %d: %+v, want %d", i, got, tt.want)
		}
		if got := c.do(t, get(member)); got.Errcode != 0 {
			t.Errorf("row %d: get: %+v", i, got)
		}
	}
}
