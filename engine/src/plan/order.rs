//! The order of each replacement, agreed with those of its dependencies and dependants.
//!
//! A create-first object needs its dependencies' new objects before its old one goes, so a dependency that is replaced
//! with it must be create-first too. Where that one cannot be, the dependant gives way and goes first. The firmer wish
//! wins; two wishes of the configuration that contradict each other are a problem.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::ResourceGraph;
use crate::plan::change::Action;
use crate::plan::decisions::{Decided, Decisions};
use crate::plan::problem::Places;
use crate::resource::Configuration;
use crate::schema::ReplaceOrder;
use crate::value::AttributePath;

/// How firmly an order is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Strength {
    /// Nobody said anything.
    #[default]
    Default,
    /// The schema says that both objects cannot exist at once.
    Schema,
    /// The configuration says so.
    Lifecycle,
    /// It cannot be otherwise.
    Forced,
}

/// In which order a replacement should happen.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Order {
    pub(super) order: ReplaceOrder,
    pub(super) strength: Strength,
    /// Why, as a sentence, when nothing visible says so.
    pub(super) why: Option<String>,
}

impl Order {
    pub(super) fn new(order: ReplaceOrder, strength: Strength) -> Self {
        Self {
            order,
            strength,
            why: None,
        }
    }

    pub(super) fn forced(why: impl Into<String>) -> Self {
        Self {
            order: ReplaceOrder::DeleteThenCreate,
            strength: Strength::Forced,
            why: Some(why.into()),
        }
    }
}

/// Settles the orders of all replacements, each linear in the edges.
pub(super) fn settle(
    decisions: &mut Decisions,
    graph: &ResourceGraph,
    configuration: &Configuration,
    places: &Places<'_>,
    problems: &mut Diagnostics,
) {
    use ReplaceOrder::{CreateThenDelete, DeleteThenCreate};
    let replaced = |decision: &Decided<'_>| matches!(decision.change.action, Action::Replace(_));
    let of = |decisions: &Decisions, at: usize| {
        let decision = decisions.get(at).filter(replaced);
        decision.map(|decision| decision.beside.order.clone())
    };
    // Create-first spreads from dependants to weaker dependencies.
    for dependant in graph.reverse_order() {
        let Some(own) = of(decisions, dependant).filter(|own| own.order == CreateThenDelete) else {
            continue;
        };
        for (dependency, _) in graph.dependencies(dependant) {
            let Some(other) = of(decisions, dependency) else {
                continue;
            };
            if other.order == CreateThenDelete {
                if let Some((_, beside)) = decisions.get_mut(dependency) {
                    beside.order.strength = beside.order.strength.max(own.strength);
                }
            } else if other.strength < own.strength {
                let note = format!(
                    "The new object is made first, because `{}` depends on it and is replaced create-first.",
                    graph.address(dependant)
                );
                flip(decisions, dependency, CreateThenDelete, own.strength, note);
            }
        }
    }
    // What must be deleted first makes its weaker dependants go first.
    for dependant in graph.order().iter().copied() {
        for (dependency, _) in graph.dependencies(dependant) {
            let Some(own) = of(decisions, dependant).filter(|own| own.order == CreateThenDelete) else {
                break;
            };
            let Some(other) = of(decisions, dependency).filter(|other| other.order == DeleteThenCreate)
            else {
                continue;
            };
            let (address, needed) = (graph.address(dependant), graph.address(dependency));
            if own.strength < Strength::Lifecycle {
                let note = format!(
                    "The old object is deleted first, because `{needed}` must be, which it depends on."
                );
                flip(decisions, dependant, DeleteThenCreate, other.strength, note);
                continue;
            }
            let why = other.why.as_deref().unwrap_or("The configuration asks for it.");
            let place = |at: usize| {
                let resource = &configuration.resources[at];
                places.span(resource.place_of(&AttributePath::root("lifecycle")))
            };
            problems.push(
                Diagnostic::error("replace-order-conflict", "the orders of two replacements contradict each other")
                    .detail(format!(
                        "`{address}` is to be replaced create-first, which needs the new `{needed}` before the old \
                         one goes; but `{needed}` must be deleted first. {why}"
                    ))
                    .at(place(dependant))
                    .related(place(dependency), format!("`{needed}`"))
                    .hint(format!("take `create_before_destroy` off `{address}`")),
            );
            break;
        }
    }
}

fn flip(decisions: &mut Decisions, at: usize, order: ReplaceOrder, strength: Strength, note: String) {
    if let Some((change, beside)) = decisions.get_mut(at) {
        beside.order = Order {
            order,
            strength,
            why: Some(note.clone()),
        };
        change.action = Action::Replace(order);
        change.notes.push(note);
    }
}
