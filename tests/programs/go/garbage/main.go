// Two sites that leak, three bytes at the one for each byte at the other, and a third that makes nothing
// but garbage. What is live is known to the byte. With the tag "profile" something refers to the heap
// profiler; without it the linker turns the profiler off.
package main

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"sync"
	"unsafe"

	"leakscope.test/fixtures/fixture"
)

var (
	workers   = flag.Int("workers", 4, "goroutines that allocate")
	rate      = flag.Int("rate", -1, "MemProfileRate; -1 leaves the runtime's own")
	gcPercent = flag.Int("gc-percent", 100, "as GOGC")
)

// session has pointers, order has none; both are of a size class, so that bytes asked for are bytes taken.
type session struct {
	next *session
	data [184]byte
}

type order struct{ data [64]byte }

// page is larger than every size class.
type page struct{ data [64 << 10]byte }

type worker struct {
	sessions *session
	orders   []*order
	pages    []*page
	rubbish  [64]interface{}
	at       int
}

//go:noinline
func (w *worker) leakSession() {
	w.sessions = &session{next: w.sessions}
}

//go:noinline
func (w *worker) leakOrder() {
	w.orders = append(w.orders, newOrder())
}

//go:noinline
func newOrder() *order { return &order{} }

//go:noinline
func (w *worker) leakPage() {
	w.pages = append(w.pages, new(page))
}

// makeGarbage allocates from 8 bytes to 48 KiB, with and without pointers; the last 64 stay reachable.
//
//go:noinline
func (w *worker) makeGarbage(size int) {
	w.at = (w.at + 1) % len(w.rubbish)
	switch size % 4 {
	case 0:
		w.rubbish[w.at] = make([]byte, 8+size%900)
	case 1:
		w.rubbish[w.at] = make([]*order, 1+size%70)
	case 2:
		w.rubbish[w.at] = strconv.Itoa(size) + "th piece of garbage"
	default:
		if size%97 == 0 {
			w.rubbish[w.at] = make([]byte, 48<<10)
		} else {
			w.rubbish[w.at] = &session{}
		}
	}
}

// round leaks the same bytes three times at the one site for once at the other.
func (w *worker) round(number int) {
	for i := 0; i < 3; i++ {
		// 192 bytes against 64.
		w.leakSession()
		w.leakOrder()
		for j := 0; j < 40; j++ {
			w.makeGarbage(number*131 + i*41 + j)
		}
	}
}

func each(all []*worker, do func(*worker)) {
	var group sync.WaitGroup
	for _, w := range all {
		w := w
		group.Add(1)
		go func() {
			defer group.Done()
			do(w)
		}()
	}
	group.Wait()
}

func main() {
	flag.Parse()
	if *rate >= 0 {
		runtime.MemProfileRate = *rate
	}
	debug.SetGCPercent(*gcPercent)
	all := make([]*worker, *workers)
	for i := range all {
		all[i] = &worker{}
	}
	rounds, pages := 0, 0
	number := func(arguments []string) int {
		n, err := strconv.Atoi(arguments[0])
		if err != nil {
			fixture.Fail(err.Error())
		}
		return n
	}
	fmt.Printf("fixture: version %s\n", runtime.Version())
	fmt.Printf("fixture: mem_profile_rate %d\n", runtime.MemProfileRate)
	fixture.Serve(map[string]func([]string){
		"gc": fixture.GC,
		"work": func(arguments []string) {
			n := number(arguments)
			each(all, func(w *worker) {
				for i := 0; i < n; i++ {
					w.round(rounds + i)
				}
			})
			rounds += n
			fmt.Printf("worked %d\n", rounds)
		},
		"pages": func(arguments []string) {
			n := number(arguments)
			each(all, func(w *worker) {
				for i := 0; i < n; i++ {
					w.leakPage()
				}
			})
			pages += n
			fmt.Printf("paged %d\n", pages)
		},
		// The other half of every list becomes garbage, too.
		"forget": func([]string) {
			for _, w := range all {
				w.orders = append([]*order(nil), w.orders[len(w.orders)/2:]...)
			}
			fmt.Println("forgotten")
		},
		"truth": func([]string) { tell(all) },
		"dump":  func(arguments []string) { dump(arguments[0]); fmt.Println("dumped") },
	})
	runtime.KeepAlive(all)
}

// tell prints objects and bytes that are live, by the function that allocated them.
func tell(all []*worker) {
	objects := map[string]int{}
	for _, w := range all {
		for s := w.sessions; s != nil; s = s.next {
			objects["main.(*worker).leakSession"]++
		}
		objects["main.newOrder"] += len(w.orders)
		objects["main.(*worker).leakPage"] += len(w.pages)
	}
	size := map[string]uintptr{
		"main.(*worker).leakSession": unsafe.Sizeof(session{}),
		"main.newOrder":              unsafe.Sizeof(order{}),
		"main.(*worker).leakPage":    unsafe.Sizeof(page{}),
	}
	var names []string
	for name := range objects {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("site %s %d %d\n", name, objects[name], objects[name]*int(size[name]))
	}
	fmt.Println("truth told")
}
