//! An agent in this process, upstreams that record what reaches them, and a client that sends exactly the bytes it is given.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gabion_agent::client::{AgentClient, SOCKET_NAME};
use gabion_agent::protocol::{Auth, Fence, Listener, Operation, Paths, Replica, Route, Upstream};
use gabion_agent::{Clock, Limits, ServeOptions, serve};
use gabion_host::transport::LocalTransport;
pub(crate) use gabion_testing::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn fence() -> Fence {
    Fence {
        epoch: 1,
        operation: "op-1".to_owned(),
        lineage: None,
    }
}

/// Returns a port nobody listens on at the moment.
pub(crate) async fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// An agent with one listener named `g`.
pub(crate) struct TestAgent {
    pub(crate) client: AgentClient,
    pub(crate) port: u16,
    directory: tempfile::TempDir,
    options: ServeOptions,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<std::io::Result<()>>>,
}

impl TestAgent {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default(), None).await
    }

    pub(crate) async fn with(limits: Limits, domain: Option<&str>) -> Self {
        Self::listening(limits, domain, None).await
    }

    /// Starts an agent whose listener speaks HTTPS, and plain HTTP on a port of its own.
    pub(crate) async fn secure(domain: &str, http_port: u16) -> Self {
        Self::listening(Limits::default(), Some(domain), Some(http_port)).await
    }

    async fn listening(limits: Limits, domain: Option<&str>, http_port: Option<u16>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = ServeOptions::new(directory.path());
        options.limits = limits;
        options.grace = Duration::from_secs(5);
        let client = AgentClient::new(Arc::new(LocalTransport), directory.path().join(SOCKET_NAME));
        let mut agent = Self {
            client,
            port: free_port().await,
            directory,
            options,
            stop: None,
            task: None,
        };
        agent.run().await;
        let listener = Listener {
            name: "g".to_owned(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: agent.port,
            domain: domain.map(str::to_owned),
            http_port,
        };
        agent
            .client
            .change(&fence(), Operation::PutListener(listener))
            .await
            .unwrap();
        agent
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    async fn run(&mut self) {
        let (stop, stopped) = oneshot::channel();
        self.stop = Some(stop);
        self.task = Some(tokio::spawn(serve(self.options.clone(), async move {
            let _ = stopped.await;
        })));
        let client = self.client.clone();
        eventually("the agent's start", || async { client.status().await.ok() }).await;
    }

    /// Tells the agent to stop; the returned task ends when it has.
    pub(crate) fn begin_stop(&mut self) -> JoinHandle<std::io::Result<()>> {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.take().unwrap()
    }

    /// Sets the clock of the next start.
    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.options.clock = clock;
    }

    pub(crate) async fn restart(&mut self) {
        self.begin_stop().await.unwrap().unwrap();
        self.start_again().await;
    }

    pub(crate) async fn start_again(&mut self) {
        self.run().await;
        let port = self.port;
        eventually("the listener", || async move {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()
        })
        .await;
    }

    pub(crate) async fn put(&self, route: Route) {
        self.client.put_route(&fence(), route, 5).await.unwrap();
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
                .await
                .unwrap(),
        )
    }

    /// Sends bytes on a connection of their own and returns everything that comes back.
    pub(crate) async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.read_to_end().await
    }

    /// Sends a simple request and returns status and body.
    pub(crate) async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let answer = self
            .exchange(format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        (
            status_of(&answer),
            answer
                .split_once("\r\n\r\n")
                .map(|(_, body)| body.to_owned())
                .unwrap_or_default(),
        )
    }
}

pub(crate) fn status_of(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no status: {answer:?}"))
}

/// A client that sends what it is told.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until the other side closes (a reset counts).
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        let read = async {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = self.0.read(&mut buffer).await {
                all.extend_from_slice(&buffer[..count]);
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("the connection stays open");
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Reads until the bytes so far contain a text.
    pub(crate) async fn read_until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        let read = async {
            let mut buffer = [0; 4096];
            while !String::from_utf8_lossy(&all).contains(text) {
                match self.0.read(&mut buffer).await {
                    Ok(count @ 1..) => all.extend_from_slice(&buffer[..count]),
                    end => panic!(
                        "{end:?} after {:?}, waiting for {text:?}",
                        String::from_utf8_lossy(&all)
                    ),
                }
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .unwrap_or_else(|_| panic!("no {text:?}"));
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// A request as an upstream saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let named = |line: &&str| {
            line.split(':')
                .next()
                .is_some_and(|found| found.eq_ignore_ascii_case(name))
        };
        self.head
            .lines()
            .skip(1)
            .filter(named)
            .map(|line| line.split_once(':').unwrap().1.trim())
            .collect()
    }
}

/// What an upstream does with a request it has read.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Answers 200 with its name.
    Name,
    /// Answers with these bytes and closes.
    Raw(&'static str),
    /// Sends the head and one event of a stream, then one more per permit, then the end at the last.
    Stream(Arc<tokio::sync::Semaphore>, usize),
    /// Never answers.
    Silence,
    /// Closes without an answer.
    Close,
    /// Switches protocols and echoes.
    Echo,
}

/// A small server that records raw requests.
pub(crate) struct TestUpstream {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections whose client went away before the answer was complete.
    gone: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for TestUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestUpstream {
    pub(crate) async fn start(name: &str, behaviour: Behaviour) -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let gone: Arc<Mutex<usize>> = Arc::default();
        let (records, leavers, own_name) = (Arc::clone(&seen), Arc::clone(&gone), name.to_owned());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let (behaviour, records, leavers, name) = (
                    behaviour.clone(),
                    Arc::clone(&records),
                    Arc::clone(&leavers),
                    own_name.clone(),
                );
                tokio::spawn(
                    async move { serve_upstream(stream, &name, behaviour, &records, &leavers).await },
                );
            }
        });
        Self {
            name: name.to_owned(),
            address,
            seen,
            gone,
            task,
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn gone(&self) -> usize {
        *self.gone.lock().unwrap()
    }

    pub(crate) fn replica(&self) -> Replica {
        Replica {
            name: self.name.clone(),
            host: "127.0.0.1".to_owned(),
            port: self.address.port(),
        }
    }
}

async fn serve_upstream(
    mut stream: TcpStream,
    name: &str,
    behaviour: Behaviour,
    records: &Mutex<Vec<Seen>>,
    gone: &Mutex<usize>,
) {
    let Some(seen) = read_request(&mut stream).await else {
        *gone.lock().unwrap() += 1;
        return;
    };
    records.lock().unwrap().push(seen);
    match behaviour {
        Behaviour::Name => {
            let length = name.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nX-Upstream: {name}\r\nContent-Length: {length}\r\n\r\n{name}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        Behaviour::Raw(answer) => {
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        Behaviour::Close => {}
        Behaviour::Silence => {
            let mut rest = [0; 64];
            while let Ok(1..) = stream.read(&mut rest).await {}
            *gone.lock().unwrap() += 1;
        }
        Behaviour::Stream(permits, events) => {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            for number in 0..events {
                let event =
                    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"t{number}\"}}}}]}}\n\n");
                let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                if stream.write_all(chunk.as_bytes()).await.is_err() {
                    *gone.lock().unwrap() += 1;
                    return;
                }
                let mut rest = [0; 64];
                tokio::select! {
                    permit = permits.acquire() => permit.unwrap().forget(),
                    _ = stream.read(&mut rest) => {
                        *gone.lock().unwrap() += 1;
                        return;
                    }
                }
            }
            let _ = stream.write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await;
        }
        Behaviour::Echo => {
            let head =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            *gone.lock().unwrap() += 1;
        }
    }
}

/// Reads one request, strictly: a head and the body that its one framing says.
async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        more(stream, &mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes.split_off(end + 4);
    let seen = Seen {
        head,
        body: String::new(),
    };
    let (lengths, codings) = (seen.header("content-length"), seen.header("transfer-encoding"));
    assert!(
        lengths.len() + codings.len() <= 1,
        "two framings reached the upstream: {}",
        seen.head
    );
    if let Some(length) = lengths.first() {
        let length: usize = length.parse().unwrap();
        while body.len() < length {
            more(stream, &mut body).await?;
        }
        assert_eq!(body.len(), length, "bytes behind the body reached the upstream");
    } else if !codings.is_empty() {
        let mut decoded = Vec::new();
        loop {
            let line_end = loop {
                match body.windows(2).position(|window| window == b"\r\n") {
                    Some(end) => break end,
                    None => more(stream, &mut body).await?,
                }
            };
            let size = usize::from_str_radix(std::str::from_utf8(&body[..line_end]).unwrap(), 16).unwrap();
            while body.len() < line_end + 2 + size + 2 {
                more(stream, &mut body).await?;
            }
            decoded.extend_from_slice(&body[line_end + 2..line_end + 2 + size]);
            body.drain(..line_end + 2 + size + 2);
            if size == 0 {
                break;
            }
        }
        assert!(body.is_empty(), "bytes behind the body reached the upstream");
        body = decoded;
    }
    Some(Seen {
        body: String::from_utf8_lossy(&body).into_owned(),
        ..seen
    })
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer).await {
        Ok(count @ 1..) => {
            bytes.extend_from_slice(&buffer[..count]);
            Some(())
        }
        _ => None,
    }
}

/// A route of a service with neither model nor router, below `/services/<service>/`.
pub(crate) fn plain_route(service: &str, upstreams: &[&TestUpstream]) -> Route {
    Route {
        service: service.to_owned(),
        gateway: "g".to_owned(),
        hosts: Vec::new(),
        path_prefix: Some(format!("/services/{service}/")),
        strip_prefix: true,
        model: None,
        model_prefix: "/v1".to_owned(),
        auth: Auth {
            required: false,
            token_digests: BTreeMap::new(),
        },
        paths: Paths {
            restricted: false,
            extra: Vec::new(),
        },
        rate_limits: Vec::new(),
        upstream: Upstream::Replicas(upstreams.iter().map(|upstream| upstream.replica()).collect()),
    }
}

/// A route of a service with a model.
pub(crate) fn model_route(service: &str, model: &str, upstreams: &[&TestUpstream]) -> Route {
    let mut route = plain_route(service, upstreams);
    route.model = Some(model.to_owned());
    route.paths.restricted = true;
    route
}

/// The digest by which a token is known.
pub(crate) fn digest(token: &str) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(token.as_bytes()))
}
