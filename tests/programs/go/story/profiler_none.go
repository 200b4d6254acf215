//go:build noheap

package main

import (
	"os"
	"path/filepath"

	"leakscope.test/fixtures/fixture"
)

// Nothing here refers to the heap profiler, so the linker turns it off.

func setMemProfileRate(int) {}

func dump(directory string) {
	must(os.WriteFile(filepath.Join(directory, "goroutine.2"), []byte(fixture.Stacks()), 0o644))
}
