// The story: a server whose websockets pile up, and beside them goroutines in every state that the
// runtime knows, as many in all as asked for.
package main

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"leakscope.test/fixtures/fixture"
)

var (
	websockets = flag.Int("websockets", 11274, "goroutines at the receive in websocket.go")
	total      = flag.Int("total", 13647, "goroutines in all, the main one included")
	growth     = flag.Int("growth", 0, "locks that are added to the map in a second")
	spinners   = flag.Int("spinners", 0, "goroutines that compute without end, beside the total")
	gcPercent  = flag.Int("gc-percent", 100, "as GOGC; -1 turns the collector off")
	rate       = flag.Int("rate", -1, "MemProfileRate; -1 leaves the runtime's own")
)

// groups is what all goroutines are, by and by.
var groups []fixture.Group

// add enters goroutines that were just started.
func add(count int, function, states string) {
	groups = append(groups, fixture.Group{Function: function, States: states, Count: count})
}

func started() int {
	sum := 0
	for _, group := range groups {
		sum += group.Count
	}
	return sum
}

var hub *Hub

func main() {
	flag.Parse()
	if *rate >= 0 {
		setMemProfileRate(*rate)
	}
	debug.SetGCPercent(*gcPercent)

	hub = NewHub()
	for i := 0; i < *websockets; i++ {
		serveWebSocket(hub, i)
	}
	add(*websockets, "main.(*WebSocket).notifyFxn", "chan receive")
	startLocks()
	startGrowth()
	startWaiters()
	startShapes()
	startCoroutines()
	startNative()
	// Last, because it asks for collections.
	startFinalizers()

	subscribers := *total - 1 - started()
	if subscribers < 0 {
		fixture.Fail(fmt.Sprintf("%d goroutines are too few", *total))
	}
	startSubscribers(subscribers)
	for i := 0; i < *spinners; i++ {
		go spin()
	}
	add(*spinners, "main.spin", "running|runnable")
	fixture.Await(groups)

	fmt.Printf("fixture: version %s\n", runtime.Version())
	fmt.Printf("fixture: mem_profile_rate %d\n", runtime.MemProfileRate)
	fmt.Printf("fixture: goroutines %d\n", started()+1)
	fixture.Serve(map[string]func([]string){
		"gc":      fixture.GC,
		"connect": func(arguments []string) { connect(arguments[0]) },
		"dump":    func(arguments []string) { dump(arguments[0]); fmt.Println("dumped") },
		"locks": func([]string) {
			fmt.Printf("locks %d\n", hub.Locks())
		},
		"native": func([]string) { leakNatively(); fmt.Println("native done") },
	})
}

// connect serves more clients, and returns when all of them wait.
func connect(count string) {
	n, err := strconv.Atoi(count)
	if err != nil {
		fixture.Fail(err.Error())
	}
	for i := 0; i < n; i++ {
		serveWebSocket(hub, *websockets+i)
	}
	*websockets += n
	groups[0].Count += n
	fixture.Await(groups)
	fmt.Printf("connected %d\n", *websockets)
}

// startGrowth lets the map of locks grow; without growth the same goroutine waits for a clock that
// stands still.
func startGrowth() {
	ticks := make(<-chan time.Time)
	states := "chan receive"
	if *growth > 0 {
		ticks = time.NewTicker(time.Second / 10).C
		states = "chan receive|running|runnable|sync.Mutex.Lock|semacquire"
	}
	go hub.growLocks(ticks, *growth/10)
	add(1, "main.(*Hub).growLocks", states)
}

//go:noinline
func spin() {
	value := uint64(time.Now().UnixNano())
	for {
		for i := 0; i < 1<<20; i++ {
			value = value*6364136223846793005 + 1442695040888963407
		}
		if value == 0 {
			return
		}
	}
}
