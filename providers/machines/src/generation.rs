//! What a machine is called when another has taken its place under the same name.
//!
//! Programs say which machine they are on, and while one machine takes the place of another both are there: the first is
//! called by its name, `my-gateway`, the next ones `my-gateway@2`, `my-gateway@3`.

/// What stands between a machine's name and its number.
const MARK: char = '@';

/// Returns the name that a machine shares with those before and after it.
#[must_use]
pub(crate) fn shared_name(id: &str) -> &str {
    split(id).0
}

/// Returns what the machine is called that takes the place of another.
#[must_use]
pub(crate) fn next(id: &str) -> String {
    let (name, number) = split(id);
    format!("{name}{MARK}{}", number.saturating_add(1))
}

/// Returns how the names of all begin that may come after a machine.
pub(crate) fn later(id: &str) -> String {
    format!("{}{MARK}", shared_name(id))
}

/// Returns whether a machine came after another one of the same name.
pub(crate) fn succeeds(id: &str, before: &str) -> bool {
    let ((name, number), (name_before, number_before)) = (split(id), split(before));
    name == name_before && number > number_before
}

fn split(id: &str) -> (&str, u32) {
    id.rsplit_once(MARK)
        .and_then(|(name, number)| Some((name, number.parse().ok()?)))
        .unwrap_or((id, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_one_name_are_told_apart_by_their_numbers() {
        assert_eq!(next("my-gateway"), "my-gateway@2");
        assert_eq!(next("my-gateway@9"), "my-gateway@10");
        assert_eq!(shared_name("my-gateway@10"), "my-gateway");
        assert_eq!(shared_name("edge/user@host"), "edge/user@host");
        let cases = [
            ("my-gateway@2", "my-gateway", true),
            ("my-gateway@10", "my-gateway@9", true),
            ("my-gateway", "my-gateway", false),
            ("my-gateway", "my-gateway@2", false),
            ("other@2", "my-gateway", false),
        ];
        for (id, before, expected) in cases {
            assert_eq!(succeeds(id, before), expected, "{id} {before}");
        }
    }
}
