//! The article's own files, written for AWS: they load, and this build says what it lacks.

use crate::harness::Project;

#[test]
fn the_seed_files_are_valid_and_plans_say_what_this_build_lacks() {
    for example in ["nvidia", "amd", "router"] {
        let project = Project::from_example(&format!("seed-aws/{example}"));
        project.run(&["validate"]).exits(0);
        let plan = project.run(&["plan"]).exits(1);
        let places: Vec<&str> = plan
            .stderr
            .lines()
            .filter_map(|line| line.split_once("--> "))
            .map(|(_, place)| place)
            .collect();
        assert_eq!(
            places,
            ["gateway.dstack.yml:4:10", "qwen.dstack.yml:1:7"],
            "{example}: {plan}"
        );
        let plan = plan.says("AWS");
        assert_eq!(plan.stdout, "", "{plan}");
        assert!(
            !project.directory().join(".gabion").exists(),
            "a plan that failed made a state"
        );
    }
}
