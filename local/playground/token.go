package playground

// This file serves the page's files. If the stack has real keys, it also gives the page
// the script that sends the stack's token.

import (
	"bytes"
	_ "embed"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

//go:embed token.js
var tokenScript []byte

const tokenScriptName = "local-token.js"

// clientPath is where the page imports the package from. Seen from the page's own path, it
// is where the package is in the project.
const clientPath = "/clients/js/"

// files serves the page's files and the package of the project in root. If token is set, the page gets an additional script that
// sends the token in the page's URL fragment. The token itself is in no file, because other
// users of the machine can read those.
func files(root string, token bool) http.Handler {
	dir := filepath.Join(root, "examples", "h5")
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(dir)))
	mux.Handle(clientPath, http.StripPrefix(clientPath, http.FileServer(http.Dir(filepath.Join(root, "clients", "js")))))
	if !token {
		return mux
	}
	mux.HandleFunc("/"+tokenScriptName, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, tokenScriptName, time.Time{}, bytes.NewReader(tokenScript))
	})
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		page, err := os.ReadFile(filepath.Join(dir, "index.html"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		page = bytes.Replace(page, []byte("</head>"), []byte(`<script src="`+tokenScriptName+`"></script></head>`), 1)
		http.ServeContent(w, r, "index.html", time.Time{}, bytes.NewReader(page))
	})
	return mux
}
