package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"

	"membercard/shared/cardfields"
	"membercard/shared/cardplan"
	"membercard/shared/plansync"
)

// maxPlan is the maximum size of a plan: 4 MiB.
const maxPlan = 4 << 20

// planPlace is the S3 object with the plan in force.
type planPlace struct {
	uri         string
	stack       string // whose output CardPlan is the URI
	bucket, key string

	deployment *deployment // nil with a URI
	where      string      // the flags that lead to it
	client     *s3.Client
}

// onPlan makes a command on the plan in force, which --at or --stack names; use names its
// argument, if it has one.
func (a *app) onPlan(use, short string, f func(ctx context.Context, r *report, at *planPlace, argument string)) *cobra.Command {
	var at planPlace
	cmd := a.withArgument(use, short, func(ctx context.Context, r *report, argument string) error {
		if err := a.find(ctx, r, &at); err != nil || r.failed() > 0 {
			return err
		}
		f(ctx, r, &at, argument)
		return nil
	})
	cmd.Flags().StringVar(&at.uri, "at", "", a.text("`URI` of the plan in force, s3://bucket/key: the stack's output CardPlan", "生效计划的 `URI`，s3://bucket/key：堆栈的输出 CardPlan"))
	a.stackFlag(cmd, &at.stack)
	cmd.MarkFlagsMutuallyExclusive("at", "stack")
	return cmd
}

// find finds the plan of --at or --stack. The local stack's is the default if there is
// one. If it can't be found, the report says why.
func (a *app) find(ctx context.Context, r *report, p *planPlace) error {
	switch {
	case p.uri != "":
	case p.stack == "" && a.local == nil:
		return usagef("--stack or --at is needed: the stack's name, or its output CardPlan")
	default:
		d, err := a.deployed(ctx, r, p.stack)
		if err != nil || d == nil {
			return err
		}
		if p.deployment, p.uri = d, d.outputs["CardPlan"]; r.failed() > 0 {
			if p.uri != "" { // it does not need the stack
				r.Steps[len(r.Steps)-1].Cure += "; the plan can be reached without the stack: --at " + p.uri
			}
			return nil
		}
		if p.uri == "" {
			r.fail("card plan", faultf("deploy the version of the template that this tool is from", "the stack has none"))
			return nil
		}
	}
	rest, ok := strings.CutPrefix(p.uri, "s3://")
	p.bucket, p.key, _ = strings.Cut(rest, "/")
	if p.where = " --at " + quote(p.uri) + a.where(); p.deployment != nil && a.local == nil {
		p.where = " --stack " + quote(p.stack) + a.where()
	}
	if !ok || p.bucket == "" || p.key == "" {
		return usagef("--at: %q is not of the form s3://bucket/key", p.uri)
	}
	c, bad := a.aws(ctx)
	if bad != nil {
		r.fail("AWS", bad)
		return nil
	}
	// S3 behind another endpoint has no hostname for each bucket.
	p.client = s3.NewFromConfig(c, func(o *s3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil
		o.DisableLogOutputChecksumValidationSkipped = true // S3 has no checksum of objects that older tools put
	})
	return nil
}

func (a *app) planValidate() *cobra.Command {
	var svg string
	cmd := a.withArgument("validate FILE", a.text("Check a plan offline, with the rules of the syncs", "按同步函数的规则离线检查计划"), func(_ context.Context, r *report, path string) error {
		if _, p := r.plan(path); p != nil {
			r.after = timeline(p, time.Now(), a.columns)
			r.writeSVG(svg, p)
		}
		return nil
	})
	cmd.Long = a.text(`Check a plan offline, with the rules of the syncs. Every fault is listed. For a valid
plan its campaigns are shown on a time line.`,
		`按同步函数的规则离线检查计划，列出所有错误。
计划正确时，用时间线显示其中的活动。`)
	cmd.Flags().StringVar(&svg, "svg", "", a.text("also write the time line to this `FILE`, as SVG", "同时把时间线写入文件（`FILE`），SVG 格式"))
	return cmd
}

func (a *app) planDiff() *cobra.Command {
	var svg string
	cmd := a.onPlan("diff FILE", a.text("Compare a plan with the one in force, and with the cards", "把计划与生效中的计划以及会员卡比较"), func(ctx context.Context, r *report, at *planPlace, path string) {
		if text, p := r.plan(path); p != nil {
			if current := a.current(ctx, r, at); current != nil {
				r.compare(current.plan, p)
				a.compareCards(ctx, r, at, text)
				r.after = append(r.after, timeline(p, time.Now(), a.columns)...)
			}
			r.writeSVG(svg, p)
		}
	})
	cmd.Long = a.text(`Compare a plan with the one in force. With --stack, or the local stack, the syncs also
compare it with the cards (dry runs): card-sync with the fields as WeChat has them,
service-module-sync with what it has applied. What they would change now is listed:
campaigns that are not active yet change nothing. Nothing is changed.`,
		`把计划与生效中的计划比较。加 --stack 或使用本机环境时，还由同步函数与会员卡比较（试运行）：
card-sync 比较微信中的字段，service-module-sync 比较它已设置的服务项。列出现在会更改的
内容：尚未开始的活动不产生更改。不更改任何内容。`)
	cmd.Example = `  membercard plan diff plan.json --stack membercard-production --svg campaigns.svg`
	cmd.Flags().StringVar(&svg, "svg", "", a.text("also write the time line of the campaigns to this `FILE`, as SVG", "同时把活动的时间线写入文件（`FILE`），SVG 格式"))
	return cmd
}

// compareCards has the deployed syncs compare a plan with the cards, or with what they have
// applied to them.
func (a *app) compareCards(ctx context.Context, r *report, at *planPlace, plan []byte) {
	if at.deployment == nil {
		r.add(step{Name: syncs[0].compared, Skipped: "the syncs do that; name their stack with --stack, instead of --at"})
		return
	}
	for i, sync := range syncs {
		if at.deployment.outputs[sync.output] == "" {
			continue
		}
		s := a.dryRun(ctx, r, sync.compared, at.deployment, sync.output, plan)
		switch {
		case s == nil:
		case s.Error != nil:
			r.fail(sync.compared, faultf("deploy the version of the template that this tool is from", "%s refuses the plan: %s: %s", sync.name, s.Error.Code, s.Error.Message))
		case i > 0 && len(s.Cards) == 0: // the plan has no service modules
		default:
			r.Cards = append(r.Cards, s.Cards...)
			r.addDryRun(sync.compared, s)
			if s.Updated > 0 {
				r.after = append(r.after, "", sync.name+" would change now:")
			}
			for i := range s.Cards {
				if c := &s.Cards[i]; c.Status == plansync.Updated {
					r.after = append(r.after, "  "+printable(c.CardID)+": "+strings.Join(c.Changed, ", "))
				}
			}
		}
	}
}

func (a *app) planPut() *cobra.Command {
	cmd := a.onPlan("put FILE", a.text("Make a plan the one in force", "使计划生效"), func(ctx context.Context, r *report, at *planPlace, path string) {
		if text, p := r.plan(path); p != nil {
			a.putPlan(ctx, r, at, text, p)
		}
	})
	cmd.Long = a.text(`Make a plan the one in force. It is checked and compared first; if it is the one in
force already, nothing is written. The version before is kept (membercard plan
rollback). The syncs apply the new plan as soon as S3 tells of it.

It needs permission for `+planActions+`.`,
		`使计划生效。先检查和比较；如果与生效中的计划相同，则不写入。
上一个版本会保留（membercard plan rollback）。
S3 发出通知后，同步函数立即执行新计划。

所需权限：`+inChinese.tr(planActions)+`。`)
	return cmd
}

func (a *app) planHistory() *cobra.Command {
	return a.onPlan("history", a.text("List the versions of the plan, newest first", "列出计划的版本，最新的在前"), func(ctx context.Context, r *report, at *planPlace, _ string) {
		var bad *fault
		r.Versions, bad = a.versions(ctx, at)
		r.check(step{Name: "versions of the plan", Detail: fmt.Sprint(len(r.Versions))}, bad)
		for _, v := range r.Versions {
			mark := ""
			if v.Current {
				mark = "  in force"
			}
			r.after = append(r.after, fmt.Sprintf("%s  %6d bytes  %s%s", v.Modified, v.Size, v.ID, mark))
		}
	})
}

func (a *app) planRollback() *cobra.Command {
	var id string
	cmd := a.onPlan("rollback", a.text("Make an older version of the plan the one in force", "使计划的旧版本重新生效"), func(ctx context.Context, r *report, at *planPlace, _ string) {
		a.rollback(ctx, r, at, id)
	})
	cmd.Long = a.text(`Make an older version of the plan the one in force: by default the one before, or the
last one if the plan was deleted. It is stored as a new version, so a rollback can be
rolled back.

It needs permission for `+planActions+`.`,
		`使计划的旧版本重新生效：默认为上一个版本；如果计划已被删除，则为最后一个版本。
旧版本会存为新版本，因此回滚也可以再回滚。

所需权限：`+inChinese.tr(planActions)+`。`)
	cmd.Flags().StringVar(&id, "version", "", a.text("`ID` of the version (default: the one before the one in force)", "版本 `ID`（默认为生效版本的上一个版本）"))
	return cmd
}

func (a *app) rollback(ctx context.Context, r *report, at *planPlace, id string) {
	const name = "older version"
	if id == "" {
		versions, bad := a.versions(ctx, at)
		switch {
		case bad != nil:
		case !versions[0].Current: // it was deleted
			id = versions[0].ID
		case len(versions) < 2:
			bad = faultf("membercard plan history"+at.where, "there is no version before the one in force")
		default:
			id = versions[1].ID
		}
		if bad != nil {
			r.fail(name, bad)
			return
		}
	}
	text, _, bad := a.planText(ctx, at, id)
	if bad != nil {
		r.fail(name, bad)
		return
	}
	r.add(step{Name: name, OK: true, Detail: id})
	if p := r.parsePlan(text); p != nil {
		a.putPlan(ctx, r, at, text, p)
	}
}

// plan reads a plan file.
func (r *report) plan(path string) (text []byte, p *cardplan.Plan) {
	f, bad := readUpTo(path, maxPlan)
	if bad != nil {
		r.fail("plan", bad)
		return nil, nil
	}
	return f, r.parsePlan(f)
}

// parsePlan checks a plan and adds a step for each fault.
func (r *report) parsePlan(text []byte) *cardplan.Plan {
	p, faults := cardplan.Parse(text)
	for _, fault := range faults {
		name := fault.Path
		if name == "" {
			name = "plan"
		}
		cure := "correct it there; the rules are in plan.schema.json, which an editor can check while you type"
		switch {
		case strings.HasPrefix(fault.Issue, "is not a field "):
			cure = "look its name up: docs/cards-and-plan.md, section Fields"
		case strings.HasPrefix(fault.Issue, "must be UTF-8"): // an editor wrote it so
			cure = "save it with the encoding UTF-8, without a byte-order mark (BOM)"
		}
		r.fail(name, faultf(cure, "%s %s", name, fault.Issue))
	}
	if len(faults) > 0 {
		return nil
	}
	campaigns := 0
	for i := range p.Cards {
		campaigns += len(p.Cards[i].Campaigns)
	}
	r.add(step{Name: "plan is valid", OK: true, Detail: fmt.Sprintf("cards: %d, campaigns: %d", len(p.Cards), campaigns)})
	r.warn("lengths", "may be too long, if WeChat counts bytes", "shorten them (a Chinese character has 3 bytes), or look at the cards after the sync", longInBytes(p))
	r.warn("ends of campaigns", "stay on the card as a campaign left them", "say what they are afterwards, in the card's own fields or service_modules", leftBehind(p))
	return p
}

// warn adds a warning of places in a plan, if there are any.
func (r *report) warn(name, what, cure string, places []string) {
	const most = 20
	if len(places) == 0 {
		return
	}
	list := strings.Join(places[:min(len(places), most)], ", ")
	if more := len(places) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	r.add(step{Name: name, OK: true, Warning: what + ": " + list, Cure: cure})
}

// longInBytes returns the places of fields that have more bytes than characters are allowed,
// which WeChat may refuse.
func longInBytes(p *cardplan.Plan) (places []string) {
	add := func(at string, fields cardfields.Fields) {
		for _, name := range fields.Sorted() {
			if n := cardfields.MaxLength(name); n > 0 && len(fields[name]) > n {
				places = append(places, at+"/fields/"+name)
			}
		}
	}
	for i := range p.Cards {
		at := fmt.Sprintf("/cards/%d", i)
		add(at, p.Cards[i].Fields)
		for j := range p.Cards[i].Campaigns {
			add(fmt.Sprintf("%s/campaigns/%d", at, j), p.Cards[i].Campaigns[j].Fields)
		}
	}
	return places
}

// leftBehind returns the places of fields and service modules that stay on a card as a
// campaign left them: nothing in the plan has them when the campaign is over.
func leftBehind(p *cardplan.Plan) (places []string) {
	for i := range p.Cards {
		card, left := &p.Cards[i], map[string]bool{}
		for j := range card.Campaigns {
			over := &card.Campaigns[j]
			_, until := over.Interval()
			if until.IsZero() {
				continue
			}
			then := card.At(until)
			for name := range over.Fields {
				if _, has := then.Fields[name]; !has {
					left["fields/"+name] = true
				}
			}
			for id := range over.ServiceModules {
				if _, has := then.ServiceModules[id]; !has {
					left["service_modules/"+id] = true
				}
			}
		}
		for _, place := range slices.Sorted(maps.Keys(left)) {
			places = append(places, fmt.Sprintf("/cards/%d/%s", i, place))
		}
	}
	return places
}

// planInForce is the plan in force. Without one, tag is empty and the plan has no cards.
type planInForce struct {
	plan *cardplan.Plan
	text []byte
	tag  string
}

// current reads the plan in force, or returns nil if the report says why not.
func (a *app) current(ctx context.Context, r *report, at *planPlace) *planInForce {
	const name = "plan in force"
	text, tag, bad := a.planText(ctx, at, "")
	if bad != nil && bad.missing {
		r.add(step{Name: name, OK: true, Detail: "there is none yet"})
		return &planInForce{plan: &cardplan.Plan{}}
	}
	if bad != nil {
		r.fail(name, bad)
		return nil
	}
	found := &planInForce{plan: &cardplan.Plan{}, text: text, tag: tag}
	s := step{Name: name, OK: true, Detail: at.uri}
	if p, faults := cardplan.Parse(text); len(faults) == 0 {
		found.plan = p
	} else {
		s.Warning, s.Cure = "it is not valid, so the syncs do nothing", "membercard plan put FILE replaces it, and membercard plan rollback goes back to the one before"
	}
	r.add(s)
	return found
}

// planText reads a version of the plan, by default the current one.
func (a *app) planText(ctx context.Context, at *planPlace, version string) (text []byte, tag string, bad *fault) {
	input := &s3.GetObjectInput{Bucket: &at.bucket, Key: &at.key}
	if version != "" {
		input.VersionId = &version
	}
	defer a.during("reading " + at.uri)()
	out, err := at.client.GetObject(ctx, input)
	if err == nil {
		defer out.Body.Close()
		text, err = io.ReadAll(io.LimitReader(out.Body, maxPlan+1))
	}
	if err != nil {
		return nil, "", s3Fault(err, at)
	}
	return text, aws.ToString(out.ETag), nil
}

// putPlan makes a plan the one in force, unless it is already.
func (a *app) putPlan(ctx context.Context, r *report, at *planPlace, text []byte, p *cardplan.Plan) {
	const name = "plan put"
	current := a.current(ctx, r, at)
	if current == nil {
		return
	}
	if bytes.Equal(current.text, text) {
		r.add(step{Name: name, OK: true, Detail: "it is in force already"})
		return
	}
	r.compare(current.plan, p)
	input := &s3.PutObjectInput{Bucket: &at.bucket, Key: &at.key, Body: bytes.NewReader(text), ContentType: aws.String("application/json")}
	if current.tag == "" {
		input.IfNoneMatch = aws.String("*")
	} else {
		input.IfMatch = &current.tag // what was compared is what is replaced
	}
	defer a.during("writing " + at.uri)()
	out, err := at.client.PutObject(ctx, input)
	if err != nil {
		r.fail(name, s3Fault(err, at))
		return
	}
	r.add(step{Name: name, OK: true, Detail: "version " + aws.ToString(out.VersionId) + "; the syncs apply it now"})
	r.after = append(r.after, timeline(p, time.Now(), a.columns)...)
}

// A planVersion is a version of the plan in S3.
type planVersion struct {
	ID       string `json:"version_id"`
	Modified string `json:"modified"` // RFC 3339
	Size     int64  `json:"size"`     // bytes
	Current  bool   `json:"current"`  // in force
}

// versions returns the versions of the plan, newest first.
func (a *app) versions(ctx context.Context, at *planPlace) (versions []planVersion, bad *fault) {
	pages := s3.NewListObjectVersionsPaginator(at.client, &s3.ListObjectVersionsInput{Bucket: &at.bucket, Prefix: &at.key})
	defer a.during("listing " + at.uri)()
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, s3Fault(err, at)
		}
		for _, v := range page.Versions {
			if aws.ToString(v.Key) == at.key {
				versions = append(versions, planVersion{aws.ToString(v.VersionId), aws.ToTime(v.LastModified).UTC().Format(time.RFC3339), aws.ToInt64(v.Size), aws.ToBool(v.IsLatest)})
			}
		}
	}
	if len(versions) == 0 {
		return nil, faultf("membercard plan put FILE"+at.where, "there is no plan at %s yet", at.uri)
	}
	return versions, nil
}

// s3Fault is the fault for an error of S3.
func s3Fault(err error, at *planPlace) *fault {
	switch codeOf(err) {
	case "NoSuchKey":
		return &fault{cause: "there is no plan at " + at.uri, cure: "membercard plan put FILE" + at.where, missing: true}
	case "NoSuchBucket":
		return faultf("copy the stack's output CardPlan: aws cloudformation describe-stacks --query 'Stacks[].Outputs'", "there is no bucket %s", at.bucket)
	case "NoSuchVersion", "InvalidArgument":
		return faultf("membercard plan history"+at.where, "there is no such version of the plan")
	case "PreconditionFailed", "ConditionalRequestConflict":
		return faultf("membercard plan diff FILE"+at.where+", and then put it again", "somebody else put another plan in the meantime")
	case "PermanentRedirect", "AuthorizationHeaderMalformed":
		return faultf("name its region with --region", "the bucket %s is in another region", at.bucket)
	}
	return apiFault(err, "S3", planActions)
}

// planActions are the permissions for the plan, as IAM calls them. Without ListBucket, S3
// does not tell that there is no plan yet from that it may not be read.
const planActions = "s3:GetObject, GetObjectVersion, PutObject, ListBucket and ListBucketVersions"
