//! An account for a test's project, and whoever looks at it and changes it beside gabion.

use std::future::Future;

use gabion_testing::aws::{Aws, between};
use tokio::runtime::Runtime;

use crate::harness::{Project, Said};

pub(crate) const REGION: &str = "eu-west-1";

/// An account.
pub(crate) struct Account {
    runtime: Runtime,
    pub(crate) aws: Aws,
}

impl Account {
    #[expect(clippy::disallowed_methods, reason = "tests are told where the server is")]
    pub(crate) fn open() -> Self {
        let moto = std::env::var("GABION_TEST_AWS")
            .expect("GABION_TEST_AWS is not set; run the tests with: cargo xtask test -p gabion");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let aws = runtime.block_on(Aws::start(&moto));
        Self { runtime, aws }
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn ec2(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        self.wait(self.aws.ec2(REGION, action, parameters))
    }

    pub(crate) fn project(&self, documents: &str) -> Project {
        let mut project = Project::with(documents);
        for (name, value) in self.aws.variables() {
            project = project.set(name, &value);
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
