package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"membercard/shared/apierror"
	"membercard/shared/signing"
)

// callbackPath is where WeChat Pay keeps the URL that events of merchant cards are
// sent to (设置会员卡事件回调地址).
const callbackPath = "/v3/marketing/membercard-open/callback"

func (a *app) callbackGet() *cobra.Command {
	var from source
	cmd := a.reporting("get", a.text("Show where WeChat Pay sends the events of merchant cards", "查看微信支付把商家会员卡事件发送到哪里"), func(ctx context.Context, r *report) error {
		client, secret, err := a.merchantOf(ctx, r, &from)
		if client == nil {
			return err
		}
		defer a.cure(r, &from, secret)
		const name = "callback URL"
		switch current, err := a.callback(ctx, client); {
		case err != nil:
			r.add(failedCall(name, err))
		case current == "":
			url := " https://…/wechatpay/notifications"
			if a.local != nil {
				url = "" // its own
			}
			r.fail(name, faultf("membercard callback set"+url+a.read(&from)+a.where(), "none is set: no event of a merchant card is sent"))
		default:
			r.NotifyURL = current
			r.add(step{Name: name, OK: true, Detail: current})
		}
		return nil
	})
	return from.flags(a, cmd)
}

func (a *app) callbackSet() *cobra.Command {
	var from source
	cmd := a.withArgument("set [URL]", a.text("Set where WeChat Pay sends the events of merchant cards", "设置微信支付把商家会员卡事件发送到哪里"), func(ctx context.Context, r *report, to string) error {
		own := ""
		if a.local != nil {
			own = a.local.Outputs["NotificationUrl"] // which may be in the clear
		}
		if to = cmp.Or(to, own); to == "" {
			return usagef("callback set needs the URL; only a local stack has its own")
		}
		if bad := notifyURL(to); bad != nil && to != own {
			if own != "" {
				bad.cure = "leave the URL out: this stack has its own"
			}
			r.fail("URL", bad)
			return nil
		}
		client, secret, err := a.merchantOf(ctx, r, &from)
		if client == nil {
			return err
		}
		defer a.cure(r, &from, secret)
		before, err := a.callback(ctx, client)
		if err != nil {
			r.add(failedCall("callback URL read", err))
			return nil
		}
		set := step{Name: "callback URL set", OK: true, Detail: to}
		if before != to {
			if before != "" {
				set.Detail += " (before: " + before + ")"
			}
			end := a.during("asking WeChat Pay")
			_, err = client.Patch(ctx, callbackPath, map[string]string{"notify_url": to})
			if end(); err != nil {
				r.add(failedCall(set.Name, err))
				return nil
			}
		}
		r.NotifyURL = to
		if own != "" && to != own {
			set.Warning, set.Cure = "the sandbox can't reach it, so no merchant card can be opened in it", "membercard callback set"+a.where()
		}
		r.add(set)
		return nil
	})
	cmd.Example = `  membercard callback set https://abc123.execute-api.eu-central-1.amazonaws.com/wechatpay/notifications \
    --secret-id membercard/merchant`
	return from.flags(a, cmd)
}

// callback returns the callback URL, or "" if none is set.
func (a *app) callback(ctx context.Context, client *signing.Client) (current string, err error) {
	defer a.during("asking WeChat Pay")()
	found, err := client.Get(ctx, callbackPath)
	if e, ok := errors.AsType[*apierror.Error](err); ok && e.Status == http.StatusNotFound {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var answer struct {
		NotifyURL string `json:"notify_url"`
	}
	if json.Unmarshal(found.Body, &answer) != nil {
		return "", found.Invalid(errors.New("the answer is not the documented JSON"))
	}
	return answer.NotifyURL, nil
}

// notifyURL checks a URL that WeChat Pay is to notify.
func notifyURL(s string) *fault {
	const cure = "give the API's URL of /wechatpay/notifications; it is an output of the stack: aws cloudformation describe-stacks --query 'Stacks[].Outputs'"
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return faultf(cure, "%q is not a URL", clip(s))
	case u.Scheme != "https":
		return faultf(cure, "WeChat Pay notifies https URLs only")
	case strings.ContainsAny(s, "?#"):
		return faultf(cure, "WeChat Pay notifies URLs without a query string only")
	case len(s) > 256:
		return faultf(cure, "the URL has %d characters; 256 are allowed", len(s))
	case !isPublic(u.Hostname()):
		return faultf(cure, "WeChat Pay can't reach %s from the internet", u.Hostname())
	}
	return nil
}

// isPublic reports whether a host may be reachable from the internet.
func isPublic(host string) bool {
	if address, err := netip.ParseAddr(host); err == nil {
		return !address.IsLoopback() && !address.IsPrivate() && !address.IsLinkLocalUnicast() && !address.IsUnspecified()
	}
	return strings.Contains(host, ".") && !strings.HasSuffix(host, ".local")
}
