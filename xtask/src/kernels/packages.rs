//! Debian's kernels: found and fetched by apt with sources and lists of its own, unpacked, not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{run, workspace::find_in_path};

/// Where kernels come from, one to a line.
const SOURCES: &[&str] = &[
    "http://deb.debian.org/debian bookworm main",
    "http://deb.debian.org/debian-security bookworm-security main",
    "http://deb.debian.org/debian bookworm-backports main",
    "http://deb.debian.org/debian trixie-backports main",
];
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// What of a package is unpacked.
const PARTS: [&str; 4] =
    ["./boot/vmlinuz-*", "*/kernel/fs/*", "*/kernel/net/9p/*", "*/kernel/drivers/virtio/*"];

/// A kernel that was unpacked.
pub(super) struct Kernel {
    /// The package's name.
    pub(super) package: String,
    /// The kernel itself.
    pub(super) image: PathBuf,
    /// Some of its modules.
    pub(super) modules: Vec<PathBuf>,
}

/// Fetches and unpacks what is not there yet.
pub(super) fn provide(place: &Path, wanted: &[&str]) -> Result<Vec<Kernel>> {
    if find_in_path("apt-get").is_none() || find_in_path("dpkg-deb").is_none() {
        bail!("kernels are fetched from Debian, and there is no apt-get and dpkg-deb here");
    }
    let apt = Apt::new(&place.join("apt"))?;
    let names = apt.names()?;
    let mut kernels = Vec::new();
    for wanted in wanted {
        let package = newest(&names, wanted).with_context(|| format!("Debian has no kernel {wanted} now"))?;
        let unpacked = place.join(package);
        if image(&unpacked).is_none() {
            apt.unpack(package, place)?;
        }
        let image = image(&unpacked).with_context(|| format!("there is no kernel in {package}"))?;
        let mut modules = Vec::new();
        collect(&unpacked, &mut modules)?;
        kernels.push(Kernel { package: package.to_owned(), image, modules });
    }
    Ok(kernels)
}

/// The newest of that name, or the newest whose version begins so.
fn newest<'a>(names: &'a [String], wanted: &str) -> Option<&'a str> {
    let fits = |name: &&str| {
        let version = name.strip_prefix("linux-image-").and_then(|rest| rest.strip_suffix("-amd64"));
        let rest = version.and_then(|version| version.strip_prefix(wanted));
        // `6.1` is no beginning of `6.12`.
        *name == wanted
            || rest.is_some_and(|rest| {
                let flavoured = ["rt", "cloud"].iter().any(|flavour| rest.contains(flavour));
                !rest.starts_with(|c: char| c.is_ascii_digit()) && !flavoured
            })
    };
    names.iter().map(String::as_str).filter(fits).max_by_key(|name| numbers(name))
}

/// The numbers in a name, to be compared one after the other.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// apt with a state of its own.
struct Apt {
    options: Vec<String>,
    logs: PathBuf,
}

impl Apt {
    /// Reads the lists anew.
    fn new(place: &Path) -> Result<Self> {
        for directory in ["lists/partial", "archives/partial"] {
            let directory = place.join(directory);
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let sources: String =
            SOURCES.iter().map(|source| format!("deb [arch=amd64 signed-by={KEYS}] {source}\n")).collect();
        fs::write(place.join("sources.list"), sources).context("cannot write apt's sources")?;
        let at = place.display();
        let options = [
            format!("Dir::Etc::sourcelist={at}/sources.list"),
            "Dir::Etc::sourceparts=-".into(),
            format!("Dir::State={at}"),
            format!("Dir::State::lists={at}/lists"),
            format!("Dir::Cache={at}"),
            "Acquire::Languages=none".into(),
        ];
        let apt = Self { options: options.into(), logs: place.to_owned() };
        let log = apt.logs.join("update.log");
        run::logged("reading Debian's lists", apt.command("apt-get").arg("update"), &log, LIMIT)?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C");
        for option in &self.options {
            command.arg("-o").arg(option);
        }
        command
    }

    /// All kernels.
    fn names(&self) -> Result<Vec<String>> {
        let text = run::quietly(self.command("apt-cache").args(["pkgnames", "linux-image-"]));
        let names = text.context("apt-cache does not tell packages' names")?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Fetches a package and unpacks what is needed of it.
    fn unpack(&self, package: &str, place: &Path) -> Result<()> {
        let unpacked = place.join(package);
        let fetched = place.join("fetched");
        // What is left of one that was broken off.
        let _ = fs::remove_dir_all(&fetched);
        for directory in [&unpacked, &fetched] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let mut fetch = self.command("apt-get");
        fetch.args(["download", package]).current_dir(&fetched);
        run::logged(&format!("fetching {package}"), &mut fetch, &self.logs.join("fetch.log"), LIMIT)?;
        let archive = fs::read_dir(&fetched)?.next().context("nothing was fetched")??.path();
        let mut stream = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(archive)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run dpkg-deb")?;
        let mut tar = Command::new("tar");
        tar.args(["-x", "--wildcards"]).args(PARTS).current_dir(&unpacked);
        tar.stdin(stream.stdout.take().context("stdout is piped")?);
        let outcome = run::visibly("unpacking the kernel", &mut tar);
        stream.wait().context("cannot wait for dpkg-deb")?;
        fs::remove_dir_all(&fetched).context("cannot remove the package")?;
        outcome
    }
}

/// The kernel in an unpacked package.
fn image(unpacked: &Path) -> Option<PathBuf> {
    fs::read_dir(unpacked.join("boot")).ok()?.find_map(|entry| {
        let path = entry.ok()?.path();
        path.file_name()?.to_str()?.starts_with("vmlinuz-").then_some(path)
    })
}

/// All modules below a directory.
fn collect(directory: &Path, modules: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), modules)?;
        } else if entry.file_name().to_string_lossy().contains(".ko") {
            modules.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_begins_so() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-57-rt-amd64",
            "linux-image-6.1.0-58-amd64-dbg",
            "linux-image-6.12.9+deb12-amd64",
            "linux-image-6.12.95+deb12-amd64",
            "linux-image-6.12.96+deb12-cloud-amd64",
            "linux-image-6.12.96+deb12-rt-amd64",
        ]
        .map(String::from);
        assert_eq!(newest(&names, "6.1"), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(newest(&names, "6.12"), Some("linux-image-6.12.95+deb12-amd64"));
        assert_eq!(newest(&names, "linux-image-6.1.0-9-amd64"), Some("linux-image-6.1.0-9-amd64"));
        assert_eq!(newest(&names, "6.2"), None);
    }
}
