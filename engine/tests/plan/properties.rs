//! What holds of every plan: order, determinism, and that applying it leaves nothing to do.

use std::collections::BTreeMap;
use std::time::Duration;

use gabion_engine::plan::Plan;
use gabion_engine::plan::check::check;
use gabion_engine::plan::step::{StepId, StepOperation};
use nix::time::{ClockId, clock_gettime};
use proptest::prelude::*;

use crate::support::{Scenario, render};

/// One resource of a random project; it refers to resources before it.
#[derive(Debug, Clone)]
struct Thing {
    kind: &'static str,
    input: u8,
    image: u8,
    refers: Vec<(usize, &'static str)>,
    orders: Vec<usize>,
    create_first: Option<bool>,
    present: bool,
}

fn thing(position: usize) -> impl Strategy<Value = Thing> {
    let before = position.max(1);
    let references = prop::collection::vec(
        (
            0..before,
            prop::sample::select(vec!["output", "id", "zone", "size"]),
        ),
        0..3,
    );
    (
        prop::sample::select(vec!["box", "box", "slot"]),
        0..3u8,
        0..3u8,
        references,
        prop::collection::vec(0..before, 0..2),
        prop::option::weighted(0.2, Just(true)),
        prop::bool::weighted(0.85),
    )
        .prop_map(
            move |(kind, input, image, refers, orders, create_first, present)| Thing {
                kind,
                input,
                image,
                refers: if position == 0 { Vec::new() } else { refers },
                orders: if position == 0 { Vec::new() } else { orders },
                create_first,
                present,
            },
        )
}

fn things() -> impl Strategy<Value = Vec<Thing>> {
    (1..12usize).prop_flat_map(|count| (0..count).map(thing).collect::<Vec<_>>())
}

/// The second project has the kinds of the first, so that addresses meet.
fn two() -> impl Strategy<Value = (Vec<Thing>, Vec<Thing>)> {
    (things(), things()).prop_map(|(one, mut two)| {
        for (new, old) in two.iter_mut().zip(&one) {
            new.kind = old.kind;
        }
        (one, two)
    })
}

fn yaml(things: &[Thing]) -> String {
    let name = |at: usize| format!("{}.n{at}", things[at].kind);
    let mut out = String::new();
    for (at, thing) in things.iter().enumerate().filter(|(_, thing)| thing.present) {
        let standing = |to: &&(usize, &str)| things[to.0].present;
        let mut input = thing.input.to_string();
        for (to, attribute) in thing.refers.iter().filter(standing) {
            input = format!("{input}-${{{{ {}.{attribute} }}}}", name(*to));
        }
        // A part of the graph forces replacement through references.
        let image = match thing.refers.iter().find(standing) {
            Some((to, _)) if thing.image == 2 => format!("'${{{{ {}.id }}}}'", name(*to)),
            _ => format!("i{}", thing.image),
        };
        let input = if input.contains("box") || input.contains("slot") {
            format!("'{input}'")
        } else {
            input
        };
        out.push_str(&format!(
            "{} n{at}: {{input: {input}, image: {image}}}",
            thing.kind
        ));
        let orders: Vec<String> = thing
            .orders
            .iter()
            .filter(|to| things[**to].present)
            .map(|to| name(*to))
            .collect();
        if !orders.is_empty() {
            out.push_str(&format!(" | depends_on: [{}]", orders.join(", ")));
        }
        if thing.create_first.is_some() && thing.kind == "box" {
            out.push_str(" | lifecycle: {create_before_destroy: true}");
        }
        out.push('\n');
    }
    out
}

/// Every step that must come before another is among the steps that it waits for, directly or not.
fn waits_for(plan: &Plan, later: StepId, earlier: StepId) -> bool {
    let mut open = vec![later];
    while let Some(at) = open.pop() {
        for before in &plan.steps[at.0 as usize].after {
            if *before == earlier {
                return true;
            }
            open.push(*before);
        }
    }
    false
}

fn check_order(plan: &Plan, scenario: &Scenario) {
    let mut applied = BTreeMap::new();
    let mut removed = BTreeMap::new();
    for step in &plan.steps {
        let change = &plan.changes[step.change];
        match step.operation {
            StepOperation::Delete { uid } | StepOperation::DeleteWith { uid, .. } => {
                removed.insert(uid, step.id);
            }
            _ => {
                applied.insert(change.address.clone(), step.id);
            }
        }
    }
    for resource in &scenario.configuration.resources {
        let change = plan
            .changes
            .iter()
            .find(|c| c.address == resource.address && !c.deposed)
            .unwrap();
        let Some(later) = applied.get(&resource.address) else {
            continue;
        };
        for dependency in &change.declaration.as_ref().unwrap().dependencies {
            if let Some(earlier) = applied.get(&dependency.address) {
                assert!(
                    waits_for(plan, *later, *earlier),
                    "{} before {}",
                    dependency.address,
                    resource.address
                );
            }
        }
    }
    for record in scenario.state.records() {
        let Some(earlier) = removed.get(&record.uid) else {
            continue;
        };
        for dependency in record.declaration.dependencies.iter().filter_map(|d| d.uid) {
            if let Some(later) = removed.get(&dependency) {
                assert!(
                    waits_for(plan, *later, *earlier),
                    "{} goes after what it depends on",
                    record.address
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_project_can_become_any_other((one, two) in two()) {
        let mut scenario = Scenario::new("");
        for things in [&one, &two, &one] {
            scenario.configure(&yaml(things));
            let (plan, problems) = scenario.try_plan();
            // Two wishes of the configuration may contradict each other; that is a problem, never a wrong plan.
            let Some(plan) = plan else {
                prop_assert!(problems.iter().all(|p| p.code == "replace-order-conflict"), "{problems}");
                return Ok(());
            };
            prop_assert_eq!(check(&plan), Vec::<String>::new());
            let again = scenario.plan();
            prop_assert_eq!(plan.to_file().unwrap(), again.to_file().unwrap());
            prop_assert_eq!(&Plan::from_file(&plan.to_file().unwrap()).unwrap(), &plan);
            check_order(&plan, &scenario);
            scenario.carry_out(&plan);
            let after = scenario.plan();
            prop_assert!(after.is_empty(), "{}\nafter\n{}", render(&after), render(&plan));
        }
    }

    #[test]
    fn a_run_that_stops_anywhere_goes_on_with_a_new_plan((one, two) in two(), stop in 0..20usize) {
        let mut scenario = Scenario::new("");
        scenario.configure(&yaml(&one));
        for things in [&one, &two] {
            scenario.configure(&yaml(things));
            let (Some(plan), _) = scenario.try_plan() else { return Ok(()) };
            scenario.begin(&plan);
            for step in plan.steps.iter().take(stop) {
                scenario.carry_out_step(&plan, step);
            }
            let (Some(rest), problems) = scenario.try_plan() else { return Ok(()) };
            prop_assert!(!problems.has_errors(), "{}", problems);
            prop_assert!(rest.steps.len() <= plan.steps.len() + plan.changes.len());
            scenario.carry_out(&rest);
            let after = scenario.plan();
            prop_assert!(after.is_empty(), "{}", render(&after));
        }
    }
}

fn chain(length: usize) -> String {
    let mut out = "box n00000: {input: 1}\n".to_owned();
    for at in 1..length {
        out.push_str(&format!(
            "box n{at:05}: {{input: '${{{{ box.n{:05}.output }}}}'}}\n",
            at - 1
        ));
    }
    out
}

fn wide(width: usize) -> String {
    (0..width)
        .map(|at| format!("box n{at:05}: {{input: {at}, image: x}}\n"))
        .collect()
}

#[test]
fn a_chain_of_two_thousand_is_planned_without_a_deep_stack() {
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    let run = small.spawn(|| {
        let scenario = Scenario::new(&chain(2_000));
        let plan = scenario.plan();
        assert_eq!(plan.steps.len(), 2_000);
        assert_eq!(plan.steps.iter().map(|step| step.after.len()).max(), Some(1));
    });
    run.unwrap().join().unwrap();
}

#[test]
fn a_long_cycle_is_reported_without_a_deep_stack() {
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    let run = small.spawn(|| {
        let first = "box n00000: {input: '${{ box.n01999.output }}'}\n";
        let scenario = Scenario::new(&chain(2_000).replacen("box n00000: {input: 1}\n", first, 1));
        let problems = scenario.problems();
        assert!(
            problems.starts_with("error: dependency cycle"),
            "{}",
            &problems[..200]
        );
    });
    run.unwrap().join().unwrap();
}

#[test]
fn the_cost_of_a_plan_is_linear() {
    let time = |yaml: &str| {
        let scenario = Scenario::new(yaml);
        let best = (0..3).map(|_| {
            let start = processor_time();
            scenario.plan();
            processor_time() - start
        });
        best.min().unwrap_or_default()
    };
    for shape in [chain, wide] {
        let (small, large) = (time(&shape(400)), time(&shape(3_200)));
        // Eight times the resources: far below the 64-fold of a quadratic cost.
        assert!(
            large < small * 24 + Duration::from_millis(100),
            "{small:?} for 400, {large:?} for 3200"
        );
    }
}

/// How long this thread has had a processor: what others do meanwhile does not count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
