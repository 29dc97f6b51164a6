//! The suite that every provider runs, over a socket that can lose an answer of the agent.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gabion_agent::access::Agents;
use gabion_agent::client::SOCKET_NAME;
use gabion_engine::provider::Provider;
use gabion_host::transport::Machines;
use gabion_host::unix_path::connect_unix;
use gabion_router::RouterProvider;
use gabion_router::schema::ROUTER_WORKER;
use gabion_testing::conformance::{Case, Subject, check};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::engine::Engine;
use crate::harness::{AGENT, Project, ROUTER, labels, with};

/// What the request holds whose answer gets lost.
const LOST: &[u8] = b"register_member";

struct Routers {
    project: Project,
    provider: Arc<RouterProvider>,
    engine: Engine,
    other: Engine,
    lose: Arc<AtomicBool>,
    relay: JoinHandle<()>,
}

impl Routers {
    /// Puts a relay before the agent: the provider sees another data root, with the relay's socket in it.
    async fn start() -> Self {
        let project = Project::start().await;
        let root = project.root().join("seen");
        let agents = Agents::new(Machines::local(), &root);
        std::fs::create_dir_all(agents.unit_directory(AGENT)).unwrap();
        std::os::unix::fs::symlink(project.unit(ROUTER), agents.unit_directory(ROUTER)).unwrap();
        let listener = UnixListener::bind(agents.unit_directory(AGENT).join(SOCKET_NAME)).unwrap();
        let lose = Arc::new(AtomicBool::new(false));
        let agent = project.unit(AGENT).join(SOCKET_NAME);
        let relay = tokio::spawn(relay(listener, agent, Arc::clone(&lose)));
        Self {
            provider: Arc::new(RouterProvider::new(agents)),
            engine: Engine::start().await,
            other: Engine::start().await,
            project,
            lose,
            relay,
        }
    }
}

async fn relay(listener: UnixListener, agent: PathBuf, lose: Arc<AtomicBool>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let agent = connect_unix(&agent).await.unwrap();
        connections.spawn(pass_on(client, agent, Arc::clone(&lose)));
    }
}

/// Passes on a connection; when told to, that of a registration only until the agent has answered.
async fn pass_on(mut client: UnixStream, mut agent: UnixStream, lose: Arc<AtomicBool>) {
    let (mut asked, mut from_client, mut from_agent) = (Vec::new(), [0; 4096], [0; 4096]);
    while lose.load(Ordering::SeqCst) {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(count @ 1..) = read else { return };
                asked.extend_from_slice(&from_client[..count]);
                agent.write_all(&from_client[..count]).await.unwrap();
            }
            read = agent.read(&mut from_agent) => {
                let Ok(count @ 1..) = read else { return };
                if asked.windows(LOST.len()).any(|window| window == LOST) {
                    lose.store(false, Ordering::SeqCst);
                    return;
                }
                client.write_all(&from_agent[..count]).await.unwrap();
            }
        }
    }
    // How a connection ends is the matter of its ends.
    let _ = copy_bidirectional(&mut client, &mut agent).await;
}

#[async_trait]
impl Subject for Routers {
    fn provider(&self) -> Arc<dyn Provider> {
        self.provider.clone()
    }

    async fn cases(&self) -> Vec<Case> {
        let inputs = self.project.inputs(&self.engine.url());
        vec![
            Case::new(ROUTER_WORKER, "qwen/default/0", inputs.clone())
                .update(with(inputs.clone(), "labels", labels("green")))
                .replace(with(inputs, "url", self.other.url().into())),
        ]
    }

    async fn lose_next_answer(&self) -> bool {
        self.lose.store(true, Ordering::SeqCst);
        true
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_keeps_its_contract() {
    let subject = Routers::start().await;
    check(&subject).await;
    assert!(!subject.lose.load(Ordering::SeqCst), "no answer was lost");
    assert!(subject.project.router.workers().await.is_empty());
    subject.relay.abort();
}
