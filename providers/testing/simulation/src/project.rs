//! Made-up projects: a handful of resources that refer to each other, and edits between applies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gabion_testing::fake::fault::Random;

use crate::cell::Action;

/// The most resources a project has.
const MOST: usize = 12;
/// The fewest.
const FEWEST: usize = 5;

/// A project that is made up: what refers to what stays a graph without cycles. (Machines that are members of each other
/// make one of deletions: each would take along what the other waits for.)
#[derive(Debug, Clone, Default)]
pub(crate) struct Project {
    pub(crate) nodes: BTreeMap<Key, Node>,
    /// Renames since the last settled apply.
    pub(crate) moved: Vec<(Key, Key)>,
    /// What was given up since the last settled apply.
    pub(crate) forgotten: Vec<Key>,
    /// What is to be imported, with the object's id.
    pub(crate) imports: Vec<(Key, String)>,
    next: u64,
}

/// The name of a resource: its type and a number that is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
}

/// A type; what a resource refers to is of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Network,
    Disk,
    Machine,
    Address,
    Record,
    Member,
    Data,
}

impl Kind {
    pub(crate) fn resource_type(self) -> &'static str {
        match self {
            Self::Network => "fake_network",
            Self::Disk => "fake_disk",
            Self::Machine => "fake_machine",
            Self::Address => "fake_address",
            Self::Record => "fake_record",
            Self::Member => "fake_membership",
            Self::Data => "gabion_data",
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.x{}", self.kind.resource_type(), self.number)
    }
}

/// One resource of a project.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its name in the cloud, which a rename in the project leaves as it is.
    pub(crate) label: Arc<str>,
    /// What cannot change in place: the range, the image, the address.
    pub(crate) fixed: u64,
    /// What can: the size, the tags, the time to live.
    pub(crate) loose: u64,
    /// Whether a replacement deletes first, where nothing forbids that.
    pub(crate) delete_first: bool,
    /// What its attributes refer to.
    pub(crate) uses: Vec<Key>,
    /// What it waits for without referring to it.
    pub(crate) waits_for: Vec<Key>,
}

impl Project {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut project = Self::default();
        let size = FEWEST + random.below((MOST - FEWEST) as u64) as usize;
        while project.nodes.len() < size {
            project.add(random, None);
        }
        project
    }

    /// Changes the project a little, so that an action has something to do. Not every wish can be fulfilled.
    pub(crate) fn edit(&mut self, random: &mut Random, wish: Action) {
        match wish {
            Action::Create => self.add(random, Some(&[Kind::Network, Kind::Record, Kind::Member])),
            Action::CheckpointedCreate | Action::Adopt => {
                self.add(random, Some(&[Kind::Disk, Kind::Machine, Kind::Address]));
            }
            Action::Update => self.change(random, |key| key.kind != Kind::Member || key.number % 2 == 0),
            Action::ReplaceCreateFirst => self.replace(random, false),
            Action::ReplaceDeleteFirst => self.replace(random, true),
            Action::Delete => self.remove(random),
            Action::Move => self.rename(random),
            // Objects to import come from outside.
            Action::Import => {}
            Action::Forget => self.forget(random),
        }
    }

    pub(crate) fn new_key(&mut self, kind: Kind) -> Key {
        self.next += 1;
        Key {
            kind,
            number: self.next,
        }
    }

    fn add(&mut self, random: &mut Random, kinds: Option<&[Kind]>) {
        const ANY: &[Kind] = &[
            Kind::Network,
            Kind::Disk,
            Kind::Machine,
            Kind::Machine,
            Kind::Address,
            Kind::Record,
            Kind::Member,
            Kind::Data,
        ];
        let kinds = kinds.unwrap_or(ANY);
        let kind = kinds[random.below(kinds.len() as u64) as usize];
        let uses = match kind {
            Kind::Network | Kind::Disk => Vec::new(),
            Kind::Machine => {
                let network = self.pick(random, |key| key.kind == Kind::Network);
                let taken: BTreeSet<Key> = self.nodes.values().flat_map(|node| node.uses.clone()).collect();
                let disk = self.pick(random, |key| key.kind == Kind::Disk && !taken.contains(&key));
                network
                    .filter(|_| random.below(3) > 0)
                    .into_iter()
                    .chain(disk)
                    .collect()
            }
            Kind::Address | Kind::Record | Kind::Data => {
                let machine = self.pick(random, |key| key.kind == Kind::Machine);
                machine.filter(|_| random.below(4) > 0).into_iter().collect()
            }
            Kind::Member => {
                let router = self.pick(random, |key| key.kind == Kind::Machine);
                let member = self.pick(random, |key| key.kind == Kind::Machine && Some(key) != router);
                match (router, member) {
                    // Two memberships of the same two machines would be one object.
                    (Some(router), Some(member))
                        if self.nodes.values().all(|node| node.uses != [router, member]) =>
                    {
                        vec![router, member]
                    }
                    _ => return self.add(random, Some(&[Kind::Machine])),
                }
            }
        };
        let waits_for = if random.below(3) == 0 {
            // What has to be deleted first cannot be waited for by what is created first.
            self.pick(random, |key| key.kind < kind && key.kind <= Kind::Machine)
                .into_iter()
                .collect()
        } else {
            Vec::new()
        };
        let key = self.new_key(kind);
        let node = Node {
            label: format!("x{}", key.number).into(),
            // Ranges, images and addresses are all different: an address is claimed by one object alone.
            fixed: key.number,
            loose: 1 + random.below(3),
            delete_first: random.below(2) == 0,
            uses,
            waits_for,
        };
        if self.nodes.len() >= MOST {
            self.remove(random);
        }
        // What it refers to may just have gone.
        if node
            .uses
            .iter()
            .chain(&node.waits_for)
            .all(|used| self.nodes.contains_key(used))
        {
            self.nodes.insert(key, node);
        }
    }

    fn pick(&self, random: &mut Random, wanted: impl Fn(Key) -> bool) -> Option<Key> {
        let keys: Vec<Key> = self.nodes.keys().copied().filter(|key| wanted(*key)).collect();
        keys.get(random.below(keys.len() as u64) as usize).copied()
    }

    /// Returns whether anything refers to a resource or waits for it.
    pub(crate) fn is_used(&self, key: Key) -> bool {
        self.nodes
            .values()
            .any(|node| node.uses.contains(&key) || node.waits_for.contains(&key))
    }

    fn change(&mut self, random: &mut Random, wanted: impl Fn(Key) -> bool) {
        if let Some(key) = self.pick(random, |key| wanted(key) && key.kind != Kind::Data)
            && let Some(node) = self.nodes.get_mut(&key)
        {
            // A disk only grows in place; that of the others goes to and fro.
            node.loose = match key.kind {
                Kind::Disk => node.loose + 1,
                _ => 1 + node.loose % 3,
            };
        }
    }

    fn replace(&mut self, random: &mut Random, delete_first: bool) {
        let key = self.pick(random, |key| {
            matches!(
                key.kind,
                Kind::Network | Kind::Machine | Kind::Address | Kind::Record
            ) && self.deletes_first(key) == delete_first
                // What is imported must be able to become what is declared.
                && !self.imports.iter().any(|(to, _)| *to == key)
        });
        self.next += 1;
        let fixed = self.next;
        if let Some(node) = key.and_then(|key| self.nodes.get_mut(&key)) {
            node.fixed = fixed;
        }
    }

    /// Returns whether a replacement deletes first: an address has to, and what machines are in never can.
    pub(crate) fn deletes_first(&self, key: Key) -> bool {
        let delete_first = self.nodes.get(&key).is_some_and(|node| node.delete_first);
        match key.kind {
            Kind::Address => true,
            Kind::Network | Kind::Disk | Kind::Machine => delete_first && !self.is_used(key),
            Kind::Record | Kind::Member | Kind::Data => delete_first,
        }
    }

    fn remove(&mut self, random: &mut Random) {
        if let Some(key) = self.pick(random, |key| !self.is_used(key))
            && self.nodes.len() > FEWEST
        {
            self.drop_node(key);
        }
    }

    fn drop_node(&mut self, key: Key) {
        self.nodes.remove(&key);
        self.imports.retain(|(imported, _)| *imported != key);
        // A chain of renames that led to it leads nowhere now: all of it goes.
        let mut gone = key;
        while let Some(at) = self.moved.iter().position(|(_, to)| *to == gone) {
            (gone, _) = self.moved.remove(at);
        }
    }

    fn rename(&mut self, random: &mut Random) {
        // What is not applied yet cannot be renamed; a second rename of the same object is a chain.
        let Some(key) = self.pick(random, |key| !self.imports.iter().any(|(to, _)| *to == key)) else {
            return;
        };
        let to = self.new_key(key.kind);
        let Some(node) = self.nodes.remove(&key) else {
            return;
        };
        self.nodes.insert(to, node);
        for node in self.nodes.values_mut() {
            for used in node.uses.iter_mut().chain(&mut node.waits_for) {
                if *used == key {
                    *used = to;
                }
            }
        }
        self.moved.push((key, to));
    }

    fn forget(&mut self, random: &mut Random) {
        // A forgotten machine would keep its network for ever, and a membership goes with its machine.
        let key = self.pick(random, |key| {
            matches!(
                key.kind,
                Kind::Network | Kind::Disk | Kind::Record | Kind::Data | Kind::Address
            ) && !self.is_used(key)
                && !self.moved.iter().any(|(_, to)| *to == key)
                && !self.imports.iter().any(|(to, _)| *to == key)
        });
        if let Some(key) = key
            && self.nodes.len() > FEWEST
        {
            self.nodes.remove(&key);
            self.forgotten.push(key);
        }
    }

    /// Adds a resource for an object that exists already.
    pub(crate) fn import(&mut self, kind: Kind, id: String, label: Arc<str>, fixed: u64, loose: u64) {
        let key = self.new_key(kind);
        self.nodes.insert(
            key,
            Node {
                label,
                fixed,
                loose,
                delete_first: false,
                uses: Vec::new(),
                waits_for: Vec::new(),
            },
        );
        self.imports.push((key, id));
    }

    /// Notes that everything asked for so far is applied: the documents that say so may go.
    pub(crate) fn settled(&mut self) {
        self.moved.clear();
        self.forgotten.clear();
        self.imports.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_projects_have_machines_that_are_members_of_each_other() {
        let circular = |seed: &u64| {
            let project = Project::new(&mut Random::new(*seed));
            let members = || project.nodes.iter().filter(|(key, _)| key.kind == Kind::Member);
            members().any(|(_, one)| members().any(|(_, other)| one.uses.iter().rev().eq(&other.uses)))
        };
        assert!((0..2000).filter(circular).count() > 20);
    }
}
