//! What a call of an API comes to.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value as Json;

use crate::failure::Failure;

/// What a service answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Json,
}

/// Why a call did not succeed.
#[cfg_attr(not(feature = "forge"), expect(dead_code, reason = "nothing is called"))]
pub(crate) enum Refused {
    /// The body is too long.
    TooLong,
    /// It may succeed later: not before this time.
    Later(Duration),
    /// It will not succeed.
    Never(Failure),
}
