//! The kit for continuous integration, as its jobs run it: each in a checkout and a home of its own, sharing a remote store.
//!
//! Against the S3 server and the PostgreSQL that the test command starts; without one there is nothing to share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use assert_cmd::cargo::CommandCargoExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value as Json, json};

use crate::forge::Server;
use crate::harness::{Said, eventually};
use crate::json_schema::check_plans;
use crate::state_stores::{postgres, s3};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// What only trusted jobs have.
const VALUE: &str = "correct-horse-battery-staple";

/// A repository, its service and its store.
struct Kit {
    root: tempfile::TempDir,
    server: Server,
    variables: Vec<(&'static str, String)>,
}

/// A job: a clean checkout of a commit, and a machine that nobody used before.
struct Job<'a> {
    kit: &'a Kit,
    root: PathBuf,
    variables: Vec<(&'static str, String)>,
}

fn data(name: &str, input: &str) -> String {
    format!("type: resource\nkind: gabion_data\nname: {name}\nproperties: {{input: {input}}}\n")
}

impl Kit {
    /// Makes a repository whose state is in a new bucket; the settings end with `more`.
    fn new(more: &str) -> Option<Self> {
        Some(Self::on(s3()?, more))
    }

    /// Makes a repository whose state is in a store.
    fn on((url, variables): (String, Vec<(&'static str, String)>), more: &str) -> Self {
        let kit = Self {
            root: tempfile::tempdir().unwrap(),
            server: Server::start(),
            variables,
        };
        let origin = kit.origin();
        fs::create_dir(&origin).unwrap();
        kit.git(&origin, &["init", "-q", "-b", "main"]);
        fs::write(origin.join("gabion.yml"), format!("project: demo\n{more}")).unwrap();
        fs::write(origin.join("main.gabion.yml"), data("base", "one")).unwrap();
        fs::write(origin.join(".gitignore"), "gabion-plan/\n.gabion/\n").unwrap();
        let commit = kit.commit("start");
        let job = kit.job(&commit);
        let made = job.gabion(&["init", "--store", &url]);
        assert_eq!(made.code, 0, "{}", made.all());
        fs::copy(job.checkout().join("gabion.yml"), origin.join("gabion.yml")).unwrap();
        let commit = kit.commit("store");
        let said = kit.job(&commit).gabion(&["apply", "-y"]);
        assert_eq!(said.code, 0, "{}", said.all());
        kit
    }

    fn origin(&self) -> PathBuf {
        self.root.path().join("origin")
    }

    fn git(&self, directory: &Path, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-C"])
            .arg(directory)
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, message: &str) -> String {
        self.git(&self.origin(), &["add", "-A"]);
        self.git(&self.origin(), &["commit", "-q", "-m", message]);
        self.git(&self.origin(), &["rev-parse", "HEAD"])
    }

    fn main(&self) -> String {
        self.git(&self.origin(), &["rev-parse", "main"])
    }

    /// Proposes files on a branch, and returns its commit.
    fn propose(&self, branch: &str, files: &[(&str, &str)]) -> String {
        self.git(&self.origin(), &["checkout", "-q", "-b", branch, "main"]);
        for (name, text) in files {
            fs::write(self.origin().join(name), text).unwrap();
        }
        let commit = self.commit(branch);
        self.git(&self.origin(), &["checkout", "-q", "main"]);
        commit
    }

    fn merge(&self, branch: &str) -> String {
        self.git(&self.origin(), &["merge", "-q", "--no-ff", "-m", "merge", branch]);
        self.main()
    }

    /// Starts a job at a commit, with the request's head and base.
    fn job(&self, commit: &str) -> Job<'_> {
        let root = self
            .root
            .path()
            .join("jobs")
            .join(uuid::Uuid::now_v7().to_string());
        fs::create_dir_all(&root).unwrap();
        self.git(
            &root,
            &["clone", "-q", &self.origin().to_string_lossy(), "checkout"],
        );
        self.git(&root.join("checkout"), &["checkout", "-q", commit]);
        Job {
            kit: self,
            root,
            variables: Vec::new(),
        }
    }

    /// Plans a proposed commit in a job of its own, which must end with this code; returns the job.
    fn plan(&self, head: &str, run: u64, code: i32) -> Job<'_> {
        let job = self
            .job(head)
            .of_request(head, &self.main())
            .set("GITHUB_RUN_ID", &run.to_string());
        job.kit_exits(code, "plan");
        // A request that cannot be planned has none.
        if let Ok(plan) = fs::read_to_string(job.checkout().join("gabion-plan/plan.json")) {
            check_plans([plan.as_str()]);
        }
        self.server.service.lock().unwrap().runs.insert(
            0,
            json!({"id": run, "head_sha": head, "event": "pull_request", "conclusion": "success"}),
        );
        job
    }

    /// Starts the job that applies what a job planned, at a commit of main.
    fn apply_job(&self, planned: &Job<'_>, head: &str, at: &str) -> Job<'_> {
        let job = self
            .job(at)
            .of_request(head, at)
            .set("GABION_COMMIT", head)
            .set("GABION_WORKFLOW", "gabion-plan.yml")
            .set("DEPLOY_TOKEN", VALUE);
        let found = job.kit_exits(0, "find");
        let run = found.out.trim().strip_prefix("run=").unwrap().to_owned();
        fs::create_dir(job.checkout().join("gabion-plan")).unwrap();
        for name in ["plan.gabion", "review.json"] {
            fs::copy(
                planned.checkout().join("gabion-plan").join(name),
                job.checkout().join("gabion-plan").join(name),
            )
            .unwrap();
        }
        job.set("GABION_RUN", &run).set("GABION_LOCK_TIMEOUT", "60s")
    }

    fn comment(&self) -> String {
        let service = self.server.service.lock().unwrap();
        assert_eq!(service.comments.len(), 1, "there is one comment");
        service.comments[0]["body"].as_str().unwrap().to_owned()
    }

    /// Returns the title, state and body of the only issue.
    fn issue(&self) -> (String, String, String) {
        let service = self.server.service.lock().unwrap();
        assert_eq!(service.issues.len(), 1, "there is one issue");
        let text = |name: &str| service.issues[0][name].as_str().unwrap().to_owned();
        (text("title"), text("state"), text("body"))
    }
}

impl Job<'_> {
    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn of_request(self, head: &str, base: &str) -> Self {
        let event = self.root.join("event.json");
        let json = json!({"pull_request": {"number": 7, "head": {"sha": head}, "base": {"sha": base}}});
        fs::write(&event, json.to_string()).unwrap();
        self.set("GITHUB_EVENT_PATH", &event.to_string_lossy())
    }

    fn checkout(&self) -> PathBuf {
        self.root.join("checkout")
    }

    fn prepared(&self, mut command: Command) -> Command {
        let program = Command::cargo_bin("gabion").unwrap();
        let programs = Path::new(program.get_program()).parent().unwrap().to_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .current_dir(self.checkout())
            .env_clear()
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("HOME", self.root.join("home"))
            .env("GABION_KEY", KEY)
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_API_URL", self.kit.server.url())
            .env("GITHUB_REPOSITORY", "ada/infra")
            .env("GITHUB_TOKEN", "t0ken")
            .envs(self.kit.variables.iter().map(|(name, value)| (name, value)))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, command: Command) -> Said {
        let output = self.prepared(command).output().unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn gabion(&self, arguments: &[&str]) -> Said {
        let mut command = Command::cargo_bin("gabion").unwrap();
        command.args(arguments);
        self.run(command)
    }

    /// Runs the kit's script as its action does; it must end with this code.
    #[track_caller]
    fn kit_exits(&self, code: i32, what: &str) -> Said {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/actions/gabion/gabion.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg(what);
        let said = self.run(command);
        assert_eq!(said.code, code, "{what}\n{}", said.all());
        said
    }

    #[track_caller]
    fn is_as_planned(&self) {
        let said = self.gabion(&["plan", "--detailed-exitcode"]);
        assert_eq!(said.code, 0, "{}", said.all());
    }
}

#[test]
fn a_request_is_planned_merged_applied_and_looked_after() {
    let Some(kit) = Kit::new("") else { return };
    life_of_a_request(&kit);
}

#[test]
fn a_request_lives_the_same_over_postgres() {
    let Some(store) = postgres() else { return };
    let kit = Kit::on(store, "");
    life_of_a_request(&kit);
    // A lease and a fence of another kind stand behind the same refusals. By now everything is destroyed.
    let first = kit.propose("first", &[("main.gabion.yml", &data("base", "two"))]);
    let second = kit.propose("second", &[("main.gabion.yml", &data("base", "three"))]);
    let (a, b) = (kit.plan(&first, 2, 0), kit.plan(&second, 3, 0));
    kit.apply_job(&a, &first, &first).kit_exits(0, "apply");
    kit.server.service.lock().unwrap().issues.clear();
    kit.apply_job(&b, &second, &second).kit_exits(4, "apply");
    let (_, state, body) = kit.issue();
    assert!(
        state == "open" && body.contains("The plan creates `gabion_data.base`, and it exists by now"),
        "{body}"
    );
}

#[test]
fn of_two_plans_that_take_one_port_the_second_is_refused() {
    let Some(kit) = Kit::new("") else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let unit = |name: &str| {
        format!(
            "type: resource\nkind: host_unit\nname: {name}\nproperties:\n  machine: local\n  argv: [sleep, '600']\n  ports: {{http: {{port: {port}}}}}\n"
        )
    };
    let left = kit.propose("left", &[("left.gabion.yml", &unit("left"))]);
    let right = kit.propose("right", &[("right.gabion.yml", &unit("right"))]);
    let (a, b) = (kit.plan(&left, 1, 0), kit.plan(&right, 2, 0));
    let merged = kit.merge("left");
    let job = kit.apply_job(&a, &left, &merged);
    job.kit_exits(0, "apply");
    let said = kit.apply_job(&b, &right, &right).kit_exits(4, "apply");
    let key = format!("tcp/local/{port}");
    assert!(said.all().contains(&key), "{}", said.all());
    let (_, state, body) = kit.issue();
    assert!(state == "open" && body.contains(&key), "{body}");
    // Nothing of the second is there.
    let list = job.gabion(&["state", "list"]).out;
    assert!(
        list.contains("host_unit.left") && !list.contains("host_unit.right"),
        "{list}"
    );
    job.is_as_planned();
    let destroyed = kit.job(&merged).gabion(&["destroy", "-y"]);
    assert_eq!(destroyed.code, 0, "{}", destroyed.all());
}

fn life_of_a_request(kit: &Kit) {
    let unit = "type: resource\nkind: host_unit\nname: clock\nproperties:\n  machine: local\n  argv: [sleep, '600']\n  files: {note.txt: one}\n";
    let head = kit.propose("clock", &[("clock.gabion.yml", unit)]);
    let planned = kit.plan(&head, 4711, 0);
    assert!(kit.comment().contains("1 create"), "{}", kit.comment());
    for name in ["plan.gabion", "plan.md", "plan.json", "review.json"] {
        assert!(
            planned.checkout().join("gabion-plan").join(name).exists(),
            "{name}"
        );
    }
    let merged = kit.merge("clock");
    let job = kit.apply_job(&planned, &head, &merged);
    job.kit_exits(0, "apply");
    assert!(kit.comment().contains("gabion apply: done"), "{}", kit.comment());
    job.is_as_planned();
    // What was applied is applied: the same job again does nothing.
    job.kit_exits(0, "apply");
    assert!(kit.server.service.lock().unwrap().issues.is_empty());
    kit.job(&merged).kit_exits(0, "drift");
    let record = job
        .gabion(&["state", "show", "host_unit.clock", "--format", "json"])
        .json();
    let note = format!(
        "{}/files/note.txt",
        record["outputs"]["unit_dir"].as_str().unwrap()
    );
    fs::write(note, "two").unwrap();
    for _ in 0..2 {
        let job = kit.job(&merged);
        job.kit_exits(2, "drift");
        assert!(job.checkout().join("gabion-drift.xml").exists());
        let (title, state, body) = kit.issue();
        assert_eq!((title.as_str(), state.as_str()), ("gabion drift: demo", "open"));
        assert!(body.contains("host_unit.clock"), "{body}");
    }
    assert_eq!(kit.job(&merged).gabion(&["apply", "-y"]).code, 0);
    kit.job(&merged).kit_exits(0, "drift");
    assert_eq!(kit.issue().1, "closed");
    assert_eq!(kit.job(&merged).gabion(&["destroy", "-y"]).code, 0);
}

#[test]
fn what_moved_or_is_forbidden_or_locked_is_not_applied_and_people_are_told() {
    let Some(kit) = Kit::new("policy: {max_destroy: 0}\n") else {
        return;
    };
    // Policy: the base's, whatever the request says.
    let head = kit.propose(
        "destroys",
        &[
            ("main.gabion.yml", &data("other", "one")),
            ("gabion.yml", "project: demo\n"),
        ],
    );
    let planned = kit.plan(&head, 1, 5);
    assert!(kit.comment().contains("forbids this plan"), "{}", kit.comment());
    kit.apply_job(&planned, &head, &kit.main()).kit_exits(5, "apply");
    let (title, state, body) = kit.issue();
    assert_eq!(
        (title.as_str(), state.as_str()),
        ("gabion apply failed: demo", "open")
    );
    assert!(body.contains("exit code 5"), "{body}");
    // State: two requests change the same object.
    let first = kit.propose("first", &[("main.gabion.yml", &data("base", "two"))]);
    let second = kit.propose("second", &[("main.gabion.yml", &data("base", "three"))]);
    let (a, b) = (kit.plan(&first, 2, 0), kit.plan(&second, 3, 0));
    kit.apply_job(&a, &first, &first).kit_exits(0, "apply");
    assert_eq!(kit.issue().1, "closed");
    kit.server.service.lock().unwrap().issues.clear();
    kit.apply_job(&b, &second, &second).kit_exits(4, "apply");
    let (_, _, body) = kit.issue();
    assert!(
        body.contains("The plan uses `gabion_data.base` as of serial") && body.contains("Plan again"),
        "{body}"
    );
}

#[test]
fn who_holds_the_lock_goes_first_and_what_was_killed_goes_on() {
    let Some(kit) = Kit::new("") else { return };
    let many: Vec<String> = (0..300)
        .map(|number| data(&format!("n{number}"), "one"))
        .collect();
    let head = kit.propose("many", &[("many.gabion.yml", &many.join("---\n"))]);
    let planned = kit.plan(&head, 1, 0);
    let merged = kit.merge("many");
    let job = kit.apply_job(&planned, &head, &merged);
    let plan = job.checkout().join("gabion-plan/plan.gabion");
    let events = job.root.join("events");
    let mut command = Command::cargo_bin("gabion").unwrap();
    command
        .arg("apply")
        .arg(&plan)
        .arg("--parallelism")
        .arg("1")
        .arg("--events")
        .arg(&events);
    let mut child = job
        .prepared(command)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    eventually("an object is made", || {
        fs::read_to_string(&events).is_ok_and(|text| text.lines().count() > 5)
    });
    kill(pid, Signal::SIGSTOP).unwrap();
    let other = kit
        .apply_job(&planned, &head, &merged)
        .set("GABION_LOCK_TIMEOUT", "0s");
    other.kit_exits(3, "apply");
    assert!(kit.comment().contains("the state is locked"), "{}", kit.comment());
    let (_, state, body) = kit.issue();
    assert!(state == "open" && body.contains("Go on with: `gabion"), "{body}");
    kill(pid, Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    job.kit_exits(0, "apply");
    job.is_as_planned();
    assert_eq!(kit.issue().1, "closed");
}

#[test]
fn plans_that_do_not_go_together_are_not_both_applied_and_others_are() {
    let Some(kit) = Kit::new("") else { return };
    let dependant = data("dependant", "'${{ gabion_data.base.id }}'");
    let adds = kit.propose("adds", &[("dependant.gabion.yml", &dependant)]);
    let deletes = kit.propose("deletes", &[("main.gabion.yml", &data("kept", "one"))]);
    let unrelated = kit.propose(
        "unrelated",
        &[("unrelated.gabion.yml", &data("unrelated", "one"))],
    );
    let (a, b, c) = (
        kit.plan(&adds, 1, 0),
        kit.plan(&deletes, 2, 0),
        kit.plan(&unrelated, 3, 0),
    );
    kit.apply_job(&a, &adds, &adds).kit_exits(0, "apply");
    let said = kit.apply_job(&b, &deletes, &deletes).kit_exits(4, "apply");
    assert!(
        said.err.contains("`gabion_data.dependant` depends on it by now"),
        "{}",
        said.all()
    );
    kit.apply_job(&c, &unrelated, &unrelated).kit_exits(0, "apply");
}

#[test]
fn a_plan_of_another_run_is_applied_only_if_the_commit_plans_the_same() {
    let Some(kit) = Kit::new("") else { return };
    let head = kit.propose(
        "adds",
        &[("more.gabion.yml", &data("more", "'${{ env.DEPLOY_TOKEN }}'"))],
    );
    let forged = kit.propose("forged", &[("more.gabion.yml", &data("more", "forged"))]);
    let planned = kit.plan(&head, 1, 0);
    let other = kit.plan(&forged, 2, 0);
    let merged = kit.merge("adds");
    // The files say that they are of that commit and run, and hold another plan.
    let job = kit.apply_job(&other, &head, &merged);
    let path = job.checkout().join("gabion-plan/review.json");
    let mut review: Json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    review["commit"] = head.as_str().into();
    fs::write(&path, review.to_string()).unwrap();
    let said = job.kit_exits(4, "apply");
    assert!(
        said.err.contains("was not made by the run") && said.err.contains("gets other values"),
        "{}",
        said.all()
    );
    // Not known by its run, and yet the same.
    let job = kit.apply_job(&planned, &head, &merged).set("GABION_RUN", "99");
    let said = job.kit_exits(0, "apply");
    assert!(said.err.contains("It is planned again"), "{}", said.all());
    assert!(!kit.comment().contains(VALUE));
    job.is_as_planned();
}

#[test]
fn a_hostile_request_gets_a_comment_and_nothing_else() {
    let Some(kit) = Kit::new("") else { return };
    let settings = "project: other\nstate: {type: s3, bucket: x, region: r, endpoint: 'http://127.0.0.1:9', allow_http: true}\n\
                    secrets: {a: {command: [sh, -c, 'touch ran; env > ran']}}\n";
    let head = kit.propose(
        "hostile",
        &[
            ("gabion.yml", settings),
            (
                "evil.gabion.yml",
                &data("evil", "'${{ secrets.a }} ${{ env.GITHUB_TOKEN }}'"),
            ),
        ],
    );
    let job = kit.plan(&head, 1, 0);
    assert!(!job.checkout().join("ran").exists());
    let comment = kit.comment();
    assert!(
        comment.contains("gabion:plan:demo")
            && comment.contains("env.GITHUB_TOKEN")
            && !comment.contains("t0ken"),
        "{comment}"
    );
    // A path that leads outside is an error that people see in the comment.
    let service =
        "type: service\nname: s\nfiles: ['/etc/hostname:x']\ncommands: [sleep 1]\nport: 8000\nauth: false\n";
    let head = kit.propose("escape", &[("escape.dstack.yml", service)]);
    kit.plan(&head, 2, 1);
    assert!(
        kit.comment().contains("whoever wrote this is not trusted"),
        "{}",
        kit.comment()
    );
}

/// Returns the actions that a file uses and that are not pinned to a commit.
fn unpinned(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("uses: "))
        .filter(|used| {
            let commit = used.split_once('@').map(|(_, at)| at);
            let commit = commit
                .and_then(|at| at.split_whitespace().next())
                .unwrap_or_default();
            let pinned = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            !pinned && !used.starts_with("./")
        })
        .collect()
}

#[test]
fn every_action_is_pinned_to_a_commit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut seen = 0;
    for directory in [
        ".github/workflows",
        ".github/actions/gabion",
        "examples/ci/github",
        "docs",
    ] {
        for entry in fs::read_dir(root.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let text = fs::read_to_string(&path).unwrap();
                assert_eq!(unpinned(&text), Vec::<&str>::new(), "{}", path.display());
                seen += text.matches("uses: ").count();
            }
        }
    }
    assert!(seen >= 15, "only {seen} uses of actions were seen");
    assert_eq!(unpinned("  - uses: actions/checkout@v4\n").len(), 1);
}

#[test]
fn workflows_are_never_stopped_in_the_middle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ci/github");
    let mut seen = 0;
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let workflow: Json = serde_yaml::from_str(&text).unwrap();
        if !path.ends_with("gabion-plan.yml") {
            assert_eq!(
                workflow["concurrency"]["group"],
                "gabion-default",
                "{}",
                path.display()
            );
            assert_eq!(
                workflow["concurrency"]["cancel-in-progress"],
                false,
                "{}",
                path.display()
            );
        }
        assert!(workflow["permissions"].is_object(), "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 4);
}
