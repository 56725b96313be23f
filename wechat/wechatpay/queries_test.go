package wechatpay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"membercard/wechat/network/networktest"
	"membercard/wechat/sandbox"
)

func get(path string) call { return call{method: "GET", path: path} }

// TestQueries has the requests of the pages, and what is wrong with others.
func TestQueries(t *testing.T) {
	s := newSandbox(t)
	brand, merchant := s.UserCards()[0], s.UserCards()[1]
	queried := func(query string) call { return get(userCardsPath + brand.Code + query) }
	listed := func(query string) call {
		return get(strings.TrimSuffix(userCardsPath, "/") + "?brand_id=1004&openid=" + openID + query)
	}
	owned := func(query string) call {
		return get("/v3/marketing/membercard-open/user/cards?openid=" + openID + query)
	}
	const named = "?brand_id=1004&card_id=" + cardID + "&openid=" + openID
	checkAnswers(t, s, []row{
		{"a brand card", queried(named), 200, "", "", ""},
		{"unknown code", get(userCardsPath + "1" + named), 404, "RESOURCE_NOT_EXISTS", "不存在", ""},
		{"a merchant card's code", get(userCardsPath + merchant.Code + named), 404, "RESOURCE_NOT_EXISTS", "不存在", ""},
		{"another brand", queried(strings.Replace(named, "1004", "1005", 1)), 400, "INVALID_REQUEST", "不匹配", ""},
		{"another user", queried(named + "x"), 400, "INVALID_REQUEST", "不匹配", ""},
		{"no card_id", queried("?brand_id=1004&openid=" + openID), 400, "PARAM_ERROR", "必填", "query card_id"},
		{"openid of 129", queried("?brand_id=1004&card_id=p&openid=" + strings.Repeat("o", 129)), 400, "PARAM_ERROR", "大于最大值 128", "query openid"},

		{"brand cards", listed("&user_card_state=UNACTIVATED&offset=0&limit=20"), 200, "", "", ""},
		{"an unknown state", listed("&user_card_state=DELETE&offset=0&limit=20"), 400, "PARAM_ERROR", "取值应为", "query user_card_state"},
		{"no offset", listed("&limit=20"), 400, "PARAM_ERROR", "必填", "query offset"},
		{"no limit", listed("&offset=0"), 400, "PARAM_ERROR", "必填", "query limit"},
		{"an offset below 0", listed("&offset=-1&limit=20"), 400, "PARAM_ERROR", "小于最小值 0", "query offset"},
		{"an offset of words", listed("&offset=a&limit=20"), 400, "PARAM_ERROR", "合法的整数", "query offset"},
		{"a limit of 0", listed("&offset=0&limit=0"), 400, "PARAM_ERROR", "小于最小值 1", "query limit"},
		{"a limit of 21", listed("&offset=0&limit=21"), 400, "PARAM_ERROR", "大于最大值 20", "query limit"},

		{"a merchant card", get(cardsPath + cardID + "/codes/" + merchant.Code), 200, merchant.Code, "", ""},
		{"a brand card's code there", get(cardsPath + cardID + "/codes/" + brand.Code), 404, "RESOURCE_NOT_EXISTS", "", ""},
		{"merchant cards", owned("&appid=wxea9c30890f48d5ae&offset=0&limit=20"), 200, "", "", ""},
		{"an appid of 33", owned("&offset=0&limit=20&appid=" + strings.Repeat("w", 33)), 400, "PARAM_ERROR", "大于最大值 32", "query appid"},
		{"the greatest offset", owned("&offset=9223372036854775807&limit=20"), 200, "", "", ""},
	})
}

// TestPages lists 22 of each kind of cards. In the one list offset is a position, in the
// other the number of a page.
func TestPages(t *testing.T) {
	s := newSandbox(t)
	s.Do(func() {
		for range 21 {
			s.addCard(s.own(), "1004", cardID, openID)
			s.addCard(s.own(), "", cardID, openID)
			s.addCard(s.own(), "1005", cardID, "oOther")
		}
	})
	for _, tt := range []struct {
		path          string
		offset, limit int
		want          int // cards
	}{
		{"/v3/brand/partner/card-member/user-cards?brand_id=1004&", 0, 20, 20},
		{"/v3/brand/partner/card-member/user-cards?brand_id=1004&", 1, 20, 20},
		{"/v3/brand/partner/card-member/user-cards?brand_id=1004&", 20, 20, 2},
		{"/v3/brand/partner/card-member/user-cards?brand_id=1004&", 22, 20, 0},
		{"/v3/marketing/membercard-open/user/cards?", 0, 20, 20},
		{"/v3/marketing/membercard-open/user/cards?", 1, 20, 2},
		{"/v3/marketing/membercard-open/user/cards?", 4, 5, 2},
		{"/v3/marketing/membercard-open/user/cards?", 2, 20, 0},
	} {
		status, got := get(fmt.Sprintf("%sopenid=%s&offset=%d&limit=%d", tt.path, openID, tt.offset, tt.limit)).do(t, s)
		data, sent := got["data"].([]any)
		if status != 200 || got["total_count"] != 22.0 || got["offset"] != float64(tt.offset) || got["limit"] != float64(tt.limit) || len(data) != tt.want || sent != (tt.want > 0) {
			t.Errorf("%+v: %d, %d cards of %v", tt, status, len(data), got["total_count"])
		}
	}
}

// TestStates takes a card of each kind through its states.
func TestStates(t *testing.T) {
	now := time.Now()
	s, err := start(func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	networktest.Close(t, s)
	states := func(brand, merchant UserCard) string {
		_, one := get(userCardsPath+brand.Code+"?brand_id=1004&card_id="+cardID+"&openid="+openID).do(t, s)
		_, other := get(cardsPath+cardID+"/codes/"+merchant.Code).do(t, s)
		return fmt.Sprint(one["user_card_state"], " ", one["invalid_reason"], ", ", other["user_card_status"], " ", other["membership_number"])
	}
	add := func(validDate string) (brand, merchant UserCard) {
		s.Do(func() {
			one, other := s.addCard(s.own(), "1004", cardID, openID), s.addCard(s.own(), "", cardID, openID)
			one.validDate, other.validDate = []byte(validDate), []byte(validDate)
			brand, merchant = *one, *other
		})
		return brand, merchant
	}
	brand, merchant := add(`{"type":"FIX_TERM","available_day_after_receive":30}`)
	for _, tt := range []struct {
		name string
		do   func()
		want string
	}{
		{"opened", func() {}, "UNACTIVATED <nil>, NOT_ACTIVATE "},
		{"confirmed and activated", func() {
			confirm(brand, confirmBody(brand, "CREATE_CARD_SUCCESS", "")).do(t, s)
			call{path: cardsPath + cardID + "/codes/" + merchant.Code + "/activate", body: `{"membership_number":"A-1"}`}.do(t, s)
		}, "EFFECTIVE <nil>, EFFECTIVE A-1"},
		{"a second before the end", func() { now = brand.Opened.AddDate(0, 0, 30).Add(-time.Second) }, "EFFECTIVE <nil>, EFFECTIVE A-1"},
		{"at the end", func() { now = brand.Opened.AddDate(0, 0, 30) }, "EXPIRED <nil>, EXPIRE A-1"},
		{"made invalid", func() { s.InvalidateCard(brand.Code, "重复"); s.InvalidateCard(merchant.Code, "重复") }, "INVALID 重复, UNAVAILABLE A-1"},
		{"deleted", func() {
			brand, merchant = add(`{"type":"FIX_TIME_RANGE","available_end_time":"2999-01-01T00:00:00+08:00"}`)
			s.DeleteCard(brand.Code)
			s.DeleteCard(merchant.Code)
		}, "INVALID 用户删除会员卡, DELETE "},
		{"refused", func() {
			brand, merchant = add(`{"type":"PERMANENT"}`)
			confirm(brand, confirmBody(brand, "CREATE_CARD_FAIL", "")).do(t, s)
		}, "INVALID 商家开卡失败, NOT_ACTIVATE "},
	} {
		if tt.do(); states(brand, merchant) != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, states(brand, merchant), tt.want)
		}
		now = now.Add(time.Second) // 5 queries a second
	}
	status, got := get("/v3/brand/partner/card-member/user-cards?brand_id=1004&openid="+openID+"&user_card_state=INVALID&offset=0&limit=20").do(t, s)
	if data, _ := got["data"].([]any); status != 200 || len(data) != 3 {
		t.Errorf("%d %s", status, sandbox.JSON(got))
	}
}

// TestQueryLimit counts 5 of each query of brand cards a second, and none of merchant cards.
func TestQueryLimit(t *testing.T) {
	s := newSandbox(t)
	s.LimitQueries(5)
	brand, merchant := s.UserCards()[0], s.UserCards()[1]
	for i := range 7 {
		for path, limited := range map[string]bool{
			userCardsPath + brand.Code + "?brand_id=1004&card_id=" + cardID + "&openid=" + openID:            true,
			"/v3/brand/partner/card-member/user-cards?brand_id=1004&openid=" + openID + "&offset=0&limit=20": true,
			cardsPath + cardID + "/codes/" + merchant.Code:                                                   false,
			"/v3/marketing/membercard-open/user/cards?openid=" + openID + "&offset=0&limit=20":               false,
		} {
			want := map[bool]int{true: 429, false: 200}[limited && i >= 5]
			if status, got := get(path).do(t, s); status != want {
				t.Errorf("%d: %s: %d %v, want %d", i, path, status, got, want)
			}
		}
	}
}
