//! What gabion is to reach, beside what was measured: every verdict is computed.

use super::mix;
use super::results::{Cell, Phase, Ratios, Results};
use super::shape::Shape;
use super::words::{bytes, grouped, name_of};

/// The size whose cost per resource others are compared with.
pub(super) const BASE: usize = 10_000;

/// How much more a resource may cost in a larger project.
pub(super) const MOST_PER_RESOURCE: f64 = 1.5;

/// A bound, and what was measured.
#[derive(Debug)]
pub(super) struct Goal {
    /// Of what.
    pub(super) what: String,
    /// The bound, in words.
    pub(super) bound: String,
    /// What was measured, in words; empty when nothing was.
    pub(super) measured: String,
    pub(super) verdict: Verdict,
}

/// Whether a bound was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    /// The wall's time was above the bound and the processor time was not: other work kept it waiting.
    MetByProcessorTime,
    Missed,
    NotMeasured,
}

impl Verdict {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::MetByProcessorTime => "met by processor time",
            Self::Missed => "**missed**",
            Self::NotMeasured => "not measured",
        }
    }

    fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::Missed }
    }
}

/// Returns every goal with its verdict.
pub(super) fn goals(results: &Results) -> Vec<Goal> {
    let wide = |size: usize| (Shape::Wide, size);
    let chain = |size: usize| (Shape::Chain, size);
    let judge = Judge { results };
    let mut goals = Vec::new();
    for phase in [Phase::FirstPlan, Phase::EmptyPlan] {
        goals.push(judge.less_processor(wide(10_000), phase, 50.0));
        goals.push(judge.less_memory(wide(10_000), phase, 5.0));
        goals.push(judge.seconds(wide(10_000), phase, 0.5));
    }
    goals.push(judge.megabytes(wide(10_000), &[Phase::FirstPlan], 120.0));
    goals.push(judge.less_processor(wide(1_000), Phase::Apply, 100.0));
    goals.push(judge.seconds(wide(1_000), Phase::Apply, 0.5));
    goals.push(judge.recorded(wide(1_000)));
    goals.push(judge.less_processor(chain(2_000), Phase::FirstPlan, 500.0));
    goals.push(judge.seconds(chain(2_000), Phase::FirstPlan, 0.2));
    goals.push(judge.seconds(wide(10_000), Phase::Apply, 5.0));
    goals.push(judge.seconds(wide(10_000), Phase::Destroy, 5.0));
    let large = [Phase::FirstPlan, Phase::Apply, Phase::EmptyPlan];
    goals.extend(large.map(|phase| judge.per_resource(wide(1_000_000), phase)));
    goals.push(judge.megabytes(wide(1_000_000), &large, 2_000.0));
    goals.push(judge.ends(chain(100_000)));
    for shape in Shape::ALL {
        let largest = results.cells().into_iter().rfind(|cell| cell.0 == shape);
        match largest {
            Some(cell) if cell.1 > BASE => goals.push(judge.every_command(cell)),
            _ => {}
        }
    }
    goals.extend(judge.durability(chain(2_000)));
    goals.push(judge.seconds(wide(100_000), Phase::OnePlan, 2.0));
    goals.push(judge.appended(wide(100_000)));
    goals.push(judge.calls());
    goals
}

struct Judge<'a> {
    results: &'a Results,
}

impl Judge<'_> {
    /// Makes a goal of a measurement and its verdict, if there is one.
    fn goal(&self, what: String, bound: String, measured: Option<(String, Verdict)>) -> Goal {
        let (measured, verdict) = measured.unwrap_or((String::new(), Verdict::NotMeasured));
        Goal {
            what,
            bound,
            measured,
            verdict,
        }
    }

    fn less_processor(&self, cell: Cell, phase: Phase, times: f64) -> Goal {
        let ratios = self.results.less(cell, phase, |usage| usage.cpu);
        self.goal(
            named(cell, phase),
            format!("{times:.0}× less processor time than Terraform"),
            ratios.map(|ratios| (pairs(ratios), Verdict::of(ratios.median >= times))),
        )
    }

    fn less_memory(&self, cell: Cell, phase: Phase, times: f64) -> Goal {
        let ratios = self.results.less(cell, phase, |usage| usage.peak);
        self.goal(
            named(cell, phase),
            format!("{times:.0}× less memory than Terraform"),
            ratios.map(|ratios| (pairs(ratios), Verdict::of(ratios.median >= times))),
        )
    }

    fn seconds(&self, cell: Cell, phase: Phase, most: f64) -> Goal {
        let measured = self.results.gabion(cell, phase).map(|figures| {
            let verdict = match (figures.wall < most, figures.cpu < most) {
                _ if figures.cut => Verdict::Missed,
                (true, _) => Verdict::Met,
                (false, true) => Verdict::MetByProcessorTime,
                (false, false) => Verdict::Missed,
            };
            let words = format!("{:.2} s, {:.2} s of processor time", figures.wall, figures.cpu);
            (words, verdict)
        });
        self.goal(named(cell, phase), format!("under {most} s"), measured)
    }

    fn megabytes(&self, cell: Cell, phases: &[Phase], most: f64) -> Goal {
        let peaks = phases.iter().map(|phase| self.results.gabion(cell, *phase));
        // Of several, all must have been measured.
        let peaks: Option<Vec<f64>> = peaks.map(|figures| Some(figures?.peak)).collect();
        let peak = peaks.map(|peaks| peaks.into_iter().fold(0.0, f64::max) * 1.048_576);
        let what = match phases {
            [phase] => named(cell, *phase),
            _ => {
                let names: Vec<&str> = phases.iter().map(|phase| phase.name()).collect();
                format!("{}: {}", name_of(cell), names.join("; "))
            }
        };
        self.goal(
            what,
            format!("under {} MB", grouped(most as u64)),
            peak.map(|peak| (format!("{peak:.0} MB"), Verdict::of(peak < most))),
        )
    }

    /// An intent and a result of each resource are in the log when apply has ended.
    fn recorded(&self, cell: Cell) -> Goal {
        let events = self.results.growth(cell, Phase::Apply).map(|log| log.events);
        self.goal(
            named(cell, Phase::Apply),
            "every intent and every result in the log".to_owned(),
            events.map(|events| {
                let verdict = Verdict::of(events >= 2 * cell.1 as u64);
                (format!("{} events", grouped(events)), verdict)
            }),
        )
    }

    fn ratio(&self, cell: Cell, phase: Phase) -> Option<f64> {
        let base = self.results.per_resource((cell.0, BASE), phase)?;
        Some(self.results.per_resource(cell, phase)? / base)
    }

    fn per_resource(&self, cell: Cell, phase: Phase) -> Goal {
        let measured = self
            .ratio(cell, phase)
            .map(|ratio| (format!("{ratio:.2}×"), Verdict::of(ratio <= MOST_PER_RESOURCE)));
        self.goal(named(cell, phase), per_resource_bound(), measured)
    }

    /// Judges the command whose cost per resource grew most.
    fn every_command(&self, cell: Cell) -> Goal {
        let measured = self.worst(cell).map(|(ratio, phase)| {
            let words = format!("at most {ratio:.2}× ({})", phase.name());
            (words, Verdict::of(ratio <= MOST_PER_RESOURCE))
        });
        self.goal(
            format!("{}: every command", name_of(cell)),
            per_resource_bound(),
            measured,
        )
    }

    fn worst(&self, cell: Cell) -> Option<(f64, Phase)> {
        let ratios = Phase::ALL
            .iter()
            .filter_map(|phase| Some((self.ratio(cell, *phase)?, *phase)));
        ratios.max_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Judges whether every command of a deep project ended well.
    fn ends(&self, cell: Cell) -> Goal {
        let failed = self.results.failures().iter().any(|(of, _)| *of == cell);
        let ended = Phase::ALL.iter().all(|phase| {
            let figures = self.results.gabion(cell, *phase);
            figures.is_some_and(|figures| !figures.cut)
        });
        let begun = self.results.cells().contains(&cell);
        let measured = (begun || failed).then(|| match ended && !failed {
            true => ("every command ended well".to_owned(), Verdict::Met),
            false => ("a command failed or was ended".to_owned(), Verdict::Missed),
        });
        self.goal(
            format!("{}: every command", name_of(cell)),
            "ends, without an overflow of the stack".to_owned(),
            measured,
        )
    }

    fn durability(&self, cell: Cell) -> [Goal; 2] {
        let durability = self.results.durability(cell);
        [
            self.goal(
                named(cell, Phase::Apply),
                "commits ÷ levels at most 1.1".to_owned(),
                durability.map(|found| {
                    let words = format!(
                        "{:.3} ({} commits)",
                        found.commits_a_level,
                        grouped(found.commits)
                    );
                    (words, Verdict::of(found.commits_a_level <= 1.1))
                }),
            ),
            self.goal(
                named(cell, Phase::Apply),
                "wall ÷ (commits × median fsync) at most 1.3".to_owned(),
                durability.map(|found| {
                    let words = format!("{:.2} (fsync {:.2} ms)", found.over_fsync, found.fsync * 1e3);
                    (words, Verdict::of(found.over_fsync <= 1.3))
                }),
            ),
        ]
    }

    fn appended(&self, cell: Cell) -> Goal {
        let growth = self.results.growth(cell, Phase::OneApply);
        self.goal(
            named(cell, Phase::OneApply),
            "appends a few hundred bytes, under 1,000".to_owned(),
            growth.map(|log| (bytes(log.bytes), Verdict::of(log.bytes < 1_000))),
        )
    }

    /// Judges the calls for each 1,000 machines, in the project with the most. Disks and memberships are beside what the
    /// bound is about.
    fn calls(&self) -> Goal {
        let cells = self.results.cells();
        let cell = cells.into_iter().rfind(|cell| cell.0 == Shape::Mix);
        let cell = cell.filter(|cell| mix::machines(cell.1) >= 1_000);
        let measured = cell.and_then(|cell| {
            let calls = self.results.calls(cell, Phase::EmptyPlan)?;
            let all: u64 = calls.values().sum();
            let beside = calls
                .iter()
                .filter(|(name, _)| name.ends_with("fake_disk") || name.ends_with("fake_membership"));
            let bounded = all - beside.map(|(_, count)| count).sum::<u64>();
            let machines = mix::machines(cell.1);
            let each = bounded as f64 * 1_000.0 / machines as f64;
            let words = format!(
                "{each:.1} ({bounded} calls for {} machines; {all} with disks and memberships)",
                grouped(machines as u64)
            );
            Some((words, Verdict::of(each <= 30.0)))
        });
        self.goal(
            format!("mix: {}", Phase::EmptyPlan.name()),
            "at most 30 API calls for each 1,000 machines with their networks, addresses and records"
                .to_owned(),
            measured,
        )
    }
}

fn named(cell: Cell, phase: Phase) -> String {
    format!("{}: {}", name_of(cell), phase.name())
}

fn per_resource_bound() -> String {
    format!(
        "processor time per resource within {MOST_PER_RESOURCE}× of that at {}",
        grouped(BASE as u64)
    )
}

/// Says what pairs of runs came to.
fn pairs(ratios: Ratios) -> String {
    let range = match ratios.pairs {
        1 => "one pair".to_owned(),
        pairs => format!("{pairs} pairs, {:.1}× to {:.1}×", ratios.least, ratios.most),
    };
    format!("{:.1}× ({range})", ratios.median)
}

#[cfg(test)]
mod tests {
    use super::super::measure::{Growth, Sync, Usage};
    use super::super::results::Engine;
    use super::*;

    fn usage(wall: f64, cpu: f64, peak: f64) -> Usage {
        Usage {
            wall,
            cpu,
            peak,
            log: None,
            calls: None,
            sync: None,
            cut: false,
        }
    }

    fn verdict(results: &Results, what: &str, bound: &str) -> (Verdict, String) {
        let goals = goals(results);
        let goal = goals.iter().find(|goal| goal.what == what && goal.bound == bound);
        let goal = goal.unwrap_or_else(|| panic!("no such goal in {goals:#?}"));
        (goal.verdict, goal.measured.clone())
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let goals = goals(&Results::default());
        assert!(goals.len() > 20);
        assert!(
            goals
                .iter()
                .all(|goal| goal.verdict == Verdict::NotMeasured && goal.measured.is_empty()),
            "{goals:#?}"
        );
    }

    #[test]
    fn ratios_are_of_pairs_and_their_median_decides() {
        let mut results = Results::default();
        let cell = (Shape::Wide, 10_000);
        for (ours, theirs) in [(0.1, 4.0), (0.1, 6.0), (0.3, 30.0)] {
            results.add(cell, Engine::Gabion, Phase::FirstPlan, usage(ours, ours, 100.0));
            results.add(
                cell,
                Engine::Terraform,
                Phase::FirstPlan,
                usage(theirs, theirs, 499.0),
            );
        }
        let what = "wide, 10,000: plan, nothing there yet";
        assert_eq!(
            verdict(&results, what, "50× less processor time than Terraform"),
            (Verdict::Met, "60.0× (3 pairs, 40.0× to 100.0×)".to_owned())
        );
        assert_eq!(
            verdict(&results, what, "5× less memory than Terraform").0,
            Verdict::Missed
        );
        // 100 MiB are 105 MB.
        assert_eq!(
            verdict(&results, what, "under 120 MB"),
            (Verdict::Met, "105 MB".to_owned())
        );
    }

    #[test]
    fn a_busy_machine_is_told_from_a_slow_program() {
        let of = |wall: f64, cpu: f64| {
            let mut results = Results::default();
            let cell = (Shape::Wide, 10_000);
            results.add(cell, Engine::Gabion, Phase::Apply, usage(wall, cpu, 1.0));
            verdict(&results, "wide, 10,000: apply", "under 5 s").0
        };
        assert_eq!(of(4.9, 6.0), Verdict::Met);
        assert_eq!(of(9.0, 4.0), Verdict::MetByProcessorTime);
        assert_eq!(of(9.0, 6.0), Verdict::Missed);
    }

    #[test]
    fn cost_per_resource_is_compared_with_that_at_ten_thousand() {
        let mut results = Results::default();
        let add = |results: &mut Results, size: usize, phase: Phase, cpu: f64| {
            results.add((Shape::Wide, size), Engine::Gabion, phase, usage(cpu, cpu, 1.0));
        };
        add(&mut results, 10_000, Phase::FirstPlan, 1.0);
        add(&mut results, 1_000_000, Phase::FirstPlan, 149.0);
        add(&mut results, 10_000, Phase::Graph, 1.0);
        add(&mut results, 1_000_000, Phase::Graph, 160.0);
        let bound = per_resource_bound();
        assert_eq!(
            verdict(&results, "wide, 1,000,000: plan, nothing there yet", &bound),
            (Verdict::Met, "1.49×".to_owned())
        );
        assert_eq!(
            verdict(&results, "wide, 1,000,000: every command", &bound),
            (Verdict::Missed, "at most 1.60× (graph)".to_owned())
        );
    }

    #[test]
    fn commits_are_compared_with_levels_and_with_what_the_disk_needs() {
        let mut results = Results::default();
        let mut used = usage(2.4, 1.0, 1.0);
        used.log = Some(Growth {
            events: 4_004,
            bytes: 0,
            commits: 2_010,
            commit_bytes: 16_480,
        });
        used.sync = Some(Sync {
            bytes: 16_384,
            fsync: 0.001,
            fdatasync: 0.000_5,
        });
        results.add((Shape::Chain, 2_000), Engine::Gabion, Phase::Apply, used);
        let what = "chain, 2,000: apply";
        assert_eq!(
            verdict(&results, what, "commits ÷ levels at most 1.1"),
            (Verdict::Met, "1.005 (2,010 commits)".to_owned())
        );
        let (verdict, words) = verdict(&results, what, "wall ÷ (commits × median fsync) at most 1.3");
        assert_eq!((verdict, words.as_str()), (Verdict::Met, "1.19 (fsync 1.00 ms)"));
    }

    #[test]
    fn calls_are_counted_for_what_the_bound_is_about() {
        let mut results = Results::default();
        let mut used = usage(1.0, 1.0, 1.0);
        let calls = [
            ("facts any", 1),
            ("describe fake_machine", 12),
            ("describe fake_record", 10),
            ("describe fake_disk", 20),
            ("describe fake_membership", 20),
        ];
        used.calls = Some(calls.map(|(name, count)| (name.to_owned(), count)).into());
        results.add((Shape::Mix, 4_000), Engine::Gabion, Phase::EmptyPlan, used);
        let bound = "at most 30 API calls for each 1,000 machines with their networks, addresses and records";
        assert_eq!(
            verdict(&results, "mix: plan, nothing to do", bound),
            (
                Verdict::Met,
                "19.5 (23 calls for 1,182 machines; 63 with disks and memberships)".to_owned()
            )
        );
    }

    #[test]
    fn a_chain_that_failed_is_missed() {
        let mut results = Results::default();
        let cell = (Shape::Chain, 100_000);
        results.fail(cell, "`gabion plan` ended with -11".to_owned());
        let (verdict, _) = verdict(
            &results,
            "chain, 100,000: every command",
            "ends, without an overflow of the stack",
        );
        assert_eq!(verdict, Verdict::Missed);
    }
}
