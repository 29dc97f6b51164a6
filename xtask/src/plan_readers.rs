//! Programs that other people made to read Terraform's plans: tests have them read ours.

use std::path::{Path, PathBuf};

use crate::{Failure, packages};

/// What is installed, each file by its hash.
const LOCK: &str = include_str!("packages/plan-readers.txt");

const NAME: &str = "plan-readers";

/// Where tests find the Python that has them.
pub(crate) const PYTHON: &str = "GABION_TEST_PLAN_READERS";

/// Returns whether tests of these arguments may need them: they take a minute to install, and only the command line's
/// tests use them.
pub(crate) fn are_wanted(arguments: &[String]) -> bool {
    let named: Vec<&str> = arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .zip(arguments.iter().skip(1))
        .filter(|(flag, _)| ["-p", "--package"].contains(&flag.as_str()))
        .map(|(_, package)| package.as_str())
        .collect();
    named.is_empty() || named.contains(&"gabion")
}

/// Returns a Python that has the programs, installing them first when they are not there.
pub(crate) fn python(packages: &Path) -> Result<PathBuf, Failure> {
    let environment = packages::ensure(packages, NAME, LOCK)?;
    Ok(environment.join("bin").join("python"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_installed_for_the_command_lines_tests() {
        let wanted = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            are_wanted(&words)
        };
        assert!(wanted("") && wanted("--workspace --no-fail-fast") && wanted("-p gabion --test it -- plan"));
        assert!(wanted("-p gabion-engine -p gabion"));
        assert!(!wanted("-p gabion-engine") && !wanted("--package gabion-aws -- -p gabion"));
    }
}
