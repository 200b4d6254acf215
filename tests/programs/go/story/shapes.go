package main

import (
	"reflect"
	"runtime"
)

// Stacks that are not just one function calling the next.

type parker struct{ channel chan int }

//go:noinline
func (p *parker) park() { received += <-p.channel }

//go:noinline
func (p parker) parkByValue() { received += <-p.channel }

// outer gets the methods of parker through an embedded pointer: the compiler writes wrappers.
type outer struct {
	padding int
	*parker
}

type parks interface{ park() }

type parksByValue interface{ parkByValue() }

type number interface{ int | string | float64 }

type box[T number] struct{ values []T }

//go:noinline
func (b *box[T]) wait(channel chan T) {
	b.values = append(b.values, <-channel)
}

//go:noinline
func genericWait[T number](channel chan T) {
	value := inlinedReceive(channel)
	kept = append(kept, value)
}

func inlinedReceive[T number](channel chan T) T { return inlinedTwice(channel) }

func inlinedTwice[T number](channel chan T) T { return <-channel }

//go:noinline
func recursive(depth int, channel chan int) int {
	var frame [64]byte
	if depth == 0 {
		return <-channel
	}
	frame[depth&63] = byte(depth)
	return recursive(depth-1, channel) + int(frame[depth&31])
}

// even and odd call each other, so that frames alternate.
//
//go:noinline
func even(depth int, channel chan int) int {
	if depth == 0 {
		return <-channel
	}
	return odd(depth-1, channel) + 1
}

//go:noinline
func odd(depth int, channel chan int) int { return even(depth-1, channel) + 2 }

//go:noinline
func panicked() {
	defer func() { _ = recover() }()
	defer func() { received += <-never }()
	panic("the story's panic")
}

//go:noinline
func faulted(pointer *int) {
	defer func() { _ = recover() }()
	defer func() { received += <-never }()
	received += *pointer
}

//go:noinline
func throughReflection(channel chan int) {
	reflect.ValueOf(reflected).Call([]reflect.Value{reflect.ValueOf(channel)})
}

//go:noinline
func reflected(channel chan int) { received += <-channel }

//go:noinline
func throughMadeFunction(channel chan int) {
	made := func(arguments []reflect.Value) []reflect.Value {
		madeBody(arguments[0].Interface().(chan int))
		return nil
	}
	function := reflect.MakeFunc(reflect.TypeOf(madeBody), made).Interface().(func(chan int))
	function(channel)
}

//go:noinline
func madeBody(channel chan int) { received += <-channel }

//go:noinline
func bigFrame(channel chan int) int {
	var frame [100 << 10]byte
	index := <-channel
	frame[index] = 1
	return int(frame[index/2])
}

//go:noinline
func exitsInDefer() {
	defer func() { received += <-never }()
	runtime.Goexit()
}

func startShapes() {
	p := &parker{channel: never}
	method := p.park
	times(25, method)
	wrapped := outer{parker: p}
	var through parks = wrapped
	var byValue parksByValue = wrapped
	for i := 0; i < 25; i++ {
		go through.park()
		go wrapped.park()
	}
	add(75, "main.(*parker).park", "chan receive")
	for i := 0; i < 25; i++ {
		go byValue.parkByValue()
	}
	add(25, "main.parker.parkByValue", "chan receive")

	for i := 0; i < 20; i++ {
		go genericWait(make(chan int))
		go genericWait(make(chan string))
		go (&box[float64]{}).wait(make(chan float64))
	}
	add(40, "main.genericWait[...]", "chan receive")
	add(20, "main.(*box[...]).wait", "chan receive")

	for _, depth := range []int{20, 100} {
		go recursive(depth, never)
		go even(depth, never)
	}
	// Of a hundred frames the text leaves out the middle, not the ends.
	add(2, "main.recursive", "chan receive")
	add(2, "main.even", "chan receive")

	times(3, panicked)
	add(3, "main.panicked", "chan receive")
	for i := 0; i < 3; i++ {
		go faulted(nil)
	}
	add(3, "main.faulted", "chan receive")
	for i := 0; i < 3; i++ {
		go throughReflection(never)
		go throughMadeFunction(never)
		go bigFrame(never)
	}
	add(3, "main.reflected", "chan receive")
	add(3, "main.madeBody", "chan receive")
	add(3, "main.bigFrame", "chan receive")
	times(2, exitsInDefer)
	add(2, "main.exitsInDefer", "chan receive")
}

type finalized struct{ payload [128]byte }

//go:noinline
func makeFinalized(inside chan struct{}) {
	runtime.SetFinalizer(&finalized{}, func(*finalized) { finalizer(inside) })
}

//go:noinline
func finalizer(inside chan struct{}) {
	close(inside)
	received += <-never
}

// startFinalizers keeps the runtime's own goroutines busy with functions of the program.
func startFinalizers() {
	inside := make(chan struct{})
	makeFinalized(inside)
	collectUntil(inside)
	add(1, "main.finalizer", "chan receive")
	startCleanups()
}

func collectUntil(inside chan struct{}) {
	for {
		runtime.GC()
		select {
		case <-inside:
			return
		default:
			runtime.Gosched()
		}
	}
}
