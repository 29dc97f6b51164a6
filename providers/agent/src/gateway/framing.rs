//! A view on the raw bytes of a client's connection, to see what the HTTP parser does not tell.
//!
//! hyper asks an answer's body for nothing while the client takes nothing, so no limit in a body ends a connection whose
//! client has stopped reading. This view does.
//!
//! hyper reads a request that has both `Transfer-Encoding` and `Content-Length` as chunked and drops the length, as
//! RFC 9112 allows, but keeps the connection open and does not say that it happened. Such a request is how smuggling
//! looks, and whatever is pipelined behind it must not be served. So the gateway counts the `Content-Length` lines on the
//! wire and compares with those it was told of.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A line that begins a `Content-Length` header; the parser allows nothing between name and colon.
const NEEDLE: &[u8] = b"\ncontent-length:";

/// How many `Content-Length` lines came in on a connection. Lines inside bodies count too: that errs towards closing.
#[derive(Clone, Debug, Default)]
pub(crate) struct LengthLines(Arc<AtomicU64>);

impl LengthLines {
    /// Returns how many lines came in so far.
    pub(crate) fn seen(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A connection whose incoming bytes are watched.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    inner: S,
    lines: LengthLines,
    matched: usize,
    write_idle: Duration,
    /// Runs while the other side takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    /// Watches a connection from its first byte; it breaks when what is written is not taken for so long.
    pub(crate) fn new(inner: S, write_idle: Duration) -> (Self, LengthLines) {
        let lines = LengthLines::default();
        (
            Self {
                inner,
                lines: lines.clone(),
                matched: 0,
                write_idle,
                stalled: None,
            },
            lines,
        )
    }

    /// Turns a write that has waited for too long into an error.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timer = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.write_idle)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn scan(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // The needle begins with a newline and holds no other, so a mismatch can only restart at one.
            if byte.to_ascii_lowercase() == NEEDLE[self.matched] {
                self.matched += 1;
                if self.matched == NEEDLE.len() {
                    self.lines.0.fetch_add(1, Ordering::AcqRel);
                    self.matched = 0;
                }
            } else {
                self.matched = usize::from(byte == b'\n');
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.scan(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.bounded(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    #[test]
    fn length_lines_are_counted_across_reads() {
        let (mut watched, lines) = Watched::new((), Duration::ZERO);
        for part in [
            "POST / HTTP/1.1\r",
            "\nContent-",
            "LENGTH: 3\r\n\n",
            "\ncontent-length : 3",
            "\ncontent-length:4",
        ] {
            watched.scan(part.as_bytes());
        }
        assert_eq!(lines.seen(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_let_go() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let (mut watched, _) = Watched::new(ours, Duration::from_secs(1800));
        let begun = Instant::now();
        let writing = tokio::spawn(async move { watched.write_all(&[0; 24]).await });
        tokio::time::sleep(Duration::from_secs(1000)).await;
        theirs.read_exact(&mut [0; 8]).await.unwrap();
        let error = writing.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 2800);
    }
}
