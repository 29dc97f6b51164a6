//! A few lives, and what the simulation itself promises. `cargo xtask test` leads many more.

use std::path::Path;

use gabion_simulation::run::{Request, run, tell};
use gabion_simulation::{StoreKind, mutation};

fn request(store: StoreKind, points: u64) -> Request {
    Request {
        seed: 0,
        stores: vec![store],
        points,
        violations: 1,
        threads: 2,
    }
}

#[test]
fn lives_hold_on_every_store() {
    for store in StoreKind::ALL {
        let outcome = run(&request(*store, 150), &|_| {}).unwrap();
        assert_eq!(outcome.violations, [], "on {store:?}");
        assert!(outcome.all_points() >= 150);
    }
}

#[test]
fn the_same_seed_is_the_same_life() {
    for store in StoreKind::ALL {
        for seed in 7..10 {
            let (first, second) = (tell(seed, *store).unwrap(), tell(seed, *store).unwrap());
            assert_eq!(first.story, second.story, "seed {seed} on {store:?}");
        }
    }
}

#[test]
fn a_broken_compare_and_set_is_caught() {
    let outcome = run(&request(StoreKind::Racy, 500), &|_| {}).unwrap();
    assert!(!outcome.violations.is_empty());
}

#[test]
fn deliberate_mistakes_fit_the_sources() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    for mistake in mutation::MUTATIONS {
        assert_eq!(mutation::fits(&workspace, mistake), Ok(()));
    }
}
