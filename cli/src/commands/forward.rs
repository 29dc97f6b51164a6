//! Ports of a program, reached from this machine's loopback address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use gabion_engine::state::record::Record;
use gabion_inference::Forward;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::args::PortPair;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Printer;
use crate::wiring::Program;

/// How many ports after the wanted one are tried.
const NEXT_PORTS: u16 = 100;

/// How a port is to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// The port of the program.
    program: u16,
    /// The port here; `None` means any.
    local: Option<u16>,
    /// Whether it must be that very one.
    exactly: bool,
}

/// Returns which ports of a program are forwarded: those that its document declares, those that it has, and those that are
/// asked for, which count most.
pub(super) fn plan(record: &Record, declared: &[Forward], asked: &[PortPair]) -> Vec<Wish> {
    let mut wishes: BTreeMap<u16, Wish> = BTreeMap::new();
    let mut wish = |program: u16, local: Option<u16>, asked: bool| {
        let wish = Wish {
            program,
            local,
            exactly: asked || local.is_some_and(|local| local != program),
        };
        wishes.insert(program, wish);
    };
    for port in inner_ports(record) {
        wish(port, Some(port), false);
    }
    for forward in declared {
        wish(forward.program, forward.local, false);
    }
    for pair in asked {
        wish(pair.program, Some(pair.local), true);
    }
    wishes.into_values().collect()
}

/// Returns the ports that a program itself listens on: in a container its own, else those of the machine.
fn inner_ports(record: &Record) -> Vec<u16> {
    let port = |value: &gabion_engine::value::Value| u16::try_from(value.as_int()?).ok();
    let container = record
        .inputs
        .get("container")
        .and_then(|container| container.as_map());
    let ports = match container {
        Some(container) => container.get("ports"),
        None => record.attributes.get("port"),
    };
    let ports = ports.and_then(|ports| ports.as_map());
    ports
        .into_iter()
        .flat_map(|ports| ports.values())
        .filter_map(port)
        .collect()
}

/// Returns the port of this machine at which a program's port is reached without anybody's help.
fn open_here(record: &Record, program: &Program, port: u16) -> Option<u16> {
    if !program.is_here() {
        return None;
    }
    let leased = record.attributes.get("port")?.as_map()?;
    let container = record
        .inputs
        .get("container")
        .and_then(|container| container.as_map());
    let names = container.and_then(|container| container.get("ports")?.as_map());
    leased.iter().find_map(|(name, leased)| {
        let leased = u16::try_from(leased.as_int()?).ok()?;
        let inner = match container {
            Some(_) => u16::try_from(names?.get(name)?.as_int()?).ok()?,
            None => leased,
        };
        (inner == port).then_some(leased)
    })
}

/// Forwards ports until it is dropped.
pub(super) struct Forwarder {
    _listeners: Vec<AbortOnDropHandle<()>>,
}

impl Forwarder {
    /// Takes the ports of this machine, and says which lead where.
    ///
    /// # Errors
    /// When one that must be taken cannot be; none is open then.
    pub(super) async fn open(
        program: &Program,
        wishes: Vec<Wish>,
        record: &Record,
        context: &Context,
    ) -> Result<Self, Failure> {
        let printer = &context.printer;
        let name = record.address.name.to_string();
        let mut open: Vec<(TcpListener, u16)> = Vec::new();
        let mut said: Vec<String> = Vec::new();
        for wish in wishes {
            if let Some(port) = open_here(record, program, wish.program)
                && (!wish.exactly || wish.local == Some(port))
            {
                said.push(format!(
                    "127.0.0.1:{port} is port {} of `{name}` already.",
                    wish.program
                ));
                continue;
            }
            let listener = listen(wish).await?;
            let port = listener
                .local_addr()
                .map_err(|error| Failure::new("cannot forward").detail(format!("{error}.")))?
                .port();
            let instead = match wish.local {
                Some(wanted) if wanted != port => format!(" (port {wanted} of this machine is taken)"),
                _ => String::new(),
            };
            said.push(format!(
                "Forwarding 127.0.0.1:{port} to port {} of `{name}`{instead}.",
                wish.program
            ));
            open.push((listener, wish.program));
        }
        for line in said {
            printer.status(&line);
        }
        let serve = |(listener, port)| {
            let serving = serve(listener, program.clone(), port, printer.clone());
            AbortOnDropHandle::new(tokio::spawn(serving))
        };
        Ok(Self {
            _listeners: open.into_iter().map(serve).collect(),
        })
    }
}

/// Takes a port of this machine's loopback address: the wanted one, or, where it need not be that one, the next free one.
async fn listen(wish: Wish) -> Result<TcpListener, Failure> {
    let first = wish.local.unwrap_or(0);
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let refused = match bind(first).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    if !wish.exactly {
        for next in 1..=NEXT_PORTS {
            // A port that needs root needs it next to it too.
            let port = first.max(1023).saturating_add(next);
            if let Ok(listener) = bind(port).await {
                return Ok(listener);
            }
        }
    }
    let program = wish.program;
    Err(Failure::new("port that cannot be taken")
        .detail(format!(
            "Port {first} of this machine's loopback address, which is to lead to port {program} of the program, cannot be taken: {refused}."
        ))
        .hint(format!("take another one: --port {}:{program}", first.max(1023).saturating_add(1))))
}

async fn serve(listener: TcpListener, program: Program, port: u16, printer: Printer) {
    // One reason is said once, however often it is tried.
    let said: Arc<Mutex<String>> = Arc::default();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((mut stream, _)) = accepted else {
                    // Too many open files and its like pass when connections end.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                };
                let (program, printer, said) = (program.clone(), printer.clone(), Arc::clone(&said));
                connections.spawn(async move {
                    // Interactive programs wait for every byte.
                    let _ = stream.set_nodelay(true);
                    match program.dial(port).await {
                        Ok(mut there) => {
                            said.lock().unwrap_or_else(PoisonError::into_inner).clear();
                            // Either end may break off at any time; both then see it.
                            let _ = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
                        }
                        Err(trouble) => {
                            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                            if *said != trouble.why {
                                printer.status(&format!("Port {port} cannot be reached: {}", trouble.why));
                                said.clone_from(&trouble.why);
                            }
                        }
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
