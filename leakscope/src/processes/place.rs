//! Where a process belongs, by the path of its control group.

/// The lines of `/proc/PID/cgroup` (cgroups(7)) that are of interest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlGroups {
    /// Path in the unified hierarchy (v2).
    pub unified: Option<String>,
    /// Path in the hierarchy of the memory controller (v1).
    pub memory: Option<String>,
    /// Container ID, its first 12 digits.
    pub container: Option<String>,
    /// systemd unit, such as `redis.service` or `session-2.scope`.
    pub unit: Option<String>,
}

/// What systemd calls its units that hold processes.
const UNITS: [&str; 2] = [".service", ".scope"];
/// Digits of a container ID that are told.
const ID_SHOWN: usize = 12;

impl ControlGroups {
    /// Reads the text.
    pub fn parse(text: &str) -> Self {
        let mut place = Self::default();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(number), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if number == "0" && controllers.is_empty() {
                place.unified = Some(path.to_owned());
            }
            if controllers.split(',').any(|c| c == "memory") {
                place.memory = Some(path.to_owned());
            }
            place.container = container(path).or(place.container);
            // The named v1 hierarchy of systemd, or v2.
            if controllers.is_empty() || controllers == "name=systemd" {
                place.unit = unit(path).or(place.unit);
            }
        }
        place
    }

    /// The whole ID of the container that the lines name.
    pub fn whole_container(text: &str) -> Option<String> {
        text.lines().filter_map(|line| whole_id(line.splitn(3, ':').nth(2)?)).next_back()
    }

    /// What to call it: the container, else the unit, else the last part of the memory group's path.
    pub fn name(&self) -> Option<String> {
        let path = || self.memory.as_deref().or(self.unified.as_deref())?.rsplit('/').next();
        self.container
            .clone()
            .or_else(|| self.unit.clone())
            .or_else(|| path().filter(|name| !name.is_empty()).map(short))
    }
}

/// A name as it is, but for long numbers, whose first digits tell them apart.
fn short(name: &str) -> String {
    let number = name.len() >= 32 && name.bytes().all(|b| b.is_ascii_hexdigit());
    name[..if number { ID_SHOWN } else { name.len() }].to_owned()
}

/// The last 64-digit name in the path, as Docker, containerd, CRI-O and podman write it.
fn whole_id(path: &str) -> Option<String> {
    path.split(|c: char| !c.is_ascii_hexdigit()).rfind(|part| part.len() == 64).map(str::to_lowercase)
}

fn container(path: &str) -> Option<String> {
    whole_id(path).map(|id| id[..ID_SHOWN].to_owned())
}

/// The innermost unit.
fn unit(path: &str) -> Option<String> {
    path.rsplit('/').find(|part| UNITS.iter().any(|end| part.ends_with(end))).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<String> {
        ControlGroups::parse(text).name()
    }

    #[test]
    fn units_and_containers() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(name("0::/system.slice/redis-server.service\n").as_deref(), Some("redis-server.service"));
        assert_eq!(
            name("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope\n").as_deref(),
            Some("app-x.scope")
        );
        assert_eq!(
            name(&format!("0::/system.slice/docker-{id}.scope\n")).as_deref(),
            Some("0123456789ab"),
            "a container, not its scope"
        );
        assert_eq!(
            name(&format!(
                "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-{id}.scope/init.scope\n"
            ))
            .as_deref(),
            Some("0123456789ab")
        );
        assert_eq!(name("0::/\n"), None);
        assert_eq!(name(""), None);
        assert_eq!(name("nonsense\n1:x\n"), None);
    }

    #[test]
    fn version_one() {
        let text = "9:name=systemd:/system.slice/cron.service\n4:memory:/jobs/a\n3:cpu,cpuacct:/x\n0::/\n";
        let place = ControlGroups::parse(text);
        assert_eq!((place.memory.as_deref(), place.unified.as_deref()), (Some("/jobs/a"), Some("/")));
        assert_eq!(place.name().as_deref(), Some("cron.service"));
        assert_eq!(name("4:memory:/jobs/a\n0::/\n").as_deref(), Some("a"));
        assert_eq!(
            name("4:memory:/jobs/0123456789abcdef0123456789abcdef\n").as_deref(),
            Some("0123456789ab")
        );
    }
}
