//! The shapes of projects, for gabion and for Terraform.

use std::fmt::Write as _;

/// How the resources of a project hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    /// Each for itself.
    Wide,
    /// A tenth are parents, and each of the others refers to one of them.
    TwoLevel,
    /// Each refers to the one before it.
    Chain,
    /// One block that makes them all.
    ForEach,
}

/// What differs from the first version of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The last resource.
    One,
    /// Every hundredth resource, and the last.
    Percent,
}

impl Change {
    fn concerns(self, index: usize, size: usize) -> bool {
        match self {
            Self::None => false,
            Self::One => index + 1 == size,
            Self::Percent => index + 1 == size || index % 100 == 50,
        }
    }
}

impl Shape {
    pub(super) const ALL: [Self; 4] = [Self::Wide, Self::TwoLevel, Self::Chain, Self::ForEach];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::TwoLevel => "two-level",
            Self::Chain => "chain",
            Self::ForEach => "for-each",
        }
    }

    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }

    /// Returns the resource that another refers to.
    pub(super) fn parent(self, index: usize, size: usize) -> Option<usize> {
        let parents = (size / 10).max(1);
        match self {
            Self::Wide | Self::ForEach => None,
            Self::TwoLevel => (index >= parents).then(|| index % parents),
            Self::Chain => index.checked_sub(1),
        }
    }

    /// Returns a project of `gabion_data`.
    pub(super) fn gabion(self, size: usize, change: Change) -> String {
        let mut text = String::with_capacity(size * 96);
        let value = |index: usize| match change.concerns(index, size) {
            true => format!("w{index}"),
            false => format!("v{index}"),
        };
        // Writing to a text cannot fail.
        let mut put = |line: std::fmt::Arguments<'_>| text.write_fmt(line).unwrap_or_default();
        if self == Self::ForEach {
            put(format_args!(
                "type: resource\nkind: gabion_data\nname: r-${{{{ each.key }}}}\nfor_each:\n"
            ));
            for index in 0..size {
                put(format_args!("  k{index}: {}\n", value(index)));
            }
            put(format_args!("properties:\n  input: ${{{{ each.value }}}}\n"));
            return text;
        }
        for index in 0..size {
            put(format_args!(
                "---\ntype: resource\nkind: gabion_data\nname: r{index}\nproperties:\n"
            ));
            match self.parent(index, size) {
                // A change at the root of a chain would be a change of all: this one stays at its own resource.
                Some(parent) if change.concerns(index, size) => put(format_args!(
                    "  input: [\"${{{{ gabion_data.r{parent}.id }}}}\", w{index}]\n"
                )),
                Some(parent) => put(format_args!(
                    "  input: [\"${{{{ gabion_data.r{parent}.id }}}}\", v]\n"
                )),
                None => put(format_args!("  input: {}\n", value(index))),
            }
        }
        text
    }

    /// Returns the same for Terraform.
    pub(super) fn terraform(self, size: usize) -> String {
        let mut text = String::with_capacity(size * 64);
        let mut put = |line: std::fmt::Arguments<'_>| text.write_fmt(line).unwrap_or_default();
        if self == Self::ForEach {
            put(format_args!(
                "resource \"terraform_data\" \"r\" {{\n  for_each = {{\n"
            ));
            for index in 0..size {
                put(format_args!("    k{index} = \"v{index}\"\n"));
            }
            put(format_args!("  }}\n  input = each.value\n}}\n"));
            return text;
        }
        for index in 0..size {
            let input = match self.parent(index, size) {
                Some(parent) => format!("[terraform_data.r{parent}.id, \"v\"]"),
                None => format!("\"v{index}\""),
            };
            put(format_args!(
                "resource \"terraform_data\" \"r{index}\" {{\n  input = {input}\n}}\n"
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_say_the_same() {
        for shape in Shape::ALL {
            let (ours, theirs) = (shape.gabion(20, Change::None), shape.terraform(20));
            for index in 1..20 {
                if let Some(parent) = shape.parent(index, 20) {
                    assert!(ours.contains(&format!("gabion_data.r{parent}.id")), "{ours}");
                    assert!(
                        theirs.contains(&format!("terraform_data.r{parent}.id")),
                        "{theirs}"
                    );
                }
            }
            assert_ne!(ours, shape.gabion(20, Change::One));
        }
        let blocks = |text: &str, start: &str| text.matches(start).count();
        assert_eq!(
            blocks(&Shape::Wide.gabion(30, Change::None), "kind: gabion_data"),
            30
        );
        assert_eq!(blocks(&Shape::Wide.terraform(30), "resource "), 30);
        assert_eq!(blocks(&Shape::Wide.gabion(300, Change::Percent), "input: w"), 4);
    }
}
