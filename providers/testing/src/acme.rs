//! An ACME authority with a DNS server: pebble and what comes with it, for tests of certificates. They are on loopback, or on
//! a network of the tests' own.
//!
//! The authority looks for challenges at one port of whatever address the DNS server gives for a name. It forgets all accounts
//! and orders when it ends, and its root is another one at each start.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

const PEBBLE: &str = "/usr/bin/pebble";
const DNS: &str = "/usr/bin/pebble-challtestsrv";

/// How long a server may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often other ports are tried when somebody was quicker to take those that were free.
const TRIES: usize = 5;

/// An authority and its DNS server, which end when this is dropped.
#[derive(Debug)]
pub struct Authority {
    directory: tempfile::TempDir,
    challenges: u16,
    _dns: Server,
    dns_address: SocketAddr,
    dns_management: SocketAddr,
    pebble: Server,
    address: SocketAddr,
    management: SocketAddr,
}

#[derive(Debug)]
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Returns whether this machine has the programs; else says that a test is skipped.
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn is_there() -> bool {
    let there = [PEBBLE, DNS].iter().all(|program| Path::new(program).is_file());
    if !there {
        eprintln!("skipped: there is no pebble");
    }
    there
}

impl Authority {
    /// Starts both on loopback; challenges are looked for at this port.
    ///
    /// # Errors
    /// They cannot be started.
    pub fn start(challenges: u16) -> io::Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST, challenges)
    }

    /// Starts both at an address of the network that the caller is on; whoever asks something of them later is on it too.
    ///
    /// # Errors
    /// They cannot be started.
    pub fn start_at(own: Ipv4Addr, challenges: u16) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), own.to_string()])
            .map_err(io::Error::other)?;
        std::fs::write(directory.path().join("cert.pem"), key.cert.pem())?;
        std::fs::write(directory.path().join("key.pem"), key.signing_key.serialize_pem())?;
        let (dns, [dns_address, dns_management]) =
            started(own, directory.path(), "dns", |[dns, management]| {
                let mut command = Command::new(DNS);
                command
                    .args(["-dns01", &dns.to_string(), "-management", &management.to_string()])
                    .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                    .args(["-defaultIPv4", "", "-defaultIPv6", ""]);
                Ok(command)
            })?;
        let (pebble, [address, management]) = pebble(own, directory.path(), challenges, dns_address)?;
        Ok(Self {
            directory,
            challenges,
            _dns: dns,
            dns_address,
            dns_management,
            pebble,
            address,
            management,
        })
    }

    /// Returns the URL of the directory.
    #[must_use]
    pub fn directory_url(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// Returns the file with the certificate that the authority itself shows.
    #[must_use]
    pub fn root_certificate(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    /// Returns the DNS server.
    #[must_use]
    pub fn nameserver(&self) -> SocketAddr {
        self.dns_address
    }

    /// Lets a name lead to an address, instead of where it led.
    ///
    /// # Errors
    /// The DNS server does not take it.
    pub fn point(&self, name: &str, address: IpAddr) -> io::Result<()> {
        let host = format!("{name}.");
        self.manage_dns("/clear-a", &json!({"host": host}))?;
        self.manage_dns(
            "/add-a",
            &json!({"host": host, "addresses": [address.to_string()]}),
        )
    }

    fn manage_dns(&self, path: &str, body: &serde_json::Value) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.dns_management)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: dns\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.starts_with("HTTP/1.1 200 ") {
            true => Ok(()),
            false => Err(io::Error::other(answer)),
        }
    }

    /// Ends the authority and starts it anew at the same place: it has forgotten everything, and makes certificates with
    /// another root.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self) -> io::Result<()> {
        self.pebble.0.kill()?;
        self.pebble.0.wait()?;
        let config = self.directory.path().join("pebble.json");
        let mut command = pebble_command(&config, self.dns_address);
        self.pebble = spawn(&mut command, &self.directory.path().join("pebble.log"))?;
        await_ports(&mut self.pebble, &[self.address, self.management])
            .then_some(())
            .ok_or_else(|| io::Error::other("pebble does not start again"))
    }

    /// Returns the root of the certificates that are made, in PEM.
    ///
    /// # Errors
    /// The authority does not answer.
    pub fn issuer_root(&self) -> io::Result<String> {
        let own = std::fs::read_to_string(self.root_certificate())?;
        let request = "GET /roots/0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = exchange(self.management, "localhost", &own, request)?.answer;
        let pem = answer
            .find("-----BEGIN CERTIFICATE")
            .map(|start| answer[start..].to_owned());
        pem.ok_or_else(|| io::Error::other(answer))
    }

    /// Returns the port at which challenges are looked for.
    #[must_use]
    pub fn challenge_port(&self) -> u16 {
        self.challenges
    }

    /// Returns what the authority has written so far, its decisions among it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn log(&self) -> io::Result<String> {
        std::fs::read_to_string(self.directory.path().join("pebble.log"))
    }
}

/// What came back over TLS.
#[derive(Debug)]
pub struct Exchanged {
    /// The answer, as it came.
    pub answer: String,
    /// The certificate that the server showed.
    pub certificate: CertificateDer<'static>,
}

/// Sends a request over TLS and returns everything that comes back; the server must show a certificate for the name that
/// leads to the root.
///
/// # Errors
/// It does not, or does not answer.
pub fn exchange(server: SocketAddr, name: &str, root: &str, request: &str) -> io::Result<Exchanged> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(root.as_bytes()) {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let socket = TcpStream::connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(client, socket);
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // HTTP says where an answer ends; many servers close without a word of TLS.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    let shown = stream.conn.peer_certificates().and_then(<[_]>::first).cloned();
    Ok(Exchanged {
        answer: String::from_utf8_lossy(&answer).into_owned(),
        certificate: shown.ok_or_else(|| io::Error::other("the server showed no certificate"))?,
    })
}

fn pebble(
    own: Ipv4Addr,
    directory: &Path,
    challenges: u16,
    dns: SocketAddr,
) -> io::Result<(Server, [SocketAddr; 2])> {
    started(own, directory, "pebble", |[address, management]| {
        let config = json!({"pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": directory.join("cert.pem"),
            "privateKey": directory.join("key.pem"),
            "httpPort": challenges,
            "tlsPort": 1,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        let file = directory.join("pebble.json");
        std::fs::write(&file, config.to_string())?;
        Ok(pebble_command(&file, dns))
    })
}

fn pebble_command(config: &Path, dns: SocketAddr) -> Command {
    let mut command = Command::new(PEBBLE);
    command
        .arg("-config")
        .arg(config)
        .args(["-dnsserver", &dns.to_string()])
        // By itself it waits at random, refuses some requests at random and forgets no authorisation at random.
        .envs([
            ("PEBBLE_VA_NOSLEEP", "1"),
            ("PEBBLE_WFE_NONCEREJECT", "0"),
            ("PEBBLE_AUTHZREUSE", "0"),
        ]);
    command
}

/// Starts a server on two free ports of an address.
fn started(
    own: Ipv4Addr,
    directory: &Path,
    name: &str,
    command: impl Fn([SocketAddr; 2]) -> io::Result<Command>,
) -> io::Result<(Server, [SocketAddr; 2])> {
    let log = directory.join(format!("{name}.log"));
    for _ in 0..TRIES {
        let addresses = [free_address(own)?, free_address(own)?];
        let mut server = spawn(&mut command(addresses)?, &log)?;
        if await_ports(&mut server, &addresses) {
            return Ok((server, addresses));
        }
    }
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    Err(io::Error::other(format!("{name} does not start: {said}")))
}

fn spawn(command: &mut Command, log: &Path) -> io::Result<Server> {
    let output = std::fs::File::options().create(true).append(true).open(log)?;
    let errors = output.try_clone()?;
    command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map(Server)
}

/// Returns whether a server listens on its ports before it ends.
fn await_ports(server: &mut Server, addresses: &[SocketAddr]) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if !matches!(server.0.try_wait(), Ok(None)) {
            return false;
        }
        if addresses
            .iter()
            .all(|address| TcpStream::connect(address).is_ok())
        {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_address(own: Ipv4Addr) -> io::Result<SocketAddr> {
    TcpListener::bind((own, 0))?.local_addr()
}
