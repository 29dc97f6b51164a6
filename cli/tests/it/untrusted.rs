//! `gabion plan --untrusted`: a hostile pull request executes nothing, reaches nothing and learns nothing.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;

use crate::harness::{Project, Said, THREE_LEVELS, files_below};

/// What must not be seen anywhere.
const VALUE: &str = "correct-horse-battery-staple";

/// A port at which nobody may call.
struct Trap(TcpListener);

impl Trap {
    fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert!(self.0.accept().is_err(), "somebody called");
    }
}

/// A checkout with what a job's machine has beside it: a token in `.git`, a secret in the directory above.
fn checkout() -> Project {
    let project = Project::new()
        .set("DEPLOY_TOKEN", VALUE)
        .set("GABION_VAR_OTHERS", VALUE);
    fs::create_dir_all(project.directory().join(".git")).unwrap();
    project.write(".git/config", format!("extraheader = {VALUE}\n"));
    fs::write(project.directory().join("../secret"), format!("{VALUE}\n")).unwrap();
    fs::create_dir(project.directory().join("../base")).unwrap();
    project
}

fn write_base(project: &Project, text: &str) {
    fs::write(project.directory().join("../base/gabion.yml"), text).unwrap();
}

#[track_caller]
fn leaks_nothing(project: &Project, said: &Said) {
    assert!(!said.all().contains(VALUE), "{}", said.all());
    for file in files_below(&project.directory()) {
        if file.ends_with(".git/config") {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains(VALUE), "it is in {}", file.display());
    }
    assert!(
        !project.directory().join("../ran").exists() && !project.directory().join("ran").exists(),
        "something was executed"
    );
}

const HOSTILE_SETTINGS: &str = "\
project: somebody-elses
lineage: 01900000-0000-7000-8000-000000000000
vars:
  OTHERS: {type: string, default: mine}
secrets:
  command: {command: [sh, -c, 'touch ../ran; env > ran']}
  variable: {env: DEPLOY_TOKEN}
state:
  type: s3
  bucket: stolen
  region: us-east-1
  endpoint: http://127.0.0.1:PORT
  allow_http: true
  encryption: {key: {command: [sh, -c, touch ran]}}
backends:
  - type: ssh
    agent_path: ./agent
";

const HOSTILE_DOCUMENTS: &str = "\
type: resource
kind: gabion_data
name: taken
properties:
  input:
    a: ${{ secrets.command }}
    b: Bearer ${{ secrets.variable }}
    c: ${{ env.DEPLOY_TOKEN }}
    d: ${{ vars.OTHERS }}
---
type: resource
kind: gabion_data
name: taken-too
properties:
  input: ${{ gabion_data.taken.id }} ${{ env.DEPLOY_TOKEN }}
---
type: fleet
name: evil
ssh_config:
  user: root
  identity_file: ../secret
  hosts:
    - hostname: 127.0.0.1
      port: PORT
";

#[test]
fn a_hostile_pull_request_executes_nothing_reaches_nothing_and_learns_nothing() {
    let (project, trap) = (checkout(), Trap::set());
    let port = trap.port().to_string();
    write_base(&project, "project: demo\n");
    project.write("gabion.yml", HOSTILE_SETTINGS.replace("PORT", &port));
    project.write("main.gabion.yml", HOSTILE_DOCUMENTS.replace("PORT", &port));
    project.write("agent", "#!/bin/sh\ntouch ran\n");
    fs::create_dir(project.directory().join(".ssh")).unwrap();
    for name in ["ssh_config", ".ssh/config"] {
        project.write(name, "Host *\n  ProxyCommand touch ran\n");
    }
    for format in ["text", "markdown", "json"] {
        let arguments = [
            "plan",
            "--untrusted",
            "--base",
            "../base",
            "--out",
            "p.gabion",
            "--format",
            format,
        ];
        let said = project.exits(0, &arguments);
        leaks_nothing(&project, &said);
        trap.is_untouched();
        // What the project itself says about its state stands.
        assert!(
            said.out.contains("demo") && !said.out.contains("somebody-elses"),
            "{}",
            said.all()
        );
        for name in ["env.DEPLOY_TOKEN", "secrets.command", "secrets.variable"] {
            assert!(said.out.contains(name), "{name}: {}", said.all());
        }
        assert!(said.out.contains("Unresolved"), "{}", said.all());
    }
    let plan = project.exits(0, &["show", "p.gabion", "--format", "json"]).json();
    assert_eq!(plan["gabion"]["untrusted"], true);
    let shown = plan["planned_values"].to_string();
    assert!(shown.contains("\"d\":\"mine\""), "{shown}");
}

#[test]
fn without_a_trusted_checkout_nobody_says_where_the_state_is() {
    let (project, trap) = (checkout(), Trap::set());
    project.write("main.gabion.yml", THREE_LEVELS);
    for state in [
        "{type: s3, bucket: b, region: r, endpoint: 'http://127.0.0.1:PORT', allow_http: true}",
        "{type: postgres, url: 'postgres://127.0.0.1:PORT/x?sslmode=disable'}",
        "{type: sqlite, encryption: {key: {command: [sh, -c, 'touch ran']}}}",
    ] {
        project.write(
            "gabion.yml",
            format!("state: {}\n", state.replace("PORT", &trap.port().to_string())),
        );
        let said = project.exits(1, &["plan", "--untrusted"]);
        assert!(said.err.contains("--untrusted --base DIR"), "{}", said.all());
        leaks_nothing(&project, &said);
        trap.is_untouched();
    }
}

#[test]
fn a_key_program_of_the_trusted_checkout_is_that_checkout_s_own() {
    let project = checkout();
    project.write("main.gabion.yml", THREE_LEVELS);
    project.write("key.sh", "touch ran\n");
    write_base(
        &project,
        "project: demo\nstate: {type: sqlite, encryption: {key: {command: [sh, key.sh]}}}\n",
    );
    let own = project.directory().join("../base/key.sh");
    fs::write(own, "printf '%064d' 7\n").unwrap();
    let said = project.exits(0, &["plan", "--untrusted", "--base", "../base"]);
    leaks_nothing(&project, &said);
}

#[test]
fn no_path_leads_out_of_the_checkout() {
    let service = |file: &str| {
        format!(
            "type: service\nname: s\nfiles: ['{file}:leaked']\ncommands: [sleep 1]\nport: 8000\nauth: false\nresources: {{cpu: 1..}}\n"
        )
    };
    let with_secret = "type: resource\nkind: gabion_data\nname: a\nproperties: {input: '${{ secrets.a }}'}\n";
    let module = |source: &str| format!("type: module\nname: m\nsource: {source}\n");
    for (name, documents, settings) in [
        ("above", service("../secret"), ""),
        ("not there", service("../not-there"), ""),
        ("absolute", service("/etc/hostname"), ""),
        ("link", service("link"), ""),
        ("through a link", service("up/secret"), ""),
        ("credentials of git", service(".git/config"), ""),
        ("all", service("."), ""),
        ("module above", module("../other"), ""),
        ("module behind a link", module("up/other"), ""),
        (
            "file of a secret",
            with_secret.to_owned(),
            "secrets: {a: {file: ../secret}}\n",
        ),
        ("linked settings", THREE_LEVELS.to_owned(), "LINK"),
    ] {
        let project = checkout();
        let other = project.directory().join("../other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("x.gabion.yml"), format!("type: {VALUE}\n")).unwrap();
        symlink("../secret", project.directory().join("link")).unwrap();
        symlink("..", project.directory().join("up")).unwrap();
        write_base(&project, "project: demo\n");
        project.write("main.gabion.yml", &documents);
        match settings {
            "LINK" => symlink("../secret", project.directory().join("more.gabion.yml")).unwrap(),
            text => project.write("gabion.yml", text),
        }
        let said = project.exits(1, &["plan", "--untrusted", "--base", "../base"]);
        assert!(
            said.err.contains("whoever wrote this is not trusted"),
            "{name}: {}",
            said.all()
        );
        leaks_nothing(&project, &said);
    }
}

#[test]
fn what_is_recorded_is_taken_as_it_is_and_its_age_is_said() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    project.write("main.gabion.yml", THREE_LEVELS.replace("port: 80", "port: 81"));
    for format in ["text", "markdown", "json"] {
        let said = project.exits(
            2,
            &["plan", "--untrusted", "--detailed-exitcode", "--format", format],
        );
        assert!(
            said.out.contains(
                "3 objects were not read: what is known of them was recorded up to less than a minute ago"
            ),
            "{}",
            said.all()
        );
    }
    project.exits(0, &["plan", "--untrusted", "--out", "p.gabion"]);
    project.exits(0, &["apply", "p.gabion"]);
    project.exits(0, &["plan", "--detailed-exitcode"]);
}

#[test]
fn a_plan_made_again_must_do_what_the_reviewed_one_does() {
    let secret =
        "---\ntype: resource\nkind: gabion_data\nname: s\nproperties: {input: '${{ env.DEPLOY_TOKEN }}'}\n";
    let project = Project::with(&format!("{THREE_LEVELS}{secret}")).set("DEPLOY_TOKEN", VALUE);
    project.exits(0, &["plan", "--untrusted", "--out", "reviewed.gabion"]);
    project.exits(
        0,
        &["plan", "--same-as", "reviewed.gabion", "--out", "again.gabion"],
    );
    let changed = THREE_LEVELS.replace("port: 80", "port: 82");
    project.write("main.gabion.yml", format!("{changed}{secret}"));
    let arguments = ["plan", "--same-as", "reviewed.gabion", "--out", "other.gabion"];
    let said = project.exits(4, &arguments);
    assert!(
        said.err
            .contains("`gabion_data.base` gets other values than in the reviewed plan."),
        "{}",
        said.all()
    );
    assert!(!project.directory().join("other.gabion").exists());
    project.write("main.gabion.yml", THREE_LEVELS);
    let said = project.exits(4, &arguments);
    assert!(
        said.err.contains("`gabion_data.s` is left alone"),
        "{}",
        said.all()
    );
    project.write("main.gabion.yml", format!("{THREE_LEVELS}{secret}"));
    project.exits(0, &["apply", "again.gabion"]);
    project.exits(0, &["plan", "--detailed-exitcode"]);
}
