//! The forms in which logs and plans are written, where those of earlier versions still count.
//!
//! Hashes cover bytes. What an earlier version wrote is read into the same types, and writing it again gives other bytes
//! since what is as it is where nothing is said is left out. Where only the content is at hand, the bytes of the first form
//! can be had again from here.

use std::cell::Cell;

thread_local! {
    /// Whether this thread writes the first form.
    static FIRST: Cell<bool> = const { Cell::new(false) };
}

/// Whether a value is left out: it is what it is where nothing is said, as with most objects. The first form says it.
///
/// For `skip_serializing_if`; reading takes the default in its place, which therefore never changes.
pub(crate) fn is_left_out<T: Default + PartialEq>(value: &T) -> bool {
    !FIRST.get() && *value == T::default()
}

/// Does something while what is written has the first form.
pub(crate) fn in_first_form<T>(write: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            FIRST.set(false);
        }
    }
    FIRST.set(true);
    let _reset = Reset;
    write()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::resource::Lifecycle;
    use crate::schema::{ReplaceOrder, Timeouts};
    use crate::state::record::Declaration;

    #[test]
    fn what_is_not_said_means_the_same_for_ever() {
        let unsaid = r#"{"provider":"data","schema_version":1}"#;
        let read: Declaration = serde_json::from_str(unsaid).unwrap();
        let ten_minutes = Duration::from_secs(600);
        let timeouts = Timeouts {
            create: ten_minutes,
            update: ten_minutes,
            delete: ten_minutes,
        };
        assert_eq!(*read.timeouts, timeouts);
        assert_eq!(read.replace_order, ReplaceOrder::CreateThenDelete);
        let lifecycle = Lifecycle {
            prevent_destroy: false,
            replace_order: None,
            ignore_changes: Vec::new(),
            replace_triggered_by: Vec::new(),
            roll: None,
            together: None,
        };
        assert_eq!(*read.lifecycle, lifecycle);
        assert_eq!((read.document.is_none(), read.dependencies.len()), (true, 0));
        assert_eq!(serde_json::to_string(&read).unwrap(), unsaid);
        let first = in_first_form(|| serde_json::to_string(&read).unwrap());
        assert_eq!(
            first,
            concat!(
                r#"{"provider":"data","schema_version":1,"document":null,"dependencies":[],"#,
                r#""lifecycle":{"prevent_destroy":false,"replace_order":null,"ignore_changes":[],"#,
                r#""replace_triggered_by":[]},"timeouts":{"create":{"secs":600,"nanos":0},"#,
                r#""update":{"secs":600,"nanos":0},"delete":{"secs":600,"nanos":0}},"#,
                r#""replace_order":"create_then_delete"}"#
            )
        );
        assert_eq!(serde_json::to_string(&read).unwrap(), unsaid);
    }
}
