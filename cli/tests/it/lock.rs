use std::time::Duration;

use gabion_engine::state::event::Holder;
use gabion_engine::state::process::Processes;
use gabion_engine::state::sqlite::SqliteStore;
use gabion_engine::state::store::{LeaseRequest, StateStore};

use crate::harness::{Project, THREE_LEVELS};

/// Takes the lease of a project as this test's own process, which lives on.
async fn hold(project: &Project) -> (SqliteStore, u64) {
    let store = SqliteStore::at(project.directory().join(".gabion/state.db"));
    let request = LeaseRequest {
        holder: Holder {
            who: "grace".into(),
            host: "build-7".into(),
            process: Processes::default().own().ok(),
            operation: "apply".into(),
        },
        length: Duration::from_secs(300),
        at: jiff::Timestamp::now(),
        replaces: None,
    };
    let epoch = store.take_lease(request).await.unwrap().epoch;
    (store, epoch)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_state_names_its_holder() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    let (store, epoch) = hold(&project).await;
    for arguments in [
        &["apply", "-y"][..],
        &["destroy", "-y"],
        &["state", "taint", "gabion_data.top"],
    ] {
        let said = project.exits(3, arguments);
        assert!(said.err.contains("`apply` by grace on build-7"), "{}", said.all());
        assert!(said.err.contains("--lock-timeout"), "{}", said.all());
    }
    // Reading takes no lease.
    project.exits(0, &["plan", "--detailed-exitcode"]);
    project.exits(0, &["drift"]);
    // A person can take it away.
    let said = project.exits(1, &["state", "unlock"]);
    assert!(said.err.contains("gabion state unlock -y"), "{}", said.all());
    project.exits(0, &["state", "unlock", "-y"]);
    assert!(store.lease().await.unwrap().is_none());
    assert!(
        project
            .exits(0, &["state", "unlock"])
            .err
            .contains("Nobody holds the state.")
    );
    project.exits(0, &["state", "verify"]);
    drop((store, epoch));
    let (store, epoch) = hold(&project).await;
    // Who waits gets it.
    let mut waiting = project
        .command(&["apply", "-y", "--lock-timeout", "60s"])
        .spawn()
        .unwrap();
    store.release(epoch).await.unwrap();
    assert!(waiting.wait().unwrap().success());
}
