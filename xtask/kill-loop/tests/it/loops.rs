//! Short versions of the kill loop and of runs that meet; `cargo xtask kill-loop` has the long ones.

use gabion_kill_loop::contention;
use gabion_kill_loop::rounds::{self, Plan};
use gabion_kill_loop::store::StoreKind;

use crate::harness::programs;

fn plan(store: StoreKind, rounds: u64) -> Plan {
    Plan {
        programs: programs(),
        store,
        rounds,
        seed: 17,
        objects: 300,
        units: 6,
    }
}

#[track_caller]
fn killed(store: StoreKind, rounds: u64) {
    let figures = rounds::run(&plan(store, rounds), &|line| eprintln!("{line}"));
    assert_eq!(figures.violations(), 0, "{figures:?}");
    assert_eq!(figures.rounds, rounds);
    assert!(figures.kills > 0, "{figures:?}");
}

#[track_caller]
fn met(store: StoreKind, rounds: u64) {
    let counted = contention::run(&plan(store, 0), rounds, &|line| eprintln!("{line}")).unwrap();
    assert_eq!((counted.failed, counted.overlapping), (0, 0), "{counted:?}");
    assert!(counted.worked >= rounds, "{counted:?}");
}

#[test]
fn killed_runs_lose_nothing_and_make_nothing_twice_on_sqlite() {
    killed(StoreKind::Sqlite, 5);
}

#[test]
fn runs_that_meet_work_one_at_a_time_on_sqlite() {
    met(StoreKind::Sqlite, 5);
}

#[test]
fn killed_runs_lose_nothing_and_make_nothing_twice_on_s3() {
    killed(StoreKind::S3, 3);
}

#[test]
fn killed_runs_lose_nothing_and_make_nothing_twice_on_postgres() {
    killed(StoreKind::Postgres, 3);
}

#[test]
fn runs_that_meet_work_one_at_a_time_on_s3() {
    met(StoreKind::S3, 3);
}

#[test]
fn runs_that_meet_work_one_at_a_time_on_postgres() {
    met(StoreKind::Postgres, 3);
}
