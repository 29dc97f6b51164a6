//! Numbers as people read them.

use super::results::Cell;

/// Returns a number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number of bytes.
pub(super) fn bytes(number: u64) -> String {
    format!("{} bytes", grouped(number))
}

/// Returns what a project is called.
pub(super) fn name_of((shape, size): Cell) -> String {
    format!("{}, {}", shape.name(), grouped(size as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        let numbers = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
    }
}
