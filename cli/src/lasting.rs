//! What is kept until the process ends.
//!
//! A command reads a project and its state, works with them and ends. Giving the memory of ten thousand resources back
//! piece by piece takes a tenth of a plan's time; the operating system takes it all at once.
//!
//! It is for plain data alone: what wipes a secret, ends a connection or removes a file when it is dropped does not.

/// Keeps a value until the process ends.
pub(crate) fn lasting<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}
