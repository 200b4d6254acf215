//! What holds for all runs of a user: the configuration file, and what the command line adds to it.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use regex::{Regex, RegexSet};
use serde::Deserialize;
use toml::Spanned;

use super::Failure;
use crate::files;
use crate::symbol::Charging;

/// Largest configuration file.
const MAX_BYTES: u64 = 64 << 10;
/// Names the configuration file; an empty one: there is none.
const VARIABLE: &str = "LEAKSCOPE_CONFIG";

/// Functions to charge to their callers.
#[derive(Debug, Args)]
pub struct WrapperArgs {
    /// Charge what functions with a matching name allocate to their callers, as what malloc allocates; may be given
    /// several times, and stand in the configuration file as `wrappers = ["REGEX", …]`
    #[arg(long, value_name = "REGEX")]
    wrapper: Vec<String>,
}

/// The same, where wrappers are looked for.
#[derive(Debug, Args)]
pub struct FoundWrapperArgs {
    #[command(flatten)]
    named: WrapperArgs,
    /// Do not look for functions that allocate on their callers' behalf: those that leakscope knows and --wrapper
    /// names are all
    #[arg(long)]
    no_wrappers: bool,
}

impl WrapperArgs {
    /// Whom stacks are charged to.
    pub(super) fn charging(self) -> Result<Charging, Failure> {
        let mut all = configured()?;
        for expression in self.wrapper {
            checked(&expression).map_err(|why| Failure::usage(format!("--wrapper: {why}")))?;
            all.push(expression);
        }
        let together = RegexSet::new(all);
        together.map(Charging::new).map_err(|error| Failure::usage(format!("all wrappers together: {error}")))
    }
}

impl FoundWrapperArgs {
    /// Whom stacks are charged to.
    pub(super) fn charging(self) -> Result<Charging, Failure> {
        let charging = self.named.charging()?;
        Ok(if self.no_wrappers { charging.never_finding() } else { charging })
    }
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    wrappers: Vec<Spanned<String>>,
}

/// The wrappers of the configuration file; none if there is no file.
fn configured() -> Result<Vec<String>, Failure> {
    let Some(path) = path(|name| std::env::var_os(name), home_of) else { return Ok(Vec::new()) };
    let bad = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let file = match files::trusted(&path) {
        Ok(file) => file,
        // In somebody else's home there is none of ours.
        Err(error) if is_denied(&error) && std::env::var_os(VARIABLE).is_none() => None,
        Err(error) => return Err(bad(error.to_string())),
    };
    let Some(file) = file else { return Ok(Vec::new()) };
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| bad(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(bad(format!(
            "larger than {} KiB; is it the right file? {VARIABLE} names another",
            MAX_BYTES >> 10
        )));
    }
    wrappers(&text).map_err(bad)
}

/// Whether the kernel refused to look: then it is no refusal of ours, which says that a file is not to be followed.
fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_some()
}

/// The wrappers in the text of a configuration file, or what is wrong with it.
fn wrappers(text: &str) -> Result<Vec<String>, String> {
    let line = |at: usize| text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1;
    let settings: Settings = toml::from_str(text).map_err(|error| {
        let at = error.span().map(|span| format!("line {}: ", line(span.start))).unwrap_or_default();
        format!("{at}{}; it holds lines such as: wrappers = [\"^my_malloc$\"]", error.message())
    })?;
    let each = settings.wrappers.into_iter().map(|expression| {
        let at = line(expression.span().start);
        checked(expression.as_ref()).map_err(|why| format!("line {at}: {why}"))?;
        Ok(expression.into_inner())
    });
    each.collect()
}

/// What is wrong with a regular expression, in one line.
fn checked(expression: &str) -> Result<(), String> {
    Regex::new(expression).map(drop).map_err(|error| {
        let all = error.to_string();
        let last = all.lines().last().unwrap_or_default();
        format!("`{expression}` is no regular expression: {}", last.trim_start_matches("error: "))
    })
}

/// Where the configuration file is. Under sudo it is that of the user who called it: its home is told by `home_of`
/// a user.
fn path(
    variable: impl Fn(&str) -> Option<OsString>,
    home_of: impl Fn(u32) -> Option<PathBuf>,
) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(named) = variable(VARIABLE) {
        return (!named.is_empty()).then(|| named.into());
    }
    let invoker = set("SUDO_UID").and_then(|user| user.to_str()?.parse().ok());
    let invoker = invoker.filter(|_| rustix::process::geteuid().is_root()).and_then(home_of);
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let directory = set("XDG_CONFIG_HOME").and_then(absolute).or_else(|| {
        let home = invoker.or_else(|| set("HOME").and_then(absolute))?;
        Some(home.join(".config"))
    })?;
    Some(directory.join("leakscope/config.toml"))
}

/// The home directory of a user, by passwd(5).
fn home_of(user: u32) -> Option<PathBuf> {
    let mut text = String::new();
    let file = files::trusted(Path::new("/etc/passwd")).ok()??;
    file.take(1 << 20).read_to_string(&mut text).ok()?;
    home_in(&text, user)
}

fn home_in(passwd: &str, user: u32) -> Option<PathBuf> {
    let home = passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let found = fields.next()?.parse() == Ok(user);
        fields.nth(2).filter(|_| found)
    })?;
    Some(PathBuf::from(home)).filter(|home| home.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_of_a_file() {
        assert_eq!(wrappers("").expect("nothing"), Vec::<String>::new());
        let two = "# mine\nwrappers = [\n  \"^xmalloc$\",\n  'Pool<.*>::get',\n]\n";
        assert_eq!(wrappers(two).expect("two"), ["^xmalloc$", "Pool<.*>::get"]);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line() {
        for (text, line) in [
            ("wrapper = [\"a\"]\n", "line 1: unknown field `wrapper`"),
            ("\nwrappers = \"a\"\n", "line 2: "),
            ("\n\nwrappers = [\n", "line 3: "),
            ("wrappers = [\n\"a\",\n\"(\"]\n", "line 3: `(` is no regular expression: unclosed group"),
        ] {
            let told = wrappers(text).expect_err(text);
            assert!(told.starts_with(line), "{text}: {told}");
        }
    }

    #[test]
    fn places() {
        let at = |set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
            path(value, |_| None).map(|path| path.display().to_string())
        };
        let told = |path: &str| Some(path.to_owned());
        assert_eq!(at(&[("HOME", "/home/a")]), told("/home/a/.config/leakscope/config.toml"));
        assert_eq!(at(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), told("/x/leakscope/config.toml"));
        assert_eq!(at(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")]), told("/h/.config/leakscope/config.toml"));
        assert_eq!(at(&[("HOME", "/h"), (VARIABLE, "c.toml")]), told("c.toml"));
        assert_eq!(at(&[("HOME", "/h"), (VARIABLE, "")]), None);
        assert_eq!(at(&[]), None);
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad\na:x:1000:1000::/home/a:/bin/sh\nb:x:7:7::rel:/b\n";
        assert_eq!(home_in(passwd, 1000), Some("/home/a".into()));
        assert_eq!((home_in(passwd, 7), home_in(passwd, 8)), (None, None));
    }
}
