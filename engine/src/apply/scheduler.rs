//! Which steps may start: pure bookkeeping over a plan's steps. Same steps, same answers, same order.

use std::collections::BTreeSet;

use crate::plan::step::{Step, StepId};

/// The order of a plan's steps, and how far each is.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    steps: Vec<Progress>,
    ready: BTreeSet<StepId>,
    running: BTreeSet<StepId>,
}

#[derive(Debug, Clone)]
struct Progress {
    /// How many of the steps before it are not done.
    waits_for: usize,
    /// The steps that wait for it.
    releases: Vec<StepId>,
    settled: bool,
}

/// Why steps have no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A step's number is not its position.
    #[error("step {found} stands at position {position}")]
    Misnumbered {
        /// Its position.
        position: usize,
        /// Its number.
        found: u32,
    },
    /// A step waits for one that does not exist.
    #[error("step {step} waits for step {missing}, which does not exist")]
    Unknown {
        /// The step.
        step: u32,
        /// What it waits for.
        missing: u32,
    },
    /// Steps wait for each other.
    #[error("the steps {steps:?} wait for each other")]
    Cycle {
        /// Those that could never start.
        steps: Vec<u32>,
    },
}

impl Schedule {
    /// Puts steps in order.
    ///
    /// # Errors
    /// When the plan is broken: no planner of this build makes such a one.
    pub fn new(steps: &[Step]) -> Result<Self, ScheduleError> {
        let mut progress: Vec<Progress> = Vec::with_capacity(steps.len());
        for (position, step) in steps.iter().enumerate() {
            if step.id.0 as usize != position {
                return Err(ScheduleError::Misnumbered {
                    position,
                    found: step.id.0,
                });
            }
            progress.push(Progress {
                waits_for: 0,
                releases: Vec::new(),
                settled: false,
            });
        }
        for step in steps {
            let before: BTreeSet<StepId> = step.after.iter().copied().collect();
            progress[step.id.0 as usize].waits_for = before.len();
            for earlier in before {
                match progress.get_mut(earlier.0 as usize) {
                    Some(earlier) => earlier.releases.push(step.id),
                    None => {
                        return Err(ScheduleError::Unknown {
                            step: step.id.0,
                            missing: earlier.0,
                        });
                    }
                }
            }
        }
        let ready = steps
            .iter()
            .map(|step| step.id)
            .filter(|id| progress[id.0 as usize].waits_for == 0)
            .collect();
        let schedule = Self {
            steps: progress,
            ready,
            running: BTreeSet::new(),
        };
        schedule.check_acyclic()?;
        Ok(schedule)
    }

    fn check_acyclic(&self) -> Result<(), ScheduleError> {
        let mut trial = self.clone();
        while let Some(step) = trial.start() {
            trial.succeed(step);
        }
        let stuck: Vec<u32> = trial.unsettled().map(|step| step.0).collect();
        if stuck.is_empty() {
            Ok(())
        } else {
            Err(ScheduleError::Cycle { steps: stuck })
        }
    }

    /// Starts the first step that may start.
    pub fn start(&mut self) -> Option<StepId> {
        let step = self.ready.pop_first()?;
        self.running.insert(step);
        Some(step)
    }

    /// Notes that a running step is done, which releases those that waited only for it.
    ///
    /// # Panics
    /// When the step is not running.
    pub fn succeed(&mut self, step: StepId) {
        self.settle(step);
        for released in self.steps[step.0 as usize].releases.clone() {
            let progress = &mut self.steps[released.0 as usize];
            progress.waits_for -= 1;
            if progress.waits_for == 0 && !progress.settled {
                self.ready.insert(released);
            }
        }
    }

    /// Notes that a running step is not done. Returns everything that waits for it, directly or not, and will not
    /// start; in order.
    ///
    /// # Panics
    /// When the step is not running.
    pub fn fail(&mut self, step: StepId) -> Vec<StepId> {
        self.settle(step);
        let mut skipped = BTreeSet::new();
        let mut queue = self.steps[step.0 as usize].releases.clone();
        while let Some(next) = queue.pop() {
            let progress = &mut self.steps[next.0 as usize];
            if !progress.settled {
                progress.settled = true;
                skipped.insert(next);
                queue.extend(progress.releases.iter().copied());
            }
        }
        skipped.into_iter().collect()
    }

    /// Skips everything that has not started; in order.
    pub fn skip_rest(&mut self) -> Vec<StepId> {
        self.ready.clear();
        let skipped: Vec<StepId> = self
            .unsettled()
            .filter(|step| !self.running.contains(step))
            .collect();
        for step in &skipped {
            self.steps[step.0 as usize].settled = true;
        }
        skipped
    }

    /// Returns the steps that run, in order.
    pub fn running(&self) -> impl Iterator<Item = StepId> {
        self.running.iter().copied()
    }

    /// Returns whether nothing runs and nothing may start.
    pub fn is_finished(&self) -> bool {
        self.ready.is_empty() && self.running.is_empty()
    }

    fn unsettled(&self) -> impl Iterator<Item = StepId> {
        (0_u32..)
            .zip(&self.steps)
            .filter(|(_, progress)| !progress.settled)
            .map(|(id, _)| StepId(id))
    }

    fn settle(&mut self, step: StepId) {
        assert!(self.running.remove(&step), "only a running step ends");
        self.steps[step.0 as usize].settled = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::step::StepOperation;

    fn schedule(after: &[&[u32]]) -> Result<Schedule, ScheduleError> {
        let steps: Vec<Step> = (0..)
            .zip(after)
            .map(|(id, after)| Step {
                id: StepId(id),
                change: 0,
                operation: StepOperation::Update,
                after: after.iter().copied().map(StepId).collect(),
            })
            .collect();
        Schedule::new(&steps)
    }

    fn ids(steps: &[StepId]) -> Vec<u32> {
        steps.iter().map(|step| step.0).collect()
    }

    #[test]
    fn steps_start_in_order_once_everything_before_them_is_done() {
        let mut schedule = schedule(&[&[], &[0], &[], &[1, 2]]).unwrap();
        assert_eq!(schedule.start(), Some(StepId(0)));
        assert_eq!(schedule.start(), Some(StepId(2)));
        assert_eq!(schedule.start(), None);
        schedule.succeed(StepId(2));
        assert_eq!(schedule.start(), None);
        schedule.succeed(StepId(0));
        assert_eq!(schedule.start(), Some(StepId(1)));
        schedule.succeed(StepId(1));
        assert_eq!(schedule.start(), Some(StepId(3)));
        assert!(!schedule.is_finished());
        schedule.succeed(StepId(3));
        assert!(schedule.is_finished());
    }

    #[test]
    fn a_failure_skips_what_depends_on_it_and_nothing_else() {
        let mut schedule = schedule(&[&[], &[0], &[1], &[], &[3], &[2, 4]]).unwrap();
        assert_eq!(schedule.start(), Some(StepId(0)));
        assert_eq!(schedule.start(), Some(StepId(3)));
        assert_eq!(ids(&schedule.fail(StepId(0))), [1, 2, 5]);
        schedule.succeed(StepId(3));
        assert_eq!(schedule.start(), Some(StepId(4)));
        schedule.succeed(StepId(4));
        assert!(schedule.is_finished());
        assert_eq!(schedule.start(), None);
    }

    #[test]
    fn nothing_is_skipped_twice() {
        let mut schedule = schedule(&[&[], &[], &[0, 1]]).unwrap();
        schedule.start();
        schedule.start();
        assert_eq!(ids(&schedule.fail(StepId(0))), [2]);
        assert!(schedule.fail(StepId(1)).is_empty());
        assert!(schedule.skip_rest().is_empty());
    }

    #[test]
    fn what_runs_is_not_skipped() {
        let mut schedule = schedule(&[&[], &[0], &[]]).unwrap();
        schedule.start();
        assert_eq!(ids(&schedule.skip_rest()), [1, 2]);
        assert_eq!(schedule.running().collect::<Vec<_>>(), [StepId(0)]);
        schedule.succeed(StepId(0));
        assert!(schedule.is_finished());
    }

    #[test]
    fn broken_plans_are_refused() {
        assert_eq!(
            schedule(&[&[1], &[0], &[]]).unwrap_err(),
            ScheduleError::Cycle { steps: vec![0, 1] }
        );
        assert_eq!(
            schedule(&[&[7]]).unwrap_err(),
            ScheduleError::Unknown { step: 0, missing: 7 }
        );
    }
}
