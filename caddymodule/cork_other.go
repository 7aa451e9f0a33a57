//go:build !linux

package caddymodule

const canCork = false

func corkSocket(uintptr) {}

func uncorkSocket(uintptr) {}
