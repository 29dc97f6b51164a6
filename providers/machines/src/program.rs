//! The agent's program as it is put on machines.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The first bytes of a program for Linux, and where its processor stands in them.
const ELF: &[u8] = b"\x7fELF";
const MACHINE_OFFSET: usize = 18;

/// The agent's program: a file, known by its hash.
#[derive(Clone, Debug)]
pub struct AgentProgram {
    path: Arc<Path>,
    digest: Arc<str>,
    size: u64,
    platform: &'static str,
}

impl AgentProgram {
    /// Reads a program's hash.
    ///
    /// # Errors
    /// When the file cannot be read, or is no program for Linux.
    pub fn open(path: &Path) -> io::Result<Self> {
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let bytes = std::fs::read(path).map_err(at)?;
        let processor = bytes
            .get(MACHINE_OFFSET..MACHINE_OFFSET + 2)
            .map(|word| u16::from_le_bytes([word[0], word[1]]));
        let platform = match processor {
            Some(0x3e) if bytes.starts_with(ELF) => "Linux x86_64",
            Some(0xb7) if bytes.starts_with(ELF) => "Linux aarch64",
            _ => return Err(at(io::Error::other("it is no program for Linux"))),
        };
        Ok(Self {
            path: path.into(),
            digest: hex::encode(Sha256::digest(&bytes)).into(),
            size: bytes.len() as u64,
            platform,
        })
    }

    /// Returns the hash of the program, in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn platform(&self) -> &'static str {
        self.platform
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sends the program piece by piece: many machines may get it at a time.
    ///
    /// # Errors
    /// When it is not as it was when it was opened: the other end, which knows its hash, does not take it then.
    pub(crate) async fn send(&self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        const PIECE: usize = 128 << 10;
        let mut file = tokio::fs::File::open(&self.path).await?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        while let count @ 1.. = file.read(&mut piece).await? {
            hash.update(&piece[..count]);
            writer.write_all(&piece[..count]).await?;
        }
        if hex::encode(hash.finalize()) != *self.digest {
            return Err(io::Error::other(format!(
                "{} was changed while gabion ran",
                self.path.display()
            )));
        }
        writer.flush().await
    }

    #[cfg(test)]
    pub(crate) fn of_bytes_for_tests(bytes: &[u8]) -> Self {
        Self {
            path: PathBuf::from("/agent").into(),
            digest: hex::encode(Sha256::digest(bytes)).into(),
            size: bytes.len() as u64,
            platform: "Linux x86_64",
        }
    }
}

/// Where the agent's program is looked for.
#[derive(Clone, Debug, Default)]
pub struct ProgramSource {
    /// The one that is configured, and no other.
    pub configured: Option<PathBuf>,
    /// Where it may be without that, best first.
    pub candidates: Vec<PathBuf>,
}

impl ProgramSource {
    /// Returns where the program is; `None` when it is nowhere.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match &self.configured {
            Some(path) => path.is_file().then(|| path.clone()),
            None => self.candidates.iter().find(|path| path.is_file()).cloned(),
        }
    }

    /// Returns the program.
    ///
    /// # Errors
    /// A sentence that says where it was looked for.
    pub fn find(&self) -> Result<AgentProgram, String> {
        if let Some(path) = &self.configured {
            return AgentProgram::open(path).map_err(|error| {
                format!("The agent's program that `agent_path` names cannot be used: {error}.")
            });
        }
        for path in &self.candidates {
            if path.is_file() {
                return AgentProgram::open(path)
                    .map_err(|error| format!("The agent's program cannot be used: {error}."));
            }
        }
        let places: Vec<String> = self
            .candidates
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        Err(format!(
            "Machines behind SSH need the agent's program, and there is none at {}.",
            places.join(" or ")
        ))
    }
}

/// What to do when there is no program.
pub const BUILD_HINT: &str = "build it in gabion's source directory, and name the file it makes:\n    cargo xtask agent\n    backends: [{type: ssh, agent_path: target/agent/gabion-agent}]";
