package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"membercard/local/discovery"
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

	local   *discovery.Stack // if localURL is set
	cleanup []func()
}

// run runs the tool and returns its exit code.
func run(ctx context.Context, args []string, c *console) int {
	a := &app{console: c}
	defer func() {
		for _, f := range a.cleanup {
			f()
		}
	}()
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
	root := a.root()
	a.lang.find(args)
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
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

func (a *app) usage(cmd *cobra.Command, err error) int {
	cause, _, _ := strings.Cut(err.Error(), ": strconv.") // which is Go's business
	if cmd.Name() == "help" {
		cmd = cmd.Root()
	}
	cure := cmd.CommandPath() + " --help lists what there is"
	if strings.HasPrefix(cause, "required flag") {
		cause = quotedFlag.ReplaceAllString(cause, "--$1")
	}
	if local, ok := errors.AsType[localURLError](err); ok {
		cure = "write --local=" + string(local)
	}
	a.printError(&fault{cause: cause, cure: cure})
	return exitUsage
}

// quotedFlag is how cobra names a flag.
var quotedFlag = regexp.MustCompile(`"([a-z0-9-]+)"`)

// ended is the error of a command, as opposed to one of the command line.
type ended struct{ error }

func (e *ended) Unwrap() error { return e.error }

// command makes a command of a function.
func command(use, short string, f func(ctx context.Context) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: arguments(0, 0), RunE: func(cmd *cobra.Command, _ []string) error {
		if err := f(cmd.Context()); err != nil {
			return &ended{err}
		}
		return nil
	}}
}

// reporting makes a command of a function that adds to a report. The report is printed
// unless the function fails.
func (a *app) reporting(use, short string, f func(ctx context.Context, r *report) error) *cobra.Command {
	return command(use, short, func(ctx context.Context) error {
		r := &report{}
		if err := f(ctx, r); err != nil {
			return err
		}
		return a.print(a.out, r)
	})
}

// withArgument makes a reporting command with an argument, which use names. One in brackets
// may be left out, and is empty then.
func (a *app) withArgument(use, short string, f func(ctx context.Context, r *report, argument string) error) *cobra.Command {
	least, argument := 1, ""
	if strings.Contains(use, "[") {
		least = 0
	}
	cmd := a.reporting(use, short, func(ctx context.Context, r *report) error { return f(ctx, r, argument) })
	cmd.Args = arguments(least, 1)
	cmd.PreRun = func(_ *cobra.Command, args []string) { argument = strings.Join(args, "") }
	return cmd
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
		i := slices.IndexFunc(args, func(arg string) bool { return isAddress(cmd, arg) })
		switch {
		case i >= 0:
			return localURLError(args[i])
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

// localURLError is a command line with --local and then this URL. A flag with an optional
// value has it after an equals sign.
type localURLError string

func (e localURLError) Error() string {
	return "--local has its URL after an equals sign, without a blank"
}

// address is the address of a local stack, with or without http://.
var address = regexp.MustCompile(`^(http://)?(localhost|[0-9.]+|\[[0-9a-f:]+\]):[0-9]+/?$`)

// isAddress reports whether an argument is the URL that is meant for --local.
func isAddress(cmd *cobra.Command, arg string) bool {
	f := cmd.Flag("local")
	return f != nil && f.Value.String() == f.NoOptDefVal && address.MatchString(arg)
}

// group makes a command that only has others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	// Without RunE, cobra would show the help and not look at the arguments.
	g := &cobra.Command{Use: use, Short: short, RunE: func(*cobra.Command, []string) error { return nil }, Args: func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			var names []string
			for _, c := range commands {
				names = append(names, c.Name())
			}
			return fmt.Errorf("%s needs a command: %s", cmd.CommandPath(), strings.Join(names, ", "))
		}
		if isAddress(cmd, args[0]) {
			return localURLError(args[0])
		}
		meant := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			meant = "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return fmt.Errorf("%s has no command %q%s", cmd.CommandPath(), args[0], meant)
	}}
	g.SuggestionsMinimumDistance = 2
	g.AddCommand(commands...)
	return g
}

func (a *app) root() *cobra.Command {
	root := group("membercard", "Make and check what membercard needs from WeChat",
		group("secret", "Make a secret from WeChat's files, and name each mistake in them",
			a.secretMerchant(), a.secretOfficialAccount(), a.secretLogin()),
		group("check", "Check a secret, offline and then with WeChat, or a deployed stack",
			a.checkMerchant(), a.checkOfficialAccount(), a.checkLogin(), a.checkDeployment()),
		group("callback", "Say where WeChat Pay sends the events of merchant cards",
			a.callbackGet(), a.callbackSet()),
		group("token", "Get a token that opens a card",
			a.tokenMerchant(), a.tokenBrand()),
		group("card", "Try cards in the sandbox", group("open", "Have a customer open a card",
			a.cardOpen("brand", "Have a customer open a brand card"), a.cardOpen("merchant", "Have a customer open a merchant card"))),
		group("events", "See the notifications of WeChat Pay", a.eventsTail()),
		group("rotate", "Replace the merchant's certificate without dropping a request",
			a.rotateBegin(), a.rotateFinish(), a.rotateUndo()),
		group("local", "Try the tool with the local stack", a.localEnrol(),
			a.withArgument("files DIR", "Write the files that WeChat Pay would give to the sandbox's merchant", a.localFiles)),
		group("plan", "Check the card plan, and put it in force",
			a.planValidate(), a.planDiff(), a.planPut(), a.planRollback(), a.planHistory()),
		a.reconcile(),
	)
	root.Long = `membercard makes secrets from WeChat's files and checks them, first offline and
then with WeChat. Each mistake is named with its cure.

AWS credentials and the region are read as the AWS CLI reads them. Exit codes: 0 if
everything is in order, 1 if a check failed, 2 if the command line is wrong.`
	root.Version = version()
	root.SilenceErrors, root.SilenceUsage = true, true
	flags := root.PersistentFlags()
	flags.BoolVar(&a.json, "json", false, "print one JSON object")
	flags.Var(&a.lang, "lang", "`LANGUAGE`, zh-CN or en (default that of LC_ALL, LC_MESSAGES or LANG)")
	flags.Lookup("lang").DefValue = "" // the usage has it
	flags.StringVar(&a.profile, "profile", "", "profile of the AWS configuration (default AWS_PROFILE)")
	flags.StringVar(&a.region, "region", "", "AWS region (default AWS_REGION, then the profile's)")
	flags.StringVar(&a.localURL, "local", "", "work against the local stack (go run ./local) at this `URL`")
	flags.Lookup("local").NoOptDefVal = defaultLocal
	flags.StringSliceVar(&a.endpoints, "endpoint", nil, "base `URL` of WeChat, for tests")
	_ = flags.MarkHidden("endpoint") // there is such a flag
	if a.self != "" {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: a.self}
	}
	root.SetHelpFunc(a.help(root.HelpFunc()))
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil && help != root {
		show := help.Run
		help.Run, help.RunE = nil, func(cmd *cobra.Command, args []string) error {
			if topic, rest, err := root.Find(args); err == nil && len(rest) > 0 {
				return fmt.Errorf("%s has no command %q", topic.CommandPath(), rest[0])
			}
			show(cmd, args)
			return nil
		}
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
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
