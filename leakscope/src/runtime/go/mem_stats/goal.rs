//! At which size the heap is collected next: what `gcControllerState.heapGoalInternal` computes
//! (`runtime/mgcpacer.go`).

use super::reading::Controller;

/// `minRunway`: room beyond the size at which the collection that goes on began.
const RUNWAY: u64 = 64 << 10;
/// `memoryLimitMinHeapGoalHeadroom`; up to Go 1.20 the whole of it.
const HEADROOM: u64 = 1 << 20;
/// `memoryLimitHeapGoalHeadroomPercent`, since Go 1.21.
const HEADROOM_PERCENT: u64 = 3;
/// The N of the first Go 1.N that has it.
const FIRST_PERCENT: u32 = 21;
/// No goal is as far away: the collector is off.
const FARTHEST: u64 = 1 << 60;

/// When the heap is collected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    /// Bytes of objects; `None`: never.
    pub bytes: Option<u64>,
    /// Whether GOMEMLIMIT says so, not GOGC.
    pub by_limit: bool,
}

pub(super) fn goal(controller: &Controller, minor: u32) -> Goal {
    let by_limit = limit_goal(controller, minor);
    if by_limit < controller.goal {
        return Goal { bytes: (by_limit < FARTHEST).then_some(by_limit), by_limit: true };
    }
    let mut goal = controller.goal.max(controller.least_goal);
    if controller.triggered != u64::MAX {
        goal = goal.max(controller.triggered.saturating_add(RUNWAY));
    }
    Goal { bytes: (goal < FARTHEST).then_some(goal), by_limit: false }
}

/// `memoryLimitHeapGoal`
fn limit_goal(controller: &Controller, minor: u32) -> u64 {
    let Controller { limit, ready, free, marked, .. } = *controller;
    if limit >= i64::MAX.cast_unsigned() {
        return u64::MAX;
    }
    let beside = ready.saturating_sub(free.saturating_add(controller.objects()));
    let taken = beside.saturating_add(ready.saturating_sub(limit));
    if taken >= limit {
        return marked;
    }
    let goal = limit - taken;
    let share = if minor < FIRST_PERCENT { 0 } else { goal / 100 * HEADROOM_PERCENT };
    let headroom = share.max(HEADROOM);
    let goal = if goal < headroom.saturating_mul(2) { headroom } else { goal - headroom };
    goal.max(marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn controller() -> Controller {
        Controller {
            percent: 100,
            limit: i64::MAX.cast_unsigned(),
            goal: 8 * MIB,
            least_goal: 4 * MIB,
            triggered: u64::MAX,
            marked: 4 * MIB,
            in_use: 6 * MIB,
            released: 0,
            free: MIB,
            allocated: 9 * MIB,
            freed: 4 * MIB,
            ready: 10 * MIB,
        }
    }

    #[test]
    fn by_percent_and_by_limit() {
        let told = |controller: Controller| (goal(&controller, 27).bytes, goal(&controller, 27).by_limit);
        assert_eq!(told(controller()), (Some(8 * MIB), false));
        assert_eq!(told(Controller { least_goal: 9 * MIB, ..controller() }), (Some(9 * MIB), false));
        let begun = Controller { triggered: 8 * MIB, ..controller() };
        assert_eq!(told(begun), (Some(8 * MIB + RUNWAY), false));
        assert_eq!(told(Controller { goal: u64::MAX, ..controller() }), (None, false), "GOGC=off");
        // 4 MiB are no heap: 12 remain of the limit, less the headroom.
        let limited = Controller { goal: u64::MAX, limit: 16 * MIB, ..controller() };
        assert_eq!(told(limited), (Some(11 * MIB), true));
        let beyond = Controller { ready: 90 * MIB, ..limited };
        assert_eq!(told(beyond), (Some(4 * MIB), true), "what is live is the least");
        let large = Controller { limit: 1004 * MIB, ..limited };
        assert_eq!(goal(&large, 19).bytes, Some(999 * MIB));
        assert_eq!(goal(&large, 21).bytes, Some(1000 * MIB - 1000 * MIB / 100 * 3));
    }

    #[test]
    fn hostile_numbers_do_not_overflow() {
        let all = |word: u64| Controller {
            percent: -1,
            limit: word,
            goal: word,
            least_goal: word,
            triggered: word.wrapping_sub(1),
            marked: word,
            in_use: word,
            released: word,
            free: word,
            allocated: word,
            freed: 0,
            ready: word,
        };
        for word in [0, 1, MIB, i64::MAX.cast_unsigned(), u64::MAX - 1, u64::MAX] {
            let _ = goal(&all(word), 27);
            let _ = goal(&Controller { limit: word, ..all(u64::MAX) }, 19);
        }
    }
}
