//! Who is at the other end of what a thread waits for.

use std::fs::File;
use std::process::Stdio;

use leakscope_tests::lines::Lines;
use leakscope_tests::process::run_ok;
use leakscope_tests::programs::SHARED_MUTEX;
use serde_json::Value;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Waits until a process sleeps in a system call of that number.
fn await_call(pid: u32, number: &str) -> Result<()> {
    poll("it waits", MINUTE, || {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall"))?;
        Ok((call.split(' ').next() == Some(number)).then_some(()))
    })
}

/// What the only thread of a process waits for.
fn peer(pid: u32) -> Result<Value> {
    let report = Snapshot::of(pid)?.report;
    let site = report.wait_site_of(pid).context("its site")?;
    Ok(site.threads().next().context("a thread")?["peer"].clone())
}

fn pids(peer: &Value) -> Vec<u64> {
    peer["holders"].as_array().into_iter().flatten().filter_map(|holder| holder["pid"].as_u64()).collect()
}

/// What the table says of it.
fn table(pid: u32) -> Result<String> {
    let text = run_ok(Command::new(binary()).args(["dump", &pid.to_string()]), MINUTE)?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn file_lock() -> Result<()> {
    const FLOCK: &str = "73";
    let place = tempfile::tempdir()?;
    let path = place.path().join("lock");
    let file = File::create(&path)?;
    file.lock()?;
    let waiter = Guard::spawn(Command::new("flock").arg(&path).arg("true"))?;
    await_call(waiter.pid(), FLOCK)?;
    let found = peer(waiter.pid())?;
    assert_eq!((&found["what"], &found["path"]), (&"file lock".into(), &path.to_string_lossy().into()));
    assert!(pids(&found).contains(&std::process::id().into()), "{found}");
    let said = format!("waits for: a lock on {}, held by ", path.display());
    assert!(table(waiter.pid())?.contains(&said), "{said}");
    Ok(())
}

/// Who took a lock of flock(2) can end, while another one has inherited it.
#[test]
fn file_lock_that_was_inherited() -> Result<()> {
    const FLOCK: &str = "73";
    let place = tempfile::tempdir()?;
    let path = place.path().join("lock");
    let mut holder = Command::new("sh");
    holder.args(["-c", "exec 9>\"$0\"; flock 9; echo taken; read line"]).arg(&path);
    let mut holder = Guard::spawn(holder.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let mut said = Lines::drain(holder.child().stdout.take().context("stdout is piped")?);
    said.wait_for("the lock", MINUTE, |line| line == "taken")?;
    let waiter = Guard::spawn(Command::new("flock").arg(&path).arg("true"))?;
    await_call(waiter.pid(), FLOCK)?;
    let found = peer(waiter.pid())?;
    assert_eq!(pids(&found), [u64::from(holder.pid())], "{found}");
    Ok(())
}

#[test]
fn pipe() -> Result<()> {
    const READ: &str = "0";
    let mut reader = Guard::spawn(Command::new("cat").stdin(Stdio::piped()))?;
    let pid = reader.pid();
    await_call(pid, READ)?;
    let found = peer(pid)?;
    assert_eq!((&found["what"], &found["end"]), (&"pipe".into(), &"write".into()));
    assert!(pids(&found).contains(&std::process::id().into()), "{found}");
    assert!(
        found["holders"].as_array().into_iter().flatten().all(|holder| holder["itself"] == false),
        "{found}"
    );
    drop(reader.child().stdin.take());
    reader.wait(MINUTE)?;
    Ok(())
}

/// A FIFO, before another process has opened it and after.
#[test]
fn fifo() -> Result<()> {
    const READ: &str = "0";
    let place = tempfile::tempdir()?;
    let fifo = place.path().join("fifo");
    run_ok(Command::new("mkfifo").arg(&fifo), MINUTE)?;
    let opener = Guard::spawn(Command::new("cat").arg(&fifo))?;
    poll("it opens the FIFO", MINUTE, || {
        let place = fs::read_to_string(format!("/proc/{}/wchan", opener.pid()))?;
        Ok((place == "wait_for_partner").then_some(()))
    })?;
    let found = peer(opener.pid())?;
    assert_eq!((&found["what"], &found["state"]), (&"fifo".into(), &"opening".into()), "{found}");
    let said = format!("waits for: the FIFO {}, which no process has opened for writing", fifo.display());
    assert!(table(opener.pid())?.contains(&said), "{said}");

    let both = File::options().read(true).write(true).open(&fifo)?;
    await_call(opener.pid(), READ)?;
    let found = peer(opener.pid())?;
    assert_eq!((&found["what"], &found["path"]), (&"fifo".into(), &fifo.to_string_lossy().into()), "{found}");
    assert!(pids(&found).contains(&std::process::id().into()), "{found}");
    drop(both);
    Ok(())
}

#[test]
fn child() -> Result<()> {
    const WAIT4: &str = "61";
    let mut shell = Command::new("sh");
    let mut shell = Guard::spawn(shell.args(["-c", "cat; true"]).stdin(Stdio::piped()))?;
    let pid = shell.pid();
    await_call(pid, WAIT4)?;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let child: u64 = children.trim().parse()?;
    poll("the child runs its program", MINUTE, || {
        Ok((fs::read_to_string(format!("/proc/{child}/comm"))?.trim() == "cat").then_some(()))
    })?;
    let found = peer(pid)?;
    assert_eq!((&found["what"], pids(&found)), (&"child".into(), vec![child]));
    assert!(table(pid)?.contains(&format!("waits for: child {child} (cat)")));
    drop(shell.child().stdin.take());
    shell.wait(MINUTE)?;
    Ok(())
}

/// What the recording of an attach holds of the thread that a lock names.
fn named(waiter: u32, tid: u32, holder: u32) -> Result<Value> {
    let attach = Leakscope::attach_all(waiter).args(["--only", "waits", "--duration", "1"]);
    let recording = attach.file("recording");
    let _finished = attach.arg("--record").arg(&recording).run()?;
    let tape = run_ok(Command::new("zcat").arg(recording.join("tape.gz")), MINUTE)?;
    let begin = format!("{{\"ns_tid\":{tid},\"tid\":{tid},\"pid\":{holder},");
    let start = tape.rfind(&begin).context("the holder is looked up")?;
    let end = tape[start..].find('}').context("it ends")?;
    Ok(serde_json::from_str(&tape[start..=start + end])?)
}

/// A lock in shared memory names a thread of another process.
#[test]
fn shared_mutex() -> Result<()> {
    const FUTEX: &str = "202";
    let program = SHARED_MUTEX.build()?.path;
    let place = tempfile::tempdir()?;
    let memory = place.path().join("memory");
    let start = |role: &str| -> Result<Guard> {
        let mut command = Command::new(&program);
        let mut guard = Guard::spawn(command.arg(role).arg(&memory).stdout(Stdio::piped()))?;
        let mut said = Lines::drain(guard.child().stdout.take().context("stdout is piped")?);
        said.wait_for("the program", MINUTE, |line| line == role)?;
        Ok(guard)
    };
    let holder = start("hold")?;
    let waiter = start("wait")?;
    await_call(waiter.pid(), FUTEX)?;
    let found = named(waiter.pid(), holder.pid(), holder.pid())?;
    assert_eq!(found["related"], true, "{found}");
    Ok(())
}

/// A lock that fork has copied names a thread of the parent.
#[test]
fn mutex_that_fork_has_copied() -> Result<()> {
    const FUTEX: &str = "202";
    let mut command = Command::new(SHARED_MUTEX.build()?.path);
    let mut parent = Guard::spawn(command.arg("fork").stdout(Stdio::piped()))?;
    let mut said = Lines::drain(parent.child().stdout.take().context("stdout is piped")?);
    let line = said.wait_for("the program", MINUTE, |line| line.starts_with("fork "))?;
    let mut ids = line.split(' ').skip(1).map(str::parse);
    let child: u32 = ids.next().context("the child")??;
    let holder: u32 = ids.next().context("the holder")??;
    let _child = Ended(child);
    await_call(child, FUTEX)?;
    let found = named(child, holder, parent.pid())?;
    assert_eq!(found["related"], true, "{found}");
    Ok(())
}

/// A child's child, that is ended when dropped.
struct Ended(u32);

impl Drop for Ended {
    fn drop(&mut self) {
        // SAFETY: kill(2) touches no memory of ours; its parent lives and waits for it, so the PID is its own.
        unsafe { libc::kill(self.0.cast_signed(), libc::SIGKILL) };
    }
}
