//! How an editor or a shell gets into a development environment.

use std::fmt;

use gabion_engine::address::ResourceAddress;
use gabion_engine::state::State;
use gabion_engine::state::record::Record;
use gabion_host::transport::Machines;
use gabion_machines::SSH_HOST;

/// Editors, as documents write them, with what people call them.
const TITLES: [(&str, &str); 4] = [
    ("vscode", "VS Code"),
    ("cursor", "Cursor"),
    ("windsurf", "Windsurf"),
    ("zed", "Zed"),
];

/// Where a development environment is.
enum Place {
    /// A process of this machine.
    Here,
    /// A process of a machine behind SSH.
    There(Login),
    /// A container of this machine, by its name.
    ContainerHere(String),
    /// A container of another machine.
    ContainerThere,
}

/// How a machine is logged in to.
struct Login {
    user: Option<String>,
    hostname: String,
    port: Option<i64>,
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        // An address with colons would run into the port.
        match (self.hostname.contains(':'), self.port) {
            (true, _) => write!(f, "[{}]", self.hostname)?,
            (false, _) => f.write_str(&self.hostname)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Returns what is said of getting into a program, in lines; nothing for one that is no development environment.
pub(super) fn lines(state: &State, record: &Record, ide: Option<&str>, name: &str) -> Vec<String> {
    if input(record, "role") != Some("dev-environment") {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let place = place(state, record);
    let directory = directory(record);
    let title = TITLES.into_iter().find(|(word, _)| Some(*word) == ide);
    if let Some((word, title)) = title
        && let Some(how) = open(word, &place, &directory)
    {
        lines.push(format!("To open it in {title}: {how}"));
    }
    if let Place::There(login) = &place {
        lines.push(format!("To log in to its machine: ssh ssh://{login}"));
    }
    lines.push(format!("For a shell in it: gabion attach {name} -- sh"));
    lines
}

fn input<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.inputs.get(name)?.as_str()
}

fn place(state: &State, record: &Record) -> Place {
    let machine = input(record, "machine").unwrap_or(Machines::LOCAL);
    let is_here = machine == Machines::LOCAL;
    let in_container = input(record, "runtime") == Some("docker");
    let host = ResourceAddress::of(SSH_HOST, machine)
        .ok()
        .and_then(|host| state.current(&host));
    match (in_container, host.and_then(login)) {
        (false, Some(login)) => Place::There(login),
        (false, None) => Place::Here,
        (true, _) if is_here => Place::ContainerHere(format!("/gabion-{}", record.uid)),
        (true, _) => Place::ContainerThere,
    }
}

fn login(host: &Record) -> Option<Login> {
    Some(Login {
        user: input(host, "user").map(str::to_owned),
        hostname: input(host, "hostname")?.to_owned(),
        port: host.inputs.get("port").and_then(|port| port.as_int()),
    })
}

/// Returns the directory that the program starts in.
fn directory(record: &Record) -> String {
    let unit = match input(record, "runtime") {
        Some("docker") => Some("/.gabion"),
        _ => record.attributes.get("unit_dir").and_then(|value| value.as_str()),
    };
    match (input(record, "working_dir"), unit) {
        (Some(directory), Some(unit)) => directory.replace("{unit.dir}", unit),
        (Some(directory), None) => directory.to_owned(),
        (None, Some("/.gabion") | None) => "/".to_owned(),
        (None, Some(unit)) => format!("{unit}/files"),
    }
}

/// Returns the link or the command that opens an editor there, if the editor can.
fn open(ide: &str, place: &Place, directory: &str) -> Option<String> {
    let directory = directory.replace('%', "%25").replace(' ', "%20");
    Some(match (ide, place) {
        ("zed", Place::Here) => format!("zed {directory}"),
        ("zed", Place::There(login)) => format!("zed ssh://{login}{directory}"),
        ("zed", _) | (_, Place::ContainerThere) => return None,
        (ide, Place::Here) => format!("{ide}://file{directory}"),
        (ide, Place::There(login)) => format!("{ide}://vscode-remote/ssh-remote+{login}{directory}"),
        (ide, Place::ContainerHere(name)) => {
            let name = hex::encode(name);
            format!("{ide}://vscode-remote/attached-container+{name}{directory}")
        }
    })
}
