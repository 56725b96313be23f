package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"membercard/shared/officialaccount"
)

// appFlags are an AppID and where its AppSecret is.
type appFlags struct{ appID, secretFile string }

func (a *app) secretOfficialAccount() *cobra.Command {
	var given appFlags
	var to destination
	cmd := command("official-account", a.text("Make the official account's secret", "生成公众号凭据"), func(ctx context.Context, _ string) error {
		r := &report{}
		if appID(given.appID) == nil {
			r.AppID = given.appID
		}
		secret := a.account(ctx, r, given, "official account")
		return a.finish(ctx, r, &to, ofAccount, secret)
	})
	cmd.Long = a.text(`Make the official account's secret. The AppSecret is read from a file, or asked for on
a terminal.`,
		"生成公众号凭据。AppSecret 从文件读取，或在终端上提示输入。")
	cmd.Flags().StringVar(&given.appID, "appid", "", a.text("the account's `AppID`, wx…", "公众号的 `AppID`，wx…"))
	cmd.Flags().StringVar(&given.secretFile, "secret-file", "", a.text("`FILE` with its AppSecret", "AppSecret 文件（`FILE`）"))
	require(cmd, "appid")
	return to.flags(a, cmd)
}

func (a *app) secretLogin() *cobra.Command {
	var program, account appFlags
	var to destination
	cmd := command("login", a.text("Make the secret of the apps that users log in to", "生成用户登录所用应用的凭据"), func(ctx context.Context, _ string) error {
		if program.appID == "" && account.appID == "" {
			return usagef("--mini-program, --official-account or both are needed")
		}
		r, secret := &report{}, &officialaccount.Login{}
		if program.appID != "" {
			secret.MiniProgram = a.account(ctx, r, program, "mini program")
		}
		if account.appID != "" {
			secret.OfficialAccount = a.account(ctx, r, account, "official account")
		}
		return a.finish(ctx, r, &to, ofLogin, secret)
	})
	cmd.Long = a.text(`Make the secret of the apps that users log in to: a mini program, an official account,
or both. AppSecrets are read from files, or asked for on a terminal.`,
		`生成用户登录所用应用的凭据：小程序、公众号或两者。
AppSecret 从文件读取，或在终端上提示输入。`)
	flags := cmd.Flags()
	flags.StringVar(&program.appID, "mini-program", "", a.text("the mini program's `AppID`, wx…", "小程序的 `AppID`，wx…"))
	flags.StringVar(&program.secretFile, "mini-program-secret-file", "", a.text("`FILE` with its AppSecret", "AppSecret 文件（`FILE`）"))
	flags.StringVar(&account.appID, "official-account", "", a.text("the official account's `AppID`, wx…", "公众号的 `AppID`，wx…"))
	flags.StringVar(&account.secretFile, "official-account-secret-file", "", a.text("`FILE` with its AppSecret", "AppSecret 文件（`FILE`）"))
	return to.flags(a, cmd)
}

// account checks an AppID and its AppSecret.
func (a *app) account(ctx context.Context, r *report, given appFlags, name string) *officialaccount.Account {
	r.check(step{Name: name + ": AppID", Detail: given.appID}, appID(given.appID))
	secret, notes, bad := a.secretValue(ctx, given.secretFile, "AppSecret of the "+name)
	if bad == nil && given.secretFile == "" && secret == "" {
		bad = faultf("give it in a file, or run this on a terminal, where it is asked for", "the AppSecret was not given")
	}
	if bad == nil {
		bad = appSecret(secret)
	}
	r.check(step{Name: name + ": AppSecret", Notes: notes}, bad)
	return &officialaccount.Account{AppID: given.appID, Secret: secret}
}

// appID checks an AppID. The fault does not quote it: it may be the AppSecret.
func appID(id string) *fault {
	const cure = "copy the AppID: 微信公众平台 → 设置与开发 → 基本配置 (of a mini program: 开发管理 → 开发设置); wx and 16 hex digits"
	switch rest, ok := strings.CutPrefix(id, "wx"); {
	case strings.HasPrefix(id, "gh_"):
		return faultf(cure, "it is the original ID (gh_…), not the AppID")
	case len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "":
		return faultf(cure, "it is an AppSecret, not an AppID")
	case !ok || len(rest) != 16 || strings.Trim(rest, "0123456789abcdef") != "":
		return faultf(cure, "it does not look like an AppID")
	}
	return nil
}

func appSecret(secret string) *fault {
	const cure = "copy it from where it was saved, or reset it: 微信公众平台 → 设置与开发 → 基本配置; 32 hex digits"
	switch {
	case strings.HasPrefix(secret, "wx") && len(secret) == 18:
		return faultf(cure, "it is an AppID, not an AppSecret")
	case len(secret) != 32:
		return faultf(cure, "it has %d characters; an AppSecret has 32", len(secret))
	case strings.Trim(secret, "0123456789abcdef") != "":
		return faultf(cure, "it has other characters than hex digits in lower case; maybe it is the APIv3 key")
	}
	return nil
}
