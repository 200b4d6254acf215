//! The section of a report on waits.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::blocked::hex;
use crate::fixture::Truth;
use crate::report::{Report, ends_at_root, names};

/// A site of the section on waits.
#[derive(Clone, Copy, Debug)]
pub struct WaitSite<'a>(&'a Value);

/// A thread of a deadlock, as reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlockThread {
    /// Its ID.
    pub tid: u32,
    /// The lock that it waits for.
    pub waits_for: u64,
    /// Who holds that.
    pub held_by: u32,
    /// The site where it waits.
    pub site_id: String,
}

impl Report {
    /// The sites of waits, as ranked.
    pub fn wait_sites(&self) -> impl Iterator<Item = WaitSite<'_>> {
        self.at("/waits/sites").as_array().into_iter().flatten().map(WaitSite)
    }

    /// The sites that have a frame of that name.
    pub fn waits_through<'a>(&'a self, name: &'a str) -> impl Iterator<Item = WaitSite<'a>> {
        self.wait_sites().filter(move |site| site.passes(name))
    }

    /// The site where a thread is blocked.
    pub fn wait_site_of(&self, tid: u32) -> Option<WaitSite<'_>> {
        self.wait_sites().find(|site| site.tids().contains(&tid))
    }

    /// The threads of every deadlock, each in its order.
    pub fn deadlocks(&self) -> Vec<Vec<DeadlockThread>> {
        let all = self.at("/waits/deadlocks").as_array().into_iter().flatten();
        let thread = |thread: &Value| DeadlockThread {
            tid: number(&thread["tid"]),
            waits_for: address(&thread["waits_for"]),
            held_by: number(&thread["held_by"]),
            site_id: thread["site_id"].as_str().unwrap_or_default().to_owned(),
        };
        all.map(|one| one["cycle"].as_array().into_iter().flatten().map(thread).collect()).collect()
    }

    /// The headline, without the commas within numbers.
    pub fn headline(&self) -> String {
        self.at("/summary/headline").as_str().unwrap_or_default().replace(',', "")
    }

    /// The code of what the headline says.
    pub fn answer(&self) -> &str {
        self.at("/summary/answer/code").as_str().unwrap_or_default()
    }

    /// The codes of the other findings.
    pub fn findings(&self) -> Vec<&str> {
        let all = self.at("/summary/details").as_array();
        all.into_iter().flatten().filter_map(|finding| finding["code"].as_str()).collect()
    }
}

impl<'a> WaitSite<'a> {
    /// A field.
    pub fn at(&self, field: &str) -> &'a Value {
        &self.0[field]
    }

    /// A field that is text; empty where it is null.
    pub fn text(&self, field: &str) -> &'a str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// A field that is a number.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap_or_else(|| panic!("the site has no number {field}: {}", self.0))
    }

    /// Whether this looks like waiting for work.
    pub fn is_idle(&self) -> bool {
        self.0["idle"] == true
    }

    /// The IDs of the threads that are blocked here.
    pub fn tids(&self) -> BTreeSet<u32> {
        self.threads().map(|thread| number(&thread["tid"])).collect()
    }

    /// The threads that are blocked here.
    pub fn threads(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.0["threads"].as_array().into_iter().flatten()
    }

    /// The locks that they wait for.
    pub fn locks(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.0["locks"].as_array().into_iter().flatten()
    }

    /// Its frames, innermost first.
    pub fn frames(&self) -> impl DoubleEndedIterator<Item = &'a Value> + use<'a> {
        self.0["frames"].as_array().map_or(&[][..], Vec::as_slice).iter()
    }

    /// The addresses of its frames without inlined ones.
    pub fn addresses(&self) -> Vec<u64> {
        self.frames()
            .filter(|frame| frame["inlined"] != true)
            .map(|frame| address(&frame["address"]))
            .collect()
    }

    /// The functions of its frames, innermost first; `?` for one without a name.
    pub fn functions(&self) -> impl DoubleEndedIterator<Item = &'a str> + use<'a> {
        self.frames().map(|frame| frame["function"].as_str().unwrap_or("?"))
    }

    /// Whether a frame has that name.
    pub fn passes(&self, name: &str) -> bool {
        self.functions().any(|function| names(function, name))
    }

    /// The frame that is blamed; null if there is none.
    pub fn blamed(&self) -> &'a Value {
        let index = self.0["blame"].as_u64().and_then(|index| usize::try_from(index).ok());
        index.map_or(&Value::Null, |index| &self.0["frames"][index])
    }

    /// Whether its stack is whole.
    pub fn is_rooted(&self) -> bool {
        self.text("stack_end") == "root" && self.functions().next_back().is_some_and(ends_at_root)
    }

    /// The stack in one line, with what is said about it.
    pub fn describe(&self) -> String {
        let functions = self.functions().collect::<Vec<_>>().join(" < ");
        format!(
            "{} in {} by {} (idle: {}): {functions} [{}]",
            self.text("kind"),
            self.text("operation"),
            self.text("primitive"),
            self.is_idle(),
            self.text("stack_end")
        )
    }
}

/// A number, or 0.
pub(crate) fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

/// An address, or 0.
pub(crate) fn address(value: &Value) -> u64 {
    value.as_str().and_then(|text| hex(text).ok()).unwrap_or_default()
}

/// Compares the waits of a function with what the program and the kernel counted: their number
/// exactly, `FUNCTION.wait_ns` within 2 %.
///
/// # Errors
/// All differences, a line each.
pub fn compare_live(report: &Report, truth: &Truth, function: &str, kind: &str) -> Result<(), String> {
    compare_among(1, report, truth, function, kind)
}

/// Like [`compare_live`], while so many watch: the work of each is in the program's own time, so that
/// each may add 2 %.
///
/// # Errors
/// All differences, a line each.
pub fn compare_among(
    watchers: u64,
    report: &Report,
    truth: &Truth,
    function: &str,
    kind: &str,
) -> Result<(), String> {
    let mut differences = Vec::new();
    let figure = |key: &str| -> u64 {
        let number = truth.numbers.get(&format!("{function}.{key}")).copied().unwrap_or_default();
        number.try_into().unwrap_or_default()
    };
    let sites: Vec<_> = report.waits_through(function).collect();
    let sum = |field: &str| -> u64 { sites.iter().filter_map(|site| site.at(field).as_u64()).sum() };
    // A wait that is over before the thread has gone to sleep is no switch; a switch for something else,
    // such as a page, is no wait of this function.
    let (waits, called, switches) = (sum("waits"), figure("waits"), figure("switches"));
    // What was lost must be counted. A page of a stack that the kernel just moves can't be read: such a
    // wait has a site of its own, which need not lead to the function.
    let loss = |name: &str| report.at(&format!("/losses/{name}")).as_u64().unwrap_or_default();
    let unread = loss("stacks.read_fault");
    let lost = loss("waits.ends_missed") + unread;
    if !(called.min(switches).saturating_sub(lost)..=called.max(switches)).contains(&waits) || switches == 0 {
        differences
            .push(format!("{waits} waits in {function}, {called} calls, the kernel counts {switches}"));
    }
    let (wait_ns, own_ns) = (sum("wait_ns"), figure("wait_ns"));
    // Waits that were lost are in the program's own time only.
    let longest: u64 =
        sites.iter().filter_map(|site| site.at("max_wait_ns").as_u64()).max().unwrap_or_default();
    if wait_ns.abs_diff(own_ns) * 100 > own_ns * 2 * watchers + lost * longest * 100 {
        differences.push(format!("{wait_ns} ns in {function}, {own_ns} by its own clock"));
    }
    for site in &sites {
        let pair =
            |pair: &Value| (pair[0].as_u64().unwrap_or_default(), pair[1].as_u64().unwrap_or_default());
        let histogram: Vec<_> = site.at("histogram").as_array().into_iter().flatten().map(pair).collect();
        let counted: u64 = histogram.iter().map(|(_, count)| count).sum();
        if site.at("waits") != counted || !histogram.is_sorted_by(|a, b| a.0 < b.0) {
            differences
                .push(format!("the histogram is not of its {} waits: {histogram:?}", site.at("waits")));
        }
        let longest = site.at("max_wait_ns").as_u64().unwrap_or_default();
        if histogram.last().is_some_and(|(upper, _)| longest > *upper) {
            differences.push(format!("the longest of {longest} ns is in no class: {histogram:?}"));
        }
        if site.text("kind") != kind {
            differences.push(format!("{kind} expected: {}", site.describe()));
        }
        let known_cut = site.text("stack_end") == "read_fault" && counted <= unread;
        if !site.is_rooted() && !known_cut {
            differences.push(format!("the stack is not whole: {}", site.describe()));
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
}
