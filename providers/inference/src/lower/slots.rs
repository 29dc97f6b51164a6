//! Which slots a replica group uses. A slot keeps its number for life; a count is not a position.

use super::project::RecordedSlot;

/// Returns the slots to use for `count` replicas, in order.
///
/// Slots that are there are kept. Shrinking frees those that need repair first, then the highest; growing takes the
/// lowest free numbers.
pub(crate) fn choose(count: usize, recorded: &[RecordedSlot]) -> Vec<u32> {
    let mut kept: Vec<&RecordedSlot> = recorded.iter().collect();
    kept.sort_by_key(|slot| (slot.needs_repair, slot.slot));
    let mut slots: Vec<u32> = kept.iter().take(count).map(|slot| slot.slot).collect();
    let mut free = (0..).filter(|slot| !kept.iter().any(|kept| kept.slot == *slot));
    while slots.len() < count {
        slots.extend(free.next());
    }
    slots.sort_unstable();
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(count: usize, healthy: &[u32], broken: &[u32], expected: &[u32]) {
        let slot = |needs_repair| {
            move |slot: &u32| RecordedSlot {
                slot: *slot,
                needs_repair,
            }
        };
        let recorded: Vec<_> = healthy
            .iter()
            .map(slot(false))
            .chain(broken.iter().map(slot(true)))
            .collect();
        assert_eq!(choose(count, &recorded), expected);
    }

    #[test]
    fn shrinking_frees_broken_slots_first_and_then_the_highest() {
        check(2, &[], &[], &[0, 1]);
        check(3, &[0, 1], &[], &[0, 1, 2]);
        check(1, &[0, 1, 2], &[], &[0]);
        check(2, &[1, 2], &[0], &[1, 2]);
        check(3, &[1, 2], &[0], &[0, 1, 2]);
        check(3, &[0, 2], &[], &[0, 1, 2]);
        check(0, &[0], &[1], &[]);
    }
}
