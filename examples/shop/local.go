package main

// This file runs the shop on one machine, beside the local stack, whose sandbox plays WeChat
// and its customers. A shop that is deployed does without it.

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"membercard/local/discovery"
	"membercard/local/guard"
)

//go:embed wechat.js
var wechatScript string

func runLocally() {
	api := flag.String("local", "http://127.0.0.1:8080", "`URL` of the local stack")
	address := flag.String("addr", "127.0.0.1:8090", "where the shop listens, on this machine only")
	flag.Parse()
	log.SetFlags(0)
	log.SetPrefix("shop: ")
	if flag.NArg() > 0 {
		log.Printf(say("unexpected argument %q; -h lists the flags", "多余的参数 %q；用 -h 查看所有参数"), flag.Arg(0))
		os.Exit(2)
	}
	log.Fatal(run(*api, *address))
}

// run runs the shop until the local stack ends.
func run(api, address string) error {
	stack, err := discovery.Find(context.Background(), api)
	switch {
	case errors.Is(err, discovery.ErrNoAnswer):
		return fmt.Errorf(say("there is no local stack at %s; start it first, in another terminal: go run ./local", "%s 没有本机环境；请先在另一个终端启动：go run ./local"), api)
	case errors.Is(err, discovery.ErrNotLoopback):
		return fmt.Errorf(say("-local %s is not on this machine; name the address that the local stack prints", "-local %s 不在本机；请用本机环境打印出的地址"), api)
	case err != nil:
		return fmt.Errorf(say("-local %s: another user's stack, or one with real keys, or none: %w", "-local %s：是其他用户的或使用真实凭据的本机环境，或者不是本机环境：%w"), api, err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf(say("-addr: %w; 127.0.0.1:0 takes a free port", "-addr：%w；用 127.0.0.1:0 取一个空闲端口"), err)
	}
	handler, events, err := beside(stack, "http://"+listener.Addr().String())
	if err != nil {
		return err
	}
	fmt.Printf("shop: http://%s\n", listener.Addr())
	go http.Serve(listener, handler)
	return events()
}

// say returns the text in the language of the environment.
func say(english, chinese string) string {
	if strings.HasPrefix(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_MESSAGES"), os.Getenv("LANG")), "zh") {
		return chinese
	}
	return english
}

// beside makes the shop that has the URL origin for a local stack. events follows the bus,
// until the stack ends.
func beside(stack *discovery.Stack, origin string) (handler http.Handler, events func() error, err error) {
	if u, _ := url.Parse(origin); !net.ParseIP(u.Hostname()).IsLoopback() {
		return nil, nil, errors.New(say("the shop plays WeChat's login, so only this machine may reach it: -addr 127.0.0.1:8090", "示例商城模拟微信登录，只能由本机访问：-addr 127.0.0.1:8090"))
	}
	if stack.Auth != "none" && stack.Auth != "iam" {
		return nil, nil, fmt.Errorf(say("the stack runs with -auth %s; the shop calls it from its backend: start the stack with -auth iam, or none", "本机环境以 -auth %s 启动，而商城由后端调用它；请以 -auth iam 或 none 启动"), stack.Auth)
	}
	ctx := context.Background()
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: stack.AWS.AccessKeyID, SecretAccessKey: stack.AWS.SecretAccessKey, SessionToken: stack.AWS.SessionToken}, nil
	})
	s := &shop{page: page, scheme: "http", members: &memory{}, membercard: &membercard{stack.API, stack.AWS.Region, credentials}}
	if _, err := os.Stat("examples/shop/page"); err == nil {
		s.page = os.DirFS("examples/shop/page") // so that an edited page needs no restart
	}
	secrets := secretsmanager.New(secretsmanager.Options{Region: stack.AWS.Region, Credentials: credentials, BaseEndpoint: &stack.AWS.Endpoint})
	if s.account, err = readAccount(ctx, secrets, stack.Secrets.OfficialAccount); err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(stack.CA))
	s.account.authorize, s.account.api = origin+"/wechat/authorize", stack.WeChat[0]
	s.account.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	bus, err := discovery.Client().Get(stack.API + discovery.EventsPath)
	if err != nil {
		return nil, nil, err
	}

	mux := http.NewServeMux()
	mux.Handle("/", s.handler())
	mux.HandleFunc("GET /jweixin.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		_, _ = io.WriteString(w, wechatScript) // fails only if the browser left
	})
	mux.HandleFunc("GET /wechat/authorize", func(w http.ResponseWriter, r *http.Request) { // each login is another customer
		var login struct{ Code string }
		if err := play(stack.API+discovery.LoginPath, url.Values{"openid": {"oShop" + rand.Text()[:23]}}, &login); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		back := r.FormValue("redirect_uri")
		if !strings.HasPrefix(back, origin+"/login?") {
			http.Error(w, "redirect_uri is not the shop's", http.StatusBadRequest)
			return
		}
		http.Redirect(w, r, back+"&"+url.Values{"code": {login.Code}, "state": {r.FormValue("state")}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /wechat/open", func(w http.ResponseWriter, r *http.Request) {
		var opened json.RawMessage
		input := url.Values{"token": {r.FormValue("token") + r.FormValue("permission_token")}, "openid": {s.session(r)}}
		if err := play(stack.API+discovery.OpenPath, input, &opened); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		answer(w, http.StatusOK, opened)
	})
	return (&guard.Guard{}).Handler(mux), func() error {
		defer bus.Body.Close()
		lines := bufio.NewScanner(bus.Body)
		lines.Buffer(nil, 1<<20) // an event has at most 256 KiB
		for lines.Scan() {
			if err := s.keep(ctx, lines.Bytes()); err != nil {
				log.Print(err)
			}
		}
		return errors.New(say("the local stack has ended", "本机环境已结束"))
	}, nil
}

// play has the sandbox do what a customer does in WeChat.
func play(address string, input url.Values, answer any) error {
	response, err := discovery.Client().PostForm(address, input)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return errors.Join(err, errors.New(strings.TrimSpace(string(body))))
	}
	return json.Unmarshal(body, answer)
}

// memory is members on one machine, for as long as the program runs.
type memory struct {
	mu   sync.Mutex
	kept []card
}

func (m *memory) put(_ context.Context, c card) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.kept, func(k card) bool { return k.OpenID == c.OpenID && k.Code == c.Code })
	switch {
	case i < 0:
		m.kept = append(m.kept, c)
	case m.kept[i].Changed <= c.Changed:
		m.kept[i] = c
	}
	return nil
}

func (m *memory) cards(_ context.Context, openid string) (cards []card, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.kept {
		if c.OpenID == openid {
			cards = append(cards, c)
		}
	}
	return cards, nil
}
