use std::process::{Child, Stdio};

use crate::harness::{Project, eventually};

/// A program that never becomes ready, and what waits for it.
const SLOW: &str = "\
type: resource
kind: host_unit
name: slow
properties:
  machine: local
  argv: [sleep, '600']
  ports: {http: {range: 20000-29999}}
  probes: [{path: /health, port: http}]
  ready_timeout: 300
---
type: resource
kind: gabion_data
name: after
properties: {input: '${{ host_unit.slow.url }}'}
";

fn interrupt(child: &Child, signal: &str) {
    let sent = std::process::Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[test]
fn two_interrupts_end_an_apply_and_the_state_is_consistent() {
    for signal in ["-INT", "-TERM"] {
        let project = Project::with(SLOW);
        let log = project.directory().join("log");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let mut child = project
            .command(&["apply", "-y"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        eventually("the program is waited for", || {
            said().contains("host_unit.slow: ready")
        });
        interrupt(&child, signal);
        eventually("the run drains", || said().contains("Stopping:"));
        assert!(
            child.try_wait().unwrap().is_none(),
            "the call that ran was not awaited"
        );
        interrupt(&child, signal);
        let mut code = None;
        eventually("the run ends", || {
            code = child.try_wait().unwrap();
            code.is_some()
        });
        assert_eq!(code.unwrap().code(), Some(130), "{}", said());
        assert!(said().contains("Apply incomplete:"), "{}", said());
        project.exits(2, &["plan", "--detailed-exitcode"]);
    }
}
