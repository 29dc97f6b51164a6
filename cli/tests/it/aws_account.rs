//! An account for a test's project, and whoever looks at it and changes it beside gabion.

use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use gabion_testing::aws::{Aws, between};
use serde_json::Value as Json;
use tokio::runtime::Runtime;

use crate::harness::{Project, Said};

pub(crate) const REGION: &str = "eu-west-1";

/// Makes calls that come as JSON, in order, and prints their answers.
const BOTO3: &str = "\
import json, sys
import boto3
answers, clients = [], {}
for service, call, parameters in json.load(sys.stdin):
    if service not in clients:
        clients[service] = boto3.client(service)
    answer = getattr(clients[service], call)(**parameters)
    answer.pop('ResponseMetadata', None)
    answers.append(answer)
json.dump(answers, sys.stdout, default=str)
";

/// An account.
pub(crate) struct Account {
    runtime: Runtime,
    pub(crate) aws: Aws,
}

impl Account {
    /// Opens one at moto.
    #[expect(clippy::disallowed_methods, reason = "tests are told where the server is")]
    pub(crate) fn open() -> Self {
        let moto = std::env::var("GABION_TEST_AWS")
            .expect("GABION_TEST_AWS is not set; run the tests with: cargo xtask test -p gabion");
        Self::at(async move { Aws::start(&moto).await })
    }

    /// Opens one of a cloud of our own.
    pub(crate) fn own() -> Self {
        Self::at(Aws::own())
    }

    fn at(opening: impl Future<Output = Aws>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let aws = runtime.block_on(opening);
        Self { runtime, aws }
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn ec2(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        self.wait(self.aws.ec2(REGION, action, parameters))
    }

    /// Makes calls with another client: service, method and parameters as boto3 has them.
    #[expect(clippy::disallowed_methods, reason = "tests are told where the program is")]
    #[track_caller]
    pub(crate) fn boto3(&self, calls: &Json) -> Json {
        let python = std::env::var("GABION_TEST_BOTO3")
            .expect("GABION_TEST_BOTO3 is not set; run the tests with: cargo xtask test -p gabion");
        let mut child = Command::new(python)
            .args(["-I", "-c", BOTO3])
            .env_clear()
            .envs(self.aws.variables())
            .env("AWS_DEFAULT_REGION", REGION)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(calls.to_string().as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{calls}\n{errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn project(&self, documents: &str) -> Project {
        let mut project = Project::with(documents);
        for (name, value) in self.aws.variables() {
            project = project.set(name, &value);
        }
        project
    }

    /// Makes a project of the article's files, in which a text is replaced.
    pub(crate) fn seed(&self, old: &str, new: &str) -> Project {
        let project = self
            .project("")
            .set("CLIENT_TOKEN", "token")
            .set("HF_TOKEN", "token");
        std::fs::remove_file(project.directory().join("main.gabion.yml")).unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/seed-aws/nvidia");
        for entry in std::fs::read_dir(example).unwrap().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            project.write(&entry.file_name().to_string_lossy(), text.replace(old, new));
        }
        project
    }

    pub(crate) fn image(&self) -> String {
        let filters = [
            ("Owner.1", "amazon"),
            ("Filter.1.Name", "name"),
            ("Filter.1.Value.1", "al2023-ami-2023*-x86_64"),
        ];
        let images = self.ec2("DescribeImages", &filters);
        between(&images, "<imageId>", "</imageId>").unwrap().to_owned()
    }
}

/// Returns an output of a recorded object, or an input.
#[track_caller]
pub(crate) fn output(project: &Project, address: &str, name: &str) -> String {
    let shown = project
        .exits(0, &["state", "show", address, "--format", "json"])
        .json();
    shown["outputs"][name]
        .as_str()
        .or_else(|| shown["inputs"][name].as_str())
        .unwrap_or_else(|| panic!("{shown}"))
        .to_owned()
}

#[track_caller]
pub(crate) fn mentions(said: &Said, parts: &[&str]) {
    for part in parts {
        assert!(said.all().contains(part), "{part}:\n{}", said.all());
    }
}
