// Sites that allocate by turns in one size class: two that keep what they get, and one of which all is kept beside one of
// which nothing is. So the first object of a span may always be of the same site. What is live is known to the byte.
package main

import (
	"fmt"
	"runtime"
	"strconv"

	"leakscope.test/fixtures/fixture"
)

type session struct{ data [64]byte }
type quota struct{ data [64]byte }
type item struct{ data [96]byte }

//go:noinline
func newSession() *session { return &session{} }

//go:noinline
func newQuota() *quota { return &quota{} }

//go:noinline
func newItem() *item { return &item{} }

//go:noinline
func newKey() *[96]byte { return &[96]byte{1} }

var (
	sessions []*session
	quotas   []*quota
	items    []*item
	key      *[96]byte
)

func login() {
	sessions = append(sessions, newSession())
	quotas = append(quotas, newQuota())
}

func lookUp() {
	key = newKey()
	items = append(items, newItem())
}

func main() {
	const most = 1 << 20
	sessions, quotas, items = make([]*session, 0, most), make([]*quota, 0, most), make([]*item, 0, most)
	fmt.Printf("fixture: version %s\n", runtime.Version())
	fmt.Printf("fixture: mem_profile_rate %d\n", runtime.MemProfileRate)
	fixture.Serve(map[string]func([]string){
		"gc": fixture.GC,
		"work": func(arguments []string) {
			n, err := strconv.Atoi(arguments[0])
			if err != nil {
				fixture.Fail(err.Error())
			}
			for i := 0; i < n; i++ {
				login()
			}
			for i := 0; i < n; i++ {
				lookUp()
			}
			fmt.Printf("worked %d\n", n)
		},
		"truth": func([]string) {
			fmt.Printf("site main.newSession %d %d\n", len(sessions), 64*len(sessions))
			fmt.Printf("site main.newQuota %d %d\n", len(quotas), 64*len(quotas))
			fmt.Printf("site main.newItem %d %d\n", len(items), 96*len(items))
			fmt.Println("truth told")
		},
	})
	runtime.KeepAlive(key)
}
