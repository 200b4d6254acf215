//go:build go1.25

package main

import "runtime"

//go:noinline
func makeCleaned(inside chan struct{}) {
	runtime.AddCleanup(&finalized{}, cleanup, inside)
}

//go:noinline
func cleanup(inside chan struct{}) {
	close(inside)
	received += <-never
}

func startCleanups() {
	inside := make(chan struct{})
	makeCleaned(inside)
	collectUntil(inside)
	add(1, "main.cleanup", "chan receive")
}
