package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"membercard/local/discovery"
	"membercard/shared/officialaccount"
	"membercard/shared/signing"
	"membercard/wechat/wechatpay"
)

func TestStoringASecret(t *testing.T) {
	f := given()
	put := func(name string, f files) outcome { return tool(t, f.args(t, "--put", name, "--json", local)...) }
	name := "membercard/" + rand.Text()
	versions := map[string]bool{}
	stores := func(f files, created, unchanged bool) {
		t.Helper()
		s := put(name, f).requirePassed(t).Stored
		if s == nil || s.ARN == "" || s.Created != created || s.Unchanged != unchanged || versions[s.VersionID] != unchanged {
			t.Errorf("%+v", s)
		}
		versions[s.VersionID] = true
	}
	stores(f, true, false)
	stores(f, false, true)
	f.but("apiv3-key-file", "-")
	stores(f, false, false)
	for operation, name := range map[string]string{"PutSecretValue": "membercard/there", "CreateSecret": "membercard/new"} {
		manager.aws.Secrets.Put("membercard/there", "{}")
		manager.refuse(operation, "AccessDeniedException")
		s := put(name, f).requireFailed(t, "stored")
		manager.refuse(operation, "")
		if !strings.Contains(s.Cure, "secretsmanager:"+operation) {
			t.Errorf("%+v", s)
		}
	}
	manager.refuse("CreateSecret", "ValidationException")
	defer manager.refuse("CreateSecret", "")
	if s := put("a name", f).requireFailed(t, "stored"); !strings.Contains(s.Cause, "ValidationException") {
		t.Errorf("%+v", s)
	}
}

// A file with a secret is its user's alone, and nothing that is there is replaced.
func TestASecretInAFile(t *testing.T) {
	t.Chdir(t.TempDir())
	o := tool(t, given().args(t, "--out", "secret.json")...)
	info := must(os.Stat("secret.json"))
	if _, err := signing.ParseMerchant(must(os.ReadFile("secret.json"))); err != nil || o.code != exitOK || info.Mode().Perm() != 0o600 || !strings.Contains(o.out, "next: membercard check merchant --file secret.json") {
		t.Errorf("%v, %v, %+v", err, info.Mode(), o)
	}
	o.requireNo(t, private(nil)...)
	before := must(os.ReadFile("secret.json"))
	if err := errors.Join(os.WriteFile("victim", nil, 0o600), os.Symlink("victim", "link"), os.Symlink("nothing", "dangling")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"secret.json", "link", "dangling"} {
		if s := tool(t, given().args(t, "--json", "--out", path)...).requireFailed(t, "written"); !strings.Contains(s.Cause, "is not replaced") {
			t.Errorf("%+v", s)
		}
	}
	if s := tool(t, given().args(t, "--json", "--out", "no/such/folder")...).requireFailed(t, "written"); s.Cure == "" {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat("nothing"); len(must(os.ReadFile("victim"))) > 0 || err == nil || !bytes.Equal(before, must(os.ReadFile("secret.json"))) {
		t.Error("something was replaced")
	}
}

// Standard output may be a file that others can read.
func TestARedirectedSecret(t *testing.T) {
	for mode, warns := range map[os.FileMode]bool{0o644: true, 0o640: true, 0o600: false} {
		file := must(os.OpenFile(filepath.Join(t.TempDir(), "secret.json"), os.O_WRONLY|os.O_CREATE, mode))
		defer file.Close()
		if err := file.Chmod(mode); err != nil {
			t.Fatal(err)
		}
		var errs strings.Builder
		code := run(t.Context(), given().args(t), &console{in: strings.NewReader(""), out: file, err: &errs})
		if said := strings.Contains(errs.String(), "others on this machine can read the file"); code != exitOK || said != warns || said != strings.Contains(errs.String(), "--out FILE") {
			t.Errorf("%v: exit code %d: %s", mode, code, errs.String())
		}
	}
}

// What --put finds is replaced unasked only if it is a secret of this kind, though a broken one.
func TestPutReplacesItsOwnKind(t *testing.T) {
	merchant := pay.MerchantSecret(wechatpay.Both)
	for _, row := range []struct {
		name, there string
		replaces    bool
	}{
		{"nothing yet", "{}", true},
		{"another merchant's", change(t, merchant, "mchid", "1900000009"), true},
		{"a broken one", change(t, merchant, "private_key", "-"), true},
		{"one with a byte order mark", "\ufeff" + merchant, true},
		{"the official account's", account.Secret(), false},
		{"the login secret", account.LoginSecret(), false},
		{"a card ticket", `{"ticket":"x","expires_at":"2026-11-01T10:00:00+08:00"}`, false},
		{"a database's", `{"username":"u","password":"p"}`, false},
		{"a text", "hello", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			manager.aws.Secrets.Put("membercard/kind", row.there)
			before, args := manager.writes(), given().args(t, "--json", "--put", "membercard/kind", local)
			if o := tool(t, args...); row.replaces {
				o.requirePassed(t)
			} else if s := o.requireFailed(t, "stored"); !strings.Contains(s.Cause, "something else than a merchant's secret") || !strings.Contains(s.Cure, "--replace") || manager.writes() != before {
				t.Errorf("%+v", s)
			}
			tool(t, append(args, "--replace")...).requirePassed(t)
		})
	}
	t.Run("what can't be read", func(t *testing.T) {
		manager.refuse("GetSecretValue", "AccessDeniedException")
		defer manager.refuse("GetSecretValue", "")
		args := given().args(t, "--json", "--put", "membercard/kind", local)
		if s := tool(t, args...).requireFailed(t, "stored"); !strings.Contains(s.Cure, "--replace writes it without seeing what is there") {
			t.Errorf("%+v", s)
		}
		tool(t, append(args, "--replace")...).requirePassed(t)
	})
}

// A proxy that lets nothing through is named, whoever is called.
func TestAProxyThatRefuses(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) }))
	defer proxy.Close()
	binary := must(built()) // net/http reads the environment once a process
	secret := write(t, "s.json", pay.MerchantSecret(wechatpay.PublicKeyOnly))
	for _, args := range [][]string{{"--file", secret}, {"--secret-id", "x"}} {
		c := exec.Command(binary, append(args, "check", "merchant", "--json")...)
		c.Env = append(os.Environ(), "HTTPS_PROXY=http://operator:password@"+strings.TrimPrefix(proxy.URL, "http://"), "NO_PROXY=", "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_MAX_ATTEMPTS=1")
		text, _ := c.Output()
		if said := string(text); !strings.Contains(said, "the proxy "+strings.TrimPrefix(proxy.URL, "http://")+" answered 407 Proxy Authentication Required") || !strings.Contains(said, proxyCure) || strings.Contains(said, "password@") {
			t.Errorf("%q: %s", args, said)
		}
	}
}

func TestASecretIsNotPrintedOnATerminalUnasked(t *testing.T) {
	f := given()
	on := terminal{out: true}
	o := on.run(t, f.args(t)...)
	if o.code != exitOK || !strings.Contains(o.out, "nothing was written: --put NAME") || !strings.Contains(o.out, "✓ certificate") {
		t.Errorf("exit code %d\n%s%s", o.code, o.out, o.err)
	}
	o.requireNo(t, private(f)...)
	o = on.run(t, f.args(t, "--print")...)
	var secret signing.MerchantSecret
	if want, _ := merchantNow(wechatpay.Both); json.Unmarshal([]byte(o.out), &secret) != nil || secret != want {
		t.Errorf("%s", o.out)
	}
}

func TestAsking(t *testing.T) {
	const secret = "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
	want, _ := merchantNow(wechatpay.Both)
	for _, row := range []struct {
		name  string
		types []string
		args  []string
		asks  []string
		out   any
	}{
		{"an AppSecret", []string{secret}, []string{"secret", "official-account", "--appid", "wx5f0c2b8e7d4a9361"}, []string{"AppSecret of the official account: "},
			officialaccount.Account{AppID: "wx5f0c2b8e7d4a9361", Secret: secret}},
		{"two AppSecrets", []string{secret, " " + secret + "\r"}, []string{"secret", "login", "--mini-program", "wx9b3e71d6a0c4f258", "--official-account", "wx5f0c2b8e7d4a9361"}, []string{"AppSecret of the mini program: ", "AppSecret of the official account: "},
			officialaccount.Login{MiniProgram: &officialaccount.Account{AppID: "wx9b3e71d6a0c4f258", Secret: secret}, OfficialAccount: &officialaccount.Account{AppID: "wx5f0c2b8e7d4a9361", Secret: secret}}},
		{"the APIv3 key", []string{want.APIv3Key}, given().but("apiv3-key-file", "-").args(t), []string{"APIv3 key (Enter: none): "}, want},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := terminal{in: true, types: row.types}.run(t, row.args...)
			if expected := string(must(json.Marshal(row.out))); o.code != exitOK || strings.TrimSpace(o.out) != expected {
				t.Errorf("exit code %d, %s, want %s\n%s", o.code, o.out, expected, o.err)
			}
			for _, ask := range row.asks {
				if strings.Count(o.err, ask) != 1 {
					t.Errorf("%s", o.err)
				}
			}
			outcome{err: o.err}.requireNo(t, secret, want.APIv3Key)
		})
	}
}

func TestSecretOfficialAccountAndLogin(t *testing.T) {
	const secret = "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
	const appid = "wx5f0c2b8e7d4a9361"
	file := func(content string) string { return write(t, "secret.txt", content) }
	for _, row := range []struct {
		name        string
		appid       string
		secret      string // file; empty: none
		step        string // that fails
		cause, cure string
	}{
		{"right", appid, file(secret), "", "", ""},
		{"a line break after it", appid, file(secret + "\r\n"), "", "", ""},
		{"the original ID", "gh_86a091e50ad4", file(secret), "AppID", "original ID", "微信公众平台"},
		{"an AppID that is cut", "wx5f0c2b8e7d4a936", file(secret), "AppID", "does not look like an AppID", "16 hex digits"},
		{"an AppID in capitals", "WX5F0C2B8E7D4A9361", file(secret), "AppID", "does not look like an AppID", "16 hex digits"},
		{"the AppSecret as the AppID", secret, file(secret), "AppID", "it is an AppSecret", "16 hex digits"},
		{"the AppID as the AppSecret", appid, file(appid), "AppSecret", "it is an AppID", "reset it"},
		{"an AppSecret that is cut", appid, file(secret[1:]), "AppSecret", "has 31 characters", "reset it"},
		{"the APIv3 key as the AppSecret", appid, file("Kq7vXw2Zr9Tb4Nc6Ym1Lp8Hd3Jf5Gs0A"), "AppSecret", "APIv3 key", "reset it"},
		{"an empty file", appid, file(""), "AppSecret", "is empty", "copy it anew"},
		{"no such file", appid, "/nowhere/secret.txt", "AppSecret", "there is no file", "ls /nowhere"},
		{"a folder", appid, t.TempDir(), "AppSecret", "is a folder", "ls "},
		{"no AppSecret, and nobody to ask", appid, "", "AppSecret", "was not given", "in a file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, kind := range []struct{ prefix, command, appid, file string }{
				{"official account", "official-account", "--appid", "--secret-file"},
				{"mini program", "login", "--mini-program", "--mini-program-secret-file"},
				{"official account", "login", "--official-account", "--official-account-secret-file"},
			} {
				args := []string{"secret", kind.command, "--json", kind.appid, row.appid}
				if row.secret != "" {
					args = append(args, kind.file, row.secret)
				}
				o := tool(t, args...)
				o.requireNo(t, secret, secret[1:], "Kq7vXw2Zr9Tb4Nc6Ym1Lp8Hd3Jf5Gs0A")
				if row.step == "" {
					o.requirePassed(t)
					continue
				}
				if s := o.requireFailed(t, kind.prefix+": "+row.step); !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) {
					t.Errorf("cause: %s\ncure: %s", s.Cause, s.Cure)
				}
			}
		})
	}
}

// The URL of --local stands after an equals sign or a blank, with or without a scheme, wherever
// the flag is.
func TestTheURLOfLocal(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		says string
	}{
		{"an equals sign", []string{"check", "merchant", "--local=http://127.0.0.1:1"}, "no local stack at http://127.0.0.1:1"},
		{"a blank before the URL", []string{"check", "merchant", "--local", "http://127.0.0.1:1"}, "no local stack at http://127.0.0.1:1"},
		{"the same without a scheme", []string{"check", "merchant", "--local", "127.0.0.1:1"}, "no local stack at http://127.0.0.1:1"},
		{"the same before the command", []string{"--local", "http://127.0.0.1:1", "check", "merchant"}, "no local stack at http://127.0.0.1:1"},
		{"the same within the command", []string{"check", "--local", "http://localhost:1/", "merchant"}, "http://localhost:1"},
		{"the same, not taken for a folder", []string{"local", "files", "--local", "http://[::1]:1"}, "takes 1 argument, and 0 were given"},
		{"the same beside a URL", []string{"callback", "set", "https://api.example/wechatpay/notifications", "--local", "http://127.0.0.1:1"}, "no local stack at http://127.0.0.1:1"},
		{"no address", []string{"check", "merchant", "--local", "x"}, "takes flags only"},
	} {
		if o := tool(t, row.args...); o.code == exitOK || !strings.Contains(o.err, row.says) {
			t.Errorf("%s: exit code %d\n%s%s", row.name, o.code, o.out, o.err)
		}
	}
}

func TestTheCommandLine(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		says string
	}{
		{"no command", nil, "needs a command"},
		{"a group without a command", []string{"secret"}, "needs a command"},
		{"an unknown command", []string{"secrets"}, `no command "secrets"; did you mean secret?`},
		{"an unknown shell", []string{"completion", "fisch"}, `no command "fisch"; did you mean fish?`},
		{"no shell", []string{"completion"}, "needs a command: bash, fish, powershell, zsh"},
		{"an unknown command of a group", []string{"secret", "merchnt"}, `no command "merchnt"; did you mean merchant?`},
		{"help for an unknown command", []string{"help", "secrets"}, `membercard has no command "secrets"`},
		{"help for an unknown command of a group", []string{"help", "secret", "merchnt"}, `membercard secret has no command "merchnt"`},
		{"the commands of a group", []string{"secret"}, "needs a command: merchant, official-account, login"},
		{"a number that is none", []string{"events", "tail", "--count", "x"}, "invalid argument \"x\" for \"--count\" flag\ncure: membercard events tail --help"},
		{"a URL of --local that is empty", []string{"check", "merchant", "--local=", "--file", "x"}, "--local= has no URL"},
		{"an openid that is empty", []string{"token", "brand", "--brand-id", "1004", "--card-id", "p", "--openid", ""}, "must not be empty"},
		{"a card's ID that is none", []string{"token", "brand", "--brand-id", "1004", "--card-id", "a/b", "--openid", "o"}, "--card-id must be"},
		{"an unknown flag", []string{"check", "merchant", "--files", "x"}, "unknown flag"},
		{"an argument too many", []string{"plan", "rollback", "x"}, "plan rollback takes flags only\n"},
		{"a secret instead of a flag", []string{"secret", "merchant", "x"}, "takes flags only; secrets are read from files"},
		{"a file too many", []string{"plan", "diff", "x", "y"}, "takes 1 argument, and 2 were given: membercard plan diff FILE"},
		{"no file", []string{"plan", "put"}, "takes 1 argument, and 0 were given"},
		{"a URL that is none", []string{"check", "merchant", "--local=::x"}, "is not a URL"},
		{"a flag without its value", []string{"check", "merchant", "--file"}, "needs an argument"},
		{"no certificate", []string{"secret", "merchant", "--key", "x"}, "required flag(s) --cert not set"},
		{"no card", []string{"token", "brand", "--card-id", "p"}, "required flag(s) --brand-id, --openid not set"},
		{"no secret to check", []string{"check", "merchant"}, "--secret-id or --file is needed"},
		{"two secrets to check", []string{"check", "merchant", "--file", "x", "--secret-id", "y"}, "none of the others can be"},
		{"two places for a secret", given().args(t, "--put", "x", "--print"), "none of the others can be"},
		{"two documents on standard output", given().args(t, "--json", "--print"), "--print and --json"},
		{"no app to log in to", []string{"secret", "login"}, "--mini-program, --official-account or both"},
		{"an endpoint in the clear", []string{"check", "merchant", "--file", write(t, "s.json", pay.MerchantSecret(wechatpay.Both)), "--endpoint", "http://127.0.0.1:1"}, "is not a base URL"},
		{"a secret as an argument", []string{"secret", "official-account", "--appid", "x", "--secret", "y"}, "unknown flag"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := tool(t, row.args...)
			if o.code != exitUsage || !strings.Contains(o.err+o.out, row.says) || !strings.Contains(o.err+o.out, "--help") {
				t.Errorf("exit code %d\n%s%s", o.code, o.out, o.err)
			}
		})
	}
	if o := tool(t, "check", "--json", "nothing"); o.code != exitUsage || !json.Valid([]byte(o.out)) {
		t.Errorf("%d %s", o.code, o.out)
	}
	for _, args := range [][]string{{"--help"}, {"secret", "merchant", "--help"}, {"completion", "bash"}} {
		if o := tool(t, args...); o.code != exitOK || o.out == "" || o.err != "" {
			t.Errorf("%q: exit code %d\n%s", args, o.code, o.err)
		}
	}
	if o := tool(t, "check", "merchant", "--local=http://127.0.0.1:1"); o.code != exitFailed || !strings.Contains(o.err, local) {
		t.Errorf("beside a stack that runs: %d %s", o.code, o.err)
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // where no stack has its token
	t.Setenv("HOME", t.TempDir())
	foreign := httptest.NewServer(http.NotFoundHandler())
	defer foreign.Close()
	for _, row := range []struct{ at, cause string }{
		{"http://127.0.0.1:1", "there is no local stack at http://127.0.0.1:1"},
		{"127.0.0.1:1", "there is no local stack at http://127.0.0.1:1"}, // as -addr of go run ./local has it
		{foreign.URL, "is not a local stack"},
	} {
		o := tool(t, "check", "merchant", "--local="+row.at)
		if o.code != exitFailed || !strings.Contains(o.err, row.cause) || !strings.Contains(o.err, "go run ./local") || !strings.Contains(o.err, "--local=URL") {
			t.Errorf("%s: %d %s", row.at, o.code, o.err)
		}
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	f := write(t, "s.json", pay.MerchantSecret(wechatpay.Both))
	if o := tool(t, "check", "merchant", local, "--file", f); strings.Contains(o.out, "\x1b") || !strings.Contains(o.out, "✓ signature accepted\n") {
		t.Errorf("%q", o.out)
	}
	s := step{Name: "x", OK: true}
	var plain, coloured strings.Builder
	s.print(&plain, false, (&console{}).say)
	s.print(&coloured, true, (&console{}).say)
	if plain.String() != "✓ x\n" || coloured.String() != "\x1b[32m✓\x1b[0m x\n" {
		t.Errorf("%q %q", plain.String(), coloured.String())
	}
}

func TestProgressIsShownAfterASecond(t *testing.T) {
	var shown strings.Builder
	c := &console{err: &shown, errIsTerminal: true}
	synctest.Test(t, func(*testing.T) {
		defer c.during("asking")()
		time.Sleep(999 * time.Millisecond)
	})
	if shown.Len() > 0 {
		t.Errorf("%q", shown.String())
	}
	synctest.Test(t, func(*testing.T) {
		defer c.during("asking")()
		time.Sleep(1999 * time.Millisecond)
	})
	if !strings.HasSuffix(strings.TrimRight(shown.String(), "\r "), "\rasking … 1 s") || !strings.HasSuffix(shown.String(), "\r") {
		t.Errorf("%q", shown.String())
	}
	shown.Reset()
	c.columns = 10
	if c.show("正在读取 it"); shown.String() != "\r         \r正在读取 " {
		t.Errorf("in 10 columns: %q", shown.String())
	}
}

// The binary on a real terminal: what is typed is not echoed, and no key is printed.
func TestOnATerminal(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("script is missing: apt-get install bsdutils")
	}
	binary := must(built())
	const secret = "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
	on := func(types string) (string, error) {
		// Ctrl-C reaches the shell too. The trap keeps it alive, so that it can show what the tool left behind.
		c := exec.Command("script", "-qec", "trap : INT; (for i in $(seq 400); do stty -a </dev/tty | grep -q -- '-echo ' && break; sleep 0.05; done; echo type now) & "+binary+" secret official-account --appid wx5f0c2b8e7d4a9361; echo exit code $?; stty -a", "/dev/null")
		c.Env = append(os.Environ(), "SHELL=/bin/sh", "TERM=xterm", "NO_COLOR=")
		in, screen := must(c.StdinPipe()), must(c.StdoutPipe())
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for !strings.Contains(out.String(), "type now") { // the echo is off
			if _, err := io.CopyN(&out, screen, 1); err != nil {
				t.Fatalf("it does not ask: %v\n%s", err, out.String())
			}
		}
		_, _ = in.Write([]byte(types))
		_, _ = io.Copy(&out, screen)
		err := c.Wait()
		return out.String(), err
	}
	out, err := on(secret + "\n")
	for _, want := range []string{"AppSecret of the official account: ", "\x1b[32m✓\x1b[0m official account: AppSecret", "nothing was written", "exit code 0"} {
		if err != nil || !strings.Contains(out, want) || strings.Contains(out, secret) {
			t.Errorf("%q is missing, %v\n%s", want, err, out)
		}
	}
	out, err = on("0c7a\x03") // Ctrl-C
	if err != nil || !strings.Contains(out, "exit code 1") || !strings.Contains(out, "it was interrupted") || !strings.Contains(out, " echo ") || strings.Contains(out, "-echo ") {
		t.Errorf("after Ctrl-C: %v\n%s", err, out)
	}
}

// What was given for the name of a file or a secret may be the key or the secret itself.
func TestContentInPlaceOfAName(t *testing.T) {
	want, _ := merchantNow(wechatpay.Both)
	secret := pay.MerchantSecret(wechatpay.Both)
	const appSecret = "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
	f := given()
	for _, row := range []struct {
		name  string
		args  []string
		shown []string // that must not be
	}{
		{"the key", []string{"secret", "merchant", "--cert", "x", "--key", want.PrivateKey}, private(nil)},
		{"the key as the certificate", []string{"secret", "merchant", "--cert", want.PrivateKey, "--key", "x"}, private(nil)},
		{"the APIv3 key", append(f.but("apiv3-key-file", "-").args(t), "--apiv3-key-file", want.APIv3Key), private(nil)},
		{"the AppSecret", []string{"secret", "official-account", "--appid", "wx5f0c2b8e7d4a9361", "--secret-file", appSecret}, []string{appSecret}},
		{"the AppSecret of a login", []string{"secret", "login", "--mini-program", "wx5f0c2b8e7d4a9361", "--mini-program-secret-file", appSecret}, []string{appSecret}},
		{"the secret as a file", []string{"check", "merchant", "--file", secret}, private(nil)},
		{"the secret", []string{"check", "merchant", "--secret-id", secret, local}, private(nil)},
		{"the secret of a rotation", []string{"rotate", "undo", "--secret-id", secret, local}, private(nil)},
		{"the secret to be put", given().args(t, "--put", secret, local), private(nil)},
	} {
		for _, more := range [][]string{nil, {"--json"}} {
			o := tool(t, append(row.args, more...)...)
			if o.requireNo(t, row.shown...); o.code != exitFailed || !strings.Contains(o.out+o.err, "so it is not shown") {
				t.Errorf("%s: exit code %d\n%s%s", row.name, o.code, o.out, o.err)
			}
		}
	}
}

// full is standard output that takes so many bytes, and then fails.
type full struct {
	left int
	err  error
}

func (f *full) Write(text []byte) (int, error) {
	if len(text) > f.left {
		return 0, f.err
	}
	f.left -= len(text)
	return len(text), nil
}

// What could not be written is no success, and a reader who went away is told nothing.
func TestStandardOutputThatIsClosed(t *testing.T) {
	secret := write(t, "s.json", pay.MerchantSecret(wechatpay.Both))
	for _, row := range []struct {
		name string
		args []string
	}{
		{"a report", []string{"check", "merchant", local, "--file", secret}},
		{"a report as JSON", []string{"check", "merchant", local, "--file", secret, "--json"}},
		{"a report of failures", []string{"check", "merchant", local, "--file", write(t, "x.json", "{}")}},
		{"a secret", given().args(t)},
		{"a token", []string{"token", "merchant", "--card-id", "p", local, "--file", secret}},
		{"a wrong command line as JSON", []string{"check", "--json"}},
		{"help", []string{"--help"}},
		{"completion", []string{"completion", "bash"}},
	} {
		for _, left := range []int{0, 20} {
			for err, said := range map[error]string{syscall.EPIPE: "", syscall.ENOSPC: "membercard: standard output can't be written: no space left on device\n"} {
				var errs strings.Builder
				code := run(t.Context(), row.args, &console{in: strings.NewReader(""), out: &full{left, err}, err: &errs})
				_, reported, _ := strings.Cut(errs.String(), "this merchant's\n") // that of a secret is on standard error
				if row.name != "a secret" {
					reported = errs.String()
				}
				if code != exitFailed || reported != said {
					t.Errorf("%s, %v after %d bytes: exit code %d, %q", row.name, err, left, code, errs.String())
				}
			}
		}
	}
}

// The binary ends by itself if its reader has gone, and is not killed: what is temporary
// is deleted.
func TestAPipeThatIsClosed(t *testing.T) {
	t.Parallel()
	binary := must(built())
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	defer writer.Close()
	var errs strings.Builder
	c := exec.Command(binary, "check", "merchant", local, "--file", write(t, "s.json", pay.MerchantSecret(wechatpay.Both)))
	dir := t.TempDir()
	c.Stdout, c.Stderr, c.Env = writer, &errs, append(os.Environ(), "TMPDIR="+dir)
	if err := c.Run(); c.ProcessState.ExitCode() != exitFailed || errs.String() != "" {
		t.Errorf("%v: %s", err, errs.String())
	}
	if left := must(os.ReadDir(dir)); len(left) > 0 {
		t.Errorf("it leaves %v behind", left)
	}
}

// The commands that are printed are those that work where the tool was run.
func TestCommandsAreWrittenAsTheToolWasRun(t *testing.T) {
	for name, self := range map[string]string{
		"membercard": "membercard", "./membercard": "./membercard", "/opt/my tools/membercard": "'/opt/my tools/membercard'",
		"/tmp/go-build123/b001/exe/membercard": "go run ./cmd/membercard",
	} {
		if got := invoked(name); got != self {
			t.Errorf("%s is run as %s", name, got)
		}
	}
	missing := write(t, "secret.json", "{}")
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"check", "merchant", "--file", missing}, "cure: make it anew: ./membercard secret merchant --cert"},
		{[]string{"check", "merchant", "--json", "--file", missing}, "make it anew: ./membercard secret merchant --cert"},
		{[]string{"check", "merchant"}, "--secret-id or --file is needed\ncure: ./membercard check merchant --help lists what there is"},
		{[]string{"check", "merchant", "--secret-id", "membercard/none", local}, "put it there: ./membercard secret … --put membercard/none"},
		{[]string{"local", "files", t.TempDir(), local}, "\n./membercard token merchant --card-id"},
		{[]string{"reconcile", "--help"}, "\n  ./membercard reconcile openids.txt --brand-id 1004"},
		{[]string{"plan", "put", "--help"}, "Usage:\n  ./membercard plan put FILE"},
	} {
		var out strings.Builder
		run(t.Context(), row.args, &console{self: "./membercard", in: strings.NewReader(""), out: &out, err: &out})
		if !strings.Contains(out.String(), row.want) || strings.Contains(out.String(), " membercard check") {
			t.Errorf("%q printed\n%s", row.args, out.String())
		}
	}
}

// A card that is not opened because WeChat Pay sends its events elsewhere. The story is
// one of the local stack, which takes a minute for it.
func TestACardWhoseEventsGoElsewhere(t *testing.T) {
	own := "http://127.0.0.1:8080/wechatpay/notifications"
	mux := http.NewServeMux()
	stack := httptest.NewServer(mux)
	mux.HandleFunc("POST "+discovery.OpenPath, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Missing": "the bus has no event MEMBERCARD.ACCEPT_CARD", "Steps": [
			{"What": "token", "Name": "POST /x", "Status": 200}, {"What": "notification", "Name": "MEMBERCARD.ACCEPT_CARD"}]}`)
	})
	defer stack.Close()
	defer publish(mux, func() discovery.Stack {
		return discovery.Stack{API: stack.URL, AWS: manager.discovery(), CA: string(pay.CA()), Outputs: map[string]string{"NotificationUrl": own}}
	})()
	o := tool(t, "card", "open", "merchant", "--json", "--local="+stack.URL)
	if s := o.requireFailed(t, "card"); s.Cure != "have the sandbox notify this stack: membercard callback set --local="+stack.URL {
		t.Errorf("%+v", s)
	}
	if r := o.report(t); r.Steps[1].Warning != "nothing answered it" || r.Steps[0].Warning != "" {
		t.Errorf("%+v", r.Steps)
	}
}

// A file that nobody writes keeps the tool waiting, until Ctrl-C is typed twice.
func TestASecondInterrupt(t *testing.T) {
	t.Parallel()
	binary := must(built())
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	c := exec.Command(binary, "check", "merchant", "--file", "/dev/stdin")
	c.Stdin = reader
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case <-ended:
			return
		case <-time.After(300 * time.Millisecond):
			_ = c.Process.Signal(os.Interrupt)
		case <-deadline:
			_ = c.Process.Kill()
			t.Fatal("it does not end")
		}
	}
}

// Ctrl-C is no fault of the network.
func TestInterrupted(t *testing.T) {
	hangs := must(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { hangs.Close() })
	at := hangs.Addr().String()
	ended := make(chan struct{})
	mux := http.NewServeMux()
	opens := httptest.NewServer(mux)
	mux.HandleFunc("POST "+discovery.OpenPath, func(http.ResponseWriter, *http.Request) { <-ended })
	t.Cleanup(opens.Close)
	t.Cleanup(func() { close(ended) })
	t.Cleanup(publish(mux, func() discovery.Stack {
		return discovery.Stack{API: opens.URL, AWS: manager.discovery(), CA: string(pay.CA())}
	}))
	secret := write(t, "s.json", pay.MerchantSecret(wechatpay.PublicKeyOnly))
	for name, value := range map[string]string{"AWS_REGION": region, "AWS_ACCESS_KEY_ID": accessKeyID, "AWS_SECRET_ACCESS_KEY": secretAccessKey, "AWS_ENDPOINT_URL": "http://" + at} {
		t.Setenv(name, value)
	}
	secretOfAccount := write(t, "a.json", account.Secret())
	for _, args := range [][]string{
		{"check", "merchant", "--secret-id", "x"}, {"check", "deployment", "--stack", "x"}, {"plan", "history", "--at", "s3://a/b"},
		{"check", "merchant", "--local=http://" + at}, {"card", "open", "brand", "--local=" + opens.URL},
		{"check", "merchant", "--file", secret, "--endpoint", "https://" + at}, {"token", "merchant", "--card-id", "p", "--file", secret, "--endpoint", "https://" + at},
		{"check", "official-account", "--file", secretOfAccount, "--endpoint", "https://" + at},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			t.Parallel()
			// As signal.NotifyContext ends it.
			ctx, stop := context.WithCancelCause(t.Context())
			time.AfterFunc(200*time.Millisecond, func() { stop(errors.New("interrupt signal received")) })
			var out, errs strings.Builder
			code := run(ctx, args, &console{in: strings.NewReader(""), out: &out, err: &errs})
			if text := out.String() + errs.String(); code != exitFailed || !strings.Contains(text, "it was interrupted") || !strings.Contains(text, "run this again") || strings.Contains(text, "signal") {
				t.Errorf("%q: exit code %d\n%s", args, code, text)
			}
		})
	}
}

// What scripts read does not change by accident.
func TestTheJSONIsStable(t *testing.T) {
	manager.aws.Secrets.Put("membercard/json", pay.MerchantSecret(wechatpay.PublicKeyOnly))
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"callback", "set", "http://x.example"}, `{"ok":false,"steps":[{"name":"URL","ok":false,"cause":"WeChat Pay notifies https URLs only","cure":"give the API's URL of /wechatpay/notifications; it is an output of the stack: aws cloudformation describe-stacks --query 'Stacks[].Outputs'"}]}`},
		{[]string{"callback", "frobnicate"}, `{"error":{"cause":"membercard callback has no command \"frobnicate\"","cure":"membercard callback --help lists what there is"},"ok":false}`},
		{[]string{"plan", "validate", "../../local/plan.json"}, `{"ok":true,"steps":[{"name":"plan is valid","ok":true,"detail":"cards: 2, campaigns: 2"}]}`},
	} {
		if o := tool(t, append(row.args, "--json")...); strings.TrimSpace(o.out) != row.want || o.err != "" {
			t.Errorf("%s%s\nwant\n%s", o.out, o.err, row.want)
		}
	}
	r := tool(t, "check", "merchant", "--json", local, "--secret-id", "membercard/json").requirePassed(t)
	var got []string
	for _, s := range r.Steps {
		got = append(got, s.Name)
	}
	want := "secret read; secret is well-formed; public-key ID; APIv3 key; clock; WeChat Pay answered; signature accepted; answer verified; message echoed; encrypted for WeChat Pay; decrypted from WeChat Pay"
	if strings.Join(got, "; ") != want {
		t.Errorf("%q", got)
	}
}
