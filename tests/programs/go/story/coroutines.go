//go:build go1.23

package main

import "iter"

//go:noinline
func sequence(yield func(int) bool) {
	for i := 0; yield(i); i++ {
	}
}

// startCoroutines leaves iterators suspended in the middle.
func startCoroutines() {
	for i := 0; i < 2; i++ {
		next, stop := iter.Pull(sequence)
		next()
		kept = append(kept, next, stop)
	}
	add(2, "main.sequence", "coroutine")
}
