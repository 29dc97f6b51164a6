//! One build of the agent makes way for another.

use std::sync::Arc;
use std::time::Duration;

use gabion_agent::client::ClientError;
use gabion_agent::protocol::AgentError;
use gabion_engine::address::ObjectId;
use gabion_engine::provider::{Effect, ErrorClass, ObjectState, ProviderError, UpdateRequest};
use gabion_engine::value::{AttributePath, Attributes, Value};
use gabion_host::unit::{UnitStatus, inspect};

use crate::agent_unit::{ARGV, AgentUnit, Build, Engine, PIECES, eventually, fence, is_gone, kill};
use crate::scene::{Sink, call, new_uid, provider_here, recorded};

/// Checks that a handover is refused, with these words, and that the agent goes on; returns when it did.
async fn is_rolled_back(agent: &AgentUnit, build: &Build, seconds: u32, words: &str) {
    let before = agent.mark();
    let refused = agent.hand_over(build, seconds).await;
    goes_on_as(agent, &before, refused.map(|_| ()), words).await;
}

async fn goes_on_as(
    agent: &AgentUnit,
    before: &gabion_host::unit::Mark,
    refused: Result<(), ClientError>,
    words: &str,
) {
    match refused {
        Err(ClientError::Refused(AgentError::NotHandedOver { reason })) => {
            assert!(reason.contains(words), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(agent.mark(), *before);
    // What the successor had started is killed with it, and gone a moment later.
    eventually("the agent is alone", || async {
        (agent.processes() == [before.process.pid]).then_some(())
    })
    .await;
    agent.ask().await.unwrap();
    // It also takes changes again.
    let route = agent.client.routes().await.unwrap().remove(0).object;
    agent.client.put_route(&fence(), route, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_a_stream_go_on_while_a_build_makes_way_for_another_and_that_for_a_third() {
    let engine = Engine::start().await;
    let agent = AgentUnit::start(&engine).await;
    let before = agent.mark();
    assert_eq!(before.program.as_deref(), Some(agent.first.digest.as_str()));
    let stream = agent.stream().await;
    let load = agent.load();
    load.goes_on(30).await;

    let mut earlier = vec![before.process.clone()];
    for name in ["second", "third"] {
        let next = agent.another(name);
        let pid = agent.hand_over(&next, 60).await.unwrap();
        let mark = agent.mark();
        assert_eq!(mark.process.pid, pid);
        assert_eq!(mark.program.as_deref(), Some(next.digest.as_str()));
        assert_eq!(mark.launched, before.launched);
        // The one that has the stream drains for as long as that takes; one without anything may be gone already.
        assert_eq!(mark.draining.first(), earlier.first());
        assert!(matches!(
            inspect(&agent.directory),
            Ok(UnitStatus::Running { .. })
        ));
        // The one before it may still answer a question that is asked at once, and changes nothing any more.
        let status = eventually("the successor's answer", || async {
            let status = agent.client.status().await.ok()?;
            (status.pid as i32 == pid).then_some(status)
        })
        .await;
        assert_eq!((status.listeners, status.routes), (1, 1));
        load.goes_on(30).await;
        earlier.push(mark.process);
    }
    // The client that keeps its connection is told to open another, and loses nothing.
    assert!(load.without_failures().await >= 1);

    engine.pieces.add_permits(PIECES);
    stream.finish().await.unwrap();
    is_gone(&earlier[0]).await;
    agent.ask().await.unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_is_no_good_is_rolled_back_and_a_good_one_takes_over_later() {
    let engine = Engine::start().await;
    let agent = AgentUnit::start(&engine).await;
    let load = agent.load();
    load.goes_on(5).await;
    let ends = agent.script("ends", "exit 3");
    is_rolled_back(&agent, &ends, 60, "end").await;
    let hangs = agent.script("hangs", "sleep 600");
    is_rolled_back(&agent, &hangs, 1, "not ready within 1 s").await;
    let empty = agent.script(
        "empty",
        "mkdir -p \"$NOTES/empty-files\"\nexec \"$REAL\" agent serve --take-over --directory \"$NOTES/empty-files\"",
    );
    is_rolled_back(&agent, &empty, 60, "0 listeners").await;
    let absent = Build {
        path: "/nowhere/gabion-agent".into(),
        digest: String::new(),
    };
    is_rolled_back(&agent, &absent, 60, "/nowhere/gabion-agent").await;
    let changed = Build {
        digest: agent.first.digest.clone(),
        ..ends
    };
    is_rolled_back(&agent, &changed, 60, "another build").await;

    agent.hand_over(&agent.another("good"), 60).await.unwrap();
    load.goes_on(5).await;
    load.without_failures().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_is_killed_before_it_is_ready_leaves_the_one_before_it() {
    let engine = Engine::start().await;
    let agent = AgentUnit::start(&engine).await;
    let before = agent.mark();
    let waits = agent.script("waits", "echo $$ > \"$NOTES/pid\"\nexec sleep 600");
    let (refused, ()) = tokio::join!(agent.hand_over(&waits, 60), async {
        kill(agent.noted_pid("pid").await);
    });
    goes_on_as(&agent, &before, refused.map(|_| ()), "ended before it was ready").await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_ends_although_nobody_waits_for_it_any_more() {
    let engine = Engine::start().await;
    let agent = AgentUnit::start(&engine).await;
    let slow = agent.script(
        "slow",
        "echo $$ > \"$NOTES/pid\"\nwhile [ ! -e \"$NOTES/go\" ]; do sleep 0.05; done\nexec \"$REAL\" \"$@\"",
    );
    tokio::select! {
        answer = agent.hand_over(&slow, 60) => panic!("{answer:?}"),
        _ = agent.noted_pid("pid") => {}
    }
    agent.note("go");
    eventually("the handover", || async {
        (agent.mark().program.as_deref() == Some(slow.digest.as_str())).then_some(())
    })
    .await;
    eventually("an answer of the successor", || async {
        let status = agent.client.status().await.ok()?;
        (status.pid as i32 == agent.mark().process.pid).then_some(())
    })
    .await;
    agent.ask().await.unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_before_its_successor_was_ready_has_none_and_is_started_again() {
    let engine = Engine::start().await;
    let agent = AgentUnit::start(&engine).await;
    let slow = agent.script(
        "slow",
        "echo $$ > \"$NOTES/pid\"\nwhile [ ! -e \"$NOTES/go\" ]; do sleep 0.05; done\nexec \"$REAL\" \"$@\"",
    );
    let before = agent.mark();
    let (answer, successor) = tokio::join!(agent.hand_over(&slow, 60), async {
        let pid = agent.noted_pid("pid").await;
        kill(before.process.pid);
        gabion_host::process::ProcessIdentity::of(pid).unwrap().unwrap()
    });
    assert!(matches!(answer, Err(ClientError::Uncertain { .. })), "{answer:?}");
    agent.note("go");
    is_gone(&successor).await;
    assert!(matches!(inspect(&agent.directory), Ok(UnitStatus::Exited { .. })));
    agent.launch(&agent.first).await;
    eventually("the gateway", || async { agent.ask().await.ok() }).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_while_it_drains_takes_what_it_had_begun_with_it_and_no_more() {
    let engine = Engine::start().await;
    let agent = AgentUnit::start(&engine).await;
    let stream = agent.stream().await;
    let before = agent.mark();
    agent.hand_over(&agent.another("second"), 60).await.unwrap();
    let load = agent.load();
    load.goes_on(5).await;
    kill(before.process.pid);
    is_gone(&before.process).await;
    engine.pieces.add_permits(PIECES);
    stream.finish().await.unwrap_err();
    load.goes_on(5).await;
    load.without_failures().await;
    assert!(matches!(
        inspect(&agent.directory),
        Ok(UnitStatus::Running { .. })
    ));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_drains_belongs_to_the_unit_when_the_successor_is_killed_and_when_all_is_stopped() {
    let engine = Engine::start().await;
    let agent = AgentUnit::start(&engine).await;
    let _stream = agent.stream().await;
    let before = agent.mark();
    let second = agent.another("second");
    agent.hand_over(&second, 60).await.unwrap();
    let successor = agent.mark().process;
    kill(successor.pid);
    is_gone(&successor).await;
    let status = inspect(&agent.directory).unwrap();
    assert!(
        matches!(&status, UnitStatus::Exited { left, .. } if *left == [before.process.pid]),
        "{status:?}"
    );
    // A start makes way for itself.
    agent.launch(&second).await;
    assert!(!before.process.is_alive());
    eventually("the gateway", || async { agent.ask().await.ok() }).await;

    let stream = agent.stream().await;
    let draining = agent.mark().process;
    agent.hand_over(&agent.another("third"), 60).await.unwrap();
    assert!(draining.is_alive());
    tokio::time::timeout(Duration::from_secs(120), agent.stop())
        .await
        .unwrap();
    assert!(!draining.is_alive());
    stream.finish().await.unwrap_err();
}

/// Has the provider of units upgrade the agent, as an apply with this build would.
async fn apply(agent: &AgentUnit, build: &Build, epoch: u64) -> Result<ObjectState, ProviderError> {
    let provider = provider_here(&agent.data_root(), &build.path);
    let inputs: Attributes = [
        ("machine".into(), Value::from("local")),
        ("argv".into(), Value::List(ARGV.map(Value::from).to_vec())),
        ("role".into(), "agent".into()),
    ]
    .into_iter()
    .collect();
    let mut object = recorded(new_uid(), &inputs, None);
    object.id = Some(ObjectId::new("agent"));
    let mut planned = inputs.clone();
    planned.insert("agent_digest".into(), Value::string(&build.digest));
    let request = UpdateRequest {
        inputs,
        planned,
        changed: vec![AttributePath::root("agent_digest")],
        object: object.clone(),
    };
    let sink = Arc::new(Sink::default());
    provider.update(request, &call(object.uid, epoch, &sink)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_says_why_a_build_was_rolled_back_and_the_next_one_tries_again() {
    let engine = Engine::start().await;
    let agent = AgentUnit::start(&engine).await;
    let before = agent.mark();
    let bad = agent.script("bad", "exit 3");
    let error = apply(&agent, &bad, 2).await.unwrap_err();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::Invalid, Effect::Partial),
        "{error:?}"
    );
    assert!(error.message.contains("goes on with its build"), "{error:?}");
    assert!(
        error.hint.as_deref().unwrap().contains("gabion logs"),
        "{error:?}"
    );
    assert_eq!(agent.mark(), before);
    agent.ask().await.unwrap();

    let good = agent.another("good");
    let state = apply(&agent, &good, 3).await.unwrap();
    assert_eq!(state.attributes["agent_digest"], Value::string(&good.digest));
    assert_eq!(state.attributes["running"], true.into());
    let mark = agent.mark();
    assert_ne!(mark.process, before.process);
    // The same again finds nothing to do.
    apply(&agent, &good, 4).await.unwrap();
    assert_eq!(agent.mark(), mark);
    agent.ask().await.unwrap();
    agent.stop_as(4).await;
}
