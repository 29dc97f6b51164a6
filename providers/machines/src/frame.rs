//! Messages on a stream of bytes: a length, then JSON.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest message that is taken, in bytes: far above any real one, and far below what would hurt.
const LONGEST: u32 = 64 << 20;

/// Writes one message.
pub(crate) async fn write<T: Serialize>(
    writer: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= LONGEST)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("a message of {} bytes is too long", body.len()),
            )
        })?;
    writer.write_all(&length.to_be_bytes()).await?;
    writer.write_all(&body).await?;
    writer.flush().await
}

/// Reads one message; `None` at the end of the stream.
pub(crate) async fn read<T: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "what comes is not gabion's protocol",
        ));
    }
    let mut body = vec![0; length as usize];
    reader.read_exact(&mut body).await?;
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_out_as_they_went_in_and_noise_is_refused() {
        let mut bytes = Vec::new();
        write(&mut bytes, &"é\n\0").await.unwrap();
        write(&mut bytes, &vec![1, 2]).await.unwrap();
        let mut reader = bytes.as_slice();
        assert_eq!(read::<String>(&mut reader).await.unwrap().unwrap(), "é\n\0");
        assert_eq!(read::<Vec<u8>>(&mut reader).await.unwrap().unwrap(), [1, 2]);
        assert!(read::<String>(&mut reader).await.unwrap().is_none());
        let noise = b"Welcome to this machine".as_slice();
        assert!(read::<String>(&mut &*noise).await.is_err());
        assert!(read::<String>(&mut &bytes[..6]).await.is_err());
    }
}
