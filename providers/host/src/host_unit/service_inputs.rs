//! The service of a `host_unit`: what was asked for, and the words for what is there.

use gabion_engine::value::{AttributePath, Attributes, Value};

use super::reader::{NOT_HERE, Reader, given};
use crate::container::Restart;
use crate::systemd::{Scope, ServiceSpec};

/// The service that a unit should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceInputs {
    /// `None` leaves it to the machine.
    pub(super) scope: Option<Scope>,
    pub(super) restart: Restart,
    pub(super) user: Option<String>,
}

impl ServiceInputs {
    /// Whether a service is what was asked for.
    pub(super) fn is_met_by(&self, spec: &ServiceSpec) -> bool {
        self.scope.is_none_or(|scope| scope == spec.scope)
            && self.restart == spec.restart
            && self.user == spec.user
    }

    /// Returns the service in this scope.
    pub(super) fn in_scope(&self, scope: Scope) -> ServiceSpec {
        ServiceSpec {
            scope,
            restart: self.restart,
            user: self.user.clone(),
        }
    }
}

/// Reads the service; `supervised` is whether the unit has a process of gabion's own beside the program.
pub(super) fn service(
    reader: &mut Reader,
    inputs: &Attributes,
    user: Option<&str>,
    supervised: bool,
) -> ServiceInputs {
    let at = AttributePath::root("systemd");
    let nothing = Attributes::new();
    let entries = match given(inputs, "systemd") {
        None => &nothing,
        Some(Value::Map(entries)) => entries,
        Some(other) => {
            reader.wrong(&at, other, "a map");
            &nothing
        }
    };
    let scope = given(entries, "scope").and_then(|value| {
        let at = at.key("scope");
        let text = reader.plain(&at, value, "a manager");
        let found = Scope::ALL.into_iter().find(|(name, _)| *name == text);
        if found.is_none() && text != NOT_HERE {
            reader.problem(
                &at,
                format!("systemd has no manager {text:?}."),
                "Use `system` or `user`.",
            );
        }
        found.map(|(_, scope)| scope)
    });
    let asked = given(entries, "restart").map(|value| restart(reader, &at.key("restart"), value));
    if supervised && asked.is_some_and(|restart| restart != Restart::No) {
        reader.problem(
            &at.key("restart"),
            "`completes`, `retry_timeout`, `run_timeout` and `node` say already when it is started again.",
            "Remove `restart`.",
        );
    }
    if let Some(user) = user.filter(|user| *user != NOT_HERE) {
        let at = AttributePath::root("user");
        if scope == Some(Scope::User) {
            reader.problem(
                &at,
                format!("The user's own manager runs programs as that user, and `{user}` is asked for."),
                "Remove `user`, or add `systemd: {scope: system}`.",
            );
        }
        if supervised {
            reader.problem(
                &at,
                "A program that gabion looks after itself runs as the user that gabion runs as.",
                "Remove `user`, or what says when the program is started again or ended.",
            );
        }
    }
    ServiceInputs {
        scope,
        restart: asked.unwrap_or_else(|| default_restart(supervised)),
        user: user.map(str::to_owned),
    }
}

/// Returns when systemd starts a program again for which nothing is asked.
pub(super) fn default_restart(supervised: bool) -> Restart {
    if supervised { Restart::No } else { Restart::Always }
}

fn restart(reader: &mut Reader, at: &AttributePath, value: &Value) -> Restart {
    let text = reader.plain(at, value, "a policy");
    let found = Restart::ALL.into_iter().find(|(name, _)| *name == text);
    if found.is_none() && text != NOT_HERE {
        reader.problem(
            at,
            format!("There is no restart policy {text:?}."),
            "Use `no`, `on-failure` or `always`.",
        );
    }
    found.map(|(_, restart)| restart).unwrap_or_default()
}

/// Returns a service in the words of the schema.
pub(super) fn to_value(spec: &ServiceSpec) -> Value {
    Value::map([
        ("scope", Value::from(spec.scope.name())),
        ("restart", spec.restart.name().into()),
    ])
}
