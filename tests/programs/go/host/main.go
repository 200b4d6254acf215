// A program that loads a plugin when it is told to, and whose main goroutine ends if that is asked for.
package main

import (
	"flag"
	"fmt"
	"plugin"
	"runtime"

	"leakscope.test/fixtures/fixture"
)

var (
	end   = flag.Bool("end", false, "the main goroutine ends")
	never = make(chan int)
)

//go:noinline
func waitInHost() { <-never }

func load(arguments []string) {
	loaded, err := plugin.Open(arguments[0])
	if err != nil {
		fixture.Fail(err.Error())
	}
	start, err := loaded.Lookup("Start")
	if err != nil {
		fixture.Fail(err.Error())
	}
	start.(func(int))(40)
	fmt.Println("loaded 40")
}

func serve() { fixture.Serve(map[string]func([]string){"load": load}) }

func main() {
	flag.Parse()
	if !*end {
		serve()
		return
	}
	ended := make(chan bool)
	go func() {
		<-ended
		for i := 0; i < 60; i++ {
			go waitInHost()
		}
		serve()
	}()
	defer close(ended)
	runtime.Goexit()
}
