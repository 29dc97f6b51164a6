//! The dialogue with an authority (RFC 8555): account, order, challenge, certificate.
//!
//! Every step begins with what is on the disk, so that a dialogue that broke off anywhere goes on where it was: the account
//! is the one of the key that was kept, the order the one that was noted, and the certificate of an order that was already
//! carried out is fetched with the key that it was made for.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, Key, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::client::AuthorityClient;
use super::files::{Files, Held, OrderNote};
use super::served::{Answering, Served};
use super::types::Certificate;

/// How long the whole dialogue may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long the authority may take to look at a challenge, and to make a certificate.
const POLLS: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(200))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcmeFailure {
    /// The authority said no, did not answer, or not as it should.
    #[error("{0}")]
    Authority(String),
    /// The authority takes no more requests for now.
    #[error("{0}")]
    RateLimited(String),
    /// The files cannot be read or written.
    #[error("{0}")]
    Files(#[from] io::Error),
    /// It took too long.
    #[error("the authority took longer than {} s altogether", PATIENCE.as_secs())]
    TimedOut,
}

/// A certificate with its key, which is why nobody can print it.
pub(crate) struct Obtained {
    /// Key and chain, as they are kept.
    pub(crate) pem: String,
    /// The same, understood.
    pub(crate) held: Held,
}

/// Gets a certificate, going on with an order that was begun before.
pub(crate) async fn obtain(
    wanted: &Certificate,
    files: &Files,
    served: &Arc<Served>,
) -> Result<Obtained, AcmeFailure> {
    tokio::time::timeout(PATIENCE, dialogue(wanted, files, served))
        .await
        .unwrap_or(Err(AcmeFailure::TimedOut))
}

async fn dialogue(
    wanted: &Certificate,
    files: &Files,
    served: &Arc<Served>,
) -> Result<Obtained, AcmeFailure> {
    let host = wanted.host.as_str();
    let account = account(wanted, files).await?;
    let (mut order, key) = match resumed(&account, wanted, files).await? {
        Some(begun) => begun,
        None => begin(&account, wanted, files).await?,
    };
    let result = carry_out(&account, &mut order, &key, host, served).await;
    if let Err(AcmeFailure::Authority(_)) = &result
        && order.state().status == OrderStatus::Invalid
    {
        // Nothing will come of it any more.
        files.end_order(host)?;
    }
    result
}

/// Returns the account of the key that is kept here, which is made at the authority unless it is there.
async fn account(wanted: &Certificate, files: &Files) -> Result<Account, AcmeFailure> {
    let directory = &wanted.directory;
    let root = wanted.root_certificate.clone();
    let client = tokio::task::spawn_blocking(move || AuthorityClient::new(root.as_deref()));
    let client = client.await.map_err(io::Error::other)??;
    // Durable before the authority hears of it: the same key is the same account, however often it is asked for.
    let pem = match files.account_key(directory)? {
        Some(pem) => pem,
        None => {
            let pem = new_key()?.serialize_pem();
            files.put_account_key(directory, &pem)?;
            pem
        }
    };
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other)?;
    let signer = Key::from_pkcs8_der(PrivatePkcs8KeyDer::from(key.secret_der())).map_err(failure)?;
    let (account, _) = Account::builder_with_http(Box::new(client))
        .create_from_key((signer, key), directory.clone())
        .await
        .map_err(failure)?;
    let contact = wanted.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact = contact.as_deref();
    // The authority may have forgotten the account, and made another one of the key.
    let told = contact.map(|contact| format!("{} {contact}", account.id()));
    let told = told.unwrap_or_default();
    if told != files.account_contact(directory)? {
        let contacts: Vec<&str> = contact.into_iter().collect();
        account.update_contacts(&contacts).await.map_err(failure)?;
        files.put_account_contact(directory, &told)?;
    }
    Ok(account)
}

/// Returns the order that was under way with the key for it, if it can still come to something.
async fn resumed(
    account: &Account,
    wanted: &Certificate,
    files: &Files,
) -> Result<Option<(Order, KeyPair)>, AcmeFailure> {
    let host = wanted.host.as_str();
    let (Some(note), Some(pem)) = (files.order(host)?, files.pending_key(host)?) else {
        return Ok(None);
    };
    if note.directory == wanted.directory
        && let Ok(key) = KeyPair::from_pem(&pem)
    {
        match account.order(note.url).await {
            Ok(mut order) => {
                if order.state().status != OrderStatus::Invalid {
                    return Ok(Some((order, key)));
                }
            }
            // The authority has forgotten it.
            Err(Error::Api(problem)) if matches!(problem.status, Some(400..=428)) => {}
            Err(error) => return Err(failure(error)),
        }
    }
    files.end_order(host)?;
    Ok(None)
}

/// Makes a key and an order for it; both are durable when this returns.
async fn begin(
    account: &Account,
    wanted: &Certificate,
    files: &Files,
) -> Result<(Order, KeyPair), AcmeFailure> {
    let host = wanted.host.as_str();
    let key = new_key()?;
    files.put_pending_key(host, &key.serialize_pem())?;
    let identifiers = [Identifier::Dns(host.to_owned())];
    let order = account
        .new_order(&NewOrder::new(&identifiers))
        .await
        .map_err(failure)?;
    let note = OrderNote {
        directory: wanted.directory.clone(),
        url: order.url().to_owned(),
    };
    files.put_order(host, &note)?;
    Ok((order, key))
}

async fn carry_out(
    account: &Account,
    order: &mut Order,
    key: &KeyPair,
    host: &str,
    served: &Arc<Served>,
) -> Result<Obtained, AcmeFailure> {
    if order.state().status == OrderStatus::Pending {
        let answering = answer_challenges(order, served).await?;
        let ready = order.poll_ready(&POLLS).await;
        drop(answering);
        match ready {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => return Err(why_invalid(account, order).await),
            Err(Error::Api(problem)) => return Err(refused(problem)),
            Err(error) => return Err(failure(error)),
        }
    }
    if order.state().status == OrderStatus::Ready {
        let mut request = CertificateParams::new(vec![host.to_owned()]).map_err(io::Error::other)?;
        request.distinguished_name = DistinguishedName::new();
        let request = request.serialize_request(key).map_err(io::Error::other)?;
        order.finalize_csr(request.der()).await.map_err(failure)?;
    }
    let chain = order.poll_certificate(&POLLS).await.map_err(failure)?;
    let pem = format!("{}{chain}", key.serialize_pem());
    let wrong =
        |reason: String| AcmeFailure::Authority(format!("what the authority sent cannot be used: {reason}"));
    let held = Held::parse(pem.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    if !held.is_for(host) {
        return Err(wrong(format!("it is no certificate for `{host}`")));
    }
    Ok(Obtained { pem, held })
}

/// Has the challenges of an order answered, for as long as the returned values live, and tells the authority to look.
async fn answer_challenges(order: &mut Order, served: &Arc<Served>) -> Result<Vec<Answering>, AcmeFailure> {
    let mut answering = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(failure)?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) else {
            return Err(AcmeFailure::Authority(
                "the authority offers no HTTP-01 challenge".to_owned(),
            ));
        };
        let answer = challenge.key_authorization().as_str().to_owned();
        answering.push(served.answer(&challenge.token, answer));
        challenge.set_ready().await.map_err(failure)?;
    }
    Ok(answering)
}

/// Returns why an order came to nothing: its challenges know.
async fn why_invalid(account: &Account, order: &mut Order) -> AcmeFailure {
    let fallback =
        || AcmeFailure::Authority("the authority made the order invalid and does not say why".to_owned());
    let Ok(mut order) = account.order(order.url().to_owned()).await else {
        return fallback();
    };
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let mut errors = authorization
            .challenges
            .iter()
            .filter_map(|challenge| challenge.error.clone());
        if let Some(problem) = errors.next() {
            return refused(problem);
        }
    }
    fallback()
}

fn new_key() -> io::Result<KeyPair> {
    // ECDSA on P-256: what every client takes and every authority signs.
    KeyPair::generate().map_err(io::Error::other)
}

fn failure(error: Error) -> AcmeFailure {
    match error {
        Error::Api(problem) => refused(problem),
        other => {
            let mut words = other.to_string();
            let mut cause = other.source();
            while let Some(error) = cause {
                // Layers of HTTP repeat each other.
                let said = error.to_string();
                if !words.contains(&said) {
                    words = format!("{words}: {said}");
                }
                cause = error.source();
            }
            AcmeFailure::Authority(format!("the authority cannot be asked: {words}"))
        }
    }
}

/// Words the refusal of an authority.
fn refused(problem: Problem) -> AcmeFailure {
    let kind = problem.r#type.unwrap_or_default();
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(&kind);
    let mut words = format!(
        "the authority refuses ({kind}): {}",
        problem.detail.as_deref().unwrap_or("it does not say why")
    );
    for part in &problem.subproblems {
        if let Some(detail) = &part.detail {
            words = format!("{words}; {detail}");
        }
    }
    match kind {
        "rateLimited" => AcmeFailure::RateLimited(words),
        _ => AcmeFailure::Authority(words),
    }
}
