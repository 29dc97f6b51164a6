//! A gateway that speaks HTTPS: names, an authority, an agent that is killed, drift, and the end of it all.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gabion_testing::acme::{self, Authority};

use crate::harness::{Project, eventually, kill_process};

const NAMES: [&str; 2] = ["gateway.example.test", "qwen.example.test"];

/// What stands between the authority and the port that answers it, as a router of the internet would.
struct Way {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Where requests are passed on to; held as long as nobody says.
    to: Option<u16>,
    held: Vec<TcpStream>,
}

impl Way {
    fn open() -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let mut state = shared.lock().unwrap();
                match state.to {
                    None => state.held.push(stream),
                    Some(port) => drop(pass(stream, port)),
                }
            }
        });
        Self { port, state }
    }

    fn held(&self) -> usize {
        self.state.lock().unwrap().held.len()
    }

    fn leads_to(&self, port: u16) {
        let mut state = self.state.lock().unwrap();
        state.held.clear();
        state.to = Some(port);
    }
}

fn pass(stream: TcpStream, port: u16) -> io::Result<()> {
    let onward = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            io::copy(&mut from, &mut to).ok();
            to.shutdown(std::net::Shutdown::Write).ok();
        });
    };
    copy(stream.try_clone()?, onward.try_clone()?);
    copy(onward, stream);
    Ok(())
}

fn port(project: &Project, name: &str) -> u16 {
    let port = project.attribute("gateway_listener.my-gateway", name);
    u16::try_from(port.as_u64().unwrap()).unwrap()
}

/// Asks the model endpoint over HTTPS.
fn complete(project: &Project, root: &str) -> String {
    let body =
        r#"{"model":"qwen/qwen2.5-0.5b-instruct","messages":[{"role":"user","content":"is all well?"}]}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        NAMES[0],
        body.len()
    );
    let server = (Ipv4Addr::LOCALHOST, port(project, "port")).into();
    acme::exchange(server, NAMES[0], root, &request).unwrap().answer
}

#[test]
fn a_gateway_gets_certificates_once_its_names_lead_to_it_and_keeps_them() {
    if !acme::is_there() {
        return;
    }
    let way = Way::open();
    let authority = Authority::start(way.port).unwrap();
    let mut project = Project::quick();
    std::fs::copy(authority.root_certificate(), project.directory().join("ca.pem")).unwrap();
    project.write(
        "gabion.yml",
        &format!(
            "project: quickstart\nbackends:\n  - type: local\n    acme:\n      directory: {}\n      root_certificate: ca.pem\n      \
             email: ops@example.test\n      nameserver: {}\n      name_timeout: 1s\n",
            authority.directory_url(),
            authority.nameserver()
        ),
    );
    project.write(
        "gateway.dstack.yml",
        "type: gateway\nname: my-gateway\nbackend: local\ndomain: example.test\ncertificate: {type: lets-encrypt}\n",
    );
    project.edit("service.dstack.yml", "replicas: 2", "replicas: 1");

    // Nobody has made the records: they are told, nobody else is asked, and nothing is called done.
    let told = project.run(&["apply", "-y"]).exits(6);
    for name in NAMES {
        let record = format!("{name} A 127.0.0.1");
        assert!(told.stderr.contains(&record), "no `{record}`: {told}");
    }
    assert!(
        !authority.log().unwrap().contains("Added order"),
        "an order was made"
    );

    // The agent is killed while the authority looks for its answer. What it was doing is taken up again.
    for name in NAMES {
        authority.point(name, Ipv4Addr::LOCALHOST.into()).unwrap();
    }
    let mut run = project.start(&["apply", "-y"]);
    eventually("a look of the authority", Duration::from_secs(60), || {
        match way.held() > 0 || !run.is_running() {
            true => Ok(()),
            false => Err("it has not come"),
        }
    });
    kill_process(project.unit("host_unit.agent/local").pid());
    run.finish(Duration::from_secs(120)).exits(6);
    way.leads_to(port(&project, "http_port"));
    project.apply();
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
    let root = authority.issuer_root().unwrap();
    let answer = complete(&project, &root);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let url = project.attribute("gateway_route.qwen", "url");
    let secure = format!("https://{}:{}/", NAMES[1], port(&project, "port"));
    assert_eq!(url.as_str(), Some(secure.as_str()));
    let listed = project.run(&["ps"]).succeeds();
    assert!(listed.stdout.contains("certificates  2 good"), "{listed}");

    // A certificate that somebody took away is missed, although the old one is served, and got again.
    let unit = project.unit("host_unit.agent/local");
    let directory = project.attribute("host_unit.agent/local", "unit_dir");
    let directory = std::path::PathBuf::from(directory.as_str().unwrap());
    let file = directory
        .join("certificates")
        .join(NAMES[1])
        .join("certificate.pem");
    let before = project.attribute("gateway_certificate.my-gateway/qwen", "serial_number");
    std::fs::remove_file(&file).unwrap();
    let drift = project.run(&["drift"]).exits(2);
    assert!(drift.stdout.contains("its file is gone"), "{drift}");
    let listed = project.run(&["ps", "--format", "json"]).succeeds().json();
    let problems: Vec<(&str, bool)> = listed["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|certificate| {
            let host = certificate["host"].as_str().unwrap();
            let problem = certificate["problem"].as_str();
            (
                host,
                problem.is_some_and(|problem| problem.contains("its file is gone")),
            )
        })
        .collect();
    assert_eq!(problems, [(NAMES[0], false), (NAMES[1], true)], "{listed}");
    project.apply();
    project.plan_is_empty();
    let after = project.attribute("gateway_certificate.my-gateway/qwen", "serial_number");
    assert_ne!(before, after);
    assert!(unit.is_running() && file.is_file());

    project.destroy();
    assert!(!directory.exists(), "keys are left in {}", directory.display());
}
