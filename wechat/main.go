// Command wechat is a sandbox of WeChat Pay and of a WeChat official account, for clients in
// any language. It validates requests as strictly as WeChat, answers with real signatures
// and sends real notifications. See docs/sandbox.md.
package main

import (
	"context"
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
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"membercard/wechat/officialaccount"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

var modes = map[string]wechatpay.Mode{"public": wechatpay.PublicKey, "certificates": wechatpay.Certificates, "both": wechatpay.Both}

func main() {
	log.SetFlags(0)
	dir := flag.String("dir", "", "write the merchant's files and sandbox.json into this `directory`")
	var notify string
	flag.Func("notify", "send notifications to this `URL`", func(value string) error {
		notify = value
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.ForceQuery || u.RawQuery != "" {
			return errors.New("want an http or https URL without a query")
		}
		return nil
	})
	mode := wechatpay.Both
	flag.Func("keys", "which `keys` of WeChat Pay the merchant has: public, certificates or both (default both)", func(value string) (err error) {
		var ok bool
		if mode, ok = modes[value]; !ok {
			err = errors.New("want public, certificates or both")
		}
		return err
	})
	flag.Parse()
	if flag.NArg() > 0 {
		log.Printf("wechat: unexpected argument %q; -h lists the flags", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *dir, notify, mode); err != nil {
		log.Fatal("wechat: ", err)
	}
}

func run(ctx context.Context, out io.Writer, dir, notify string, mode wechatpay.Mode) error {
	pay, err := wechatpay.Start()
	if err != nil {
		return err
	}
	defer pay.Close()
	account, err := officialaccount.Start()
	if err != nil {
		return err
	}
	defer account.Close()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: newProxy(pay, account), ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(listener) // until Close
	defer server.Close()
	proxy := "http://" + listener.Addr().String()

	pay.Keys(mode)
	pay.NotifyAt(notify)
	if dir != "" {
		if err := write(dir, files(pay, account, proxy, mode)); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "WeChat Pay:        %s\nofficial account:  %s\n", strings.Join(pay.Endpoints(), " "), strings.Join(account.Endpoints(), " "))
	fmt.Fprintf(out, "proxy:             %s (as HTTPS_PROXY, for WeChat's own hosts)\n", proxy)
	fmt.Fprintf(out, "a customer's card: curl -d token=TOKEN -d openid=OPENID %s/open\n", proxy)
	<-ctx.Done()
	return nil
}

// files returns the files of -dir by name.
func files(pay *wechatpay.Sandbox, account *officialaccount.Sandbox, proxy string, mode wechatpay.Mode) map[string]string {
	var merchant map[string]string
	var apps map[string]map[string]string
	sandbox.MustUnmarshal([]byte(pay.MerchantSecret(mode)), &merchant)
	sandbox.MustUnmarshal([]byte(account.LoginSecret()), &apps)
	owner, program := apps["official_account"], apps["mini_program"]
	index := sandbox.Must(json.MarshalIndent(map[string]any{
		"wechatpay": pay.Endpoints(), "mchid": merchant["mchid"], "certificate_serial_no": merchant["certificate_serial_no"],
		"wechat": account.Endpoints(), "appid": owner["appid"], "appsecret": owner["secret"],
		"mini_program_appid": program["appid"], "mini_program_appsecret": program["secret"],
		"proxy": proxy,
	}, "", "  "))
	all := pay.Files()
	for _, name := range []string{"apiv3_key.txt", "pub_key_id.txt"} {
		all[name] = strings.TrimSpace(all[name]) // for programs that read the whole file
	}
	if mode == wechatpay.Certificates {
		delete(all, "pub_key.pem")
		delete(all, "pub_key_id.txt")
	}
	all["ca.pem"], all["sandbox.json"] = string(pay.CA()), string(index)+"\n"
	return all
}

// write writes files that only their owner can read, never through a link.
func write(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteString(text)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
