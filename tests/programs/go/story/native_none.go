//go:build !cgo

package main

func leakNatively() {}

func startNative() {}
