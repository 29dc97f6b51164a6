//! A machine behind SSH: the user's own `ssh`, with the user's own configuration, agent and keys.
//!
//! One `ssh` process is the one connection to a machine. It runs one command there, a few lines of shell that never hold
//! anything of the user's: they put the agent's program in its place if it is not there, by its hash, and become it. All
//! else, every name, path and argument, travels as data in the conversation with the agent, where no shell sees it.
//!
//! There is no connection in the background that could outlive gabion: when gabion ends, however it ends, the pipe to
//! `ssh` closes, the agent ends, and the connection with it.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::program::AgentProgram;

/// How long the connection may take to come about.
const CONNECT_SECONDS: u32 = 10;

/// How often the machine is asked whether it is still there, and how often it may fail to answer.
const ALIVE_SECONDS: u32 = 5;
const ALIVE_COUNT: u32 = 3;

/// How long all of it may take until the agent runs, its program's upload left out.
pub(crate) const START: Duration = Duration::from_secs(45);

/// How long the upload of the agent's program may take.
const UPLOAD: Duration = Duration::from_secs(900);

/// What a login shell may print before the agent's first word.
const LONGEST_NOISE: usize = 64 << 10;

/// Runs on the machine. `$1` is the program's hash, `$2` its size.
const BOOTSTRAP: &str = "umask 077; r=\"${XDG_DATA_HOME:-$HOME/.local/share}/gabion-agent\"; d=\"$r/program/$1\"; f=\"$d/gabion-agent\"; \
if [ -x \"$f\" ]; then :; else \
mkdir -p \"$d\" || { echo gabion:cannot-make \"$d\"; exit 81; }; \
t=\"$d/.part-$$\"; echo gabion:need $(uname -s) $(uname -m); \
head -c \"$2\" > \"$t\" || { rm -f \"$t\"; rmdir \"$d\"; echo gabion:cannot-write \"$d\"; exit 82; }; \
s=$(sha256sum < \"$t\"); \
if [ \"${s%% *}\" = \"$1\" ] && chmod 700 \"$t\" && mv -f \"$t\" \"$f\"; then :; else rm -f \"$t\"; echo gabion:broken; exit 83; fi; \
fi; echo gabion:have; exec \"$f\" machine --root \"$r\"";

/// How a machine is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SshAddress {
    /// Host name or address, or an alias of the user's own configuration of SSH.
    pub hostname: String,
    /// Its own address, by which it is reached where `hostname` still leads to another machine, or to none.
    pub own_hostname: Option<String>,
    /// The port; SSH's own choice without one.
    pub port: Option<u16>,
    /// The user; SSH's own choice without one.
    pub user: Option<String>,
    /// The file of the private key; the user's agent and own keys without one.
    pub identity_file: Option<String>,
    /// The machine on the way.
    pub proxy_jump: Option<Jump>,
    /// How the machine is known.
    pub trust: Trust,
}

/// A machine on the way to another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Jump {
    /// Host name or address.
    pub hostname: String,
    /// The port.
    pub port: Option<u16>,
    /// The user.
    pub user: Option<String>,
    /// The file of the private key.
    pub identity_file: Option<String>,
    /// The public key that it is known by; the user's own `known_hosts` decides without one.
    pub host_key: Option<String>,
}

/// How a machine is known to be the one that is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// By the user's own `known_hosts`.
    #[default]
    KnownHosts,
    /// By this public key, as `known_hosts` has it: `ssh-ed25519 AAAA…`.
    Key(String),
    /// By whatever key it shows at first; that one is recorded, and no other is taken later.
    FirstUse,
}

impl Trust {
    /// Returns the key that it is known by, if gabion knows it.
    pub(crate) fn key(&self) -> Option<&String> {
        match self {
            Self::Key(key) => Some(key),
            Self::KnownHosts | Self::FirstUse => None,
        }
    }
}

/// Why a machine cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// What is configured cannot be told to SSH.
    #[error("{what} cannot be used: {why}")]
    Invalid {
        /// Which setting.
        what: String,
        /// Why not.
        why: &'static str,
    },
    /// The machine shows another key than the one it is known by.
    #[error(
        "the machine shows another host key than the one it is known by, so nothing was sent to it: {detail}"
    )]
    KeyChanged {
        /// The words of SSH.
        detail: String,
    },
    /// Nothing says how the machine is known.
    #[error("nothing says how the machine is known: {detail}")]
    KeyUnknown {
        /// The words of SSH.
        detail: String,
    },
    /// The machine does not let the user in.
    #[error("the machine does not let the user in: {detail}")]
    Denied {
        /// The words of SSH.
        detail: String,
    },
    /// There is no connection.
    #[error("{detail}")]
    Unreachable {
        /// The words of SSH.
        detail: String,
    },
    /// The agent cannot be put on the machine, or does not start there.
    #[error("{detail}")]
    Agent {
        /// Why.
        detail: String,
    },
    /// Something on this machine fails.
    #[error("{0}")]
    Here(#[from] io::Error),
}

impl SshError {
    /// Returns whether it is the machine that is away: where it was looked for nobody answers, or another one does.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::KeyChanged { .. })
    }

    /// Returns what to do about it, where one thing can be said.
    #[must_use]
    pub fn hint(&self, address: &SshAddress) -> Option<String> {
        let name = &address.hostname;
        match self {
            Self::KeyChanged { .. } => Some(match address.trust {
                Trust::KnownHosts => format!(
                    "find out why. If the machine was set up anew: `ssh-keygen -R {name}`, then connect once with ssh and compare the key"
                ),
                _ => "find out why. If the machine was set up anew, write its new key as `host_key`".to_owned(),
            }),
            Self::KeyUnknown { .. } => Some(format!(
                "connect once (`ssh {name}`) and compare the key; or write `host_key: ssh-ed25519 …` at the host; or `trust_on_first_use: true` in `ssh_config`"
            )),
            Self::Denied { .. } => Some(
                "check `user` and `identity_file`; keys with a passphrase have to be in the SSH agent (`ssh-add`)"
                    .to_owned(),
            ),
            Self::Unreachable { .. } => Some(format!("see whether this works: ssh {name}")),
            _ => None,
        }
    }
}

/// A connection with the agent at its end.
pub(crate) struct Connected {
    pub(crate) reader: BufReader<ChildStdout>,
    pub(crate) writer: ChildStdin,
    pub(crate) child: Child,
    /// The key that the machine was known by, where it is gabion that has to know it.
    pub(crate) host_key: Option<String>,
}

/// Connects, and has the agent running there.
///
/// `base` is what relative key files are relative to.
pub(crate) async fn connect(
    address: &SshAddress,
    program: &AgentProgram,
    base: &Path,
) -> Result<Connected, SshError> {
    let directory = tempfile::Builder::new().prefix("gabion-ssh-").tempdir()?;
    let config = directory.path().join("config");
    let known_hosts = directory.path().join("known_hosts");
    std::fs::write(&config, configuration(address, base, &known_hosts)?)?;
    let jump_key = address
        .proxy_jump
        .as_ref()
        .and_then(|jump| jump.host_key.as_ref());
    let mut known = String::new();
    for (alias, key) in [(KEY_ALIAS, address.trust.key()), (JUMP, jump_key)] {
        if let Some(key) = key {
            let _ = writeln!(known, "{alias} {}", plain_key(key)?);
        }
    }
    if !known.is_empty() {
        std::fs::write(&known_hosts, known)?;
    }
    let command = format!(
        "exec sh -c '{BOOTSTRAP}' sh {} {}",
        program.digest(),
        program.size()
    );
    let mut child = tokio::process::Command::new("ssh")
        .arg("-F")
        .arg(&config)
        .args(["-T", "-o", "BatchMode=yes", "--", &address.hostname, &command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // A Ctrl-C at the terminal is gabion's to take, not that of its connections.
        .process_group(0)
        .spawn()
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("`ssh` cannot be run, and machines are reached with it: {error}"),
            )
        })?;
    let (Some(mut writer), Some(reader), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("`ssh` has no standard streams").into());
    };
    let words = tokio::spawn(last_words(stderr));
    let mut reader = BufReader::new(reader);
    let started = start_agent(&mut reader, &mut writer, program).await;
    match started {
        Ok(()) => Ok(Connected {
            host_key: first_key(&known_hosts),
            reader,
            writer,
            child,
        }),
        Err(Trouble::Said(detail)) => Err(SshError::Agent { detail }),
        Err(Trouble::Here(error)) => Err(error.into()),
        Err(Trouble::Silent) => {
            drop(writer);
            let _ = child.start_kill();
            let said = words.await.unwrap_or_default();
            Err(SshError::Unreachable {
                detail: format!("no answer within {} s{}", START.as_secs(), after(&said)),
            })
        }
        Err(Trouble::Ended) => {
            drop(writer);
            let status = child.wait().await?;
            let said = words.await.unwrap_or_default();
            Err(explained(status.code(), &said, program))
        }
    }
}

/// Why the agent did not start.
enum Trouble {
    /// The connection ended without a word of the bootstrap.
    Ended,
    Silent,
    Said(String),
    Here(io::Error),
}

async fn start_agent(
    reader: &mut BufReader<ChildStdout>,
    writer: &mut ChildStdin,
    program: &AgentProgram,
) -> Result<(), Trouble> {
    let mut noise = 0;
    let mut patience = START;
    loop {
        let mut line = Vec::new();
        let limit = u64::try_from(LONGEST_NOISE).unwrap_or(u64::MAX);
        let mut bounded = (&mut *reader).take(limit);
        let read = tokio::time::timeout(patience, bounded.read_until(b'\n', &mut line))
            .await
            .map_err(|_| Trouble::Silent)?
            .map_err(|_| Trouble::Ended)?;
        if read == 0 {
            return Err(Trouble::Ended);
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("gabion:have", _) => return Ok(()),
            ("gabion:need", what) => {
                if what != program.platform() {
                    return Err(Trouble::Said(format!(
                        "the machine is `{what}`, and the agent's program is for `{}`",
                        program.platform()
                    )));
                }
                match tokio::time::timeout(UPLOAD, program.send(writer)).await {
                    Err(_) => {
                        return Err(Trouble::Said(
                            "the agent's program could not be sent in time".into(),
                        ));
                    }
                    // The other end says why, or is gone.
                    Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
                    Ok(Err(error)) => return Err(Trouble::Here(error)),
                    Ok(Ok(())) => {}
                }
                patience = UPLOAD;
            }
            ("gabion:cannot-make", path) => {
                return Err(Trouble::Said(format!(
                    "the directory {path} cannot be made on the machine: {}",
                    "its disk may be full, or the user may not write there"
                )));
            }
            ("gabion:cannot-write", path) => {
                return Err(Trouble::Said(format!(
                    "the agent's program cannot be written to {path} on the machine: its disk may be full"
                )));
            }
            ("gabion:broken", _) => {
                return Err(Trouble::Said(
                    "the agent's program did not arrive whole on the machine: its disk may be full, or `sha256sum` is missing"
                        .to_owned(),
                ));
            }
            _ => {
                noise += line.len();
                if noise > LONGEST_NOISE {
                    return Err(Trouble::Said(
                        "the machine's login shell prints without end before it runs a command".to_owned(),
                    ));
                }
            }
        }
    }
}

/// Keeps the last of what SSH says.
async fn last_words(mut stderr: impl tokio::io::AsyncRead + Unpin) -> String {
    const KEPT: usize = 8 << 10;
    let mut kept = Vec::new();
    let mut part = vec![0; 4 << 10];
    while let Ok(count @ 1..) = stderr.read(&mut part).await {
        kept.extend_from_slice(&part[..count]);
        let excess = kept.len().saturating_sub(KEPT);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Returns what SSH said, as an error says it: the lines that tell something, on one.
fn gist(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .map(|line| line.trim_matches(|c: char| c == '@' || c.is_whitespace()))
        .filter(|line| !line.is_empty() && !line.starts_with("Warning: Permanently added"))
        .collect();
    let from = lines.len().saturating_sub(3);
    lines[from..].join("; ").trim_end_matches('.').to_owned()
}

fn after(said: &str) -> String {
    let gist = gist(said);
    if gist.is_empty() {
        gist
    } else {
        format!(" ({gist})")
    }
}

fn explained(code: Option<i32>, said: &str, program: &AgentProgram) -> SshError {
    let detail = gist(said);
    let has = |words: &str| said.contains(words);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") || has("Host key for") && has("has changed") {
        // The rest of what SSH says is how to take the new key without a look.
        let fingerprint = said
            .lines()
            .find(|line| line.starts_with("SHA256:") || line.contains(" SHA256:"))
            .map(str::trim);
        return SshError::KeyChanged {
            detail: format!(
                "the key it shows is {}",
                fingerprint
                    .unwrap_or("not the recorded one")
                    .trim_end_matches('.')
            ),
        };
    }
    if has("Host key verification failed") || has("No ED25519 host key is known") {
        return SshError::KeyUnknown { detail };
    }
    if has("Permission denied") || has("Too many authentication failures") {
        return SshError::Denied { detail };
    }
    match code {
        Some(255) | None => SshError::Unreachable {
            detail: if detail.is_empty() {
                "the connection was closed".to_owned()
            } else {
                detail
            },
        },
        Some(code) => SshError::Agent {
            detail: format!(
                "the agent's program {} does not start on the machine (exit code {code}){}",
                program.path().display(),
                after(said)
            ),
        },
    }
}

/// The name under which a key that gabion knows stands in the file made for the connection.
const KEY_ALIAS: &str = "gabion-machine";

/// Returns the configuration of SSH for one machine. The user's own comes last: SSH takes what it reads first.
fn configuration(address: &SshAddress, base: &Path, known_hosts: &Path) -> Result<String, SshError> {
    let mut text = String::new();
    let host = name("hostname", &address.hostname)?;
    // Writing to a string cannot fail.
    let _ = writeln!(text, "Host {host}");
    let mut part = |key: &str, value: String| {
        let _ = writeln!(text, "  {key} {value}");
    };
    if let Some(port) = address.port {
        part("Port", port.to_string());
    }
    if let Some(user) = &address.user {
        part("User", quoted("user", user)?);
    }
    if let Some(file) = &address.identity_file {
        part("IdentityFile", identity(file, base)?);
        part("IdentitiesOnly", "yes".to_owned());
    }
    match &address.trust {
        Trust::KnownHosts => part("StrictHostKeyChecking", "yes".to_owned()),
        trust => {
            let policy = match trust {
                Trust::FirstUse => "accept-new",
                _ => "yes",
            };
            part("StrictHostKeyChecking", policy.to_owned());
            part(
                "UserKnownHostsFile",
                quoted("path", &known_hosts.to_string_lossy())?,
            );
            part("GlobalKnownHostsFile", "/dev/null".to_owned());
            part("HostKeyAlias", KEY_ALIAS.to_owned());
            part("CheckHostIP", "no".to_owned());
            part("HashKnownHosts", "no".to_owned());
            part("UpdateHostKeys", "no".to_owned());
        }
    }
    part("ConnectTimeout", CONNECT_SECONDS.to_string());
    part("ServerAliveInterval", ALIVE_SECONDS.to_string());
    part("ServerAliveCountMax", ALIVE_COUNT.to_string());
    for key in [
        "ForwardAgent",
        "ForwardX11",
        "ClearAllForwardings",
        "PermitLocalCommand",
        "ControlMaster",
    ] {
        let value = if key == "ClearAllForwardings" { "yes" } else { "no" };
        part(key, value.to_owned());
    }
    part("ControlPath", "none".to_owned());
    part("RequestTTY", "no".to_owned());
    part("RemoteCommand", "none".to_owned());
    part("LogLevel", "ERROR".to_owned());
    if let Some(jump) = &address.proxy_jump {
        part("ProxyJump", JUMP.to_owned());
        let _ = writeln!(text, "Host {JUMP}");
        let _ = writeln!(
            text,
            "  HostName {}",
            name("proxy_jump.hostname", &jump.hostname)?
        );
        if let Some(port) = jump.port {
            let _ = writeln!(text, "  Port {port}");
        }
        if let Some(user) = &jump.user {
            let _ = writeln!(text, "  User {}", quoted("proxy_jump.user", user)?);
        }
        if let Some(file) = &jump.identity_file {
            let _ = writeln!(text, "  IdentityFile {}", identity(file, base)?);
            let _ = writeln!(text, "  IdentitiesOnly yes");
        }
        let alias = match jump.host_key {
            Some(_) => {
                let file = quoted("path", &known_hosts.to_string_lossy())?;
                let _ = writeln!(
                    text,
                    "  UserKnownHostsFile {file}\n  GlobalKnownHostsFile /dev/null\n  CheckHostIP no\n  UpdateHostKeys no"
                );
                JUMP
            }
            // Its key is looked up under its own name, in the user's own file.
            None => name("proxy_jump.hostname", &jump.hostname)?,
        };
        let _ = writeln!(text, "  HostKeyAlias {alias}");
        let strict = match (&address.trust, &jump.host_key) {
            (Trust::FirstUse, None) => "accept-new",
            _ => "yes",
        };
        let _ = writeln!(
            text,
            "  StrictHostKeyChecking {strict}\n  ConnectTimeout {CONNECT_SECONDS}\n  LogLevel ERROR"
        );
    }
    text.push_str("Match all\nInclude ~/.ssh/config\nMatch all\nInclude /etc/ssh/ssh_config\n");
    Ok(text)
}

const JUMP: &str = "gabion-jump";

/// Returns a host's name as SSH takes it, and nothing that SSH would take for more than a name.
fn name<'a>(what: &str, text: &'a str) -> Result<&'a str, SshError> {
    let wrong = |why| SshError::Invalid {
        what: format!("`{what}: {text}`"),
        why,
    };
    if text.is_empty() {
        return Err(wrong("it is empty"));
    }
    if text.starts_with('-') {
        return Err(wrong("a host's name does not begin with `-`"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    if !text.chars().all(good) {
        return Err(wrong(
            "a host's name holds letters, digits, `.`, `_`, `:` and `-` only",
        ));
    }
    Ok(text)
}

/// Returns a text between quotes; there is no way to write a quote or the end of a line in one.
fn quoted(what: &str, text: &str) -> Result<String, SshError> {
    let bad = text.is_empty() || text.starts_with('-') || text.chars().any(|c| c == '"' || c.is_control());
    if bad {
        return Err(SshError::Invalid {
            what: format!("`{what}: {}`", text.escape_debug()),
            why: "SSH takes no empty text, none that begins with `-`, and no quotes or line ends here",
        });
    }
    Ok(format!("\"{text}\""))
}

fn identity(file: &str, base: &Path) -> Result<String, SshError> {
    let path = if file.starts_with('~') || file.starts_with('%') {
        PathBuf::from(file)
    } else {
        base.join(file)
    };
    quoted("identity_file", &path.to_string_lossy())
}

/// Returns a public key without a comment.
fn plain_key(key: &str) -> Result<String, SshError> {
    let mut words = key.split_whitespace();
    let wrong = || SshError::Invalid {
        what: "`host_key`".to_owned(),
        why: "it is no public key such as `ssh-ed25519 AAAA…`",
    };
    let (Some(kind), Some(body)) = (words.next(), words.next()) else {
        return Err(wrong());
    };
    let good = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "+/=-@.".contains(c))
    };
    if !good(kind) || !good(body) || kind.starts_with('@') {
        return Err(wrong());
    }
    Ok(format!("{kind} {body}"))
}

/// Returns the key that SSH put down when it met the machine, or was given.
fn first_key(known_hosts: &Path) -> Option<String> {
    let text = std::fs::read_to_string(known_hosts).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(KEY_ALIAS))
        .and_then(|rest| rest.strip_prefix(' '))
        .map(|key| key.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(hostname: &str) -> SshAddress {
        SshAddress {
            hostname: hostname.to_owned(),
            user: Some("ubuntu".to_owned()),
            identity_file: Some("keys/a b".to_owned()),
            ..SshAddress::default()
        }
    }

    #[test]
    fn what_ssh_could_misread_is_refused() {
        let write = |address: &SshAddress| configuration(address, Path::new("/p"), Path::new("/k"));
        for bad in [
            "",
            "-oProxyCommand=sh",
            "a b",
            "a\nProxyCommand sh",
            "a*",
            "%h",
            "a;b",
            "ä",
        ] {
            assert!(
                matches!(write(&address(bad)), Err(SshError::Invalid { .. })),
                "{bad:?}"
            );
        }
        for bad in ["", "a\"b", "a\nProxyCommand sh", "-oA=b"] {
            let mut address = address("h");
            address.user = Some(bad.to_owned());
            assert!(write(&address).is_err(), "{bad:?}");
        }
        for bad in [
            "",
            "ssh-ed25519",
            "@cert-authority AAAA",
            "ssh-rsa AA*AA",
            "a\nb c\nd",
        ] {
            let key = plain_key(bad);
            assert!(key.is_err() || !key.unwrap().contains('\n'), "{bad:?}");
        }
        let text = write(&address("10.0.0.7")).unwrap();
        assert!(text.contains("IdentityFile \"/p/keys/a b\"\n"), "{text}");
        assert!(text.contains("StrictHostKeyChecking yes\n"), "{text}");
    }

    #[test]
    fn words_of_ssh_become_errors_that_say_what_to_do() {
        let program = AgentProgram::of_bytes_for_tests(b"x");
        let of = |said: &str| explained(Some(255), said, &program);
        assert!(matches!(
            of("ubuntu@h: Permission denied (publickey).\n"),
            SshError::Denied { .. }
        ));
        assert!(matches!(
            of("Host key verification failed.\n"),
            SshError::KeyUnknown { .. }
        ));
        let changed = "@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nThe fingerprint for the ED25519 key sent by the remote host is\nSHA256:abc.\nHost key verification failed.\n";
        let error = of(changed);
        assert!(matches!(error, SshError::KeyChanged { .. }));
        assert!(error.to_string().contains("SHA256:abc"), "{error}");
        assert!(matches!(
            of("ssh: connect to host h port 22: Connection refused\n"),
            SshError::Unreachable { .. }
        ));
        assert!(matches!(
            explained(Some(126), "", &program),
            SshError::Agent { .. }
        ));
    }
}
