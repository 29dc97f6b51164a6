//! The way between two builds: messages with their bounds kept, each with at most one descriptor.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The longest message.
const LONGEST: usize = 64 << 10;

/// One end.
#[derive(Debug)]
pub(super) struct Channel {
    /// Packets, not a stream: only what holds for every socket is used of the type.
    socket: UnixStream,
}

impl Channel {
    /// Makes a channel; the other end is for the successor's standard input.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (own, other) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok((Self::of(own)?, other))
    }

    /// Takes the other end from standard input, where nothing is then.
    pub(super) fn inherited() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
        if rustix::net::sockopt::socket_type(&socket)? != SocketType::SEQPACKET {
            return Err(io::Error::other(
                "standard input is not the channel of a handover",
            ));
        }
        Self::of(socket)
    }

    fn of(socket: OwnedFd) -> io::Result<Self> {
        let socket = UnixStream::from_std(socket.into())?;
        Ok(Self { socket })
    }

    /// Sends a message, and a descriptor with it.
    pub(super) async fn send(
        &self,
        message: &impl Serialize,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let sent = self
            .socket
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
                if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                    return Err(io::Error::other("no room for a descriptor"));
                }
                Ok(rustix::net::sendmsg(
                    &self.socket,
                    &[IoSlice::new(&bytes)],
                    &mut control,
                    SendFlags::NOSIGNAL,
                )?)
            })
            .await?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Waits for a message; the end of the other side is `UnexpectedEof`.
    pub(super) async fn receive<T: DeserializeOwned>(&self) -> io::Result<(T, Option<OwnedFd>)> {
        let mut bytes = vec![0; LONGEST];
        let (count, descriptor) = self
            .socket
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let received = rustix::net::recvmsg(
                    &self.socket,
                    &mut [IoSliceMut::new(&mut bytes)],
                    &mut control,
                    RecvFlags::CMSG_CLOEXEC,
                )?;
                let descriptor = control
                    .drain()
                    .filter_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                        _ => None,
                    })
                    .flatten()
                    .next();
                Ok((received.bytes, descriptor))
            })
            .await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((serde_json::from_slice(&bytes[..count])?, descriptor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_and_descriptors_arrive_together_and_an_end_is_seen() {
        let (own, other) = Channel::pair().unwrap();
        let other = Channel::of(other).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        own.send(&"first", Some(listener.as_fd())).await.unwrap();
        own.send(&"second", None).await.unwrap();
        let (text, descriptor) = other.receive::<String>().await.unwrap();
        let same = std::net::TcpListener::from(descriptor.unwrap());
        assert_eq!(
            (text.as_str(), same.local_addr().unwrap()),
            ("first", listener.local_addr().unwrap())
        );
        let (text, descriptor) = other.receive::<String>().await.unwrap();
        assert_eq!((text.as_str(), descriptor.is_none()), ("second", true));
        drop(own);
        let end = other.receive::<String>().await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }
}
