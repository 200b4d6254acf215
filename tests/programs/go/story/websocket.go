package main

import (
	"errors"
	"sync"
	"time"
)

// A server that keeps a goroutine for each of its websockets. When a client goes away without a word,
// nobody closes the channel on which that goroutine waits for the next notification.

var errClosed = errors.New("the websocket is closed")

// Notification is what subscribers are told.
type Notification struct {
	ID   int
	Body [64]byte
}

// lockEntry guards one subscription; the hub keeps it under the subscription's name.
type lockEntry struct {
	mu      sync.Mutex
	owner   int
	since   time.Time
	payload [200]byte
}

// Hub knows every websocket of the server.
type Hub struct {
	mu      sync.Mutex
	sockets map[int]*WebSocket
	locksMu sync.Mutex
	locks   map[int]*lockEntry
	next    int
}

// NewHub makes an empty hub.
func NewHub() *Hub {
	return &Hub{sockets: map[int]*WebSocket{}, locks: map[int]*lockEntry{}}
}

// Locks is the number of entries in the map that is never cleared.
func (h *Hub) Locks() int {
	h.locksMu.Lock()
	defer h.locksMu.Unlock()
	return len(h.locks)
}

// lockFor makes the lock of a subscription. Nothing ever removes it.
func (h *Hub) lockFor(id int) *lockEntry {
	h.locksMu.Lock()
	defer h.locksMu.Unlock()
	entry := newLockEntry(id)
	h.locks[id] = entry
	return entry
}

//go:noinline
func newLockEntry(owner int) *lockEntry {
	return &lockEntry{owner: owner, since: time.Now()}
}

// growLocks adds entries whenever the clock ticks.
func (h *Hub) growLocks(ticks <-chan time.Time, entries int) {
	for range ticks {
		h.addLocks(entries)
	}
}

//go:noinline
func (h *Hub) addLocks(entries int) {
	for i := 0; i < entries; i++ {
		h.next++
		h.lockFor(-h.next)
	}
}

// WebSocket is one client.
type WebSocket struct {
	id     int
	hub    *Hub
	notify chan Notification
	last   int
	mu     sync.Mutex
	err    error
}

// newWebSocket makes a websocket and tells the hub.
func newWebSocket(hub *Hub, id int) *WebSocket {
	socket := &WebSocket{id: id, hub: hub, notify: make(chan Notification)}
	hub.mu.Lock()
	hub.sockets[id] = socket
	hub.mu.Unlock()
	return socket
}

// Send hands a notification to the websocket.
func (ws *WebSocket) Send(notification Notification) error {
	if err := ws.failure(); err != nil {
		return err
	}
	ws.notify <- notification
	return nil
}

// Close ends the websocket. The story's bug: nobody calls it.
func (ws *WebSocket) Close() {
	ws.mu.Lock()
	ws.err = errClosed
	ws.mu.Unlock()
	close(ws.notify)
}

func (ws *WebSocket) failure() error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.err
}

// seen keeps the last notification.
func (ws *WebSocket) seen(notification Notification) {
	ws.last = notification.ID
}

// serveWebSocket starts what runs for a client that has connected.
func serveWebSocket(hub *Hub, id int) {
	socket := newWebSocket(hub, id)
	entry := hub.lockFor(id)
	go func() {
		for {
			if !socket.waitNotify(entry) {
				return
			}
		}
	}()
}

// waitNotify is small enough to be inlined.
func (ws *WebSocket) waitNotify(entry *lockEntry) bool { return ws.notifyFxn(entry) }

// notifyFxn waits for the next notification, under the lock of its subscription as far as that is
// needed, and reports whether another one may come.
//
// It is the place where the goroutines of lost clients stay for ever: the channel has no sender any
// more and is never closed, and nothing limits the time.
//
// Tests know the line of the receive.
//
//go:noinline
func (ws *WebSocket) notifyFxn(entry *lockEntry) bool {
	entry.mu.Lock()
	owner := entry.owner
	entry.mu.Unlock()

	// Here they are, all of them.
	notification, open := <-ws.notify
	if open && owner == ws.id {
		ws.seen(notification)
	}
	return open
}
