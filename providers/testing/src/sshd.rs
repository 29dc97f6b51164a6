//! Real SSH servers on this machine's loopback address, each a "host" with a key and directories of its own.
//!
//! One server can be many hosts: each of its addresses is one, with a data directory of its own.
//!
//! They run as whoever runs the tests, and let that user in with a key that is made for the test.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(10);

/// How many addresses one server can listen on.
pub const MOST_ADDRESSES: usize = 16;

/// An SSH server. Dropping it ends it, and the connections to it.
#[derive(Debug)]
pub struct Sshd {
    directory: TempDir,
    port: u16,
    /// The hosts that it is; one has an address that others have too.
    addresses: Vec<Ipv4Addr>,
    child: Option<Child>,
    environment: Vec<(String, String)>,
    /// A file with the boot id that its sessions see, if it is not the kernel's own.
    boot_id: Option<PathBuf>,
}

impl Sshd {
    /// Returns the server's program, if the machine has one.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"]
            .into_iter()
            .map(PathBuf::from)
            .find(|path| path.is_file())
    }

    /// Starts a server whose sessions have these variables, beside `XDG_DATA_HOME` in a directory of its own.
    ///
    /// # Errors
    /// When it cannot be set up, or does not listen in time.
    pub fn start(environment: &[(&str, &str)]) -> io::Result<Self> {
        Self::start_at(&[Ipv4Addr::LOCALHOST], environment)
    }

    /// Starts a server that is as many hosts as it has addresses, at most [`MOST_ADDRESSES`], all behind one port.
    ///
    /// # Errors
    /// As [`Sshd::start`].
    pub fn start_at(addresses: &[Ipv4Addr], environment: &[(&str, &str)]) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("gabion-sshd-").tempdir()?;
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = Self {
            directory,
            port,
            addresses: addresses.to_vec(),
            child: None,
            environment,
            boot_id: None,
        };
        make_key(&server.file("host_key"))?;
        make_key(&server.file("user_key"))?;
        fs::copy(server.file("user_key.pub"), server.file("authorized_keys"))?;
        server.run()?;
        Ok(server)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&mut self) -> io::Result<()> {
        let program = Self::program().ok_or_else(|| io::Error::other("there is no sshd"))?;
        // Its own separation directory, which only root's server looks for.
        let _ = fs::create_dir_all("/run/sshd");
        let here = |name: &str| self.file(name).display().to_string();
        let listen: String = self
            .addresses
            .iter()
            .map(|address| format!("ListenAddress {address}\n"))
            .collect();
        let hosts: String = self
            .addresses
            .iter()
            .map(|address| {
                let data = self.data_at(*address).display().to_string();
                let own = ("XDG_DATA_HOME".to_owned(), data);
                let all = self.environment.iter().chain([&own]);
                let all: Vec<String> = all.map(|(name, value)| format!("\"{name}={value}\"")).collect();
                format!("Match LocalAddress {address}\n  SetEnv {}\n", all.join(" "))
            })
            .collect();
        let configuration = format!(
            "Port {}\n{listen}HostKey {}\nPidFile {}\nAuthorizedKeysFile {}\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             MaxStartups 100:30:200\nSubsystem sftp internal-sftp\n{hosts}",
            self.port,
            here("host_key"),
            here("pid"),
            here("authorized_keys"),
        );
        fs::write(self.file("sshd_config"), configuration)?;
        let log = fs::File::create(self.file("sshd.log"))?;
        let mut command = match &self.boot_id {
            None => Command::new(program),
            Some(boot_id) => {
                let mut command = Command::new("unshare");
                let script = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && shift && exec \"$@\"";
                command
                    .args(["--mount", "sh", "-c", script, "sh"])
                    .arg(boot_id)
                    .arg(program);
                command
            }
        };
        let child = command
            .arg("-D")
            .arg("-e")
            .arg("-f")
            .arg(self.file("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        let end = Instant::now() + START;
        let last = self.addresses.last().copied().unwrap_or(Ipv4Addr::LOCALHOST);
        while std::net::TcpStream::connect((last, self.port)).is_err() {
            if Instant::now() > end {
                let log = fs::read_to_string(self.file("sshd.log")).unwrap_or_default();
                return Err(io::Error::other(format!("sshd does not listen: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends the server and its sessions, as if the machine were cut off.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        for session in descendants(child.id()) {
            kill(session);
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Runs it again on the same port.
    ///
    /// # Errors
    /// As [`Sshd::start`].
    pub fn resume(&mut self) -> io::Result<()> {
        self.stop();
        self.run()
    }

    /// Runs it again as if its machine had been restarted: its sessions see this boot id. That takes root. What ran on the
    /// machine is the caller's to end.
    ///
    /// # Errors
    /// As [`Sshd::start`].
    pub fn resume_rebooted(&mut self, boot_id: &str) -> io::Result<()> {
        self.stop();
        let file = self.file("boot_id");
        fs::write(&file, format!("{boot_id}\n"))?;
        self.boot_id = Some(file);
        self.run()
    }

    /// Runs it again with another host key, as if it were another machine.
    ///
    /// # Errors
    /// As [`Sshd::start`].
    pub fn resume_with_another_key(&mut self) -> io::Result<()> {
        self.stop();
        make_key(&self.file("host_key"))?;
        self.run()
    }

    /// The address that it listens on; of several the first.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.addresses.first().copied().unwrap_or(Ipv4Addr::LOCALHOST)
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The file of the private key that lets the user in.
    #[must_use]
    pub fn identity_file(&self) -> PathBuf {
        self.file("user_key")
    }

    /// Its public key.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn host_key(&self) -> io::Result<String> {
        fs::read_to_string(self.file("host_key.pub")).map(|key| key.trim().to_owned())
    }

    /// Where gabion puts its things on this host; on the first one, if it is many.
    #[must_use]
    pub fn gabion_root(&self) -> PathBuf {
        let first = self.addresses.first().copied();
        self.gabion_root_at(first.unwrap_or(Ipv4Addr::LOCALHOST))
    }

    /// Where gabion puts its things on the host of one of its addresses.
    #[must_use]
    pub fn gabion_root_at(&self, address: Ipv4Addr) -> PathBuf {
        self.data_at(address).join("gabion-agent")
    }

    fn data_at(&self, address: Ipv4Addr) -> PathBuf {
        let data = self.file("data");
        match self.addresses.len() {
            0 | 1 => data,
            _ => data.join(address.to_string()),
        }
    }

    /// Returns how often somebody logged in since it runs.
    #[must_use]
    pub fn logins(&self) -> usize {
        let log = fs::read_to_string(self.file("sshd.log")).unwrap_or_default();
        log.matches("Accepted publickey").count()
    }

    /// Returns the processor time of the sessions that have ended since it runs, in seconds; that of programs that outlive
    /// them is not theirs.
    #[must_use]
    pub fn processor_seconds(&self) -> f64 {
        /// The kernel's clock ticks in a second, as it counts processor time for programs.
        const TICKS: f64 = 100.0;
        let stat = self
            .child
            .as_ref()
            .map(|child| format!("/proc/{}/stat", child.id()));
        let text = stat
            .and_then(|stat| fs::read_to_string(stat).ok())
            .unwrap_or_default();
        // Its own time, and that of the children that it has waited for.
        let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let times = fields.split_whitespace().skip(11).take(4);
        times.filter_map(|time| time.parse::<f64>().ok()).sum::<f64>() / TICKS
    }

    /// A directory that is the host's own.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the name of the user that it lets in.
    #[must_use]
    pub fn user() -> String {
        let output = Command::new("id").arg("-un").output();
        output.map_or_else(
            |_| "root".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes a pair of keys: a private one in a file, the public one beside it. Others there are lost.
///
/// # Errors
/// When `ssh-keygen` does not do it.
pub fn make_key(file: &Path) -> io::Result<()> {
    for old in [file.to_owned(), file.with_extension("pub")] {
        if old.exists() {
            fs::remove_file(old)?;
        }
    }
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("ssh-keygen: {status}")))
    }
}

/// Returns the processes of a server's sessions, the connections themselves; programs that left their session stay.
fn descendants(root: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let parents: Vec<(u32, u32)> = entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat
                .rsplit_once(") ")?
                .1
                .split_whitespace()
                .nth(1)?
                .parse()
                .ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = vec![root];
    let mut position = 0;
    while let Some(parent) = found.get(position).copied() {
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        position += 1;
    }
    found.remove(0);
    // A unit's program is a child of the agent while that lives, and in a session of its own.
    found.retain(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        ["sshd", "gabion-agent", "sh"]
            .iter()
            .any(|known| name.trim().starts_with(known))
            && !is_unit(*pid)
    });
    found
}

fn is_unit(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry.starts_with(b"GABION_UNIT="))
    })
}

fn kill(pid: u32) {
    // It may have ended by itself meanwhile.
    let _ = Command::new("kill")
        .args(["-9", &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}
