// Package js has the client's files, for servers in Go that serve it to their pages.
package js

import "embed"

// Files are the modules that a page loads.
//
//go:embed index.js words.js
var Files embed.FS
