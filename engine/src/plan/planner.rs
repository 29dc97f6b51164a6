//! The planner: a synchronous, pure and deterministic function from configuration, state and world to a plan.
//!
//! It goes in this order, and each step is a module beside this one: what is recorded once recovery and moves are
//! taken into account (`known`, `moves`); what the plan covers
//! (`selection`, `swap`); for each declared resource, dependencies first, what becomes of it
//! (`decide`); what goes (`removal`); the orders of replacements
//! (`order`); exclusive claims (`claims`); and the steps (`steps`).

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{ResourceAddress, Uid};
use crate::diagnostic::{Diagnostic, Diagnostics, did_you_mean};
use crate::graph::ResourceGraph;
use crate::plan::change::{Action, Change, Note, Reason};
use crate::plan::claims::{self, HandOver};
use crate::plan::decide::{self, Decider};
use crate::plan::decisions::Decisions;
use crate::plan::evaluate::{Outcome, PlanScope};
use crate::plan::known::Known;
use crate::plan::options::PlanInput;
use crate::plan::order::Strength;
use crate::plan::problem::Places;
use crate::plan::selection::Selection;
use crate::plan::step::Step;
use crate::plan::steps::{self, NoOrder};
use crate::plan::swap::Swaps;
use crate::plan::together::Fates;
use crate::plan::{Basis, Mode, PLAN_FORMAT_VERSION, Plan};
use crate::plan::{bindings, finding, moves, order, removal, replacement, result};
use crate::resource::Import;
use crate::schema::ReplaceOrder;
use crate::seldom::Seldom;
use crate::state::record::Record;
use crate::value::AttributePath;

/// The code of the problem that protection makes; a plan comes along with it, to be shown and never applied.
pub const PREVENT_DESTROY: &str = "prevent-destroy";

/// Makes a plan.
///
/// Without errors there is a plan. With errors there is none, except when all of them are [`PREVENT_DESTROY`]: then
/// the plan is there to be shown, and [`Plan::blocked`] says what blocks it.
pub fn plan(input: &PlanInput<'_>) -> (Option<Plan>, Diagnostics) {
    let mut problems = Diagnostics::new();
    let plan = make(input, &mut problems);
    let fatal = problems.iter().any(|p| p.is_error() && p.code != PREVENT_DESTROY);
    let plan = plan.filter(|_| !fatal);
    if cfg!(debug_assertions)
        && let Some(plan) = &plan
    {
        let faults = super::check::check(plan);
        debug_assert!(
            faults.is_empty(),
            "the planner made a plan with faults: {faults:#?}"
        );
    }
    (plan, problems)
}

fn make(input: &PlanInput<'_>, problems: &mut Diagnostics) -> Option<Plan> {
    let places = Places::new(&input.options.sources);
    let (graph, found) = ResourceGraph::build(&input.configuration.resources, &places);
    let broken = found.has_errors();
    problems.extend(found);
    problems.extend(crate::data::check(input.configuration, input.providers, &places));
    let known = know(input, &places, problems)?;
    if broken {
        return None;
    }
    check_requested(input, &graph, problems);
    let mut planner = decide_all(input, places, &graph, &known, problems);
    if input.options.mode == Mode::Apply {
        order::settle(
            &mut planner.decisions,
            &graph,
            input.configuration,
            &places,
            problems,
        );
    }
    let removals = removal::plan(input, &graph, &known, &planner.selection, &places, problems);
    let hand_overs = claims::resolve(
        &planner.decisions,
        &removals.changes,
        &known,
        &graph,
        input.configuration,
        &places,
        problems,
    );
    planner.finish(removals, &hand_overs, problems)
}

/// Works out what the plan covers, and decides about it.
fn decide_all<'a>(
    input: &'a PlanInput<'a>,
    places: Places<'a>,
    graph: &'a ResourceGraph,
    known: &'a Known<'a>,
    problems: &mut Diagnostics,
) -> Planner<'a> {
    let mut swaps = Swaps::default();
    let mut fates = Fates::default();
    loop {
        let mut found = Diagnostics::new();
        let mut planner = Planner {
            input,
            places,
            graph,
            known,
            selection: Selection::new(
                input.configuration,
                graph,
                known,
                input.options,
                &swaps,
                &mut found,
            ),
            outcomes: vec![Outcome::unknown(); graph.len()],
            decisions: Decisions::of(graph.len()),
            left_out: Decisions::default(),
        };
        let decides = input.options.mode == Mode::Apply;
        if decides {
            planner.decide_all(&fates, &mut found);
        }
        let decisions = [&planner.decisions, &planner.left_out];
        let resources = &input.configuration.resources;
        // What is swapped and what is taken along only grow, so this ends.
        let is_new = decides
            && (fates.add(resources, &planner.decisions)
                || !planner.selection.covers_all() && swaps.add(resources, graph, known, decisions));
        if !is_new {
            problems.extend(found);
            return planner;
        }
    }
}

/// Settles calls, drops what vanished, and renames.
fn know<'a>(input: &PlanInput<'a>, places: &Places<'_>, problems: &mut Diagnostics) -> Option<Known<'a>> {
    let contradiction = |why: String| {
        Diagnostic::error("state-contradiction", "state and world contradict each other")
            .detail(format!("{why}."))
            .hint("this is a bug in gabion: please report it with the output of `gabion state verify`")
    };
    let mut known = match Known::new(input.state, input.world) {
        Ok(known) => known,
        Err(why) => {
            problems.push(contradiction(why));
            return None;
        }
    };
    match known.upgrade(input.providers) {
        Ok(errors) => {
            for error in errors {
                problems.push(
                    Diagnostic::error("cannot-upgrade", "a record cannot be read by this version")
                        .detail(error.message)
                        .hint(error.hint),
                );
            }
        }
        Err(why) => {
            problems.push(contradiction(why));
            return None;
        }
    }
    if input.options.mode == Mode::Apply {
        let (moves, found) = moves::resolve(input.configuration, &known.state, places);
        let wrong = found.has_errors();
        problems.extend(found);
        if !wrong && let Err(why) = known.rename(moves) {
            problems.push(contradiction(why));
            return None;
        }
    }
    known.index();
    Some(known)
}

fn check_requested(input: &PlanInput<'_>, graph: &ResourceGraph, problems: &mut Diagnostics) {
    for address in &input.options.replace {
        if graph.position(address).is_some() {
            continue;
        }
        let known: Vec<String> = (0..graph.len()).map(|at| graph.address(at).to_string()).collect();
        let near = did_you_mean(&address.to_string(), known.iter().map(String::as_str)).map(str::to_owned);
        problems.push(
            Diagnostic::error("no-match", "a selection matches nothing")
                .detail(format!("The configuration declares no `{address}` to replace."))
                .hint(near.map(|near| format!("did you mean `{near}`?"))),
        );
    }
}

/// A plan in the making.
pub(super) struct Planner<'a> {
    pub(super) input: &'a PlanInput<'a>,
    pub(super) places: Places<'a>,
    pub(super) graph: &'a ResourceGraph,
    pub(super) known: &'a Known<'a>,
    pub(super) selection: Selection,
    pub(super) outcomes: Vec<Outcome>,
    /// What was decided about the resources that the plan covers, by position.
    pub(super) decisions: Decisions,
    /// What would have been decided about the others.
    pub(super) left_out: Decisions,
}

impl<'a> Planner<'a> {
    fn decide_all(&mut self, fates: &Fates, problems: &mut Diagnostics) {
        let imports = self.imports(problems);
        for position in self.graph.order() {
            let decider = Decider {
                input: *self.input,
                graph: self.graph,
                known: self.known,
                places: self.places,
                outcomes: &self.outcomes,
                imports: &imports,
                fates,
            };
            if self.selection.covers(*position) {
                self.needs_left_out(*position, problems);
                if let Some(decision) = decider.decide(*position, problems) {
                    finding::sealed_secrets(&decider, &decision, problems);
                    self.outcomes[*position] = decide::outcome(&decision, self.known);
                    self.decisions.insert(decision);
                }
                continue;
            }
            // What the plan does not cover is only looked at to say what it leaves out.
            if !self.selection.held_up.contains_key(position) {
                let mut unheard = Diagnostics::new();
                if let Some(decision) = decider.decide(*position, &mut unheard) {
                    self.left_out.insert(decision);
                }
            }
            self.outcomes[*position] = decide::standing(self.known, self.graph.address(*position));
        }
    }

    fn imports(&self, problems: &mut Diagnostics) -> BTreeMap<&'a ResourceAddress, &'a Import> {
        let mut imports = BTreeMap::new();
        for import in &self.input.configuration.directives.imports {
            let wrong = match (
                self.graph.position(&import.to),
                self.known.state.current(&import.to),
            ) {
                (None, _) => Some((
                    format!(
                        "`{}` would be imported as `{}`, which the configuration does not declare.",
                        import.id, import.to
                    ),
                    format!("declare `{}`", import.to),
                )),
                (Some(_), Some(record))
                    if record.id.as_ref().is_some_and(|id| id.as_str() != &*import.id) =>
                {
                    Some((
                        format!("`{}` is another object already, not `{}`.", import.to, import.id),
                        "import it under another address, or take the import out".to_owned(),
                    ))
                }
                _ => None,
            };
            match wrong {
                Some((detail, hint)) => problems.push(
                    Diagnostic::error("bad-import", "this import does not fit")
                        .detail(detail)
                        .at(self.places.span(&import.place))
                        .hint(hint),
                ),
                None => {
                    imports.insert(&import.to, import);
                }
            }
        }
        imports
    }

    /// Reports a dependency that does not exist and that the plan does not cover.
    fn needs_left_out(&self, position: usize, problems: &mut Diagnostics) {
        for (dependency, why) in self.graph.dependencies(position) {
            let address = self.graph.address(dependency);
            if self.selection.covers(dependency) || self.known.state.current(address).is_some() {
                continue;
            }
            let place = why.first().map(|dependence| self.places.span(&dependence.place));
            problems.push(
                Diagnostic::error("needs-left-out", "something needed is left out")
                    .detail(format!(
                        "`{}` depends on `{address}`, which does not exist yet and which this plan leaves out.",
                        self.graph.address(position)
                    ))
                    .at(place)
                    .hint(format!("take `{address}` into the plan too")),
            );
        }
    }

    pub(super) fn scope(&self) -> PlanScope<'_> {
        PlanScope {
            graph: self.graph,
            outcomes: &self.outcomes,
            providers: self.input.providers,
            options: self.input.options,
            itself: None,
        }
    }

    fn finish(
        mut self,
        removals: removal::Removals,
        hand_overs: &[HandOver],
        problems: &mut Diagnostics,
    ) -> Option<Plan> {
        let mut left_out: BTreeSet<ResourceAddress> = removals.left_out.into_iter().collect();
        let pending = self.left_out.iter().filter(|d| d.change.action != Action::NoOp);
        left_out.extend(pending.map(|d| d.change.address.clone()));
        let (drift, accepted) = finding::drift(&self);
        let claims = claims::all_taken(&self.decisions, self.known);
        let unasked: BTreeSet<usize> = self
            .decisions
            .iter()
            .filter(|decision| decision.beside.order.strength < Strength::Lifecycle)
            .filter(|decision| matches!(decision.change.action, Action::Replace(_)))
            .map(|decision| decision.position)
            .collect();
        self.note_not_compared();
        let mut changes = std::mem::take(&mut self.decisions).into_changes();
        changes.extend(self.standing());
        changes.extend(removals.changes);
        self.warn_of_other_files(&left_out, problems);
        let key = |change: &Change| (change.address.clone(), change.deposed, change.uid);
        if !changes.is_sorted_by_key(key) {
            changes.sort_by(|a, b| (&a.address, a.deposed, a.uid).cmp(&(&b.address, b.deposed, b.uid)));
        }
        self.delete_together(&mut changes);
        let blocked = self.blocked(&changes, problems);
        // With other problems there is no plan, and a cycle of steps may only follow from them.
        let fatal = problems.iter().any(|p| p.is_error() && p.code != PREVENT_DESTROY);
        let (outputs, endpoints) = result::evaluate(&self, problems);
        // Nothing refers to anything from here on.
        self.outcomes = Vec::new();
        let steps = match self.order(&mut changes, &unasked, hand_overs) {
            Ok(steps) => steps,
            Err(cycle) => {
                if !fatal {
                    problems.push(cycle);
                }
                Vec::new()
            }
        };
        let bindings = bindings::fill(self.input.state, self.known, self.graph, claims, &changes);
        let notes = self.notes(&changes, &left_out);
        // What a plan leaves out it does not forget either: what is missing of it is for another plan to make.
        let gone = self.known.vanished.values().filter(|record| self.drops(record));
        let gone = gone.map(|record| record.uid).collect();
        let Known {
            settlements,
            unsettled,
            upgrades,
            moves,
            ..
        } = self.known;
        Some(Plan {
            format_version: PLAN_FORMAT_VERSION,
            project: self.input.configuration.project.clone(),
            mode: self.input.options.mode,
            basis: self.basis(),
            settlements: settlements.clone(),
            unsettled: unsettled.clone(),
            vanished: gone,
            upgrades: upgrades.clone(),
            moves: moves.clone(),
            accepted,
            blocked,
            changes,
            data: crate::data::reads(self.input.configuration, self.input.providers),
            steps,
            drift,
            outputs,
            endpoints,
            notes,
            prices: None,
            policy: None,
            left_out: left_out.into_iter().collect(),
            bindings,
        })
    }

    /// Returns whether the record of an object that is gone goes with this plan.
    fn drops(&self, record: &Record) -> bool {
        let position = self.graph.position(&record.address).filter(|_| !record.deposed);
        match position {
            Some(at) if self.input.options.mode == Mode::Apply => self.selection.covers(at),
            _ => self.input.options.only.is_none(),
        }
    }

    /// With `-f`, changes of other files are pending.
    fn warn_of_other_files(&self, left_out: &BTreeSet<ResourceAddress>, problems: &mut Diagnostics) {
        const SHOWN: usize = 5;
        if self.input.options.files.is_none() || left_out.is_empty() {
            return;
        }
        let mut names: Vec<String> = left_out
            .iter()
            .take(SHOWN)
            .map(|address| format!("`{address}`"))
            .collect();
        if left_out.len() > SHOWN {
            names.push(format!("{} more", left_out.len() - SHOWN));
        }
        problems.push(
            Diagnostic::warning("pending-elsewhere", "changes outside the named files are pending")
                .detail(format!("This plan leaves them out: {}.", names.join(", ")))
                .hint("plan without `-f` to see them"),
        );
    }

    /// Makes the steps; where no order works otherwise, replacements whose order nobody asked for are turned around:
    /// `unasked` are the positions of their resources.
    fn order(
        &self,
        changes: &mut [Change],
        unasked: &BTreeSet<usize>,
        hand_overs: &[HandOver],
    ) -> Result<Vec<Step>, Diagnostic> {
        let unasked = |change: &Change| {
            let replaces = matches!(change.action, Action::Replace(_));
            let position = self.graph.position(&change.address).filter(|_| replaces);
            position.is_some_and(|position| unasked.contains(&position))
        };
        let mut yielding: BTreeSet<usize> = (0..changes.len())
            .filter(|index| unasked(&changes[*index]))
            .collect();
        loop {
            match steps::build(
                changes,
                &yielding,
                self.known,
                self.graph,
                &self.input.configuration.resources,
                hand_overs,
            ) {
                Ok(ordered) => {
                    for (change, notes) in ordered.notes {
                        changes[change].notes.extend(notes);
                    }
                    for change in ordered.alone {
                        changes[change].deleted_with = None;
                        if changes[change].action == Action::Delete {
                            changes[change]
                                .reasons
                                .retain(|reason| !matches!(reason, Reason::DeletedWith(_)));
                        }
                    }
                    return Ok(ordered.steps);
                }
                Err(NoOrder::Cycle(cycle)) => return Err(cycle),
                Err(NoOrder::Turn(index)) => {
                    yielding.remove(&index);
                    let (order, note) = match changes[index].action {
                        Action::Replace(ReplaceOrder::CreateThenDelete) => (
                            ReplaceOrder::DeleteThenCreate,
                            "The old object is deleted first: what the new one needs can only be made once it is gone.",
                        ),
                        _ => (
                            ReplaceOrder::CreateThenDelete,
                            "The new object is made first: something that is replaced create-first needs it.",
                        ),
                    };
                    changes[index].action = Action::Replace(order);
                    changes[index].notes.push(note.to_owned());
                }
            }
        }
    }

    fn basis(&self) -> Basis {
        Basis {
            lineage: self.input.state.lineage,
            stack: self.input.options.stack.clone(),
            serial: self.input.state.serial,
            gathered_at: self.input.world.gathered_at,
            refresh: self.input.world.refresh,
            untrusted: self.input.options.sources.root().is_some(),
            commit: self.input.options.commit.clone(),
            configuration: self.input.configuration.digest.clone(),
        }
    }

    /// Returns the objects of declared resources that the plan leaves as they are.
    fn standing(&self) -> Vec<Change> {
        if self.input.options.mode == Mode::Destroy {
            return Vec::new();
        }
        let left = (0..self.graph.len()).filter(|position| !self.selection.covers(*position));
        left.filter_map(|position| {
            let record = self.known.state.current(self.graph.address(position))?;
            let attributes = self.outcomes[position].attributes.clone()?;
            record.id.as_ref()?;
            Some(Change {
                address: record.address.clone(),
                uid: Some(record.uid),
                provider: record.declaration.provider.clone(),
                deposed: false,
                action: Action::NoOp,
                reasons: Vec::new(),
                previous_address: self.known.previous_address(record.uid).cloned(),
                importing: None,
                imported: None,
                attributes: Vec::new(),
                before: Some(attributes.clone()),
                after: Some(attributes),
                inputs: None,
                declaration: None,
                alternatives: Seldom::default(),
                conditions: Seldom::default(),
                document: None,
                unprotects: false,
                deleted_with: None,
                notes: Seldom::default(),
            })
        })
        .collect()
    }

    /// Finds objects that go with the one that holds them.
    fn delete_together(&self, changes: &mut [Change]) {
        let going: BTreeSet<Uid> = changes
            .iter()
            .filter(|change| matches!(change.action, Action::Delete | Action::Replace(_)))
            .filter_map(|change| change.uid)
            .collect();
        for change in changes.iter_mut() {
            let Some(uid) = change.uid.filter(|uid| going.contains(uid)) else {
                continue;
            };
            let Some(record) = self.known.state.record(uid) else {
                continue;
            };
            let Some(schema) = self.input.providers.schema(&change.address.resource_type) else {
                continue;
            };
            let Some(with) =
                replacement::holder(self.known, schema, record).filter(|with| going.contains(with))
            else {
                continue;
            };
            change.deleted_with = Some(with);
            if let Some(holder) = self.known.state.record(with)
                && change.action == Action::Delete
            {
                change.reasons.push(Reason::DeletedWith(holder.address.clone()));
            }
        }
    }

    /// Notes with changes what could not be compared.
    fn note_not_compared(&mut self) {
        let why = match self.input.options.key {
            Some(_) => "its recorded fingerprint was made with another key",
            None => "there is no fingerprint key",
        };
        self.decisions.each_beside(|change, beside| {
            let paths = beside.not_compared.iter();
            change
                .notes
                .extend(paths.map(|at| format!("`{at}` was not compared: {why}.")));
        });
    }

    /// Reports protected objects that would go, and returns their addresses.
    fn blocked(&self, changes: &[Change], problems: &mut Diagnostics) -> Vec<ResourceAddress> {
        let mut blocked = Vec::new();
        for change in changes {
            let goes = matches!(change.action, Action::Delete | Action::Replace(_)) && !change.deposed;
            let declared = self.graph.position(&change.address);
            let declared = declared.map(|at| &self.input.configuration.resources[at]);
            let record = change.uid.and_then(|uid| self.known.state.record(uid));
            let protected = match (declared, record) {
                (Some(resource), _) => resource.lifecycle.prevent_destroy,
                (None, Some(record)) => record.declaration.lifecycle.prevent_destroy,
                (None, None) => false,
            };
            if !goes || !protected {
                continue;
            }
            let what = if change.action == Action::Delete {
                "delete"
            } else {
                "replace"
            };
            let at = declared.map(|resource| {
                let path = crate::value::AttributePath::root("lifecycle").key("prevent_destroy");
                self.places.span(resource.place_of(&path))
            });
            problems.push(
                Diagnostic::error(PREVENT_DESTROY, "a protected object would be destroyed")
                    .detail(format!(
                        "The plan would {what} `{}`, whose lifecycle says `prevent_destroy`.",
                        change.address
                    ))
                    .at(at)
                    .hint(match declared {
                        Some(_) => "take `prevent_destroy` away first, or undo what makes it go".to_owned(),
                        None => format!(
                            "declare `{}` again with `prevent_destroy: false` and apply that first, or keep the object and \
                             forget it: `type: removed` with `lifecycle: {{destroy: false}}`",
                            change.address
                        ),
                    }),
            );
            blocked.push(change.address.clone());
        }
        blocked
    }

    fn notes(&self, changes: &[Change], left_out: &BTreeSet<ResourceAddress>) -> Vec<Note> {
        let mut notes: Vec<Note> = self
            .input
            .configuration
            .notes
            .iter()
            .map(|(message, place)| Note {
                message: message.clone(),
                place: place.clone(),
            })
            .collect();
        let mut note = |message: String, place| {
            notes.push(Note {
                message: message.into(),
                place,
            });
        };
        for (position, because) in &self.selection.held_up {
            let address = self.graph.address(*position);
            if address != because {
                note(
                    format!("`{address}` is left alone: it depends on `{because}`, whose call is unsettled."),
                    None,
                );
            }
        }
        for (uid, because) in &self.selection.held_up_objects {
            if let Some(record) = self.known.state.record(*uid)
                && record.address != *because
            {
                note(
                    format!(
                        "`{}` is kept: `{because}` uses it, whose call is unsettled.",
                        record.address
                    ),
                    None,
                );
            }
        }
        if self.selection.partial {
            let count = left_out.len();
            let what = match count {
                0 => "Nothing that differs is left out.".to_owned(),
                1 => "1 change is left out.".to_owned(),
                _ => format!("{count} changes are left out."),
            };
            note(format!("This plan is partial. {what}"), None);
        }
        for (address, reason) in &self.known.unheard {
            note(
                format!(
                    "Whether the creation of `{address}` that was given up made something after all could not be found \
                     out: {reason}"
                ),
                None,
            );
        }
        for (operation, tombstone) in &self.input.state.tombstones {
            use crate::provider::Observation;
            // Of an earlier version's tombstones too little is known to take the object over.
            if tombstone.record.is_none()
                && let Some(Observation::Present(found)) = self.input.world.observations.get(operation)
            {
                note(
                    format!(
                        "The creation of `{}` that was given up turned up late: the object `{}` exists and is not \
                         managed. Import it, or delete it by hand.",
                        tombstone.address, found.id
                    ),
                    None,
                );
            }
        }
        if let Some(message) = finding::unread(self) {
            note(message, None);
        }
        for (message, place) in finding::likely_moves(changes) {
            note(message, place);
        }
        // A change shows its own notes; an object that is left as it is shows nothing else.
        for change in changes.iter().filter(|change| change.action == Action::NoOp) {
            let position = self.graph.position(&change.address);
            let place = position.map(|at| {
                let resource = &self.input.configuration.resources[at];
                resource.place_of(&AttributePath::default()).clone()
            });
            for words in change.notes.iter() {
                note(format!("`{}`: {words}", change.address), place.clone());
            }
        }
        notes.sort();
        notes.dedup();
        notes
    }
}
