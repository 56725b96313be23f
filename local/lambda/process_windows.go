package lambda

import (
	"errors"
	"syscall"
)

// ownGroup gives a process its own process group.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// Freeze fails: Windows has no signal that stops a process.
func Freeze(int) error { return errors.ErrUnsupported }

// Thaw fails like Freeze.
func Thaw(int) error { return errors.ErrUnsupported }
