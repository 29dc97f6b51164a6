//! Replicas that span several nodes: a unit for each rank, and what makes them one.
//!
//! All ranks run the same commands. Rank 0 is the one that answers requests, so it alone is probed and registered; it needs
//! the others to come up at all, so they are started before it and nobody waits for more than that. None is of use alone:
//! when one begins anew all do, and the old ones are gone before, since each replica has one place to meet at.

use std::borrow::Cow;

use gabion_engine::address::ResourceAddress;
use gabion_engine::resource::{Resource, Together};
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::builder::address;
use super::machines::Machine;
use super::program::{LOOPBACK, text};
use super::role::uses_variable;
use crate::document::dialect::Member;

/// The variables that tell a program its place among the nodes.
const VARIABLES: [&str; 7] = [
    "DSTACK_NODES_NUM",
    "DSTACK_NODE_RANK",
    "DSTACK_MASTER_NODE_IP",
    "DSTACK_NODES_IPS",
    "DSTACK_GPUS_PER_NODE",
    "DSTACK_GPUS_NUM",
    "GABION_REPLICA",
];

/// What shows that a program has begun anew in its place.
const BEGINS_ANEW: [&str; 2] = ["running", "restarted"];

/// Returns the paths of a replica's nodes: its own where there is one, `qwen/default/0/1` for rank 1 of several.
pub(crate) fn ranks<'a>(member: &Member<'_>, replica: &'a str) -> Vec<Cow<'a, str>> {
    match member.nodes() {
        1 => vec![replica.into()],
        count => (0..count)
            .map(|rank| format!("{replica}/{rank}").into())
            .collect(),
    }
}

/// Returns the path of the node that answers for a replica.
pub(crate) fn leader<'a>(member: &Member<'_>, replica: &'a str) -> Cow<'a, str> {
    match member.nodes() {
        1 => replica.into(),
        _ => format!("{replica}/0").into(),
    }
}

/// Returns the group and the slot of a replica's unit, by the unit's name.
pub(crate) fn slot_of(unit: &str) -> Option<(&str, u32)> {
    let mut ends = unit.match_indices('/').map(|(at, _)| at);
    let (_, group) = (ends.next()?, ends.next()?);
    let (slot, rank) = match ends.next() {
        None => (&unit[group + 1..], None),
        Some(end) => (&unit[group + 1..end], Some(&unit[end + 1..])),
    };
    let is_node = rank.is_none_or(|rank| rank.parse::<u32>().is_ok());
    Some((&unit[..group], slot.parse().ok().filter(|_| is_node)?))
}

/// A replica with its nodes.
pub(super) struct Whole<'a> {
    member: &'a Member<'a>,
    /// `SERVICE/GROUP/SLOT`.
    replica: &'a str,
    units: Vec<ResourceAddress>,
    machines: Vec<Option<&'a Machine>>,
}

impl<'a> Whole<'a> {
    /// A replica; `machine` tells where the node at a path is.
    pub(super) fn of(
        member: &'a Member<'a>,
        replica: &'a str,
        machine: impl Fn(&str) -> Option<&'a Machine>,
    ) -> Self {
        let ranks = ranks(member, replica);
        Self {
            member,
            replica,
            units: ranks.iter().map(|path| address("host_unit", path)).collect(),
            machines: ranks.iter().map(|path| machine(path)).collect(),
        }
    }

    /// Returns the units and machines of the nodes, by rank.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&ResourceAddress, Option<&'a Machine>)> {
        self.units.iter().zip(self.machines.iter().copied())
    }

    fn is_several(&self) -> bool {
        self.units.len() > 1
    }

    /// Returns what nodes call each other: texts or templates.
    fn addresses(&self) -> Vec<String> {
        let of = |machine: &Option<&Machine>| match machine {
            None => LOOPBACK.to_owned(),
            Some(machine) => machine
                .neighbour_address()
                .unwrap_or_else(|| machine.hostname.clone()),
        };
        self.machines.iter().map(of).collect()
    }

    /// Makes the unit of a rank one of the replica's.
    pub(super) fn join(&self, rank: usize, unit: &mut Resource) {
        let commands = self.member.commands;
        if self.is_several() || VARIABLES.iter().any(|name| uses_variable(commands, name)) {
            self.tell(rank, unit);
        }
        if !self.is_several() {
            return;
        }
        // One that nobody asks is ready when it runs.
        if rank > 0 {
            unit.inputs.insert("probes".into(), Value::List(Vec::new()));
        }
        if self.member.image.is_none() {
            let number = Value::Int(i64::try_from(rank).unwrap_or(i64::MAX));
            unit.inputs.insert(
                "node".into(),
                Value::map([("run", Value::from(self.replica)), ("rank", number)]),
            );
        }
        let place = self.member.replicas.span.place();
        if rank == 0 {
            let others = self.units[1..].iter().cloned();
            unit.depends_on.extend(others.map(|other| (other, place.clone())));
        }
        for machine in self.machines.iter().flatten() {
            let ways_in = machine.ways_in().iter().cloned();
            unit.depends_on.extend(ways_in.map(|rule| (rule, place.clone())));
        }
        unit.depends_on.sort_by(|(a, _), (b, _)| a.cmp(b));
        unit.depends_on.dedup_by(|(a, _), (b, _)| a == b);
        unit.lifecycle.replace_order = Some(ReplaceOrder::DeleteThenCreate);
        unit.lifecycle.together = Some(Together {
            group: self.replica.into(),
            attributes: BEGINS_ANEW.map(AttributePath::root).into(),
        });
    }

    /// Tells a program its place among the nodes; what the document says goes before.
    fn tell(&self, rank: usize, unit: &mut Resource) {
        let addresses = self.addresses();
        let count = self.units.len();
        let accelerators = self.accelerators(rank);
        let slot = self.replica.rsplit('/').next().unwrap_or_default();
        let values = [
            count.to_string(),
            rank.to_string(),
            addresses.first().cloned().unwrap_or_default(),
            addresses.join("\n"),
            accelerators.to_string(),
            accelerators.saturating_mul(count).to_string(),
            slot.to_owned(),
        ];
        let mut env = match unit.inputs.remove("env") {
            Some(Value::Map(env)) => env,
            _ => Attributes::new(),
        };
        for (name, value) in VARIABLES.into_iter().zip(values) {
            if !env.contains_key(name) {
                env.insert(name.into(), text(&value));
            }
        }
        unit.inputs.insert("env".into(), Value::Map(env));
    }

    /// Returns how many accelerators a node has: those of its machine, or what is asked for where nobody has looked.
    fn accelerators(&self, rank: usize) -> usize {
        let gpu = &self.member.resources.gpu.value;
        let machine = self.machines.get(rank).copied().flatten();
        let Some(machine) = machine.filter(|_| gpu.is_needed()) else {
            return 0;
        };
        match &machine.facts {
            Some(facts) => facts.gpus.len(),
            None => usize::try_from(gpu.count.min.unwrap_or(1)).unwrap_or(usize::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_name_tells_its_slot_whether_there_are_ranks_or_not() {
        for (unit, expected) in [
            ("qwen/default/3", Some(("qwen/default", 3))),
            ("qwen/default/3/1", Some(("qwen/default", 3))),
            ("qwen/0/3/1", Some(("qwen/0", 3))),
            ("qwen/default/3/relay", None),
            ("my-gateway/router/qwen", None),
            ("agent/local", None),
            ("agent", None),
        ] {
            assert_eq!(slot_of(unit), expected, "{unit}");
        }
    }
}
