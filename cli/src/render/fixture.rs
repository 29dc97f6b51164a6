//! A plan in which everything happens, built by hand for the renderers' tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use gabion_engine::address::{Lineage, ObjectId, OperationId, ProviderName, ResourceAddress, Uid};
use gabion_engine::config::Effect;
use gabion_engine::plan::change::*;
use gabion_engine::plan::policy::{PolicyReport, Ruling};
use gabion_engine::plan::step::{Step, StepId, StepOperation};
use gabion_engine::plan::{
    Basis, Bindings, Mode, OutputChange, PLAN_FORMAT_VERSION, Plan, Settlement, Unsettled,
};
use gabion_engine::provider::{CallAction, ObjectState, Observation};
use gabion_engine::resource::{DocumentRef, Place};
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::seldom::Seldom;
use gabion_engine::state::record::{Declaration, Dependency, Pin};
use gabion_engine::value::{AttributePath, Attributes, Secret, TemplateText, Value};
use gabion_engine::world::{NotAsked, Refresh};
use uuid::Uuid;

pub(crate) fn address(text: &str) -> ResourceAddress {
    text.parse().unwrap()
}

fn uid(number: u64) -> Uid {
    Uid::from_uuid(Uuid::from_u64_pair(0, number))
}

fn place(file: &str, line: u32, column: u32) -> Place {
    Place {
        file: file.into(),
        line,
        column,
        length: 0,
    }
}

fn document(document_type: &str, name: &str) -> DocumentRef {
    let place = place(&format!("{document_type}.dstack.yml"), 1, 1);
    DocumentRef::new(document_type.into(), name.into(), place)
}

fn declaration(document: DocumentRef) -> Arc<Declaration> {
    Arc::new(Declaration {
        provider: ProviderName::new("host"),
        schema_version: 1,
        document: Some(document),
        dependencies: Vec::new(),
        lifecycle: Seldom::default(),
        timeouts: Seldom::default(),
        replace_order: ReplaceOrder::default(),
        claims: Seldom::default(),
        pins: Seldom::default(),
    })
}

fn change(at: &str, action: Action, document: Option<DocumentRef>) -> Change {
    Change {
        address: address(at),
        uid: (action != Action::Create).then(|| uid(at.len() as u64)),
        provider: ProviderName::new("host"),
        deposed: false,
        action,
        reasons: Vec::new(),
        previous_address: None,
        importing: None,
        imported: None,
        attributes: Vec::new(),
        before: (action != Action::Create).then(Attributes::new),
        after: (action != Action::Delete).then(Attributes::new),
        inputs: (action != Action::Delete).then(Attributes::new),
        declaration: document.map(declaration),
        alternatives: Seldom::default(),
        conditions: Seldom::default(),
        document: None,
        unprotects: false,
        deleted_with: None,
        notes: Seldom::default(),
    }
}

fn attribute(change: &mut Change, path: &str, before: Option<Value>, after: Option<Value>, cause: Cause) {
    let path: AttributePath = path.parse().unwrap();
    if let (Some(name), Some(value), Some(all)) = (path.first_key(), &before, &mut change.before) {
        all.insert(name.into(), value.clone());
    }
    if let (Some(name), Some(value), Some(all)) = (path.first_key(), &after, &mut change.after) {
        all.insert(name.into(), value.clone());
        if let Some(inputs) = &mut change.inputs {
            inputs.insert(name.into(), value.clone());
        }
    }
    change.attributes.push(AttributeChange {
        path,
        before: before.map(Box::new),
        after,
        forces_replacement: false,
        sensitive: false,
        cause,
    });
}

fn list(items: &[&str]) -> Value {
    Value::List(items.iter().copied().map(Value::string).collect())
}

fn router() -> Change {
    let mut router = change(
        "host_unit.my-gateway/router/qwen",
        Action::Replace(ReplaceOrder::CreateThenDelete),
        Some(document("gateway", "my-gateway")),
    );
    router.reasons = vec![Reason::CannotChangeInPlace(vec![AttributePath::root("argv")])];
    let at = Cause::Configuration(Some(place("gateway.dstack.yml", 9, 11)));
    attribute(
        &mut router,
        "argv",
        Some(list(&[
            "smg",
            "launch",
            "--host",
            "127.0.0.1",
            "--policy",
            "cache_aware",
            "--log-level",
            "info",
        ])),
        Some(list(&[
            "smg",
            "launch",
            "--host",
            "127.0.0.1",
            "--policy",
            "round_robin",
            "--log-level",
            "info",
        ])),
        at,
    );
    router.attributes[0].forces_replacement = true;
    attribute(
        &mut router,
        "port",
        Some(Value::Int(41000)),
        Some(Value::unknown()),
        Cause::Computed,
    );
    router
}

fn worker() -> Change {
    let mut worker = change(
        "router_worker.qwen/default/0",
        Action::Update,
        Some(document("service", "qwen")),
    );
    worker.reasons = vec![Reason::Changed];
    attribute(
        &mut worker,
        "router",
        Some("http://127.0.0.1:41000".into()),
        Some(Value::template(
            "http://127.0.0.1:${{ host_unit.my-gateway/router/qwen.port }}",
        )),
        Cause::Reference(Box::new(CausingReference {
            address: address("host_unit.my-gateway/router/qwen"),
            path: AttributePath::root("port"),
            place: Some(place("service.dstack.yml", 4, 3)),
        })),
    );
    worker
}

fn replica() -> Change {
    let mut replica = change(
        "host_unit.qwen/default/1",
        Action::Create,
        Some(document("service", "qwen")),
    );
    replica.reasons = vec![Reason::New];
    let from = || Cause::Configuration(Some(place("service.dstack.yml", 6, 1)));
    attribute(
        &mut replica,
        "commands",
        None,
        Some(list(&["pip install engine", "python3 engine.py --port $PORT"])),
        from(),
    );
    attribute(
        &mut replica,
        "env",
        None,
        Some(Value::map([
            (
                "HF_TOKEN",
                Value::Secret(Secret::sealed(
                    Some(TemplateText::new("${{ env.HF_TOKEN }}")),
                    None,
                )),
            ),
            ("MODEL_ID", "qwen/qwen2.5-0.5b-instruct".into()),
            (
                "PROMPT",
                "You are ```helpful```.\n</details>\nBe \u{1b}[31mbrief\u{1b}[0m.\n".into(),
            ),
        ])),
        from(),
    );
    attribute(&mut replica, "id", None, Some(Value::unknown()), Cause::Computed);
    attribute(&mut replica, "pid", None, Some(Value::unknown()), Cause::Computed);
    attribute(
        &mut replica,
        "port",
        None,
        Some(Value::unknown()),
        Cause::Computed,
    );
    attribute(&mut replica, "token", None, Some("hunter2".into()), from());
    replica.attributes[5].sensitive = true;
    // As the engine would have it: what the schema calls sensitive is sealed.
    let sealed = Value::Secret(Secret::sealed(None, None));
    replica
        .after
        .as_mut()
        .unwrap()
        .insert("token".into(), sealed.clone());
    replica.inputs.as_mut().unwrap().insert("token".into(), sealed);
    let declaration = Arc::make_mut(replica.declaration.as_mut().unwrap());
    declaration.dependencies.push(Dependency {
        address: address("gabion_data.base"),
        uid: None,
    });
    declaration.pins.insert(
        "package".into(),
        Pin {
            value: "smg 1.13.0".into(),
            chosen_from: "smg".into(),
        },
    );
    replica.notes.push("its port is chosen when it starts".into());
    let mut inputs = replica.inputs.clone().unwrap_or_default();
    inputs.insert("size".into(), Value::from("medium"));
    replica.alternatives = PlannedAlternatives {
        chosen: "big at $1.000/h".into(),
        others: vec![PlannedAlternative {
            label: "medium at $1.500/h".into(),
            after: inputs.clone(),
            inputs,
        }],
    }
    .into();
    replica
}

fn data() -> Change {
    let mut data = change(
        "gabion_data.base",
        Action::Update,
        Some(document("resource", "base")),
    );
    data.reasons = vec![Reason::Drifted];
    attribute(
        &mut data,
        "input",
        Some(Value::map([
            ("a", Value::Int(1)),
            ("b", Value::Int(2)),
            ("policy", "{\"allow\": [1, 2], \"deny\": true}".into()),
            (
                "script",
                "set -e\none\ntwo\nthree\nfour\nfive\nsix\nseven\n".into(),
            ),
        ])),
        Some(Value::map([
            ("a", Value::Int(1)),
            ("b", Value::Int(3)),
            ("policy", "{\"allow\": [1, 2, 3], \"deny\": true}".into()),
            ("script", "set -e\none\ntwo\nthree\nfour\n5\nsix\nseven".into()),
        ])),
        Cause::Drift,
    );
    data
}

fn changes() -> Vec<Change> {
    let mut gone = change("gabion_data.old", Action::Delete, None);
    gone.reasons = vec![Reason::Undeclared(None)];
    gone.before.as_mut().unwrap().insert("input".into(), "x".into());
    let mut left = change("host_unit.qwen/default/0", Action::Delete, None);
    left.deposed = true;
    left.reasons = vec![Reason::Deposed];
    let mut forgotten = change("gabion_data.theirs", Action::Forget, None);
    forgotten.reasons = vec![Reason::Undeclared(Some(place("moves.gabion.yml", 3, 1)))];
    let mut moved = change("gabion_data.new", Action::NoOp, Some(document("resource", "new")));
    moved.previous_address = Some(address("gabion_data.former"));
    let mut imported = change(
        "gabion_data.there",
        Action::NoOp,
        Some(document("resource", "there")),
    );
    imported.reasons = vec![Reason::Imported];
    imported.importing = Some(ObjectId::new("data-7"));
    let same = change(
        "gabion_data.same",
        Action::NoOp,
        Some(document("resource", "same")),
    );
    vec![
        data(),
        moved,
        gone,
        same,
        forgotten,
        imported,
        router(),
        left,
        replica(),
        worker(),
    ]
}

fn steps() -> Vec<Step> {
    let step = |id, change, operation, after: &[u32]| Step {
        id: StepId(id),
        change,
        operation,
        after: after.iter().copied().map(StepId).collect(),
    };
    vec![
        step(0, 0, StepOperation::Update, &[]),
        step(
            1,
            6,
            StepOperation::Create {
                deposes: Some(uid(32)),
            },
            &[],
        ),
        step(2, 8, StepOperation::Create { deposes: None }, &[0]),
        step(3, 9, StepOperation::Update, &[1]),
        step(4, 6, StepOperation::Delete { uid: uid(32) }, &[3]),
        step(5, 2, StepOperation::Delete { uid: uid(15) }, &[]),
        step(6, 7, StepOperation::Delete { uid: uid(24) }, &[]),
    ]
}

fn drift() -> Vec<Drift> {
    let of = |at: &str, kind| Drift {
        address: address(at),
        uid: uid(1),
        provider: ProviderName::new("host"),
        recorded_at: "2026-11-19T08:00:00Z".parse().ok(),
        place: Some(place("main.gabion.yml", 3, 1)),
        kind,
    };
    let secret = Value::Secret(Secret::sealed(None, None));
    let attributes = vec![
        AttributeDrift {
            path: "input.b".parse().unwrap(),
            recorded: Some(Value::Int(3)),
            actual: Some(Value::Int(2)),
            desired: Some(Value::Int(3)),
            verdict: DriftVerdict::Reverted,
            sensitive: false,
        },
        AttributeDrift {
            path: "token".parse().unwrap(),
            recorded: Some(secret.clone()),
            actual: Some(secret),
            desired: None,
            verdict: DriftVerdict::CannotTell,
            sensitive: true,
        },
    ];
    vec![
        of("gabion_data.base", DriftKind::Changed(attributes)),
        of("host_unit.qwen/default/1", DriftKind::Vanished),
        of(
            "router_worker.qwen/default/0",
            DriftKind::CannotTell {
                reason: "the router does not answer".into(),
            },
        ),
    ]
}

fn ruling(effect: Effect, rule: &str, at: Option<&str>, message: &str) -> Ruling {
    Ruling {
        effect,
        rule: rule.into(),
        address: at.map(address),
        message: message.to_owned(),
        place: place("gabion.yml", 4, 16),
    }
}

/// A machine that could not be asked.
pub(crate) fn not_asked() -> NotAsked {
    NotAsked {
        part: "machine `gpu/<h2>`".to_owned(),
        why: "Machine `gpu/<h2>` (10.0.0.2) cannot be reached: no route to host.".to_owned(),
        providers: [ProviderName::new("gateway"), ProviderName::new("host")].into(),
    }
}

/// A plan in which everything happens.
pub(crate) fn everything() -> Plan {
    let outputs: BTreeMap<Arc<str>, OutputChange> = BTreeMap::from([
        (
            "base".into(),
            OutputChange {
                before: Some(Value::Int(1)),
                after: Some(Value::template("${{ gabion_data.base.output }}")),
            },
        ),
        (
            "same".into(),
            OutputChange {
                before: Some("s".into()),
                after: Some("s".into()),
            },
        ),
    ]);
    Plan {
        outputs,
        settlements: vec![
            Settlement {
                operation: OperationId::from_uuid(Uuid::from_u64_pair(1, 1)),
                uid: uid(5),
                address: address("gabion_data.late"),
                action: Some(CallAction::Create),
                observation: Observation::Absent,
                late: false,
            },
            Settlement {
                operation: OperationId::from_uuid(Uuid::from_u64_pair(1, 4)),
                uid: uid(16),
                address: address("gabion_data.old"),
                action: Some(CallAction::Delete),
                observation: Observation::Present(ObjectState {
                    id: ObjectId::new("data-16"),
                    attributes: Attributes::new(),
                    private: serde_json::Value::Null,
                    unreadable: Vec::new(),
                }),
                late: false,
            },
            Settlement {
                operation: OperationId::from_uuid(Uuid::from_u64_pair(1, 3)),
                uid: uid(15),
                address: address("gabion_data.later"),
                action: Some(CallAction::Create),
                observation: Observation::Present(ObjectState {
                    id: ObjectId::new("data-15"),
                    attributes: Attributes::new(),
                    private: serde_json::Value::Null,
                    unreadable: Vec::new(),
                }),
                late: true,
            },
        ],
        unsettled: vec![Unsettled {
            operation: OperationId::from_uuid(Uuid::from_u64_pair(1, 2)),
            address: address("host_unit.qwen/default/7"),
            reason: "its machine cannot be reached".into(),
        }],
        changes: changes(),
        steps: steps(),
        drift: drift(),
        endpoints: Attributes::from([
            ("model endpoint".into(), "http://127.0.0.1:8080/v1".into()),
            (
                "qwen".into(),
                Value::template("http://127.0.0.1:${{ gateway_listener.my-gateway.port }}/services/qwen/"),
            ),
        ]),
        notes: vec![Note {
            message: "`region` is not used by this backend".into(),
            place: Some(place("gateway.dstack.yml", 5, 1)),
        }],
        prices: None,
        policy: Some(PolicyReport {
            rules: 3,
            rulings: vec![
                ruling(
                    Effect::Deny,
                    "max_destroy",
                    None,
                    "2 objects would be destroyed, and 1 may be at once.",
                ),
                ruling(
                    Effect::Warn,
                    "short-names",
                    Some("host_unit.my-gateway/router/qwen"),
                    "Names of more than 12 letters do not fit the dashboard.",
                ),
            ],
        }),
        left_out: vec![address("gabion_data.x"), address("gabion_data.y")],
        ..nothing()
    }
}

/// A plan in which nothing happens.
pub(crate) fn nothing() -> Plan {
    let same = change(
        "gabion_data.same",
        Action::NoOp,
        Some(document("resource", "same")),
    );
    Plan {
        format_version: PLAN_FORMAT_VERSION,
        project: "quickstart".into(),
        mode: Mode::Apply,
        basis: Basis {
            lineage: Some(Lineage::from_uuid(Uuid::from_u64_pair(7, 7))),
            stack: None,
            serial: 41,
            gathered_at: "2026-11-22T10:04:05.123Z".parse().unwrap(),
            refresh: Refresh::Full,
            untrusted: false,
            commit: Some("f00baa1".into()),
            configuration: "ab12".into(),
        },
        settlements: Vec::new(),
        data: Vec::new(),
        upgrades: BTreeMap::new(),
        unsettled: Vec::new(),
        vanished: Vec::new(),
        moves: Vec::new(),
        accepted: BTreeMap::new(),
        blocked: Vec::new(),
        changes: vec![same],
        steps: Vec::new(),
        drift: Vec::new(),
        outputs: BTreeMap::new(),
        endpoints: Attributes::new(),
        notes: Vec::new(),
        prices: None,
        policy: None,
        left_out: Vec::new(),
        bindings: Bindings::default(),
    }
}
