//! The same project, run by somebody else: the state knows where everything is.

use crate::harness::{Project, alive};

#[test]
fn another_home_finds_the_units_that_the_state_knows() {
    let mut project = Project::empty();
    project.write("gabion.yml", "project: elsewhere\n");
    project.write(
        "hello.dstack.yml",
        "type: service\nname: hello\ncommands:\n  - exec python3 -m http.server --bind 127.0.0.1 $PORT\nport: 8000\nauth: false\n",
    );
    project.apply();
    let pids: Vec<i32> = project.units().iter().map(|unit| unit.pid()).collect();
    assert_eq!(pids.len(), 2);

    let other = project.user_directory().join("other");
    for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"] {
        project.set(name, other.join(name).to_str().unwrap());
    }
    project.run(&["drift"]).exits(0);
    project.plan_is_empty();
    project.destroy().says("5 done");
    assert!(project.units().is_empty(), "{:?}", project.units());
    assert!(!pids.into_iter().any(alive), "a process still runs");
}
