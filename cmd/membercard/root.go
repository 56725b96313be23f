package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"membercard/local/discovery"
	"membercard/shared/upstream"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// app is what all commands share: the console, and where AWS and WeChat are.
type app struct {
	*console
	stdout *output // which is out

	profile, region string
	localURL        string   // of a local stack; empty: AWS and the real WeChat
	endpoints       []string // instead of WeChat's

	local       *discovery.Stack // if localURL is set
	authorities string           // temporary file with those of its sandboxes
}

// run runs the tool and returns its exit code.
func run(ctx context.Context, args []string, c *console) int {
	a := &app{console: c}
	defer func() { _ = os.Remove(a.authorities) }() // there may be none
	a.stdout = &output{Writer: c.out}
	c.out = a.stdout
	code := a.execute(ctx, args)
	switch err := a.stdout.err; {
	case errors.Is(err, syscall.EPIPE): // whoever read it wants no more
		return exitFailed
	case err != nil:
		fmt.Fprintln(c.err, "membercard:", c.say(fmt.Sprintf("standard output can't be written: %v", err)))
		return exitFailed
	}
	return code
}

// execute runs the command that args name, and returns the exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	a.lang.find(args)
	root := a.root()
	root.SetArgs(joinLocal(args))
	var ended *ended
	switch cmd, err := root.ExecuteContextC(ctx); {
	case err == nil:
		return exitOK
	case a.stdout.err != nil: // the error, or the cause of it
		return exitFailed
	case !errors.As(err, &ended):
		// What is not from a command is cobra's: the command line is wrong.
		return a.usage(cmd, err)
	case errors.Is(err, errFailed):
		return exitFailed
	default:
		if wrong, ok := errors.AsType[usageError](err); ok {
			return a.usage(cmd, wrong)
		}
		a.printError(ended.error)
		return exitFailed
	}
}

// address is the address of a local stack, with or without http://.
var address = regexp.MustCompile(`^(http://)?(localhost|[0-9.]+|\[[0-9a-f:]+\]):[0-9]+/?$`)

// joinLocal joins --local and an address after a blank. pflag takes a value that may be left
// out only after an equals sign.
func joinLocal(args []string) (joined []string) {
	for i, arg := range args {
		if i > 0 && args[i-1] == "--local" && address.MatchString(arg) {
			joined[len(joined)-1] += "=" + arg
		} else {
			joined = append(joined, arg)
		}
	}
	return joined
}

func (a *app) usage(cmd *cobra.Command, err error) int {
	cause, _, _ := strings.Cut(err.Error(), ": strconv.") // which is Go's business
	if cmd.Name() == "help" {
		cmd = cmd.Root()
	}
	if strings.HasPrefix(cause, "required flag") {
		cause = quotedFlag.ReplaceAllString(cause, "--$1")
	}
	a.printError(&fault{cause: cause, cure: cmd.CommandPath() + " --help lists what there is"})
	return exitUsage
}

// quotedFlag is how cobra names a flag.
var quotedFlag = regexp.MustCompile(`"([a-z0-9-]+)"`)

// ended is the error of a command, as opposed to one of the command line.
type ended struct{ error }

func (e *ended) Unwrap() error { return e.error }

// command makes a command of a function. use names its argument, if it has one; one in
// brackets may be left out, and is empty then.
func command(use, short string, f func(ctx context.Context, argument string) error) *cobra.Command {
	most := strings.Count(use, " ")
	least := most - strings.Count(use, "[")
	return &cobra.Command{Use: use, Short: short, Args: arguments(least, most), RunE: func(cmd *cobra.Command, args []string) error {
		if err := f(cmd.Context(), strings.Join(args, "")); err != nil {
			return &ended{err}
		}
		return nil
	}}
}

// withArgument makes a command of a function that adds to a report. The report is printed
// unless the function fails.
func (a *app) withArgument(use, short string, f func(ctx context.Context, r *report, argument string) error) *cobra.Command {
	return command(use, short, func(ctx context.Context, argument string) error {
		r := &report{}
		if err := f(ctx, r, argument); err != nil {
			return err
		}
		return a.print(a.out, r)
	})
}

// reporting is withArgument for a command that has none.
func (a *app) reporting(use, short string, f func(ctx context.Context, r *report) error) *cobra.Command {
	return a.withArgument(use, short, func(ctx context.Context, r *report, _ string) error { return f(ctx, r) })
}

// require marks flags as required.
func require(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		_ = cmd.MarkFlagRequired(name) // there is such a flag
	}
}

// arguments requires from least to most arguments. It does not quote them: one may be a
// secret.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case least <= len(args) && len(args) <= most:
			return nil
		case most == 0 && cmd.Parent().Name() == "secret":
			return fmt.Errorf("%s takes flags only; secrets are read from files, or asked for", cmd.CommandPath())
		case most == 0:
			return fmt.Errorf("%s takes flags only", cmd.CommandPath())
		}
		return fmt.Errorf("%s takes %d argument, and %d were given: %s", cmd.CommandPath(), most, len(args), cmd.UseLine())
	}
}

// group makes a command that only has others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short}
	g.AddCommand(commands...)
	requireCommand(g, commands)
	return g
}

// requireCommand has a command refuse to be run without one of those below it.
func requireCommand(g *cobra.Command, commands []*cobra.Command) {
	g.SuggestionsMinimumDistance = 2
	g.RunE = func(*cobra.Command, []string) error { return nil } // without it, cobra would show the help and not look at the arguments
	g.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			var names []string
			for _, c := range commands {
				names = append(names, c.Name())
			}
			return fmt.Errorf("%s needs a command: %s", cmd.CommandPath(), strings.Join(names, ", "))
		}
		meant := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			meant = "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return fmt.Errorf("%s has no command %q%s", cmd.CommandPath(), args[0], meant)
	}
}

func (a *app) root() *cobra.Command {
	root := group("membercard", a.text("Make and check what membercard needs from WeChat", "准备并检查 membercard 需要的微信凭据"),
		group("secret", a.text("Make a secret from WeChat's files, and name each mistake in them", "用微信提供的文件生成凭据，并指出其中的每个错误"),
			a.secretMerchant(), a.secretOfficialAccount(), a.secretLogin()),
		group("check", a.text("Check a secret, offline and then with WeChat, or a deployed stack", "检查凭据（先离线，再向微信验证）或已部署的堆栈"),
			a.checkMerchant(), a.checkOfficialAccount(), a.checkLogin(), a.checkDeployment()),
		group("callback", a.text("Say where WeChat Pay sends the events of merchant cards", "设置微信支付把商家会员卡事件发送到哪里"),
			a.callbackGet(), a.callbackSet()),
		group("token", a.text("Get a token that opens a card", "获取开卡 token"),
			a.tokenMerchant(), a.tokenBrand()),
		group("card", a.text("Try cards in the sandbox", "在沙箱中试用会员卡"), group("open", a.text("Have a customer open a card", "模拟用户开卡"),
			a.cardOpen("brand", a.text("Have a customer open a brand card", "模拟用户开品牌会员卡")), a.cardOpen("merchant", a.text("Have a customer open a merchant card", "模拟用户开商家会员卡")))),
		group("events", a.text("See the notifications of WeChat Pay", "查看微信支付的通知"), a.eventsTail()),
		group("rotate", a.text("Replace the merchant's certificate without dropping a request", "更换商户API证书，期间不丢失任何请求"),
			a.rotateBegin(), a.rotateFinish(), a.rotateUndo()),
		group("local", a.text("Try the tool with the local stack", "在本机环境中试用本工具"), a.localEnrol(),
			a.withArgument("files DIR", a.text("Write the files that WeChat Pay would give to the sandbox's merchant", "写出微信支付会提供给沙箱商户的文件"), a.localFiles)),
		group("plan", a.text("Check the card plan, and put it in force", "检查卡券计划，并使其生效"),
			a.planValidate(), a.planDiff(), a.planPut(), a.planRollback(), a.planHistory()),
		a.reconcile(),
	)
	root.Long = a.text(`membercard makes secrets from WeChat's files, checks them and what is deployed, and puts
the card plan in force. Each mistake is named with its cure.

AWS credentials and the region are read as the AWS CLI reads them. Exit codes: 0 if
everything is in order, 1 if a check failed, 2 if the command line is wrong.`,
		`membercard 用微信提供的文件生成凭据，检查凭据和已部署的堆栈，并使卡券计划生效。
发现的每个错误都附有解决办法。

AWS 凭证和区域的读取方式与 AWS CLI 相同。退出码：0 表示一切正常，1 表示有检查未通过，
2 表示命令行有误。`)
	root.Version = version()
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.Flags().BoolP("version", "v", false, a.text("print the version", "显示版本"))
	flags := root.PersistentFlags()
	flags.BoolP("help", "h", false, a.text("say what a command does, and how", "显示命令的说明"))
	flags.BoolVar(&a.json, "json", false, a.text("print one JSON object", "输出一个 JSON 对象（英文）"))
	flags.Var(&a.lang, "lang", a.text("`LANGUAGE`, zh-CN or en (default that of LC_ALL, LC_MESSAGES or LANG)", "语言（`LANGUAGE`），zh-CN 或 en（默认按 LC_ALL、LC_MESSAGES 或 LANG）"))
	flags.Lookup("lang").DefValue = "" // the usage has it
	flags.StringVar(&a.profile, "profile", "", a.text("`NAME` of a profile of the AWS configuration (default AWS_PROFILE)", "AWS 配置中 profile 的名称（`NAME`，默认为 AWS_PROFILE）"))
	flags.StringVar(&a.region, "region", "", a.text("AWS `REGION` (default AWS_REGION, then the profile's)", "AWS 区域（`REGION`，默认为 AWS_REGION，其次为 profile 的区域）"))
	flags.StringVar(&a.localURL, "local", "", a.text("work against the local stack (go run ./local) at this `URL`", "使用该地址（`URL`）的本机环境（go run ./local）"))
	flags.Lookup("local").NoOptDefVal = defaultLocal
	flags.StringSliceVar(&a.endpoints, "endpoint", nil, a.text("base `URL` of WeChat, for tests", "微信的基础 `URL`，用于测试"))
	_ = flags.MarkHidden("endpoint") // there is such a flag
	if a.self != "" {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: a.self}
	}
	show := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		cmd.Long, cmd.Example = a.typed(cmd.Long), a.typed(cmd.Example)
		show(cmd, args)
	})
	a.addCobras(root)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) (err error) {
		if len(a.endpoints) > 0 {
			if a.endpoints, err = upstream.Endpoints(strings.Join(a.endpoints, ",")); err != nil {
				return fmt.Errorf("--endpoint: %w", err)
			}
		}
		if a.localURL == "" {
			if cmd.Flags().Changed("local") { // by a variable that is not set: the real WeChat is not meant
				return errors.New("--local= has no URL after it")
			}
			return nil
		}
		if err := a.discover(cmd.Context()); err != nil {
			return &ended{err}
		}
		return nil
	}
	return root
}

// addCobras adds the commands that cobra has itself, in the reader's language.
func (a *app) addCobras(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			a.lang.translate(cmd)
			requireCommand(cmd, cmd.Commands())
		case "help":
			a.lang.translate(cmd)
			show := cmd.Run
			cmd.Run, cmd.RunE = nil, func(cmd *cobra.Command, args []string) error {
				if topic, rest, err := root.Find(args); err == nil && len(rest) > 0 {
					return fmt.Errorf("%s has no command %q", topic.CommandPath(), rest[0])
				}
				show(cmd, args)
				return nil
			}
		}
	}
	if a.lang == inChinese {
		root.SetUsageTemplate(headings.Replace(root.UsageTemplate()))
	}
}
