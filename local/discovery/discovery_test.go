package discovery

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
)

func TestAStackSaysWhereItIs(t *testing.T) {
	want := Stack{API: "http://127.0.0.1:8080", WeChatPay: []string{"https://127.0.0.1:1"}, CA: "PEM", AWS: AWS{Region: "us-east-1"}, Secrets: Secrets{Merchant: "m"}}
	for _, row := range []struct {
		name, header string
		status       int
	}{{"a tool", "", 200}, {"a page", "Origin", 403}, {"a page of the same origin", "Sec-Fetch-Site", 403}} {
		t.Run(row.name, func(t *testing.T) {
			r, w := httptest.NewRequest(http.MethodGet, Path, nil), httptest.NewRecorder()
			if row.header != "" {
				r.Header.Set(row.header, "same-origin")
			}
			want.ServeHTTP(w, r)
			var got Stack
			if w.Code != row.status || w.Code == 200 && (json.Unmarshal(w.Body.Bytes(), &got) != nil || !reflect.DeepEqual(got, want)) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}
