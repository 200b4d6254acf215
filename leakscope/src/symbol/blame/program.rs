//! Which files are the program's own, and which are libraries of the system.

/// Where distributions put the libraries of all programs (hier(7); the Filesystem Hierarchy Standard 3.0).
const SYSTEM: &[&str] =
    &["/lib/", "/lib64/", "/lib32/", "/usr/lib/", "/usr/lib64/", "/usr/lib32/", "/usr/libexec/"];
/// Where Nix and Guix put everything, each package in a directory of its own.
const STORES: &[&str] = &["/nix/store/", "/gnu/store/"];

/// The files that a program is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Program {
    exe: String,
    /// Directories whose files are the program's, with the slash.
    own: Vec<String>,
}

impl Program {
    /// Of the executable at this path, as the target names it; an empty one is not known.
    pub(super) fn new(exe: &str) -> Self {
        let exe = exe.strip_suffix(" (deleted)").unwrap_or(exe);
        let name = exe.rsplit('/').next().unwrap_or_default();
        let mut own = Vec::new();
        if let Some(package) = package(exe) {
            own.push(package);
        }
        if !name.is_empty() {
            own.extend(SYSTEM.iter().map(|directory| format!("{directory}{name}/")));
            own.extend(SYSTEM.iter().map(|directory| format!("{directory}{MULTIARCH}{name}/")));
        }
        Self { exe: exe.to_owned(), own }
    }

    /// Whether a file is a library that the system has for all programs.
    pub(super) fn is_foreign(&self, module: &str) -> bool {
        let module = module.strip_suffix(" (deleted)").unwrap_or(module);
        !self.exe.is_empty()
            && SYSTEM.iter().chain(STORES).any(|directory| module.starts_with(directory))
            && module != self.exe
            && !self.own.iter().any(|directory| module.starts_with(directory.as_str()))
    }
}

/// Debian's directory of libraries, within `lib`.
const MULTIARCH: &str = "x86_64-linux-gnu/";

/// The directory that the program shares with nothing else, if it lies in one of the system's for libraries.
fn package(exe: &str) -> Option<String> {
    let (directory, rest) =
        SYSTEM.iter().chain(STORES).find_map(|directory| Some((directory, exe.strip_prefix(directory)?)))?;
    let multiarch = if rest.starts_with(MULTIARCH) { MULTIARCH } else { "" };
    let (package, _) = rest[multiarch.len()..].split_once('/')?;
    Some(format!("{directory}{multiarch}{package}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(exe: &str, own: &[&str], foreign: &[&str]) {
        let program = Program::new(exe);
        for module in own {
            assert!(!program.is_foreign(module), "{module} is {exe}'s");
        }
        for module in foreign {
            assert!(program.is_foreign(module), "{module} is not {exe}'s");
        }
    }

    #[test]
    fn files_of_programs() {
        let curl = "/usr/lib/x86_64-linux-gnu/libcurl.so.4.8.0";
        check(
            "/srv/app",
            &["/srv/app", "/srv/lib/libown.so", "/usr/local/lib/libown.so", "[vdso]", ""],
            &[curl],
        );
        check("/srv/app (deleted)", &["/srv/app (deleted)"], &[curl, "/lib64/libz.so.1 (deleted)"]);
        check("/usr/bin/git", &["/usr/bin/git"], &[curl]);
        check(
            "/usr/lib/firefox/firefox",
            &["/usr/lib/firefox/firefox", "/usr/lib/firefox/libxul.so"],
            &[curl, "/usr/lib/firefox-esr/libxul.so"],
        );
        check("/usr/lib/llvm-19/bin/clang", &["/usr/lib/llvm-19/lib/libclang-cpp.so.19.1"], &[curl]);
        check("/usr/sbin/nginx", &["/usr/lib/nginx/modules/ngx_stream_module.so"], &[curl]);
        check("/usr/bin/vlc", &["/usr/lib/x86_64-linux-gnu/vlc/libvlc_vdpau.so"], &[curl]);
        check(
            "/nix/store/abc-app-1/bin/app",
            &["/nix/store/abc-app-1/lib/libapp.so"],
            &["/nix/store/def-curl-8/lib/libcurl.so"],
        );
        check("/usr/lib/app", &["/usr/lib/app"], &[curl]);
        check("", &[curl], &[]);
        check("/", &[], &[curl]);
    }
}
