// Goroutines that are created and end at full speed. Which function calls which is known: a stack shows
// a real chain only if each of its functions is called by the next one.
package main

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"leakscope.test/fixtures/fixture"
)

var (
	spawners = flag.Int("spawners", 2, "goroutines that start others")
	alive    = flag.Int("alive", 1000, "goroutines of each spawner that are alive at most")
	parked   = flag.Int("parked", 0, "goroutines that stay blocked all the time")
)

var (
	created uint64
	started uint64
	locks   [16]sync.Mutex
	handoff = make(chan uint64, 64)
)

// The chains, which the tests know, too:
//
//	chainA -> chainC | chainD     chainB -> chainD | chainE     chainC -> chainF | chainG
//	chainD -> chainG | chainDeep  chainE -> chainF              chainDeep -> chainDeep | chainG
//	chainF, chainG: block for a moment and return

//go:noinline
func chainA(seed uint64) uint64 {
	if seed&1 == 0 {
		return chainC(seed>>1) + 1
	}
	return chainD(seed>>1) + 2
}

//go:noinline
func chainB(seed uint64) uint64 {
	if seed&1 == 0 {
		return chainD(seed>>1) + 3
	}
	return chainE(seed>>1) + 4
}

//go:noinline
func chainC(seed uint64) uint64 {
	var frame [200]byte
	frame[seed%200] = 1
	if seed&1 == 0 {
		return chainF(seed>>1) + uint64(frame[7])
	}
	return chainG(seed>>1) + uint64(frame[9])
}

//go:noinline
func chainD(seed uint64) uint64 {
	if seed&3 == 0 {
		return chainDeep(seed>>2, int(seed>>2&63)) + 5
	}
	return chainG(seed>>2) + 6
}

//go:noinline
func chainE(seed uint64) uint64 { return chainF(seed) + 7 }

// chainDeep makes the stack grow, which moves it.
//
//go:noinline
func chainDeep(seed uint64, depth int) uint64 {
	var frame [300]byte
	frame[seed%300] = byte(depth)
	if depth > 0 {
		return chainDeep(seed, depth-1) + uint64(frame[11])
	}
	return chainG(seed) + uint64(frame[13])
}

//go:noinline
func chainF(seed uint64) uint64 {
	lock := &locks[seed&15]
	lock.Lock()
	defer lock.Unlock()
	if seed&16 == 0 {
		runtime.Gosched()
	}
	return seed
}

//go:noinline
func chainG(seed uint64) uint64 {
	select {
	case handoff <- seed:
	case seed = <-handoff:
	}
	if seed&3 == 0 {
		runtime.Gosched()
	}
	return seed
}

//go:noinline
func startA(seed uint64, places chan struct{}) {
	atomic.AddUint64(&started, chainA(seed)&1)
	<-places
}

//go:noinline
func startB(seed uint64, places chan struct{}) {
	atomic.AddUint64(&started, chainB(seed)&1)
	<-places
}

//go:noinline
func spawnA(seed uint64, places chan struct{}) { go startA(seed, places) }

//go:noinline
func spawnB(seed uint64, places chan struct{}) { go startB(seed, places) }

//go:noinline
func spawner(seed uint64) {
	places := make(chan struct{}, *alive)
	for {
		seed = seed*6364136223846793005 + 1442695040888963407
		places <- struct{}{}
		if seed>>63 == 0 {
			spawnA(seed>>20, places)
		} else {
			spawnB(seed>>20, places)
		}
		atomic.AddUint64(&created, 1)
	}
}

//go:noinline
func parkedForGood(channel chan int) { <-channel }

func main() {
	flag.Parse()
	never := make(chan int)
	for i := 0; i < *parked; i++ {
		go parkedForGood(never)
	}
	fixture.Await([]fixture.Group{{Function: "main.parkedForGood", States: "chan receive", Count: *parked}})
	for i := 0; i < *spawners; i++ {
		go spawner(uint64(i) + 1)
	}
	for atomic.LoadUint64(&created) < 10000 {
		runtime.Gosched()
	}
	fmt.Printf("fixture: version %s\n", runtime.Version())
	fixture.Serve(map[string]func([]string){
		"gc":     fixture.GC,
		"rounds": func([]string) { fmt.Printf("rounds %d\n", atomic.LoadUint64(&created)) },
	})
}
