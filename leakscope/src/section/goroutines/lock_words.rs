//! What is said of goroutines and locks, in words.

use super::words::{Deadlocked, Doing, GoroutinesSaid, Group, HeldBy, doing, who};
use crate::human::{count, counted};
use crate::runtime::go::named::without_path;

/// Goroutines of a deadlock that are told.
const MOST_TOLD: usize = 4;

fn in_place(what: Option<&Doing>) -> String {
    what.map(|what| doing(what).replacen("blocked in", "in", 1)).unwrap_or_default()
}

/// `Deadlock: goroutine 18 waits in sync.Mutex.Lock at main.f at f.go:9 for goroutine 19, …`.
pub(super) fn deadlocked(circle: &[Deadlocked], alike: u64, stuck: u64, total: u64) -> String {
    let told: Vec<String> = match circle {
        [one] => {
            let holder = one.unlocked_by.as_deref().map_or("function", without_path);
            vec![format!(
                "goroutine {} waits {} for a lock that its own {holder} unlocks as it returns",
                one.goroutine_id,
                in_place(one.doing.as_ref()),
            )]
        }
        _ => {
            let next = circle.iter().cycle().skip(1);
            let each = circle.iter().zip(next).take(MOST_TOLD).map(|(one, next)| {
                let how = match one.unlocked_by.as_deref() {
                    Some(function) => format!("unlocks as its {} returns", without_path(function)),
                    None => "waits to write before it".to_owned(),
                };
                format!(
                    "goroutine {} waits {} for goroutine {}, which {how}",
                    one.goroutine_id,
                    in_place(one.doing.as_ref()),
                    next.goroutine_id
                )
            });
            each.collect()
        }
    };
    let cut = if circle.len() > MOST_TOLD { "; …" } else { "" };
    let alike = match alike {
        0 | 1 => String::new(),
        2 => "; 1 more deadlock like it".to_owned(),
        n => format!("; {} more deadlocks like it", count(n - 1)),
    };
    let behind = if stuck > circle.len() as u64 {
        format!(". {} stuck in deadlocks or behind them", who(stuck, total, ["is", "are"]))
    } else {
        String::new()
    };
    format!("Deadlock: {}{cut}{alike}{behind}.", told.join("; "))
}

/// `10 of 103 goroutines wait for a sync.Mutex, all in sync.Mutex.Lock at main.f at f.go:9; …`.
pub(super) fn want_lock(said: &GoroutinesSaid) -> String {
    let GoroutinesSaid::WantLock { count: n, total, lock, places, most, holder, elsewhere, other_locks } =
        said
    else {
        return String::new();
    };
    let at = match most {
        Some(Group { doing, .. }) if *places <= 1 => format!(" {}", in_place(Some(doing))),
        Some(Group { count: most, doing }) => {
            format!(" in {} places, {} of them {}", count(*places), count(*most), in_place(Some(doing)))
        }
        None => String::new(),
    };
    let held = match holder {
        Some(HeldBy { goroutine_id, doing: Some(what), unlocks_in }) => format!(
            "goroutine {goroutine_id}, which unlocks it as {} returns, is {}",
            without_path(unlocks_in),
            doing(what)
        ),
        Some(HeldBy { goroutine_id, unlocks_in, .. }) => {
            format!("goroutine {goroutine_id} unlocks it as {} returns", without_path(unlocks_in))
        }
        None => "who holds it is not visible".to_owned(),
    };
    let others = match (*elsewhere, *other_locks) {
        (0, _) => String::new(),
        (n, locks) => {
            let wait = if n == 1 { "waits" } else { "wait" };
            format!(". {} more {wait} for {}", count(n), counted(locks, "other lock"))
        }
    };
    let one = if *n == 1 { "a" } else { "one" };
    format!("{} for {one} {lock}{at}; {held}{others}.", who(*n, *total, ["waits", "wait"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::finding::Said as _;

    fn at(reason: &str, place: &str) -> Option<Doing> {
        Some(Doing {
            state: "waiting".to_owned(),
            wait_reason: Some(reason.to_owned()),
            woken_by: None,
            place: Some(place.to_owned()),
        })
    }

    fn waits(goroutine_id: u64, place: &str, unlocked_by: Option<&str>) -> Deadlocked {
        Deadlocked {
            goroutine_id,
            doing: at("sync.Mutex.Lock", place),
            unlocked_by: unlocked_by.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn deadlocks() {
        let own = [waits(7, "main.fill at m.go:9", Some("shop.net/cart.(*C).get"))];
        assert_eq!(
            deadlocked(&own, 1, 1, 9),
            "Deadlock: goroutine 7 waits in sync.Mutex.Lock at main.fill at m.go:9 for a lock that its own \
             cart.(*C).get unlocks as it returns."
        );
        let two = [waits(1, "main.f at m.go:1", Some("main.g")), waits(2, "main.g at m.go:2", None)];
        assert_eq!(
            deadlocked(&two, 3, 12, 20),
            "Deadlock: goroutine 1 waits in sync.Mutex.Lock at main.f at m.go:1 for goroutine 2, which unlocks as its \
             main.g returns; goroutine 2 waits in sync.Mutex.Lock at main.g at m.go:2 for goroutine 1, which waits to \
             write before it; 2 more deadlocks like it. 12 of 20 goroutines are stuck in deadlocks or behind them."
        );
    }

    #[test]
    fn locks() {
        let said = |n, places, holder, elsewhere| GoroutinesSaid::WantLock {
            count: n,
            total: 20,
            lock: "sync.Mutex".to_owned(),
            places,
            most: at("sync.Mutex.Lock", "main.f at m.go:1").map(|doing| Group { count: 2, doing }),
            holder,
            elsewhere,
            other_locks: elsewhere,
        };
        assert_eq!(
            said(1, 1, None, 0).text(),
            "1 of 20 goroutines waits for a sync.Mutex in sync.Mutex.Lock at main.f at m.go:1; who holds it is not \
             visible."
        );
        let holder = HeldBy {
            goroutine_id: 5,
            doing: at("chan send", "main.p at m.go:3"),
            unlocks_in: "main.p".to_owned(),
        };
        assert_eq!(
            said(4, 3, Some(holder), 1).text(),
            "4 of 20 goroutines wait for one sync.Mutex in 3 places, 2 of them in sync.Mutex.Lock at main.f at m.go:1; \
             goroutine 5, which unlocks it as main.p returns, is blocked in chan send at main.p at m.go:3. 1 more waits \
             for 1 other lock."
        );
    }
}
