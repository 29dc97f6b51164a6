//! What people see and do: history, surgery, verification.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::{CountedIds, ResourceAddress};
use gabion_engine::provider::{CallAction, Effect};
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::fingerprint::FingerprintKey;
use gabion_engine::state::history::{history, runs, state_at};
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::process::Processes;
use gabion_engine::state::record::Dependency;
use gabion_engine::state::surgery::{forget, forget_object, rename, taint, untaint};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{Journal, JournalOptions, MemoryStore, StateStore};
use gabion_engine::value::{Comparison, Secret, TemplateText, Value};
use gabion_testing::store_events::{
    address, checkpoint, create, create_deposing, declaration, delete, deleted, failed, holder, intent,
    moved, object, run, run_started, settled, succeeded, uid, update,
};

async fn journal(store: &MemoryStore, number: u64, who: &str) -> Journal {
    let options = JournalOptions {
        project: "tests".into(),
        holder: holder(who),
        run: run(number),
        lease_length: Duration::from_secs(30),
        lock_timeout: Duration::ZERO,
        heartbeat: HeartbeatMode::Task,
        processes: Processes::default(),
        key: Some(Arc::new(FingerprintKey::new([1; 32]))),
        head_mark: None,
        lineage: None,
        clock: Arc::new(StoppedClock::default()),
        ids: Arc::new(CountedIds::default()),
    };
    Journal::open(Arc::new(store.clone()), options).await.unwrap()
}

/// Two runs: ada makes a few objects, bob moves one and deletes another.
async fn two_runs() -> MemoryStore {
    let store = MemoryStore::new();
    let first = journal(&store, 1, "ada").await;
    first
        .commit(vec![
            run_started(),
            create(1, 1, "a"),
            checkpoint(1, "id-1"),
            succeeded(1, "id-1", 1),
            create(2, 2, "b"),
            failed(2, Effect::None),
            create(3, 3, "c"),
            succeeded(3, "id-3", 1),
            EventBody::RunFinished {
                summary: [("done".into(), 2), ("failed".into(), 1)].into(),
            },
        ])
        .await
        .unwrap();
    first.close().await.unwrap();
    let second = journal(&store, 2, "bob").await;
    second
        .commit(vec![
            moved(&[(1, "a", "renamed")]),
            update(4, 1, "renamed", 2),
            succeeded(4, "id-1", 2),
            create_deposing(5, 5, "renamed", 1),
            settled(5, Some(object("id-5", 1))),
            delete(6, 3, "c"),
            deleted(6),
        ])
        .await
        .unwrap();
    second.close().await.unwrap();
    store
}

#[tokio::test(start_paused = true)]
async fn history_says_who_did_what_to_which_object() {
    let store = two_runs().await;
    let lines: Vec<_> = history(&store, None)
        .await
        .unwrap()
        .iter()
        .map(|entry| {
            let address = entry.address.as_ref().map_or("-".to_owned(), ToString::to_string);
            format!(
                "{} {} {} {address}: {}",
                entry.serial, entry.who, entry.operation, entry.what
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    1 ada apply -: state created for project `tests`
    2 ada apply -: run started on elsewhere
    3 ada apply gabion_data.a: creation began
    4 ada apply gabion_data.a: has the id id-1
    5 ada apply gabion_data.a: created (id id-1)
    6 ada apply gabion_data.b: creation began
    7 ada apply gabion_data.b: creation failed, nothing was changed: The test says so.
    8 ada apply gabion_data.c: creation began
    9 ada apply gabion_data.c: created (id id-3)
    10 ada apply -: run finished: 2 done, 1 failed
    11 bob apply -: lease taken on elsewhere
    12 bob apply gabion_data.renamed: moved from `gabion_data.a` to `gabion_data.renamed`
    13 bob apply gabion_data.renamed: update began
    14 bob apply gabion_data.renamed: updated (id id-1)
    15 bob apply gabion_data.renamed: replacement began: the old object awaits deletion
    16 bob apply gabion_data.renamed: found to exist (id id-5) after a creation without a result
    17 bob apply gabion_data.c: deletion began
    18 bob apply gabion_data.c: deleted
    19 bob apply -: lease released
    "#);
    let one: Vec<_> = history(&store, Some(&address("c")))
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.serial)
        .collect();
    assert_eq!(one, [8, 9, 17, 18]);
}

#[tokio::test(start_paused = true)]
async fn runs_are_listed_with_what_they_came_to() {
    let runs = runs(&two_runs().await).await.unwrap();
    let lines: Vec<_> = runs
        .iter()
        .map(|run| {
            format!(
                "{} {} {}..{} {:?}",
                run.who, run.operation, run.before, run.after, run.summary
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    ada apply 0..10 Some({"done": 2, "failed": 1})
    bob apply 10..19 None
    "#);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_state_is_what_it_was() {
    let store = two_runs().await;
    let then = state_at(&store, 6).await.unwrap().unwrap();
    assert!(then.current(&address("a")).is_some());
    assert_eq!(then.serial, 6);
    assert!(state_at(&store, 999).await.unwrap().is_none());
    let found = verify(&store).await.unwrap();
    assert_eq!((found.damage.len(), found.notes.len()), (0, 0), "{found:?}");
    assert_eq!(found.events, found.serial);
}

#[tokio::test(start_paused = true)]
async fn surgery_is_checked_and_worded_for_people() {
    let store = MemoryStore::new();
    let journal = journal(&store, 1, "ada").await;
    let mut dependent = intent(CallAction::Create, 2, 2, "b", 1);
    let mut declared = declaration();
    Arc::make_mut(&mut declared).dependencies = vec![Dependency {
        address: address("a"),
        uid: Some(uid(1)),
    }];
    dependent.declaration = Some(declared);
    let state = journal
        .commit(vec![
            create(1, 1, "a"),
            succeeded(1, "id-1", 1),
            EventBody::Intent(dependent),
            create(3, 3, "web"),
            succeeded(3, "id-3", 1),
            create_deposing(4, 4, "web", 3),
            succeeded(4, "id-4", 1),
        ])
        .await
        .unwrap();

    let mut words = Vec::new();
    let mut note = |what: &str, outcome: Result<Vec<String>, gabion_engine::state::surgery::SurgeryError>| {
        words.push(match outcome {
            Ok(notes) => format!("{what}: {notes:#?}"),
            Err(error) => format!("{what}: {error} (hint: {:?})", error.hint),
        });
    };
    let other: ResourceAddress = "gabion_other.a".parse().unwrap();
    let renames = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs
            .iter()
            .map(|(from, to)| (address(from), address(to)))
            .collect()
    };
    note("rm a", forget(&state, &address("a")).map(|done| done.notes));
    note("rm web", forget(&state, &address("web")).map(|done| done.notes));
    note("rm deposed", forget_object(&state, uid(3)).map(|done| done.notes));
    note("rm b", forget(&state, &address("b")).map(|done| done.notes));
    note("rm wbe", forget(&state, &address("wbe")).map(|done| done.notes));
    note("rm uid", forget_object(&state, uid(99)).map(|done| done.notes));
    note(
        "mv a web",
        rename(&state, &renames(&[("a", "web")])).map(|done| done.notes),
    );
    note(
        "mv swap",
        rename(&state, &renames(&[("a", "web"), ("web", "a")])).map(|done| done.notes),
    );
    note(
        "mv twice",
        rename(&state, &renames(&[("a", "x"), ("a", "y")])).map(|done| done.notes),
    );
    note(
        "mv together",
        rename(&state, &renames(&[("a", "x"), ("web", "x")])).map(|done| done.notes),
    );
    note(
        "mv a a",
        rename(&state, &renames(&[("a", "a")])).map(|done| done.notes),
    );
    note(
        "mv type",
        rename(&state, &[(address("a"), other)]).map(|done| done.notes),
    );
    note("taint b", taint(&state, &address("b")).map(|done| done.notes));
    note("untaint a", untaint(&state, &address("a")).map(|done| done.notes));
    insta::assert_snapshot!(words.join("\n"), @r#"
    rm a: [
        "Gabion no longer knows what must be deleted before it: `gabion_data.b`.",
        "The object id-1 goes on existing, and nothing will delete it.",
    ]
    rm web: [
        "Older objects of this address still await deletion, which the next apply does: 1.",
        "The object id-4 goes on existing, and nothing will delete it.",
    ]
    rm deposed: [
        "The object id-3 goes on existing, and nothing will delete it.",
    ]
    rm b: a call has no known outcome: A call on `gabion_data.b` was begun at serial 5 and its outcome is not recorded. (hint: Some("gabion apply"))
    rm wbe: no such object: No object with the address `gabion_data.wbe` is recorded. (hint: Some("did you mean `gabion_data.web`?"))
    rm uid: no such object: No object with the uid 00000000-0000-0001-0000-000000000063 is recorded. (hint: Some("gabion state list"))
    mv a web: address taken: `gabion_data.a` cannot become `gabion_data.web`: another object has that address. (hint: Some("gabion state show gabion_data.web"))
    mv swap: [
        "Give the resource its new name in the configuration too, or the next plan deletes it and makes another.",
    ]
    mv twice: moved twice: `gabion_data.a` is moved to two addresses. (hint: None)
    mv together: address taken twice: `gabion_data.a` and `gabion_data.web` cannot both become `gabion_data.x`. (hint: None)
    mv a a: nothing to move: `gabion_data.a` has that address already. (hint: None)
    mv type: type would change: `gabion_data.a` cannot become `gabion_other.a`: an object keeps its type. (hint: None)
    taint b: a call has no known outcome: A call on `gabion_data.b` was begun at serial 5 and its outcome is not recorded. (hint: Some("gabion apply"))
    untaint a: not tainted: `gabion_data.a` is not tainted. (hint: None)
    "#);

    // What surgery gives can be committed.
    for change in [
        taint(&state, &address("a")).unwrap(),
        rename(&state, &renames(&[("a", "web"), ("web", "a")])).unwrap(),
    ] {
        journal.commit(vec![change.event]).await.unwrap();
    }
    let state = journal.state();
    let again = taint(&state, &address("web")).unwrap_err();
    assert!(again.to_string().contains("tainted already"), "{again}");
    let back = untaint(&state, &address("web")).unwrap();
    journal.commit(vec![back.event]).await.unwrap();
    let gone = forget(&journal.state(), &address("web")).unwrap();
    journal.commit(vec![gone.event]).await.unwrap();
    let found = verify(&store).await.unwrap();
    assert_eq!(found.damage, Vec::<String>::new());
    assert_eq!(found.notes.len(), 1, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_leaves_its_fingerprint_and_nothing_else() {
    let store = MemoryStore::new();
    let journal = journal(&store, 1, "ada").await;
    let secret = |value: &str| {
        Value::Secret(Secret::new(
            Some(TemplateText::new("${{ env.TOKEN }}")),
            value.into(),
        ))
    };
    let mut creating = intent(CallAction::Create, 1, 1, "a", 1);
    creating.inputs.insert("token".into(), secret("hunter2"));
    let mut found = object("id-1", 1);
    found.attributes.insert("token".into(), secret("hunter2"));
    let state = journal
        .commit(vec![
            EventBody::Intent(creating),
            EventBody::Succeeded {
                operation: gabion_testing::store_events::operation(1),
                state: Some(found),
                declaration: None,
            },
            EventBody::OutputsSet {
                outputs: [("token".into(), secret("hunter2"))].into(),
            },
        ])
        .await
        .unwrap();
    let written = store.events(0, 100).await.unwrap();
    assert!(
        written
            .iter()
            .all(|event| !String::from_utf8_lossy(&event.encoded).contains("hunter2"))
    );
    let recorded = &state.current(&address("a")).unwrap().inputs["token"];
    match recorded {
        Value::Secret(secret) => assert!(secret.expose().is_none()),
        other => panic!("{other:?}"),
    }
    let key = FingerprintKey::new([1; 32]);
    let now = |value: &str| gabion_engine::state::fingerprint::seal(&secret(value), Some(&key));
    assert_eq!(recorded.compare(&now("hunter2")), Comparison::Equal);
    assert_eq!(recorded.compare(&now("hunter3")), Comparison::Different);
}
