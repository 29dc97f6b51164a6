//! Decides what happens to one resource that the configuration declares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::address::ResourceAddress;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity, suggestion};
use crate::diff::{Difference, Differences, differences};
use crate::graph::ResourceGraph;
use crate::plan::change::{Action, Cause, Change, PlannedAlternative, PlannedAlternatives, Reason};
use crate::plan::condition;
use crate::plan::contract;
use crate::plan::evaluate::{Changed, Outcome, PlanScope, protect};
use crate::plan::known::{Actual, Known};
use crate::plan::options::PlanInput;
use crate::plan::order::{Order, Strength};
use crate::plan::path;
use crate::plan::problem::Places;
use crate::plan::together::Fates;
use crate::plan::validate::validate;
use crate::provider::{Claim, ObjectState, PlanRequest, PlanResponse, PriorObject, Provider};
use crate::resource::{ConditionTime, Import, Resource};
use crate::schema::ResourceSchema;
use crate::seldom::Seldom;
use crate::state::record::{Declaration, Dependency, Record, Status};
use crate::value::{AttributePath, Attributes, Value, seal_attributes};

/// What was decided about a resource.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    /// The resource's position in the configuration.
    pub(super) position: usize,
    /// The change; a replacement's order is settled later.
    pub(super) change: Change,
    /// What planning needs to know of it beside the change.
    pub(super) beside: Beside,
}

/// What is decided with a change and does not come into the plan as it is. Nearly always there is nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Beside {
    /// In which order a replacement should happen, and how firmly.
    pub(super) order: Order,
    /// What the object will hold exclusively.
    pub(super) claims: Vec<Claim>,
    /// The secrets that could not be compared.
    pub(super) not_compared: Vec<AttributePath>,
}

/// What deciding looks at.
#[derive(Clone, Copy)]
pub(super) struct Decider<'a> {
    pub(super) input: PlanInput<'a>,
    pub(super) graph: &'a ResourceGraph,
    pub(super) known: &'a Known<'a>,
    pub(super) places: Places<'a>,
    pub(super) outcomes: &'a [Outcome],
    pub(super) imports: &'a BTreeMap<&'a ResourceAddress, &'a Import>,
    /// What is replaced because of its group.
    pub(super) fates: &'a Fates,
}

/// The object that a resource already has, recorded or to be imported.
pub(super) struct Existing<'a> {
    pub(super) record: Option<&'a Record>,
    pub(super) imported: Option<&'a ObjectState>,
    pub(super) attributes: Attributes,
    pub(super) prior: PriorObject,
}

/// What is asked of a resource that has an object.
struct Desired {
    /// Of this object: where changes are ignored, what stands.
    in_place: Attributes,
    /// Of one in its place, if that is anything else.
    anew: Option<Attributes>,
}

impl<'a> Decider<'a> {
    /// Decides about the resource at a position; `None` when it has a problem.
    pub(super) fn decide(&self, position: usize, problems: &mut Diagnostics) -> Option<Decision> {
        let resource = &self.input.configuration.resources[position];
        let address = &resource.address;
        if let Some(why) = self.input.configuration.unmet.get(address) {
            problems.push(why.clone());
            return None;
        }
        let provider = self.provider(resource, problems)?;
        let schema = provider.resource_schema(&address.resource_type);
        let mut inputs = self.evaluate(resource, position, problems)?;
        protect(schema, &mut inputs, self.input.options.key.as_deref());
        let found = validate(resource, &inputs, schema, provider, &self.places);
        let invalid = found.has_errors();
        problems.extend(found);
        if invalid {
            return None;
        }
        let existing = self.existing(resource, schema, problems)?;
        let ignored = &resource.lifecycle.ignore_changes;
        let mut desired = inputs;
        let mut configured = None;
        if let Some(existing) = existing.as_ref().filter(|_| !ignored.is_empty()) {
            configured = Some(desired.clone());
            path::keep(ignored, &existing.attributes, &mut desired);
        }
        let response = self.ask(resource, provider, &desired, existing.as_ref(), None, problems)?;
        match existing {
            None => self.create(position, resource, provider, desired, response, problems),
            Some(existing) => {
                let desired = Desired {
                    in_place: desired,
                    anew: configured,
                };
                self.keep_or_replace(position, provider, desired, existing, response, problems)
            }
        }
    }

    fn provider(&self, resource: &Resource, problems: &mut Diagnostics) -> Option<&'a dyn Provider> {
        let resource_type = &resource.address.resource_type;
        if let Some(provider) = self.input.providers.provider(resource_type) {
            return Some(provider.as_ref());
        }
        let types = self.input.providers.resource_types();
        problems.push(
            Diagnostic::error("unknown-resource-type", "unknown resource type")
                .detail(format!("No provider of this build manages `{resource_type}`."))
                .at(self.places.span(resource.place_of(&AttributePath::default())))
                .hint(suggestion(resource_type.as_str(), types.map(AsRef::as_ref))),
        );
        None
    }

    fn scope(&self) -> PlanScope<'a> {
        PlanScope {
            graph: self.graph,
            outcomes: self.outcomes,
            providers: self.input.providers,
            options: self.input.options,
            itself: None,
        }
    }

    fn evaluate(
        &self,
        resource: &Resource,
        position: usize,
        problems: &mut Diagnostics,
    ) -> Option<Attributes> {
        let mut inputs = resource.inputs.clone();
        let scope = self.scope();
        let mut failed = false;
        for input in self.graph.templates(position) {
            match input.template.evaluate(&scope) {
                Ok(value) => path::set(&mut inputs, &input.path, value),
                Err(error) => {
                    failed = true;
                    let (why, hint) = scope.explain(&error);
                    let whole = self.places.span(resource.place_of(&input.path));
                    problems.push(
                        Diagnostic::error("unknown-attribute-reference", "a reference has no value")
                            .detail(format!("`{}` of `{}`: {why}", input.path, resource.address))
                            .at(whole.below(&error.reference().to_string()))
                            .hint(hint),
                    );
                }
            }
        }
        (!failed).then_some(inputs)
    }

    /// Returns the object that stands at the address; the outer `None` is a problem.
    fn existing(
        &self,
        resource: &Resource,
        schema: &ResourceSchema,
        problems: &mut Diagnostics,
    ) -> Option<Option<Existing<'a>>> {
        let key = self.input.options.key.as_deref();
        if let Some(record) = self.known.state.current(&resource.address) {
            let mut attributes = self.known.attributes(record);
            protect(schema, &mut attributes, key);
            let private = match self.known.actual(record.uid) {
                Actual::Read(state) => state.private.clone(),
                _ => (*record.private).clone(),
            };
            let prior = PriorObject {
                inputs: record.inputs.clone(),
                attributes: attributes.clone(),
                private,
            };
            return Some(Some(Existing {
                record: Some(record),
                imported: None,
                attributes,
                prior,
            }));
        }
        let Some(import) = self.imports.get(&resource.address) else {
            return Some(None);
        };
        let why = match self.input.world.imports.get(&import.to) {
            Some(Ok(state)) => {
                let mut attributes = state.attributes.clone();
                protect(schema, &mut attributes, key);
                let prior = PriorObject {
                    inputs: Attributes::new(),
                    attributes: attributes.clone(),
                    private: state.private.clone(),
                };
                return Some(Some(Existing {
                    record: None,
                    imported: Some(state),
                    attributes,
                    prior,
                }));
            }
            Some(Err(why)) => why.clone(),
            None => "It was not read.".to_owned(),
        };
        problems.push(
            Diagnostic::error("import-failed", "the object cannot be imported")
                .detail(format!("`{}` as `{}`: {why}", import.id, import.to))
                .at(self.places.span(&import.place)),
        );
        None
    }

    /// Asks the provider and checks its answer: about the object that exists, or about a new one in place of another.
    fn ask(
        &self,
        resource: &Resource,
        provider: &dyn Provider,
        desired: &Attributes,
        existing: Option<&Existing<'_>>,
        replaces: Option<&Attributes>,
        problems: &mut Diagnostics,
    ) -> Option<PlanResponse> {
        let schema = provider.resource_schema(&resource.address.resource_type);
        let facts = self.input.world.facts.get(&provider.schema().name);
        let request = PlanRequest {
            resource_type: resource.address.resource_type.clone(),
            address: resource.address.clone(),
            desired: desired.clone(),
            prior: existing.map(|existing| existing.prior.clone()),
            replaces: replaces.cloned(),
            facts: facts.cloned().unwrap_or_default(),
        };
        let mut response = match provider.plan(&request) {
            Ok(response) => response,
            Err(error) => {
                let path = error.path.clone().unwrap_or_default();
                let mut detail = format!("`{}`: {}", resource.address, error.message);
                for line in &error.detail {
                    detail.push('\n');
                    detail.push_str(line);
                }
                problems.push(
                    Diagnostic::error("cannot-plan", "this cannot be planned")
                        .detail(detail)
                        .at(self.places.span(resource.place_of(&path)))
                        .hint(error.hint),
                );
                return None;
            }
        };
        let breaches = contract::breaches(schema, &request, &response);
        for breach in &breaches {
            problems.push(
                Diagnostic::error("provider-contract", "a provider broke its contract")
                    .detail(format!(
                        "The provider `{}` planned `{}` of `{}` wrongly.\nwanted: {}\ngot: {}",
                        provider.schema().name,
                        breach.path,
                        resource.address,
                        breach.wanted,
                        breach.got
                    ))
                    .at(self.places.span(resource.place_of(&breach.path)))
                    .hint("this is a bug in the provider: report this to the provider's authors"),
            );
        }
        response.planned.keep(|_, value| !value.is_null());
        protect(schema, &mut response.planned, self.input.options.key.as_deref());
        if let Some(existing) = existing
            && response.planned == existing.attributes
            && !existing.attributes.values().any(Value::has_secret)
        {
            // Most stay as they are, and take no memory twice.
            response.planned = existing.attributes.clone();
        }
        breaches.is_empty().then_some(response)
    }

    fn create(
        &self,
        position: usize,
        resource: &Resource,
        provider: &dyn Provider,
        desired: Attributes,
        response: PlanResponse,
        problems: &mut Diagnostics,
    ) -> Option<Decision> {
        let schema = provider.resource_schema(&resource.address.resource_type);
        let found = differences(schema, &Attributes::new(), &response.planned);
        let reason = if self.known.lost.contains(&resource.address) {
            Reason::Vanished
        } else {
            Reason::New
        };
        let alternatives = self.alternatives(resource, provider, &desired, None, &response, problems)?;
        let mut draft = self.draft(position, provider, desired, None, &response);
        draft.change.alternatives = alternatives.into();
        draft.change.action = Action::Create;
        draft.change.reasons = vec![reason];
        draft.change.attributes = self.causes(position, None, &response, &found, &[]);
        self.conditions(resource, &mut draft, problems);
        Some(draft)
    }

    fn keep_or_replace(
        &self,
        position: usize,
        provider: &dyn Provider,
        desired: Desired,
        existing: Existing<'_>,
        response: PlanResponse,
        problems: &mut Diagnostics,
    ) -> Option<Decision> {
        let resource = &self.input.configuration.resources[position];
        let schema = provider.resource_schema(&resource.address.resource_type);
        let unread = self.unread_of_incomplete(resource, schema, &existing);
        let mut found = differences(schema, &existing.attributes, &response.planned);
        count_as_different(schema, &existing, &response.planned, &unread, &mut found);
        let replacements = self.replacement_reasons(position, schema, &existing, &response);
        if replacements.is_empty() {
            let desired = desired.in_place;
            let mut draft = self.draft(position, provider, desired, Some(&existing), &response);
            draft.beside.not_compared = found.not_compared.clone();
            draft.change.attributes = self.causes(position, Some(&existing), &response, &found, &[]);
            self.act_in_place(&existing, &mut draft.change);
            self.conditions(resource, &mut draft, problems);
            return Some(draft);
        }
        if existing.imported.is_some() {
            let paths: Vec<String> = response.replace.iter().map(|c| format!("`{}`", c.path)).collect();
            problems.push(
                Diagnostic::error("import-replaces", "importing would replace the object")
                    .detail(format!(
                        "`{}` cannot become what the configuration says without being replaced: {}.",
                        resource.address,
                        paths.join(", ")
                    ))
                    .at(self.places.span(resource.place_of(&AttributePath::default())))
                    .hint("make the configuration say what the object is, and import it then"),
            );
            return None;
        }
        // What was left alone of the old object is no matter of the new one.
        let desired = desired.anew.unwrap_or(desired.in_place);
        let replaces = Some(&existing.attributes);
        let renewed = self.ask(resource, provider, &desired, None, replaces, problems)?;
        let found = differences(schema, &existing.attributes, &renewed.planned);
        let alternatives = self.alternatives(resource, provider, &desired, replaces, &renewed, problems)?;
        let mut draft = self.draft(position, provider, desired, Some(&existing), &renewed);
        draft.change.alternatives = alternatives.into();
        draft.beside.not_compared = found.not_compared.clone();
        draft.change.attributes = self.causes(position, Some(&existing), &renewed, &found, &response.replace);
        for note in response.notes {
            if !draft.change.notes.contains(&note) {
                draft.change.notes.push(note);
            }
        }
        draft.beside.order = self.replace_order(resource, schema, &existing, &renewed);
        draft.change.action = Action::Replace(draft.beside.order.order);
        draft.change.reasons = replacements;
        if draft.beside.order.strength == Strength::Forced
            && let Some(why) = &draft.beside.order.why
        {
            draft.change.notes.push(why.clone());
        }
        self.conditions(resource, &mut draft, problems);
        Some(draft)
    }

    /// Plans what may be made in place of an object, as if it were asked for; `None` when one of them has a problem.
    fn alternatives(
        &self,
        resource: &Resource,
        provider: &dyn Provider,
        desired: &Attributes,
        replaces: Option<&Attributes>,
        response: &PlanResponse,
        problems: &mut Diagnostics,
    ) -> Option<PlannedAlternatives> {
        let schema = provider.resource_schema(&resource.address.resource_type);
        let mut others = Vec::new();
        for alternative in &resource.alternatives.others {
            let mut inputs = desired.clone();
            inputs.extend(
                alternative
                    .inputs
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
            inputs.keep(|_, value| !value.is_null());
            let found = validate(resource, &inputs, schema, provider, &self.places);
            let is_invalid = found.has_errors();
            problems.extend(found);
            if is_invalid {
                return None;
            }
            let planned = self.ask(resource, provider, &inputs, None, replaces, problems)?;
            // What is held exclusively was weighed for the first; one that would hold something else is another plan.
            if planned.claims == response.claims {
                others.push(PlannedAlternative {
                    label: alternative.label.clone(),
                    inputs,
                    after: planned.planned,
                });
            }
        }
        Some(PlannedAlternatives {
            chosen: resource.alternatives.chosen.clone(),
            others,
        })
    }

    /// Fills in what all changes of a declared resource have.
    fn draft(
        &self,
        position: usize,
        provider: &dyn Provider,
        desired: Attributes,
        existing: Option<&Existing<'_>>,
        response: &PlanResponse,
    ) -> Decision {
        let resource = &self.input.configuration.resources[position];
        let schema = provider.resource_schema(&resource.address.resource_type);
        let record = existing.and_then(|existing| existing.record);
        let imported = existing.and_then(|existing| existing.imported);
        let mut inputs = desired;
        inputs.keep(|_, value| !value.is_null());
        let declaration = self.declaration(position, provider, schema, record, &response.claims);
        Decision {
            position,
            change: Change {
                address: resource.address.clone(),
                uid: record.map(|record| record.uid),
                provider: provider.schema().name.clone(),
                deposed: false,
                action: Action::NoOp,
                reasons: Vec::new(),
                previous_address: record
                    .and_then(|record| self.known.previous_address(record.uid))
                    .cloned(),
                importing: imported.map(|state| state.id.clone()),
                imported: imported.map(|state| {
                    Box::new(ObjectState {
                        attributes: seal_attributes(&state.attributes),
                        ..state.clone()
                    })
                }),
                attributes: Vec::new(),
                before: existing.map(|existing| existing.attributes.clone()),
                after: Some(response.planned.clone()),
                inputs: Some(inputs),
                declaration: Some(declaration),
                alternatives: Seldom::default(),
                conditions: Seldom::default(),
                document: None,
                unprotects: record.is_some_and(|record| record.declaration.lifecycle.prevent_destroy)
                    && !resource.lifecycle.prevent_destroy,
                deleted_with: None,
                notes: response.notes.clone().into(),
            },
            beside: Beside {
                order: Order::default(),
                claims: response.claims.clone(),
                not_compared: Vec::new(),
            },
        }
    }

    fn declaration(
        &self,
        position: usize,
        provider: &dyn Provider,
        schema: &ResourceSchema,
        record: Option<&Record>,
        claims: &[Claim],
    ) -> Arc<Declaration> {
        let resource = &self.input.configuration.resources[position];
        let dependencies = self.graph.dependencies(position).into_iter();
        let mut claims: Vec<_> = claims.iter().map(|claim| claim.key.clone()).collect();
        claims.sort();
        claims.dedup();
        Arc::new(Declaration {
            provider: provider.schema().name.clone(),
            schema_version: schema.version,
            document: Some(resource.document.clone()),
            dependencies: dependencies
                .filter(|(to, _)| *to != position)
                .map(|(to, _)| {
                    let address = self.graph.address(to).clone();
                    let uid = self.known.state.current(&address).map(|record| record.uid);
                    Dependency { address, uid }
                })
                .collect(),
            lifecycle: resource.lifecycle.clone(),
            timeouts: resource.timeouts.over(schema.timeouts).into(),
            replace_order: resource.lifecycle.replace_order.unwrap_or(schema.replace_order),
            claims: claims.into(),
            pins: record
                .map(|record| record.declaration.pins.clone())
                .unwrap_or_default(),
        })
    }

    /// Chooses between nothing and an update.
    fn act_in_place(&self, existing: &Existing<'_>, change: &mut Change) {
        let drifted = change.attributes.iter().any(|a| a.cause == Cause::Drift);
        // What the provider computes anew follows from what else differs.
        let changed = change.attributes.iter().any(|a| match a.cause {
            Cause::Drift => false,
            Cause::Computed => !drifted,
            Cause::Configuration(_) | Cause::Reference(_) => true,
        });
        let mut reasons = Vec::new();
        if existing.imported.is_some() {
            reasons.push(Reason::Imported);
        }
        if existing
            .record
            .is_some_and(|record| record.status == Status::Incomplete)
        {
            if existing
                .record
                .is_some_and(|record| self.known.turned_up(record.uid))
            {
                reasons.push(Reason::TurnedUp);
            }
            reasons.push(Reason::Incomplete);
            change.action = Action::Update;
        }
        if changed {
            reasons.push(Reason::Changed);
        }
        if drifted {
            reasons.push(Reason::Drifted);
        }
        if changed || drifted {
            change.action = Action::Update;
        }
        change.reasons = reasons;
        if change.action != Action::NoOp {
            return;
        }
        // The same declaration again is nothing to record.
        let recorded = existing.record.map(|record| &record.declaration);
        if let (Some(recorded), Some(declared)) = (recorded, &change.declaration)
            && same_declaration(recorded, declared)
        {
            change.declaration = None;
        }
    }

    /// Returns what could not be read of an object that an earlier run did not finish.
    fn unread_of_incomplete(
        &self,
        resource: &Resource,
        schema: &ResourceSchema,
        existing: &Existing<'_>,
    ) -> Vec<AttributePath> {
        let Some(record) = existing
            .record
            .filter(|record| record.status == Status::Incomplete)
        else {
            return Vec::new();
        };
        let inputs = || resource.inputs.keys().map(AttributePath::root);
        let unread: Vec<AttributePath> = match self.known.actual(record.uid) {
            Actual::Read(state) => state.unreadable.clone(),
            Actual::CannotTell(_) | Actual::NotRead => inputs().collect(),
        };
        // What cannot be changed in place was not touched by the update that failed; a creation set it as recorded.
        let in_place =
            |path: &AttributePath| schema.attribute_at(path).is_some_and(|a| !a.forces_replacement);
        unread.into_iter().filter(in_place).collect()
    }

    fn conditions(&self, resource: &Resource, draft: &mut Decision, problems: &mut Diagnostics) {
        if resource.conditions.is_empty() {
            return;
        }
        let change = &draft.change;
        let acts = change.action != Action::NoOp;
        let looks = |attributes: &Option<Attributes>| Outcome {
            attributes: attributes.clone(),
            ..Outcome::unknown()
        };
        let (before, after) = (looks(&change.before), looks(&change.after));
        let mut check = |when, itself, severity| {
            let scope = PlanScope {
                itself: Some((&resource.address, itself)),
                ..self.scope()
            };
            condition::check(resource, when, &scope, severity, &self.places, problems)
        };
        let mut open = Vec::new();
        if acts {
            open.extend(check(ConditionTime::Before, &before, Severity::Error));
            check(ConditionTime::After, &after, Severity::Error);
            let all = resource.conditions.iter();
            open.extend(all.filter(|c| c.when == ConditionTime::After).cloned());
        } else {
            open.extend(check(ConditionTime::After, &after, Severity::Warning));
        }
        draft.change.conditions = open.into();
    }
}

/// Adds what could not be read as differences.
fn count_as_different(
    schema: &ResourceSchema,
    existing: &Existing<'_>,
    planned: &Attributes,
    unread: &[AttributePath],
    found: &mut Differences,
) {
    for path in unread {
        if found
            .found
            .iter()
            .any(|difference| path::overlap(&difference.path, path))
        {
            continue;
        }
        let Some(after) = path::get(planned, path) else {
            continue;
        };
        found.found.push(Difference {
            path: path.clone(),
            before: path::get(&existing.attributes, path).cloned(),
            after: Some(after.clone()),
            sensitive: schema.attribute_at(path).is_some_and(|a| a.sensitive),
        });
    }
    found.found.sort_by(|a, b| a.path.cmp(&b.path));
}

/// Returns whether two declarations say the same. Lines may shift, and which object stands at a dependency's address
/// is not said by the configuration.
fn same_declaration(a: &Declaration, b: &Declaration) -> bool {
    let document = |d: &Declaration| {
        let of = d.document.as_ref();
        of.map(|of| (of.document_type.clone(), of.name.clone(), of.place.file))
    };
    let edges = |d: &Declaration| -> BTreeSet<ResourceAddress> {
        d.dependencies.iter().map(|edge| edge.address.clone()).collect()
    };
    let claims = |d: &Declaration| d.claims.iter().cloned().collect::<BTreeSet<_>>();
    a.provider == b.provider
        && a.schema_version == b.schema_version
        && document(a) == document(b)
        && edges(a) == edges(b)
        && a.lifecycle == b.lifecycle
        && a.timeouts == b.timeouts
        && a.replace_order == b.replace_order
        && claims(a) == claims(b)
        && a.pins == b.pins
}

/// Returns what others see of a resource whose change was decided.
pub(super) fn outcome(decision: &Decision, known: &Known<'_>) -> Outcome {
    let change = &decision.change;
    let id = change
        .uid
        .and_then(|uid| known.state.record(uid)?.id.clone())
        .or_else(|| change.importing.clone());
    let known_id = id.map_or_else(Value::unknown, Value::string);
    let (id, changed, goes) = match change.action {
        Action::NoOp => (known_id, Changed::Nothing, false),
        Action::Update => {
            let paths = change.attributes.iter().map(|a| a.path.clone()).collect();
            (known_id, Changed::Some(paths), false)
        }
        Action::Create => (Value::unknown(), Changed::Everything, false),
        Action::Replace(_) => (Value::unknown(), Changed::Everything, true),
        Action::Delete | Action::Forget => (Value::unknown(), Changed::Everything, true),
    };
    Outcome {
        attributes: change.after.as_ref().map(|after| as_sure(after, change)),
        id,
        changed,
        goes,
    }
}

/// Returns an object as it will be whichever of its offers is made: what differs between them, only apply can know.
fn as_sure(after: &Attributes, change: &Change) -> Attributes {
    let mut sure = after.clone();
    for other in &change.alternatives.others {
        let names = after.keys().chain(other.after.keys());
        for name in names.filter(|name| after.get(*name) != other.after.get(*name)) {
            sure.insert(name.clone(), Value::unknown());
        }
    }
    sure
}

/// Returns what others see of a resource that this plan leaves as it is.
pub(super) fn standing(known: &Known<'_>, address: &ResourceAddress) -> Outcome {
    match known.state.current(address) {
        Some(record) => Outcome {
            attributes: Some(known.attributes(record)),
            id: record.id.as_ref().map_or_else(Value::unknown, Value::string),
            changed: Changed::Nothing,
            goes: false,
        },
        None => Outcome::unknown(),
    }
}
