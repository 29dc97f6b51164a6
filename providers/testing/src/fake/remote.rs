//! The fake cloud in a process of its own: one JSON line each way over a Unix socket, a connection per request.
//!
//! What the cloud leaves unanswered shows as a connection that closes without an answer.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::api::{AdminRequest, Answer, ApiError, ApiRequest, CloudClient, Dump};
use super::handle::FakeCloud;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Api(ApiRequest),
    Admin(AdminRequest),
}

/// Serves a cloud until the future is dropped.
///
/// # Errors
/// When no more connections can be accepted.
pub async fn serve(listener: UnixListener, cloud: FakeCloud) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let cloud = cloud.clone();
        tokio::spawn(async move {
            // A client that went away is its own business.
            drop(answer(stream, cloud).await);
        });
    }
}

async fn answer(stream: UnixStream, cloud: FakeCloud) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut text = String::new();
    BufReader::new(reader).read_line(&mut text).await?;
    let mut reply = match serde_json::from_str(&text)? {
        Line::Api(request) => match cloud.send(request).await {
            Answer::Lost => return Ok(()),
            answer => serde_json::to_string(&answer)?,
        },
        Line::Admin(request) => serde_json::to_string(&cloud.administer(request))?,
    };
    reply.push('\n');
    writer.write_all(reply.as_bytes()).await
}

/// A connection to a cloud in another process.
#[derive(Debug, Clone)]
pub struct RemoteCloud {
    socket: PathBuf,
}

impl RemoteCloud {
    /// Names the socket; connections are made per request.
    pub fn new(socket: impl AsRef<Path>) -> Self {
        Self {
            socket: socket.as_ref().to_owned(),
        }
    }

    /// Does what an administrator says.
    ///
    /// # Errors
    /// When the cloud cannot be reached or does not understand.
    pub async fn administer(&self, request: AdminRequest) -> io::Result<Result<Option<Dump>, ApiError>> {
        let reply = self.exchange(&Line::Admin(request)).await?;
        Ok(serde_json::from_str(&reply)?)
    }

    async fn exchange(&self, line: &Line) -> io::Result<String> {
        let (reader, mut writer) = UnixStream::connect(&self.socket).await?.into_split();
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        writer.write_all(text.as_bytes()).await?;
        let mut reply = String::new();
        BufReader::new(reader).read_line(&mut reply).await?;
        Ok(reply)
    }
}

#[async_trait]
impl CloudClient for RemoteCloud {
    async fn send(&self, request: ApiRequest) -> Answer {
        match self.exchange(&Line::Api(request)).await {
            Ok(reply) => serde_json::from_str(&reply).unwrap_or(Answer::Lost),
            Err(_) => Answer::Lost,
        }
    }
}
