//! Processes by what people call them: a name, a systemd unit, a container's ID.
//!
//! A name is that of the process, of its program's file, the first word of its command line, or the script that an
//! interpreter runs. Names are compared whole: nothing is guessed, and what is near is only listed.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::time::{ClockId, clock_gettime};

use super::place::ControlGroups;
use super::stat::Stat;
use crate::human::file_name;

/// Bytes of a command line that are looked at.
const CMDLINE: usize = 4096;
/// Digits that a container's ID begins with, at least.
const ID_DIGITS: usize = 6;
/// Programs whose first argument that is no option is the script that they run.
const INTERPRETERS: [&str; 11] =
    ["python", "pypy", "node", "nodejs", "ruby", "perl", "php", "bash", "dash", "sh", "java"];
/// Those of them whose options are letters that go together: `-ec`.
const SHELLS: [&str; 3] = ["bash", "dash", "sh"];
/// Their options that have a value of their own which is no script: `python -W ignore`, `java -cp lib.jar`.
const WITH_VALUE: [&str; 8] = ["-W", "-X", "-cp", "-classpath", "--class-path", "-r", "-o", "-O"];

/// A process that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub pid: u32,
    /// Since when it runs, in seconds; none where the clock does not tell.
    pub age_secs: Option<u64>,
    pub rss_bytes: u64,
    /// Command line, or the name in brackets where there is none.
    pub command: String,
    names: Vec<String>,
    place: ControlGroups,
    container: Option<String>,
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Those that are called so, those with most memory first.
    pub found: Vec<Found>,
    /// If there is none: those in whose command line, unit or container the text stands.
    pub near: Vec<Found>,
}

/// All processes but those of the kernel, ended ones and leakscope itself.
pub fn all() -> Vec<Found> {
    in_directory(Path::new("/proc"))
}

/// Those of these PIDs that are there.
pub fn with_pids(pids: &[u32]) -> Vec<Found> {
    pids.iter().filter_map(|pid| read(Path::new("/proc"), *pid)).collect()
}

fn in_directory(proc: &Path) -> Vec<Found> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id()).filter_map(|pid| read(proc, pid)).collect()
}

/// Looks for processes that are called `wanted`.
pub fn search(wanted: &str, all: Vec<Found>) -> Search {
    let (mut found, others): (Vec<Found>, Vec<Found>) =
        all.into_iter().partition(|one| one.is_called(wanted));
    found.sort_by_key(|one| (std::cmp::Reverse(one.rss_bytes), one.pid));
    let near = if found.is_empty() { others } else { Vec::new() };
    let mut near: Vec<Found> = near.into_iter().filter(|one| one.is_near(wanted)).collect();
    near.sort_by_key(|one| (std::cmp::Reverse(one.rss_bytes), one.pid));
    Search { found, near }
}

impl Found {
    fn is_called(&self, wanted: &str) -> bool {
        let unit = self.place.unit.as_deref();
        let is_unit = |unit: &str| {
            unit == wanted || unit.strip_suffix(".service").or(unit.strip_suffix(".scope")) == Some(wanted)
        };
        let is_id = wanted.len() >= ID_DIGITS && wanted.bytes().all(|digit| digit.is_ascii_hexdigit());
        self.names.iter().any(|name| name == wanted)
            || unit.is_some_and(is_unit)
            || is_id && self.container.as_deref().is_some_and(|id| id.starts_with(&wanted.to_lowercase()))
    }

    fn is_near(&self, wanted: &str) -> bool {
        let wanted = wanted.to_lowercase();
        let holds = |text: &str| text.to_lowercase().contains(&wanted);
        let own = self.command.contains("leakscope ");
        !own && (holds(&self.command) || self.names.iter().any(|name| holds(name)))
            || self.place.unit.as_deref().is_some_and(holds)
    }
}

fn read(proc: &Path, pid: u32) -> Option<Found> {
    let directory = proc.join(pid.to_string());
    let stat = Stat::parse(&fs::read(directory.join("stat")).ok()?)?;
    if stat.kernel || matches!(stat.state, b'Z' | b'X') {
        return None;
    }
    let mut cmdline = fs::read(directory.join("cmdline")).unwrap_or_default();
    cmdline.truncate(CMDLINE);
    let words: Vec<String> = cmdline
        .split(|&byte| byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let groups = fs::read_to_string(directory.join("cgroup")).unwrap_or_default();
    Some(Found {
        pid,
        age_secs: age_secs(&stat),
        rss_bytes: stat.rss_pages.saturating_mul(page_size() as u64),
        command: if words.is_empty() { format!("[{}]", stat.comm) } else { words.join(" ") },
        names: names(&stat.comm, fs::read_link(directory.join("exe")).ok(), &words),
        container: ControlGroups::whole_container(&groups),
        place: ControlGroups::parse(&groups),
    })
}

fn age_secs(stat: &Stat) -> Option<u64> {
    // Both count from the boot on (proc_pid_stat(5), field 22).
    let now = u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).ok()?;
    let started = stat.start_ticks.checked_div(clock_ticks_per_second())?;
    Some(now.saturating_sub(started))
}

/// What a process may be called.
fn names(comm: &str, exe: Option<PathBuf>, words: &[String]) -> Vec<String> {
    let mut names = vec![comm.to_owned()];
    let file = exe.as_deref().map(|exe| String::from_utf8_lossy(exe.as_os_str().as_bytes()).into_owned());
    let file = file.map(|file| file_name(file.strip_suffix(" (deleted)").unwrap_or(&file)).to_owned());
    let first = words.first().map(|word| {
        // Programs that write a title there: `nginx: master process`, `postgres: walwriter`; `-bash` of a login.
        let word = word.split([' ', ':']).next().unwrap_or(word);
        file_name(word.strip_prefix('-').unwrap_or(word)).to_owned()
    });
    names.extend(script(file.as_deref().or(first.as_deref()), words));
    names.extend(file);
    names.extend(first);
    names.retain(|name| !name.is_empty());
    names
}

/// The script that an interpreter runs, or the module: `python3 -m http.server`.
fn script(program: Option<&str>, words: &[String]) -> Option<String> {
    let program = program?.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if !INTERPRETERS.contains(&program) {
        return None;
    }
    let is_shell = SHELLS.contains(&program);
    let is_short = |word: &str| word.starts_with('-') && !word.starts_with("--");
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-m" | "-jar" => return rest.next().map(|module| file_name(module).to_owned()),
            "-c" | "-e" => return None,
            // A command in the place of a script.
            letters if is_shell && is_short(letters) && letters.contains('c') => return None,
            option if WITH_VALUE.contains(&option) => {
                rest.next();
            }
            option if option.starts_with('-') => {}
            script => return Some(file_name(script).to_owned()),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(ToOwned::to_owned).collect()
    }

    fn found(pid: u32, names: &[&str], groups: &str) -> Found {
        Found {
            pid,
            age_secs: Some(5),
            rss_bytes: u64::from(pid) << 20,
            command: format!("/usr/bin/{} --daemon", names[0]),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            container: ControlGroups::whole_container(groups),
            place: ControlGroups::parse(groups),
        }
    }

    #[test]
    fn what_a_process_is_called() {
        let of = |comm: &str, exe: &str, text: &str| names(comm, Some(exe.into()), &words(text));
        assert_eq!(
            of("redis-server", "/usr/bin/redis-check-rdb", "/usr/bin/redis-server 127.0.0.1:6379")[1],
            "redis-check-rdb"
        );
        assert!(
            of("a-very-long-nam", "/x (deleted)", "./a-very-long-name")
                .contains(&"a-very-long-name".to_owned())
        );
        assert!(of("a-very-long-nam", "/x (deleted)", "./a-very-long-name").contains(&"x".to_owned()));
        assert!(
            of("nginx", "/usr/sbin/nginx", "nginx: master process /usr/sbin/nginx")
                .contains(&"nginx".to_owned())
        );
        assert_eq!(
            of("python3", "/usr/bin/python3.11", "python3 -u -W ignore /srv/app.py 8000")[1],
            "app.py"
        );
        assert_eq!(of("python3", "/usr/bin/python3.11", "python3 -m http.server")[1], "http.server");
        assert_eq!(
            of("java", "/opt/jdk/bin/java", "java -Xmx1g -cp a.jar -jar /opt/kafka.jar")[1],
            "kafka.jar"
        );
        for command in ["sh -c sleep", "sh -ec /opt/sleep", "sh -lc /opt/sleep x"] {
            assert_eq!(of("sh", "/bin/dash", command)[1], "dash", "{command}");
        }
        assert_eq!(of("bash", "/bin/bash", "bash -o pipefail /srv/run.sh")[1], "run.sh");
    }

    #[test]
    fn names_units_and_containers() {
        let id = "0123456789abcdef".repeat(4);
        let all = || {
            vec![
                found(3, &["nginx"], "0::/system.slice/nginx.service\n"),
                found(4, &["nginx", "worker"], "0::/system.slice/nginx.service\n"),
                found(5, &["redis-server"], &format!("0::/system.slice/docker-{id}.scope\n")),
            ]
        };
        let pids = |wanted: &str| search(wanted, all()).found.iter().map(|one| one.pid).collect::<Vec<_>>();
        assert_eq!(pids("nginx"), [4, 3]);
        assert_eq!(pids("nginx.service"), [4, 3]);
        assert_eq!(pids("worker"), [4]);
        assert_eq!((pids("012345"), pids(&id), pids("01234")), (vec![5], vec![5], vec![]));
        assert_eq!(pids("redis"), [0; 0], "a part is not guessed");
        let near = search("redis", all()).near;
        assert_eq!(near.iter().map(|one| one.pid).collect::<Vec<_>>(), [5]);
        assert_eq!(search("mysqld", all()), Search { found: vec![], near: vec![] });
    }

    #[test]
    fn the_machine() {
        let mut cat = Command::new("cat");
        let mut child = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cat");
        // It runs once it answers.
        child.stdin.as_mut().expect("a pipe").write_all(b"?").expect("it reads");
        child.stdout.as_mut().expect("a pipe").read_exact(&mut [0]).expect("it writes");
        let found = search("cat", all()).found;
        let one = found.iter().find(|one| one.pid == child.id()).cloned();
        child.kill().and_then(|()| child.wait()).expect("its end");
        let one = one.expect("it is among them");
        assert!(one.age_secs.is_some_and(|age| age < 60) && one.command == "cat", "{one:?}");
        assert!(
            with_pids(&[child.id()]).is_empty() && !all().iter().any(|one| one.pid == std::process::id())
        );
    }
}
