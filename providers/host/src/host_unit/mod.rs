//! The resource type `host_unit`: a long-running program on a machine.

mod actual;
mod agents;
mod container_inputs;
mod containers;
mod converge;
mod error;
mod inputs;
mod plan;
mod reader;
mod service_inputs;
mod services;

pub(crate) use actual::{import, read};
pub(crate) use converge::{create, delete, observe, update};
pub(crate) use inputs::validate;
pub(crate) use plan::plan;

use gabion_engine::value::Value;

/// How long a program may take to be ready unless the configuration says otherwise, in seconds.
const READY_SECONDS: u64 = 600;

/// How long a program may take to end after SIGTERM unless the configuration says otherwise, in seconds.
const STOP_SECONDS: u64 = 300;

/// The name of the port that `url` and probes mean unless they say otherwise.
const MAIN_PORT: &str = "http";

/// The attribute that says which build of the agent runs.
const AGENT_DIGEST: &str = "agent_digest";

/// Returns the address under which the program's main port is reached from its machine.
fn url(port: Option<&Value>) -> Value {
    match port {
        None | Some(Value::Null) => Value::Null,
        Some(Value::Int(number)) => Value::string(format!("http://127.0.0.1:{number}")),
        Some(_) => Value::unknown(),
    }
}
