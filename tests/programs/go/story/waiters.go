package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"

	"leakscope.test/fixtures/fixture"
)

// What is never freed, closed, sent or given back.
var (
	never    = make(chan int)
	mutex    sync.Mutex
	rwmutex  sync.RWMutex
	readers  sync.RWMutex
	group    sync.WaitGroup
	cond     = sync.NewCond(&sync.Mutex{})
	once     sync.Once
	kept     []interface{}
	received int
)

func must(err error) {
	if err != nil {
		fixture.Fail(err.Error())
	}
}

// times starts a goroutine again and again.
func times(count int, start func()) {
	for i := 0; i < count; i++ {
		go start()
	}
}

func startLocks() {
	mutex.Lock()
	times(600, lockWaiter)
	add(600, "main.lockWaiter", "sync.Mutex.Lock|semacquire")
	rwmutex.Lock()
	times(150, readWaiter)
	add(150, "main.readWaiter", "sync.RWMutex.RLock|semacquire")
	readers.RLock()
	go writeWaiter()
	add(1, "main.writeWaiter", "sync.RWMutex.Lock|semacquire")
	group.Add(1)
	times(32, groupWaiter)
	add(32, "main.groupWaiter", "sync.WaitGroup.Wait|semacquire")
	times(128, condWaiter)
	add(128, "main.condWaiter", "sync.Cond.Wait")

	// The first one waits inside, the others for the first one.
	inside := make(chan struct{})
	go onceWaiter(inside)
	<-inside
	times(5, func() { onceWaiter(nil) })
	add(1, "main.insideOnce", "chan receive")
	add(5, "main.onceWaiter", "sync.Mutex.Lock|semacquire")
}

//go:noinline
func lockWaiter() {
	mutex.Lock()
	received++
	mutex.Unlock()
}

//go:noinline
func readWaiter() {
	rwmutex.RLock()
	defer rwmutex.RUnlock()
	received++
}

//go:noinline
func writeWaiter() {
	readers.Lock()
	received++
	readers.Unlock()
}

//go:noinline
func groupWaiter() { group.Wait() }

//go:noinline
func condWaiter() {
	cond.L.Lock()
	defer cond.L.Unlock()
	cond.Wait()
}

//go:noinline
func onceWaiter(inside chan struct{}) {
	once.Do(func() { insideOnce(inside) })
}

//go:noinline
func insideOnce(inside chan struct{}) {
	close(inside)
	received += <-never
}

func startWaiters() {
	times(200, sleeper)
	add(200, "main.sleeper", "sleep")
	for i := 0; i < 64; i++ {
		go sender(make(chan int))
	}
	add(64, "main.sender", "chan send")
	times(5, forever)
	add(5, "main.forever", "select (no cases)")
	times(2, nilReceiver)
	add(2, "main.nilReceiver", "chan receive (nil chan)")
	times(2, nilSender)
	add(2, "main.nilSender", "chan send (nil chan)")
	times(4, lockedToThread)
	add(4, "main.lockedToThread", "chan receive")
	for i := 0; i < 3; i++ {
		time.AfterFunc(0, timerWaiter)
	}
	add(3, "main.timerWaiter", "chan receive")

	for i := 0; i < 60; i++ {
		labels := pprof.Labels("handler", fmt.Sprintf("/api/%d", i%3), "tenant", "a \"quoted\" one")
		pprof.Do(context.Background(), labels, func(ctx context.Context) {
			go labelled(ctx)
		})
	}
	add(60, "main.labelled", "select")

	startReaders()
}

// startReaders waits for the network, for pipes and in system calls.
func startReaders() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go accept(listener)
	add(1, "main.accept", "IO wait")
	for i := 0; i < 100; i++ {
		connection, err := net.Dial("tcp", listener.Addr().String())
		must(err)
		kept = append(kept, connection)
	}
	add(100, "main.serveConnection", "IO wait")
	for i := 0; i < 4; i++ {
		reader, writer, err := os.Pipe()
		must(err)
		kept = append(kept, writer)
		go pipeReader(reader)
	}
	add(4, "main.pipeReader", "IO wait")
	for i := 0; i < 3; i++ {
		var ends [2]int
		must(syscall.Pipe(ends[:]))
		go syscallReader(ends[0])
	}
	add(3, "main.syscallReader", "syscall")
}

func accept(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		must(err)
		go serveConnection(connection)
	}
}

//go:noinline
func serveConnection(connection net.Conn) {
	line, err := bufio.NewReader(connection).ReadString('\n')
	received += len(line)
	must(err)
}

//go:noinline
func pipeReader(file *os.File) {
	var buffer [8]byte
	n, _ := file.Read(buffer[:])
	received += n
}

//go:noinline
func syscallReader(fd int) {
	var buffer [8]byte
	n, _ := syscall.Read(fd, buffer[:])
	received += n
}

//go:noinline
func sleeper() {
	for {
		time.Sleep(1000 * time.Hour)
	}
}

//go:noinline
func sender(channel chan int) { channel <- 1 }

//go:noinline
func forever() { select {} }

//go:noinline
func nilReceiver() {
	var channel chan int
	received += <-channel
}

//go:noinline
func nilSender() {
	var channel chan int
	channel <- 1
}

//go:noinline
func lockedToThread() {
	runtime.LockOSThread()
	received += <-never
}

//go:noinline
func timerWaiter() { received += <-never }

//go:noinline
func labelled(ctx context.Context) {
	select {
	case value := <-never:
		received += value
	case <-ctx.Done():
	case <-time.After(1000 * time.Hour):
	}
}

func startSubscribers(count int) {
	for i := 0; i < count; i++ {
		go subscriber(never, make(chan int))
	}
	add(count, "main.subscriber", "select")
}

//go:noinline
func subscriber(in <-chan int, out chan<- int) {
	for {
		select {
		case value := <-in:
			received += value
		case out <- received:
		}
	}
}
