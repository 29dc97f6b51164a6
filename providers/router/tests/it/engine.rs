//! Workers: the quickstart's engine, and requests to it through the router.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::harness::PATIENCE;

/// An engine that dies with the test.
pub(crate) struct Engine {
    pub(crate) port: u16,
    child: Child,
}

impl Engine {
    pub(crate) async fn start() -> Self {
        Self::with(0, &[]).await
    }

    /// Starts one on a port; 0 is any.
    pub(crate) async fn with(port: u16, options: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart/engine.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args(["--port", &port.to_string(), "--model", "m"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("the engine does not start")
            .unwrap()
            .expect("the engine has died");
        let port = line.rsplit_once(':').unwrap().1.parse().unwrap();
        Self { port, child }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A chat completion that is being streamed.
pub(crate) struct Stream(TcpStream, Vec<u8>);

impl Stream {
    /// Asks for so many tokens and returns when the first has come.
    pub(crate) async fn begin(port: u16, tokens: u32) -> Self {
        let body = serde_json::json!({
            "model": "m", "stream": true, "max_tokens": tokens, "ignore_eos": true,
            "messages": [{"role": "user", "content": "hello"}],
        });
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut stream = Self(stream, Vec::new());
        while !stream.text().contains("data: ") {
            assert!(stream.more().await, "no stream: {}", stream.text());
        }
        stream
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.1).into_owned()
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let count = tokio::time::timeout(PATIENCE, self.0.read(&mut buffer))
            .await
            .expect("the stream stalls")
            .unwrap_or(0);
        self.1.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// Reads to the end and returns whether it is the proper one.
    pub(crate) async fn ends_well(mut self) -> bool {
        while self.more().await {}
        self.text().contains("data: [DONE]")
    }

    /// Returns whether the stream still runs, after reading what has come so far.
    pub(crate) async fn is_running(&mut self) -> bool {
        let mut buffer = [0; 4096];
        while let Ok(read) = tokio::time::timeout(Duration::from_millis(1), self.0.read(&mut buffer)).await {
            match read {
                Ok(count @ 1..) => self.1.extend_from_slice(&buffer[..count]),
                _ => return false,
            }
        }
        !self.text().contains("data: [DONE]")
    }
}
