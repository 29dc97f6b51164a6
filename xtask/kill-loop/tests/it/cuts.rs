//! Hosts that are cut off while programs are made on them: a short version of `cargo xtask cut-loop`.

use std::path::{Path, PathBuf};

use gabion_kill_loop::cuts;

use crate::harness::programs;

/// Returns the agent's program, if it was built.
#[expect(clippy::disallowed_methods, reason = "tests are told where programs are")]
fn agent() -> Option<PathBuf> {
    let given = std::env::var_os("GABION_TEST_AGENT").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_BIN_EXE_gabion-kill-loop")).with_file_name("gabion-agent");
    let found = given.or(Some(beside)).filter(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: there is no gabion-agent; `cargo xtask test` builds it");
    }
    found
}

#[test]
fn whatever_is_cut_or_killed_the_next_apply_settles_it() {
    let Some(agent) = agent() else { return };
    let plan = cuts::Plan {
        programs: programs(),
        agent,
        hosts: 3,
        units: 3,
        rounds: 3,
        from: 1,
        seed: 11,
    };
    let figures = cuts::run(&plan, &|line| eprintln!("{line}"));
    assert_eq!(figures.violations(), 0, "{figures:?}");
    if !figures.skipped {
        assert_eq!(figures.rounds, 3, "{figures:?}");
        assert!(figures.disturbances() > 0, "{figures:?}");
    }
}
