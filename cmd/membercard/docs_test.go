package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"membercard/local/stack"
	"membercard/local/template"
	"membercard/wechat/wechatpay"
)

var (
	shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")
	inCode     = regexp.MustCompile("`(membercard [^`]*)`")
	inBlock    = regexp.MustCompile(`(?m)^ *(?:\./)?(membercard [^\n|>]*)`)
)

// The commands of docs/operator-tool.md are run, one after the other, against a local
// stack. They build nothing: the tool is on the PATH.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	text := string(must(os.ReadFile("../../docs/operator-tool.md")))
	s := ownStack(t, stack.Config{Auth: stack.AuthIAM, Plan: "../../local/plan.json", Unthrottled: true})
	if err := s.RenewTicket(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.WeChatPay.Deliver(wechatpay.NewDelivery())
	binary := must(built())
	bin, work := t.TempDir(), t.TempDir()
	secret, _ := merchantNow(wechatpay.Both)
	key := another() // of a merchant that the sandbox does not know
	secret.MchID, secret.PrivateKey = ownMchID, keyPEM(key)
	for name, content := range map[string]string{"apiclient_cert.pem": certificateFor(secret, key).pem(), "apiclient_key.pem": secret.PrivateKey, "apiv3_key.txt": secret.APIv3Key, "appsecret.txt": "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(binary, filepath.Join(bin, "membercard")); err != nil {
		t.Fatal(err)
	}
	given := len(must(os.ReadDir(work)))
	ran := 0
	for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
		if strings.Contains(block[1], "go build") {
			continue
		}
		script := strings.ReplaceAll(strings.ReplaceAll(block[1], "--local\n", "--local="+s.URL+"\n"), defaultLocal, s.URL)
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = work
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "✗") {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
		ran += strings.Count(block[1], "membercard ")
	}
	if ran < 15 {
		t.Errorf("only %d commands were run", ran)
	}
	// Keys, and what else a reader of the page has in the project's folder, are not committed.
	var written []string
	for _, entry := range must(os.ReadDir(work)) {
		name := entry.Name()
		if entry.IsDir() {
			name += "/"
		}
		written = append(written, name)
	}
	if len(written) <= given+5 {
		t.Errorf("only %q was written", written)
	}
	if _, err := os.Stat("../../.git"); err != nil {
		t.Skip("this is no checkout, so git does not tell what it ignores")
	}
	ignored := exec.Command("git", append([]string{"-C", "../..", "check-ignore", "--no-index", "--"}, written...)...)
	if out, _ := ignored.Output(); strings.TrimSpace(string(out)) != strings.Join(written, "\n") {
		t.Errorf("git ignores\n%sof\n%s", out, strings.Join(written, "\n"))
	}
}

// Commands that are named in a sentence or a block exist, with their flags, and every command
// has a place in the page.
func TestDocumentedNames(t *testing.T) {
	a := &app{console: &console{}}
	root := a.root()
	root.InitDefaultCompletionCmd() // as cobra does when it is run
	pages := append(must(filepath.Glob("../../docs/*.md")), "../../README.md")
	for _, page := range pages {
		text := string(must(os.ReadFile(page)))
		named := inCode.FindAllStringSubmatch(text, -1)
		for _, block := range shellBlock.FindAllString(text, -1) {
			named = append(named, inBlock.FindAllStringSubmatch(block, -1)...)
		}
		for _, match := range named {
			words := strings.Fields(match[1])[1:]
			cmd, _, err := root.Find(words)
			if err != nil || cmd == root && !strings.HasPrefix(words[0], "--") {
				t.Errorf("%s: %s: there is no such command", page, match[1])
				continue
			}
			for _, word := range words {
				name, isFlag := strings.CutPrefix(word, "--")
				if isFlag && name != "help" && cmd.Flags().Lookup(name) == nil && root.PersistentFlags().Lookup(name) == nil {
					t.Errorf("%s: %s: there is no flag %s", page, match[1], word)
				}
			}
		}
	}
	text := string(must(os.ReadFile("../../docs/operator-tool.md")))
	for _, line := range strings.Split(string(must(os.ReadFile("../../README.md"))), "\n") {
		if command, ok := strings.CutPrefix(line, "./"); ok && strings.HasSuffix(line, "--local") && !strings.Contains(text, "\n"+command+"\n") {
			t.Errorf("README.md: docs/operator-tool.md, whose commands are run, does not have %s", command)
		}
	}
	for _, group := range root.Commands() {
		if group.Name() == "completion" {
			continue
		}
		for _, cmd := range group.Commands() {
			if path := strings.TrimPrefix(cmd.CommandPath(), "membercard "); !strings.Contains(text, "`"+cmd.Name()) && !strings.Contains(text, path) && !strings.Contains(text, "`"+path) {
				t.Errorf("docs/operator-tool.md does not mention %s", path)
			}
		}
	}
}

var inRunbook = regexp.MustCompile(`docs/runbook\.md, section “?([A-Z][A-Za-z' ]*[a-z])`)

// The sections of the runbook that cures name exist, and so does one for each alarm.
func TestCuresNameSectionsOfTheRunbook(t *testing.T) {
	runbook := string(must(os.ReadFile("../../docs/runbook.md")))
	found := 0
	for _, file := range must(filepath.Glob("*.go")) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, match := range inRunbook.FindAllStringSubmatch(string(must(os.ReadFile(file))), -1) {
			if found++; !strings.Contains(runbook, "# "+match[1]+"\n") {
				t.Errorf("%s: the runbook has no section %q", file, match[1])
			}
		}
	}
	alarms := 0
	for id := range deployedTemplate(t).Resources {
		if strings.HasSuffix(id, "Alarm") {
			if alarms++; !strings.Contains(runbook, "# "+id+"\n") {
				t.Errorf("the runbook has no section %q", id)
			}
		}
	}
	if found < 5 || alarms < 10 {
		t.Errorf("cures: %d, alarms: %d", found, alarms)
	}
}

// deployedTemplate is the template with all functions.
func deployedTemplate(t *testing.T) *template.Template {
	t.Helper()
	deployed, err := template.Read("../../template.yaml", map[string]string{"MerchantSecretArn": "any", "OfficialAccountSecretArn": "any", "FrontendAuth": "WECHAT"})
	if err != nil {
		t.Fatal(err)
	}
	return deployed
}

// What the tool reads of a deployed stack is in the template under that name.
func TestNamesOfTheTemplate(t *testing.T) {
	deployed := deployedTemplate(t)
	named := map[string]map[string]string{"outputs": deployed.Outputs, "parameters": deployed.Parameters, "resources": deployed.Resources}
	used := regexp.MustCompile(`(outputs|parameters|resources)\["(\w+)"\]`)
	found := 0
	for _, file := range must(filepath.Glob("*.go")) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, match := range used.FindAllStringSubmatch(string(must(os.ReadFile(file))), -1) {
			found++
			if _, ok := named[match[1]][match[2]]; !ok {
				t.Errorf("%s: the template has no %s %s", file, match[1], match[2])
			}
		}
	}
	if found < 10 {
		t.Errorf("names: %d", found)
	}
}
