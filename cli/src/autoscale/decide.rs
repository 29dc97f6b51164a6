//! How many replicas a group should have.

use std::time::Duration;

use super::history::{Measured, Quantile, quantile};
use super::rule::{Metric, Rule};

/// By how much, as a share of the target, a time may be above it before it counts: buckets are coarse, and what is about
/// right is left alone.
const TOLERANCE: f64 = 0.1;

/// By how much a number grows in one step, at most, when it follows times: they say that there are too few replicas, and not
/// by how many.
const LARGEST_STEP: f64 = 2.0;

/// What is known when a number is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment<'a> {
    /// What happened over the rule's window, if it is known as a whole.
    pub(crate) measured: Option<&'a Measured>,
    /// What happened so far, where the window is not known as a whole.
    pub(crate) so_far: Option<&'a Measured>,
    /// How long ago the number changed; `None` when nobody knows, which is long ago.
    pub(crate) since_change: Option<Duration>,
    /// How long all replicas have been there since then, where that is known.
    pub(crate) complete_for: Option<Duration>,
}

/// What is to become of a number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    /// It stays, and why.
    Stay(String),
    /// It should become another one, and may not yet: how long it is to wait.
    Wait {
        /// What it should become.
        wanted: u32,
        /// Why.
        why: String,
        /// For how long not yet.
        remaining: Duration,
    },
    /// It becomes another one, and why.
    Scale {
        /// What it becomes.
        wanted: u32,
        /// Why.
        why: String,
    },
}

/// Decides on the number of replicas of a group.
///
/// Requests per second follow the rule of dstack: the least number that keeps each replica at its target. Times follow that
/// of Kubernetes' horizontal autoscaler upwards (in proportion to how far the target is exceeded), and downwards by one
/// replica where the time would still be within the target if it grew in proportion to what each of the others gets more.
pub(crate) fn decide(rule: &Rule, moment: Moment<'_>) -> Decision {
    let (wanted, why) = match wanted(rule, moment) {
        Ok(wanted) => wanted,
        Err(unknown) => return Decision::Stay(unknown),
    };
    let wanted = wanted.clamp(rule.min, rule.max);
    let delay = match wanted.cmp(&rule.count) {
        std::cmp::Ordering::Equal => return Decision::Stay(why),
        std::cmp::Ordering::Greater if rule.count == 0 => Duration::ZERO,
        std::cmp::Ordering::Greater => rule.scale_up_delay,
        std::cmp::Ordering::Less => rule.scale_down_delay,
    };
    let since = moment.since_change.unwrap_or(Duration::MAX);
    match delay.checked_sub(since).filter(|remaining| !remaining.is_zero()) {
        Some(remaining) => Decision::Wait {
            wanted,
            why,
            remaining,
        },
        None => Decision::Scale { wanted, why },
    }
}

/// Returns what the number should be, whatever its bounds and delays are, and why; or what is not known.
fn wanted(rule: &Rule, moment: Moment<'_>) -> Result<(u32, String), String> {
    if rule.count == 0 {
        // Whoever asks is waiting: nobody answers.
        let Some(measured) = moment.measured.or(moment.so_far) else {
            return Err("nothing is known of requests yet".to_owned());
        };
        return Ok(match measured.requests {
            0 => (0, "no request came in".to_owned()),
            requests => (
                1,
                format!(
                    "{} came in, and nobody answers them",
                    several(requests, "request")
                ),
            ),
        });
    }
    let Some(measured) = moment.measured else {
        return Err(format!(
            "what happened over {} is not known yet",
            seconds(rule.window)
        ));
    };
    // Times from before say nothing of the replicas that are there now.
    let is_new = moment
        .complete_for
        .is_some_and(|complete_for| complete_for < measured.lasted);
    if rule.metric != Metric::Rps && is_new {
        return Err("the number has just changed".to_owned());
    }
    match rule.metric {
        Metric::Rps => Ok(for_requests(rule, measured)),
        Metric::Ttft => for_time(
            rule,
            measured,
            quantile(&measured.ttft, rule.percentile),
            "time to first token",
        ),
        Metric::Itl => for_time(
            rule,
            measured,
            quantile(&measured.itl, rule.percentile),
            "time between tokens",
        ),
    }
}

fn for_requests(rule: &Rule, measured: &Measured) -> (u32, String) {
    let rps = measured.requests as f64 / measured.lasted.as_secs_f64().max(1.0);
    // What is exactly the target is not more than it.
    let wanted = (rps / rule.target - 1e-9).ceil().max(0.0);
    // Whoever is answered must not be left without anybody, however few they are.
    let wanted = if measured.requests > 0 {
        wanted.max(1.0)
    } else {
        wanted
    };
    let wanted = if wanted >= f64::from(u32::MAX) {
        u32::MAX
    } else {
        wanted as u32
    };
    let why = format!(
        "{} requests a second over {}, {} for each replica",
        rounded(rps),
        seconds(measured.lasted),
        rounded(rule.target)
    );
    match (wanted, measured.in_flight) {
        (0, 1..) => (
            1,
            format!("{} still under way", several(measured.in_flight, "request")),
        ),
        (0, 0) => (0, format!("no request over {}", seconds(measured.lasted))),
        _ => (wanted, why),
    }
}

fn for_time(
    rule: &Rule,
    measured: &Measured,
    observed: Option<Quantile>,
    what: &str,
) -> Result<(u32, String), String> {
    let over = seconds(measured.lasted);
    let Some(observed) = observed else {
        return match (measured.requests, measured.in_flight) {
            (0, 0) => Ok((rule.min, format!("no request over {over}"))),
            _ => Err(format!(
                "there were requests over {over}, and no {what} was measured: only answers that are streamed have one"
            )),
        };
    };
    let (observed, about) = match observed {
        Quantile::About(observed) => (observed, ""),
        // More than is measured may be more than the target, or less.
        Quantile::Above(least) if least < rule.target => {
            return Err(format!(
                "{what} was more than {} s over {over}, and more is not measured: {} s cannot be aimed at",
                rounded(least),
                rounded(rule.target)
            ));
        }
        Quantile::Above(least) => (least, "more than "),
    };
    let why = format!(
        "{what} {about}{} s for {} % of answers over {over}, {} s aimed at",
        rounded(observed),
        rule.percentile,
        rounded(rule.target)
    );
    let count = f64::from(rule.count);
    let ratio = observed / rule.target;
    if ratio > 1.0 + TOLERANCE {
        let more = (count * ratio.min(LARGEST_STEP)).ceil() as u32;
        return Ok((more.max(rule.count.saturating_add(1)), why));
    }
    if rule.count > 1 {
        let with_fewer = ratio * count / (count - 1.0);
        if with_fewer * (1.0 + TOLERANCE) <= 1.0 {
            return Ok((rule.count - 1, why));
        }
    }
    Ok((rule.count, why))
}

/// Writes a number as people read it: three digits that say something.
fn rounded(number: f64) -> String {
    let decimals = match number.abs() {
        number if number >= 100.0 => 0,
        number if number >= 10.0 => 1,
        number if number >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

fn several(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::tests::histogram;
    use super::*;

    fn rule(metric: Metric, target: f64, count: u32) -> Rule {
        Rule {
            group: "qwen/default".to_owned(),
            count,
            min: 0,
            max: 8,
            metric,
            target,
            percentile: 100,
            window: Duration::from_secs(60),
            scale_up_delay: Duration::from_secs(300),
            scale_down_delay: Duration::from_secs(600),
            changed_at: None,
        }
    }

    fn measured(requests: u64, in_flight: u64, times: &[f64]) -> Measured {
        Measured {
            lasted: Duration::from_secs(60),
            requests,
            in_flight,
            ttft: histogram(times),
            itl: histogram(times),
        }
    }

    /// What a rule wants, with its delays long past.
    fn wants(rule: &Rule, measured: &Measured) -> Option<u32> {
        let moment = Moment {
            measured: Some(measured),
            so_far: None,
            since_change: None,
            complete_for: None,
        };
        match decide(rule, moment) {
            Decision::Scale { wanted, .. } => Some(wanted),
            Decision::Stay(_) => None,
            Decision::Wait { .. } => panic!("nothing is to be waited for"),
        }
    }

    #[test]
    fn requests_are_shared_by_as_many_replicas_as_it_takes() {
        let two = rule(Metric::Rps, 10.0, 2);
        // Over 60 s.
        for (requests, expected) in [
            (1_200, None),
            (1_201, Some(3)),
            (600, Some(1)),
            (601, None),
            (1, Some(1)),
            (0, Some(0)),
            (60_000, Some(8)),
        ] {
            assert_eq!(wants(&two, &measured(requests, 0, &[])), expected, "{requests}");
        }
        let kept = Rule {
            min: 1,
            ..two.clone()
        };
        assert_eq!(wants(&kept, &measured(0, 0, &[])), Some(1));
        assert_eq!(
            wants(&two, &measured(0, 3, &[])),
            Some(1),
            "an answer is under way"
        );
    }

    #[test]
    fn a_time_above_the_target_asks_for_more_in_proportion_and_never_for_more_than_twice_as_many() {
        let three = rule(Metric::Ttft, 0.4, 3);
        let at = |time: f64| wants(&three, &measured(100, 0, &[time]));
        // The bucket's upper bound: 0.4.
        assert_eq!(at(0.3), None);
        // 0.8, twice the target.
        assert_eq!(at(0.7), Some(6));
        let itl = rule(Metric::Itl, 0.3, 3);
        // 0.4 is a third too much.
        assert_eq!(wants(&itl, &measured(100, 0, &[0.35])), Some(4));
        let slow = rule(Metric::Ttft, 0.01, 3);
        assert_eq!(wants(&slow, &measured(100, 0, &[9.0])), Some(6));
        // A tenth too much is left alone.
        let about = rule(Metric::Ttft, 0.37, 3);
        assert_eq!(wants(&about, &measured(100, 0, &[0.35])), None);
    }

    #[test]
    fn a_time_asks_for_one_fewer_where_the_others_would_still_keep_to_it() {
        // 0.2 with three replicas is 0.3 with two.
        let aimed = |target| wants(&rule(Metric::Ttft, target, 3), &measured(100, 0, &[0.15]));
        assert_eq!(aimed(0.34), Some(2));
        assert_eq!(aimed(0.32), None);
        // The last one is not given up as long as somebody asks.
        assert_eq!(wants(&rule(Metric::Ttft, 9.0, 1), &measured(1, 0, &[0.1])), None);
    }

    #[test]
    fn a_time_that_is_longer_than_what_is_measured_asks_for_more_and_never_for_fewer() {
        // The last bound is 0.8.
        let at = |target| wants(&rule(Metric::Itl, target, 3), &measured(100, 0, &[9.0]));
        assert_eq!(at(0.8), None);
        assert_eq!(at(0.5), Some(5));
        assert_eq!(at(3.0), None, "0.8 would be well within it");
    }

    #[test]
    fn few_requests_are_not_none() {
        let generous = rule(Metric::Rps, 1e12, 2);
        assert_eq!(wants(&generous, &measured(1, 0, &[])), Some(1));
    }

    #[test]
    fn without_requests_a_time_asks_for_the_least_and_without_times_for_nothing() {
        let three = Rule {
            min: 1,
            ..rule(Metric::Ttft, 0.4, 3)
        };
        assert_eq!(wants(&three, &measured(0, 0, &[])), Some(1));
        assert_eq!(wants(&three, &measured(7, 0, &[])), None);
        assert_eq!(wants(&three, &measured(0, 2, &[])), None);
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        let unknown = Moment {
            measured: None,
            so_far: Some(&measured(9_999, 9, &[9.0])),
            since_change: None,
            complete_for: None,
        };
        for metric in [Metric::Rps, Metric::Ttft, Metric::Itl] {
            assert!(matches!(
                decide(&rule(metric, 1.0, 2), unknown),
                Decision::Stay(_)
            ));
        }
        // But whoever finds nobody is not kept waiting for the rest of the window.
        let decision = decide(&rule(Metric::Ttft, 1.0, 0), unknown);
        assert!(
            matches!(decision, Decision::Scale { wanted: 1, .. }),
            "{decision:?}"
        );
        let nothing = Moment {
            measured: None,
            so_far: None,
            since_change: None,
            complete_for: None,
        };
        assert!(matches!(
            decide(&rule(Metric::Rps, 1.0, 0), nothing),
            Decision::Stay(_)
        ));
    }

    #[test]
    fn times_from_before_a_change_say_nothing_and_requests_do() {
        let slow = measured(100, 0, &[9.0]);
        let after = |metric, count, seconds| {
            let moment = Moment {
                measured: Some(&slow),
                so_far: None,
                since_change: None,
                complete_for: Some(Duration::from_secs(seconds)),
            };
            match decide(&rule(metric, 0.1, count), moment) {
                Decision::Scale { wanted, .. } => Some(wanted),
                _ => None,
            }
        };
        assert_eq!(after(Metric::Ttft, 2, 59), None);
        assert_eq!(after(Metric::Ttft, 2, 60), Some(4));
        assert_eq!(after(Metric::Rps, 2, 0), Some(8));
        // Nobody answers: who asks is not kept waiting.
        assert_eq!(after(Metric::Ttft, 0, 0), Some(1));
    }

    #[test]
    fn a_group_at_zero_stays_there_until_somebody_asks_whatever_came_before_its_window() {
        let idle = measured(0, 0, &[]);
        let earlier = measured(500, 0, &[9.0]);
        let moment = Moment {
            measured: Some(&idle),
            so_far: Some(&earlier),
            since_change: None,
            complete_for: Some(Duration::ZERO),
        };
        for metric in [Metric::Rps, Metric::Ttft, Metric::Itl] {
            assert!(matches!(decide(&rule(metric, 0.1, 0), moment), Decision::Stay(_)));
        }
    }

    #[test]
    fn changes_keep_their_distance_from_each_other() {
        let busy = measured(6_000, 0, &[]);
        let idle = measured(0, 0, &[]);
        let after = |measured: &Measured, count, seconds| {
            let moment = Moment {
                measured: Some(measured),
                so_far: None,
                since_change: Some(Duration::from_secs(seconds)),
                complete_for: None,
            };
            decide(&rule(Metric::Rps, 10.0, count), moment)
        };
        let waits = |decision| match decision {
            Decision::Wait { remaining, .. } => Some(remaining.as_secs()),
            Decision::Scale { .. } => None,
            Decision::Stay(why) => panic!("{why}"),
        };
        assert_eq!(waits(after(&busy, 2, 299)), Some(1));
        assert_eq!(waits(after(&busy, 2, 300)), None);
        assert_eq!(waits(after(&idle, 2, 599)), Some(1));
        assert_eq!(waits(after(&idle, 2, 600)), None);
        assert_eq!(waits(after(&busy, 0, 0)), None, "nobody is there to answer");
    }

    #[test]
    fn numbers_are_written_as_people_read_them() {
        for (number, text) in [
            (0.0, "0"),
            (0.0312, "0.031"),
            (1.5, "1.5"),
            (24.24, "24.2"),
            (100.0, "100"),
            (1234.5, "1234"),
        ] {
            assert_eq!(rounded(number), text);
        }
    }
}
