// Package stack runs what template.yaml deploys: an API in front of functions, the
// secrets and the card plan that they read, the event bus and the queues between
// them, and sandboxes of WeChat that they call.
package stack

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"membercard/local/apigateway"
	"membercard/local/aws"
	"membercard/local/guard"
	"membercard/local/lambda"
	"membercard/local/template"
	"membercard/wechat/officialaccount"
	"membercard/wechat/wechatpay"
)

// Region and credentials of the functions' role. The credentials look like AWS's but are
// valid only for this stack.
const (
	Region       = "us-east-1"
	AccessKeyID  = "ASIALOCALLOCALLOCAL0"
	SessionToken = "a-session-token"
)

// SecretAccessKey is random, because the local Secrets Manager may contain real keys.
var SecretAccessKey = (rand.Text() + rand.Text())[:40]

// Names of the secrets.
const (
	MerchantSecret        = "membercard/merchant"
	OfficialAccountSecret = "membercard/official-account"
	LoginSecret           = "membercard/login"
)

// The authorization of the routes that frontends call: the values of the template's
// FrontendAuth in lower case, and NoAuth, which is not in the template and opens all
// routes.
const (
	NoAuth     = "none"
	AuthIAM    = "iam"
	AuthJWT    = "jwt"
	AuthWechat = "wechat"
)

// The claims that a JWT must have.
const (
	jwtIssuer   = "https://issuer.example"
	jwtAudience = "membercard"
)

// Project is the project with its functions built for this machine.
type Project struct {
	root     string
	dir      string            // of temporary files
	cache    string            // of built binaries; empty if there is none
	Binaries map[string]string // by folder: functions/merchant-token
}

// Build builds the functions of the template in root, with additional build flags if
// any are given. The user's cache folder keeps the binaries, so that the next Build in the
// same folder, of any process, links only what has changed.
func Build(ctx context.Context, root string, flags ...string) (*Project, error) {
	functions, err := template.Read(filepath.Join(root, "template.yaml"), map[string]string{
		"MerchantSecretArn": "any", "OfficialAccountSecretArn": "any",
		"FrontendAuth": "WECHAT", // these parameters create all functions
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (is this the project's root?)", err)
	}
	if err != nil {
		return nil, err
	}
	p := &Project{root: root}
	if p.dir, err = os.MkdirTemp("", "membercard-"); err != nil {
		return nil, err
	}
	if p.cache, err = cacheDir(root, flags); err != nil {
		p.cache = "" // such as without a home, or where nothing may be executed
		if err := executes(p.dir); err != nil {
			return nil, errors.Join(fmt.Errorf("the functions can't be started: %w; set TMPDIR to a folder of a file system that is not mounted with noexec", err), p.Close())
		}
	}
	var folders []string
	for _, f := range functions.Functions {
		folders = append(folders, f.Folder)
	}
	if p.Binaries, err = p.build(ctx, folders, flags...); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// cacheDir returns the folder for the binaries of root with flags. It removes those that
// were not used for a month.
func cacheDir(root string, flags []string) (string, error) {
	if runtime.GOOS == "windows" {
		return "", errors.ErrUnsupported // a binary that runs can't be replaced
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	if root, err = filepath.Abs(root); err != nil {
		return "", err
	}
	const prefix = "functions-"
	cache = filepath.Join(cache, "membercard")
	entries, _ := os.ReadDir(cache)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), prefix) && time.Since(info.ModTime()) > 30*24*time.Hour {
			_ = os.RemoveAll(filepath.Join(cache, e.Name()))
		}
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%q %q", root, flags))
	dir := filepath.Join(cache, prefix+hex.EncodeToString(key[:8]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, executes(dir)
}

// executes returns an error if files can't be written to a folder, or not be executed there,
// as on a file system that is mounted with noexec.
func executes(dir string) error {
	file, err := os.CreateTemp(dir, "executable-*.exe") // the extension is for Windows
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if err := errors.Join(file.Chmod(0o700), file.Close()); err != nil {
		return err
	}
	_, err = exec.LookPath(file.Name())
	return err
}

// build builds main packages. Each binary gets a hard link in the project's own folder,
// which stays as it is when another process builds a changed one.
func (p *Project) build(ctx context.Context, folders []string, flags ...string) (map[string]string, error) {
	binaries, err := lambda.Build(ctx, p.root, cmp.Or(p.cache, p.dir), folders, flags...)
	for folder, binary := range binaries {
		own := filepath.Join(p.dir, filepath.Base(binary))
		if err := os.Link(binary, own); err == nil || errors.Is(err, fs.ErrExist) {
			binaries[folder] = own
		} // else it is on another file system
	}
	return binaries, err
}

// Build builds another main package.
func (p *Project) Build(ctx context.Context, folder string) (binary string, err error) {
	built, err := p.build(ctx, []string{folder})
	return built[folder], err
}

// Close removes the temporary files.
func (p *Project) Close() error { return os.RemoveAll(p.dir) }

// Config configures a stack.
type Config struct {
	Address  string         // where the API listens; port 0 is any free port
	Keys     wechatpay.Mode // which keys of WeChat Pay the sandbox's merchant has
	Merchant string         // a real merchant's secret, to call the real WeChat Pay
	Account  string         // a real official account's secret, to call the real WeChat
	Plan     string         // file with the card plan; read for each sync
	Auth     string         // who may call; empty is NoAuth. AuthWechat goes with no Account
	Origins  []string       // of the pages that may call the API; others are refused

	// QueueSpeed divides the queues' visibility timeouts and delays. In AWS the next
	// attempt to confirm a card is 30 seconds to an hour away. 0 means 1.
	QueueSpeed int
	// Unthrottled removes the template's throttling of the routes.
	Unthrottled bool

	Parameters map[string]string // further parameters of the template
	Log        io.Writer         // the functions' log
}

// Stack is a running stack.
type Stack struct {
	URL       string                      // of the API
	Routes    []template.Route            // in the template's order
	Functions map[string]*lambda.Function // by folder
	Configs   map[string]lambda.Config    // of Functions
	Mux       *http.ServeMux              // further handlers, which take precedence over the API
	Guard     *guard.Guard                // in front of the API and Mux; has a token if the stack has real keys
	AWS       string                      // base URL of AWS
	Secrets   *aws.Secrets
	Plans     *aws.S3
	Events    *aws.Events
	Queues    *aws.Queues
	Auth      string
	Deployed  *template.Template // with the URL of this API instead of AWS's
	JWT       *apigateway.Issuer // of the tokens for AuthJWT

	// The sandboxes. One is nil if the stack calls the real service instead.
	WeChatPay       *wechatpay.Sandbox
	OfficialAccount *officialaccount.Sandbox

	cloud      *aws.Server
	parameters map[string]string // of the template
	closers    []func() error
}

// Start starts the stack. Its functions start with the first requests.
func (p *Project) Start(cfg Config) (*Stack, error) {
	p.readSources()
	s := &Stack{Functions: map[string]*lambda.Function{}, Configs: map[string]lambda.Config{}}
	if err := p.start(s, cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// readSources lists the folders of the functions' sources. go test takes a result from its
// cache if nothing changed that the test has opened, and does not see what the compiler
// opened.
func (p *Project) readSources() {
	for _, folder := range []string{"functions", "shared"} {
		_ = filepath.WalkDir(filepath.Join(p.root, folder), func(string, fs.DirEntry, error) error { return nil })
	}
}

func (p *Project) start(s *Stack, cfg Config) error {
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return fmt.Errorf("the API can't listen: %w", err)
	}
	s.onClose(listener.Close)
	s.URL = URL(listener.Addr())
	s.Auth = cmp.Or(cfg.Auth, NoAuth)
	s.Guard = &guard.Guard{Name: hostname(cfg.Address), Origins: cfg.Origins, Log: cfg.Log}
	if cfg.Merchant != "" || cfg.Account != "" {
		s.Guard.Token = rand.Text()
	}
	if err := s.startSandboxes(&cfg); err != nil {
		return err
	}
	if err := s.startAWS(cfg); err != nil {
		return err
	}
	s.setParameters(cfg)
	if s.Deployed, err = template.Read(filepath.Join(p.root, "template.yaml"), s.parameters); err != nil {
		return err
	}
	s.Routes = s.Deployed.Routes
	s.useURL()
	if err := p.createFunctions(s, cfg); err != nil {
		return err
	}
	s.connect()
	s.serve(listener, cfg.Unthrottled)
	return nil
}

// useURL replaces the URL that the API would have in AWS.
func (s *Stack) useURL() {
	inAWS := s.Deployed.Outputs["ApiUrl"]
	for name, value := range s.Deployed.Outputs {
		s.Deployed.Outputs[name] = strings.ReplaceAll(value, inAWS, s.URL)
	}
	for _, f := range s.Deployed.Functions {
		for name, value := range f.Environment {
			f.Environment[name] = strings.ReplaceAll(value, inAWS, s.URL)
		}
	}
	if s.WeChatPay != nil {
		s.WeChatPay.NotifyAt(s.Deployed.Outputs["NotificationUrl"])
	}
}

// startSandboxes starts a sandbox in place of each service that cfg has no secret for,
// and sets the secret to the sandbox's.
func (s *Stack) startSandboxes(cfg *Config) (err error) {
	if cfg.Merchant == "" {
		if s.WeChatPay, err = wechatpay.Start(); err != nil {
			return err
		}
		s.onClose(s.WeChatPay.Close)
		cfg.Merchant = s.WeChatPay.MerchantSecret(cfg.Keys)
		if cfg.Keys == wechatpay.Certificates {
			s.WeChatPay.SignWith(cfg.Keys)
		}
		if s.Guard.Token != "" { // the account is real, this sandbox is not
			s.WeChatPay.NotifyWith(http.Header{guard.TokenHeader: {s.Guard.Token}})
		}
	}
	if cfg.Account == "" {
		if s.OfficialAccount, err = officialaccount.Start(); err != nil {
			return err
		}
		s.onClose(s.OfficialAccount.Close)
		cfg.Account = s.OfficialAccount.Secret()
	}
	return nil
}

func (s *Stack) startAWS(cfg Config) (err error) {
	if s.cloud, err = aws.Start(Region, AccessKeyID, SecretAccessKey); err != nil {
		return err
	}
	s.onClose(s.cloud.Close)
	s.AWS = s.cloud.URL()
	s.Secrets, s.Plans, s.Events, s.Queues = s.cloud.Secrets, s.cloud.S3, s.cloud.Events, s.cloud.Queues
	s.Queues.Speed(max(cfg.QueueSpeed, 1))
	return nil
}

// setParameters sets the template's parameters, and stores the secrets that they name.
func (s *Stack) setParameters(cfg Config) {
	s.parameters = map[string]string{
		"AWS::Region":              Region, // as in a deployment
		"MerchantSecretArn":        s.Secrets.Put(MerchantSecret, cfg.Merchant),
		"OfficialAccountSecretArn": s.Secrets.Put(OfficialAccountSecret, cfg.Account),
		"AllowedOrigins":           strings.Join(cfg.Origins, ","),
		// The targets in the document's example, so that pages that log in can send it.
		"JumpOrigins": strings.Join(append([]string{"https://w.url.cn"}, cfg.Origins...), ","),
		"JumpAppIds":  "wxea9c30a90fs8d3fe",
	}
	if s.WeChatPay != nil {
		s.parameters["WechatPayEndpoints"] = strings.Join(s.WeChatPay.Endpoints(), ",")
	}
	if s.OfficialAccount != nil {
		s.parameters["WechatEndpoints"] = strings.Join(s.OfficialAccount.Endpoints(), ",")
	}
	switch s.Auth {
	case AuthJWT:
		s.JWT = apigateway.NewIssuer(jwtIssuer)
		s.parameters["JwtIssuer"], s.parameters["JwtAudience"] = jwtIssuer, jwtAudience
	case AuthWechat:
		s.parameters["LoginSecretArn"] = s.Secrets.Put(LoginSecret, s.OfficialAccount.LoginSecret())
	}
	if s.Auth != NoAuth {
		s.parameters["FrontendAuth"] = strings.ToUpper(s.Auth)
	}
	maps.Copy(s.parameters, cfg.Parameters)
}

// environment returns the variables of all functions that are not set in AWS.
func (p *Project) environment(s *Stack) (variables map[string]string, err error) {
	variables = map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": s.AWS,
		"AWS_ENDPOINT_URL_S3":              s.AWS,
		"AWS_ENDPOINT_URL_EVENTBRIDGE":     s.AWS,
		"AWS_ENDPOINT_URL_SQS":             s.AWS,
	}
	var authorities []byte // of the sandboxes' TLS certificates
	if s.WeChatPay != nil {
		authorities = append(authorities, s.WeChatPay.CA()...)
	}
	if s.OfficialAccount != nil {
		authorities = append(authorities, s.OfficialAccount.CA()...)
	}
	if authorities != nil {
		if variables["SSL_CERT_FILE"], err = p.writeRoots(authorities); err != nil {
			return nil, err
		}
	}
	if s.WeChatPay == nil || s.OfficialAccount == nil { // for calls to the real WeChat
		for _, name := range []string{"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"} {
			if value := os.Getenv(name); value != "" {
				variables[name] = value
			}
		}
	}
	return variables, nil
}

// createFunctions creates the functions, and the objects and secrets that their
// variables name.
func (p *Project) createFunctions(s *Stack, cfg Config) error {
	variables, err := p.environment(s)
	if err != nil {
		return err
	}
	for _, f := range s.Deployed.Functions {
		maps.Copy(f.Environment, variables)
		if bucket := f.Environment["CARD_PLAN_BUCKET"]; bucket != "" {
			s.Plans.CreateBucket(bucket)
			if cfg.Plan != "" {
				s.Plans.PutFile(bucket, f.Environment["CARD_PLAN_KEY"], cfg.Plan)
			}
		}
		if name := f.Environment["CARD_TICKET_SECRET_ID"]; name != "" {
			s.Secrets.Put(name, "{}") // as the template creates it
		}
		config := lambda.Config{
			Name:        f.LogicalID,
			Binary:      p.Binaries[f.Folder],
			Environment: f.Environment,
			Timeout:     f.Timeout,
			MemorySize:  f.MemorySize,
			Region:      Region, AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey, SessionToken: SessionToken,
			Log: cfg.Log,
		}
		function := lambda.New(config)
		s.onClose(function.Close)
		s.Functions[f.Folder], s.Configs[f.Folder] = function, config
		s.cloud.Functions.Put(f.LogicalID, func(ctx context.Context, event []byte) ([]byte, bool, error) {
			result, err := function.Invoke(ctx, event)
			if err != nil {
				return nil, false, err
			}
			return result.Payload, result.FunctionError != nil, nil
		})
	}
	return nil
}

// serve serves the API and Mux.
func (s *Stack) serve(listener net.Listener, unthrottled bool) {
	cors := s.Deployed.CORS
	if s.Guard.Token != "" && cors != nil {
		cors.AllowHeaders = append(cors.AllowHeaders, strings.ToLower(guard.TokenHeader))
	}
	api := apigateway.New(s.routes(unthrottled), cors)
	s.Mux = http.NewServeMux()
	server := &http.Server{Handler: s.Guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would redirect a path such as /a//b, which API Gateway does not.
		if _, pattern := s.Mux.Handler(r); pattern == "" {
			api.ServeHTTP(w, r)
			return
		}
		s.Mux.ServeHTTP(w, r)
	}))}
	s.onClose(server.Close)
	go server.Serve(listener) // until Close
}

// routes returns the API's routes.
func (s *Stack) routes(unthrottled bool) (routes []apigateway.Route) {
	authorizers := map[string]apigateway.Authorizer{} // by logical ID
	for _, route := range s.Routes {
		if unthrottled {
			route.Throttling = nil
		}
		routes = append(routes, apigateway.Route{
			Key:        route.Key,
			Function:   s.Functions[route.Folder],
			Authorizer: s.authorizer(route, authorizers),
			Throttling: route.Throttling,
		})
	}
	return routes
}

// function returns the function with a logical ID, or nil.
func (s *Stack) function(logicalID string) *lambda.Function {
	return s.Functions[template.Folder(logicalID)]
}

// URL returns the URL at which this machine reaches a listener. For a listener on all
// addresses, that is the loopback address.
func URL(listening net.Addr) string {
	address := listening.String()
	if tcp, ok := listening.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return "http://" + address
}

// hostname returns the host of an address, or "" if it is an IP address.
func hostname(address string) string {
	host, _, err := net.SplitHostPort(address)
	if _, notIP := netip.ParseAddr(host); err != nil || notIP == nil {
		return ""
	}
	return host
}

// authorizer returns the authorizer of a route. Routes that share one in the template
// share it here; made has those that exist.
func (s *Stack) authorizer(route template.Route, made map[string]apigateway.Authorizer) apigateway.Authorizer {
	a := route.Authorizer
	switch {
	case s.Auth == NoAuth || route.Authorization == "NONE":
		return nil
	case a == nil:
		return apigateway.IAM(Region, AccessKeyID, SecretAccessKey)
	case made[a.LogicalID] != nil:
		return made[a.LogicalID]
	}
	header := strings.TrimPrefix(a.IdentitySource[0], "$request.header.")
	if a.Function != "" {
		made[a.LogicalID] = apigateway.Lambda(s.function(a.Function), header, a.TTL.Seconds())
	} else {
		made[a.LogicalID] = apigateway.JWT(header, a.JwtConfiguration.Issuer, a.JwtConfiguration.Audience, s.JWT)
	}
	return made[a.LogicalID]
}

// connect creates the rules and the queues, and connects them to the functions. As the
// template configures the plan's bucket, a new object is an event on the default bus.
func (s *Stack) connect() {
	s.Queues.Create(s.Deployed.Queues)
	for _, rule := range s.Deployed.Rules {
		s.Events.PutRule(rule, func(event []byte) { s.deliver(rule, event) })
	}
	for _, source := range s.Deployed.EventSources {
		stop := s.function(source.Function).Poll(s.Queues.Get(source.Queue), source)
		s.onClose(func() error { stop(); return nil })
	}
	s.Plans.OnCreated(func(bucket, key string) {
		s.Events.Put("aws.s3", "Object Created", map[string]map[string]string{"bucket": {"name": bucket}, "object": {"key": key}})
	})
}

// deliver sends an event to the targets of a rule.
func (s *Stack) deliver(rule template.Rule, event []byte) {
	for _, id := range rule.Queues {
		s.Queues.Get(id).Send(string(event), nil)
	}
	if f := s.function(rule.Function); f != nil {
		input := []byte(cmp.Or(rule.Input, string(event)))
		go f.Invoke(context.Background(), input) // the function logs errors
	}
}

// Invoke invokes the function in a folder as a schedule or an operator does, and returns
// its answer. If the function fails, the error is a [*lambda.FunctionError].
func (s *Stack) Invoke(ctx context.Context, folder string, event []byte) ([]byte, error) {
	function := s.Functions[folder]
	if function == nil {
		return nil, fmt.Errorf("there is no function %s", folder)
	}
	result, err := function.Invoke(ctx, event)
	switch {
	case err != nil:
		return nil, err
	case result.FunctionError != nil:
		return nil, result.FunctionError
	}
	return result.Payload, nil
}

// RenewTicket invokes card-ext as its schedule does.
func (s *Stack) RenewTicket(ctx context.Context) error {
	_, err := s.Invoke(ctx, "functions/card-ext", []byte(`{"action": "refresh"}`))
	return err
}

// Token returns a JWT that is valid for an hour with AuthJWT.
func (s *Stack) Token() string {
	return s.JWT.Sign(map[string]any{"aud": jwtAudience, "sub": "somebody", "exp": time.Now().Add(time.Hour).Unix()})
}

// writeRoots writes the functions' bundle of root certificates. It includes the
// machine's own, so that a cold start parses as many as in AWS.
func (p *Project) writeRoots(pem []byte) (string, error) {
	file, err := os.CreateTemp(p.dir, "ca-*.pem")
	if err != nil {
		return "", err
	}
	for _, bundle := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"} {
		if roots, err := os.ReadFile(bundle); err == nil {
			pem = append(append(roots, '\n'), pem...)
			break
		}
	}
	_, err = file.Write(pem)
	return file.Name(), errors.Join(err, file.Close())
}

func (s *Stack) onClose(f func() error) { s.closers = append(s.closers, f) }

// Close stops the parts of the stack in reverse order of their start.
func (s *Stack) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.closers = nil
	return errors.Join(errs...)
}
