package caddymodule

import "golang.org/x/sys/unix"

const canCork = true

func corkSocket(descriptor uintptr) {
	_ = unix.SetsockoptInt(int(descriptor), unix.IPPROTO_TCP, unix.TCP_CORK, 1) //nolint:gosec // a descriptor
}

func uncorkSocket(descriptor uintptr) {
	_ = unix.SetsockoptInt(int(descriptor), unix.IPPROTO_TCP, unix.TCP_CORK, 0) //nolint:gosec // a descriptor
}
