//! Which machine of a fleet a replica or a gateway runs on.
//!
//! Pure, and the same for the same input. What is placed stays where it is for as long as that machine is still allowed
//! and still has what is needed; only then is it placed anew. What is new goes where most room is left, machines in the
//! order in which the documents list them.

use std::collections::{BTreeMap, BTreeSet};

use gabion_engine::config::Spanned;

use super::machines::{GpuFacts, Machine, MachineFacts};
use crate::document::fleet::Blocks;
use crate::document::profile::InstanceSelector;
use crate::document::resources::Resources;
use crate::grammar::cpu::Architecture;
use crate::grammar::gpu::GpuSpec;
use crate::grammar::memory::Memory;
use crate::grammar::range::Range;
use crate::grammar::reference::EntityReference;

/// How much less memory a machine or an accelerator may report than what it is sold with: firmware and drivers keep some
/// for themselves. An L4 of 24 GB reports 23034 MiB.
const MEMORY_TOLERANCE_PERCENT: u64 = 8;

/// The machines, and what of them is taken.
#[derive(Debug)]
pub(crate) struct Board<'a> {
    machines: &'a [Machine],
    taken_blocks: BTreeMap<&'a str, u32>,
    taken_ports: BTreeSet<(&'a str, u16)>,
}

/// Which machines may be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    pub(crate) fleets: &'a [Spanned<EntityReference>],
    pub(crate) instances: Option<&'a [InstanceSelector]>,
}

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need<'a> {
    pub(crate) choice: Choice<'a>,
    pub(crate) resources: &'a Resources,
    /// Ports that only one program of a machine can have.
    pub(crate) ports: [Option<u16>; 2],
    /// Whether it runs in a container.
    pub(crate) in_container: bool,
    /// The machines on which there is another node of the same replica already.
    pub(crate) apart_from: &'a [&'a str],
}

/// Why a machine cannot take something, by the machine.
pub(crate) type Refusals = Vec<(String, String)>;

impl Choice<'_> {
    fn allows(&self, machine: &Machine) -> bool {
        let of_fleet = self.fleets.is_empty()
            || self
                .fleets
                .iter()
                .any(|fleet| fleet.value.project.is_none() && fleet.value.name == machine.fleet);
        let of_instances = self.instances.is_none_or(|instances| {
            instances.iter().any(|instance| match instance {
                InstanceSelector::Name(name) => {
                    *name == machine.name || *name == format!("{}-{}", machine.fleet, machine.number)
                }
                InstanceSelector::Hostname(hostname) => *hostname == machine.hostname,
                InstanceSelector::InFleet(fleet, number) => {
                    fleet.name == machine.fleet && *number == machine.number
                }
            })
        });
        of_fleet && of_instances
    }
}

impl<'a> Board<'a> {
    pub(crate) fn new(machines: &'a [Machine]) -> Self {
        Self {
            machines,
            taken_blocks: BTreeMap::new(),
            taken_ports: BTreeSet::new(),
        }
    }

    /// Returns a machine by its name.
    pub(crate) fn machine(&self, name: &str) -> Option<&'a Machine> {
        self.machines.iter().find(|machine| machine.name == name)
    }

    /// Returns the machine for a gateway: where it is, else the first that is allowed. It takes no blocks.
    pub(crate) fn gateway(&self, choice: Choice<'_>, kept: Option<&str>) -> Option<&'a Machine> {
        let allowed = || self.machines.iter().filter(|machine| choice.allows(machine));
        allowed()
            .find(|machine| Some(machine.name.as_str()) == kept)
            .or_else(|| allowed().next())
    }

    /// Keeps something where it is, if that can be.
    pub(crate) fn keep(&mut self, need: &Need<'_>, name: &str) -> Option<&'a Machine> {
        let machine = self.machine(name)?;
        let blocks = self.fits(machine, need).ok()?;
        self.take(machine, blocks, need.ports);
        Some(machine)
    }

    /// Places something that is nowhere yet.
    ///
    /// # Errors
    /// Why no machine can take it.
    pub(crate) fn place(&mut self, need: &Need<'_>) -> Result<&'a Machine, Refusals> {
        let mut refusals = Refusals::new();
        let mut best: Option<(u32, &'a Machine, u32)> = None;
        for machine in self.machines {
            match self.fits(machine, need) {
                Ok(blocks) => {
                    let free = self.free(machine);
                    // The first of equals.
                    if best.is_none_or(|(most, _, _)| free > most) {
                        best = Some((free, machine, blocks));
                    }
                }
                Err(why) => refusals.push((machine.name.clone(), why)),
            }
        }
        let (_, machine, blocks) = best.ok_or(refusals)?;
        self.take(machine, blocks, need.ports);
        Ok(machine)
    }

    /// Takes room for some more of something that is on a machine, for while they are replaced. Returns whether there is
    /// that much.
    pub(crate) fn take_beside(&mut self, need: &Need<'_>, machine: &'a Machine, count: u32) -> bool {
        let Ok(blocks) = self.fits(machine, need) else {
            return false;
        };
        let all = blocks.saturating_mul(count);
        let is_room = all <= self.free(machine);
        if is_room {
            self.take(machine, all, [None; 2]);
        }
        is_room
    }

    fn take(&mut self, machine: &'a Machine, blocks: u32, ports: [Option<u16>; 2]) {
        *self.taken_blocks.entry(&machine.name).or_default() += blocks;
        for port in ports.into_iter().flatten() {
            self.taken_ports.insert((&machine.name, port));
        }
    }

    fn free(&self, machine: &Machine) -> u32 {
        let taken = self.taken_blocks.get(machine.name.as_str()).copied();
        blocks_of(machine).saturating_sub(taken.unwrap_or_default())
    }

    /// Returns how many blocks of a machine something takes, or why it does not fit.
    fn fits(&self, machine: &Machine, need: &Need<'_>) -> Result<u32, String> {
        if !need.choice.allows(machine) {
            return Err("it is not among the `fleets` or `instances`".to_owned());
        }
        if need.apart_from.contains(&machine.name.as_str()) {
            return Err("another node of the replica is on it".to_owned());
        }
        let is_taken = |port: &u16| self.taken_ports.contains(&(machine.name.as_str(), *port));
        if let Some(port) = need.ports.into_iter().flatten().find(is_taken) {
            return Err(format!("port {port} is taken by another replica"));
        }
        if need.in_container {
            check_container(machine, need)?;
        }
        let all = blocks_of(machine);
        let free = self.free(machine);
        let blocks = match &machine.facts {
            // Nobody has looked: for a check of what is written, it fits.
            None => 1,
            Some(facts) => {
                let missing = |blocks| missing(&share(facts, blocks, all), need.resources);
                match (1..=all).find(|blocks| missing(*blocks).is_empty()) {
                    Some(blocks) => blocks,
                    None => return Err(missing(all).join(", ")),
                }
            }
        };
        if blocks <= free {
            return Ok(blocks);
        }
        Err(match (free, all) {
            (0, 1) => "it is taken".to_owned(),
            (0, _) => format!("all its {all} blocks are taken"),
            _ => format!("{blocks} of its {all} blocks are needed, and {free} are free"),
        })
    }
}

/// Says why a machine cannot run a container.
fn check_container(machine: &Machine, need: &Need<'_>) -> Result<(), String> {
    let Some(facts) = &machine.facts else {
        return Ok(());
    };
    if !facts.has_containers {
        return Err("no Docker daemon answers on it, and `image` needs one".to_owned());
    }
    if need.resources.gpu.value.is_needed() && blocks_of(machine) > 1 {
        return Err(
            "it is split, and this build gives a container all accelerators of a machine or none".to_owned(),
        );
    }
    Ok(())
}

fn blocks_of(machine: &Machine) -> u32 {
    match (machine.blocks, &machine.facts) {
        (Blocks::Count(count), _) => count.max(1),
        (Blocks::Auto, Some(facts)) if !facts.gpus.is_empty() => u32::try_from(facts.gpus.len()).unwrap_or(1),
        (Blocks::Auto, Some(facts)) => facts.cpus.max(1),
        (Blocks::Auto, None) => u32::MAX,
    }
}

/// What some blocks of a machine hold; the disk is shared by all.
fn share(facts: &MachineFacts, blocks: u32, all: u32) -> MachineFacts {
    let gpus = facts.gpus.len() * blocks as usize / all as usize;
    MachineFacts {
        cpus: u32::try_from(u64::from(facts.cpus) * u64::from(blocks) / u64::from(all)).unwrap_or(u32::MAX),
        memory_mib: facts.memory_mib * u64::from(blocks) / u64::from(all),
        gpus: facts.gpus[..gpus.min(facts.gpus.len())].to_vec(),
        ..facts.clone()
    }
}

/// Returns whether an amount that a machine reports is at least what a range asks for.
pub(super) fn is_enough(range: &Range<Memory>, megabytes: u64) -> bool {
    let generous = megabytes + megabytes * MEMORY_TOLERANCE_PERCENT / 100;
    range.min.is_none_or(|min| min.as_megabytes() <= generous)
}

/// Words an amount of memory.
pub(super) fn gigabytes(megabytes: u64) -> String {
    format!("{:.0}GB", megabytes as f64 / 1024.0)
}

/// Returns the architecture of a machine's processors.
pub(super) fn architecture(has: &MachineFacts) -> Architecture {
    match has.arch.as_str() {
        "aarch64" => Architecture::Arm,
        _ => Architecture::X86,
    }
}

/// Words the accelerators of a machine.
pub(super) fn accelerators(has: &[GpuFacts]) -> String {
    match has.first() {
        None => "no GPUs".to_owned(),
        Some(first) => format!("{} GPUs ({})", has.len(), first.name),
    }
}

/// Returns what a machine lacks, each as a part of a sentence.
fn missing(has: &MachineFacts, need: &Resources) -> Vec<String> {
    let mut missing = Vec::new();
    let cpu = &need.cpu.value;
    if cpu.arch.is_some_and(|wanted| wanted != architecture(has)) {
        missing.push(format!("its processors are {}", has.arch));
    }
    if !cpu.count.contains(has.cpus) {
        missing.push(format!("{} CPUs, and {} are asked for", has.cpus, cpu.count));
    }
    let within = |range: &Range<Memory>, megabytes: u64| {
        is_enough(range, megabytes) && range.max.is_none_or(|max| megabytes <= max.as_megabytes())
    };
    if !within(&need.memory, has.memory_mib) {
        missing.push(format!(
            "{} of memory, and {} is asked for",
            gigabytes(has.memory_mib),
            need.memory
        ));
    }
    if !within(&need.disk.0, has.disk_gib * 1024) {
        missing.push(format!(
            "{}GB of disk, and {} is asked for",
            has.disk_gib, need.disk.0
        ));
    }
    let gpu = &need.gpu.value;
    if !gpu.is_anything() {
        missing.extend(missing_gpus(&has.gpus, gpu, within));
    }
    missing
}

fn missing_gpus(
    has: &[GpuFacts],
    need: &GpuSpec,
    within: impl Fn(&Range<Memory>, u64) -> bool,
) -> Option<String> {
    let words = |text: &str| text.to_ascii_lowercase().replace([' ', '-', '_'], "");
    let good: Vec<&GpuFacts> = has
        .iter()
        .filter(|gpu| {
            let of_maker = need
                .vendor
                .is_none_or(|vendor| vendor.0.to_string() == gpu.vendor);
            let named = need.name.0.is_empty()
                || need
                    .name
                    .0
                    .iter()
                    .any(|name| words(&gpu.name).contains(&words(name)));
            let large = need
                .memory
                .as_ref()
                .is_none_or(|memory| within(memory, gpu.memory_mib));
            of_maker && named && large
        })
        .collect();
    let count = u32::try_from(good.len()).unwrap_or(u32::MAX);
    let total: u64 = good.iter().map(|gpu| gpu.memory_mib).sum();
    let enough = need.count.contains(count)
        && need
            .total_memory
            .as_ref()
            .is_none_or(|memory| within(memory, total));
    if enough {
        return None;
    }
    Some(format!("{}, and `gpu: {need}` is asked for", accelerators(has)))
}

#[cfg(test)]
mod tests {
    use gabion_engine::config::{FromNode, parse_yaml};
    use gabion_engine::diagnostic::{SourceFile, Span};

    use super::*;

    fn machine(name: &str, blocks: Blocks, gpus: usize) -> Machine {
        let (fleet, hostname) = name.split_once('/').unwrap();
        Machine {
            name: name.to_owned(),
            fleet: fleet.to_owned(),
            number: 0,
            hostname: hostname.to_owned(),
            blocks,
            facts: Some(MachineFacts {
                arch: "x86_64".to_owned(),
                cpus: 16,
                memory_mib: 64 * 1024,
                disk_gib: 500,
                gpus: vec![
                    GpuFacts {
                        vendor: "nvidia".to_owned(),
                        name: "NVIDIA H100 80GB HBM3".to_owned(),
                        memory_mib: 81_559,
                    };
                    gpus
                ],
                addresses: Vec::new(),
                has_containers: false,
            }),
            private_address: None,
            made: None,
            span: Span::of_file(&SourceFile::new("", "")),
        }
    }

    fn resources(text: &str) -> Resources {
        let (nodes, mut problems) = parse_yaml(&SourceFile::new("a.yml", text));
        let read = Resources::from_node(&nodes[0], &mut problems).unwrap();
        assert!(!problems.has_errors(), "{problems:?}");
        read
    }

    fn need(resources: &Resources) -> Need<'_> {
        Need {
            choice: Choice {
                fleets: &[],
                instances: None,
            },
            resources,
            ports: [None; 2],
            in_container: false,
            apart_from: &[],
        }
    }

    fn names(board: &mut Board<'_>, need: &Need<'_>, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| {
                board
                    .place(need)
                    .map_or("-".to_owned(), |machine| machine.name.clone())
            })
            .collect()
    }

    #[test]
    fn replicas_spread_over_machines_and_blocks() {
        let machines = [
            machine("f/a", Blocks::Count(1), 0),
            machine("f/b", Blocks::Count(2), 0),
        ];
        let wanted = resources("{cpu: 2.., memory: 8GB.., disk: 1GB..}");
        let mut board = Board::new(&machines);
        assert_eq!(names(&mut board, &need(&wanted), 4), ["f/b", "f/a", "f/b", "-"]);
    }

    #[test]
    fn what_is_placed_stays_and_new_ones_go_round_it() {
        let machines = [
            machine("f/a", Blocks::Count(2), 0),
            machine("f/b", Blocks::Count(2), 0),
        ];
        let wanted = resources("{cpu: 2.., memory: 8GB.., disk: 1GB..}");
        let mut board = Board::new(&machines);
        assert!(board.keep(&need(&wanted), "f/a").is_some());
        assert!(board.keep(&need(&wanted), "f/a").is_some());
        assert!(board.keep(&need(&wanted), "f/a").is_none());
        assert!(board.keep(&need(&wanted), "f/gone").is_none());
        assert_eq!(names(&mut board, &need(&wanted), 3), ["f/b", "f/b", "-"]);
    }

    #[test]
    fn gpus_come_in_blocks_and_each_machine_says_what_it_lacks() {
        let machines = [
            machine("f/cpu", Blocks::Count(1), 0),
            machine("f/gpu", Blocks::Auto, 8),
        ];
        let two = resources("{gpu: 'H100:80GB:2', disk: 1GB..}");
        let mut board = Board::new(&machines);
        assert_eq!(
            names(&mut board, &need(&two), 5),
            ["f/gpu", "f/gpu", "f/gpu", "f/gpu", "-"]
        );
        let refusals = board.place(&need(&two)).unwrap_err();
        assert_eq!(refusals[0].1, "no GPUs, and `gpu: H100:80GB:2` is asked for");
        assert_eq!(refusals[1].1, "all its 8 blocks are taken");
        let other = resources("{gpu: 'A100:1', cpu: 32.., memory: 1TB.., disk: 1TB..}");
        let refusals = Board::new(&machines[..1]).place(&need(&other)).unwrap_err();
        assert_eq!(
            refusals[0].1,
            "16 CPUs, and 32.. are asked for, 64GB of memory, and 1TB.. is asked for, 500GB of disk, and 1TB.. is asked for, no GPUs, and `gpu: A100:1` is asked for"
        );
    }

    #[test]
    fn containers_go_where_a_daemon_answers_and_take_accelerators_whole() {
        let mut machines = [
            machine("f/without", Blocks::Count(1), 8),
            machine("f/split", Blocks::Auto, 8),
            machine("f/whole", Blocks::Count(1), 8),
        ];
        for machine in &mut machines[1..] {
            machine.facts.as_mut().unwrap().has_containers = true;
        }
        let wanted = resources("{gpu: 1.., disk: 1GB..}");
        let need = Need {
            in_container: true,
            ..need(&wanted)
        };
        let mut board = Board::new(&machines);
        assert_eq!(names(&mut board, &need, 2), ["f/whole", "-"]);
        let refusals = board.place(&need).unwrap_err();
        assert_eq!(
            refusals[0].1,
            "no Docker daemon answers on it, and `image` needs one"
        );
        assert!(refusals[1].1.starts_with("it is split"), "{}", refusals[1].1);
    }

    #[test]
    fn each_of_two_fixed_ports_is_one_replicas_on_each_machine() {
        let machines = [machine("f/a", Blocks::Count(4), 0)];
        let wanted = resources("{cpu: 2.., disk: 1GB..}");
        let mut board = Board::new(&machines);
        let mut place = |ports| {
            let need = Need {
                ports,
                ..need(&wanted)
            };
            board.place(&need).map_err(|refusals| refusals[0].1.clone())
        };
        assert!(place([Some(8000), Some(8998)]).is_ok());
        assert_eq!(
            place([Some(8001), Some(8998)]).unwrap_err(),
            "port 8998 is taken by another replica"
        );
        assert!(place([None, Some(8999)]).is_ok());
    }

    #[test]
    fn a_fixed_port_is_one_replicas_on_each_machine() {
        let machines = [
            machine("f/a", Blocks::Count(4), 0),
            machine("f/b", Blocks::Count(4), 0),
        ];
        let wanted = resources("{cpu: 2.., disk: 1GB..}");
        let need = Need {
            ports: [Some(8000), None],
            ..need(&wanted)
        };
        assert_eq!(names(&mut Board::new(&machines), &need, 3), ["f/a", "f/b", "-"]);
    }

    #[test]
    fn fleets_and_instances_narrow_the_choice() {
        let machines = [
            machine("one/a", Blocks::Count(4), 0),
            machine("two/b", Blocks::Count(4), 0),
        ];
        let span = Span::of_file(&SourceFile::new("", ""));
        let fleets = [Spanned::new(
            EntityReference {
                project: None,
                name: "two".to_owned(),
            },
            span,
        )];
        let instances = [InstanceSelector::Hostname("a".to_owned())];
        let all = Choice {
            fleets: &[],
            instances: None,
        };
        let of_fleet = Choice {
            fleets: &fleets,
            ..all
        };
        let of_instance = Choice {
            instances: Some(&instances),
            ..all
        };
        let board = Board::new(&machines);
        let gateway = |choice, kept| board.gateway(choice, kept).map(|machine| machine.name.as_str());
        assert_eq!(gateway(all, None), Some("one/a"));
        assert_eq!(gateway(all, Some("two/b")), Some("two/b"));
        assert_eq!(gateway(of_fleet, Some("one/a")), Some("two/b"));
        assert_eq!(gateway(of_instance, None), Some("one/a"));
    }
}
