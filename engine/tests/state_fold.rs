//! Folding: what each event does to the records, and which events are refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use gabion_engine::provider::{CallAction, Effect, Observation};
use gabion_engine::state::chain;
use gabion_engine::state::event::{Event, EventBody};
use gabion_engine::state::record::{Dependency, Record, Status};
use gabion_engine::state::snapshot::LastWriter;
use gabion_engine::state::verify::contradictions;
use gabion_engine::state::{FoldError, State};
use gabion_engine::value::{AttributePath, Attributes, Secret, TemplateText, Value};
use gabion_testing::store_events::{
    address, checkpoint, create, create_deposing, creation, declaration, delete, deleted, events, failed,
    imported, input, intent, lease_taken, moved, object, operation, run_started, settled, succeeded, uid,
    update,
};

/// Folds a log that begins with its creation and the lease.
fn fold(bodies: impl IntoIterator<Item = EventBody>) -> Result<State, FoldError> {
    let mut state = State::default();
    state.fold(&creation().event())?;
    let bodies = [lease_taken()].into_iter().chain(bodies);
    for event in events(2, 1, bodies) {
        let before = state.clone();
        if let Err(error) = state.fold(&event) {
            assert_eq!(state, before, "a refused event changed something");
            return Err(error);
        }
        assert_eq!(contradictions(&state), Vec::<String>::new(), "after {event:?}");
        let written = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&written).unwrap(), state);
    }
    Ok(state)
}

fn status(state: &State, name: &str) -> Option<Status> {
    state.current(&address(name)).map(|record| record.status)
}

fn current<'a>(state: &'a State, name: &str) -> &'a Record {
    state.current(&address(name)).unwrap()
}

/// A ready object 1 named `a`, and then these.
fn after_ready(bodies: impl IntoIterator<Item = EventBody>) -> Result<State, FoldError> {
    fold(
        [create(1, 1, "a"), succeeded(1, "id-1", 1)]
            .into_iter()
            .chain(bodies),
    )
}

#[test]
fn a_creation_is_creating_until_its_result() {
    let state = fold([create(1, 1, "a")]).unwrap();
    let record = current(&state, "a");
    assert_eq!((record.status, &record.inputs), (Status::Creating, &input(1)));
    assert_eq!((record.created_at, record.changed_at), (3, 3));
    let open = record.open.as_ref().unwrap();
    assert_eq!((open.operation, open.since, open.epoch), (operation(1), 3, 1));

    let state = fold([create(1, 1, "a"), checkpoint(1, "id-1"), succeeded(1, "id-1", 5)]).unwrap();
    let record = current(&state, "a");
    assert_eq!((record.status, record.open.is_none()), (Status::Ready, true));
    assert_eq!(record.id.as_ref().unwrap().as_str(), "id-1");
    assert_eq!((&record.inputs, &record.attributes), (&input(1), &input(5)));
    assert_eq!(record.changed_at, 5);
}

#[test]
fn an_update_takes_its_inputs_over_when_it_succeeds() {
    let state = after_ready([update(2, 1, "a", 7)]).unwrap();
    let record = current(&state, "a");
    assert_eq!((record.status, &record.inputs), (Status::Ready, &input(1)));
    assert_eq!(record.open.as_ref().unwrap().before, Some(Status::Ready));

    let mut new = declaration();
    Arc::make_mut(&mut new).claims = vec!["tcp/local/80".into()].into();
    let state = after_ready([
        update(2, 1, "a", 7),
        EventBody::Succeeded {
            operation: operation(2),
            state: Some(object("id-1", 7)),
            declaration: Some(new.clone()),
        },
    ])
    .unwrap();
    let record = current(&state, "a");
    assert_eq!((&record.inputs, &record.declaration), (&input(7), &new));
}

#[test]
fn what_the_world_does_not_tell_keeps_what_it_was_given() {
    let secret = Value::Secret(Secret::sealed(Some(TemplateText::new("${{ env.T }}")), None));
    let mut creating = intent(CallAction::Create, 1, 1, "a", 1);
    creating
        .inputs
        .insert("env".into(), Value::map([("T", secret.clone())]));
    let mut found = object("id-1", 1);
    found
        .attributes
        .insert("env".into(), Value::map([("P", Value::Int(1))]));
    let path: AttributePath = "env.T".parse().unwrap();
    found.unreadable = vec![path.clone()];
    let state = fold([
        EventBody::Intent(creating),
        EventBody::Succeeded {
            operation: operation(1),
            state: Some(found),
            declaration: None,
        },
    ])
    .unwrap();
    let attributes = Value::Map(current(&state, "a").attributes.clone());
    assert_eq!(attributes.at(&path), Some(&secret));
    assert_eq!(attributes.at(&"env.P".parse().unwrap()), Some(&Value::Int(1)));
}

#[test]
fn every_outcome_of_every_call() {
    let calls = [
        ("create", create(2, 2, "b")),
        ("update", update(2, 1, "a", 7)),
        ("delete", delete(2, 1, "a")),
    ];
    let outcomes = [
        ("no effect", failed(2, Effect::None)),
        ("partial", failed(2, Effect::Partial)),
        ("unknown", failed(2, Effect::Unknown)),
        ("present", settled(2, Some(object("id-9", 9)))),
        ("absent", settled(2, None)),
    ];
    let mut table = String::new();
    for (call, intent) in &calls {
        for checkpointed in [false, true] {
            if checkpointed && *call != "create" {
                continue;
            }
            for (outcome, result) in &outcomes {
                let mut bodies = vec![intent.clone()];
                if checkpointed {
                    bodies.push(checkpoint(2, "id-9"));
                }
                bodies.push(result.clone());
                let state = after_ready(bodies).unwrap();
                let name = if *call == "create" { "b" } else { "a" };
                let record = state.current(&address(name));
                let status = record.map_or("-".to_owned(), |record| format!("{:?}", record.status));
                let open = record.is_some_and(|record| record.open.is_some());
                let id = record
                    .and_then(|record| record.id.as_ref())
                    .map_or("-", |id| id.as_str());
                let inputs = record.map_or("-".to_owned(), |record| format!("{:?}", record.inputs));
                let tombstones = state.tombstones.len();
                let point = if checkpointed { "+id" } else { "" };
                table += &format!(
                    "{call}{point}, {outcome}: {status} open={open} id={id} inputs={inputs} tombstones={tombstones}\n"
                );
            }
        }
    }
    insta::assert_snapshot!(table, @r#"
    create, no effect: - open=false id=- inputs=- tombstones=0
    create, partial: Creating open=true id=- inputs={"input": 1} tombstones=0
    create, unknown: Creating open=true id=- inputs={"input": 1} tombstones=0
    create, present: Incomplete open=false id=id-9 inputs={"input": 1} tombstones=0
    create, absent: - open=false id=- inputs=- tombstones=1
    create+id, no effect: Incomplete open=false id=id-9 inputs={"input": 1} tombstones=0
    create+id, partial: Incomplete open=false id=id-9 inputs={"input": 1} tombstones=0
    create+id, unknown: Creating open=true id=id-9 inputs={"input": 1} tombstones=0
    create+id, present: Incomplete open=false id=id-9 inputs={"input": 1} tombstones=0
    create+id, absent: - open=false id=- inputs=- tombstones=1
    update, no effect: Ready open=false id=id-1 inputs={"input": 1} tombstones=0
    update, partial: Incomplete open=false id=id-1 inputs={"input": 1} tombstones=0
    update, unknown: Ready open=true id=id-1 inputs={"input": 1} tombstones=0
    update, present: Incomplete open=false id=id-9 inputs={"input": 1} tombstones=0
    update, absent: - open=false id=- inputs=- tombstones=0
    delete, no effect: Ready open=false id=id-1 inputs={"input": 1} tombstones=0
    delete, partial: Deleting open=false id=id-1 inputs={"input": 1} tombstones=0
    delete, unknown: Deleting open=true id=id-1 inputs={"input": 1} tombstones=0
    delete, present: Incomplete open=false id=id-9 inputs={"input": 1} tombstones=0
    delete, absent: - open=false id=- inputs=- tombstones=0
    "#);
}

#[test]
fn a_replacement_deposes_and_gives_back() {
    let replacing = [create_deposing(2, 2, "a", 1)];
    let state = after_ready(replacing.clone()).unwrap();
    assert_eq!(current(&state, "a").uid, uid(2));
    assert!(state.record(uid(1)).unwrap().deposed);
    assert_eq!(state.record(uid(1)).unwrap().status, Status::Ready);

    for undone in [failed(2, Effect::None), settled(2, None)] {
        let state = after_ready(replacing.iter().cloned().chain([undone])).unwrap();
        assert_eq!(current(&state, "a").uid, uid(1));
        assert_eq!(state.deposed_records().count(), 0);
    }
    for kept in [
        succeeded(2, "id-2", 1),
        failed(2, Effect::Partial),
        settled(2, Some(object("id-2", 1))),
    ] {
        let state = after_ready(replacing.iter().cloned().chain([kept])).unwrap();
        assert_eq!(current(&state, "a").uid, uid(2));
        assert_eq!(state.deposed_records().count(), 1);
    }
    let state = after_ready([
        create_deposing(2, 2, "a", 1),
        succeeded(2, "id-2", 1),
        delete(3, 1, "a"),
        deleted(3),
    ])
    .unwrap();
    assert_eq!((state.len(), current(&state, "a").uid), (1, uid(2)));
}

#[test]
fn moves_happen_at_once() {
    let three = [
        create(1, 1, "a"),
        succeeded(1, "id-1", 1),
        create(2, 2, "b"),
        create(3, 3, "c"),
        create_deposing(4, 4, "a", 1),
    ];
    let with = |last: EventBody| fold(three.iter().cloned().chain([last]));

    // A swap, with an open call and a deposed object going along.
    let state = with(moved(&[(4, "a", "b"), (2, "b", "a")])).unwrap();
    assert_eq!(
        (current(&state, "b").uid, current(&state, "a").uid),
        (uid(4), uid(2))
    );
    assert_eq!(state.record(uid(1)).unwrap().address, address("b"));
    // The deposed object gets the new address back.
    let state = fold(
        three
            .iter()
            .cloned()
            .chain([moved(&[(4, "a", "b"), (2, "b", "a")]), failed(4, Effect::None)]),
    )
    .unwrap();
    assert_eq!(current(&state, "b").uid, uid(1));

    // A chain.
    let state = with(moved(&[(2, "b", "c"), (3, "c", "d")])).unwrap();
    assert_eq!(
        (current(&state, "c").uid, current(&state, "d").uid),
        (uid(2), uid(3))
    );
    assert!(state.current(&address("b")).is_none());

    for collision in [
        moved(&[(2, "b", "c")]),
        moved(&[(2, "b", "x"), (3, "c", "x")]),
        moved(&[(2, "b", "x"), (2, "b", "y")]),
        moved(&[(2, "c", "x")]),
        moved(&[(9, "b", "x")]),
    ] {
        with(collision).unwrap_err();
    }
}

#[test]
fn edges_follow_moved_objects() {
    let mut dependent = intent(CallAction::Create, 2, 2, "b", 1);
    let mut declared = declaration();
    Arc::make_mut(&mut declared).dependencies = vec![Dependency {
        address: address("a"),
        uid: Some(uid(1)),
    }];
    dependent.declaration = Some(declared);
    let before = after_ready([EventBody::Intent(dependent.clone())]).unwrap();
    let state = after_ready([EventBody::Intent(dependent), moved(&[(1, "a", "z")])]).unwrap();
    let record = current(&state, "b");
    assert_eq!(record.declaration.dependencies[0].address, address("z"));
    // It has not changed itself: a saved plan that relies on it still holds.
    assert_eq!(record.changed_at, current(&before, "b").changed_at);
}

#[test]
fn a_tombstone_is_remembered_moved_and_cleared_by_adoption() {
    let gone = [create(1, 1, "a"), settled(1, None)];
    let state = fold(gone.clone()).unwrap();
    assert!(state.is_empty());
    assert_eq!(state.tombstones[&operation(1)].uid, uid(1));
    // Neither its uid nor its operation id is used again.
    fold(gone.iter().cloned().chain([create(2, 1, "a")])).unwrap_err();
    fold(gone.iter().cloned().chain([create(1, 2, "a")])).unwrap_err();
    let state = fold(gone.iter().cloned().chain([imported(1, "a", "late")])).unwrap();
    assert!(state.tombstones.is_empty());
    assert_eq!(status(&state, "a"), Some(Status::Incomplete));
}

#[test]
fn what_turned_up_late_is_recorded_again() {
    let gone = [create(1, 1, "a"), settled(1, None)];
    let buried = fold(gone.clone()).unwrap().tombstones[&operation(1)].clone();
    let turned_up = || EventBody::TurnedUp {
        operation: operation(1),
        record: Box::new(buried.record.as_deref().unwrap().clone()),
        state: object("late", 1),
    };
    let state = fold(gone.iter().cloned().chain([turned_up()])).unwrap();
    assert!(state.tombstones.is_empty());
    assert_eq!(status(&state, "a"), Some(Status::Incomplete));
    assert_eq!(current(&state, "a").uid, uid(1));
    // Once only.
    fold(gone.iter().cloned().chain([turned_up(), turned_up()])).unwrap_err();
    // Where another object has its address, it awaits deletion.
    let state = fold(gone.iter().cloned().chain([create(2, 2, "a"), turned_up()])).unwrap();
    assert_eq!(current(&state, "a").uid, uid(2));
    assert!(state.record(uid(1)).unwrap().deposed);
}

#[test]
fn what_an_event_does_not_say_of_its_writer_is_as_in_the_one_before() {
    let state = fold([create(1, 1, "a")]).unwrap();
    let said = events(state.serial + 1, 1, [succeeded(1, "id-1", 1)]).remove(0);
    let unsaid = Event {
        run: None,
        epoch: None,
        ..said.clone()
    };
    assert!(chain::encode(&unsaid).len() + 50 < chain::encode(&said).len());
    let (mut after, mut same) = (state.clone(), state.clone());
    after.fold(&said).unwrap();
    same.fold(&unsaid).unwrap();
    assert_eq!((after.run.0, after.epoch), (same.run.0, same.epoch));
    assert_eq!(after.records().next(), same.records().next());
    // Where nobody is known to have written before, it has to be said.
    let mut nobody = state;
    nobody.run = LastWriter(None);
    let refused = nobody.clone().fold(&unsaid).unwrap_err();
    assert!(matches!(refused, FoldError::Unfit { .. }), "{refused}");
    nobody.fold(&said).unwrap();
    assert!(nobody.run.0.is_some());
}

#[test]
fn old_tombstones_go_when_a_run_starts() {
    let mut state = fold([create(1, 1, "a"), settled(1, None)]).unwrap();
    let mut later = |hours: i64, expected: usize| {
        let event = Event {
            at: creation().at + jiff::SignedDuration::from_hours(hours),
            ..events(state.serial + 1, 1, [run_started()]).remove(0)
        };
        state.fold(&event).unwrap();
        assert_eq!(state.tombstones.len(), expected);
    };
    later(24, 1);
    later(49, 0);
}

#[test]
fn accepting_makes_inputs_follow_the_world() {
    let mut creating = intent(CallAction::Create, 1, 1, "a", 1);
    creating.inputs.insert("gone".into(), Value::Int(1));
    creating.inputs.insert("write_only".into(), Value::Int(1));
    let mut found = object("id-1", 1);
    found.attributes.insert("gone".into(), Value::Int(1));
    let actual = Attributes::from([
        (Arc::from("input"), Value::Int(8)),
        (Arc::from("computed"), Value::Int(9)),
    ]);
    let state = fold([
        EventBody::Intent(creating),
        EventBody::Succeeded {
            operation: operation(1),
            state: Some(found),
            declaration: None,
        },
        EventBody::Accepted {
            uid: uid(1),
            attributes: actual.clone(),
        },
    ])
    .unwrap();
    let record = current(&state, "a");
    assert_eq!(record.attributes, actual);
    assert_eq!(
        record.inputs,
        Attributes::from([
            (Arc::from("input"), Value::Int(8)),
            (Arc::from("write_only"), Value::Int(1)),
        ])
    );
}

#[test]
fn taint_is_a_mark_on_a_ready_object() {
    let tainted = after_ready([EventBody::Tainted { uid: uid(1) }]).unwrap();
    assert_eq!(status(&tainted, "a"), Some(Status::Tainted));
    let back = after_ready([
        EventBody::Tainted { uid: uid(1) },
        update(2, 1, "a", 2),
        failed(2, Effect::None),
        EventBody::Untainted { uid: uid(1) },
    ])
    .unwrap();
    assert_eq!(status(&back, "a"), Some(Status::Ready));
    after_ready([EventBody::Untainted { uid: uid(1) }]).unwrap_err();
    // An incomplete object must not come out of it as ready.
    fold([imported(1, "a", "id"), EventBody::Tainted { uid: uid(1) }]).unwrap_err();
}

#[test]
fn a_run_ends_once_and_only_itself() {
    let finished = || EventBody::RunFinished {
        summary: Default::default(),
    };
    let state = fold([run_started(), finished()]).unwrap();
    assert!(state.last_run.unwrap().finished);
    fold([finished()]).unwrap_err();
    fold([run_started(), finished(), finished()]).unwrap_err();
}

#[test]
fn what_contradicts_the_state_is_refused_and_says_why() {
    let ready = |last: Vec<EventBody>| after_ready(last).unwrap_err().to_string();
    let unknown = EventBody::Settled {
        operation: operation(2),
        observation: Observation::Unknown {
            reason: String::new(),
        },
    };
    let refusals = [
        ready(vec![create(2, 2, "a")]),
        ready(vec![create(2, 1, "b")]),
        ready(vec![create_deposing(2, 2, "b", 1)]),
        ready(vec![create_deposing(2, 2, "a", 1), create_deposing(3, 3, "a", 2)]),
        ready(vec![update(2, 9, "a", 1)]),
        ready(vec![update(2, 1, "b", 1)]),
        ready(vec![update(2, 1, "a", 1), delete(3, 1, "a")]),
        ready(vec![create(2, 2, "b"), create(2, 3, "c")]),
        ready(vec![succeeded(1, "id-1", 1)]),
        ready(vec![failed(9, Effect::None)]),
        ready(vec![update(2, 1, "a", 1), deleted(2)]),
        ready(vec![delete(2, 1, "a"), succeeded(2, "id-1", 1)]),
        ready(vec![delete(2, 1, "a"), checkpoint(2, "id-1")]),
        ready(vec![create(2, 2, "b"), checkpoint(2, "x"), succeeded(2, "y", 1)]),
        ready(vec![create(2, 2, "b"), unknown]),
        ready(vec![create(2, 2, "b"), EventBody::Forgotten { uid: uid(2) }]),
        ready(vec![create(2, 2, "b"), EventBody::Vanished { uid: uid(2) }]),
        ready(vec![EventBody::DeletedWith {
            uid: uid(1),
            with: uid(1),
        }]),
        ready(vec![imported(2, "a", "id-2")]),
        ready(vec![lease_taken()]),
        ready(vec![EventBody::Created(creation().created)]),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r#"
    `gabion_data.a` is the address of another object, 00000000-0000-0001-0000-000000000001
    the uid 00000000-0000-0001-0000-000000000001 of `gabion_data.b` is in use already
    `gabion_data.a`: it cannot be deposed by an object at `gabion_data.b`
    `gabion_data.a` has a call whose result is not recorded: 00000000-0000-0002-0000-000000000002
    no object has the uid 00000000-0000-0001-0000-000000000009
    `gabion_data.a`: an intent calls it `gabion_data.b`
    `gabion_data.a` has a call whose result is not recorded: 00000000-0000-0002-0000-000000000002
    the operation id 00000000-0000-0002-0000-000000000002 is in use already
    no call 00000000-0000-0002-0000-000000000001 is waiting for a result
    no call 00000000-0000-0002-0000-000000000009 is waiting for a result
    `gabion_data.a`: a call succeeded without saying what is there
    `gabion_data.a`: a deletion cannot leave an object
    `gabion_data.a`: a deletion has no checkpoint
    `gabion_data.b`: its id is `x`, and now it is said to be `y`
    `gabion_data.b`: an observation that found nothing out settles no call
    `gabion_data.b` has a call whose result is not recorded: 00000000-0000-0002-0000-000000000002
    `gabion_data.b` has a call whose result is not recorded: 00000000-0000-0002-0000-000000000002
    `gabion_data.a`: an object cannot be deleted with itself
    `gabion_data.a` is the address of another object, 00000000-0000-0001-0000-000000000001
    the event's lease epoch, 1, does not follow the log's, 1
    the log was created a second time, by event 5
    "#);
}

#[test]
fn sequence_and_epoch_only_go_forward() {
    let mut state = fold([create(1, 1, "a")]).unwrap();
    let body = || create(2, 2, "b");
    let mut check = |sequence, epoch, body, expected: Option<FoldError>| {
        let event = events(sequence, epoch, [body]).remove(0);
        assert_eq!(state.clone().fold(&event).err(), expected);
        if expected.is_none() {
            state.fold(&event).unwrap();
        }
    };
    let gap = |found| Some(FoldError::Sequence { last: 3, found });
    check(5, 1, body(), gap(5));
    check(3, 1, body(), gap(3));
    let epoch = |found| Some(FoldError::Epoch { current: 1, found });
    check(4, 0, body(), epoch(0));
    check(4, 2, body(), epoch(2));
    check(4, 7, lease_taken(), None);
    let first = events(1, 1, [body()]).remove(0);
    assert_eq!(State::default().fold(&first), Err(FoldError::NotCreated));
}

#[test]
fn a_copy_is_not_changed_by_folding_on() {
    let early = fold([create(1, 1, "a")]).unwrap();
    let mut late = early.clone();
    late.fold(&events(4, 1, [succeeded(1, "id-1", 1)]).remove(0))
        .unwrap();
    assert_eq!(status(&early, "a"), Some(Status::Creating));
    assert_eq!(status(&late, "a"), Some(Status::Ready));
}
