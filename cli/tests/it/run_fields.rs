//! What fields of services and tasks do on one's own machine, through the binary.

use crate::harness::{Project, eventually};

fn task(keys: &str) -> Project {
    let project = Project::new();
    project.write("job.dstack.yml", format!("type: task\nname: job\n{keys}"));
    project
}

fn log_says(project: &Project, wanted: &str) {
    eventually(wanted, || project.exits(0, &["logs", "job"]).out.contains(wanted));
}

#[test]
fn files_are_beside_the_program_and_a_changed_one_replaces_it() {
    let project = task("files: [./conf, run.sh:bin/run.sh]\ncommands: [./bin/run.sh, cat conf/a.txt]\n");
    std::fs::create_dir(project.directory().join("conf")).unwrap();
    project.write("conf/a.txt", "first\n");
    project.write("run.sh", "#!/bin/sh\necho script\n");
    project.apply();
    log_says(&project, "script\nfirst\n");
    project.exits(0, &["plan", "--detailed-exitcode"]);

    project.write("conf/a.txt", "second\n");
    let plan = project.exits(2, &["plan", "--detailed-exitcode"]).out;
    assert!(plan.contains("- first") && plan.contains("+ second"), "{plan}");
    assert!(plan.contains("forces replacement"), "{plan}");
    project.apply();
    log_says(&project, "script\nsecond\n");
}

#[test]
fn what_cannot_be_copied_is_told_where_it_is_written() {
    let project = task(
        "working_dir: /tmp\nfiles:\n  - conf\n  - conf:/etc/conf\n  - missing\n  - big\n  - /etc/hosts\ncommands: [true]\n",
    );
    project.write("conf", "text");
    project.write("big", vec![b'x'; 200 << 10]);
    let said = project.exits(1, &["plan"]).err;
    for (place, why) in [
        (
            "job.dstack.yml:3:14",
            "which is a directory of the machine or of the image",
        ),
        (
            "job.dstack.yml:6:5",
            "`/etc/conf` is outside the program's own directory",
        ),
        ("job.dstack.yml:7:5", "missing` cannot be read: No such file"),
        ("job.dstack.yml:8:5", "big` is larger than 128 KB"),
    ] {
        assert!(
            said.contains(place) && said.contains(why),
            "{place} {why}\n{said}"
        );
    }
    assert!(said.contains("4 errors"), "{said}");
    project.exits(0, &["validate"]);
}

#[test]
fn volumes_repositories_and_users_are_what_is_there_anyway() {
    let own = nix::unistd::geteuid();
    let project = task(&format!(
        "user: {own}\nrepos: [.]\nvolumes: ['/tmp:/tmp', {{instance_path: /a, path: /b, optional: true}}]\ncommands: [echo here]\n"
    ));
    project.apply();
    log_says(&project, "here");
    project.exits(0, &["plan", "--detailed-exitcode"]);

    let project =
        task("repos: ['https://example.org/a.git']\nvolumes: ['/a:/b', 'data:/data']\ncommands: [true]\n");
    let said = project.exits(1, &["plan"]).err;
    for (place, why) in [
        ("job.dstack.yml:3:9", "checks nothing out"),
        ("job.dstack.yml:4:11", "shows a directory under another path"),
        ("job.dstack.yml:4:20", "is a network volume"),
    ] {
        assert!(
            said.contains(place) && said.contains(why),
            "{place} {why}\n{said}"
        );
    }

    let project = task("user: nobody-at-all\ncommands: [true]\n");
    project.exits(0, &["validate"]);
    let said = project.exits(1, &["plan"]).err;
    assert!(
        said.contains("job.dstack.yml:3:7") && said.contains("the user that gabion runs as"),
        "{said}"
    );
}

#[test]
fn what_the_machine_has_not_is_an_error_where_it_is_asked_for() {
    let project =
        task("commands: [true]\nresources:\n  cpu: 1000000..\n  memory: 900000TB\n  disk: 900000TB..\n");
    let said = project.exits(1, &["plan"]).err;
    for (place, why) in [
        ("job.dstack.yml:5:8", "`cpu: 1000000..` is asked for"),
        ("job.dstack.yml:6:11", "`memory: 900000TB` is asked for"),
        ("job.dstack.yml:7:9", "`disk: 900000TB..` is asked for"),
    ] {
        assert!(
            said.contains(place) && said.contains(why),
            "{place} {why}\n{said}"
        );
    }
    assert!(said.contains("3 errors"), "{said}");
    project.exits(0, &["validate"]);
    task("commands: [true]\nresources: {cpu: 1.., memory: 1MB.., disk: 1MB..}\n").exits(0, &["plan"]);
}

#[test]
fn a_variable_that_is_not_set_is_an_error_where_it_is_passed_through() {
    let project = task("env: [LEVEL=1, TOKEN]\ncommands: [true]\n");
    let said = project.exits(1, &["plan"]).err;
    assert!(said.contains("job.dstack.yml:3:16"), "{said}");
    assert!(said.contains("TOKEN"), "{said}");
}

#[test]
fn a_service_that_fails_is_started_again_by_its_supervisor() {
    let project = Project::new();
    project.write(
        "web.dstack.yml",
        "type: service\nname: web\nport: 8000\nauth: false\nretry: true\nprobes: []\ncommands:\n  \
         - echo run >> runs\n  - '[ $(wc -l < runs) = 2 ]'\n  - exec python3 -m http.server --bind 127.0.0.1 $PORT\n",
    );
    project.apply();
    let status = || {
        let listed = project.exits(0, &["ps", "--format", "json"]).json();
        let programs = listed["programs"].as_array().unwrap().clone();
        programs
            .iter()
            .find(|program| program["role"] == "replica")
            .map(|program| program["status"].as_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    eventually("the second attempt", || status() == "running (1 retry)");
    project.exits(0, &["plan", "--detailed-exitcode"]);
    project.exits(0, &["drift"]);
}

#[test]
fn a_service_that_has_run_for_its_time_is_stopped_and_started_again_by_apply() {
    let project = Project::new();
    project.write(
        "web.dstack.yml",
        "type: service\nname: web\nport: 8000\nauth: false\nmax_duration: 2s\nprobes: []\ncommands: ['sleep 600 # $PORT']\n",
    );
    project.apply();
    let drift = || project.run(&["drift"]);
    eventually("the end of its time", || drift().code == 2);
    let said = drift().out;
    assert!(
        said.contains("it was stopped: it had run for its `max_duration`"),
        "{said}"
    );
    project.apply();
    let ps = project.exits(0, &["ps"]).out;
    assert!(ps.contains("web/default/0") && ps.contains("running"), "{ps}");
}
