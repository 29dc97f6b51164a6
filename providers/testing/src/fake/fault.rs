//! How the fake cloud misbehaves: by rules that tests set, and by seeded chance.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::api::{ApiRequest, Verb};

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It is refused because there are too many.
    Throttle,
    /// It is refused because the cloud does not work right now.
    Transient,
    /// It is refused because it is not allowed.
    Deny,
    /// It is refused for ever.
    Invalid,
    /// It is refused because there is no capacity.
    NoCapacity,
    /// The connection breaks before it is carried out.
    LoseRequest,
    /// The connection breaks after it was carried out.
    LoseResponse,
    /// The connection breaks, and it is carried out this much later.
    Late(Duration),
    /// It takes this much longer.
    Slow(Duration),
    /// It is never answered and not carried out.
    Hang,
    /// It is carried out and never answered.
    HangAfter,
    /// The object that it makes never becomes ready.
    NeverReady,
    /// The object that it makes ends at once, because there is no capacity for it after all.
    Withdraw,
    /// The code that would send it panics.
    Panic,
}

/// When a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRule {
    /// What goes wrong.
    pub fault: Fault,
    /// Only for this verb.
    pub verb: Option<Verb>,
    /// Only for this type.
    pub resource_type: Option<String>,
    /// Only for the object with this address on its mark.
    pub address: Option<String>,
    /// How many matching requests go well before.
    pub skip: u32,
    /// How many times it strikes.
    pub times: u32,
}

impl FaultRule {
    /// Strikes the next request with a verb, once.
    pub fn next(verb: Verb, fault: Fault) -> Self {
        Self {
            fault,
            verb: Some(verb),
            resource_type: None,
            address: None,
            skip: 0,
            times: 1,
        }
    }

    /// Only for a type.
    #[must_use]
    pub fn of_type(mut self, resource_type: &str) -> Self {
        self.resource_type = Some(resource_type.to_owned());
        self
    }

    /// Only for the object at an address.
    #[must_use]
    pub fn at(mut self, address: &str) -> Self {
        self.address = Some(address.to_owned());
        self
    }

    /// Strikes this many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Lets this many matching requests pass first.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    pub(super) fn matches(&self, request: &ApiRequest, address: Option<&str>) -> bool {
        self.times > 0
            && self.verb.is_none_or(|verb| verb == request.verb())
            && (self.resource_type.is_none() || self.resource_type.as_deref() == request.resource_type())
            && (self.address.is_none() || self.address.as_deref() == address)
    }
}

/// Faults by chance, each with its share in a thousand requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chaos {
    /// Refused as too many.
    pub throttle: u32,
    /// Refused as not working right now.
    pub transient: u32,
    /// Broken off before, of those that change something.
    pub lose_request: u32,
    /// Broken off afterwards, of those that change something.
    pub lose_response: u32,
    /// Made and never ready, of creations.
    pub never_ready: u32,
    /// Refused for ever, of those that change something.
    pub invalid: u32,
    /// Refused for want of capacity, of creations of machines.
    pub no_capacity: u32,
    /// Made and ended at once for want of capacity, of creations of machines.
    pub withdraw: u32,
}

impl Chaos {
    pub(super) fn pick(&self, random: &mut Random, request: &ApiRequest) -> Option<Fault> {
        let changes = request.changes_the_world();
        let creates = request.verb() == Verb::Create;
        let takes_room = creates && request.resource_type() == Some("fake_machine");
        let shares = [
            (self.throttle, true, Fault::Throttle),
            (self.transient, true, Fault::Transient),
            (self.lose_request, changes, Fault::LoseRequest),
            (self.lose_response, changes, Fault::LoseResponse),
            (self.never_ready, creates, Fault::NeverReady),
            (self.invalid, changes, Fault::Invalid),
            (self.no_capacity, takes_room, Fault::NoCapacity),
            (self.withdraw, takes_room, Fault::Withdraw),
        ];
        let mut point = (random.next() % 1000) as u32;
        for (share, applies, fault) in shares {
            if point < share {
                return applies.then_some(fault);
            }
            point -= share;
        }
        None
    }
}

/// A small seeded generator (splitmix64): same seed, same faults.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    #[expect(
        clippy::should_implement_trait,
        reason = "a generator without an end is no iterator"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// Returns a duration below `bound`.
    pub fn duration(&mut self, bound: Duration) -> Duration {
        let nanoseconds = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanoseconds))
    }
}
