//! AWS for tests: a moto server, made stricter, or a quick cloud of our own.
//!
//! [`Aws`] is a proxy in front of an account of its own, in which a test can have calls throttled, failed, or their answers
//! lost after the effect, and which counts them. The account is one of moto ([`Aws::start`]), or of a cloud of our own in
//! memory ([`Aws::own`], whose rules stand in `aws/cloud/mod.rs`). The two are independent opinions: the provider's own tests
//! run on both, and one test compares their answers.
//!
//! To moto the proxy adds what it lacks or gets wrong, each rule taken from AWS's documentation:
//!
//! | Rule | Where AWS says so |
//! | --- | --- |
//! | The same `ClientToken` with the same parameters gives the first answer again; with others it is `IdempotentParameterMismatch`. | EC2 Developer Guide, "Ensuring idempotency" |
//! | The same `CallerReference` again is `HostedZoneAlreadyExists`. | Route 53 API, CreateHostedZone |
//! | A new or started instance is `pending` for a while, a terminated one `shutting-down`. | EC2 User Guide, "Instance lifecycle" |
//! | `DeleteSecurityGroup` of a group that an instance has is `DependencyViolation`. | EC2 API, DeleteSecurityGroup |
//! | `ReleaseAddress` of an associated address is `InvalidIPAddress.InUse`. | EC2 API, ReleaseAddress |
//! | The type of an instance is changed only while it is stopped, else `IncorrectInstanceState`. | EC2 API, ModifyInstanceAttribute |
//! | User data is changed only while the instance is stopped, and each start sets the launch time anew. | EC2 API, ModifyInstanceAttribute and Instance |
//! | A description tells whether an instance is a spot one, and which capacity reservations it may run in. | EC2 API, Instance |
//! | Placement groups exist; a name is used once, else `InvalidPlacementGroup.Duplicate`. | EC2 API, CreatePlacementGroup |
//! | The console of a machine shows nothing before the machine runs; then it shows what a test says. | EC2 API, GetConsoleOutput |
//! | An elastic address is none of loopback. | EC2 User Guide, "Elastic IP addresses" |
//! | The description of a security group's rule for another group is shown from its creation. | EC2 API, SecurityGroupRule |
//! | An address that is no elastic one is owned by `amazon`. | EC2 API, InstanceNetworkInterfaceAssociation |
//! | A change of records is `PENDING` at first. One batch is made whole or not at all: a `CREATE` of what is there, or a `DELETE` that does not match it, is `InvalidChangeBatch`. | Route 53 API, GetChange and ChangeResourceRecordSets |
//! | Descriptions may lag behind changes, for as long as a test says. | EC2 Developer Guide, "Eventual consistency" |

mod cloud;
mod http;
mod placement_groups;
mod record_sets;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cloud::{Cloud, Moment};
use http::{Answer, Asked};
use placement_groups::PlacementGroup;

/// The account that a test has for itself, behind a proxy.
#[derive(Debug)]
pub struct Aws {
    address: SocketAddr,
    account: Account,
    world: Arc<World>,
    serving: tokio::task::JoinHandle<()>,
}

/// Whose requests they are.
#[derive(Clone, Debug)]
pub struct Account {
    /// The account's number.
    pub number: String,
    /// The id of an access key of it.
    pub access_key: String,
    /// The key's secret.
    pub secret: String,
    /// The session's token.
    pub token: String,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with a status and a code, and has no effect.
    Refused(u16, String),
    /// It has its effect, and the connection ends without an answer.
    AnswerLost,
    /// The connection ends before it has any effect.
    RequestLost,
}

/// What is behind the proxy, and what goes on beside it.
#[derive(Debug)]
pub(crate) struct World {
    upstream: Upstream,
    pub(crate) state: Mutex<State>,
}

/// What is behind the proxy.
#[derive(Debug)]
enum Upstream {
    /// A moto server, by host and port.
    Moto(String),
    /// A cloud of our own, which needs none of the rules that are added to moto.
    Own(Mutex<Cloud>),
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Every call that came, by the name of its operation.
    pub(crate) calls: Vec<String>,
    pub(crate) faults: Vec<(String, Fault)>,
    pub(crate) boot: Duration,
    /// What the consoles of machines show once they run, and those of some.
    pub(crate) console: String,
    pub(crate) consoles: BTreeMap<String, String>,
    pub(crate) lag: Duration,
    /// Of how many more calls that start machines the machines end for want of capacity.
    pub(crate) starved: u32,
    /// What a token was used for: the other parameters and the answer.
    pub(crate) tokens: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// Instances on their way from one state to another: what is shown until when.
    pub(crate) passing: BTreeMap<String, (&'static str, Instant)>,
    /// When what was made is to be seen.
    pub(crate) hidden: BTreeMap<String, Instant>,
    pub(crate) elastic: BTreeSet<String>,
    /// What a description tells of instances that moto does not: the market, the reservations.
    pub(crate) bought: BTreeMap<String, String>,
    /// When instances were started again.
    pub(crate) launched: BTreeMap<String, String>,
    pub(crate) groups: BTreeMap<String, PlacementGroup>,
    /// How often a change of records was asked for.
    pub(crate) changes: BTreeMap<String, u32>,
}

impl State {
    /// Returns what the console of a machine shows.
    pub(crate) fn console_of(&self, id: &str) -> &str {
        self.consoles.get(id).unwrap_or(&self.console)
    }
}

impl World {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request as AWS would.
    async fn answer(&self, asked: &Asked) -> Answer {
        match &self.upstream {
            Upstream::Moto(_) => rules::apply(self, asked).await,
            Upstream::Own(_) => self.upstream_answer(asked).await,
        }
    }

    /// Passes a request on to what is behind the proxy.
    async fn upstream_answer(&self, asked: &Asked) -> Answer {
        let cloud = match &self.upstream {
            Upstream::Moto(server) => return http::forward(server, asked).await,
            Upstream::Own(cloud) => cloud,
        };
        let moment = {
            let mut state = self.state();
            let starved = asked.operation == "RunInstances" && state.starved > 0;
            state.starved -= u32::from(starved);
            Moment {
                now: Instant::now(),
                boot: state.boot,
                lag: state.lag,
                starved,
                console: asked
                    .parameter("InstanceId")
                    .map_or("", |id| state.console_of(id))
                    .to_owned(),
            }
        };
        let mut cloud = cloud.lock().unwrap_or_else(PoisonError::into_inner);
        cloud.answer(asked, &moment)
    }
}

impl Aws {
    /// Opens an account at a moto server.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn start(moto: &str) -> Self {
        let upstream = moto
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned();
        let account = http::account(&upstream).await;
        Self::open(Upstream::Moto(upstream), account).await
    }

    /// Opens an account of a cloud of our own, which lives as long as this.
    pub async fn own() -> Self {
        let account = Account {
            number: "111122223333".to_owned(),
            access_key: "ASIAGABIONTESTACCOUNT".to_owned(),
            secret: "of-no-worth".to_owned(),
            token: "session".to_owned(),
        };
        let cloud = Cloud::new(&account.number, &account.access_key);
        Self::open(Upstream::Own(Mutex::new(cloud)), account).await
    }

    async fn open(upstream: Upstream, account: Account) -> Self {
        let world = Arc::new(World {
            upstream,
            state: Mutex::new(State {
                boot: Duration::from_millis(200),
                ..State::default()
            }),
        });
        let (address, serving) = http::serve(world.clone()).await;
        Self {
            address,
            account,
            world,
            serving,
        }
    }

    /// Returns the URL of the account's endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Returns the variables with which programs reach the account, and nothing else.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", self.account.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.account.secret.clone()),
            ("AWS_SESSION_TOKEN", self.account.token.clone()),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// Makes the next call of an operation go wrong. Faults of one operation are taken in the order in which they were
    /// set; `*` is any operation.
    pub fn fault(&self, operation: &str, fault: Fault) {
        self.world.state().faults.push((operation.to_owned(), fault));
    }

    /// Takes back what was not used of the faults.
    pub fn clear_faults(&self) {
        self.world.state().faults.clear();
    }

    /// Makes descriptions not show what was made until so long after.
    pub fn lag(&self, lag: Duration) {
        self.world.state().lag = lag;
    }

    /// Takes the next calls that start machines, and has the machines end instead of running, for want of capacity. Only the
    /// cloud of our own does it.
    pub fn starve(&self, calls: u32) {
        self.world.state().starved = calls;
    }

    /// Has the consoles of machines show a text once they run.
    pub fn console(&self, text: &str) {
        text.clone_into(&mut self.world.state().console);
    }

    /// Has the console of one machine show a text of its own.
    pub fn console_of(&self, id: &str, text: &str) {
        let mut state = self.world.state();
        state.consoles.insert(id.to_owned(), text.to_owned());
    }

    /// Returns the operations called since the last time, in order, and forgets them.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.world.state().calls)
    }

    /// Makes a call of EC2 as another client would: parameters by name, the answer as XML.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn ec2(&self, region: &str, action: &str, parameters: &[(&str, &str)]) -> String {
        let answer = self.try_ec2(region, action, parameters).await;
        answer.unwrap_or_else(|(code, message)| panic!("EC2 {action}: {code}: {message}"))
    }

    /// Makes a call of EC2 as another client would; when it is refused, returns the code and the message.
    ///
    /// # Errors
    /// What the refusal says.
    pub async fn try_ec2(
        &self,
        region: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String, (String, String)> {
        told(http::ec2(&self.world, &self.account, region, action, parameters).await)
    }

    /// Makes a call of Route 53 as another client would.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn route53(&self, method: &str, path: &str, body: &str) -> String {
        let answer = self.try_route53(method, path, body).await;
        answer.unwrap_or_else(|(code, message)| panic!("Route 53 {method} {path}: {code}: {message}"))
    }

    /// Makes a call of Route 53 as another client would; when it is refused, returns the code and the message.
    ///
    /// # Errors
    /// What the refusal says.
    pub async fn try_route53(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<String, (String, String)> {
        told(http::route53(&self.world, &self.account, method, path, body).await)
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn told(answer: Answer) -> Result<String, (String, String)> {
    let text = answer.text();
    if answer.status < 300 {
        return Ok(text);
    }
    let part = |name: &str| {
        let part = between(&text, &format!("<{name}>"), &format!("</{name}>"));
        part.unwrap_or_default().to_owned()
    };
    Err((part("Code"), part("Message")))
}

/// Returns every text between two others.
pub fn all_between<'a>(text: &'a str, start: &'a str, end: &'a str) -> Vec<&'a str> {
    text.split(start)
        .skip(1)
        .filter_map(|rest| rest.split_once(end).map(|(inner, _)| inner))
        .collect()
}

/// Returns the first text between two others.
pub fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner)
}
