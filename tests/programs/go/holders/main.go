// Command holders has a heap whose holders are known: a map of locks that only grows, a slice of pointers, a channel
// with entries, maps in the shards of a cache, and a goroutine's frame with a buffer.
package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"time"

	"leakscope.test/fixtures/fixture"
)

type Session struct {
	ID   string
	Next *Session
	data [96]byte
}

type Job struct {
	run func() int
	arg interface{}
}

type shard struct {
	mu    sync.Mutex
	items map[int]*Session
}

type Cache struct {
	name   string
	shards [8]*shard
}

var (
	locks    = map[string]*sync.Mutex{}
	sessions []*Session
	queue    = make(chan *Job, 5000)
	cache    = &Cache{name: "all"}
	last     *Session
)

//go:noinline
func getLock(name string) *sync.Mutex {
	lock := locks[name]
	if lock == nil {
		lock = new(sync.Mutex)
		locks[name] = lock
	}
	return lock
}

//go:noinline
func newSession(i int) *Session { return &Session{ID: "session " + strconv.Itoa(i)} }

//go:noinline
func newJob(i int) *Job { return &Job{run: func() int { return i }, arg: strconv.Itoa(i)} }

//go:noinline
func keep(size int, never chan int) {
	buffer := make([]*[1024]byte, size)
	for i := range buffer {
		buffer[i] = new([1024]byte)
	}
	<-never
	runtime.KeepAlive(buffer)
}

func lock(count int) {
	for i := 0; i < count; i++ {
		getLock("/api/v1/customers/" + strconv.Itoa(len(locks)) + "/orders")
	}
}

// As often as it can be told without making each object known.
var _ = func() int { runtime.MemProfileRate = 4096; return 0 }()

func main() {
	lock(50000)
	for i := 0; i < 20000; i++ {
		sessions = append(sessions, newSession(i))
	}
	for i := 0; i < 3000; i++ {
		queue <- newJob(i)
	}
	for i := range cache.shards {
		cache.shards[i] = &shard{items: map[int]*Session{}}
	}
	for i := 0; i < 16000; i++ {
		cache.shards[i%len(cache.shards)].items[i] = newSession(i)
	}
	for i := 0; i < 1000; i++ {
		last = &Session{Next: last}
	}
	never := make(chan int)
	go keep(2000, never)
	for {
		stacks := make([]byte, 1<<16)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if contains(string(stacks), "chan receive]:\nmain.keep") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	fixture.GC(nil)
	fixture.Serve(map[string]func([]string){
		"grow": func(arguments []string) {
			count, _ := strconv.Atoi(arguments[0])
			lock(count)
			fmt.Println("grown", len(locks))
		},
		// The linker leaves the profile out where nothing refers to it.
		"profile": func([]string) { fmt.Println("profile", pprof.WriteHeapProfile(io.Discard)) },
		"stats": func([]string) {
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			fmt.Println("stats", stats.HeapAlloc)
		},
	})
	close(never)
}

func contains(text, part string) bool {
	for i := 0; i+len(part) <= len(text); i++ {
		if text[i:i+len(part)] == part {
			return true
		}
	}
	return false
}
