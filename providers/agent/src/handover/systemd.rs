//! What a service tells systemd.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// Says which process is the service's from now on. Only the one that has been so far is heard.
pub(super) fn tell_main_process(socket: &Path, pid: i32) -> io::Result<()> {
    let address = match socket.as_os_str().as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let message = format!("MAINPID={pid}\n");
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_hears_of_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        tell_main_process(&path, 42).unwrap();
        let mut heard = [0; 64];
        let count = systemd.recv(&mut heard).unwrap();
        assert_eq!(&heard[..count], b"MAINPID=42\n");
    }
}
