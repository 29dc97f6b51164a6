//! From a step to the call that it means, with everything known by now. Makes no choice: what it may do is what was
//! planned, or less.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::call::CallRequest;
use super::event::StepOutcome;
use super::view::{Evaluated, View};
use crate::address::{ProviderName, ResourceAddress, Uid};
use crate::config::{Target, Template};
use crate::diff::same;
use crate::panic::panic_message;
use crate::plan::Plan;
use crate::plan::change::{Action, Cause, Change, Reason};
use crate::plan::path;
use crate::plan::resume::Progress;
use crate::plan::step::{Step, StepId, StepOperation};
use crate::provider::{
    CreateRequest, DeleteRequest, ErrorClass, PlanRequest, PlanResponse, PriorObject, Provider,
    ProviderError, UpdateRequest, ValidateRequest,
};
use crate::resource::ConditionTime;
use crate::state::event::EventBody;
use crate::state::record::{Declaration, Record, Status};
use crate::upgrade::recorded_object;
use crate::value::{AttributePath, Attributes, Comparison, TemplateText, Value};

/// What a step turned out to mean.
pub(super) enum Prepared {
    /// A call.
    Call(Box<PreparedCall>),
    /// Entries in the log, or nothing at all.
    Finished {
        events: Vec<EventBody>,
        outcome: StepOutcome,
    },
}

/// A call, ready to be made.
pub(super) struct PreparedCall {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) request: CallRequest,
    /// `None` for a creation, whose uid is made with its intent.
    pub(super) uid: Option<Uid>,
    pub(super) address: ResourceAddress,
    /// The inputs that it carries; of a deletion, those that the object was made with.
    pub(super) inputs: Attributes,
    /// What the object should be afterwards.
    pub(super) planned: Attributes,
    pub(super) declaration: Option<Arc<Declaration>>,
    pub(super) deposes: Option<Uid>,
    pub(super) timeout: Duration,
    /// Which of the change's offers it makes, and why those before it were refused.
    pub(super) offer: usize,
    pub(super) refused: Vec<ProviderError>,
}

/// What preparing needs to know beside the step.
pub(super) struct Preparer<'a> {
    plan: &'a Plan,
    facts: &'a BTreeMap<ProviderName, BTreeMap<String, Value>>,
    /// How far an earlier run of the same plan came.
    progress: BTreeMap<StepId, Progress>,
    /// Objects that take others along when they go.
    holders: BTreeSet<Uid>,
    /// Addresses at which the plan makes or changes something that is not done yet.
    changing: BTreeSet<&'a ResourceAddress>,
    /// Whether each replacement is carried out as planned (false), or the value that forced it proved equal, so that
    /// the object is kept and at most updated; by the position of the change.
    decided: BTreeMap<usize, bool>,
    /// The objects that are kept.
    kept: BTreeSet<Uid>,
}

type Result<T> = std::result::Result<T, ProviderError>;

fn unneeded(events: Vec<EventBody>) -> Prepared {
    Prepared::Finished {
        events,
        outcome: StepOutcome::Unneeded,
    }
}

impl<'a> Preparer<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        facts: &'a BTreeMap<ProviderName, BTreeMap<String, Value>>,
        progress: BTreeMap<StepId, Progress>,
    ) -> Self {
        let holders = plan.steps.iter().filter_map(|step| match step.operation {
            StepOperation::DeleteWith { with, .. } => Some(with),
            _ => None,
        });
        Self {
            plan,
            facts,
            progress,
            holders: holders.collect(),
            changing: plan
                .changes
                .iter()
                .filter(|change| change.action != Action::NoOp)
                .map(|change| &change.address)
                .collect(),
            decided: BTreeMap::new(),
            kept: BTreeSet::new(),
        }
    }

    /// Prepares a step.
    ///
    /// # Errors
    /// When it cannot be done as planned; nothing was changed then.
    pub(super) fn prepare(&mut self, view: &View<'_>, step: &Step) -> Result<Prepared> {
        let change = &self.plan.changes[step.change];
        match self.progress.get(&step.id) {
            Some(Progress::Done) => {
                // A deletion's address may be about to have another object.
                if matches!(
                    step.operation,
                    StepOperation::Create { .. } | StepOperation::Update
                ) {
                    self.made(&change.address);
                }
                return Ok(unneeded(Vec::new()));
            }
            Some(Progress::Unfinished { uid }) => {
                return match view.record(*uid) {
                    Some(record) => self.finish(view, change, record),
                    None => Err(stale(format!("`{}` is not recorded any more.", change.address))),
                };
            }
            Some(Progress::Pending) | None => {}
        }
        match step.operation {
            StepOperation::Check => {
                view.check(&change.conditions, ConditionTime::Before)?;
                view.check(&change.conditions, ConditionTime::After)?;
                Ok(Prepared::Finished {
                    events: Vec::new(),
                    outcome: StepOutcome::Done,
                })
            }
            StepOperation::DeleteWith { uid, with } => self.delete_with(view, uid, with),
            StepOperation::Delete { uid } => self.delete(view, step, change, uid),
            StepOperation::Create { deposes } => self.create(view, step, change, deposes),
            StepOperation::Update => {
                let record = change
                    .uid
                    .and_then(|uid| view.record(uid))
                    .or_else(|| view.current(&change.address));
                match record {
                    Some(record) => self.update(view, change, record),
                    None => Err(stale(format!("`{}` is not recorded any more.", change.address))),
                }
            }
        }
    }

    fn delete_with(&self, view: &View<'_>, uid: Uid, with: Uid) -> Result<Prepared> {
        if view.record(uid).is_none() {
            return Ok(unneeded(Vec::new()));
        }
        if self.is_kept(with) {
            return Err(stale("The object that holds it proved to need no replacement."));
        }
        Ok(Prepared::Finished {
            events: vec![EventBody::DeletedWith { uid, with }],
            outcome: StepOutcome::Done,
        })
    }

    /// Notes that the object at an address is as the run leaves it.
    pub(super) fn made(&mut self, address: &ResourceAddress) {
        self.changing.remove(address);
    }

    /// Returns whether inputs refer only to objects whose attributes this run does not change any more.
    fn is_final(&self, inputs: &Attributes) -> bool {
        let mut is_final = true;
        let mut look = |template: &TemplateText| {
            let parsed: std::result::Result<Template, _> = template.as_str().parse();
            is_final &= parsed.is_ok_and(|template| {
                template.references().all(|reference| match &reference.target {
                    Target::Resource(address) => !self.changing.contains(address),
                    _ => true,
                })
            });
        };
        for value in inputs.values() {
            value.map_leaves(&mut |leaf| {
                match leaf {
                    Value::Unknown(unknown) => unknown.template.as_ref().map(&mut look),
                    Value::Secret(secret) => secret.template.as_ref().map(&mut look),
                    _ => None,
                };
                leaf.clone()
            });
        }
        is_final
    }

    fn is_kept(&self, uid: Uid) -> bool {
        self.kept.contains(&uid)
    }

    fn delete(&mut self, view: &View<'_>, step: &Step, change: &Change, uid: Uid) -> Result<Prepared> {
        let Some(record) = view.record(uid) else {
            return Ok(unneeded(Vec::new()));
        };
        if matches!(change.action, Action::Replace(_)) && change.uid == Some(uid) && !record.deposed {
            // Delete-first: this is the first step, so what can be known is looked at here. A value that this run has yet
            // to change is not known, whatever it is now.
            let evaluated = change
                .inputs
                .as_ref()
                .filter(|inputs| self.is_final(inputs))
                .and_then(|inputs| view.evaluate_inputs(inputs).ok());
            if let Some(evaluated) = evaluated
                && self.keeps(view, step, change, record, &evaluated)?
            {
                return Ok(unneeded(Vec::new()));
            }
        }
        if self.is_kept(uid) {
            return Ok(unneeded(Vec::new()));
        }
        check_settled(record)?;
        let provider = provider(view, &record.address)?;
        Ok(Prepared::Call(Box::new(PreparedCall {
            request: CallRequest::Delete(DeleteRequest {
                object: recorded_object(record, &*provider)?,
                deposed: record.deposed,
            }),
            uid: Some(uid),
            address: record.address.clone(),
            inputs: record.inputs.clone(),
            planned: Attributes::new(),
            declaration: None,
            deposes: None,
            timeout: deleted_within(view, change, record),
            provider,
            offer: 0,
            refused: Vec::new(),
        })))
    }

    fn create(
        &mut self,
        view: &View<'_>,
        step: &Step,
        change: &Change,
        deposes: Option<Uid>,
    ) -> Result<Prepared> {
        let current = view.current(&change.address);
        view.check(&change.conditions, ConditionTime::Before)?;
        let evaluated = view.evaluate_inputs(required(change.inputs.as_ref(), change)?)?;
        if let Some(record) = current
            && Some(record.uid) == change.uid
            && (self.is_kept(record.uid) || self.keeps(view, step, change, record, &evaluated)?)
        {
            let inputs = in_place(change, record, &evaluated.inputs);
            return self.update_with(view, change, record, Evaluated { inputs, ..evaluated });
        }
        if let Some(record) = current
            && Some(record.uid) != deposes
        {
            return Err(stale(format!(
                "`{}` is recorded already, as {}.",
                change.address, record.uid
            )));
        }
        if let Some(deposed) = deposes {
            match view.record(deposed) {
                Some(record) => check_settled(record)?,
                None => {
                    return Err(stale(format!(
                        "The object that `{}` replaces is gone.",
                        change.address
                    )));
                }
            }
        }
        let deposes = deposes.filter(|_| current.is_some());
        let call = self.creation(view, change, 0, evaluated, deposes)?;
        Ok(Prepared::Call(Box::new(call)))
    }

    /// Prepares the creation of the plan's next offer, in place of one that made nothing.
    ///
    /// # Errors
    /// When it cannot be done as planned; nothing was changed then.
    pub(super) fn next_offer(
        &self,
        view: &View<'_>,
        change: &Change,
        before: &PreparedCall,
    ) -> Result<PreparedCall> {
        let offer = before.offer + 1;
        let inputs = change.offer(offer).map(|(inputs, _)| inputs);
        let evaluated = view.evaluate_inputs(required(inputs, change)?)?;
        self.creation(view, change, offer, evaluated, before.deposes)
    }

    fn creation(
        &self,
        view: &View<'_>,
        change: &Change,
        offer: usize,
        evaluated: Evaluated,
        deposes: Option<Uid>,
    ) -> Result<PreparedCall> {
        let provider = provider(view, &change.address)?;
        let mut declaration = view.with_dependencies(required(change.declaration.as_ref(), change)?);
        let planned = if evaluated.was_unknown {
            self.validate(&provider, change, &evaluated.inputs)?;
            let response = self.plan_again(&provider, change, &evaluated.inputs, None)?;
            let claims: Vec<_> = response.claims.iter().map(|claim| claim.key.clone()).collect();
            Arc::make_mut(&mut declaration).claims = claims.into();
            response.planned
        } else {
            let after = change.offer(offer).and_then(|(_, after)| after);
            opened(after, &evaluated.inputs)
        };
        Ok(PreparedCall {
            request: CallRequest::Create(CreateRequest {
                resource_type: change.address.resource_type.clone(),
                address: change.address.clone(),
                inputs: evaluated.inputs.clone(),
                planned: planned.clone(),
            }),
            uid: None,
            address: change.address.clone(),
            inputs: evaluated.inputs,
            planned,
            timeout: declaration.timeouts.create,
            declaration: Some(declaration),
            deposes,
            provider,
            offer,
            refused: Vec::new(),
        })
    }

    /// Updates an object that an earlier run of the plan made and did not finish, to what it was made as.
    fn finish(&mut self, view: &View<'_>, change: &Change, record: &Record) -> Result<Prepared> {
        view.check(&change.conditions, ConditionTime::Before)?;
        let offer = change.offer(change.offer_of(&record.inputs));
        let inputs = offer.map(|(inputs, _)| inputs);
        let mut evaluated = view.evaluate_inputs(required(inputs, change)?)?;
        // The one that was to be replaced and proved to be kept stays what it is.
        if change.uid == Some(record.uid) {
            evaluated.inputs = in_place(change, record, &evaluated.inputs);
        }
        self.update_with(view, change, record, evaluated)
    }

    fn update(&mut self, view: &View<'_>, change: &Change, record: &Record) -> Result<Prepared> {
        view.check(&change.conditions, ConditionTime::Before)?;
        let evaluated = view.evaluate_inputs(required(change.inputs.as_ref(), change)?)?;
        self.update_with(view, change, record, evaluated)
    }

    fn update_with(
        &mut self,
        view: &View<'_>,
        change: &Change,
        record: &Record,
        evaluated: Evaluated,
    ) -> Result<Prepared> {
        check_settled(record)?;
        let provider = provider(view, &change.address)?;
        let object = recorded_object(record, &*provider)?;
        let own = change.uid == Some(record.uid);
        let before = match &change.before {
            Some(before) if own => before.clone(),
            _ => object.attributes.clone(),
        };
        // What was not known when the plan was made, or is not the object that it was made for, is planned again: the
        // answer may ask for less than the plan, and never for more.
        let again = evaluated.was_unknown || !own || matches!(change.action, Action::Replace(_));
        let planned = if again {
            if evaluated.was_unknown {
                self.validate(&provider, change, &evaluated.inputs)?;
            }
            let prior = PriorObject {
                inputs: object.inputs.clone(),
                attributes: before.clone(),
                private: object.private.clone(),
            };
            let response = self.plan_again(&provider, change, &evaluated.inputs, Some(prior))?;
            if !response.replace.is_empty() {
                return Err(strengthened(change, &response));
            }
            response.planned
        } else {
            opened(change.after.as_ref(), &evaluated.inputs)
        };
        let changed = if own {
            still_changed(view, change, &before, &planned, again)
        } else {
            differing(view, change, &before, &planned)
        };
        if changed.is_empty() && record.status == Status::Ready {
            return Ok(unneeded(declared(view, change, record)));
        }
        let declaration = view.with_dependencies(required(change.declaration.as_ref(), change)?);
        Ok(Prepared::Call(Box::new(PreparedCall {
            request: CallRequest::Update(UpdateRequest {
                object,
                inputs: evaluated.inputs.clone(),
                planned: planned.clone(),
                changed,
            }),
            uid: Some(record.uid),
            address: record.address.clone(),
            inputs: evaluated.inputs,
            planned,
            timeout: declaration.timeouts.update,
            declaration: Some(declaration),
            deposes: None,
            provider,
            offer: 0,
            refused: Vec::new(),
        })))
    }

    /// Decides whether a planned replacement is not needed after all, because the values that forced it, unknown when
    /// the plan was made, proved equal.
    fn keeps(
        &mut self,
        view: &View<'_>,
        step: &Step,
        change: &Change,
        record: &Record,
        evaluated: &Evaluated,
    ) -> Result<bool> {
        if let Some(kept) = self.decided.get(&step.change) {
            return Ok(*kept);
        }
        let kept = may_be_kept(change, record) && !self.holders.contains(&record.uid) && {
            let provider = provider(view, &change.address)?;
            let object = recorded_object(record, &*provider)?;
            let prior = PriorObject {
                inputs: object.inputs,
                attributes: change.before.clone().unwrap_or(object.attributes),
                private: object.private,
            };
            let inputs = in_place(change, record, &evaluated.inputs);
            let response = self.plan_again(&provider, change, &inputs, Some(prior))?;
            response.replace.is_empty()
        };
        self.decided.insert(step.change, kept);
        if kept {
            self.kept.insert(record.uid);
        }
        Ok(kept)
    }

    fn validate(&self, provider: &Arc<dyn Provider>, change: &Change, inputs: &Attributes) -> Result<()> {
        let request = ValidateRequest {
            resource_type: change.address.resource_type.clone(),
            address: change.address.clone(),
            inputs: inputs.clone(),
        };
        let problems = guarded(provider, || Ok(provider.validate(&request)))?;
        match problems.into_iter().next() {
            None => Ok(()),
            Some(problem) => {
                let error = ProviderError::new(ErrorClass::Invalid, problem.message).at(problem.path);
                Err(match problem.hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                })
            }
        }
    }

    fn plan_again(
        &self,
        provider: &Arc<dyn Provider>,
        change: &Change,
        desired: &Attributes,
        prior: Option<PriorObject>,
    ) -> Result<PlanResponse> {
        let is_new = prior.is_none() && matches!(change.action, Action::Replace(_));
        let request = PlanRequest {
            resource_type: change.address.resource_type.clone(),
            address: change.address.clone(),
            desired: desired.clone(),
            prior,
            replaces: change.before.clone().filter(|_| is_new),
            facts: self
                .facts
                .get(&provider.schema().name)
                .cloned()
                .unwrap_or_default(),
        };
        guarded(provider, || provider.plan(&request))
    }
}

/// Returns what is asked of an object that is kept: inputs are those of the one that was to take its place.
fn in_place(change: &Change, record: &Record, inputs: &Attributes) -> Attributes {
    let mut inputs = inputs.clone();
    if let Some(declaration) = &change.declaration {
        let standing = change.before.as_ref().unwrap_or(&record.attributes);
        path::keep(&declaration.lifecycle.ignore_changes, standing, &mut inputs);
    }
    inputs
}

/// Whether only values that were unknown force a replacement. (An object that takes others along with it is replaced as
/// planned all the same: their fates were decided together.)
fn may_be_kept(change: &Change, record: &Record) -> bool {
    let by_values = change.reasons.iter().all(|reason| {
        matches!(
            reason,
            Reason::CannotChangeInPlace(_) | Reason::Changed | Reason::Drifted
        )
    });
    let unknown = change
        .attributes
        .iter()
        .filter(|attribute| attribute.forces_replacement)
        .all(|attribute| {
            attribute
                .after
                .as_ref()
                .is_some_and(|after| !after.is_wholly_known())
        });
    by_values && unknown && record.status == Status::Ready && !record.deposed
}

/// Which of the planned differences there still are.
fn still_changed(
    view: &View<'_>,
    change: &Change,
    before: &Attributes,
    planned: &Attributes,
    again: bool,
) -> Vec<AttributePath> {
    let schema = view.providers.schema(&change.address.resource_type);
    let (before, planned) = (Value::Map(before.clone()), Value::Map(planned.clone()));
    let differs = |path: &AttributePath| {
        let whole = path.0.len() == 1;
        let equality = schema
            .and_then(|schema| schema.attribute_at(path))
            .filter(|_| whole)
            .map_or_else(Default::default, |attribute| attribute.equality);
        let (old, new) = (before.at(path).cloned(), planned.at(path).cloned());
        same(equality, &old.unwrap_or_default(), &new.unwrap_or_default()) != Comparison::Equal
    };
    // What is computed follows the rest, unless the provider itself asks for a value that is not there.
    let is_asked_for = |path: &AttributePath| {
        let asked = planned.at(path).filter(|value| !value.is_null());
        asked.is_some_and(Value::is_wholly_known) && differs(path)
    };
    change
        .attributes
        .iter()
        .filter(|attribute| attribute.cause != Cause::Computed || is_asked_for(&attribute.path))
        .filter(|attribute| !again || differs(&attribute.path))
        .map(|attribute| attribute.path.clone())
        .collect()
}

/// Which attributes that the configuration may set differ between an object and what it should be.
fn differing(
    view: &View<'_>,
    change: &Change,
    before: &Attributes,
    planned: &Attributes,
) -> Vec<AttributePath> {
    let Some(schema) = view.providers.schema(&change.address.resource_type) else {
        return Vec::new();
    };
    schema
        .attributes
        .iter()
        .filter(|(name, attribute)| {
            let value = |attributes: &Attributes| attributes.get(*name).cloned().unwrap_or_default();
            attribute.configurable
                && same(attribute.equality, &value(before), &value(planned)) != Comparison::Equal
        })
        .map(|(name, _)| AttributePath::root(name))
        .collect()
}

/// What was planned, with the values of its secrets: a plan has them only as expressions.
fn opened(after: Option<&Attributes>, inputs: &Attributes) -> Attributes {
    let mut planned = after.cloned().unwrap_or_default();
    for (name, input) in inputs {
        if input.has_secret()
            && let Some(value) = planned.get_mut(name)
        {
            *value = input.clone();
        }
    }
    planned
}

/// The entry that says what the configuration now says of an object that needs no call.
fn declared(view: &View<'_>, change: &Change, record: &Record) -> Vec<EventBody> {
    change
        .declaration
        .as_ref()
        .map(|declaration| view.with_dependencies(declaration))
        .filter(|declaration| *declaration != record.declaration)
        .map(|declaration| EventBody::Declared {
            uid: record.uid,
            declaration,
        })
        .into_iter()
        .collect()
}

/// Returns how long the deletion of an object may take: as long as was declared when it was made, or is declared now at its
/// address, whichever is longer. What is declared since may be what it was told to wait for.
fn deleted_within(view: &View<'_>, change: &Change, record: &Record) -> Duration {
    let successor = view.current(&record.address).filter(|_| record.deposed);
    let declared = successor.map(|successor| &successor.declaration);
    let declared = declared.or(change.declaration.as_ref());
    let now = declared.map(|declaration| declaration.timeouts.delete);
    record.declaration.timeouts.delete.max(now.unwrap_or_default())
}

fn provider(view: &View<'_>, address: &ResourceAddress) -> Result<Arc<dyn Provider>> {
    view.providers
        .provider(&address.resource_type)
        .cloned()
        .ok_or_else(|| {
            ProviderError::new(
                ErrorClass::Invalid,
                format!("No provider in this build manages `{}`.", address.resource_type),
            )
        })
}

fn required<'c, T>(part: Option<&'c T>, change: &Change) -> Result<&'c T> {
    part.ok_or_else(|| {
        ProviderError::new(
            ErrorClass::Invalid,
            format!("The plan does not say what `{}` should be.", change.address),
        )
        .with_hint("this is a bug in gabion; please report it")
    })
}

/// An object with an open call may be changing right now.
fn check_settled(record: &Record) -> Result<()> {
    match &record.open {
        None => Ok(()),
        Some(open) => Err(ProviderError::new(
            ErrorClass::Conflict,
            format!(
                "What became of an earlier call ({}) to `{}` is not known yet.",
                open.operation, record.address
            ),
        )
        .with_hint("make a new plan: `gabion plan`")),
    }
}

fn stale(why: impl Into<String>) -> ProviderError {
    ProviderError::new(ErrorClass::Conflict, why).with_hint("make a new plan: `gabion plan`")
}

/// The provider asks for more than people agreed to.
fn strengthened(change: &Change, response: &PlanResponse) -> ProviderError {
    let paths: BTreeSet<String> = response
        .replace
        .iter()
        .map(|cause| format!("`{}`", cause.path))
        .collect();
    let paths: Vec<String> = paths.into_iter().collect();
    ProviderError::new(
        ErrorClass::Conflict,
        format!(
            "`{}` would have to be replaced because of {}, whose value was not known when the plan was made; the plan \
             says only that it is updated.",
            change.address,
            paths.join(", ")
        ),
    )
    .with_hint("make a new plan: `gabion plan`")
    .with_detail(response.replace.iter().filter_map(|cause| cause.why.clone()))
}

/// Calls pure code of a provider, which may still panic.
fn guarded<T>(provider: &Arc<dyn Provider>, call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        Err(ProviderError::new(
            ErrorClass::Invalid,
            format!(
                "Provider `{}` panicked while it planned: {}.",
                provider.schema().name,
                panic_message(&*payload)
            ),
        )
        .with_hint("this is a bug in the provider; please report it to its authors"))
    })
}
