//! The article's own files, written for AWS. Nobody's account is asked: what the region has is in a file.

use std::fs;

use crate::harness::Project;

#[test]
fn the_seed_files_are_valid_and_a_plan_says_of_which_region_it_knows_nothing() {
    for example in ["nvidia", "amd", "router", "prefill-decode"] {
        let mut project = Project::from_example(&format!("seed-aws/{example}"));
        project.run(&["validate"]).exits(0);
        let facts = project.directory().join("facts.json");
        fs::write(&facts, "{}").unwrap();
        project.set("GABION_AWS_FACTS", &facts.to_string_lossy());
        let plan = project.run(&["plan"]).exits(1);
        let places: Vec<&str> = plan
            .stderr
            .lines()
            .filter_map(|line| line.split_once("--> "))
            .map(|(_, place)| place)
            .collect();
        assert_eq!(places, ["gateway.dstack.yml:5:9"], "{example}: {plan}");
        let plan = plan.says("has nothing about the region `eu-west-1`");
        assert_eq!(plan.stdout, "", "{plan}");
        assert!(
            !project.directory().join(".gabion").exists(),
            "a plan that failed made a state"
        );
    }
}
