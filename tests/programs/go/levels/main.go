// Go calls C calls Go calls C, and each level allocates.
package main

// void level_one(int times);
// void level_three(int times);
// void level_hold(void);
import "C"

import (
	"fmt"
	"runtime"
	"strings"

	"leakscope.test/fixtures/fixture"
)

const name = "a name that is never freed"

var never = make(chan int)

//go:noinline
func levelZero(times int) { C.level_one(C.int(times)) }

//export levelTwo
func levelTwo(times C.int) {
	for i := 0; i < int(times); i++ {
		setName()
	}
	C.level_three(times)
}

//go:noinline
func setName() { C.CString(name) }

//export levelHeld
func levelHeld() { <-never }

//go:noinline
func holdInCallback() { C.level_hold() }

// A list whose functions are made for each type.
type list[T any] struct{ waits chan T }

//go:noinline
func (l *list[T]) wait() { <-l.waits }

// The number of this goroutine, as the runtime prints it: "goroutine 7 [running]:".
func number() string {
	text := make([]byte, 64)
	return strings.Fields(string(text[:runtime.Stack(text, false)]))[1]
}

func main() {
	go holdInCallback()
	go (&list[int]{make(chan int)}).wait()
	go (&list[string]{make(chan string)}).wait()
	fixture.Await([]fixture.Group{
		{Function: "main.levelHeld", States: "chan receive", Count: 1},
		{Function: "main.(*list[...]).wait", States: "chan receive", Count: 2},
	})
	fixture.Serve(map[string]func([]string){
		"levels": func([]string) {
			done := make(chan string)
			go func() {
				levelZero(100)
				done <- number()
			}()
			fmt.Println("levels 100", <-done)
		},
	})
}
