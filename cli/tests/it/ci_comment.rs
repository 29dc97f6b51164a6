//! `gabion ci comment` against a server that behaves as the API does.

use serde_json::json;

use crate::forge::Server;
use crate::harness::{Project, Said};

const MARK: &str = "<!-- gabion:plan:demo -->";

fn project(server: &Server) -> Project {
    Project::new()
        .set("GITHUB_ACTIONS", "true")
        .set("GITHUB_API_URL", server.url())
        .set("GITHUB_REPOSITORY", "ada/infra")
        .set("GITHUB_REF", "refs/pull/7/merge")
        .set("GITHUB_TOKEN", "t0ken")
}

#[track_caller]
fn post(project: &Project, code: i32, text: &str, more: &[&str]) -> Said {
    project.write("plan.md", format!("{MARK}\n{text}\n"));
    let arguments: Vec<&str> = ["ci", "comment", "plan.md"].iter().chain(more).copied().collect();
    let said = project.exits(code, &arguments);
    assert!(!said.all().contains("t0ken"), "the token was printed");
    said
}

#[test]
fn one_comment_is_posted_and_then_updated_however_many_there_are() {
    let server = Server::start();
    let project = project(&server);
    for number in 0..95 {
        server.service.lock().unwrap().comments.push(
            json!({"id": number, "user": {"id": 5, "type": "User"}, "body": format!("{MARK}\nmine now")}),
        );
    }
    assert!(
        post(&project, 0, "one", &[])
            .err
            .contains("Posted https://github.example/96")
    );
    assert!(
        post(&project, 0, "two", &[])
            .err
            .contains("Updated https://github.example/96")
    );
    let service = server.service.lock().unwrap();
    assert_eq!(service.comments.len(), 96);
    assert_eq!(service.comments[95]["body"], format!("{MARK}\ntwo\n"));
    // What somebody else wrote with the same mark is not touched.
    assert_eq!(service.comments[0]["body"], format!("{MARK}\nmine now"));
    assert!(
        service
            .seen
            .contains(&"POST /repos/ada/infra/issues/7/comments".to_owned())
    );
}

#[test]
fn a_person_s_token_updates_what_that_person_wrote() {
    let server = Server::start();
    server.service.lock().unwrap().user = Some(5);
    let project = project(&server);
    server
        .service
        .lock()
        .unwrap()
        .comments
        .push(json!({"id": 1, "user": {"id": 6, "type": "Bot"}, "body": MARK}));
    post(&project, 0, "one", &[]);
    post(&project, 0, "two", &[]);
    assert_eq!(server.service.lock().unwrap().comments.len(), 2);
}

#[test]
fn a_body_that_is_too_long_is_cut_and_not_torn() {
    let server = Server::start();
    server.service.lock().unwrap().longest = 20_000;
    let project = project(&server);
    let details: String = (0..80)
        .map(|i| {
            format!(
                "<details><summary>{i}</summary>\n\n```diff\n+ {}\n```\n\n</details>\n\n",
                "x".repeat(600)
            )
        })
        .collect();
    post(
        &project,
        0,
        &format!("### title\n\n{details}<sub>state serial 3</sub>"),
        &[],
    );
    let service = server.service.lock().unwrap();
    let body = service.comments[0]["body"].as_str().unwrap();
    assert!(body.len() <= 20_000 && body.len() > 7_000, "{}", body.len());
    assert_eq!(
        body.matches("<details>").count(),
        body.matches("</details>").count()
    );
    assert!(
        body.contains("is left out here") && body.contains("state serial 3"),
        "{body}"
    );
}

#[test]
fn limits_are_waited_for_and_lost_answers_make_no_second_comment() {
    let server = Server::start();
    let project = project(&server);
    server.service.lock().unwrap().limited = 2;
    server.service.lock().unwrap().lost = 1;
    post(&project, 0, "one", &[]);
    let service = server.service.lock().unwrap();
    assert_eq!(service.comments.len(), 1);
    assert_eq!(service.limited, 0);
}

#[test]
fn one_issue_is_opened_updated_and_closed() {
    let server = Server::start();
    let project = project(&server);
    let issue = ["--issue", "Drift in demo"];
    assert!(
        post(&project, 0, "none", &["--issue", "Drift in demo", "--close"])
            .err
            .contains("nothing to close")
    );
    assert!(post(&project, 0, "two", &issue).err.contains("Posted"));
    assert!(post(&project, 0, "three", &issue).err.contains("Updated"));
    assert!(
        post(&project, 0, "none", &["--issue", "Drift in demo", "--close"])
            .err
            .contains("Closed")
    );
    assert!(post(&project, 0, "four", &issue).err.contains("Posted"));
    let service = server.service.lock().unwrap();
    let states: Vec<_> = service.issues.iter().map(|issue| &issue["state"]).collect();
    assert_eq!(states, ["closed", "open"]);
}

#[test]
fn what_is_wrong_is_said_without_the_token() {
    let server = Server::start();
    let project = project(&server);
    project.write("other.md", "# no mark\n");
    let said = project.exits(1, &["ci", "comment", "other.md"]);
    assert!(said.err.contains("hidden mark"), "{}", said.all());
    let said = post(&project, 1, "one", &["--api", "http://api.example.org"]);
    assert!(said.err.contains("only over https"), "{}", said.all());
    let said = post(&project, 1, "one", &["--repository", "../admin"]);
    assert!(said.err.contains("no repository"), "{}", said.all());
    let project = project.set("GITHUB_TOKEN", "wrong");
    let said = project.exits(1, &["ci", "comment", "plan.md"]);
    assert!(said.err.contains("Bad credentials"), "{}", said.all());
    assert!(server.service.lock().unwrap().comments.is_empty());
    let project = Project::new();
    project.write("plan.md", format!("{MARK}\n"));
    let said = project.exits(1, &["ci", "comment", "plan.md"]);
    assert!(said.err.contains("--forge github"), "{}", said.all());
}
