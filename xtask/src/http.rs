//! A small HTTP/1.1 client for plain `http://` URLs that hands on a response's body as it arrives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Failure;

/// How long nothing may arrive before a request counts as failed.
const SILENCE: Duration = Duration::from_secs(60);

/// A response whose body is still arriving.
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// The body, decoded.
    pub(crate) body: BufReader<Body>,
}

impl Response {
    /// Returns the value of a header, whose name is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Sends `body` as JSON to `url` and returns the response once its headers are here.
pub(crate) fn post_json(url: &str, body: &str) -> Result<Response, Failure> {
    let headers = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    send("POST", url, &headers, body)
}

/// Sends one request; `headers` are whole lines beyond `Host` and `Connection`.
pub(crate) fn send(method: &str, url: &str, headers: &str, body: &str) -> Result<Response, Failure> {
    let (authority, path) = split(url)?;
    let problem = |error: std::io::Error| format!("{method} {url}: {error}");
    let mut stream = TcpStream::connect(authority).map_err(problem)?;
    stream.set_read_timeout(Some(SILENCE)).map_err(problem)?;
    stream.set_nodelay(true).map_err(problem)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
    .map_err(problem)?;
    read_response(BufReader::new(stream)).map_err(problem)
}

fn split(url: &str) -> Result<(&str, &str), Failure> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| format!("{url} is not an http:// URL"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Ok((authority, if path.is_empty() { "/" } else { path }))
}

fn read_response(mut stream: BufReader<TcpStream>) -> std::io::Result<Response> {
    let status_line = read_line(&mut stream)?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| malformed(&format!("its first line is `{status_line}`")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(&mut stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| malformed("a header without a colon"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| {
        headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let framing = if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        Framing::Chunked { left: None }
    } else if let Some(length) = header("content-length") {
        Framing::Length {
            left: length
                .parse()
                .map_err(|_| malformed("its length is not a number"))?,
        }
    } else {
        Framing::UntilClosed
    };
    Ok(Response {
        status,
        headers,
        body: BufReader::new(Body { stream, framing }),
    })
}

/// A response's body, decoded as it is read.
pub(crate) struct Body {
    stream: BufReader<TcpStream>,
    framing: Framing,
}

enum Framing {
    /// `left` of the current chunk is `None` before the first one.
    Chunked {
        left: Option<u64>,
    },
    Length {
        left: u64,
    },
    UntilClosed,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Framing::Chunked { left } = &mut self.framing {
            if let Some(0) = left {
                // The end of one chunk's data.
                read_line(&mut self.stream)?;
            }
            if left.is_none_or(|left| left == 0) {
                let line = read_line(&mut self.stream)?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16)
                    .map_err(|_| malformed(&format!("a chunk's size is `{size}`")))?;
                if size == 0 {
                    while !read_line(&mut self.stream)?.is_empty() {}
                    self.framing = Framing::Length { left: 0 };
                    return Ok(0);
                }
                *left = Some(size);
            }
        }
        let left = match &mut self.framing {
            Framing::UntilClosed => return self.stream.read(buffer),
            Framing::Length { left } | Framing::Chunked { left: Some(left) } => left,
            Framing::Chunked { left: None } => return Ok(0),
        };
        let most = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let read = self.stream.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "the answer was cut off",
            ));
        }
        *left -= read as u64;
        Ok(read)
    }
}

fn read_line(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            "the connection was closed",
        ));
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn malformed(what: &str) -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        format!("this is not an HTTP answer: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Serves `answer` once and returns what the client made of it.
    fn check(answer: &'static str) -> Result<(u16, String), Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/x", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while request.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let mut body = [0; 2];
            request.read_exact(&mut body).unwrap();
            assert_eq!(&body, b"{}");
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let result = post_json(&url, "{}").and_then(|mut response| {
            let mut text = String::new();
            response
                .body
                .read_to_string(&mut text)
                .map_err(|error| error.to_string())?;
            Ok((response.status, text))
        });
        server.join().unwrap();
        result
    }

    #[test]
    fn chunks_are_joined() {
        let answer =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n";
        assert_eq!(check(answer), Ok((200, "hello world".to_owned())));
    }

    #[test]
    fn length_bounds_the_body() {
        assert_eq!(
            check("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno more"),
            Ok((403, "no".to_owned()))
        );
    }

    #[test]
    fn body_without_framing_ends_with_the_connection() {
        assert_eq!(
            check("HTTP/1.0 200 OK\r\n\r\nall of it"),
            Ok((200, "all of it".to_owned()))
        );
    }

    #[test]
    fn cut_off_body_is_an_error() {
        let cut = check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel");
        assert!(
            cut.as_ref().is_err_and(|failure| failure.contains("cut off")),
            "{cut:?}"
        );
        let cut = check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        assert!(
            cut.as_ref().is_err_and(|failure| failure.contains("closed")),
            "{cut:?}"
        );
    }

    #[test]
    fn anything_else_is_not_an_answer() {
        assert!(
            check("SSH-2.0-OpenSSH\r\n\r\n").is_err_and(|failure| failure.contains("not an HTTP answer"))
        );
    }
}
