package wechatpay

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core/auth"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/downloader"
	"github.com/wechatpay-apiv3/wechatpay-go/core/notify"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/wechat/sandbox"
)

// receiver is a merchant's server, which verifies and decrypts notifications with the
// official library and answers 401 if it can't.
type receiver struct {
	*httptest.Server
	handler *notify.Handler

	mu       sync.Mutex
	answer   func(w http.ResponseWriter, r *http.Request, n int) // to the n-th verified one; nil: 204
	verified []received
}

// received is a notification.
type received struct {
	event, id string
	header    http.Header
	resource  map[string]any
}

// newReceiver starts a receiver that verifies by mode, and has the sandbox notify it.
func newReceiver(t *testing.T, s *Sandbox, mode Mode) *receiver {
	t.Helper()
	m := secretOf(t, s, mode)
	var verifier auth.Verifier
	if mode == Certificates {
		d, err := downloader.NewCertificateDownloaderWithClient(context.Background(), libraryClient(t, s, mode), m.APIv3Key)
		if err != nil {
			t.Fatal(err)
		}
		verifier = verifiers.NewSHA256WithRSAVerifier(d)
	} else {
		key, err := utils.LoadPublicKey(m.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		verifier = verifiers.NewSHA256WithRSAPubkeyVerifier(m.PublicKeyID, *key)
	}
	handler, err := notify.NewRSANotifyHandler(m.APIv3Key, verifier)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{handler: handler}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	s.NotifyAt(r.URL + "/wechatpay/notifications")
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var resource map[string]any
	n, err := r.handler.ParseNotifyRequest(request.Context(), request, &resource)
	if err != nil || request.Method != http.MethodPost || request.URL.Path != "/wechatpay/notifications" {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"code":"FAIL","message":"not verified"}`)
		return
	}
	r.mu.Lock()
	r.verified = append(r.verified, received{n.EventType, n.ID, request.Header, resource})
	count, answer := len(r.verified), r.answer
	r.mu.Unlock()
	if answer != nil {
		answer(w, request, count)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// all returns the notifications that were verified, once there are n.
func (r *receiver) all(t *testing.T, n int) []received {
	t.Helper()
	return eventually(t, func() []received {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Clone(r.verified)
	}, n)
}

// TestJourneys takes cards from the token to a member, with each kind of key.
func TestJourneys(t *testing.T) {
	for _, mode := range []struct {
		name string
		mode Mode
	}{{"public key", PublicKey}, {"certificates", Certificates}} {
		t.Run(mode.name, func(t *testing.T) {
			s := newSandbox(t)
			s.SignWith(mode.mode)
			r := newReceiver(t, s, mode.mode)
			state := func(code, want string) {
				t.Helper()
				if c, ok := s.UserCard(code); !ok || c.State != want {
					t.Errorf("%+v, want %s", c, want)
				}
			}
			// expect takes the next notifications of a card, in any order.
			seen := 0
			expect := func(code string, events ...string) []received {
				t.Helper()
				got := r.all(t, seen+len(events))[seen:]
				seen += len(events)
				slices.SortFunc(got, func(a, b received) int { return cmp.Compare(a.event, b.event) })
				for i, event := range events {
					n := got[i]
					if n.event != event || n.resource["openid"] != openID || n.resource["card_id"] != cardID ||
						n.resource["code"] != code && n.resource["user_card_code"] != code {
						t.Errorf("%+v, want %s of %s", n, event, code)
					}
					if len(n.id) != 36 || n.header.Get("Request-Id") == "" || n.header.Get("Wechatpay-Signature-Type") != scheme || n.header.Get("Content-Type") != "application/json" {
						t.Errorf("%s %v", n.id, n.header)
					}
				}
				return got
			}

			// A brand card: token, component, notification, confirmation.
			brand, _, err := s.OpenCard(brandToken(t, s), openID)
			if err != nil {
				t.Fatal(err)
			}
			n := expect(brand.Code, "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE")[0]
			if n.resource["user_card_state"] != Unactivated || n.resource["brand_id"] != "1004" {
				t.Errorf("%+v", n.resource)
			}
			state(brand.Code, Unactivated)
			if status, got := confirm(brand, confirmBody(brand, "CREATE_CARD_SUCCESS", "")).do(t, s); status != 200 || got["user_card_state"] != Effective {
				t.Errorf("%d %v", status, got)
			}
			state(brand.Code, Effective)
			s.DeleteCard(brand.Code)
			expect(brand.Code, "BRAND_MEMBER_CARD_SP.USER_CARD.DELETE")
			state(brand.Code, Invalid)

			// A merchant card that WeChat Pay activates.
			auto, _, err := s.OpenCard(permissionToken(t, s, permissionBody), openID)
			if err != nil {
				t.Fatal(err)
			}
			state(auto.Code, Effective)
			both := expect(auto.Code, "MEMBERCARD.ACCEPT_CARD", "MEMBERCARD.ACTIVATE_CARD")
			if both[0].resource["outer_str"] != "szwxtd" || both[1].resource["activate_scene"] != "NEW_ACTIVATE" || both[1].resource["event_type"] != "MEMBER_CARD_ACTIVATE" {
				t.Errorf("%+v", both)
			}
			s.DeleteCard(auto.Code)
			if n := expect(auto.Code, "MEMBERCARD.USERCARD_MANAGE")[0]; n.resource["event_type"] != "USER_DELETE_MEMBERCARD" {
				t.Errorf("%+v", n)
			}

			// A merchant card that the merchant activates: jump, code, form, activation.
			opened, jump, err := s.OpenCard(permissionToken(t, s, `{"activate_type":"JUMP_ACTIVATE","activate_url":"https://a.example/b"}`), openID)
			if err != nil {
				t.Fatal(err)
			}
			expect(opened.Code, "MEMBERCARD.ACCEPT_CARD")
			state(opened.Code, Unactivated)
			_, query, _ := strings.Cut(jump.URL, "?")
			_, encrypted, _ := strings.Cut(query, "encrypt_code=") // as it came
			encrypted, _, _ = strings.Cut(encrypted, "&")
			_, got := call{method: "GET", path: cardsPath + cardID + "/decrypt-code?encrypt_code=" + encrypted}.do(t, s)
			values, _ := url.ParseQuery(query)
			_, form := call{method: "GET", path: "/v3/marketing/membercard-open/activate-informations/" + url.QueryEscape(values.Get("activate_ticket"))}.do(t, s)
			if form["user_information"] == nil {
				t.Errorf("%v", form)
			}
			if status, _ := (call{path: cardsPath + cardID + "/codes/" + fmt.Sprint(got["code"]) + "/activate", body: "{}"}).do(t, s); status != 204 {
				t.Errorf("%d", status)
			}
			expect(opened.Code, "MEMBERCARD.ACTIVATE_CARD")
			state(opened.Code, Effective)

			// The self-test.
			call{path: "/v3/security/echo", body: `{"echo_message":"hello","notify_url":"` + r.URL + `/wechatpay/notifications"}`}.do(t, s)
			if n := r.all(t, seen+1)[seen]; n.event != "SECURITY_ECHO.SUCCESS" || n.resource["echo_message"] != "hello" {
				t.Errorf("%+v", n)
			}
		})
	}
}

// TestDelivery delivers a notification on ways that have troubles.
func TestDelivery(t *testing.T) {
	t.Parallel()
	status := func(codes ...int) func(http.ResponseWriter, *http.Request, int) {
		return func(w http.ResponseWriter, _ *http.Request, n int) { w.WriteHeader(codes[min(n, len(codes))-1]) }
	}
	late := func(_ http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			<-r.Context().Done()
		}
	}
	s := newSandbox(t)
	r := newReceiver(t, s, PublicKey)
	for _, tt := range []struct {
		name     string
		next     []Trouble
		delivery Delivery // with an interval of 1 ms and 2 retries
		answer   func(http.ResponseWriter, *http.Request, int)
		want     string // kind, number and status of the attempts
	}{
		{"204", nil, Delivery{}, nil, "regular 1 204"},
		{"200", nil, Delivery{}, status(200), "regular 1 200"},
		{"500", nil, Delivery{}, status(500, 204), "regular 1 500, regular 2 204"},
		{"400", nil, Delivery{}, status(400, 204), "regular 1 400, regular 2 204"},
		{"redirected", nil, Delivery{}, status(302, 204), "regular 1 302, regular 2 204"},
		{"late", nil, Delivery{Timeout: time.Second}, late, "regular 1 0, regular 2 200"},
		{"never", nil, Delivery{}, status(500), "regular 1 500, regular 2 500, regular 3 500 gave up"},
		{"lost", []Trouble{LostAnswer}, Delivery{}, nil, "regular 1 204 lost, regular 2 204"},
		{"lost twice", []Trouble{LostAnswer, LostAnswer}, Delivery{}, nil, "regular 1 204 lost, regular 2 204 lost, regular 3 204"},
		{"twice", []Trouble{Twice}, Delivery{}, nil, "regular 1 204, duplicate 0 204"},
		{"probe", []Trouble{Probe}, Delivery{}, nil, "probe 0 401, regular 1 204"},
		{"all", []Trouble{Probe, LostAnswer, Twice}, Delivery{}, nil, "probe 0 401, regular 1 204 lost, regular 2 204, duplicate 0 204"},
		{"delayed", nil, Delivery{Delay: 10 * time.Millisecond}, nil, "regular 1 204"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.deliveries.Wait()
			r.mu.Lock()
			r.verified, r.answer = nil, tt.answer
			r.mu.Unlock()
			earlier := len(s.Deliveries())
			d := tt.delivery
			d.Timeout, d.Interval, d.Retries = cmp.Or(d.Timeout, time.Minute), time.Millisecond, 2
			s.Deliver(d)
			for _, trouble := range tt.next {
				s.Next(trouble)
			}
			began := time.Now()
			c, _, err := s.OpenCard(brandToken(t, s), openID)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			s.deliveries.Wait()
			attempts := s.Deliveries()[earlier:]
			if took := time.Since(began); took < d.Delay {
				t.Errorf("after %v", took)
			}
			for _, a := range attempts {
				got = append(got, fmt.Sprint(a.Kind, " ", a.Number, " ", a.Status)+map[bool]string{true: " lost"}[a.Lost]+map[bool]string{true: " gave up"}[a.GaveUp])
				if a.Code != c.Code || a.Event != brandCardCreated || a.ID != attempts[0].ID || a.URL != r.URL+"/wechatpay/notifications" || a.Time != s.now() {
					t.Errorf("%+v", a)
				}
				if strings.HasPrefix(a.Header.Get("Wechatpay-Signature"), "WECHATPAY/SIGNTEST/") != (a.Kind == Probing) {
					t.Errorf("%v", a.Header)
				}
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("%s, want %s", strings.Join(got, ", "), tt.want)
			}
			// Nothing secret is in the log.
			text := string(sandbox.JSON(attempts))
			if strings.Contains(text, openID) || strings.Contains(text, s.own().apiv3Key) {
				t.Error(text)
			}
		})
	}
}

// TestForgery checks that a forged notification is the original in all but its
// signature.
func TestForgery(t *testing.T) {
	s := newSandbox(t)
	r := newReceiver(t, s, PublicKey)
	c := s.Forge("1004", cardID, openID)
	a := eventually(t, s.Deliveries, 1)[0]
	if a.Kind != Forgery || a.Status != 401 || a.Code != c.Code || a.Header.Get("Wechatpay-Serial") != s.publicKeys[0].id {
		t.Errorf("%+v", a)
	}
	if got, _ := s.UserCard(c.Code); got.State != Unactivated || len(r.all(t, 0)) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestCloseDelivering closes the sandbox while a notification waits for its answer and
// another for its next attempt.
func TestCloseDelivering(t *testing.T) {
	s, err := start(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var reached sync.WaitGroup
	reached.Add(2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // otherwise the end of the connection goes unnoticed
		reached.Done()
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(500)
	}))
	defer server.Close()
	for _, path := range []string{"/hang", "/fail"} {
		s.NotifyAt(server.URL + path)
		if _, _, err := s.OpenCard(brandToken(t, s), openID); err != nil {
			t.Fatal(err)
		}
	}
	reached.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if s.DeleteCard(s.UserCards()[0].Code); len(s.Deliveries()) != 2 {
		t.Errorf("%+v", s.Deliveries())
	}
}
