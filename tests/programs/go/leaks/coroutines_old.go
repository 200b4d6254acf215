//go:build !go1.23

package main

// startCoroutines has none: this release has no iterators.
func startCoroutines() int { return 0 }
