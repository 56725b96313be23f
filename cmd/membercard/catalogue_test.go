package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"membercard/shared/strictjson"
	"membercard/wechat/wechatpay"
)

var (
	// verb is one of fmt's. Several values, one after the other, are one to the catalogue.
	verb  = regexp.MustCompile(`%(\[\d+\])?[-+#]?[\d.]*[a-zA-Z]`)
	verbs = regexp.MustCompile(`(%s)+`)

	// sentence is what a text has that is more than a name.
	sentence = regexp.MustCompile(`[a-zA-Z]{2,}[,;:]? [a-z%(]`)

	// untranslated are texts that look like sentences, and are commands or for programs only.
	untranslated = regexp.MustCompile(`^(%s)?[ ;&]*(?s)(membercard|openssl|aws|x509|pkey|--[a-z0-9-]+) .*$|^<|^(set|files|put|diff|validate|reconcile) [[A-Z]|^[A-Z0-9 ]+$|` +
		`^ (as|signal) .*[a-z_]+ ?(and |received)?$|^proxyconnect |^x509: |^no EC2 IMDS role|^temporary, of |^Tenpay.com sign|^commit %s|^go run |^\(\^|^%s (cards|card %s)|^line %s: %s: %s|^%s --[a-z-]+ %s|\[command\]|` +
		`^(until|from) %s$|^required flag$|^is not a field $|^strictjson: |^this route is for |^(unexpected error|panic) |^the %s$`)

	// forCallers are the functions of shared/apierror whose errors only callers get, and
	// what its errors advise them.
	forCallers = []string{"NotFound", "JumpNotAllowed", "CodeNotAllowed", "OpenIDMismatch", "TicketUnavailable", "Solution", "solutions", "tryAgain"}
)

// sameNames are steps that are called the same in both languages.
var sameNames = []string{"AWS", "key-check", "card-sync"}

// printed are the files whose texts the tool prints.
var printed = []string{"*.go", "../../shared/apierror/apierror.go", "../../shared/apierror/errcode.go", "../../shared/apierror/wechat.go",
	"../../shared/signing/client.go", "../../shared/signing/keyring.go", "../../shared/signing/merchant.go", "../../shared/signing/selftest.go",
	"../../shared/cardplan/*.go", "../../shared/cardfields/*.go", "../../shared/validation/*.go", "../../shared/strictjson/*.go",
	"../../shared/officialaccount/*.go", "../../shared/upstream/*.go", "../../local/discovery/*.go", "../../local/journey/story.go"}

// texts returns the texts of a file of Go, and those that are the names or the words of a step.
// What is put together with + is one text, and each value in it is %s.
func texts(t *testing.T, path string) (all, ofSteps []string) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var visit func(n ast.Node) bool
	var textOf func(e ast.Expr) (text string, ok bool)
	textOf = func(e ast.Expr) (string, bool) {
		switch e := e.(type) {
		case *ast.BasicLit:
			s, err := strconv.Unquote(e.Value)
			return verb.ReplaceAllString(s, "%s"), err == nil && e.Kind == token.STRING
		case *ast.BinaryExpr:
			if e.Op == token.ADD {
				left, l := textOf(e.X)
				right, r := textOf(e.Y)
				return left + right, l || r
			}
		}
		ast.Inspect(e, visit)
		return "%s", false
	}
	add := func(before string, e ast.Expr) {
		if text, ok := textOf(e); ok {
			all = append(all, verbs.ReplaceAllString(before+text, "%s"))
		}
	}
	step := func(e ast.Expr) {
		if text, ok := e.(*ast.BasicLit); ok {
			if s, err := strconv.Unquote(text.Value); err == nil {
				ofSteps = append(ofSteps, s)
			}
		}
	}
	visit = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec, *ast.Field:
			return false
		case *ast.FuncDecl:
			return !slices.Contains(forCallers, n.Name.Name)
		case *ast.ValueSpec:
			if n.Names[0].Name == "name" && len(n.Values) == 1 {
				step(n.Values[0])
			}
			return !slices.Contains(forCallers, n.Names[0].Name)
		case *ast.KeyValueExpr:
			key, _ := n.Key.(*ast.Ident)
			if key != nil && slices.Contains([]string{"Name", "Detail", "Warning", "Skipped", "Cause", "Cure"}, key.Name) {
				step(n.Value)
			}
			return key == nil || !slices.Contains(forCallers, key.Name)
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "text" {
				return false // it has both languages
			} else if ok && f.Sel.Name == "fail" {
				step(n.Args[0])
			}
		case *ast.AssignStmt:
			if member, ok := n.Lhs[0].(*ast.SelectorExpr); ok && slices.Contains(forCallers, member.Sel.Name) {
				return false
			}
			if n.Tok == token.ADD_ASSIGN {
				add("%s", n.Rhs[0])
				return false
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				add("", n)
			}
		case *ast.BinaryExpr:
			if n.Op == token.ADD {
				add("", n)
				return false
			}
		}
		return true
	}
	ast.Inspect(file, visit)
	return all, ofSteps
}

// has reports whether the catalogue has a text, which other texts may surround.
func has(text string) bool {
	return slices.ContainsFunc([]string{text, "%s" + text, "%s " + text, text + "%s", text + ": %s", "%s" + text + "%s"}, func(entry string) bool {
		_, ok := chinese[entry]
		return ok
	})
}

// No text of the tool lacks one of the languages, also none of the packages whose errors it
// shows; and no entry of the catalogue is of a text that is gone or was reworded.
func TestEveryTextIsInBothLanguages(t *testing.T) {
	sources := strings.Builder{}
	for _, pattern := range printed {
		paths := must(filepath.Glob(pattern))
		if len(paths) == 0 {
			t.Errorf("there is no %s", pattern)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") || path == "chinese.go" {
				continue
			}
			all, ofSteps := texts(t, path)
			for _, text := range all {
				sources.WriteString(text + "\n")
				if sentence.MatchString(text) && !untranslated.MatchString(text) && !has(text) {
					t.Errorf("%s: the catalogue lacks %q", path, text)
				}
			}
			if !strings.Contains(path, "/") {
				for _, text := range ofSteps {
					if !slices.Contains(sameNames, text) && !untranslated.MatchString(text) && !has(text) {
						t.Errorf("%s: the catalogue lacks %q", path, text)
					}
				}
			}
		}
	}
	sources.WriteString(strings.Join(composed, "\n"))
	english, inBoth := helped(inEnglish), helped(inChinese)
	for i, text := range english {
		sources.WriteString(text + "\n")
		if inBoth[i] == text && !untranslated.MatchString(text) {
			t.Errorf("%q of the help is not in Chinese", text)
		}
	}
	for entry := range chinese {
		if text := strings.TrimSpace(strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(entry, "%s"), "%s"), ": ")); !strings.Contains(sources.String(), text) {
			t.Errorf("no text is %q any more", entry)
		}
	}
}

// composed are texts that are put together when the tool runs, and those of cobra, pflag and os.
var composed = []string{
	"waiting", "waiting %s", "dead letter", "dead letter %s", "token %s %s", "opened", "notification %s", "event %s", "call %s %s", "line %s: %s: lost", "line %s: %s: confirmed", "line %s: %s: refused %s", "brand card %s %s", "merchant card %s %s", "brand cards", "merchant cards",
	"  always", "  until %s", "  from %s", "%s; give the sandbox's public key and its ID as wechatpay_public_key and wechatpay_public_key_id, for it can sign with no other: ",
	"it has %s characters; an APIv3 key has 32", "it does not look like a public-key ID: it must not have a blank, line break or other invisible character: %s is %s", "it does not look like a public-key ID: it must not have a blank, line break or other invisible character: %s is within", "note: ", "warning: ", "cause: ", "cure: ", "request_id: ",
	"Simply type %s help [path to command] for full details.", "Generate the autocompletion script for %s for the specified shell.", "Generate the autocompletion script for the %s shell.",
	"unknown flag: %s", "unknown shorthand flag: %s in %s", "flag needs an argument: %s", "invalid argument %s for %s flag: %s", "invalid argument %s for %s flag",
	"neither $XDG_CACHE_HOME nor $HOME are defined", "required flag(s) %s not set", "if any flags in the group [%s] are set none of the others can be; [%s] were all set",
}

// helped returns what the help says of each command and flag in a language.
func helped(l language) (texts []string) {
	root := (&app{console: &console{lang: l}}).root()
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, text := range []string{cmd.Short, cmd.Long} {
			if text != "" {
				texts = append(texts, text)
			}
		}
		cmd.Flags().VisitAll(func(flag *pflag.Flag) { texts = append(texts, flag.Usage) })
		cmd.PersistentFlags().VisitAll(func(flag *pflag.Flag) { texts = append(texts, flag.Usage) })
		for _, below := range cmd.Commands() {
			visit(below)
		}
	}
	visit(root)
	return texts
}

// Each entry has its values and WeChat's menus in both languages, and is told from the others.
func TestTheCatalogue(t *testing.T) {
	menu := regexp.MustCompile(`[\p{Han}A-Za-z0-9]+( → [\p{Han}A-Za-z0-9]+)+`)
	numbered := regexp.MustCompile(`%\[(\d)\]s`)
	for english, translated := range chinese {
		values := strings.Count(english, "%s")
		if got := strings.Count(numbered.ReplaceAllString(translated, "%s"), "%s"); got != values {
			t.Errorf("%q has %d values, and %q %d", english, values, translated, got)
		}
		for _, path := range menu.FindAllString(english, -1) {
			if !strings.Contains(translated, path) {
				t.Errorf("%q lacks the menu %s", translated, path)
			}
		}
		given := make([]any, values)
		for i := range given {
			given[i] = "V" + strconv.Itoa(i)
		}
		if text := strings.ReplaceAll(english, "%s", "%v"); values > 0 {
			if want, got := fmt.Sprintf(translated, given...), inChinese.tr(fmt.Sprintf(text, given...)); got != want {
				t.Errorf("%q: %q, want %q", english, got, want)
			}
		}
	}
}

// The language is that of the environment as POSIX has it, or of --lang.
func TestLanguage(t *testing.T) {
	for _, row := range []struct {
		all, messages, lang string
		want                language
	}{
		{"", "", "", ""},
		{"", "", "C.UTF-8", ""},
		{"", "", "zh_CN.UTF-8", inChinese},
		{"", "zh_CN.UTF-8", "en_US.UTF-8", inChinese},
		{"", "en_US.UTF-8", "zh_CN.UTF-8", inEnglish},
		{"en_US.UTF-8", "zh_CN.UTF-8", "zh_CN.UTF-8", inEnglish},
		{"C", "zh_CN.UTF-8", "zh_CN.UTF-8", ""},
		{"zh_CN", "", "", inChinese},
	} {
		t.Setenv("LC_ALL", row.all)
		t.Setenv("LC_MESSAGES", row.messages)
		t.Setenv("LANG", row.lang)
		if got := newConsole().lang; got != row.want {
			t.Errorf("%+v: %q", row, got)
		}
	}
	if o := tool(t, "check", "--lang", "fr"); o.code != exitUsage || !strings.Contains(o.err, "the languages are zh-CN and en") {
		t.Errorf("%+v", o)
	}
}

// In Chinese, the tool says the same; JSON and exit codes are as they are in English.
func TestChinese(t *testing.T) {
	secret, _ := merchantNow(wechatpay.Both)
	secret.CertificateSerialNo = strings.Repeat("A", 40)
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	merchant := file("merchant.json", strictjson.Encode(secret))
	plan := file("plan.json", []byte(`{"cards": [{"card_id": "p1", "fields": {"colour": "red"}}]}`))
	text := file("key.txt", []byte("no key"))
	for _, row := range []struct {
		code int
		args []string
		want []string // in the output
	}{
		{exitOK, []string{"--help"}, []string{"用法：\n  membercard [flags]", "  plan        检查卡券计划，并使其生效\n", "membercard <命令> --help 显示某个命令的说明。\n"}},
		{exitOK, []string{"help", "check", "official-account"}, []string{"检查公众号凭据：先离线检查，", "      --file FILE        存放凭据的文件（FILE）\n"}},
		{exitUsage, nil, []string{"membercard: membercard 需要一个命令：secret、check、callback、token、card、events、rotate、local、plan、reconcile\n"}},
		{exitUsage, []string{"pln"}, []string{`membercard 没有命令 "pln"；是否想输入 plan？`}},
		{exitFailed, []string{"secret", "merchant", "--cert", plan, "--key", text}, []string{
			"✗ 商户API私钥\n    原因：" + text + " 是其他格式的文件（不是 PEM）；这里需要私钥（apiclient_key.pem）\n"}},
		{exitUsage, []string{"check", "--nothing"}, []string{"membercard: 没有选项 --nothing\n解决办法：membercard check --help 列出可用的命令和选项\n"}},
		{exitUsage, []string{"secret", "logn"}, []string{`membercard: membercard secret 没有命令 "logn"；是否想输入 login？`}},
		{exitFailed, []string{"secret", "official-account", "--appid", "gh_86a091e50ad4"}, []string{
			"✗ 公众号：AppID\n    原因：这是原始 ID（gh_…），不是 AppID\n    解决办法：复制 AppID：微信公众平台 → 设置与开发 → 基本配置（", "没有写入任何内容\n2 项中有 2 项未通过\n"}},
		{exitFailed, []string{"check", "merchant", "--file", merchant, local}, []string{
			"✗ 微信支付接受签名\n    原因：微信支付返回 401\n    解决办法：mchid、certificate_serial_no 和 private_key 不属于同一张商户API证书，或该证书已过期、已作废、已更换",
			"；查明是哪一种：membercard check merchant --file " + merchant + " --cert apiclient_cert.pem " + local}},
		{exitFailed, []string{"plan", "validate", plan}, []string{"✗ /cards/0/fields/colour 不是文档中的字段\n    解决办法：查找字段名：docs/zh-CN/cards-and-plan.md 的“字段”一节"}},
	} {
		o := tool(t, append(row.args, "--lang=zh-CN")...)
		for _, want := range row.want {
			if !strings.Contains(o.out+o.err, want) {
				t.Errorf("%v: no %q in\n%s%s", row.args, want, o.out, o.err)
			}
		}
		english, same := tool(t, append(row.args, "--json")...), tool(t, append(row.args, "--json", "--lang=zh-CN")...)
		if o.code != row.code || same.code != row.code || row.code != exitOK && withoutIDs(same.out) != withoutIDs(english.out) {
			t.Errorf("%v: exit codes %d, %d; %s%s", row.args, o.code, same.code, english.out, same.out)
		}
	}
}

// withoutIDs leaves out what differs in each run.
func withoutIDs(report string) string {
	return regexp.MustCompile(`"request_id":"[^"]*"`).ReplaceAllString(report, "")
}
