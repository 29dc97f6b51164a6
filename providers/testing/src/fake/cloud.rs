//! The fake cloud itself: a synchronous machine over its objects. Time is given to it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gabion_engine::schema::ProviderSchema;
use serde_json::Value as Json;

use super::api::{
    AdminRequest, ApiError, ApiErrorCode, ApiRequest, ApiResponse, ChangeEntry, Described, Dump, Fields,
    Filter, Marks, ObjectStatus, Settings, Verb,
};
use super::fault::{Chaos, Fault, FaultRule, Random};
use super::rules::{check_create, check_update, invalid, schema_of};
use super::schema::{WRITE_ONLY, provider_schema};

/// Its objects, and how it behaves. All times are since it began.
pub(super) struct Cloud {
    schema: ProviderSchema,
    objects: BTreeMap<(String, String), Object>,
    /// What was made for each idempotency token.
    tokens: BTreeMap<String, (String, String)>,
    /// Requests whose connection broke and that are carried out later.
    late: Vec<(Duration, ApiRequest)>,
    next_number: u64,
    pub(super) settings: Settings,
    pub(super) chaos: Chaos,
    pub(super) facts: Fields,
    rules: Vec<FaultRule>,
    random: Random,
    recent: VecDeque<Duration>,
    changes: Vec<ChangeEntry>,
    calls: BTreeMap<String, u64>,
}

/// What becomes of an object that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It boots and works.
    Works,
    /// It fails while it is set up.
    NeverReady,
    /// It ends at once, for want of capacity.
    Withdrawn,
}

struct Object {
    fields: Fields,
    marks: Marks,
    visible_at: Duration,
    ready_at: Duration,
    outlook: Outlook,
    /// When it was deleted, the time from which it is no longer visible.
    gone_at: Option<Duration>,
}

/// What becomes of a request before the cloud looks at it.
pub(super) struct Fate {
    pub(super) fault: Option<Fault>,
    pub(super) delay: Duration,
}

impl Cloud {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            schema: provider_schema(),
            objects: BTreeMap::new(),
            tokens: BTreeMap::new(),
            late: Vec::new(),
            next_number: 1,
            settings: Settings::default(),
            chaos: Chaos::default(),
            facts: Fields::new(),
            rules: Vec::new(),
            random: Random::new(seed),
            recent: VecDeque::new(),
            changes: Vec::new(),
            calls: BTreeMap::new(),
        }
    }

    /// Counts a request and decides what goes wrong with it.
    pub(super) fn receive(&mut self, now: Duration, request: &ApiRequest) -> Fate {
        let name = request.resource_type().unwrap_or("any");
        *self
            .calls
            .entry(format!("{:?} {name}", request.verb()).to_lowercase())
            .or_default() += 1;
        let delay = self.settings.latency + self.random.duration(self.settings.jitter);
        let fault = self.pick_fault(now, request);
        Fate { fault, delay }
    }

    fn pick_fault(&mut self, now: Duration, request: &ApiRequest) -> Option<Fault> {
        let address = self.address_of(request);
        if let Some(rule) = self
            .rules
            .iter_mut()
            .find(|rule| rule.matches(request, address.as_deref()))
        {
            if rule.skip == 0 {
                rule.times -= 1;
                return Some(rule.fault);
            }
            rule.skip -= 1;
        }
        if let Some(rate) = self.settings.rate {
            while self
                .recent
                .front()
                .is_some_and(|at| *at + Duration::from_secs(1) <= now)
            {
                self.recent.pop_front();
            }
            if self.recent.len() >= rate as usize {
                return Some(Fault::Throttle);
            }
            self.recent.push_back(now);
        }
        let chaos = self.chaos;
        chaos.pick(&mut self.random, request)
    }

    fn address_of(&self, request: &ApiRequest) -> Option<String> {
        let by_id = |resource_type: &String, id: &String| {
            self.objects
                .get(&(resource_type.clone(), id.clone()))
                .and_then(|object| object.marks.address.clone())
        };
        match request {
            ApiRequest::Create { marks, .. } => marks.address.clone(),
            ApiRequest::Update {
                resource_type, id, ..
            }
            | ApiRequest::Delete { resource_type, id } => by_id(resource_type, id),
            ApiRequest::Describe { resource_type, ids } => match ids.as_slice() {
                [id] => by_id(resource_type, id),
                _ => None,
            },
            ApiRequest::Find { .. } | ApiRequest::Facts => None,
        }
    }

    /// Forgets how it was to misbehave.
    pub(super) fn calm(&mut self) {
        self.rules.clear();
        self.chaos = Chaos::default();
    }

    /// Remembers a request that is carried out later although nobody waits for it.
    pub(super) fn defer(&mut self, due: Duration, request: ApiRequest) {
        self.late.push((due, request));
    }

    fn run_late(&mut self, now: Duration) {
        let (due, later) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.late = later;
        let due: Vec<(Duration, ApiRequest)> = due;
        for (at, request) in due {
            // Nobody hears the answer, whatever it is.
            drop(self.execute(at, request, Outlook::Works));
        }
    }

    /// Carries out a request.
    pub(super) fn handle(
        &mut self,
        now: Duration,
        request: ApiRequest,
        outlook: Outlook,
    ) -> Result<ApiResponse, ApiError> {
        self.run_late(now);
        self.execute(now, request, outlook)
    }

    fn execute(
        &mut self,
        now: Duration,
        request: ApiRequest,
        outlook: Outlook,
    ) -> Result<ApiResponse, ApiError> {
        match request {
            ApiRequest::Create {
                resource_type,
                fields,
                marks,
                token,
            } => self
                .create(now, &resource_type, fields, marks, token, outlook)
                .map(ApiResponse::Object),
            ApiRequest::Describe { resource_type, ids } => {
                schema_of(&self.schema, &resource_type)?;
                Ok(ApiResponse::Objects(
                    ids.into_iter()
                        .filter_map(|id| self.visible(now, &resource_type, &id))
                        .collect(),
                ))
            }
            ApiRequest::Find { filter } => Ok(ApiResponse::Objects(self.find(now, &filter))),
            ApiRequest::Update {
                resource_type,
                id,
                fields,
            } => self
                .update(now, &resource_type, &id, fields)
                .map(ApiResponse::Object),
            ApiRequest::Delete { resource_type, id } => self
                .delete(now, &resource_type, &id)
                .map(|()| ApiResponse::Deleted),
            ApiRequest::Facts => Ok(ApiResponse::Facts(self.facts.clone())),
        }
    }

    fn create(
        &mut self,
        now: Duration,
        resource_type: &str,
        mut fields: Fields,
        marks: Marks,
        token: Option<String>,
        outlook: Outlook,
    ) -> Result<Described, ApiError> {
        let schema = schema_of(&self.schema, resource_type)?;
        fields.retain(|_, value| !value.is_null());
        if let Some(made) = token.as_ref().and_then(|token| self.tokens.get(token)) {
            let (resource_type, id) = made.clone();
            return self
                .describe(now, &resource_type, &id)
                .ok_or_else(|| not_found(&resource_type, &id));
        }
        check_create(schema, &fields)?;
        for (name, attribute) in &schema.attributes {
            if let Some(default) = &attribute.default {
                fields
                    .entry(name.to_string())
                    .or_insert_with(|| default.to_redacted_json());
            }
        }
        self.check_references(resource_type, &fields)?;
        self.check_conflicts(resource_type, &fields)?;
        if let Some(quota) = self.settings.quota
            && self.live(resource_type).count() >= quota
        {
            return Err(invalid(format!(
                "the quota of {quota} {resource_type} is used up"
            )));
        }
        let number = self.next_number;
        self.next_number += 1;
        let id = object_id(resource_type, &fields, number);
        self.compute(resource_type, &mut fields, number);
        let key = (resource_type.to_owned(), id.clone());
        let upserted = self
            .objects
            .get(&key)
            .is_some_and(|object| object.gone_at.is_none());
        let lag = if upserted {
            Duration::ZERO
        } else {
            self.random.duration(self.settings.consistency)
        };
        let boots = resource_type == "fake_machine";
        let ready_at = now + if boots { self.settings.boot } else { Duration::ZERO };
        self.note(Verb::Create, resource_type, &id, marks.address.clone());
        self.objects.insert(
            key.clone(),
            Object {
                fields,
                marks,
                visible_at: now + lag,
                ready_at,
                outlook,
                gone_at: (outlook == Outlook::Withdrawn).then_some(now),
            },
        );
        if let Some(token) = token {
            self.tokens.insert(token, key);
        }
        Ok(self
            .describe(now, resource_type, &id)
            .expect("it was inserted just now"))
    }

    /// Sets what the cloud computes.
    fn compute(&mut self, resource_type: &str, fields: &mut Fields, number: u64) {
        match resource_type {
            "fake_network" => {
                let cidr = fields.get("cidr").and_then(Json::as_str).unwrap_or_default();
                let gateway = cidr.split('/').next().unwrap_or_default().to_owned();
                fields.insert("gateway".into(), gateway.into());
            }
            "fake_disk" => {
                fields.insert("serial".into(), format!("SN{number:06}").into());
            }
            "fake_machine" => {
                fields.insert("ip".into(), address_of_machine(number));
                fields.entry("zone".into()).or_insert_with(|| "zone-a".into());
                let password = format!("console-{:016x}", self.random.next());
                fields.insert("console_password".into(), password.into());
            }
            _ => {}
        }
    }

    fn check_references(&self, resource_type: &str, fields: &Fields) -> Result<(), ApiError> {
        let mut wanted: Vec<(&str, &str, &Json)> = Vec::new();
        for (field, target) in [
            ("network", "fake_network"),
            ("machine", "fake_machine"),
            ("router", "fake_machine"),
        ] {
            if let Some(value) = fields.get(field).filter(|value| !value.is_null()) {
                wanted.push((field, target, value));
            }
        }
        if resource_type == "fake_machine" {
            let disks = fields.get("disks").and_then(Json::as_array);
            wanted.extend(
                disks
                    .into_iter()
                    .flatten()
                    .map(|disk| ("disks", "fake_disk", disk)),
            );
        }
        for (field, target, value) in wanted {
            let id = value.as_str().unwrap_or_default();
            let there = self
                .objects
                .get(&(target.to_owned(), id.to_owned()))
                .is_some_and(|object| object.gone_at.is_none());
            if !there {
                return Err(invalid(format!("there is no {target} `{id}`")).at(field));
            }
        }
        Ok(())
    }

    fn check_conflicts(&self, resource_type: &str, fields: &Fields) -> Result<(), ApiError> {
        let taken = |field: &str| {
            fields
                .get(field)
                .filter(|value| !value.is_null())
                .and_then(|value| {
                    self.live(resource_type)
                        .find(|(_, object)| object.fields.get(field) == Some(value))
                })
                .map(|(id, _)| {
                    ApiError::new(
                        ApiErrorCode::Conflict,
                        format!("{resource_type} `{id}` has this `{field}` already"),
                    )
                    .at(field)
                })
        };
        let exclusive = resource_type == "fake_address";
        let upsert = matches!(resource_type, "fake_record" | "fake_membership");
        if exclusive && let Some(conflict) = taken("ip") {
            return Err(conflict);
        }
        if (self.settings.unique_names || exclusive)
            && !upsert
            && let Some(conflict) = taken("name")
        {
            return Err(conflict);
        }
        Ok(())
    }

    fn update(
        &mut self,
        now: Duration,
        resource_type: &str,
        id: &str,
        fields: Fields,
    ) -> Result<Described, ApiError> {
        let schema = schema_of(&self.schema, resource_type)?;
        let object = self.live_object(resource_type, id)?;
        check_update(schema, &object.fields, &fields)?;
        self.check_references(resource_type, &fields)?;
        let restarts = resource_type == "fake_machine"
            && fields
                .get("size")
                .is_some_and(|size| Some(size) != object.fields.get("size"));
        let number = self.next_number;
        let ready_at = now + self.settings.boot;
        let object = self
            .objects
            .get_mut(&(resource_type.to_owned(), id.to_owned()))
            .expect("it was found just now");
        for (name, value) in fields {
            if value.is_null() {
                object.fields.remove(&name);
            } else {
                object.fields.insert(name, value);
            }
        }
        if restarts {
            object.fields.insert("ip".into(), address_of_machine(number));
            object.ready_at = ready_at;
            self.next_number += 1;
        }
        let address = object.marks.address.clone();
        self.note(Verb::Update, resource_type, id, address);
        Ok(self
            .describe(now, resource_type, id)
            .expect("it was found just now"))
    }

    fn delete(&mut self, now: Duration, resource_type: &str, id: &str) -> Result<(), ApiError> {
        schema_of(&self.schema, resource_type)?;
        self.live_object(resource_type, id)?;
        let used_by = match resource_type {
            "fake_network" => self.user_of("network", id),
            "fake_disk" => self.user_of("disks", id),
            _ => None,
        };
        if let Some(user) = used_by {
            return Err(ApiError::new(
                ApiErrorCode::Conflict,
                format!("{resource_type} `{id}` is used by fake_machine `{user}`"),
            ));
        }
        self.bury(now, resource_type, id);
        if resource_type == "fake_machine" {
            let members: Vec<String> = self
                .live("fake_membership")
                .filter(|(_, object)| object.fields.get("router").and_then(Json::as_str) == Some(id))
                .map(|(member, _)| member.to_owned())
                .collect();
            for member in members {
                self.bury(now, "fake_membership", &member);
            }
        }
        Ok(())
    }

    fn bury(&mut self, now: Duration, resource_type: &str, id: &str) {
        let lag = self.random.duration(self.settings.consistency);
        let object = self
            .objects
            .get_mut(&(resource_type.to_owned(), id.to_owned()))
            .expect("only what is there is deleted");
        object.gone_at = Some(now + lag);
        let address = object.marks.address.clone();
        self.note(Verb::Delete, resource_type, id, address);
    }

    fn user_of(&self, field: &str, id: &str) -> Option<String> {
        self.live("fake_machine")
            .find(|(_, machine)| match machine.fields.get(field) {
                Some(Json::Array(items)) => items.iter().any(|item| item == id),
                Some(value) => value == id,
                None => false,
            })
            .map(|(user, _)| user.to_owned())
    }

    fn find(&self, now: Duration, filter: &Filter) -> Vec<Described> {
        let fits =
            |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        self.objects
            .iter()
            .filter(|((resource_type, _), object)| {
                fits(&filter.resource_type, Some(resource_type))
                    && fits(&filter.lineage, object.marks.lineage.as_deref())
                    && fits(&filter.uid, object.marks.uid.as_deref())
                    && fits(&filter.operation, object.marks.operation.as_deref())
                    && fits(&filter.name, object.fields.get("name").and_then(Json::as_str))
            })
            .filter_map(|((resource_type, id), _)| self.visible(now, resource_type, id))
            .collect()
    }

    /// Describes an object if a reader sees it at this time.
    fn visible(&self, now: Duration, resource_type: &str, id: &str) -> Option<Described> {
        let object = self.objects.get(&(resource_type.to_owned(), id.to_owned()))?;
        let is_shown =
            object.outlook == Outlook::Withdrawn || object.gone_at.is_none_or(|gone_at| now < gone_at);
        let seen = object.visible_at <= now && is_shown;
        seen.then(|| self.describe(now, resource_type, id)).flatten()
    }

    fn describe(&self, now: Duration, resource_type: &str, id: &str) -> Option<Described> {
        let object = self.objects.get(&(resource_type.to_owned(), id.to_owned()))?;
        let mut fields = object.fields.clone();
        fields.retain(|name, _| !WRITE_ONLY.contains(&(resource_type, name.as_str())));
        let status = if object.outlook == Outlook::Withdrawn {
            ObjectStatus::Withdrawn
        } else if object.outlook == Outlook::NeverReady {
            ObjectStatus::Failed
        } else if object.ready_at <= now {
            ObjectStatus::Ready
        } else {
            ObjectStatus::Pending
        };
        Some(Described {
            resource_type: resource_type.to_owned(),
            id: id.to_owned(),
            fields,
            marks: object.marks.clone(),
            status,
        })
    }

    fn live<'a>(&'a self, resource_type: &'a str) -> impl Iterator<Item = (&'a str, &'a Object)> {
        self.objects
            .iter()
            .filter(move |((found, _), object)| found == resource_type && object.gone_at.is_none())
            .map(|((_, id), object)| (id.as_str(), object))
    }

    fn live_object(&self, resource_type: &str, id: &str) -> Result<&Object, ApiError> {
        self.objects
            .get(&(resource_type.to_owned(), id.to_owned()))
            .filter(|object| object.gone_at.is_none())
            .ok_or_else(|| not_found(resource_type, id))
    }

    fn note(&mut self, verb: Verb, resource_type: &str, id: &str, address: Option<String>) {
        self.changes.push(ChangeEntry {
            verb,
            resource_type: resource_type.to_owned(),
            id: id.to_owned(),
            address,
        });
    }

    /// Does what a test says; answers a dump only when asked for one.
    pub(super) fn administer(
        &mut self,
        now: Duration,
        request: AdminRequest,
    ) -> Result<Option<Dump>, ApiError> {
        self.run_late(now);
        match request {
            AdminRequest::Fault(rule) => self.rules.push(rule),
            AdminRequest::Settings(settings) => self.settings = settings,
            AdminRequest::Mutate { id, fields } => {
                let object = self.any_live(&id)?;
                for (name, value) in fields {
                    if value.is_null() {
                        object.fields.remove(&name);
                    } else {
                        object.fields.insert(name, value);
                    }
                }
            }
            AdminRequest::Remove { id } => self.any_live(&id)?.gone_at = Some(now),
            AdminRequest::Dump => return Ok(Some(self.dump(now))),
        }
        Ok(None)
    }

    fn any_live(&mut self, id: &str) -> Result<&mut Object, ApiError> {
        self.objects
            .iter_mut()
            .find(|((_, found), object)| found == id && object.gone_at.is_none())
            .map(|(_, object)| object)
            .ok_or_else(|| not_found("object", id))
    }

    fn dump(&self, now: Duration) -> Dump {
        Dump {
            objects: self
                .objects
                .iter()
                .filter(|(_, object)| object.gone_at.is_none())
                .filter_map(|((resource_type, id), _)| self.describe(now, resource_type, id))
                .collect(),
            changes: self.changes.clone(),
            calls: self.calls.clone(),
        }
    }
}

fn not_found(resource_type: &str, id: &str) -> ApiError {
    ApiError::new(
        ApiErrorCode::NotFound,
        format!("there is no {resource_type} `{id}`"),
    )
}

fn object_id(resource_type: &str, fields: &Fields, number: u64) -> String {
    let text = |name: &str| fields.get(name).and_then(Json::as_str).unwrap_or_default();
    match resource_type {
        "fake_record" => text("name").to_lowercase(),
        "fake_membership" => format!("{}/{}", text("router"), text("member")),
        other => format!("{}-{number:04}", other.trim_start_matches("fake_")),
    }
}

fn address_of_machine(number: u64) -> Json {
    format!("10.0.{}.{}", number / 250, number % 250 + 1).into()
}
