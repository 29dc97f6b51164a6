//! Machines with addresses of their own, on a network that nobody else is on: each is a set of namespaces with an SSH server
//! on port 22, a user, a root directory, processes and ports of its own.
//!
//! The network is a namespace too, with a bridge; whoever is [inside](Network::inside) it is one more machine on it, and this
//! machine's own interfaces, routes and addresses are left alone. Namespaces have no names and are nobody's but those of
//! their processes: all of it is gone when these end, which they do with the test program, however that ends.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use crate::booted::OWN_ROOT;
use crate::sshd::{Sshd, make_key};

/// What is a machine's first process.
const MACHINE: &str = include_str!("network.sh");

/// What is the network's: `$1` is the address of whoever is inside.
const BRIDGE: &str = "ip link set lo up && ip link add bridge type bridge && ip link set bridge up && \
    ip addr add \"$1/32\" dev bridge && ip route add default dev bridge && echo made && exec cat > /dev/null";

/// The port of SSH servers.
pub const SSH: u16 = 22;

/// Where a machine's Docker daemon listens, as machines usually have it, and what is its own.
const DOCKER_SOCKET: &str = "/run/docker.sock";
const DOCKER: &str = "/run/machine/docker";

/// How long a network or a machine may take.
const START: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(20);

/// A network. Dropping it ends it; machines are then cut off.
#[derive(Debug)]
pub struct Network {
    holder: Child,
    address: Ipv4Addr,
    machines: AtomicU32,
}

/// What a machine is to be.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Its host name.
    pub name: &'a str,
    /// Its addresses; what it sends comes from the first.
    pub addresses: &'a [Ipv4Addr],
    /// Who logs in: `root`, or somebody who is made.
    pub user: &'a str,
    /// Variables of whoever logs in.
    pub environment: &'a [(&'a str, &'a str)],
    /// Files and directories of this machine that it has, if there are, and that its user can read.
    pub shown: &'a [&'a Path],
    /// The private key of its SSH server, with the public one beside it; made for it if none is given.
    pub host_key: Option<&'a Path>,
    /// The program of a Docker daemon, if one of its own is to run on it, which the user may use. Containers that ask for
    /// accelerators get what Docker would give them, but for the accelerators.
    pub docker: Option<&'a Path>,
}

/// Who may connect to which ports of a machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetIn {
    /// An address, or a network in CIDR form.
    pub from: String,
    /// The first and the last TCP port.
    pub ports: (u16, u16),
}

/// A machine. Dropping it ends it with all that runs on it.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    /// Its first process, as it is called outside.
    first: u32,
    directory: TempDir,
    addresses: Vec<Ipv4Addr>,
    user: String,
}

impl Network {
    /// Makes a network on which the caller has an address.
    ///
    /// # Errors
    /// A sentence that says why none can be made.
    pub fn start(address: Ipv4Addr) -> Result<Self, String> {
        for program in ["ip", "nsenter", "unshare", "hostname"] {
            let found = Command::new(program)
                .arg("--help")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            found.map_err(|error| format!("`{program}`: {error}"))?;
        }
        Sshd::program().ok_or("there is no sshd")?;
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", BRIDGE, "sh", &address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C ends the tests, and that ends it.
            .process_group(0)
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut said = [0; 5];
        let stdout = holder.stdout.take();
        let made = stdout.is_some_and(|mut output| output.read_exact(&mut said).is_ok());
        if made && said == *b"made\n" {
            return Ok(Self {
                holder,
                address,
                machines: AtomicU32::new(0),
            });
        }
        let why = end(&mut holder);
        Err(why.lines().last().unwrap_or("nothing was said").to_owned())
    }

    /// The address of whoever is inside.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Does something on the network: what is connected, bound or started meanwhile is there.
    ///
    /// # Panics
    /// When the network is gone, or the work panics.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.holder.id());
        thread::scope(|scope| {
            // A thread of its own, which takes no other one's namespace away.
            let worker = scope.spawn(move || {
                let namespace = File::open(path).expect("the network is there");
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("whoever made the network may enter it");
                work()
            });
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Lets whoever is inside reach a server of this machine's loopback address; returns where. It ends with the test program.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn forward(&self, server: SocketAddr) -> io::Result<SocketAddr> {
        let listener = self.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        // A socket is where it was made, whoever uses it.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    if let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) {
                        thread::spawn(move || {
                            // Whichever end is gone, the other one learns of it.
                            let _ = io::copy(&mut from, &mut to);
                            let _ = to.shutdown(Shutdown::Write);
                        });
                    }
                }
            }
        });
        Ok(address)
    }

    /// Starts a machine, and waits until its SSH server listens.
    ///
    /// # Errors
    /// When it cannot be set up, or does not listen in time.
    pub fn machine(&self, wanted: &Wanted<'_>) -> io::Result<Machine> {
        let directory = tempfile::Builder::new().prefix("gabion-machine-").tempdir()?;
        let file = |name: &str| directory.path().join(name);
        fs::create_dir(file("mounts"))?;
        match wanted.host_key {
            None => make_key(&file("host_key"))?,
            Some(key) => {
                fs::copy(key, file("host_key"))?;
                fs::copy(key.with_extension("pub"), file("host_key.pub"))?;
            }
        }
        make_key(&file("user_key"))?;
        fs::copy(file("user_key.pub"), file("authorized_keys"))?;
        fs::write(file("sshd_config"), configuration(wanted))?;
        let log = File::create(file("log"))?;
        let addresses: Vec<String> = wanted.addresses.iter().map(Ipv4Addr::to_string).collect();
        let child = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--uts",
                "--ipc",
                "--kill-child",
            ])
            .args(["sh", "-c", MACHINE, "sh"])
            .arg(directory.path())
            .args([OWN_ROOT, wanted.name, wanted.user, &addresses.join(" ")])
            .arg(wanted.docker.unwrap_or(Path::new("")))
            .args(wanted.shown.iter().filter(|directory| directory.exists()))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let mut machine = Machine {
            child,
            first: 0,
            directory,
            addresses: wanted.addresses.to_vec(),
            user: wanted.user.to_owned(),
        };
        self.plug_in(&mut machine)?;
        if wanted.docker.is_some() {
            let deadline = Instant::now() + START;
            while UnixStream::connect(machine.path(DOCKER_SOCKET)).is_err() {
                machine.is_starting(deadline)?;
                thread::sleep(PAUSE);
            }
        }
        Ok(machine)
    }

    /// Has whoever is inside look anew for who has an address.
    ///
    /// # Errors
    /// When that cannot be.
    pub fn look_anew(&self, address: Ipv4Addr) -> io::Result<()> {
        ip(self.holder.id(), &["neigh", "flush", "to", &address.to_string()])
    }

    /// Connects a machine that starts with the bridge, and waits until it answers.
    fn plug_in(&self, machine: &mut Machine) -> io::Result<()> {
        let deadline = Instant::now() + START;
        let children = format!("/proc/{0}/task/{0}/children", machine.child.id());
        while machine.first == 0 {
            machine.is_starting(deadline)?;
            let found = fs::read_to_string(&children).unwrap_or_default();
            machine.first = found.trim().parse().unwrap_or_default();
            thread::sleep(PAUSE);
        }
        let own = format!("port{}", self.machines.fetch_add(1, Ordering::Relaxed));
        let there = machine.first.to_string();
        for arguments in [
            &[
                "link", "add", &own, "type", "veth", "peer", "name", "eth0", "netns", &there,
            ][..],
            &["link", "set", &own, "master", "bridge", "up"],
        ] {
            ip(self.holder.id(), arguments)?;
        }
        let server = SocketAddr::from((machine.address(), SSH));
        while self.inside(|| TcpStream::connect_timeout(&server, Duration::from_secs(1)).is_err()) {
            machine.is_starting(deadline)?;
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        end(&mut self.holder);
    }
}

impl Machine {
    /// The first of its addresses.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Has what is sent to one more address arrive at it. It does not know of the address, as where a network translates
    /// addresses.
    ///
    /// # Errors
    /// When it cannot have it.
    pub fn add_address(&mut self, address: Ipv4Addr) -> io::Result<()> {
        self.translate("add", address)?;
        self.addresses.push(address);
        Ok(())
    }

    /// Takes an address away. What is sent there from now on arrives nowhere.
    ///
    /// # Errors
    /// When it does not have it.
    pub fn remove_address(&mut self, address: Ipv4Addr) -> io::Result<()> {
        self.translate("del", address)?;
        self.addresses.retain(|own| *own != address);
        Ok(())
    }

    fn translate(&self, verb: &str, address: Ipv4Addr) -> io::Result<()> {
        ip(
            self.first,
            &["route", verb, "local", &format!("{address}/32"), "dev", "lo"],
        )
    }

    /// All its addresses.
    #[must_use]
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }

    /// Who logs in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The file of the private key that lets the user in.
    #[must_use]
    pub fn identity_file(&self) -> PathBuf {
        self.directory.path().join("user_key")
    }

    /// Lets another key in, beside its own.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn let_in(&self, public_key: &str) -> io::Result<()> {
        let file = self.path("/run/machine/authorized_keys");
        let known = fs::read_to_string(&file)?;
        fs::write(file, format!("{known}{}\n", public_key.trim()))
    }

    /// Has it take connections from these alone from now on. What is connected already stays, and nothing is in the way of what
    /// it asks others for, or itself.
    ///
    /// # Errors
    /// When its packet filter cannot be set.
    pub fn take_only(&self, let_in: &BTreeSet<LetIn>) -> io::Result<()> {
        let mut rules = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                         -A INPUT ! -i eth0 -j ACCEPT\n\
                         -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n"
            .to_owned();
        for LetIn { from, ports } in let_in {
            let (first, last) = ports;
            rules.push_str(&format!(
                "-A INPUT -s {from} -p tcp --dport {first}:{last} -j ACCEPT\n"
            ));
        }
        rules.push_str("COMMIT\n");
        let mut child = Command::new("nsenter")
            .args([
                "--net",
                "--target",
                &self.first.to_string(),
                "--",
                "iptables-restore",
            ])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(rules.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )),
        }
    }

    /// The public key of its SSH server.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn host_key(&self) -> io::Result<String> {
        fs::read_to_string(self.directory.path().join("host_key.pub")).map(|key| key.trim().to_owned())
    }

    /// Where this machine sees one of its files.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{file}", self.first))
    }

    /// Where its Docker daemon is reached from this machine, as `DOCKER_HOST` has it.
    #[must_use]
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.path(DOCKER_SOCKET).display())
    }

    /// The command lines of all that runs on it, in containers too, apart from what it runs itself: its first process, its
    /// SSH server and its Docker daemon.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn processes(&self) -> io::Result<Vec<String>> {
        let line_of = |process: &Path| {
            // It may have ended meanwhile; one that has ended and was not reaped has no command line.
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line)
                .replace('\0', " ")
                .trim()
                .to_owned()
        };
        // Its children are called as it is until they are something else.
        let first = line_of(&self.path("/proc/1"));
        let mut found = Vec::new();
        for entry in fs::read_dir(self.path("/proc"))? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
                continue;
            }
            let line = line_of(&entry.path());
            let own = line == first
                || line == "cat"
                || line.starts_with("sshd:")
                || line.contains("/sshd -D -e -f /run/machine")
                || line.contains(&format!("dockerd --data-root {DOCKER}/"))
                || line.starts_with(&format!("containerd --config {DOCKER}/"));
            if !line.is_empty() && !own {
                found.push(line);
            }
        }
        found.sort();
        Ok(found)
    }

    /// All files and directories that are not of the machine that it stands on: what was written, changed or removed on
    /// it, in memory too, unit files among them. What its Docker daemon keeps for itself is the daemon's to list.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn files(&self) -> io::Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        for top in ["/run", "/tmp", "/dev/shm"] {
            collect(&self.path(top), &self.path(DOCKER), &mut found)?;
        }
        let log = self.path("/run/machine/sshd.log");
        found.remove(&log);
        Ok(found)
    }

    /// Ends it, as if its plug were pulled.
    pub fn stop(&mut self) {
        end(&mut self.child);
    }

    fn is_starting(&mut self, deadline: Instant) -> io::Result<()> {
        let why = match self.child.try_wait()? {
            Some(status) => format!("the machine does not start: {status}"),
            None if Instant::now() > deadline => "the machine does not start in time".to_owned(),
            None => return Ok(()),
        };
        let said = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let log = |file: &str| fs::read_to_string(self.path(file)).unwrap_or_default();
        let (server, docker) = (log("/run/machine/sshd.log"), log(&format!("{DOCKER}/log")));
        Err(io::Error::other(format!("{why}\n{said}{server}{docker}")))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends a process, and with it all namespaces that it holds; returns what it said last, if that is to be read.
fn end(process: &mut Child) -> String {
    drop(process.stdin.take());
    // It may have ended by itself.
    let _ = process.kill();
    let _ = process.wait();
    let mut said = String::new();
    if let Some(mut errors) = process.stderr.take() {
        let _ = errors.read_to_string(&mut said);
    }
    said
}

/// Changes the network of a process.
fn ip(process: u32, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("nsenter")
        .args(["--net", "--target", &process.to_string(), "--", "ip"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

/// Adds what is below a directory, and of another one only that it is there.
fn collect(directory: &Path, closed: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        found.insert(entry.path());
        if entry.file_type()?.is_dir() && entry.path() != closed {
            collect(&entry.path(), closed, found)?;
        }
    }
    Ok(())
}

/// Writes the settings of a machine's SSH server.
fn configuration(wanted: &Wanted<'_>) -> String {
    let variables: Vec<String> = wanted
        .environment
        .iter()
        .map(|(name, value)| format!("\"{name}={value}\""))
        .collect();
    let variables = match variables.is_empty() {
        true => String::new(),
        false => format!("SetEnv {}\n", variables.join(" ")),
    };
    format!(
        "Port {SSH}\nHostKey /run/machine/host_key\nPidFile none\nAuthorizedKeysFile /run/machine/authorized_keys\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin \
         prohibit-password\nAllowUsers {}\nMaxStartups 100:30:200\nPrintLastLog no\nSubsystem sftp internal-sftp\n{variables}",
        wanted.user
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_addresses_users_and_files_of_their_own_and_leave_nothing() {
        let own = Ipv4Addr::new(10, 88, 7, 1);
        let network = match Network::start(own) {
            Ok(network) => network,
            Err(why) => {
                eprintln!("skipped: no network of the tests' own can be made: {why}");
                return;
            }
        };
        let start = |name: &str, addresses: &[Ipv4Addr], user: &str| {
            let wanted = Wanted {
                name,
                addresses,
                user,
                environment: &[("GREETING", "hello")],
                shown: &[],
                host_key: None,
                docker: None,
            };
            network.machine(&wanted).unwrap()
        };
        // The same port on each, and an address from anywhere.
        let first = start("first", &[Ipv4Addr::new(10, 88, 7, 2)], "ubuntu");
        let second_addresses = [Ipv4Addr::new(172, 31, 5, 4), Ipv4Addr::new(198, 51, 100, 7)];
        let second = start("second", &second_addresses, "root");
        first
            .let_in(&fs::read_to_string(second.directory.path().join("user_key.pub")).unwrap())
            .unwrap();
        let run = |machine: &Machine, address: Ipv4Addr, script: &str| {
            let output = network.inside(|| {
                Command::new("ssh")
                    .args([
                        "-F",
                        "none",
                        "-o",
                        "StrictHostKeyChecking=no",
                        "-o",
                        "UserKnownHostsFile=/dev/null",
                    ])
                    .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"])
                    .arg(machine.identity_file())
                    .arg(format!("{}@{address}", machine.user()))
                    .arg(script)
                    .stdin(Stdio::null())
                    .output()
                    .unwrap()
            });
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let before = first.files().unwrap();
        let who = "echo $GREETING $(id -un) $HOME $(hostname) ${SSH_CONNECTION%% *}; touch ~/here; sleep 600 > /dev/null 2>&1 &";
        assert_eq!(
            run(&first, first.address(), who),
            "hello ubuntu /home/ubuntu first 10.88.7.1"
        );
        assert_eq!(run(&second, second_addresses[1], "hostname"), "second");
        let written: Vec<PathBuf> = first.files().unwrap().difference(&before).cloned().collect();
        assert_eq!(written, [first.path("/run/machine/changes/home/ubuntu/here")]);
        assert_eq!(first.processes().unwrap(), ["sleep 600"]);
        assert_eq!(second.processes().unwrap(), Vec::<String>::new());
        // Who is not let in does not get an answer.
        let reaches_second = || {
            let server = SocketAddr::from((second.address(), SSH));
            network.inside(|| TcpStream::connect_timeout(&server, Duration::from_millis(500)).is_ok())
        };
        for (from, reaches) in [(first.address(), false), (own, true)] {
            let from = from.to_string();
            let only = LetIn {
                from,
                ports: (SSH, SSH),
            };
            match second.take_only(&[only].into()) {
                Ok(()) => assert_eq!(reaches_second(), reaches),
                Err(why) => eprintln!("skipped: there is no packet filter: {why}"),
            }
        }
        let process = first.first;
        drop(first);
        assert!(!Path::new(&format!("/proc/{process}/root/run/machine")).exists());
    }
}
