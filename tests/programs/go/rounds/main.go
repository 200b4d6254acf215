// Goroutines of one place that go round between a timer, a select and a channel, so that they are never in one state for
// long, beside short ones that end.
package main

import (
	"fmt"
	"runtime"
	"strconv"
	"time"

	"leakscope.test/fixtures/fixture"
)

var never = make(chan int)

func poll(n int) {
	for {
		switch n % 3 {
		case 0:
			time.Sleep(50 * time.Millisecond)
		case 1:
			select {
			case <-never:
			case <-time.After(50 * time.Millisecond):
			}
		case 2:
			<-time.After(50 * time.Millisecond)
		}
		n++
	}
}

//go:noinline
func handle(n int) { go poll(n) }

func short(done chan bool) { done <- true }

//go:noinline
func pass() {
	done := make(chan bool)
	go short(done)
	<-done
}

func main() {
	fmt.Printf("fixture: version %s\n", runtime.Version())
	started := 0
	fixture.Serve(map[string]func([]string){
		"grow": func(arguments []string) {
			n, err := strconv.Atoi(arguments[0])
			if err != nil {
				fixture.Fail(err.Error())
			}
			for i := 0; i < n; i++ {
				handle(started)
				pass()
				started++
			}
			fmt.Printf("grown %d\n", started)
		},
	})
}
