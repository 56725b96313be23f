//go:build unix

package lambda

import "syscall"

// ownGroup gives a process its own process group.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Freeze stops an instance, as Lambda does between events.
func Freeze(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) }

// Thaw continues a frozen instance.
func Thaw(pid int) error { return syscall.Kill(pid, syscall.SIGCONT) }
