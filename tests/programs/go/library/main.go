// A library with goroutines that wait and others that come and go, and a heap that grows.
package main

import "C"

import "time"

var (
	never = make(chan int)
	kept  [][]byte
)

//go:noinline
func waitForGood() { <-never }

func grow() {
	for {
		kept = append(kept, make([]byte, 10000))
		time.Sleep(5 * time.Millisecond)
	}
}

//export StartWork
func StartWork(count C.int) {
	for i := 0; i < int(count); i++ {
		go waitForGood()
	}
	go grow()
}

func main() {}
