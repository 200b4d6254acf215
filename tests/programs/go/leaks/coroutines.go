//go:build go1.23

package main

import "iter"

// What is pulled from is kept, so that these can go on.
var kept []func() (int, bool)

//go:noinline
func leakIterator(yield func(int) bool) {
	for yield(1) {
	}
}

//go:noinline
func waitIterator(yield func(int) bool) {
	for yield(1) {
	}
}

// startCoroutines has iterators that nobody goes on with, and says how many.
func startCoroutines() int {
	for i := 0; i < each; i++ {
		next, _ := iter.Pull(leakIterator)
		next()
		next, _ = iter.Pull(waitIterator)
		next()
		kept = append(kept, next)
	}
	add("leakIterator", "coroutine", each)
	add("waitIterator", "coroutine", each)
	return each
}
