// Goroutines that wait in every way that Go's block profile counts, and in some that it does not. The program's own
// profiles are on, and tell the truth.
package main

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"

	"leakscope.test/fixtures/fixture"
)

const moment = 2 * time.Millisecond

var (
	mutex   sync.Mutex
	rwMutex sync.RWMutex
)

func holdMutex()  { mutex.Lock(); time.Sleep(moment); mutex.Unlock() }
func waitMutex()  { mutex.Lock(); defer mutex.Unlock() }
func holdWrite()  { rwMutex.Lock(); time.Sleep(moment); rwMutex.Unlock() }
func waitRead()   { rwMutex.RLock(); rwMutex.RUnlock() }
func holdRead()   { rwMutex.RLock(); time.Sleep(moment); rwMutex.RUnlock() }
func waitWrite()  { rwMutex.Lock(); rwMutex.Unlock() }
func sleepOnly()  { time.Sleep(moment) }
func waitTimer()  { <-time.After(moment) }
func waitTicker() { t := time.NewTicker(moment); <-t.C; t.Stop() }

func waitReceive(c chan int)          { <-c }
func waitSend(c chan int)             { c <- 1 }
func waitClosed(c chan int)           { <-c }
func waitGroup(group *sync.WaitGroup) { group.Wait() }
func waitBefore(c chan int)           { <-c }

func waitSelect(a, b chan int, c chan int) {
	select {
	case <-a:
	case b <- 1:
	case <-c:
	}
}

func waitCond(cond *sync.Cond, ready *bool) {
	cond.L.Lock()
	for !*ready {
		cond.Wait()
	}
	cond.L.Unlock()
}

// together runs all at once and returns when they are done.
func together(all ...func()) {
	var group sync.WaitGroup
	for _, one := range all {
		group.Add(1)
		go func(one func()) {
			one()
			group.Done()
		}(one)
	}
	group.Wait()
}

func locks() {
	late := func(wait func()) func() { return func() { time.Sleep(moment / 2); wait() } }
	together(holdMutex, late(waitMutex), late(waitMutex), late(waitMutex))
	together(holdWrite, late(waitRead), late(waitRead))
	together(holdRead, late(waitWrite))
	cond := sync.NewCond(&sync.Mutex{})
	ready := false
	wait := func() { waitCond(cond, &ready) }
	together(wait, wait, wait, func() {
		time.Sleep(moment)
		cond.L.Lock()
		ready = true
		cond.L.Unlock()
		cond.Broadcast()
	})
	var group sync.WaitGroup
	group.Add(1)
	together(func() { waitGroup(&group) }, func() { time.Sleep(moment); group.Done() })
}

func channels() {
	a, b, c, closed := make(chan int), make(chan int), make(chan int), make(chan int)
	together(func() { waitReceive(a) }, func() { time.Sleep(moment); a <- 1 })
	together(func() { waitSend(a) }, func() { time.Sleep(moment); <-a })
	together(func() { waitClosed(closed) }, func() { waitClosed(closed) }, func() { time.Sleep(moment); close(closed) })
	together(func() { waitSelect(a, b, c) }, func() { time.Sleep(moment); c <- 1 })
	together(func() { waitSelect(a, b, c) }, func() { time.Sleep(moment); <-b })
	together(waitTimer, waitTicker, sleepOnly)
}

// truth prints what a profile of the program's own has of each function.
func truth(name string) {
	var text bytes.Buffer
	if err := pprof.Lookup(name).WriteTo(&text, 1); err != nil {
		fixture.Fail(err.Error())
	}
	perSecond, cycles, count, first := 1.0, 0.0, 0, false
	for _, line := range strings.Split(text.String(), "\n") {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "cycles/second=") {
			perSecond, _ = strconv.ParseFloat(strings.TrimPrefix(line, "cycles/second="), 64)
		} else if len(words) > 2 && words[2] == "@" {
			cycles, _ = strconv.ParseFloat(words[0], 64)
			count, _ = strconv.Atoi(words[1])
			first = true
		} else if len(words) > 2 && words[0] == "#" && first && name == "mutex" &&
			!strings.Contains(words[2], "nlock") {
			// Locks of package sync are charged to who unlocks them. This is one of the runtime's own (Go 1.22 and
			// newer), most of whose frames are not shown.
			first, count = false, 0
		} else if len(words) > 2 && words[0] == "#" && strings.HasPrefix(words[2], "main.") && count > 0 {
			function := words[2][:strings.LastIndex(words[2], "+")]
			fmt.Printf("truth %s %s %d %d\n", name, function, count, int64(cycles/perSecond*1e9))
			count = 0
		} else {
			first = false
		}
	}
}

func main() {
	runtime.SetBlockProfileRate(1)
	runtime.SetMutexProfileFraction(1)
	before := make(chan int)
	go waitBefore(before)
	fixture.Await([]fixture.Group{{Function: "main.waitBefore", States: "chan receive", Count: 1}})
	fmt.Printf("fixture: version %s\n", runtime.Version())
	fixture.Serve(map[string]func([]string){
		"work": func(arguments []string) {
			n, err := strconv.Atoi(arguments[0])
			if err != nil {
				fixture.Fail(err.Error())
			}
			for i := 0; i < n; i++ {
				locks()
				channels()
			}
			if before != nil {
				before <- 1
				before = nil
			}
			fmt.Printf("worked %d\n", n)
		},
		"truth": func([]string) {
			truth("block")
			truth("mutex")
			fmt.Println("truth told")
		},
	})
}
