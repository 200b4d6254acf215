// Memory of every kind, on command, and what the runtime itself says of it.
package main

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"leakscope.test/fixtures/fixture"
)

var limit = flag.Int("limit", 0, "as GOMEMLIMIT, in MiB; 0 leaves it")

type node struct {
	next *node
	data [200]byte
}

var (
	blocks [][]byte
	mapped []byte
	nodes  *node
	small  []*[64]byte
	sink   int
)

// touched has all of its pages resident.
func touched(size int) []byte {
	block := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		block[i] = 1
	}
	return block
}

func fill(count int) {
	for i := 0; i < count; i++ {
		blocks = append(blocks, touched(1<<20))
	}
}

// spike leaves idle spans behind.
func spike(count int) {
	fill(count)
	blocks = nil
	runtime.GC()
}

// scatter leaves one object in each span.
func scatter(count int) {
	all := make([]*[64]byte, count)
	for i := range all {
		all[i] = new([64]byte)
		all[i][0] = 1
	}
	for i := 0; i < count; i += 128 {
		small = append(small, all[i])
	}
	runtime.KeepAlive(all)
	all = nil
	runtime.GC()
}

//go:noinline
func deep(depth int, ready *sync.WaitGroup, stay chan struct{}) byte {
	var room [512]byte
	room[depth%512] = 1
	if depth == 0 {
		ready.Done()
		<-stay
		return room[3]
	}
	return deep(depth-1, ready, stay) + room[depth%512]
}

func stacks(count int) {
	var ready sync.WaitGroup
	ready.Add(count)
	for i := 0; i < count; i++ {
		go deep(60, &ready, make(chan struct{}))
	}
	ready.Wait()
}

func mmap(size int) {
	var err error
	mapped, err = syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		fixture.Fail(err.Error())
	}
	for i := 0; i < size; i += 4096 {
		mapped[i] = 1
	}
}

// thrash keeps so much that every few allocations need a collection.
func thrash(megabytes int) {
	for i := 0; i < megabytes<<20/208; i++ {
		nodes = &node{next: nodes}
	}
	for i := 0; i < 2; i++ {
		go func() {
			for {
				for j := 0; j < 1000; j++ {
					sink += len(append([]byte(nil), make([]byte, 1000)...))
				}
				time.Sleep(time.Millisecond)
			}
		}()
	}
}

// tell prints what ReadMemStats says.
func tell() {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	fmt.Print("stats")
	for _, number := range []struct {
		name  string
		value uint64
	}{
		{"HeapAlloc", stats.HeapAlloc},
		{"HeapInuse", stats.HeapInuse},
		{"HeapIdle", stats.HeapIdle},
		{"HeapReleased", stats.HeapReleased},
		{"StackInuse", stats.StackInuse},
		{"StackSys", stats.StackSys},
		{"MSpanInuse", stats.MSpanInuse},
		{"MSpanSys", stats.MSpanSys},
		{"MCacheInuse", stats.MCacheInuse},
		{"MCacheSys", stats.MCacheSys},
		{"BuckHashSys", stats.BuckHashSys},
		{"GCSys", stats.GCSys},
		{"OtherSys", stats.OtherSys},
		{"Sys", stats.Sys},
		{"NextGC", stats.NextGC},
		{"PauseTotalNs", stats.PauseTotalNs},
		{"NumGC", uint64(stats.NumGC)},
		{"NumForcedGC", uint64(stats.NumForcedGC)},
		{"GCCPUMillionths", uint64(stats.GCCPUFraction * 1e6)},
	} {
		fmt.Printf(" %s=%d", number.name, number.value)
	}
	fmt.Println()
}

func main() {
	flag.Parse()
	if *limit > 0 {
		debug.SetMemoryLimit(int64(*limit) << 20)
	}
	does := func(do func(int)) func([]string) {
		return func(arguments []string) {
			n, err := strconv.Atoi(arguments[0])
			if err != nil {
				fixture.Fail(err.Error())
			}
			do(n)
			fmt.Println("done it")
		}
	}
	fixture.Serve(map[string]func([]string){
		"spike":   does(spike),
		"scatter": does(scatter),
		"stacks":  does(stacks),
		"mmap":    does(func(n int) { mmap(n << 20) }),
		"garbage": does(func(n int) { debug.SetGCPercent(-1); fill(n); blocks = nil }),
		"thrash":  does(thrash),
		"stats":   func([]string) { tell() },
	})
}
