//! Prices for people: what everything costs once a plan is applied, and what the plan adds to it.

use gabion_engine::plan::price::{HOURS_A_MONTH, PlanPrices};

use super::words::{count, plain};

/// Returns dollars an hour: `$0.587/h`, three decimals at least.
pub(crate) fn hourly(millionths: u64) -> String {
    let (whole, part) = (millionths / 1_000_000, millionths % 1_000_000);
    let digits = format!("{part:06}");
    format!("${whole}.{:0<3}/h", digits.trim_end_matches('0'))
}

/// Returns dollars a month of 730 hours: `$428.51 a month`.
pub(crate) fn monthly(millionths: u64) -> String {
    let cents = (u128::from(millionths) * u128::from(HOURS_A_MONTH) + 5_000) / 10_000;
    format!("${}.{:02} a month", cents / 100, cents % 100)
}

/// Returns what everything costs, and what changes about that, in one line.
pub(crate) fn line(prices: &PlanPrices) -> String {
    let after = prices.after();
    let increase = prices.increase();
    let change = match increase {
        0 => "as before".to_owned(),
        _ => {
            let sign = if increase > 0 { '+' } else { '-' };
            let by = increase.unsigned_abs();
            format!("{sign}{}, {sign}{}", hourly(by), monthly(by))
        }
    };
    let unknown = match after.unknown {
        0 => String::new(),
        number => format!("; {} of unknown price not counted", count(number, "machine")),
    };
    format!(
        "{}, {} ({change}){unknown}; machines alone, list prices of {}",
        hourly(after.millionths),
        monthly(after.millionths),
        plain(&prices.date)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_to_cents_a_month() {
        assert_eq!(hourly(587_000), "$0.587/h");
        assert_eq!(monthly(587_000), "$428.51 a month");
        assert_eq!(hourly(18_182_330), "$18.18233/h");
        assert_eq!(monthly(0), "$0.00 a month");
    }
}
