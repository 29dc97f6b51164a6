//! A count that a person chooses, in place of the recorded one.

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{RecordedView, SurveyResult};
use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Action, Cause, Change};
use gabion_engine::resource::{Configuration, Resource};
use gabion_engine::state::record::Status;
use gabion_engine::value::{AttributePath, Attributes, Value};

use crate::failure::Failure;
use crate::shell::shell_word;
use crate::wiring::COUNT;

/// The replica group of a service that has only one kind.
const DEFAULT_GROUP: &str = "default";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    address: ResourceAddress,
    written: String,
    group: String,
    count: u32,
    only_count: bool,
}

impl Wanted {
    /// Reads `SERVICE` or `SERVICE/GROUP`. With `only_count`, nothing but the number may change.
    pub(crate) fn new(written: &str, count: u32, only_count: bool) -> Result<Self, Failure> {
        let group = match written.contains('/') {
            true => written.to_owned(),
            false => format!("{written}/{DEFAULT_GROUP}"),
        };
        let address = ResourceAddress::of(COUNT, &group).map_err(|_| {
            Failure::new("not a replica group")
                .detail(format!("`{written}` names no service and no replica group."))
                .hint("write `SERVICE`, or `SERVICE/GROUP`")
        })?;
        Ok(Self {
            address,
            written: written.to_owned(),
            group,
            count,
            only_count,
        })
    }

    /// Returns the command's own arguments, as a person types them.
    pub(crate) fn arguments(&self) -> String {
        let only_count = if self.only_count { " --only-count" } else { "" };
        format!(" {} {}{only_count}", shell_word(&self.written), self.count)
    }

    /// Checks that a plan changes nothing but the number, where that was asked for: replicas come and go, are repaired, and
    /// none becomes another one because its file says something new.
    ///
    /// # Errors
    /// When something that exists would be made as the files say now.
    pub(crate) fn check_plan(&self, plan: &Plan) -> Result<(), Failure> {
        if !self.only_count {
            return Ok(());
        }
        let is_count = |change: &Change, path: &AttributePath| {
            change.address == self.address && *path == AttributePath::root("count")
        };
        let is_edited = |change: &&Change| {
            let exists = matches!(change.action, Action::Update | Action::Replace(_));
            exists
                && change.attributes.iter().any(|attribute| {
                    matches!(attribute.cause, Cause::Configuration(_)) && !is_count(change, &attribute.path)
                })
        };
        let edited: Vec<String> = plan
            .changes
            .iter()
            .filter(is_edited)
            .map(|change| format!("\n    {}", change.address))
            .collect();
        if edited.is_empty() {
            return Ok(());
        }
        Err(Failure::new("more than the number would change")
            .detail(format!(
                "The files say something else than what was applied, of:{}",
                edited.concat()
            ))
            .hint("apply the files first, or leave `--only-count` out:\n    gabion apply"))
    }

    /// Returns what the command is about: the count, its replicas with the machines made for them, and the way to them.
    /// Not every group has all of it. Other changes of the configuration are left for an apply.
    pub(crate) fn targets(&self) -> Vec<String> {
        let group = &self.group;
        let service = group.split('/').next().unwrap_or(group);
        vec![
            format!("{COUNT}.{group}"),
            format!("host_unit.{group}/*"),
            format!("router_worker.{group}/*"),
            format!("gateway_replica.{group}/*"),
            format!("gateway_route.{service}"),
            format!("ssh_host.{group}/*"),
            format!("aws_instance.{group}/*"),
        ]
    }

    /// Returns what is recorded, with the wanted count in place of the recorded one.
    pub(crate) fn over<'a>(&'a self, recorded: &'a dyn RecordedView) -> Chosen<'a> {
        Chosen {
            wanted: self,
            recorded,
        }
    }

    /// Checks that a configuration lowered over it has the count.
    ///
    /// # Errors
    /// When there is no such group, its number is fixed, or its range does not hold the count.
    pub(crate) fn check(&self, configuration: &Configuration) -> Result<(), Failure> {
        let counts = || {
            let resources = configuration.resources.iter();
            resources.filter(|resource| resource.address.resource_type.as_str() == COUNT)
        };
        let Some(found) = counts().find(|resource| resource.address == self.address) else {
            let prefix = format!("{}/", self.group);
            let is_fixed = configuration.resources.iter().any(|resource| {
                resource.address.resource_type.as_str() == "host_unit"
                    && resource.address.name.as_str().starts_with(&prefix)
            });
            if is_fixed {
                return Err(Failure::new("the number of replicas is fixed")
                    .detail(format!(
                        "`replicas` of {} is one number, which its file says.",
                        self.written
                    ))
                    .hint(
                        "change it there and apply, or write a range such as `replicas: 1..4` with `scaling`",
                    ));
            }
            let known: Vec<String> = counts().map(|resource| shown(&resource.address)).collect();
            return Err(Failure::new("no such replica group")
                .detail(format!(
                    "No service has a range of replicas under the name {}.",
                    self.written
                ))
                .hint(match known.is_empty() {
                    true => "write a range such as `replicas: 1..4` with `scaling` in a service".to_owned(),
                    false => format!("there is {}", known.join(", ")),
                }));
        };
        let number = |name: &str| found.inputs.get(name).and_then(Value::as_int).unwrap_or_default();
        if number("count") == i64::from(self.count) {
            return Ok(());
        }
        let place = place_of(found);
        Err(Failure::new("the number is out of range")
            .detail(format!(
                "{} has {} to {} replicas{place}, and {} is not among them.",
                self.written,
                number("min"),
                number("max"),
                self.count
            ))
            .hint("choose another number, or change the range and apply"))
    }
}

fn place_of(count: &Resource) -> String {
    let path = gabion_engine::value::AttributePath::root("count");
    match count.places.get(&path) {
        Some(place) => format!(" ({place})"),
        None => String::new(),
    }
}

/// Returns a group as `gabion scale` takes it.
fn shown(address: &ResourceAddress) -> String {
    let name = address.name.as_str();
    let suffix = format!("/{DEFAULT_GROUP}");
    format!("`{}`", name.strip_suffix(suffix.as_str()).unwrap_or(name))
}

/// A state in which somebody has chosen another count.
pub(crate) struct Chosen<'a> {
    wanted: &'a Wanted,
    recorded: &'a dyn RecordedView,
}

impl RecordedView for Chosen<'_> {
    fn under(&self, resource_type: &str, prefix: &str) -> Vec<(ResourceAddress, Status)> {
        let mut found = self.recorded.under(resource_type, prefix);
        let address = &self.wanted.address;
        let is_asked = resource_type == COUNT && address.name.as_str().starts_with(prefix);
        if is_asked && !found.iter().any(|(known, _)| known == address) {
            found.push((address.clone(), Status::Ready));
        }
        found
    }

    fn attribute(&self, address: &ResourceAddress, name: &str) -> Option<Value> {
        if *address == self.wanted.address && name == "count" {
            return Some(Value::Int(i64::from(self.wanted.count)));
        }
        self.recorded.attribute(address, name)
    }

    fn attributes(&self, address: &ResourceAddress) -> Option<Attributes> {
        self.recorded.attributes(address)
    }

    fn is_upgraded(&self, address: &ResourceAddress) -> bool {
        self.recorded.is_upgraded(address)
    }

    fn surveyed(&self, address: &ResourceAddress) -> Option<&SurveyResult> {
        self.recorded.surveyed(address)
    }
}
