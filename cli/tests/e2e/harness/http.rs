//! A small HTTP/1.1 client: requests as they are written, bodies as they arrive.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a connection may be silent before that counts as a failure.
const SILENCE: Duration = Duration::from_secs(30);

/// Why there was no answer, or not all of it.
pub(crate) type Failure = String;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// The target exactly as it is sent.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("content-type", "application/json")
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn head(&self, host: &str) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || self.method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head + "\r\n"
    }
}

/// A connection that requests are sent over, one after the other.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    /// Connects to `http://HOST:PORT…`.
    pub(crate) fn open(url: &str) -> Result<Self, Failure> {
        let host = authority(url);
        let address: SocketAddr = host
            .parse()
            .map_err(|_| format!("{url} has no address and port"))?;
        Self::open_at(address, host)
    }

    /// Connects to an address, for a host that is there.
    pub(crate) fn open_at(address: SocketAddr, host: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .map_err(|error| format!("connect to {host}: {error}"))?;
        let set = stream
            .set_read_timeout(Some(SILENCE))
            .and_then(|()| stream.set_write_timeout(Some(SILENCE)));
        set.and_then(|()| stream.set_nodelay(true))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            reader: BufReader::new(stream),
            host: host.to_owned(),
        })
    }

    /// Sends a request and reads the answer's head.
    pub(crate) fn send(mut self, request: &Request) -> Result<Answer, Failure> {
        let mut bytes = request.head(&self.host).into_bytes();
        bytes.extend(&request.body);
        self.write(&bytes)?;
        self.answer()
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.reader
            .get_mut()
            .write_all(bytes)
            .map_err(|error| format!("send to {}: {error}", self.host))
    }

    /// Reads the head of the next answer.
    pub(crate) fn answer(mut self) -> Result<Answer, Failure> {
        let (status, headers) = loop {
            let (status, headers) =
                read_head(&mut self.reader).map_err(|error| format!("{}: {error}", self.host))?;
            if status >= 200 {
                break (status, headers);
            }
        };
        let header = |name: &str| find(&headers, name);
        let framing =
            if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
                Framing::Chunked {
                    left: 0,
                    ended: false,
                    first: true,
                }
            } else if let Some(length) = header("content-length") {
                Framing::Length(length.parse().map_err(|_| format!("content-length: {length}"))?)
            } else if status == 204 || status == 304 {
                Framing::Length(0)
            } else {
                Framing::Close
            };
        Ok(Answer {
            status,
            headers,
            framing,
            connection: self,
        })
    }
}

enum Framing {
    Length(u64),
    Chunked { left: u64, ended: bool, first: bool },
    Close,
}

/// An answer whose body has not been read yet.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    framing: Framing,
    connection: Connection,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Reads the whole body; the connection can be used again unless its end was the body's.
    pub(crate) fn whole(mut self) -> Result<(Response, Option<Connection>), Failure> {
        let mut body = Vec::new();
        self.read_to_end(&mut body)
            .map_err(|error| format!("the body broke off after {} bytes: {error}", body.len()))?;
        let closes = self
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let connection = (!closes && !matches!(self.framing, Framing::Close)).then_some(self.connection);
        Ok((
            Response {
                status: self.status,
                headers: self.headers,
                body,
            },
            connection,
        ))
    }
}

impl Answer {
    /// Reads the whole body, and then whatever else comes until the other side closes.
    pub(crate) fn whole_and_rest(mut self) -> Result<(Response, Vec<u8>), Failure> {
        let (mut body, mut rest) = (Vec::new(), Vec::new());
        let read = self
            .read_to_end(&mut body)
            .and_then(|_| self.connection.reader.read_to_end(&mut rest));
        read.map_err(|error| format!("after {} bytes: {error}", body.len() + rest.len()))?;
        Ok((
            Response {
                status: self.status,
                headers: self.headers,
                body,
            },
            rest,
        ))
    }
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = &mut self.connection.reader;
        match &mut self.framing {
            Framing::Close => reader.read(buffer),
            Framing::Length(left) => {
                let count = read_some(reader, buffer, *left)?;
                *left -= count as u64;
                Ok(count)
            }
            Framing::Chunked { left, ended, first } => {
                if *ended || buffer.is_empty() {
                    return Ok(0);
                }
                if *left == 0 {
                    if !*first {
                        line(reader)?;
                    }
                    *first = false;
                    let size = line(reader)?;
                    let size = size.split(';').next().unwrap_or_default();
                    *left = u64::from_str_radix(size.trim(), 16)
                        .map_err(|_| io::Error::other(format!("a chunk's size is {size:?}")))?;
                    if *left == 0 {
                        while !line(reader)?.is_empty() {}
                        *ended = true;
                        return Ok(0);
                    }
                }
                let count = read_some(reader, buffer, *left)?;
                *left -= count as u64;
                Ok(count)
            }
        }
    }
}

/// Reads at least one of the bytes that must still come.
fn read_some(reader: &mut impl Read, buffer: &mut [u8], left: u64) -> io::Result<usize> {
    let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    if most == 0 {
        return Ok(0);
    }
    match reader.read(&mut buffer[..most])? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| format!("{error}: {}", self.text()))
    }
}

/// Sends one request over a connection of its own.
pub(crate) fn send(url: &str, request: &Request) -> Result<Response, Failure> {
    let request = request.clone().header("connection", "close");
    Ok(Connection::open(url)?.send(&request)?.whole()?.0)
}

/// Gets `http://HOST:PORT/PATH`.
pub(crate) fn get(url: &str) -> Result<Response, Failure> {
    send(url, &Request::new("GET", path(url)))
}

/// Returns the address and port of a URL.
pub(crate) fn authority(url: &str) -> &str {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    rest.split('/').next().unwrap_or(rest)
}

/// Returns the path of a URL, `/` if there is none.
pub(crate) fn path(url: &str) -> &str {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    rest.find('/').map_or("/", |at| &rest[at..])
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection was closed",
        ));
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

type Head = (u16, Vec<(String, String)>);

fn read_head(reader: &mut impl BufRead) -> io::Result<Head> {
    let first = line(reader)?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no status line: {first:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other(format!("no header: {line:?}")))?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
}
