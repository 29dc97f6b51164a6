//! Making, reading, changing and deleting an object.

use gabion_engine::address::ObjectId;
use gabion_engine::diff::same;
use gabion_engine::provider::{
    Effect, ErrorClass, ImportRequest, ListRequest, ObjectState, ReadOutcome, ValidateRequest,
};
use gabion_engine::seal::mark_secrets;
use gabion_engine::value::{AttributePath, Attributes, Comparison, Value, seal_attributes};

use super::calls::{Said, operation, uid};
use super::{Made, Trial};

impl Trial<'_> {
    /// Planning is pure, agrees with what is asked for, and passes on what is not known.
    pub(super) fn plan_of_a_creation(&mut self) {
        let inputs = self.case.inputs.clone();
        let validate = |inputs: &Attributes| ValidateRequest {
            resource_type: self.case.address.resource_type.clone(),
            address: self.case.address.clone(),
            inputs: inputs.clone(),
        };
        let problems = self.provider.validate(&validate(&inputs));
        self.holds(
            "the case's inputs are valid",
            problems.is_empty(),
            format!("{problems:?}"),
        );
        let (first, second) = match (self.plan(&inputs, None), self.plan(&inputs, None)) {
            (Ok(first), Ok(second)) => (first, second),
            (Err(error), _) | (_, Err(error)) => {
                return self.violation("a creation can be planned", error);
            }
        };
        self.holds(
            "plan is pure",
            first == second,
            "the same request got two answers",
        );
        self.holds(
            "a creation replaces nothing",
            first.replace.is_empty(),
            format!("{:?}", first.replace),
        );
        for (name, value) in &inputs {
            let planned = first.planned.get(name).cloned().unwrap_or_default();
            let equality = self
                .schema()
                .attributes
                .get(name)
                .map_or_else(Default::default, |attribute| attribute.equality);
            let agrees = same(equality, value, &planned) != Comparison::Different;
            self.holds("what is asked for is planned", agrees, name);
        }
        for name in inputs.keys() {
            let mut unknown = inputs.clone();
            unknown.insert(name.clone(), Value::template("${{ other.thing.id }}"));
            let problems = self.provider.validate(&ValidateRequest {
                resource_type: self.case.address.resource_type.clone(),
                address: self.case.address.clone(),
                inputs: unknown.clone(),
            });
            self.holds("an unknown value is no problem", problems.is_empty(), name);
            match self.plan(&unknown, None) {
                Ok(response) => {
                    let planned = response.planned.get(name);
                    let passed_on = planned.is_some_and(|value| !value.is_wholly_known());
                    self.holds("what is not known stays unknown", passed_on, name);
                }
                Err(error) => self.violation("unknown values can be planned", format!("{name}: {error}")),
            }
        }
    }

    /// Makes the object and looks at it in every way there is.
    pub(super) async fn create_and_look(&mut self) -> Option<Made> {
        let inputs = self.case.inputs.clone();
        let planned = self.plan(&inputs, None).ok()?.planned;
        let (operation, uid) = (operation(), uid());
        let (result, said) = self.create(operation, uid, planned.clone()).await;
        let state = match result {
            Ok(state) => state,
            Err(error) => {
                self.violation(
                    "the case's object can be made",
                    format!("{error} {:?}", error.detail),
                );
                return None;
            }
        };
        self.checkpoints(&said, &state);
        self.result(&inputs, &planned, &state);
        let made = Made { uid, inputs, state };
        self.settled(&made).await;
        self.unknown_ids_do_not_hurt(&made).await;
        self.found_by_its_operation(&made, operation).await;
        self.listed(&made).await;
        self.imported(&made).await;
        Some(made)
    }

    fn checkpoints(&mut self, said: &[Said], state: &ObjectState) {
        let first_phase = said.iter().position(|said| matches!(said, Said::Phase(_)));
        let first_checkpoint = said.iter().position(|said| matches!(said, Said::Checkpoint(_)));
        let in_order = match (first_checkpoint, first_phase) {
            (Some(checkpoint), Some(phase)) => checkpoint < phase,
            (None, Some(_)) => false,
            (_, None) => true,
        };
        self.holds(
            "an id is checkpointed before any waiting",
            in_order || self.subject.record_is_object(),
            format!("{said:?}"),
        );
        for said in said {
            if let Said::Checkpoint(id) = said {
                self.holds(
                    "the checkpointed id is the object's",
                    *id == state.id,
                    format!("{id} {}", state.id),
                );
            }
        }
    }

    /// What a call gave agrees with what was planned and with the schema.
    fn result(&mut self, inputs: &Attributes, planned: &Attributes, state: &ObjectState) {
        self.holds(
            "an object has an id",
            !state.id.as_str().is_empty(),
            "it is empty",
        );
        let schema = self.schema().clone();
        for (name, value) in &state.attributes {
            self.holds(
                "a result has only attributes of the schema",
                schema.attributes.contains_key(name),
                name,
            );
            self.holds("a result is known", value.is_wholly_known(), name);
        }
        for (name, planned) in planned.iter().filter(|(_, value)| value.is_wholly_known()) {
            let unreadable = state
                .unreadable
                .iter()
                .any(|path| path.first_key() == Some(&**name));
            let got = state.attributes.get(name).cloned().unwrap_or_default();
            let equality = schema
                .attributes
                .get(name)
                .map_or_else(Default::default, |attribute| attribute.equality);
            let agrees = unreadable || same(equality, planned, &got) != Comparison::Different;
            self.holds(
                "a result is what was planned",
                agrees,
                format!("{name}: {planned:?} {got:?}"),
            );
        }
        let sealed = seal_attributes(&mark_secrets(&schema, inputs, &state.attributes));
        let written = serde_json::to_string(&sealed).unwrap_or_default();
        self.hides_the_secret("the sealed attributes", &written);
        self.hides_the_secret("the private data", &state.private.to_string());
        self.hides_the_secret("the debug form", &format!("{sealed:?}"));
    }

    /// Right after a call, reading gives the same and planning asks for nothing.
    async fn settled(&mut self, made: &Made) {
        match self.read_one(made).await {
            Ok(ReadOutcome::Present(read)) => {
                self.holds("an object keeps its id", read.id == made.state.id, &read.id);
                self.same_attributes("reading gives what the call gave", made, &read);
            }
            Ok(outcome) => self.violation("what was made can be read", format!("{outcome:?}")),
            Err(error) => self.violation("what was made can be read", error),
        }
        match self.plan(&made.inputs, Some(made)) {
            Ok(response) => {
                self.holds(
                    "planning again replaces nothing",
                    response.replace.is_empty(),
                    format!("{:?}", response.replace),
                );
                let schema = self.schema().clone();
                for (name, attribute) in &schema.attributes {
                    let unreadable = made
                        .state
                        .unreadable
                        .iter()
                        .any(|path| path.first_key() == Some(&**name));
                    let value = |attributes: &Attributes| attributes.get(name).cloned().unwrap_or_default();
                    let (planned, is) = (value(&response.planned), value(&made.state.attributes));
                    let equal =
                        unreadable || same(attribute.equality, &planned, &is) != Comparison::Different;
                    self.holds(
                        "planning again changes nothing",
                        equal,
                        format!("{name}: planned {planned:?}, is {is:?}"),
                    );
                }
            }
            Err(error) => self.violation("what was made can be planned", error),
        }
    }

    fn same_attributes(&mut self, claim: &str, made: &Made, read: &ObjectState) {
        let schema = self.schema().clone();
        let names = made.state.attributes.keys().chain(read.attributes.keys());
        let names: std::collections::BTreeSet<_> = names.cloned().collect();
        for name in names {
            let value = |attributes: &Attributes| attributes.get(&name).cloned().unwrap_or_default();
            let unreadable = [&made.state, read].iter().any(|state| {
                state
                    .unreadable
                    .iter()
                    .any(|path| path.first_key() == Some(&*name))
            });
            let equality = schema
                .attributes
                .get(&name)
                .map_or_else(Default::default, |attribute| attribute.equality);
            let (was, is) = (value(&made.state.attributes), value(&read.attributes));
            let equal = unreadable || same(equality, &was, &is) != Comparison::Different;
            self.holds(claim, equal, format!("{name}: {was:?} {is:?}"));
        }
    }

    async fn unknown_ids_do_not_hurt(&mut self, made: &Made) {
        if self.subject.record_is_object() {
            return;
        }
        let known = self.recorded(made.uid, Some(&made.state.id), Some(made));
        let unknown = self.recorded(uid(), Some(&ObjectId::new("gabion-conformance-nowhere")), None);
        match self.read(vec![unknown.clone(), known, unknown]).await {
            Ok(outcomes) => {
                let fits = matches!(
                    outcomes.as_slice(),
                    [ReadOutcome::Absent, ReadOutcome::Present(found), ReadOutcome::Absent] if found.id == made.state.id
                );
                self.holds(
                    "an unknown id does not fail the rest",
                    fits,
                    format!("{outcomes:?}"),
                );
            }
            Err(error) => self.violation("an unknown id does not fail the rest", error),
        }
        match self.read(Vec::new()).await {
            Ok(outcomes) => self.holds(
                "reading nothing gives nothing",
                outcomes.is_empty(),
                outcomes.len(),
            ),
            Err(error) => self.violation("reading nothing gives nothing", error),
        }
    }

    async fn listed(&mut self, made: &Made) {
        let request = ListRequest {
            lineage: self.lineage,
        };
        match self.provider.list(request).await {
            Ok(listed) => {
                let own = listed.objects.iter().find(|object| {
                    object.id == made.state.id && object.resource_type == self.case.address.resource_type
                });
                let marked = match own {
                    Some(own) => own.uid == Some(made.uid),
                    None => listed.objects.is_empty(),
                };
                self.holds(
                    "a listing shows each object with its uid",
                    marked,
                    format!("{listed:?}"),
                );
            }
            Err(error) => self.violation("objects can be listed", error),
        }
    }

    async fn imported(&mut self, made: &Made) {
        let address = self.case.address.clone();
        let import = |id: &ObjectId| ImportRequest {
            resource_type: address.resource_type.clone(),
            address: address.clone(),
            id: id.clone(),
        };
        match self.provider.import(import(&made.state.id)).await {
            Ok(state) => self.same_attributes("importing gives what reading gives", made, &state),
            // A type that cannot be imported says so for every id.
            Err(error) => {
                self.holds(
                    "a refused import says why",
                    error.class == ErrorClass::Invalid,
                    error,
                );
            }
        }
        match self
            .provider
            .import(import(&ObjectId::new("gabion-conformance-nowhere")))
            .await
        {
            Ok(_) => self.violation("what does not exist is not imported", "it was"),
            Err(error) => {
                let classed = matches!(error.class, ErrorClass::NotFound | ErrorClass::Invalid);
                self.holds(
                    "importing what does not exist is `not found`",
                    classed,
                    format!("{error:?}"),
                );
                self.holds(
                    "a failed import has no effect",
                    error.effect == Effect::None,
                    format!("{error:?}"),
                );
            }
        }
    }

    /// Changes the object in place, and asks for what cannot be changed in place.
    /// Returns the object as it is then.
    pub(super) async fn change(&mut self, made: Made) -> Made {
        let made = &made;
        // An update without a difference only waits for readiness.
        let planned = self
            .plan(&made.inputs, Some(made))
            .map(|response| response.planned);
        if let Ok(planned) = planned {
            match self.update(made, &made.inputs, planned, Vec::new()).await {
                Ok(state) => {
                    self.same_attributes("an update without a difference changes nothing", made, &state);
                }
                Err(error) => self.violation("an update without a difference succeeds", error),
            }
        }
        if let Some(inputs) = self.case.replace.clone() {
            match self.plan(&inputs, Some(made)) {
                Ok(response) => {
                    let known = response.replace.iter().all(|cause| {
                        cause
                            .path
                            .first_key()
                            .is_some_and(|name| self.schema().attributes.contains_key(name))
                    });
                    self.holds(
                        "a replacement names the attributes that force it",
                        !response.replace.is_empty() && known,
                        format!("{:?}", response.replace),
                    );
                }
                Err(error) => self.violation("a replacement can be planned", error),
            }
        }
        let Some(inputs) = self.case.update.clone() else {
            return made.clone();
        };
        let response = match self.plan(&inputs, Some(made)) {
            Ok(response) => response,
            Err(error) => {
                self.violation("an update can be planned", error);
                return made.clone();
            }
        };
        self.holds(
            "what can be changed in place is not replaced",
            response.replace.is_empty(),
            format!("{:?}", response.replace),
        );
        let names: std::collections::BTreeSet<_> = inputs.keys().chain(made.inputs.keys()).collect();
        let changed: Vec<AttributePath> = names
            .into_iter()
            .filter(|name| {
                let value = |attributes: &Attributes| attributes.get(*name).cloned().unwrap_or_default();
                let equality = self
                    .schema()
                    .attributes
                    .get(*name)
                    .map_or_else(Default::default, |attribute| attribute.equality);
                same(equality, &value(&inputs), &value(&made.inputs)) != Comparison::Equal
            })
            .map(AttributePath::root)
            .collect();
        match self
            .update(made, &inputs, response.planned.clone(), changed)
            .await
        {
            Ok(state) => {
                self.result(&inputs, &response.planned, &state);
                let updated = Made {
                    uid: made.uid,
                    inputs,
                    state,
                };
                self.settled(&updated).await;
                updated
            }
            Err(error) => {
                self.violation("the object can be changed in place", error);
                made.clone()
            }
        }
    }

    /// Deletes the object, twice.
    pub(super) async fn delete(&mut self, made: &Made) {
        for time in ["once", "twice"] {
            if let Err(error) = self.delete_once(made).await {
                self.violation(
                    "an object can be deleted once and again",
                    format!("{time}: {error:?}"),
                );
            }
        }
        if self.subject.record_is_object() {
            return;
        }
        match self.read_one(made).await {
            Ok(ReadOutcome::Absent) => {}
            Ok(outcome) => self.violation("what was deleted is gone", format!("{outcome:?}")),
            Err(error) => self.violation("what was deleted is gone", error),
        }
    }
}
