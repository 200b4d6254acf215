//go:build !noheap

package main

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
)

func setMemProfileRate(rate int) { runtime.MemProfileRate = rate }

// dump writes the runtime's own profiles: the heap first, as the others allocate.
func dump(directory string) {
	for _, profile := range []struct {
		name  string
		debug int
	}{{"heap", 1}, {"heap", 0}, {"goroutine", 0}, {"goroutine", 1}, {"goroutine", 2}} {
		file, err := os.Create(filepath.Join(directory, profile.name+"."+string(rune('0'+profile.debug))))
		must(err)
		must(pprof.Lookup(profile.name).WriteTo(file, profile.debug))
		must(file.Close())
	}
}
