//! What a machine is: read on the machine itself, and the same for as long as nobody rebuilds it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gabion_engine::value::{Attributes, Value};
use gabion_host::container::Daemon;
use gabion_host::transport::{Command, LocalTransport, Transport};
use serde::{Deserialize, Serialize};

/// How long a question to a tool of the machine may take.
const TOOL: Duration = Duration::from_secs(20);

/// What a machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// What tells it from every other: `/etc/machine-id`, and its name, since images are copied.
    pub machine_id: String,
    /// The operating system's own name.
    pub os: String,
    /// `x86_64` and the like.
    pub arch: String,
    /// Processors that programs may use.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The size of the disk that holds gabion's units, in GiB.
    pub disk_gib: u64,
    /// Accelerators.
    pub gpus: Vec<Gpu>,
    /// What can run programs besides plain processes: `docker` with its version, if its daemon answers, `podman`,
    /// `systemd`; and `python3`.
    pub runtimes: Vec<String>,
    /// Its addresses, loopback and those of containers left out.
    pub addresses: Vec<String>,
    /// Its own time when it answered, in milliseconds since 1970.
    pub now_milliseconds: Option<i64>,
    /// How far its clock is from that of whoever asked, in words; `None` when that is less than a minute.
    #[serde(skip)]
    pub clock: Option<String>,
}

/// An accelerator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// `nvidia` or `amd`.
    pub vendor: String,
    /// Its model as the vendor's tool has it.
    pub name: String,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Facts {
    /// Returns the facts as attributes.
    #[must_use]
    pub fn to_attributes(&self) -> Attributes {
        let whole = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let texts = |texts: &[String]| Value::List(texts.iter().map(Value::string).collect());
        let gpus = self.gpus.iter().map(|gpu| {
            Value::map([
                ("vendor", Value::string(&gpu.vendor)),
                ("name", Value::string(&gpu.name)),
                ("memory_mib", whole(gpu.memory_mib)),
            ])
        });
        let clock = self
            .clock
            .as_ref()
            .map(|clock| ("clock".into(), Value::string(clock)));
        let attributes = Attributes::from([
            ("machine_id".into(), Value::string(&self.machine_id)),
            ("os".into(), Value::string(&self.os)),
            ("arch".into(), Value::string(&self.arch)),
            ("cpus".into(), Value::Int(i64::from(self.cpus))),
            ("memory_mib".into(), whole(self.memory_mib)),
            ("disk_gib".into(), whole(self.disk_gib)),
            ("gpus".into(), Value::List(gpus.collect())),
            ("runtimes".into(), texts(&self.runtimes)),
            ("addresses".into(), texts(&self.addresses)),
        ]);
        attributes.into_iter().chain(clock).collect()
    }

    /// Reads the facts of this machine; what cannot be read is empty.
    pub async fn read(data: &Path, search_path: &str, docker: &[PathBuf]) -> Self {
        Self {
            gpus: Self::accelerators(search_path).await,
            runtimes: runtimes(search_path, docker).await,
            addresses: addresses(),
            ..Self::size(data)
        }
    }

    /// Reads what this machine is called and how large it is: no tool is asked.
    #[must_use]
    pub fn size(data: &Path) -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let uname = nix::sys::utsname::uname().ok();
        let of_uname = |field: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
            uname
                .as_ref()
                .map(|uname| field(uname).to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let id = text("/etc/machine-id");
        Self {
            machine_id: [id.trim(), &of_uname(nix::sys::utsname::UtsName::nodename)]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("/"),
            os: os_name(&text("/etc/os-release")),
            arch: of_uname(nix::sys::utsname::UtsName::machine),
            cpus: std::thread::available_parallelism()
                .ok()
                .and_then(|count| u32::try_from(count.get()).ok())
                .unwrap_or(1),
            memory_mib: memory_mib(&text("/proc/meminfo")),
            disk_gib: disk_gib(data),
            now_milliseconds: Some(now_milliseconds()),
            ..Self::default()
        }
    }

    /// Returns the accelerators of this machine, as the vendors' own tools have them.
    pub async fn accelerators(search_path: &str) -> Vec<Gpu> {
        gpus(search_path).await
    }

    /// Compares its clock with that of whoever asked `asked` and was answered now, by times of its own.
    pub(crate) fn compare_clocks(&mut self, asked: i64) {
        let answered = now_milliseconds();
        self.clock = self
            .now_milliseconds
            .and_then(|theirs| clock(theirs, asked, answered));
    }
}

/// Returns this machine's time in milliseconds since 1970.
pub(crate) fn now_milliseconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

/// Says how far a clock is off that showed `theirs` at some time between two times.
fn clock(theirs: i64, asked: i64, answered: i64) -> Option<String> {
    let off = match theirs {
        theirs if theirs < asked => theirs - asked,
        theirs if theirs > answered => theirs - answered,
        _ => 0,
    };
    // To the minute: it is not drift when a clock that is off runs a little faster.
    let minutes = (off.abs() + 30_000) / 60_000;
    let direction = if off < 0 { "behind" } else { "ahead of" };
    (off.abs() >= 60_000).then(|| format!("{minutes} min {direction} gabion's own"))
}

fn os_name(release: &str) -> String {
    release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("Linux")
        .trim_matches('"')
        .to_owned()
}

fn memory_mib(meminfo: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}

fn disk_gib(data: &Path) -> u64 {
    let there = data.ancestors().find(|path| path.exists());
    there
        .and_then(|path| nix::sys::statvfs::statvfs(path).ok())
        .map_or(0, |disk| (disk.blocks() * disk.fragment_size()) >> 30)
}

fn in_path(search_path: &str, name: &str) -> Option<PathBuf> {
    search_path
        .split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
}

async fn runtimes(search_path: &str, docker: &[PathBuf]) -> Vec<String> {
    let mut found: Vec<String> = ["podman", "python3"]
        .into_iter()
        .filter(|name| in_path(search_path, name).is_some())
        .map(str::to_owned)
        .collect();
    if let Ok(daemon) = Daemon::first(docker).await
        && let Ok(version) = daemon.version().await
    {
        found.push(format!("docker {version}"));
    }
    if Path::new("/run/systemd/system").is_dir() {
        found.push("systemd".to_owned());
    }
    found.sort();
    found
}

fn addresses() -> Vec<String> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let containers = ["docker", "veth", "br-", "cni", "virbr", "flannel"];
    let found: BTreeSet<String> = interfaces
        .filter(|interface| {
            !containers
                .iter()
                .any(|prefix| interface.interface_name.starts_with(prefix))
        })
        .filter_map(|interface| {
            let address = interface.address?;
            let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (None, Some(v6)) => IpAddr::V6(v6.ip()),
                _ => return None,
            };
            let local = match ip {
                IpAddr::V4(_) => false,
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
            };
            (!ip.is_loopback() && !local).then(|| ip.to_string())
        })
        .collect();
    found.into_iter().collect()
}

/// Asks the vendors' own tools.
async fn gpus(search_path: &str) -> Vec<Gpu> {
    let ask = async |tool: &str, arguments: &[&str]| -> Option<String> {
        let program = in_path(search_path, tool)?;
        let mut argv = vec![program.to_string_lossy().into_owned()];
        argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let command = Command {
            argv,
            timeout: Some(TOOL),
            ..Command::default()
        };
        let output = LocalTransport.run(&command).await.ok()?;
        (output.code == Some(0)).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let nvidia = ask(
        "nvidia-smi",
        &["--query-gpu=name,memory.total", "--format=csv,noheader,nounits"],
    )
    .await;
    let amd = ask(
        "rocm-smi",
        &["--showproductname", "--showmeminfo", "vram", "--json"],
    )
    .await;
    let mut found = nvidia.as_deref().map(nvidia_gpus).unwrap_or_default();
    found.extend(amd.as_deref().map(amd_gpus).unwrap_or_default());
    found
}

fn nvidia_gpus(listing: &str) -> Vec<Gpu> {
    listing
        .lines()
        .filter_map(|line| {
            let (name, memory) = line.rsplit_once(',')?;
            Some(Gpu {
                vendor: "nvidia".to_owned(),
                name: name.trim().to_owned(),
                memory_mib: memory.trim().parse().unwrap_or(0),
            })
        })
        .collect()
}

fn amd_gpus(listing: &str) -> Vec<Gpu> {
    let Ok(serde_json::Value::Object(cards)) = serde_json::from_str(listing) else {
        return Vec::new();
    };
    cards
        .into_iter()
        .filter(|(name, _)| name.starts_with("card"))
        .map(|(_, card)| {
            let text = |names: &[&str]| {
                names
                    .iter()
                    .find_map(|name| card.get(name)?.as_str())
                    .unwrap_or_default()
                    .to_owned()
            };
            let bytes: u64 = text(&["VRAM Total Memory (B)"]).parse().unwrap_or(0);
            Gpu {
                vendor: "amd".to_owned(),
                name: text(&["Card Series", "Card series", "Card SKU"]),
                memory_mib: bytes >> 20,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tools_say_is_understood() {
        let gpus = nvidia_gpus("NVIDIA H100 80GB HBM3, 81559\nNVIDIA L4, 23034\n");
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0].name, "NVIDIA H100 80GB HBM3");
        assert_eq!(gpus[1].memory_mib, 23034);
        let amd = amd_gpus(
            r#"{"card0": {"Card series": "MI300X", "VRAM Total Memory (B)": "206141652992"}, "system": {}}"#,
        );
        assert_eq!(amd.len(), 1);
        assert_eq!((amd[0].name.as_str(), amd[0].memory_mib), ("MI300X", 196_592));
        assert_eq!(os_name("ID=x\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
        assert_eq!(memory_mib("MemTotal:       24689420 kB\n"), 24110);
    }

    #[test]
    fn a_clock_is_off_by_what_no_delay_explains() {
        let hour = 3_600_000;
        assert_eq!(clock(1000, 900, 1100), None);
        // Between question and answer much time may pass on a slow line.
        assert_eq!(clock(40_000, 0, 90_000), None);
        assert_eq!(
            clock(30_000, 100_000, 100_100).as_deref(),
            Some("1 min behind gabion's own")
        );
        assert_eq!(
            clock(hour, 0, 100).as_deref(),
            Some("60 min ahead of gabion's own")
        );
        assert_eq!(
            clock(0, hour, hour + 5).as_deref(),
            Some("60 min behind gabion's own")
        );
    }

    #[tokio::test]
    async fn this_machine_has_processors_memory_and_a_disk() {
        let facts = Facts::read(Path::new("/nonexistent/a/b"), "/usr/bin:/bin", &[]).await;
        assert!(
            facts.cpus > 0 && facts.memory_mib > 0 && facts.disk_gib > 0,
            "{facts:?}"
        );
    }
}
