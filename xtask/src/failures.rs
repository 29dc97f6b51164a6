//! Tests that failed, read from what `cargo test` prints, and run once more.
//!
//! Many tests start real programs: routers, sshd, containers, a service manager. On a busy machine one of some 1,500
//! may fail for want of time. Each that failed is run again, alone; what passes then is named at the end as unsteady,
//! for somebody to mend. A test that fails twice has failed, and many failures are no accident: then none is repeated.

use std::collections::BTreeSet;

/// More failed tests than this are not run again.
const FEW: usize = 5;

/// What a run of `cargo test --no-fail-fast` says of tests that failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    /// Arguments that select each target with a failed test, as cargo words them: `-p gabion --test e2e`.
    pub(crate) targets: BTreeSet<String>,
    /// Names of failed tests, of all targets together.
    pub(crate) names: BTreeSet<String>,
}

impl Failures {
    /// Reads both streams of a run.
    pub(crate) fn read(stdout: &str, stderr: &str) -> Self {
        let targets = stderr
            .lines()
            .filter_map(|line| line.split_once("to rerun pass `"))
            .filter_map(|(_, rest)| rest.split_once('`'))
            .map(|(arguments, _)| arguments.to_owned())
            .collect();
        // `failures:` is printed twice for each target: before the output of each, then before the names alone.
        let mut names = BTreeSet::new();
        let mut listed = false;
        for line in stdout.lines() {
            match line.strip_prefix("    ") {
                _ if line == "failures:" => listed = true,
                Some(name) if listed && !name.starts_with(' ') => {
                    names.insert(name.to_owned());
                }
                _ => listed = false,
            }
        }
        Self { targets, names }
    }

    /// Says whether these are so few that a second look is worth it, and are all told by name.
    pub(crate) fn are_few(&self) -> bool {
        !self.targets.is_empty() && (1..=FEW).contains(&self.names.len())
    }
}

/// Returns the names of tests that a run says passed.
pub(crate) fn passed(stdout: &str) -> BTreeSet<String> {
    stdout
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STDOUT: &str = "\
running 3 tests
test fine ... ok
test hosts::cut ... FAILED
test roll::bad ... FAILED

failures:

---- hosts::cut stdout ----
    indented words of a test
failures:

---- roll::bad stdout ----
thread panicked

failures:
    hosts::cut
    roll::bad

test result: FAILED. 1 passed; 2 failed; 0 ignored
";

    #[test]
    fn failed_tests_are_read_with_their_targets() {
        let stderr = "\
     Running tests/it.rs (target/debug/deps/it-1)
error: test failed, to rerun pass `-p gabion-host --test it`
error: 1 target failed:
    `-p gabion-host --test it`
";
        let failures = Failures::read(STDOUT, stderr);
        let targets: Vec<&str> = failures.targets.iter().map(String::as_str).collect();
        let names: Vec<&str> = failures.names.iter().map(String::as_str).collect();
        assert_eq!(targets, ["-p gabion-host --test it"]);
        assert_eq!(names, ["hosts::cut", "roll::bad"]);
        assert!(failures.are_few());
    }

    #[test]
    fn what_does_not_compile_or_crashes_is_not_run_again() {
        let failures = Failures::read(
            "",
            "error[E0308]: mismatched types\nerror: could not compile `gabion`\n",
        );
        assert_eq!(failures, Failures::default());
        assert!(!failures.are_few());
        let crashed = Failures::read(
            "running 1 test\n",
            "error: test failed, to rerun pass `-p gabion --test e2e`\n",
        );
        assert!(!crashed.are_few());
    }

    #[test]
    fn many_failures_are_no_accident() {
        let names: String = (0..=FEW).map(|n| format!("    test_{n}\n")).collect();
        let stdout = format!("failures:\n{names}\n");
        let stderr = "error: test failed, to rerun pass `-p gabion --lib`\n";
        assert!(!Failures::read(&stdout, stderr).are_few());
    }

    #[test]
    fn passed_tests_are_read() {
        assert_eq!(passed(STDOUT).into_iter().collect::<Vec<_>>(), ["fine"]);
    }
}
