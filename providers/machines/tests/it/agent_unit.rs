//! An agent that runs as a unit of this machine, from a copy of its program; an engine behind it; and clients.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gabion_agent::client::{AgentClient, SOCKET_NAME};
use gabion_agent::protocol::{
    Auth, Fence, Listener, Operation, Paths, Replica, Route, Upstream, default_model_prefix,
};
use gabion_host::process::ProcessIdentity;
use gabion_host::transport::LocalTransport;
use gabion_host::unit::{self, LogSettings, Mark, StartRequest, UnitDirectory, UnitSpec, program_digest};
pub(crate) use gabion_testing::wait::eventually;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// That of the calls of a scene.
const LINEAGE: &str = "00000000-0000-0000-0000-000000000007";

/// Where the machine has its units, below the test's directory.
const DATA: &str = "data";

/// How the agent is run.
pub(crate) const ARGV: [&str; 7] = [
    "{gabion}",
    "agent",
    "serve",
    "--directory",
    "{unit.dir}",
    "--grace",
    "5",
];

/// A program and its hash.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) path: PathBuf,
    pub(crate) digest: String,
}

/// An agent in a unit of its own, killed when the test ends, however it ends.
pub(crate) struct AgentUnit {
    root: tempfile::TempDir,
    pub(crate) directory: UnitDirectory,
    pub(crate) client: AgentClient,
    pub(crate) first: Build,
    port: u16,
}

impl AgentUnit {
    /// Starts an agent with one gateway, whose one service is behind it.
    pub(crate) async fn start(engine: &Engine) -> Self {
        let root = tempfile::tempdir().unwrap();
        let first = build(root.path(), "first", b"");
        let spec = UnitSpec {
            project: LINEAGE.to_owned(),
            uid: "agent".to_owned(),
            address: "host_unit.agent/local".to_owned(),
            role: Some("agent".to_owned()),
            argv: ARGV.map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            base_env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            working_dir: None,
            files: BTreeMap::new(),
            ports: BTreeMap::new(),
            package_dir: None,
            log: LogSettings::default(),
            stop_duration: Duration::from_secs(20),
            supervision: None,
            container: None,
            service: None,
        };
        let directory = unit::write(&root.path().join(DATA), &spec, &unit_fence()).unwrap();
        let client = AgentClient::new(Arc::new(LocalTransport), directory.path().join(SOCKET_NAME));
        let agent = Self {
            root,
            directory,
            client,
            first,
            port: free_port().await,
        };
        agent.launch(&agent.first).await;
        let listener = Listener {
            name: "g".to_owned(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: agent.port,
            domain: None,
            http_port: None,
        };
        agent
            .client
            .change(&fence(), Operation::PutListener(listener))
            .await
            .unwrap();
        agent.client.put_route(&fence(), engine.route(), 5).await.unwrap();
        agent
    }

    /// Where the machine has its units.
    pub(crate) fn data_root(&self) -> PathBuf {
        self.root.path().join(DATA)
    }

    /// Starts the unit from a build, and waits until the agent answers.
    pub(crate) async fn launch(&self, build: &Build) {
        let request = StartRequest {
            directory: self.directory.clone(),
            shim: [build.path.to_str().unwrap(), "agent", "unit-exec"]
                .map(str::to_owned)
                .to_vec(),
            fence: Some(unit_fence()),
        };
        unit::start(&request).await.unwrap();
        eventually("the agent's start", || async { self.client.status().await.ok() }).await;
    }

    /// Makes another build: the same program with bytes at its end, which the kernel ignores.
    pub(crate) fn another(&self, name: &str) -> Build {
        build(self.root.path(), name, name.as_bytes())
    }

    /// Makes a build of a shell script, which finds the real program as `$REAL`, and a directory for notes as `$NOTES`.
    pub(crate) fn script(&self, name: &str, text: &str) -> Build {
        let path = self.root.path().join(name);
        let real = self.first.path.display();
        let notes = self.root.path().display();
        write_program(
            &path,
            format!("#!/bin/sh\nREAL='{real}'\nNOTES='{notes}'\n{text}\n").as_bytes(),
            b"",
        );
        Build {
            digest: program_digest(&path).unwrap(),
            path,
        }
    }

    /// Waits for a note that a script leaves, a pid.
    pub(crate) async fn noted_pid(&self, name: &str) -> i32 {
        let path = self.root.path().join(name);
        eventually("the note", || async {
            std::fs::read_to_string(&path).ok()?.trim().parse().ok()
        })
        .await
    }

    /// Leaves a note that a script waits for.
    pub(crate) fn note(&self, name: &str) {
        std::fs::write(self.root.path().join(name), "").unwrap();
    }

    pub(crate) async fn hand_over(
        &self,
        build: &Build,
        seconds: u32,
    ) -> Result<i32, gabion_agent::client::ClientError> {
        let (program, digest) = (&build.path, &build.digest);
        self.client.hand_over(&fence(), program, digest, seconds).await
    }

    pub(crate) fn mark(&self) -> Mark {
        self.directory.mark().unwrap().unwrap()
    }

    /// Asks for something short over a connection of its own.
    pub(crate) async fn ask(&self) -> Result<(), String> {
        let mut connection = Connection::open(self.port).await?;
        connection.ask("/", true).await.map(|_| ())
    }

    /// Opens a stream, and reads its first piece.
    pub(crate) async fn stream(&self) -> Connection {
        let mut connection = Connection::open(self.port).await.unwrap();
        connection.send("/stream", false).await.unwrap();
        connection.read_until("piece 0").await.unwrap();
        connection
    }

    /// Starts clients that ask without end.
    pub(crate) fn load(&self) -> Load {
        let shared = Arc::new(Shared::default());
        let clients = [false, false, true]
            .map(|keeps| tokio::spawn(client(Arc::clone(&shared), self.port, keeps)))
            .into();
        Load { shared, clients }
    }

    /// Every process of the unit: those that its mark leads to, and those that hold its lock.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let lock = self.directory.path().join("lock").canonicalize().unwrap();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
            open.flatten()
                .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == lock))
        })
        .collect()
    }

    pub(crate) async fn stop(&self) {
        self.stop_as(unit_fence().epoch).await;
    }

    /// Stops the unit under a lease of this epoch.
    pub(crate) async fn stop_as(&self, epoch: u64) {
        let fence = unit::Fence {
            epoch,
            ..unit_fence()
        };
        unit::stop(&self.directory, &fence, None).await.unwrap();
        assert_eq!(self.processes(), Vec::<i32>::new());
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.current_log()).unwrap_or_default()
    }
}

impl Drop for AgentUnit {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the agent's log:\n{}", self.log());
        }
        self.processes().into_iter().for_each(kill);
    }
}

pub(crate) fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

pub(crate) async fn is_gone(process: &ProcessIdentity) {
    eventually("the end of a process", || async {
        (!process.is_alive()).then_some(())
    })
    .await;
}

fn build(root: &Path, name: &str, tail: &[u8]) -> Build {
    let path = root.join(name).join("gabion-agent");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let program = std::fs::read(env!("CARGO_BIN_EXE_gabion-agent")).unwrap();
    write_program(&path, &program, tail);
    Build {
        digest: program_digest(&path).unwrap(),
        path,
    }
}

/// Writes a program by another process: one that this process has open for writing could be inherited by a child of another
/// test at that moment, and would be busy then.
fn write_program(path: &Path, bytes: &[u8], tail: &[u8]) {
    let part = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&part)
        .unwrap();
    file.write_all(bytes).unwrap();
    file.write_all(tail).unwrap();
    drop(file);
    let copied = std::process::Command::new("install")
        .args(["-m", "700"])
        .args([&part, path])
        .status()
        .unwrap();
    assert!(copied.success());
    std::fs::remove_file(&part).unwrap();
}

pub(crate) fn fence() -> Fence {
    Fence {
        epoch: 1,
        operation: "op-2".to_owned(),
        lineage: Some(LINEAGE.to_owned()),
    }
}

fn unit_fence() -> unit::Fence {
    unit::Fence {
        lineage: LINEAGE.to_owned(),
        operation: "op-1".to_owned(),
        epoch: 1,
    }
}

async fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.local_addr().unwrap().port()
}

/// An engine that answers at once, or with a stream whose pieces are let out one by one.
pub(crate) struct Engine {
    address: SocketAddr,
    pub(crate) pieces: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How many pieces a stream has.
pub(crate) const PIECES: usize = 4;

impl Engine {
    pub(crate) async fn start() -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let pieces = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&pieces);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let gate = Arc::clone(&gate);
                tokio::spawn(async move {
                    // A client that goes away is no matter of the engine's.
                    let _ = answer(stream, &gate).await;
                });
            }
        });
        Self {
            address,
            pieces,
            task,
        }
    }

    fn route(&self) -> Route {
        Route {
            service: "web".to_owned(),
            gateway: "g".to_owned(),
            hosts: Vec::new(),
            path_prefix: Some("/services/web/".to_owned()),
            strip_prefix: true,
            model: None,
            model_prefix: default_model_prefix(),
            auth: Auth::default(),
            paths: Paths::default(),
            rate_limits: Vec::new(),
            upstream: Upstream::Replicas(vec![Replica {
                name: "web/default/0".to_owned(),
                host: self.address.ip().to_string(),
                port: self.address.port(),
            }]),
        }
    }
}

async fn answer(stream: TcpStream, gate: &Semaphore) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
    if !first.contains("/stream") {
        return stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            .await;
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for number in 0..PIECES {
        if number > 0 {
            gate.acquire().await.unwrap().forget();
        }
        let event = format!("data: piece {number}\n\n");
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        stream.write_all(chunk.as_bytes()).await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

/// A client's connection to the gateway.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) async fn open(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        Ok(Self(BufReader::new(stream.map_err(|error| error.to_string())?)))
    }

    async fn send(&mut self, path: &str, close: bool) -> Result<(), String> {
        let connection = if close { "close" } else { "keep-alive" };
        let request = format!(
            "GET /services/web{path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n"
        );
        let sent = self.0.write_all(request.as_bytes()).await;
        sent.map_err(|error| error.to_string())
    }

    /// Asks for something short; returns whether the connection may be kept.
    async fn ask(&mut self, path: &str, close: bool) -> Result<bool, String> {
        let asking = async {
            self.send(path, close).await?;
            let head = self.head().await?;
            let mut body = [0; 5];
            let read = self.0.read_exact(&mut body).await;
            read.map_err(|error| format!("{error} after {head:?}"))?;
            match head.starts_with("HTTP/1.1 200") && &body == b"hello" {
                true => Ok(!head.to_ascii_lowercase().contains("connection: close")),
                false => Err(head),
            }
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    async fn head(&mut self) -> Result<String, String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match self.0.read_line(&mut head).await {
                Ok(1..) => {}
                end => return Err(format!("{end:?} after {head:?}")),
            }
        }
        Ok(head)
    }

    /// Reads lines until one has a text.
    pub(crate) async fn read_until(&mut self, text: &str) -> Result<(), String> {
        let mut line = String::new();
        let reading = async {
            while !line.contains(text) {
                line.clear();
                match self.0.read_line(&mut line).await {
                    Ok(1..) => {}
                    end => return Err(format!("{end:?} before {text:?}")),
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| Err(format!("no {text:?} in time")))
    }

    /// Reads a stream to its proper end.
    pub(crate) async fn finish(mut self) -> Result<(), String> {
        self.read_until(&format!("piece {}", PIECES - 1)).await?;
        // The last, empty chunk.
        self.read_until("0\r\n").await
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    served: AtomicU64,
    closed: AtomicU64,
    failures: std::sync::Mutex<Vec<String>>,
}

/// Clients at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Waits until this many further requests were served.
    pub(crate) async fn goes_on(&self, requests: u64) {
        let goal = self.shared.served.load(Ordering::SeqCst) + requests;
        eventually("more served requests", || async {
            (self.shared.served.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    /// Lets the clients end; returns how often a connection was closed that a client would have kept.
    pub(crate) async fn without_failures(self) -> u64 {
        self.shared.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
        let failures = self.shared.failures.lock().unwrap();
        assert_eq!(*failures, Vec::<String>::new());
        self.shared.closed.load(Ordering::SeqCst)
    }
}

async fn client(shared: Arc<Shared>, port: u16, keeps: bool) {
    let mut kept = None;
    while !shared.stop.load(Ordering::SeqCst) {
        let opened = match kept.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(port).await,
        };
        let asked = async {
            let mut connection = opened?;
            let may_keep = connection.ask("/", !keeps).await?;
            Ok::<_, String>((connection, may_keep))
        };
        match asked.await {
            Ok((connection, may_keep)) => {
                shared.served.fetch_add(1, Ordering::SeqCst);
                if may_keep {
                    kept = Some(connection);
                } else if keeps {
                    shared.closed.fetch_add(1, Ordering::SeqCst);
                }
            }
            Err(failure) => shared.failures.lock().unwrap().push(failure),
        }
        // So that clients do not take the processors from what they test.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}
