//! Two projects of one user on one machine.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::Project;

#[test]
fn two_projects_applied_at_once_do_not_collide() {
    let mut first = Project::quick();
    let second = first.beside("second");
    let runs = [first.start(&["apply", "-y"]), second.start(&["apply", "-y"])];
    for run in runs {
        run.finish(Duration::from_secs(240)).succeeds();
    }
    let units = ["host_unit.qwen/default/0", "host_unit.qwen/default/1"];
    let replicas = |project: &Project| -> BTreeSet<String> {
        units
            .iter()
            .map(|unit| project.url(unit).trim_start_matches("http://").to_owned())
            .collect()
    };
    for project in [&first, &second] {
        project.plan_is_empty();
        let endpoint = project.endpoint();
        let own = replicas(project);
        for number in 0..10 {
            let replica = endpoint.ask(&format!("question {number}")).unwrap().replica;
            assert!(own.contains(&replica), "{replica} is not one of {own:?}");
        }
    }
    assert_ne!(first.endpoint().base, second.endpoint().base);
    assert_eq!(replicas(&first).union(&replicas(&second)).count(), 4);

    // One goes, the other stays.
    first.destroy();
    assert_eq!(second.units().len(), 4);
    second.endpoint().ask("are you still there?").unwrap();
    second.plan_is_empty();
}
