//! What gateways and services come to, as resources of the fake cloud.
//!
//! A gateway is a network, a machine in it, a public address and a wildcard record. It has four services: a record each,
//! and three replicas of a disk, a machine and a place behind the gateway's machine.

use std::fmt::Write as _;

const SERVICES: usize = 4;
const REPLICAS: usize = 3;
const PARTS_OF_REPLICA: usize = 3;
const PARTS_OF_SERVICE: usize = 1 + REPLICAS * PARTS_OF_REPLICA;
const PARTS_OF_GATEWAY: usize = 4;
const PARTS: usize = PARTS_OF_GATEWAY + SERVICES * PARTS_OF_SERVICE;

/// What a resource is, with the numbers of its gateway, service and replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Network(usize),
    Gateway(usize),
    Address(usize),
    Wildcard(usize),
    Service(usize, usize),
    Disk(usize, usize, usize),
    Machine(usize, usize, usize),
    Membership(usize, usize, usize),
}

impl Part {
    /// Returns the resource at a position: none refers to one after it.
    fn at(index: usize) -> Self {
        let (gateway, rest) = (index / PARTS, index % PARTS);
        let Some(rest) = rest.checked_sub(PARTS_OF_GATEWAY) else {
            return match rest {
                0 => Self::Network(gateway),
                1 => Self::Gateway(gateway),
                2 => Self::Address(gateway),
                _ => Self::Wildcard(gateway),
            };
        };
        let (service, rest) = (rest / PARTS_OF_SERVICE, rest % PARTS_OF_SERVICE);
        let Some(rest) = rest.checked_sub(1) else {
            return Self::Service(gateway, service);
        };
        let replica = rest / PARTS_OF_REPLICA;
        match rest % PARTS_OF_REPLICA {
            0 => Self::Disk(gateway, service, replica),
            1 => Self::Machine(gateway, service, replica),
            _ => Self::Membership(gateway, service, replica),
        }
    }

    /// Returns whether it has something that changes in place and that nobody refers to.
    fn can_change(self) -> bool {
        !matches!(self, Self::Address(_))
    }

    fn write(self, text: &mut String, changed: bool) {
        let version = if changed { "w" } else { "v" };
        let number = if changed { 2 } else { 1 };
        let mut put = |kind: &str, name: &str, properties: std::fmt::Arguments<'_>| {
            // Writing to a text cannot fail.
            write!(
                text,
                "---\ntype: resource\nkind: {kind}\nname: {name}\nproperties:\n{properties}"
            )
            .unwrap_or_default();
        };
        match self {
            Self::Network(g) => put(
                "fake_network",
                &format!("g{g}"),
                format_args!(
                    "  name: g{g}\n  cidr: 10.{}.0.0/16\n  tags: {{version: {version}}}\n",
                    g % 256
                ),
            ),
            Self::Gateway(g) => put(
                "fake_machine",
                &format!("g{g}"),
                format_args!(
                    "  name: g{g}\n  image: gateway-1\n  size: large\n  network: ${{{{ fake_network.g{g}.id }}}}\n  tags: {{role: \
                     gateway, version: {version}}}\n  user_data: |\n    #!/bin/sh\n    exec gateway --domain g{g}.example.org\n"
                ),
            ),
            Self::Address(g) => put(
                "fake_address",
                &format!("g{g}"),
                format_args!(
                    "  name: g{g}\n  ip: 198.{}.{}.{}\n  machine: ${{{{ fake_machine.g{g}.id }}}}\n",
                    18 + g / 65_536,
                    g / 256 % 256,
                    g % 256
                ),
            ),
            Self::Wildcard(g) => put(
                "fake_record",
                &format!("g{g}"),
                format_args!(
                    "  name: \"*.g{g}.example.org\"\n  values: [\"${{{{ fake_address.g{g}.ip }}}}\"]\n  ttl: {number}00\n"
                ),
            ),
            Self::Service(g, s) => put(
                "fake_record",
                &format!("g{g}-s{s}"),
                format_args!(
                    "  name: s{s}.g{g}.example.org\n  values: [\"${{{{ fake_address.g{g}.ip }}}}\"]\n  ttl: {number}00\n"
                ),
            ),
            Self::Disk(g, s, r) => put(
                "fake_disk",
                &format!("g{g}-s{s}-{r}"),
                format_args!("  name: g{g}-s{s}-{r}\n  size: 100\n  tags: {{version: {version}}}\n"),
            ),
            Self::Machine(g, s, r) => put(
                "fake_machine",
                &format!("g{g}-s{s}-{r}"),
                format_args!(
                    "  name: g{g}-s{s}-{r}\n  image: server-1\n  size: xlarge\n  network: ${{{{ fake_network.g{g}.id }}}}\n  disks: \
                     [\"${{{{ fake_disk.g{g}-s{s}-{r}.id }}}}\"]\n  tags: {{role: replica, version: {version}}}\n  user_data: |\n    \
                     #!/bin/sh\n    exec server --model m{s} --port 8000\n"
                ),
            ),
            Self::Membership(g, s, r) => put(
                "fake_membership",
                &format!("g{g}-s{s}-{r}"),
                format_args!(
                    "  router: ${{{{ fake_machine.g{g}.id }}}}\n  member: ${{{{ fake_machine.g{g}-s{s}-{r}.ip }}}}\n  weight: \
                     {number}\n"
                ),
            ),
        }
    }
}

/// Writes the resource at a position.
///
/// `concerned` says which are to differ from their first version; where that one cannot, the one before does.
pub(super) fn write(text: &mut String, index: usize, concerned: impl Fn(usize) -> bool) {
    let part = Part::at(index);
    let for_next = !Part::at(index + 1).can_change() && concerned(index + 1);
    part.write(text, part.can_change() && (concerned(index) || for_next));
}

/// Returns how many of so many resources are machines.
pub(super) fn machines(size: usize) -> usize {
    let is_machine = |index: &usize| matches!(Part::at(*index), Part::Gateway(_) | Part::Machine(..));
    (0..size).filter(is_machine).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_have_all_their_parts_once() {
        let mut text = String::new();
        for index in 0..2 * PARTS {
            write(&mut text, index, |_| false);
        }
        let count = |what: &str| text.matches(what).count();
        assert_eq!(count("kind: fake_network"), 2);
        assert_eq!(count("kind: fake_machine"), 2 * (1 + SERVICES * REPLICAS));
        assert_eq!(count("kind: fake_machine"), machines(2 * PARTS));
        assert_eq!(count("kind: fake_record"), 2 * (1 + SERVICES));
        assert_eq!(count("kind: fake_membership"), 2 * SERVICES * REPLICAS);
        assert_eq!(count("name: g1-s3-2\nproperties"), 3);
        assert_eq!(count("kind: "), 2 * PARTS);
    }

    #[test]
    fn a_change_is_one_even_where_its_resource_cannot() {
        let all = |concerned: Option<usize>| -> Vec<String> {
            (0..PARTS)
                .map(|index| {
                    let mut text = String::new();
                    write(&mut text, index, |index| Some(index) == concerned);
                    text
                })
                .collect()
        };
        let before = all(None);
        for index in 0..PARTS {
            let after = all(Some(index));
            let differ = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            assert_eq!(differ, 1, "{index}");
        }
    }
}
