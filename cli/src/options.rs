//! What the command line and the environment mean, worked out once.
//!
//! This is the only module that reads the environment; everything else gets what it needs from here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gabion_engine::provider::ProviderRegistry;

use crate::args::{Common, Format, FormatArg};
use crate::failure::Failure;
use crate::output::{ProblemForm, Verbosity};
use crate::render::repository::RepositoryPath;
use crate::shell::shell_word;
use crate::wiring::{Aws, Hosts};

/// A snapshot of the process's environment. It holds secrets: it is never printed.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Takes the variables of this process whose name and value are text.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment is read"
    )]
    pub(crate) fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// Returns a variable; an empty one is there.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns a variable that is not empty.
    pub(crate) fn set(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Returns all variables.
    pub(crate) fn variables(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

/// Providers beside those of this build.
#[derive(Clone)]
pub(crate) struct ExtraProviders(Arc<dyn Fn(&mut ProviderRegistry) + Send + Sync>);

impl ExtraProviders {
    pub(crate) fn new(register: impl Fn(&mut ProviderRegistry) + Send + Sync + 'static) -> Self {
        Self(Arc::new(register))
    }

    /// Adds them to the providers of this build.
    pub(crate) fn register(&self, registry: &mut ProviderRegistry) {
        (self.0)(registry);
    }
}

impl fmt::Debug for ExtraProviders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExtraProviders")
    }
}

/// The user's directories, each gabion's own.
#[derive(Debug, Clone)]
pub(crate) struct UserDirs {
    /// Settings: the fingerprint key.
    pub(crate) config: PathBuf,
    /// What must survive: head marks, units, the port registry.
    pub(crate) state: PathBuf,
    /// What could be downloaded again but should not be lost.
    pub(crate) data: PathBuf,
    /// What may be deleted at any time: package environments.
    pub(crate) cache: PathBuf,
}

impl UserDirs {
    fn of(environment: &Environment) -> Result<Self, Failure> {
        let directory = |variable: &str, below_home: &str| {
            let absolute = environment
                .set(variable)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute());
            let base = match (absolute, environment.set("HOME")) {
                (Some(path), _) => path,
                (None, Some(home)) => Path::new(home).join(below_home),
                (None, None) => {
                    return Err(Failure::new("no home directory")
                        .detail("Neither HOME nor the XDG variables are set, so there is no place for your settings.")
                        .hint(format!("set HOME, or {variable} to an absolute path")));
                }
            };
            Ok(base.join("gabion"))
        };
        Ok(Self {
            config: directory("XDG_CONFIG_HOME", ".config")?,
            state: directory("XDG_STATE_HOME", ".local/state")?,
            data: directory("XDG_DATA_HOME", ".local/share")?,
            cache: directory("XDG_CACHE_HOME", ".cache")?,
        })
    }
}

/// A profile that was asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChosenProfile {
    /// Its name.
    pub(crate) name: String,
    /// Where it was named: the flag, or a variable.
    pub(crate) origin: &'static str,
}

impl ChosenProfile {
    /// The variables that name one, those that win first; the second is what dstack's users have set.
    const VARIABLES: [&'static str; 2] = ["GABION_PROFILE", "DSTACK_PROFILE"];

    fn of(common: &Common, environment: &Environment) -> Option<Self> {
        let flag = common.profile.as_deref().map(|name| (name, "--profile"));
        let mut variables = Self::VARIABLES.iter();
        let (name, origin) =
            flag.or_else(|| variables.find_map(|variable| Some((environment.set(variable)?, *variable))))?;
        Some(Self {
            name: name.to_owned(),
            origin,
        })
    }
}

/// Whether the project's files were written by somebody who is not trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Whoever runs gabion stands for them.
    #[default]
    Full,
    /// They are a proposal.
    Untrusted {
        /// The project as it is without them, if there is one.
        base: Option<PathBuf>,
    },
}

/// What every command knows.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// What to print.
    pub(crate) format: Format,
    /// What was asked for, which may be a form of one command alone.
    pub(crate) asked_format: FormatArg,
    /// Where the project's files are in their repository, when problems are to be printed as SARIF.
    pub(crate) sarif: Option<RepositoryPath>,
    /// The project directory, as given.
    pub(crate) directory: PathBuf,
    /// The stack.
    pub(crate) stack: Option<String>,
    /// Values of variables from the command line.
    pub(crate) variables: Vec<(String, String)>,
    /// Files with values of variables.
    pub(crate) variable_files: Vec<PathBuf>,
    /// The profile that documents take values from, unless it is the default one.
    pub(crate) profile: Option<ChosenProfile>,
    /// The user's directories.
    pub(crate) dirs: UserDirs,
    /// The environment.
    pub(crate) environment: Environment,
    /// The command that a person would type to get here, for hints: `gabion -C dir`.
    pub(crate) program: String,
    /// Whether the project's files were written by somebody who is not trusted.
    pub(crate) trust: Trust,
    /// Providers beside those of this build.
    pub(crate) extra: ExtraProviders,
    /// The machines of the project that are reached over SSH, and the connections to them.
    pub(crate) machines: Hosts,
    /// The way to AWS, which nothing is asked of unless something there is needed.
    pub(crate) aws: Aws,
}

impl Options {
    /// Works out what the command line means.
    pub(crate) fn resolve(
        common: &Common,
        environment: Environment,
        extra: ExtraProviders,
    ) -> Result<Self, Failure> {
        if let Some(stack) = &common.stack {
            check_stack(stack)?;
        }
        let variables = common
            .variables
            .iter()
            .map(|text| variable(text))
            .collect::<Result<_, _>>()?;
        let directory = common.directory.clone().unwrap_or_else(|| PathBuf::from("."));
        let mut program = "gabion".to_owned();
        if let Some(directory) = &common.directory {
            program.push_str(&format!(" -C {}", shell_word(&directory.to_string_lossy())));
        }
        if let Some(stack) = &common.stack {
            program.push_str(&format!(" --stack {stack}"));
        }
        for file in &common.variable_files {
            program.push_str(&format!(" --var-file {}", shell_word(&file.to_string_lossy())));
        }
        for text in &common.variables {
            program.push_str(&format!(" --var {}", shell_word(text)));
        }
        if let Some(profile) = &common.profile {
            program.push_str(&format!(" --profile {}", shell_word(profile)));
        }
        Ok(Self {
            format: common.format.unwrap_or_default().of_results(),
            asked_format: common.format.unwrap_or_default(),
            sarif: (common.format == Some(FormatArg::Sarif)).then(|| repository(common, &environment)),
            directory,
            stack: common.stack.clone(),
            variables,
            variable_files: common.variable_files.clone(),
            profile: ChosenProfile::of(common, &environment),
            dirs: UserDirs::of(&environment)?,
            environment,
            program,
            trust: Trust::default(),
            extra,
            machines: Hosts::default(),
            aws: Default::default(),
        })
    }

    /// Returns the arguments that lead another process of this program to the same project.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "-C".to_owned(),
            self.directory.to_string_lossy().into_owned(),
            "--no-color".to_owned(),
        ];
        let mut add = |flag: &str, value: &str| arguments.extend([flag.to_owned(), value.to_owned()]);
        if let Some(stack) = &self.stack {
            add("--stack", stack);
        }
        if let Some(profile) = &self.profile {
            add("--profile", &profile.name);
        }
        for file in &self.variable_files {
            add("--var-file", &file.to_string_lossy());
        }
        for (name, value) in &self.variables {
            add("--var", &format!("{name}={value}"));
        }
        arguments
    }

    /// Returns whether colours may be used at all.
    pub(crate) fn colour(common: &Common, environment: &Environment) -> bool {
        !common.no_color && environment.set("NO_COLOR").is_none()
    }

    /// Returns the form of problems that are printed where errors go.
    pub(crate) fn problem_form(common: &Common, environment: &Environment) -> ProblemForm {
        match common.format {
            Some(FormatArg::Json) => ProblemForm::Json,
            Some(FormatArg::Github) => ProblemForm::Annotations(repository(common, environment)),
            _ => ProblemForm::Text,
        }
    }

    /// Returns how much is printed.
    pub(crate) fn verbosity(common: &Common) -> Verbosity {
        match (common.quiet, common.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }

    /// Returns who is acting, for leases and history: the URL of the CI run, or the user's name.
    pub(crate) fn who(&self) -> String {
        let set = |name| self.environment.set(name);
        if let (Some(server), Some(repository), Some(run)) = (
            set("GITHUB_SERVER_URL"),
            set("GITHUB_REPOSITORY"),
            set("GITHUB_RUN_ID"),
        ) {
            return format!("{server}/{repository}/actions/runs/{run}");
        }
        set("CI_JOB_URL")
            .or(set("BUILD_URL"))
            .or(set("USER"))
            .or(set("LOGNAME"))
            .map_or_else(user_name, str::to_owned)
    }

    /// Returns this machine's name.
    pub(crate) fn host(&self) -> String {
        nix::unistd::gethostname()
            .map_or_else(|_| "localhost".into(), |name| name.to_string_lossy().into_owned())
    }
}

/// Returns where the project's files are in their repository.
fn repository(common: &Common, environment: &Environment) -> RepositoryPath {
    let directory = common.directory.as_deref().unwrap_or(Path::new("."));
    RepositoryPath::new(directory, environment.set("GITHUB_WORKSPACE"))
}

/// Returns the user's name as the system has it.
fn user_name() -> String {
    let uid = nix::unistd::getuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}

fn variable(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::new("not a variable")
            .detail(format!("`--var {text}` gives no variable a value."))
            .hint("write: --var NAME=VALUE")),
    }
}

/// Refuses what cannot name a stack.
pub(crate) fn check_stack(stack: &str) -> Result<(), Failure> {
    if stack == "default" {
        return Err(Failure::new("not a stack's name")
            .detail("`default` is what a project without `--stack` is called where its state is stored.")
            .hint("leave `--stack` out, or choose another name"));
    }
    let is_fine = !stack.is_empty()
        && stack.len() <= 63
        && stack
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !stack.starts_with('-');
    if is_fine {
        return Ok(());
    }
    Err(Failure::new("not a stack's name")
        .detail(format!("`{stack}` cannot name a stack."))
        .hint("use up to 63 lower-case letters, digits and `-`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_never_printed() {
        let environment = Environment(BTreeMap::from([("TOKEN".into(), "hunter2".into())]));
        assert_eq!(format!("{environment:?}"), "Environment(1 variables)");
    }

    #[test]
    fn relative_xdg_directories_are_ignored() {
        let environment = Environment(BTreeMap::from([
            ("HOME".into(), "/home/a".into()),
            ("XDG_STATE_HOME".into(), "relative".into()),
            ("XDG_CACHE_HOME".into(), "/cache".into()),
        ]));
        let dirs = UserDirs::of(&environment).unwrap();
        assert_eq!(dirs.state, Path::new("/home/a/.local/state/gabion"));
        assert_eq!(dirs.cache, Path::new("/cache/gabion"));
        assert!(UserDirs::of(&Environment::default()).is_err());
    }
}
