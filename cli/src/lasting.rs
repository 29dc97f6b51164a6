//! What is kept until the process ends.
//!
//! A command reads a project and its state, works with them and ends. Giving the memory of ten thousand resources back
//! piece by piece takes a tenth of a plan's time; the operating system takes it all at once.
//!
//! It is for plain data alone: what wipes a secret, ends a connection or removes a file when it is dropped does not.

use std::mem::ManuallyDrop;
use std::ops::Deref;

/// A value that is kept until the process ends, unless it is given up before.
pub(crate) struct Lasting<T>(ManuallyDrop<Box<T>>);

impl<T> Lasting<T> {
    /// Keeps a value.
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(Box::new(value)))
    }

    /// Gives it up, because what follows takes long or needs the room.
    pub(crate) fn give_up(self) -> T {
        *ManuallyDrop::into_inner(self.0)
    }
}

impl<T> Deref for Lasting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Keeps a value until the process ends.
pub(crate) fn lasting<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}
