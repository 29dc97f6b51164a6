//! `gabion drift`: what was changed outside gabion.

use std::collections::BTreeSet;
use std::fmt::Write;

use gabion_engine::address::{ObjectId, ResourceAddress};
use gabion_engine::plan::change::{Action, Drift, DriftKind, DriftVerdict, Reason};
use gabion_engine::plan::{Mode, Plan};
use gabion_engine::provider::{ListedObject, Observation, ReadOutcome};
use gabion_engine::state::State;
use gabion_engine::state::event::EventBody;
use gabion_engine::world::{Refresh, World};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::args::{Drift as DriftArgs, Format, Selection};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;
use crate::planning::{self, PlanRequest, Planned};
use crate::project::LoadedProject;
use crate::render::markdown::{cell_code, code, prose};
use crate::render::plan_json::drift_json;
use crate::render::plan_json_types::DriftJson;
use crate::render::words::{count, plain};
use crate::render::{drift_junit, drift_markdown, drift_sarif, drift_text};
use crate::state_access::{StateAccess, existing_key};
use crate::state_failure::journal_failure;

/// The answer of `gabion drift --format json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftReportJson {
    /// The version of this form: `1.0`.
    pub format_version: String,
    /// The project's name.
    pub project: String,
    /// The state's serial.
    pub serial: u64,
    /// When the world was read.
    pub timestamp: String,
    /// Whether anything was changed outside gabion.
    pub drifted: bool,
    /// The objects that differ from their records, or could not be read.
    pub drift: Vec<DriftJson>,
    /// Objects that carry the project's mark and are in no record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmanaged: Vec<UnmanagedJson>,
    /// Objects whose creation had been given up and that turned up after that: the next apply takes them over, or
    /// deletes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turned_up: Vec<UnmanagedJson>,
    /// What could not be asked for objects with the project's mark, and why: what is there may be missing above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_asked: Vec<NotAskedJson>,
    /// What should be known of objects that are as recorded: a task that failed, for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// An object that carries the project's mark and is in no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnmanagedJson {
    /// Its resource type.
    #[serde(rename = "type")]
    pub resource_type: String,
    /// Its id.
    pub id: String,
    /// The address on its mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A part of the world that could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotAskedJson {
    /// Which: a machine, an agent.
    pub part: String,
    /// Why, as a sentence.
    pub why: String,
    /// The providers whose objects may be there.
    pub providers: Vec<String>,
}

/// Compares records and world. With `--accept` it records what is there, and reports what is left.
pub(crate) async fn run(args: &DriftArgs, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    let mut project = LoadedProject::read_with_state(options);
    let access = StateAccess::of(&project, options)?;
    if args.accept.is_empty() {
        let state = access.load().await?;
        let in_flight = access.live_holder().await?;
        let planned = interrupts
            .unless(look(context, &mut project, &state, in_flight))
            .await??;
        return report(args, context, &project, &planned, &BTreeSet::new());
    }
    access.load_existing().await?;
    let key = existing_key(options)?;
    let opening = access.journal(options, "drift --accept", args.locking.lock_timeout, key);
    let journal = interrupts.unless(opening).await??;
    let written = async {
        let state = journal.state();
        let planned = interrupts
            .unless(look(context, &mut project, &state, None))
            .await??;
        let events = accepting(&args.accept, &state, &planned)?;
        let number = events.len();
        journal
            .commit(events)
            .await
            .map_err(|error| journal_failure(&error))?;
        printer.status(&format!(
            "Recorded {} as {} now.",
            count(number, "object"),
            if number == 1 { "it is" } else { "they are" }
        ));
        report(
            args,
            context,
            &project,
            &planned,
            &args.accept.iter().cloned().collect(),
        )
    }
    .await;
    crate::applying::close(&journal, written, printer).await
}

async fn look(
    context: &Context,
    project: &mut LoadedProject,
    state: &State,
    in_flight: Option<gabion_engine::state::event::Holder>,
) -> Result<Planned, Failure> {
    let request = PlanRequest {
        mode: Mode::Apply,
        selection: &Selection::default(),
        refresh: Refresh::Full,
        unmanaged: true,
        import: None,
        in_flight,
        scale: None,
        events: None,
        key: existing_key(&context.options)?,
    };
    planning::make_once(context, project, state, None, request).await
}

/// Returns the events that record objects as they are.
fn accepting(
    addresses: &[ResourceAddress],
    state: &State,
    planned: &Planned,
) -> Result<Vec<EventBody>, Failure> {
    let wanted: BTreeSet<&ResourceAddress> = addresses.iter().collect();
    wanted
        .into_iter()
        .map(|address| {
            let record = super::state::find(state, address)?;
            let drift = planned.plan.drift.iter().find(|drift| drift.uid == record.uid);
            let nothing = || {
                Failure::new("nothing to accept")
                    .detail(format!("{address} is as it was recorded; nothing was written."))
                    .hint("see what was changed:\n    gabion drift")
            };
            match &drift.ok_or_else(nothing)?.kind {
                DriftKind::Vanished => Ok(EventBody::Vanished { uid: record.uid }),
                DriftKind::CannotTell { reason } => Err(Failure::new("cannot be accepted").detail(format!(
                    "{address} could not be read: {} Nothing was written.",
                    plain(reason)
                ))),
                DriftKind::Changed(_) => match planned.world.objects.get(&record.uid) {
                    Some(ReadOutcome::Present(found)) => {
                        // What the world does not tell stays as it was recorded.
                        let mut attributes = found.attributes.clone();
                        for path in &found.unreadable {
                            if let Some((name, value)) = path
                                .first_key()
                                .and_then(|name| Some((name, record.attributes.get(name)?)))
                            {
                                attributes.insert(name.into(), value.clone());
                            }
                        }
                        Ok(EventBody::Accepted {
                            uid: record.uid,
                            attributes,
                        })
                    }
                    _ => Err(nothing()),
                },
            }
        })
        .collect()
}

/// Returns whether a difference is one that somebody should look at.
fn counts(drift: &Drift) -> bool {
    match &drift.kind {
        DriftKind::Vanished | DriftKind::CannotTell { .. } => true,
        DriftKind::Changed(attributes) => attributes
            .iter()
            .any(|attribute| matches!(attribute.verdict, DriftVerdict::Reverted | DriftVerdict::Accepted)),
    }
}

/// Prints what differs, without what was just accepted, and returns the exit.
fn report(
    args: &DriftArgs,
    context: &Context,
    project: &LoadedProject,
    planned: &Planned,
    accepted: &BTreeSet<ResourceAddress>,
) -> Outcome {
    let Context { options, printer } = context;
    let plan = planned.plan;
    let settings = project.project.settings.file.path();
    let drift: Vec<Drift> = plan
        .drift
        .iter()
        .filter(|drift| !accepted.contains(&drift.address))
        .cloned()
        .collect();
    let unmanaged = unmanaged(&planned.world);
    let late = turned_up(plan);
    let drifted = drift.iter().any(counts) || !unmanaged.is_empty() || !late.is_empty();
    let not_asked = &planned.world.unasked;
    let mut text = String::new();
    let extra: Vec<String> = unmanaged.iter().map(|object| unmanaged_name(object)).collect();
    match options.format {
        Format::Json => {
            let report = DriftReportJson {
                format_version: "1.0".into(),
                project: plan.project.to_string(),
                serial: plan.basis.serial,
                timestamp: plan.basis.gathered_at.to_string(),
                drifted,
                drift: drift.iter().map(drift_json).collect(),
                unmanaged: unmanaged
                    .iter()
                    .map(|object| UnmanagedJson {
                        resource_type: object.resource_type.to_string(),
                        id: object.id.to_string(),
                        address: object.address.as_ref().map(ToString::to_string),
                    })
                    .collect(),
                turned_up: late
                    .iter()
                    .map(|(address, id)| UnmanagedJson {
                        resource_type: address.resource_type.to_string(),
                        id: id.to_string(),
                        address: Some(address.to_string()),
                    })
                    .collect(),
                not_asked: not_asked
                    .iter()
                    .map(|missing| NotAskedJson {
                        part: missing.part.clone(),
                        why: missing.why.clone(),
                        providers: missing.providers.iter().map(ToString::to_string).collect(),
                    })
                    .collect(),
                notes: notes(plan),
            };
            text = serde_json::to_string_pretty(&report).unwrap_or_default();
            text.push('\n');
        }
        Format::Markdown => {
            // Writing to a string cannot fail.
            let _ = drift_markdown::write_drift(&mut text, plan, &drift, not_asked.is_empty());
            if !unmanaged.is_empty() {
                let _ = writeln!(text, "\n| in no record | id |\n| --- | --- |");
                for object in &unmanaged {
                    let name = unmanaged_name(object);
                    let _ = writeln!(text, "| {} | {} |", cell_code(&name), code(object.id.as_str()));
                }
            }
            if !late.is_empty() {
                let _ = writeln!(text, "\n| turned up late | id |\n| --- | --- |");
                for (address, id) in &late {
                    let name = cell_code(&address.to_string());
                    let _ = writeln!(text, "| {name} | {} |", code(id.as_str()));
                }
            }
            if !not_asked.is_empty() {
                let _ = writeln!(text, "\n| not asked | why |\n| --- | --- |");
                for missing in not_asked {
                    let _ = writeln!(text, "| {} | {} |", prose(&missing.part), prose(&missing.why));
                }
            }
            for (position, note) in notes(plan).iter().enumerate() {
                let gap = if position == 0 { "\n" } else { "" };
                let _ = writeln!(text, "{gap}* {}", prose(note));
            }
        }
        Format::Text => match &options.sarif {
            Some(repository) => {
                let now = plan.basis.gathered_at;
                let log = drift_sarif::log(&drift, &extra, not_asked, now, repository, settings);
                text = serde_json::to_string_pretty(&log).unwrap_or_default();
                text.push('\n');
            }
            None => write_text(&mut text, context, planned, &drift, &unmanaged, drifted),
        },
    }
    printer.data(&text);
    if let Some(path) = &args.junit {
        let objects = objects(planned);
        let report = drift_junit::Report {
            project: &plan.project,
            gathered_at: plan.basis.gathered_at,
            objects: &objects,
            drift: &drift,
            unmanaged: &extra,
            not_asked,
        };
        let xml = drift_junit::write(&report);
        std::fs::write(path, xml).map_err(|error| {
            Failure::new("the report cannot be written").detail(format!("{}: {error}.", path.display()))
        })?;
    }
    // Nobody knows that nothing was changed where nobody could be asked.
    Ok(if drifted || !not_asked.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

fn write_text(
    text: &mut String,
    context: &Context,
    planned: &Planned,
    drift: &[Drift],
    unmanaged: &[&ListedObject],
    drifted: bool,
) {
    let theme = context.printer.data_theme();
    let basis = &planned.plan.basis;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{strong}gabion drift{strong:#} {} {dim}(state serial {}, {:.0}){dim:#}\n",
        plain(&planned.plan.project),
        basis.serial,
        basis.gathered_at,
        strong = theme.strong,
        dim = theme.dim
    );
    if !drift.is_empty() {
        let shown: Vec<&Drift> = drift.iter().collect();
        let _ = drift_text::write_section(text, &shown, basis.gathered_at, &theme);
        text.push('\n');
    }
    if !unmanaged.is_empty() {
        let _ = writeln!(
            text,
            "{0}In no record, with this project's mark{0:#}",
            theme.strong
        );
        for object in unmanaged {
            let _ = writeln!(
                text,
                "    ? {}  {}",
                unmanaged_name(object),
                plain(object.id.as_str())
            );
        }
        text.push('\n');
    }
    let late = turned_up(planned.plan);
    if !late.is_empty() {
        let _ = writeln!(
            text,
            "{0}Turned up late, after an earlier run had given up the creation{0:#}",
            theme.strong
        );
        for (address, id) in &late {
            let _ = writeln!(text, "    + {address}  {}", plain(id.as_str()));
        }
        text.push('\n');
    }
    let not_asked = &planned.world.unasked;
    if !not_asked.is_empty() {
        let _ = writeln!(text, "{0}Not asked{0:#}", theme.strong);
        for missing in not_asked {
            let _ = writeln!(text, "    ? {}: {}", plain(&missing.part), plain(&missing.why));
        }
        text.push('\n');
    }
    let notes = notes(planned.plan);
    if !notes.is_empty() {
        let _ = writeln!(text, "{0}Notes{0:#}", theme.strong);
        for note in &notes {
            let _ = writeln!(text, "  {}", plain(note));
        }
        text.push('\n');
    }
    let program = &context.options.program;
    if !drifted {
        let objects = planned.world.objects.len();
        let are = if objects == 1 { "is" } else { "are" };
        let _ = writeln!(
            text,
            "{0}No drift{1}.{0:#} {2} {are} as recorded.",
            theme.good,
            if not_asked.is_empty() {
                ""
            } else {
                " in what could be asked"
            },
            count(objects, "object")
        );
        let unfinished = planned.plan.changes.iter();
        let unfinished = unfinished
            .filter(|change| change.reasons.contains(&Reason::Incomplete))
            .count();
        if unfinished > 0 {
            let was = if unfinished == 1 { "was" } else { "were" };
            let _ = writeln!(
                text,
                "{} {was} not finished by an earlier run.\n\n{strong}Next:{strong:#} {program} plan",
                count(unfinished, "object"),
                strong = theme.strong
            );
        }
        return;
    }
    let mut parts = Vec::new();
    if !drift.is_empty() {
        parts.push(drift_text::summary_line(drift));
    }
    if !late.is_empty() {
        parts.push(format!("{} turned up late", count(late.len(), "object")));
    }
    if !unmanaged.is_empty() {
        parts.push(format!("{} in no record", count(unmanaged.len(), "object")));
    }
    if !not_asked.is_empty() {
        parts.push(format!("{} not asked", count(not_asked.len(), "place")));
    }
    let _ = writeln!(text, "{0}Drift:{0:#} {1}.", theme.strong, parts.join(", "));
    let _ = writeln!(text, "\n{0}Next:{0:#} {program} plan", theme.strong);
}

/// Returns what should be known of objects that are left as they are.
fn notes(plan: &Plan) -> Vec<String> {
    let kept = plan.changes.iter().filter(|change| change.action == Action::NoOp);
    kept.flat_map(|change| {
        change
            .notes
            .iter()
            .map(|note| format!("{}: {note}", change.address))
    })
    .collect()
}

/// Returns the addresses of the objects that were looked at.
fn objects(planned: &Planned) -> Vec<ResourceAddress> {
    let plan = planned.plan;
    let of_changes = plan
        .changes
        .iter()
        .filter(|change| change.uid.is_some() && !change.deposed);
    let mut objects: BTreeSet<ResourceAddress> = of_changes.map(|change| change.address.clone()).collect();
    objects.extend(plan.drift.iter().map(|drift| drift.address.clone()));
    objects.into_iter().collect()
}

/// Returns what turned up after its creation had been given up.
fn turned_up(plan: &Plan) -> Vec<(&ResourceAddress, &ObjectId)> {
    plan.settlements
        .iter()
        .filter(|settlement| settlement.late)
        .filter_map(|settlement| match &settlement.observation {
            Observation::Present(found) => Some((&settlement.address, &found.id)),
            Observation::Absent | Observation::Unknown { .. } => None,
        })
        .collect()
}

fn unmanaged_name(object: &ListedObject) -> String {
    match &object.address {
        Some(address) => address.to_string(),
        None => object.resource_type.to_string(),
    }
}

fn unmanaged(world: &World) -> Vec<&ListedObject> {
    world.unmanaged.iter().collect()
}
