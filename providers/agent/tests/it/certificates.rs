//! Certificates from a real authority, with a DNS server that says what the test wants.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use gabion_agent::Clock;
use gabion_agent::client::ClientError;
use gabion_agent::protocol::{
    AgentError, Certificate, CertificateFacts, CertificateReport, Operation, Progress, Zone,
};
use gabion_testing::acme::{self, Authority};
use gabion_testing::dns::NameServer;

use crate::harness::{
    Behaviour, TestAgent, TestUpstream, eventually, fence, free_port, plain_route, status_of,
};

const HOST: &str = "qwen.example.test";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn wanted(authority: &Authority, host: &str) -> Certificate {
    Certificate {
        host: host.to_owned(),
        gateway: "g".to_owned(),
        address: HERE.to_string(),
        directory: authority.directory_url(),
        root_certificate: Some(std::fs::read_to_string(authority.root_certificate()).unwrap()),
        email: Some("ops@example.test".to_owned()),
        nameserver: Some(authority.nameserver()),
        zone: None,
    }
}

async fn put(agent: &TestAgent, certificate: Certificate) {
    let operation = Operation::PutCertificate(certificate);
    agent.client.change(&fence(), operation).await.unwrap();
}

async fn report(agent: &TestAgent) -> CertificateReport {
    agent.client.certificates().await.unwrap().remove(0)
}

/// Waits until a certificate is as it should be and nothing is done about it, and returns it.
async fn settled(agent: &TestAgent) -> CertificateFacts {
    eventually("a certificate", || async {
        let report = report(agent).await;
        let rests = report.defect.is_none() && report.progress == Progress::Rests;
        report.held.filter(|_| rests)
    })
    .await
}

/// Asks the gateway over TLS, and returns the answer with the certificate's fingerprint.
async fn ask(agent: &TestAgent, host: &'static str, root: &str) -> std::io::Result<(String, String)> {
    let server = SocketAddr::new(HERE, agent.port);
    let root = root.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let request = format!("GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        acme::exchange(server, host, &root, &request)
    });
    let exchanged = asked.await.unwrap()?;
    let digest = <sha2::Sha256 as sha2::Digest>::digest(exchanged.certificate.as_ref());
    Ok((exchanged.answer, hex::encode(digest)))
}

/// Sends a request without TLS and returns the head of the answer.
async fn ask_plainly(port: u16, host: &'static str, path: &'static str) -> String {
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect((HERE, port)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    asked.await.unwrap().to_lowercase()
}

/// Asserts that nobody else can read anything below a directory, and returns the files.
fn private_files(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_dir() {
            assert_eq!(mode, 0o700, "{}", entry.path().display());
            names.extend(private_files(&entry.path()));
        } else {
            assert_eq!(mode, 0o600, "{}", entry.path().display());
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_got_once_its_name_leads_here_and_is_renewed_in_time() {
    if !acme::is_there() {
        return;
    }
    let plain = free_port().await;
    let mut authority = Authority::start(plain).unwrap();
    let mut agent = TestAgent::secure("example.test", plain).await;
    let upstream = TestUpstream::start("replica", Behaviour::Name).await;
    let mut route = plain_route("qwen", &[&upstream]);
    (route.hosts, route.path_prefix) = (vec![HOST.to_owned()], None);
    agent.put(route).await;

    // The name leads elsewhere: nobody is asked for anything.
    authority.point(HOST, "127.0.0.9".parse().unwrap()).unwrap();
    put(&agent, wanted(&authority, HOST)).await;
    let found = eventually("a look at the name", || async {
        match report(&agent).await.progress {
            Progress::AwaitsName { found, .. } => Some(found),
            _ => None,
        }
    })
    .await;
    assert_eq!(found, "leads to 127.0.0.9");
    assert!(!agent.path().join("accounts").exists());

    // It leads here: the authority looks, and the gateway speaks HTTPS.
    authority.point(HOST, HERE).unwrap();
    let first = settled(&agent).await;
    let root = authority.issuer_root().unwrap();
    let (answer, shown) = ask(&agent, HOST, &root).await.unwrap();
    assert_eq!(status_of(&answer), 200, "{answer}");
    assert_eq!(shown, first.fingerprint);
    assert_eq!(upstream.seen()[0].header("x-forwarded-proto"), ["https"]);
    assert!(first.issuer.to_lowercase().contains("pebble"), "{}", first.issuer);
    assert_eq!(
        private_files(&agent.path().join("certificates")),
        ["certificate.pem"]
    );
    assert_eq!(
        private_files(&agent.path().join("accounts")),
        ["contact", "key.pem"]
    );

    // Other names get nothing, neither with TLS nor without; without TLS there is only the way to it.
    assert!(ask(&agent, "other.example.test", &root).await.is_err());
    assert_eq!(
        status_of(&ask_plainly(plain, "other.example.test", "/").await),
        404
    );
    assert_eq!(
        status_of(&ask_plainly(plain, HOST, "/.well-known/acme-challenge/guessed").await),
        404
    );
    let sent_on = ask_plainly(plain, HOST, "/v1/models?x=1").await;
    assert_eq!(status_of(&sent_on), 308, "{sent_on}");
    let target = format!("location: https://{HOST}:{}/v1/models?x=1\r\n", agent.port);
    assert!(sent_on.contains(&target), "{sent_on}");

    // An agent that starts again asks nobody. What somebody put in the place of the certificate is seen, and replaced when
    // that is asked for.
    agent.restart().await;
    assert_eq!(settled(&agent).await, first);
    let file = agent
        .path()
        .join("certificates")
        .join(HOST)
        .join("certificate.pem");
    std::fs::remove_file(&file).unwrap();
    let defect = report(&agent).await.defect.unwrap();
    assert_eq!(defect, "its file is gone");
    assert_eq!(ask(&agent, HOST, &root).await.unwrap().1, first.fingerprint);
    put(&agent, wanted(&authority, HOST)).await;
    let second = settled(&agent).await;
    assert_ne!(second.serial_number, first.serial_number);

    // Years later it is renewed. The authority has forgotten the account: the same key is registered again.
    let key = std::fs::read(first_file(&agent.path().join("accounts"), "key.pem")).unwrap();
    authority.restart().unwrap();
    agent.set_clock(Clock::new(|| SystemTime::now() + YEAR * 4));
    agent.restart().await;
    let third = eventually("a renewal", || async {
        let held = report(&agent).await.held?;
        (held.fingerprint != second.fingerprint).then_some(held)
    })
    .await;
    let root = authority.issuer_root().unwrap();
    let served = eventually("the new certificate", || async {
        ask(&agent, HOST, &root).await.ok().map(|(_, shown)| shown)
    })
    .await;
    assert_eq!(served, third.fingerprint);
    assert_eq!(
        std::fs::read(first_file(&agent.path().join("accounts"), "key.pem")).unwrap(),
        key
    );

    // The listener is still needed; once the certificate is deleted its keys are gone.
    let delete = Operation::DeleteCertificate {
        host: HOST.to_owned(),
    };
    agent.client.change(&fence(), delete.clone()).await.unwrap();
    agent.client.change(&fence(), delete).await.unwrap();
    assert!(!file.exists() && !agent.path().join("accounts").exists());
    assert!(ask(&agent, HOST, &root).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_nowhere_because_other_name_servers_are_asked_says_so() {
    if !acme::is_there() {
        return;
    }
    let plain = free_port().await;
    let authority = Authority::start(plain).unwrap();
    let dns = NameServer::start(Ipv4Addr::LOCALHOST).unwrap();
    let agent = TestAgent::secure("example.test", plain).await;
    let own = ["ns-1.awsdns-01.com", "ns-2.awsdns-02.net"];
    let certificate = Certificate {
        nameserver: Some(dns.address()),
        zone: Some(Zone {
            name: "example.test".to_owned(),
            id: "Z1".to_owned(),
            name_servers: own.map(str::to_owned).to_vec(),
        }),
        ..wanted(&authority, HOST)
    };
    put(&agent, certificate.clone()).await;
    let awaits = async |servers: Option<&[&str]>| {
        let expected = Progress::AwaitsName {
            found: "does not exist".to_owned(),
            delegated_to: servers.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        };
        // It is looked at anew, and not only when it is due.
        put(&agent, certificate.clone()).await;
        eventually("a look at the zone", || async {
            (report(&agent).await.progress == expected).then_some(())
        })
        .await;
    };
    awaits(Some(&[])).await;
    let others = ["ns1.registrar.test", "ns2.registrar.test"];
    dns.delegate("example.test", &others);
    awaits(Some(&others)).await;
    dns.delegate("example.test", &[own[0], others[0]]);
    awaits(Some(&[own[0], others[0]])).await;
    dns.delegate("example.test", &["NS-2.awsdns-02.net"]);
    awaits(None).await;
    // Who has other names for the same servers has the same servers.
    for (name, address) in [(own[0], 1), (own[1], 2), (others[0], 1), (others[1], 2)] {
        dns.point(name, Ipv4Addr::new(192, 0, 2, address).into());
    }
    dns.delegate("example.test", &others);
    awaits(None).await;
    assert!(!agent.path().join("accounts").exists());

    // The record is seen once the zone is asked: nothing else keeps the certificate back.
    authority.point(HOST, HERE).unwrap();
    dns.point(HOST, HERE);
    put(&agent, certificate.clone()).await;
    settled(&agent).await;
}

fn first_file(directory: &Path, name: &str) -> std::path::PathBuf {
    let below = std::fs::read_dir(directory).unwrap().next().unwrap().unwrap();
    below.path().join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_remembered_and_takes_nothing_away() {
    if !acme::is_there() {
        return;
    }
    let plain = free_port().await;
    let mut agent = TestAgent::secure("example.test", plain).await;
    let authority = Authority::start(plain).unwrap();
    // Another authority, which looks where nobody answers.
    let elsewhere = Authority::start(free_port().await).unwrap();
    for one in [&authority, &elsewhere] {
        one.point(HOST, HERE).unwrap();
    }
    put(&agent, wanted(&authority, HOST)).await;
    let first = settled(&agent).await;

    put(&agent, wanted(&elsewhere, HOST)).await;
    let failed = || async {
        match report(&agent).await.progress {
            Progress::Failed { reason, failures, .. } => Some((reason, failures)),
            _ => None,
        }
    };
    let (reason, failures) = eventually("a failure", failed).await;
    assert!(reason.contains("the authority refuses (connection)"), "{reason}");
    assert_eq!(failures, 1);
    let report_then = report(&agent).await;
    assert_eq!(
        report_then.defect,
        Some(format!("it comes from {}", authority.directory_url()))
    );
    let root = authority.issuer_root().unwrap();
    assert_eq!(ask(&agent, HOST, &root).await.unwrap().1, first.fingerprint);

    // An agent that starts again waits as long as it would have waited, and serves what it has.
    agent.restart().await;
    assert_eq!(report(&agent).await.progress, report_then.progress);
    let shown = eventually("the certificate", || async {
        ask(&agent, HOST, &root).await.ok()
    })
    .await;
    assert_eq!(shown.1, first.fingerprint);

    // Whoever asks for the old authority again has it at once: there is a certificate of it.
    put(&agent, wanted(&authority, HOST)).await;
    assert_eq!(settled(&agent).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_could_not_be_kept_is_fetched_again_and_not_asked_for_again() {
    if !acme::is_there() {
        return;
    }
    let plain = free_port().await;
    let authority = Authority::start(plain).unwrap();
    authority.point(HOST, HERE).unwrap();
    let mut agent = TestAgent::secure("example.test", plain).await;
    // What is in the way of the file is in the way of the last step: as if the agent had been killed before it.
    let directory = agent.path().join("certificates").join(HOST);
    let file = directory.join("certificate.pem");
    std::fs::create_dir_all(&file).unwrap();
    put(&agent, wanted(&authority, HOST)).await;
    eventually("a failure", || async {
        matches!(report(&agent).await.progress, Progress::Failed { .. }).then_some(())
    })
    .await;
    let key = std::fs::read(directory.join("pending-key.pem")).unwrap();
    assert!(directory.join("order.json").is_file());

    std::fs::remove_dir(&file).unwrap();
    // What an agent left that was killed in mid deletion.
    let left = agent.path().join("certificates/left.example.test");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("certificate.pem"), "a key").unwrap();
    agent.restart().await;
    put(&agent, wanted(&authority, HOST)).await;
    let facts = settled(&agent).await;
    assert!(std::fs::read(&file).unwrap().starts_with(&key));
    assert!(!left.exists());
    let root = authority.issuer_root().unwrap();
    assert_eq!(ask(&agent, HOST, &root).await.unwrap().1, facts.fingerprint);
    let log = authority.log().unwrap();
    assert_eq!(log.matches("Added order").count(), 1, "{log}");
    assert_eq!(log.matches("Issued certificate serial").count(), 1, "{log}");
    assert_eq!(private_files(&directory), ["certificate.pem"]);
}

#[tokio::test]
async fn what_cannot_have_a_certificate_is_refused() {
    let agent = TestAgent::start().await;
    let certificate = |host: &str| Certificate {
        host: host.to_owned(),
        gateway: "g".to_owned(),
        address: "192.0.2.1".to_owned(),
        directory: "https://127.0.0.1:1/dir".to_owned(),
        root_certificate: None,
        email: None,
        nameserver: None,
        zone: None,
    };
    let refused = async |certificate| {
        let operation = Operation::PutCertificate(certificate);
        match agent.client.change(&fence(), operation).await.unwrap_err() {
            ClientError::Refused(error) => error,
            other => panic!("{other}"),
        }
    };
    for host in [
        "../x.test",
        "a/b.test",
        "Qwen.example.test",
        "a..test",
        "localhost",
        "",
    ] {
        let error = refused(certificate(host)).await;
        assert!(matches!(error, AgentError::Invalid { .. }), "{host}: {error}");
    }
    let error = refused(certificate(HOST)).await;
    assert!(error.to_string().contains("speaks no HTTPS"), "{error}");
    let plain = Certificate {
        directory: "http://127.0.0.1:1/dir".to_owned(),
        ..certificate(HOST)
    };
    assert!(matches!(refused(plain).await, AgentError::Invalid { .. }));
}
