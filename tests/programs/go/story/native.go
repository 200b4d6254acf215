//go:build cgo

package main

// void native_leak(void);
// void native_block(void);
// void native_call_back(void);
import "C"

// The part in C: blocks that malloc gave, a goroutine that waits in C, and one that C called.

func leakNatively() { C.native_leak() }

//go:noinline
func blockedInC() { C.native_block() }

//go:noinline
func blockedThroughC() { C.native_call_back() }

//export calledFromC
func calledFromC() { received += <-never }

func startNative() {
	times(2, blockedInC)
	add(2, "main.blockedInC", "syscall")
	times(2, blockedThroughC)
	add(2, "main.blockedThroughC", "chan receive")
}
