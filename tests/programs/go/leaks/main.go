// Command leaks has goroutines that can never run again, and as many that look so and are woken on command.
package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"leakscope.test/fixtures/fixture"
)

// Each shape of a leak, and of a goroutine that waits, so often.
const each = 4

var woken int64
var groups []fixture.Group

func add(function, states string, count int) {
	groups = append(groups, fixture.Group{Function: "main." + function, States: states, Count: count})
}

// Leaks.

//go:noinline
func leakReceive(c chan int) { <-c }

//go:noinline
func leakSend(c chan int, value *[400]byte) { c <- len(value) }

//go:noinline
func leakSelect(a, b chan int) {
	select {
	case <-a:
	case b <- 1:
	}
}

//go:noinline
func leakNil(c chan int) { <-c }

//go:noinline
func leakMutex(m *sync.Mutex) { m.Lock() }

//go:noinline
func leakReader(m *sync.RWMutex) { m.RLock() }

//go:noinline
func leakGroup(w *sync.WaitGroup) { w.Wait() }

//go:noinline
func leakCondition(c *sync.Cond) {
	c.L.Lock()
	c.Wait()
}

//go:noinline
func leakContext(c context.Context) { <-c.Done() }

// Two that wait for each other.
//
//go:noinline
func leakPair(a, b chan int) {
	<-a
	b <- 1
}

//go:noinline
func leakWorker(jobs chan int) {
	for range jobs {
	}
}

func startLeaks() {
	for i := 0; i < each; i++ {
		go leakReceive(make(chan int))
		go leakSend(make(chan int), new([400]byte))
		go leakSelect(make(chan int), make(chan int))
		go leakNil(nil)
		mutex := new(sync.Mutex)
		mutex.Lock()
		go leakMutex(mutex)
		lock := new(sync.RWMutex)
		lock.Lock()
		go leakReader(lock)
		group := new(sync.WaitGroup)
		group.Add(1)
		go leakGroup(group)
		go leakCondition(sync.NewCond(new(sync.Mutex)))
		ctx, cancel := context.WithCancel(context.Background())
		_ = cancel
		go leakContext(ctx)
		a, b := make(chan int), make(chan int)
		go leakPair(a, b)
		go leakPair(b, a)
		jobs := make(chan int)
		for j := 0; j < 2; j++ {
			go leakWorker(jobs)
		}
	}
	add("leakReceive", "chan receive", each)
	add("leakSend", "chan send", each)
	add("leakSelect", "select", each)
	add("leakNil", "chan receive (nil chan)", each)
	add("leakMutex", "sync.Mutex.Lock|semacquire", each)
	add("leakReader", "sync.RWMutex.RLock|semacquire", each)
	add("leakGroup", "sync.WaitGroup.Wait|semacquire", each)
	add("leakCondition", "sync.Cond.Wait", each)
	add("leakContext", "chan receive", each)
	add("leakPair", "chan receive", 2*each)
	add("leakWorker", "chan receive", 2*each)
}

// Goroutines that are woken later. What wakes them is held in ways that are easy to miss.

//go:noinline
func waitReceive(c chan int) {
	<-c
	atomic.AddInt64(&woken, 1)
}

//go:noinline
func waitMutex(m *sync.Mutex) {
	m.Lock()
	atomic.AddInt64(&woken, 1)
}

//go:noinline
func waitGroup(w *sync.WaitGroup) {
	w.Wait()
	atomic.AddInt64(&woken, 1)
}

//go:noinline
func waitCondition(c *sync.Cond) {
	c.L.Lock()
	c.Wait()
	c.L.Unlock()
	atomic.AddInt64(&woken, 1)
}

//go:noinline
func waitContext(c context.Context) {
	<-c.Done()
	atomic.AddInt64(&woken, 1)
}

type box struct{ c chan int }

var release = make(chan struct{})
var released int32
var held = map[string]interface{}{}
var moving atomic.Value

// holdOnStack has what `wake` needs on its stack alone.
//
//go:noinline
func holdOnStack(wake func()) {
	for {
		select {
		case <-release:
			wake()
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// holdMoving has the only reference in an object that is replaced all the time.
//
//go:noinline
func holdMoving(c chan int) {
	moving.Store(&box{c})
	c = nil
	for i := 0; atomic.LoadInt32(&released) == 0; i++ {
		moving.Store(&box{moving.Load().(*box).c})
		if i%2000 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	close(moving.Load().(*box).c)
}

func startWaiters() {
	receiver := func() chan int {
		c := make(chan int)
		go waitReceive(c)
		return c
	}
	for i := 0; i < each; i++ {
		onStack := receiver()
		go holdOnStack(func() { close(onStack) })
		held[fmt.Sprint("map", i)] = receiver()
		inChannel := make(chan chan int, 1)
		inChannel <- receiver()
		held[fmt.Sprint("channel", i)] = inChannel
		finalized := &box{receiver()}
		runtime.SetFinalizer(finalized, func(b *box) { close(b.c) })
		byTimer := receiver()
		held[fmt.Sprint("timer", i)] = time.AfterFunc(1000*time.Hour, func() { close(byTimer) })
		mutex := new(sync.Mutex)
		mutex.Lock()
		go waitMutex(mutex)
		go holdOnStack(mutex.Unlock)
		group := new(sync.WaitGroup)
		group.Add(1)
		go waitGroup(group)
		go holdOnStack(group.Done)
		condition := sync.NewCond(new(sync.Mutex))
		go waitCondition(condition)
		go holdOnStack(func() {
			condition.L.Lock()
			condition.Broadcast()
			condition.L.Unlock()
		})
		outer, cancel := context.WithCancel(context.Background())
		inner, _ := context.WithCancel(outer)
		go waitContext(inner)
		go holdOnStack(cancel)
	}
	go holdMoving(receiver())
	add("waitReceive", "chan receive", 5*each+1)
	add("waitMutex", "sync.Mutex.Lock|semacquire", each)
	add("waitGroup", "sync.WaitGroup.Wait|semacquire", each)
	add("waitCondition", "sync.Cond.Wait", each)
	add("waitContext", "chan receive", each)
	add("holdOnStack", "select", 5*each)
	add("holdMoving", "running|runnable|sleep", 1)
}

func wake() {
	atomic.StoreInt32(&released, 1)
	close(release)
	for _, holder := range held {
		switch holder := holder.(type) {
		case chan int:
			close(holder)
		case chan chan int:
			close(<-holder)
		case *time.Timer:
			holder.Reset(0)
		}
	}
}

// shared is reached by all.
var shared = sync.NewCond(new(sync.Mutex))

// onlyConditions starts nothing but goroutines that wait for a condition that whoever may run can reach.
func onlyConditions() {
	for i := 0; i < each; i++ {
		go waitCondition(shared)
	}
	add("waitCondition", "sync.Cond.Wait", each)
	fixture.Await(groups)
	fixture.Serve(map[string]func([]string){
		"count": func([]string) { fmt.Printf("count %d %d\n", 0, each) },
		"wake": func([]string) {
			shared.L.Lock()
			shared.Broadcast()
			shared.L.Unlock()
			for atomic.LoadInt64(&woken) < each {
				time.Sleep(time.Millisecond)
			}
			fmt.Printf("woken %d\n", each)
		},
	})
}

func main() {
	conditions := flag.Bool("conditions", false, "nothing but goroutines that wait for a condition")
	flag.Parse()
	if *conditions {
		onlyConditions()
		return
	}
	// Finalizers are to run when they are asked for.
	debug.SetGCPercent(-1)
	startLeaks()
	startWaiters()
	leaked, waiting := 13*each+startCoroutines(), 9*each+1
	fixture.Await(groups)
	fixture.Serve(map[string]func([]string){
		"count": func([]string) { fmt.Printf("count %d %d\n", leaked, waiting) },
		"wake": func([]string) {
			wake()
			for atomic.LoadInt64(&woken) < int64(waiting) {
				// Finalizers run after a collection.
				runtime.GC()
				time.Sleep(time.Millisecond)
			}
			fmt.Printf("woken %d\n", waiting)
		},
	})
}
