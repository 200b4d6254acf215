// A plugin whose goroutines wait.
package main

var never = make(chan int)

//go:noinline
func waitForGood() { <-never }

// Start is looked up by the program.
func Start(count int) {
	for i := 0; i < count; i++ {
		go waitForGood()
	}
}

func main() {}
