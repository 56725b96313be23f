//go:build unix

package lambda

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ownGroup gives a process its own process group.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// lock waits until no other process has locked a folder, or ctx ends, and locks it until
// the file that it returns is closed. A folder that can't be locked is not waited for.
func lock(ctx context.Context, dir string) *os.File {
	file, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	for err == nil && syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == syscall.EWOULDBLOCK && ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
	}
	return file
}
