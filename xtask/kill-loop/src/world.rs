//! A configuration of many objects, and random edits of it.
//!
//! Nothing has a unique name unless its type demands one: an object that was made twice is there twice.

use std::collections::BTreeSet;
use std::fmt::Write;

use gabion_testing::fake::fault::Random;

/// How many objects of each type there are, for three hundred objects.
const SHARES: [(Kind, u64); 6] = [
    (Kind::Network, 10),
    (Kind::Disk, 80),
    (Kind::Machine, 110),
    (Kind::Address, 15),
    (Kind::Record, 50),
    (Kind::Membership, 35),
];

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Machines are in it.
    Network,
    /// Machines have it.
    Disk,
    /// Most others refer to it.
    Machine,
    /// An exclusive claim.
    Address,
    /// A natural upsert.
    Record,
    /// It goes with its machine.
    Membership,
    /// A program on this machine.
    Unit,
}

/// One object of the configuration.
#[derive(Debug, Clone)]
struct Object {
    kind: Kind,
    number: u64,
    /// Changes in place.
    size: u64,
    /// Changes by replacement.
    version: u64,
    /// The numbers of what it refers to.
    network: Option<u64>,
    disks: Vec<u64>,
    machine: Option<u64>,
}

/// A configuration.
#[derive(Debug, Clone)]
pub struct World {
    objects: Vec<Object>,
    next: u64,
    random: Random,
}

impl World {
    /// Makes a configuration of so many objects of the cloud and so many programs.
    pub fn new(seed: u64, objects: u64, units: u64) -> Self {
        let mut world = Self {
            objects: Vec::new(),
            next: 1,
            random: Random::new(seed),
        };
        let all: u64 = SHARES.iter().map(|(_, share)| share).sum();
        for (kind, share) in SHARES {
            for _ in 0..(share * objects).div_ceil(all) {
                world.add(kind);
            }
        }
        world
            .objects
            .truncate(usize::try_from(objects).unwrap_or(usize::MAX));
        for _ in 0..units {
            world.add(Kind::Unit);
        }
        world
    }

    /// Returns how many objects of the cloud it has.
    pub fn objects(&self) -> usize {
        self.objects
            .iter()
            .filter(|object| object.kind != Kind::Unit)
            .count()
    }

    /// Returns how many programs it has.
    pub fn units(&self) -> usize {
        self.objects.len() - self.objects()
    }

    /// Returns the addresses of all objects.
    pub fn addresses(&self) -> BTreeSet<String> {
        self.objects.iter().map(Object::address).collect()
    }

    /// Changes, replaces, removes and adds objects at random; their number stays.
    pub fn edit(&mut self) {
        // Now and then nothing stays as it is.
        if self.random.below(12) == 0 {
            let kinds: Vec<Kind> = self.objects.iter().map(|object| object.kind).collect();
            self.objects.clear();
            kinds.into_iter().for_each(|kind| self.add(kind));
            return;
        }
        let changes = 15 + self.random.below(50);
        for _ in 0..changes {
            let index = self.pick();
            match self.random.below(10) {
                0..=3 => self.objects[index].size += 1,
                4..=6 => self.objects[index].version += 1,
                // A smaller disk is another disk.
                7 => self.objects[index].size = self.objects[index].size.saturating_sub(3).max(1),
                _ => {
                    let kind = self.objects[index].kind;
                    if !matches!(kind, Kind::Network) {
                        self.remove(index);
                        self.add(kind);
                    }
                }
            }
        }
    }

    fn pick(&mut self) -> usize {
        let length = self.objects.len() as u64;
        usize::try_from(self.random.below(length)).unwrap_or_default()
    }

    fn one_of(&mut self, kind: Kind) -> Option<u64> {
        let of_kind: Vec<u64> = self
            .objects
            .iter()
            .filter(|object| object.kind == kind)
            .map(|object| object.number)
            .collect();
        let index = usize::try_from(self.random.below(of_kind.len() as u64)).unwrap_or_default();
        of_kind.get(index).copied()
    }

    fn add(&mut self, kind: Kind) {
        let number = self.next;
        self.next += 1;
        let mut object = Object {
            kind,
            number,
            size: 10 + self.random.below(10),
            version: 1,
            network: None,
            disks: Vec::new(),
            machine: None,
        };
        match kind {
            Kind::Machine => {
                object.network = self.one_of(Kind::Network);
                for _ in 0..self.random.below(3) {
                    object.disks.extend(self.one_of(Kind::Disk));
                }
                object.disks.sort_unstable();
                object.disks.dedup();
            }
            Kind::Address | Kind::Record | Kind::Membership => object.machine = self.one_of(Kind::Machine),
            Kind::Network | Kind::Disk | Kind::Unit => {}
        }
        self.objects.push(object);
    }

    /// Removes an object; what referred to it refers to another one, or to none.
    fn remove(&mut self, index: usize) {
        let gone = self.objects.remove(index);
        let other = self.one_of(gone.kind);
        for object in &mut self.objects {
            match gone.kind {
                Kind::Disk => object.disks.retain(|disk| *disk != gone.number),
                Kind::Machine if object.machine == Some(gone.number) => object.machine = other,
                _ => {}
            }
        }
    }

    /// Writes the configuration's documents.
    pub fn documents(&self) -> String {
        let documents: Vec<String> = self.objects.iter().map(Object::document).collect();
        documents.join("---\n")
    }
}

impl Object {
    fn address(&self) -> String {
        let kind = match self.kind {
            Kind::Unit => "host_unit",
            Kind::Network => "fake_network",
            Kind::Disk => "fake_disk",
            Kind::Machine => "fake_machine",
            Kind::Address => "fake_address",
            Kind::Record => "fake_record",
            Kind::Membership => "fake_membership",
        };
        format!("{kind}.o{}", self.number)
    }

    fn document(&self) -> String {
        let address = self.address();
        let (kind, name) = address.split_once('.').unwrap_or_default();
        let mut text = format!("type: resource\nkind: {kind}\nname: {name}\n");
        let Self {
            number,
            size,
            version,
            ..
        } = self;
        let id_of = |kind: &str, number: u64| format!("'${{{{ {kind}.o{number}.id }}}}'");
        let machine = self.machine.map(|machine| id_of("fake_machine", machine));
        if self.kind == Kind::Machine && number % 2 == 0 {
            text.push_str("lifecycle: {create_before_destroy: true}\n");
        }
        text.push_str("properties:\n");
        let mut set = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name}: {value}");
        };
        match self.kind {
            Kind::Network => {
                set("name", &"net");
                // A network that is replaced takes all its machines along; that is for removals.
                set("cidr", &format!("10.{}.0.0/16", number % 250));
                set("tags", &format!("{{size: s{size}, version: v{version}}}"));
            }
            Kind::Disk => {
                set("name", &"disk");
                set("size", size);
                set("tags", &format!("{{version: v{version}}}"));
            }
            Kind::Machine => {
                set("name", &"machine");
                set("image", &format!("image-{version}"));
                set("size", &["small", "medium", "large"][(size % 3) as usize]);
                if let Some(network) = self.network {
                    set("network", &id_of("fake_network", network));
                }
                let disks: Vec<String> = self.disks.iter().map(|disk| id_of("fake_disk", *disk)).collect();
                set("disks", &format!("[{}]", disks.join(", ")));
            }
            Kind::Address => {
                // The cloud lets no two addresses have one name, the old one beside its replacement included.
                set("name", &format!("address-{number}-v{version}"));
                // No two of them have one address, whatever their numbers and versions.
                set("ip", &format!("10.{}.{}.{version}", number / 250, number % 250));
                if let Some(machine) = machine {
                    set("machine", &machine);
                }
            }
            Kind::Record => {
                set("name", &format!("r{number}-v{version}.example"));
                set("ttl", size);
                let value = self
                    .machine
                    .map(|machine| format!("'${{{{ fake_machine.o{machine}.ip }}}}'"));
                set(
                    "values",
                    &format!("[{}]", value.unwrap_or_else(|| "nowhere".into())),
                );
            }
            Kind::Membership => {
                set("router", &machine.unwrap_or_else(|| "none".into()));
                set("member", &format!("m{number}-v{version}"));
                set("weight", size);
            }
            Kind::Unit => {
                set("machine", &"local");
                set("argv", &"[sleep, '3600']");
                set("stop_timeout", &10);
                set("env", &format!("{{SIZE: '{size}', VERSION: '{version}'}}"));
                if number % 3 == 0 {
                    set("ports", &"{http: {range: 20000-29999}}");
                }
            }
        }
        text
    }
}
