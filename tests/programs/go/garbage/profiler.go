//go:build profile

package main

import (
	"os"
	"path/filepath"
	"runtime/pprof"

	"leakscope.test/fixtures/fixture"
)

func dump(directory string) {
	file, err := os.Create(filepath.Join(directory, "heap.1"))
	if err != nil {
		fixture.Fail(err.Error())
	}
	defer file.Close()
	if err := pprof.Lookup("heap").WriteTo(file, 1); err != nil {
		fixture.Fail(err.Error())
	}
}
