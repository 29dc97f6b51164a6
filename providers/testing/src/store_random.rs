//! Random events, most of which fit the state that they are made for: the same seed makes the same ones.

use std::sync::Arc;

use gabion_engine::address::Uid;
use gabion_engine::provider::{CallAction, Effect, Observation};
use gabion_engine::state::State;
use gabion_engine::state::event::{EventBody, ObjectMove};
use gabion_engine::state::record::{Dependency, Record, Status};
use gabion_engine::value::Value;

use crate::store_events::{
    address, checkpoint, create, declaration, error, imported, input, intent, object, operation, run_started,
    uid,
};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A source of events.
#[derive(Debug, Clone)]
pub struct RandomEvents {
    seed: u64,
    next: u64,
}

impl RandomEvents {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, next: 100 }
    }

    /// Returns a number below `bound` (SplitMix64).
    pub fn below(&mut self, bound: usize) -> usize {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound as u64).expect("a remainder is below its divisor")
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Returns an event for a state. About one in five is as likely as not to contradict it.
    pub fn next(&mut self, state: &State) -> EventBody {
        let records: Vec<&Record> = state.records().collect();
        if records.is_empty() || self.below(4) == 0 {
            return self.arrival(state);
        }
        if self.below(5) == 0 {
            return self.wild();
        }
        let record = self.pick(&records);
        match &record.open {
            Some(open) => {
                let (call, action) = (open.operation, open.action);
                self.outcome(record, call, action)
            }
            None => self.change(state, record),
        }
    }

    /// Something new: a creation, one that deposes, an import.
    fn arrival(&mut self, state: &State) -> EventBody {
        let name = self.pick(&NAMES);
        let number = self.fresh();
        match (state.current(&address(name)), self.below(3)) {
            (None, 0) => imported(number, name, &format!("imported-{number}")),
            (None, _) => create(number, number, name),
            (Some(old), 0..=1) => {
                let mut intent = intent(CallAction::Create, number, number, name, 2);
                intent.deposes = Some(old.uid);
                EventBody::Intent(intent)
            }
            (Some(_), _) => run_started(),
        }
    }

    fn outcome(
        &mut self,
        record: &Record,
        operation: gabion_engine::address::OperationId,
        action: CallAction,
    ) -> EventBody {
        let id = match &record.id {
            Some(id) => id.as_str().to_owned(),
            None => format!("id-{}", record.uid),
        };
        let value = i64::try_from(self.below(100)).expect("a small number");
        let mut found = object(&id, value);
        found
            .attributes
            .insert("ratio".into(), Value::Float(value as f64 / 7.0));
        match self.below(9) {
            0..=1 if action != CallAction::Delete => {
                let mut event = checkpoint(0, &id);
                if let EventBody::Checkpoint { operation: call, .. } = &mut event {
                    *call = operation;
                }
                event
            }
            2 => EventBody::Failed {
                operation,
                error: error(self.pick(&[Effect::None, Effect::Partial, Effect::Unknown])),
            },
            3 => EventBody::Settled {
                operation,
                observation: self
                    .pick(&[true, false])
                    .then_some(found)
                    .map_or(Observation::Absent, Observation::Present),
            },
            _ => EventBody::Succeeded {
                operation,
                state: (action != CallAction::Delete).then_some(found),
                declaration: None,
            },
        }
    }

    fn change(&mut self, state: &State, record: &Record) -> EventBody {
        let number = self.fresh();
        let uid = record.uid;
        let call = |action| {
            let mut intent = intent(action, number, 0, "a", 3);
            (intent.uid, intent.address) = (uid, record.address.clone());
            EventBody::Intent(intent)
        };
        match self.below(12) {
            0..=2 => call(CallAction::Delete),
            3..=4 => call(CallAction::Update),
            5 => EventBody::Vanished { uid },
            6 => EventBody::Forgotten { uid },
            7 => EventBody::Accepted {
                uid,
                attributes: input(9),
            },
            8 => {
                let mut declaration = declaration();
                Arc::make_mut(&mut declaration).dependencies = state
                    .current_records()
                    .filter(|other| other.uid < uid)
                    .map(|other| Dependency {
                        address: other.address.clone(),
                        uid: Some(other.uid),
                    })
                    .collect();
                EventBody::Declared { uid, declaration }
            }
            9 => match record.status {
                Status::Tainted => EventBody::Untainted { uid },
                _ => EventBody::Tainted { uid },
            },
            _ => self.moves(state),
        }
    }

    /// Moves of up to three objects to any address: chains, swaps, and collisions.
    fn moves(&mut self, state: &State) -> EventBody {
        let records: Vec<&Record> = state.current_records().collect();
        let mut moves: Vec<ObjectMove> = Vec::new();
        for _ in 0..=self.below(3) {
            if records.is_empty() {
                break;
            }
            let record = self.pick(&records);
            if moves.iter().all(|planned| planned.uid != record.uid) {
                moves.push(ObjectMove {
                    uid: record.uid,
                    from: record.address.clone(),
                    to: address(self.pick(&NAMES)),
                });
            }
        }
        EventBody::Moved { moves }
    }

    /// An event about anything at all.
    fn wild(&mut self) -> EventBody {
        let number = 101 + self.below(40) as u64;
        let other: Uid = uid(101 + self.below(40) as u64);
        let name = self.pick(&NAMES);
        match self.below(8) {
            0 => create(number, number, name),
            1 => EventBody::Intent(intent(CallAction::Update, number, number, name, 1)),
            2 => EventBody::Succeeded {
                operation: operation(number),
                state: None,
                declaration: None,
            },
            3 => checkpoint(number, "wild"),
            4 => EventBody::DeletedWith {
                uid: uid(number),
                with: other,
            },
            5 => EventBody::RunFinished {
                summary: Default::default(),
            },
            6 => EventBody::Settled {
                operation: operation(number),
                observation: Observation::Unknown {
                    reason: "The test says so.".to_owned(),
                },
            },
            _ => EventBody::Untainted { uid: uid(number) },
        }
    }
}
