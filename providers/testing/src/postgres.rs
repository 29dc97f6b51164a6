//! A real PostgreSQL server for tests: its own data directory, its own port of the loopback interface, durable as in
//! production. It ends when it is dropped.
//!
//! Only the standard library is used: the test command includes this file too, to start the server that tests share.

use std::fs;
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to start, recovery after a crash included.
const START: Duration = Duration::from_secs(60);
/// How long a server may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(20);

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    binaries: PathBuf,
    directory: PathBuf,
    account: Option<Account>,
    port: u16,
    settings: Vec<(String, String)>,
    process: Option<Child>,
    /// Stops the server when this process ends without doing so: its standard input ends then.
    watcher: Option<Child>,
}

/// Who the server runs as when we are root: it refuses to be that.
#[derive(Debug, Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

/// Returns the directory with the server's programs: the one given, one in the search path, or where distributions put
/// it, the newest first.
pub fn find_binaries(given: Option<&Path>, search: Option<&str>) -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = given.into_iter().map(Path::to_owned).collect();
    let installed = |top: &str, tail: &str| {
        let mut found: Vec<(u32, PathBuf)> = fs::read_dir(top)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let version = name
                    .trim_start_matches("pgsql-")
                    .trim_start_matches("postgresql@");
                Some((version.parse().ok()?, entry.path().join(tail)))
            })
            .collect();
        found.sort();
        found.into_iter().rev().map(|(_, path)| path)
    };
    if given.is_none() {
        places.extend(search.unwrap_or_default().split(':').map(PathBuf::from));
        places.extend(installed("/usr/lib/postgresql", "bin"));
        places.extend(installed("/usr", "bin"));
        places.extend(installed("/opt/homebrew/opt", "bin"));
    }
    places.into_iter().find(|place| {
        // A link to one program alone is no installation.
        ["postgres", "initdb"]
            .iter()
            .all(|program| place.join(program).is_file())
    })
}

/// Returns a directory that the server's user can get at: `preferred`, or the system's temporary directory.
///
/// # Errors
/// When it is not known who the server's user is.
pub fn reachable(preferred: &Path) -> Result<PathBuf, String> {
    let open = |part: &Path| match fs::metadata(part) {
        Ok(metadata) => metadata.permissions().mode() & 0o001 != 0,
        // What is not there yet is made open.
        Err(_) => true,
    };
    Ok(match account()? {
        Some(_) if !preferred.ancestors().all(open) => std::env::temp_dir(),
        _ => preferred.to_owned(),
    })
}

impl Server {
    /// Makes a data directory below `preferred`, or below the system's temporary directory where the server's user
    /// cannot get at that, and starts a server on it. `settings` go to its configuration.
    ///
    /// # Errors
    /// What failed, with what the server wrote about it.
    pub fn start(binaries: &Path, preferred: &Path, settings: &[(&str, &str)]) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let account = account()?;
        let parent = reachable(preferred)?;
        fs::create_dir_all(&parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        let directory = loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let directory = parent.join(format!("gabion-postgres-{}-{count}", std::process::id()));
            match fs::create_dir(&directory) {
                Ok(()) => break directory,
                // Left over by an earlier process with this number; whether it still serves something is not known.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("{}: {error}", directory.display())),
            }
        };
        if let Some(account) = account {
            chown(&directory, Some(account.uid), Some(account.gid))
                .map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        let mut server = Self {
            binaries: binaries.to_owned(),
            directory,
            account,
            port: 0,
            settings: settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            process: None,
            watcher: None,
        };
        server.initialize()?;
        server.restart()?;
        Ok(server)
    }

    /// Returns the port of 127.0.0.1 that the server listens on. It keeps it for life.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the directory of the server's Unix socket, which also holds its data and its log.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the URL of a database, for the user `postgres`, who may do everything and needs no password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Writes a file that the server can read and nobody else, and returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_file(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        if let Some(account) = self.account {
            chown(&path, Some(account.uid), Some(account.gid))?;
        }
        Ok(path)
    }

    /// Replaces the rules of who may log in how (`pg_hba.conf`); they hold from the next start on.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn set_rules(&self, rules: &str) -> io::Result<()> {
        self.put_file("data/pg_hba.conf", rules.as_bytes()).map(drop)
    }

    /// Sets something in the server's configuration; it holds from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Kills the server (SIGKILL), as a failure of its machine would.
    pub fn kill(&mut self) {
        self.unwatch();
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    /// Starts the server again after it was killed or stopped, and waits until it takes connections.
    ///
    /// # Errors
    /// What failed, with what the server wrote about it.
    pub fn restart(&mut self) -> Result<(), String> {
        self.stop();
        let begun = Instant::now();
        loop {
            if self.port == 0 {
                self.port = free_port().map_err(|error| format!("no port is free: {error}"))?;
            }
            match self.start_once(begun + START) {
                Ok(()) => return Ok(()),
                // What a killed server left running, or a port that somebody took meanwhile, passes.
                Err(error) if begun.elapsed() > START => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Stops the server after what it is doing is rolled back (a fast shutdown).
    pub fn stop(&mut self) {
        self.unwatch();
        let Some(mut process) = self.process.take() else {
            return;
        };
        let asked = Command::new("kill")
            .args(["-INT", &process.id().to_string()])
            .status();
        let deadline = Instant::now() + STOP;
        while asked.as_ref().is_ok_and(|status| status.success()) && Instant::now() < deadline {
            if matches!(process.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        process.kill().ok();
        process.wait().ok();
    }

    fn watch(&mut self, pid: &str) -> Result<(), String> {
        let mut watcher = Command::new("sh");
        watcher
            .args(["-c", "read _; kill -INT \"$0\"", pid])
            .stdin(Stdio::piped());
        let watcher = watcher.spawn().map_err(|error| format!("sh: {error}"))?;
        self.watcher = Some(watcher);
        Ok(())
    }

    fn unwatch(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            watcher.kill().ok();
            watcher.wait().ok();
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command
            .current_dir(&self.directory)
            .env("LC_ALL", "C")
            .env_remove("PGDATA")
            .stdin(Stdio::null());
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    fn initialize(&self) -> Result<(), String> {
        let output = self
            .command("initdb")
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "-D"])
            .arg(self.data())
            .output()
            .map_err(|error| format!("{}: {error}", self.binaries.join("initdb").display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("initdb failed ({}): {said}", output.status));
        }
        Ok(())
    }

    fn start_once(&mut self, deadline: Instant) -> Result<(), String> {
        let status = self.data().join("postmaster.pid");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(|error| format!("{}: {error}", self.log().display()))?;
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(&self.directory)
            .args(["-c", "listen_addresses=127.0.0.1"]);
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let both = log.try_clone().map_err(|error| error.to_string())?;
        let process = command
            .stdout(log)
            .stderr(both)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.binaries.join("postgres").display()))?;
        let pid = process.id().to_string();
        self.process = Some(process);
        self.watch(&pid)?;
        loop {
            let ended = self.process.as_mut().map(Child::try_wait);
            if let Some(Ok(Some(ended))) = ended {
                self.unwatch();
                self.process = None;
                return Err(format!("the server ended ({ended}): {}", self.last_words()));
            }
            let text = fs::read_to_string(&status).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            // Its eighth line says what it is doing.
            if lines.first() == Some(&pid.as_str()) && lines.get(7).is_some_and(|line| line.trim() == "ready")
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.stop();
                return Err(format!("the server did not start: {}", self.last_words()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn last_words(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut log) = fs::File::open(self.log()) {
            log.read_to_end(&mut text).ok();
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        // What a killed server left running may still write for a moment.
        for _ in 0..50 {
            if fs::remove_dir_all(&self.directory).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Returns whom the server runs as: us, unless we are root.
fn account() -> Result<Option<Account>, String> {
    let output = Command::new("id")
        .arg("-u")
        .output()
        .map_err(|error| format!("cannot start `id`: {error}"))?;
    if !output.stdout.starts_with(b"0\n") {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    let find = |name: &str| {
        users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            match fields.as_slice() {
                [user, _, uid, gid, ..] if *user == name => Some(Account {
                    uid: uid.parse().ok()?,
                    gid: gid.parse().ok()?,
                }),
                _ => None,
            }
        })
    };
    match find("postgres").or_else(|| find("nobody")) {
        Some(account) => Ok(Some(account)),
        None => Err(
            "the server does not run as root, and there is neither a user `postgres` nor `nobody`".to_owned(),
        ),
    }
}
