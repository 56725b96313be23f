// Package stack puts the parts together as template.yaml does in AWS: an API in
// front of functions, a secret that they read, and a WeChat Pay that they call.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"membercard/local/apigateway"
	"membercard/local/lambda"
	"membercard/local/secretsmanager"
	"membercard/local/template"
	"membercard/local/wechatpay"
)

// What a role's credentials look like. They are good for nothing but the
// Secrets Manager at hand.
const (
	region          = "us-east-1"
	accessKeyID     = "ASIALOCALLOCALLOCAL0"
	secretAccessKey = "a-secret-access-key-for-this-machine-only"
	sessionToken    = "a-session-token"
)

// SecretName is the name of the merchant's secret.
const SecretName = "membercard/merchant"

// Project is the project at a root, with its functions built for this machine.
type Project struct {
	root     string
	dir      string            // holds what is built and made
	Binaries map[string]string // by folder: functions/merchant-token
}

// Build reads the template and builds the functions that it has.
func Build(ctx context.Context, root string) (*Project, error) {
	functions, err := template.Read(filepath.Join(root, "template.yaml"), parameters("", nil))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (is this the project's root?)", err)
	}
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "membercard-")
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, f := range functions.Functions {
		folders = append(folders, f.Folder)
	}
	binaries, err := lambda.Build(ctx, root, dir, folders)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &Project{root: root, dir: dir, Binaries: binaries}, nil
}

// Build builds one more main package, beside the functions.
func (p *Project) Build(ctx context.Context, folder string) (binary string, err error) {
	built, err := lambda.Build(ctx, p.root, p.dir, []string{folder})
	return built[folder], err
}

// Close removes what was built.
func (p *Project) Close() error { return os.RemoveAll(p.dir) }

// parameters are the template's, as a deployment of this stack would give them.
func parameters(secretARN string, endpoints []string) map[string]string {
	p := map[string]string{"AWS::Region": region, "MerchantSecretArn": secretARN}
	if len(endpoints) > 0 {
		p["WechatPayEndpoints"] = strings.Join(endpoints, ",")
	}
	return p
}

// Config says what differs from one stack to another.
type Config struct {
	Address string         // where the API listens; a port of 0 is a free one
	Keys    wechatpay.Mode // which keys of WeChat Pay the sandbox's merchant holds
	Secret  string         // the secret of a real merchant: the real WeChat Pay is called
	Log     io.Writer      // what the functions log
}

// Route is a route of the API and the folder of the function behind it.
type Route struct{ Key, Folder string }

// Stack is running.
type Stack struct {
	URL       string                      // of the API
	Routes    []Route                     // in the template's order
	Functions map[string]*lambda.Function // by folder
	Configs   map[string]lambda.Config    // theirs, to run more of them
	Secrets   *secretsmanager.Server
	WeChatPay *wechatpay.Sandbox // nil: the real one

	closers []func() error
}

// Start starts the stack. Its functions start with the first requests.
func (p *Project) Start(cfg Config) (*Stack, error) {
	s := &Stack{Functions: map[string]*lambda.Function{}, Configs: map[string]lambda.Config{}}
	if err := p.start(s, cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (p *Project) start(s *Stack, cfg Config) (err error) {
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return fmt.Errorf("the API can't listen: %w", err)
	}
	s.onClose(listener.Close)

	extra := map[string]string{} // what AWS would not set
	var endpoints []string
	secret := cfg.Secret
	if secret == "" {
		if s.WeChatPay, err = wechatpay.Start(); err != nil {
			return err
		}
		s.onClose(s.WeChatPay.Close)
		endpoints = s.WeChatPay.Endpoints()
		secret = s.WeChatPay.MerchantSecret(cfg.Keys)
		if extra["SSL_CERT_FILE"], err = p.writeCA(s.WeChatPay.CA()); err != nil {
			return err
		}
	}
	if s.Secrets, err = secretsmanager.Start(region, accessKeyID, secretAccessKey); err != nil {
		return err
	}
	s.onClose(s.Secrets.Close)
	extra["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = s.Secrets.URL()

	deployed, err := template.Read(filepath.Join(p.root, "template.yaml"), parameters(s.Secrets.Put(SecretName, secret), endpoints))
	if err != nil {
		return err
	}
	var routes []apigateway.Route
	for _, f := range deployed.Functions {
		for name, value := range extra {
			f.Environment[name] = value
		}
		config := lambda.Config{
			Name:        f.LogicalID,
			Binary:      p.Binaries[f.Folder],
			Environment: f.Environment,
			Timeout:     f.Timeout,
			MemorySize:  f.MemorySize,
			Region:      region, AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey, SessionToken: sessionToken,
			Log: cfg.Log,
		}
		function, err := lambda.New(config)
		if err != nil {
			return err
		}
		s.Functions[f.Folder], s.Configs[f.Folder] = function, config
		s.onClose(function.Close)
		for _, route := range f.Routes {
			routes = append(routes, apigateway.Route{Key: route.Key(), Function: function})
			s.Routes = append(s.Routes, Route{route.Key(), f.Folder})
		}
	}
	server := &http.Server{Handler: apigateway.New(routes)}
	s.onClose(server.Close)
	go server.Serve(listener)
	s.URL = "http://" + listener.Addr().String()
	return nil
}

// writeCA writes the bundle of root certificates that functions trust here: the
// sandbox's, after the machine's own if it has a bundle, so that there are as
// many to read as in AWS.
func (p *Project) writeCA(pem []byte) (string, error) {
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

// Close ends everything, last started first.
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
