//! `leakscope doctor [PID]`: what this machine and this target allow.

use std::io::{self, Write};

use super::Failure;
use super::args::DoctorArgs;
use super::output::{Destination, Output};
use crate::bpf::facts::Facts;
use crate::bpf::verdict::{Finding, Level, judge, refusal};
use crate::collect::heap::FileProbes;
use crate::human::sanitize;
use crate::probe::{self, CostClass, Exit};
use crate::process::{Host, Process, ProcessError};
use crate::runtime;
use crate::session::{self, Visible, rights};

/// Answers with the exit code that `attach` would have.
pub fn run(arguments: &DoctorArgs) -> Result<u8, Failure> {
    let facts = Facts::gather();
    if arguments.facts {
        let mut text = serde_json::to_vec_pretty(&facts).map_err(Failure::failed)?;
        text.push(b'\n');
        return match Output::open(&Destination::Stdout, "json", false)?.write(&text) {
            Err(failure) => failure.broken_pipe_is_success(),
            Ok(()) => Ok(0),
        };
    }
    let findings = judge(&facts);
    let mut text = Vec::new();
    let target = arguments.target.pid()?.map(|pid| look(pid, &facts, &mut text));
    let mut page = Vec::new();
    let written = machine(&findings, &mut page).and_then(|()| page.write_all(&text));
    written.map_err(|e| Failure::output("the report", e))?;
    match Output::open(&Destination::Stdout, "txt", false)?.write(&page) {
        Err(failure) if !failure.broken_pipe => return Err(failure),
        _ => {}
    }
    match (target, refusal(&findings, true)) {
        // Where rights are missing here, the target's refusal follows from that.
        (Some(Err(failure)), None) => Err(failure),
        (Some(Err(failure)), _) if failure.code != Failure::UNSUPPORTED => Err(failure),
        (_, Some(why)) => Err(Failure::unsupported(format!("cannot trace: {why}"))),
        (Some(Ok(())) | None, None) => Ok(0),
    }
}

fn machine(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "This machine")?;
    for finding in findings {
        let mark = match finding.level {
            Level::Fine => "ok",
            Level::NoProbes | Level::Fatal => "MISSING",
        };
        writeln!(out, "  {mark:<8}{:<9} {}", finding.what, sanitize(&finding.found))?;
        if !finding.advice.is_empty() {
            writeln!(out, "  {:<8}{:<9} → {}", "", "", finding.advice)?;
        }
    }
    Ok(())
}

/// Looks at the target; writes what it found to `out`.
fn look(pid: u32, facts: &Facts, out: &mut Vec<u8>) -> Result<(), Failure> {
    let process = match Process::inspect(pid) {
        Err(error @ ProcessError::Denied { .. }) => {
            rights(pid, facts, pid, out)?;
            return Err(error.into());
        }
        process => process?,
    };
    let failed = |e| Failure::output("the report", e);
    let exe = process.exe.as_ref().map(|p| format!(" {}", p.display())).unwrap_or_default();
    writeln!(out, "\nProcess {} ({}){}", process.pid, sanitize(&process.comm), sanitize(&exe))
        .map_err(failed)?;
    rights(pid, facts, process.through, out)?;
    let visible = session::look(&process)?;
    target(&process, &visible, out).map_err(failed)?;
    session::seccomp::check(&process)
}

/// What may be read of the target.
fn rights(pid: u32, facts: &Facts, through: u32, out: &mut Vec<u8>) -> Result<(), Failure> {
    let trials = rights::try_all(facts, through);
    let lines = trials.iter().map(|trial| match &trial.refused {
        None => format!("  {:<8}{} {}", "ok", trial.what, trial.purpose),
        Some(refused) => format!("  {:<8}{}", "MISSING", rights::sentence(trial, refused, facts)),
    });
    for line in lines {
        writeln!(out, "{}", sanitize(&line)).map_err(|e| Failure::output("the report", e))?;
    }
    match rights::refusal(facts, &trials, true) {
        Some(why) => Err(Failure::unsupported(format!("cannot trace process {pid}: {why}"))),
        None => Ok(()),
    }
}

fn target(process: &Process, visible: &Visible, out: &mut dyn Write) -> io::Result<()> {
    let seccomp = match process.seccomp {
        0 => "none",
        1 => "strict",
        _ => "filter",
    };
    writeln!(out, "  seccomp: {seccomp}")?;
    if let Some(container) = &process.container {
        writeln!(out, "  container: {container}")?;
    }
    writeln!(out, "  probes: {}", sanitize(&session::LinkChoice::of(process, &visible.space).to_string()))?;
    for line in runtime::describe(process, &visible.space) {
        writeln!(out, "  {}", sanitize(&line))?;
    }
    for warning in &visible.warnings {
        writeln!(out, "  warning: {}", sanitize(warning))?;
    }
    let host = Host::of(process, &visible.space);
    if let Some(host) = host {
        writeln!(out, "  warning: {}", host.sentence())?;
    }
    if host.is_some_and(|host| !host.probes) {
        return Ok(());
    }
    let searched = visible.space.modules().count();
    if visible.files.iter().all(|f| f.plan.probes.is_empty()) {
        let why = visible.why_none.map(|w| format!(" ({w})")).unwrap_or_default();
        return writeln!(out, "  no allocator function found in {searched} mapped files{why}");
    }
    for file in &visible.files {
        file_probes(file, visible, out)?;
    }
    Ok(())
}

fn file_probes(file: &FileProbes, visible: &Visible, out: &mut dyn Write) -> io::Result<()> {
    if file.plan.probes.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = probe::allocators(&file.plan.probes).iter().map(ToString::to_string).collect();
    let path = visible.space.module(file.module).path.display().to_string();
    writeln!(out, "\n  {} in {}", names.join(", "), sanitize(&path))?;
    writeln!(out, "    {:<28}{:<34}{:<24}return", "function", "probed instruction", "cost a hit")?;
    for probe in &file.plan.probes {
        let cost = match &probe.placement.cost {
            CostClass::Emulated => "emulated, about 1 us",
            CostClass::SingleStep(_) => "single-step, to 17 us",
        };
        let back = match &probe.placement.exit {
            Exit::None => "not needed".to_owned(),
            Exit::ReturnProbe => "return probe".to_owned(),
            Exit::Instructions { offsets, .. } => format!("{} ret instructions", offsets.len()),
        };
        let place = format!("+{:#x} {}", probe.placement.distance, probe.placement.instruction);
        writeln!(out, "    {:<28}{place:<34}{cost:<24}{back}", probe.name())?;
    }
    for skipped in file.plan.skipped.iter().filter(|s| s.reason.loses_events()) {
        writeln!(out, "    not traced: {}: {}", skipped.names.join(", "), skipped.reason)?;
    }
    let warnings = file.plan.probes.iter().flat_map(|p| &p.warnings);
    for warning in warnings {
        writeln!(out, "    warning: {warning}")?;
    }
    Ok(())
}
