//! Prices: dollars an hour, to the millionth, so that they can be added and compared.

use std::fmt;

use serde::{Deserialize, Serialize};

/// US dollars an hour; more than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Price {
    millionths: u64,
}

impl Price {
    /// Makes a price of dollars an hour; `None` for what is no price.
    #[must_use]
    pub fn of_dollars(dollars: f64) -> Option<Self> {
        let millionths = (dollars * 1e6).round();
        (millionths > 0.0 && millionths < 1e15).then_some(Self {
            millionths: millionths as u64,
        })
    }

    /// Returns the dollars an hour.
    #[must_use]
    pub fn dollars(self) -> f64 {
        self.millionths as f64 / 1e6
    }

    /// Returns the millionths of a dollar an hour.
    #[must_use]
    pub fn millionths(self) -> u64 {
        self.millionths
    }
}

/// `$0.587/h`: three decimals at least, six at most.
impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.millionths / 1_000_000, self.millionths % 1_000_000);
        let digits = format!("{part:06}");
        let shown = digits.trim_end_matches('0');
        write!(f, "${whole}.{shown:0<3}/h")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_shown_with_three_to_six_decimals() {
        for (dollars, shown) in [
            (0.587, "$0.587/h"),
            (1.0, "$1.000/h"),
            (18.18233, "$18.18233/h"),
            (0.05, "$0.050/h"),
        ] {
            assert_eq!(Price::of_dollars(dollars).unwrap().to_string(), shown);
        }
        assert_eq!(Price::of_dollars(0.0), None);
        assert_eq!(Price::of_dollars(f64::NAN), None);
    }
}
