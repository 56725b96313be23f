package lambda

// This file makes the environment of an instance: Lambda's variables and the configured
// ones, but none of this process's.

import (
	"crypto/rand"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// environment returns an instance's variables in the form KEY=value. The configuration
// overrides variables that are not reserved.
func environment(cfg Config, runtimeAPI string) []string {
	vars := map[string]string{
		"LANG": "en_US.UTF-8",
		"PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"TZ":   ":UTC",
	}
	maps.Copy(vars, cfg.Environment)
	maps.Copy(vars, map[string]string{
		"AWS_ACCESS_KEY_ID":               cfg.AccessKeyID,
		"AWS_DEFAULT_REGION":              cfg.Region,
		"AWS_EXECUTION_ENV":               "AWS_Lambda_provided.al2023",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(cfg.MemorySize),
		"AWS_LAMBDA_FUNCTION_NAME":        cfg.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":     "$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_LAMBDA_LOG_FORMAT":           "JSON",
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + cfg.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME":      time.Now().UTC().Format("2006/01/02/[$LATEST]") + rand.Text(),
		"AWS_LAMBDA_RUNTIME_API":          runtimeAPI,
		"AWS_REGION":                      cfg.Region,
		"AWS_SECRET_ACCESS_KEY":           cfg.SecretAccessKey,
		"AWS_SESSION_TOKEN":               cfg.SessionToken,
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
		"LAMBDA_TASK_ROOT":                filepath.Dir(cfg.Binary),
		"_HANDLER":                        "bootstrap",
	})
	env := make([]string, 0, len(vars))
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}
