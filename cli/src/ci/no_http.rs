//! What stands in for calls of an API in a build without the feature `forge`: there are none.

use http::Method;
use serde_json::Value as Json;

use super::answer::{Answer, Refused};
use crate::failure::{DEFAULT_FEATURES, Failure};
use crate::render::words::plain;

/// An API that nobody has.
pub(crate) enum Api {}

impl Api {
    /// Says that this build calls no API.
    pub(crate) fn new(base: &str, _: &'static str, _: &str) -> Result<Self, Failure> {
        Err(Failure::new("this build of gabion calls no GitHub or GitLab")
            .detail(format!("It has no client for `{}`.", plain(base)))
            .hint(DEFAULT_FEATURES))
    }

    /// The name of the header that carries a bearer token.
    pub(crate) fn bearer() -> &'static str {
        "authorization"
    }

    /// Makes one call.
    pub(crate) async fn call(&self, _: Method, _: &str, _: Option<&Json>) -> Result<Answer, Refused> {
        match *self {}
    }
}
