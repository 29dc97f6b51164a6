//! The shapes of projects, for gabion and for Terraform.

use std::fmt::Write as _;

use super::mix;
use crate::Failure;

/// How many resources a file has at most: gabion refuses files of more than 64 MiB or 10 million values.
const RESOURCES_A_FILE: usize = 100_000;

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
    /// What gateways and services come to, on the fake cloud.
    Mix,
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

    fn value(self, index: usize, size: usize) -> String {
        match self.concerns(index, size) {
            true => format!("w{index}"),
            false => format!("v{index}"),
        }
    }
}

fn for_each(size: usize, change: Change) -> String {
    let mut text = String::from("type: resource\nkind: gabion_data\nname: r-${{ each.key }}\nfor_each:\n");
    for index in 0..size {
        // Writing to a text cannot fail.
        writeln!(text, "  k{index}: {}", change.value(index, size)).unwrap_or_default();
    }
    text + "properties:\n  input: ${{ each.value }}\n"
}

impl Shape {
    pub(super) const ALL: [Self; 5] = [Self::Wide, Self::TwoLevel, Self::Chain, Self::ForEach, Self::Mix];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::TwoLevel => "two-level",
            Self::Chain => "chain",
            Self::ForEach => "for-each",
            Self::Mix => "mix",
        }
    }

    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }

    /// Returns the resource of the same kind that another refers to.
    pub(super) fn parent(self, index: usize, size: usize) -> Option<usize> {
        let parents = (size / 10).max(1);
        match self {
            Self::Wide | Self::ForEach | Self::Mix => None,
            Self::TwoLevel => (index >= parents).then(|| index % parents),
            Self::Chain => index.checked_sub(1),
        }
    }

    /// Returns how many resources must be done one after another.
    pub(super) fn levels(self, size: usize) -> Option<usize> {
        (self == Self::Chain).then_some(size)
    }

    /// Gives the files of a project to `put`, by name and text, one after another.
    pub(super) fn gabion(
        self,
        size: usize,
        change: Change,
        mut put: impl FnMut(&str, &str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        put("gabion.yml", "project: bench\n")?;
        if self == Self::ForEach {
            return put("main.gabion.yml", &for_each(size, change));
        }
        let mut text = String::new();
        for (number, first) in (0..size).step_by(RESOURCES_A_FILE).enumerate() {
            text.clear();
            for index in first..size.min(first + RESOURCES_A_FILE) {
                self.resource(&mut text, index, size, change);
            }
            put(&format!("part-{number:03}.gabion.yml"), &text)?;
        }
        Ok(())
    }

    fn resource(self, text: &mut String, index: usize, size: usize, change: Change) {
        if self == Self::Mix {
            return mix::write(text, index, |index| change.concerns(index, size));
        }
        // Writing to a text cannot fail.
        let mut put = |line: std::fmt::Arguments<'_>| text.write_fmt(line).unwrap_or_default();
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
            None => put(format_args!("  input: {}\n", change.value(index, size))),
        }
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

    fn files(shape: Shape, size: usize, change: Change) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let put = |name: &str, text: &str| {
            files.push((name.to_owned(), text.to_owned()));
            Ok(())
        };
        shape.gabion(size, change, put).unwrap();
        files
    }

    fn text(shape: Shape, size: usize, change: Change) -> String {
        files(shape, size, change)
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    }

    #[test]
    fn both_languages_say_the_same() {
        for shape in Shape::ALL {
            let (ours, theirs) = (text(shape, 20, Change::None), shape.terraform(20));
            for index in 1..20 {
                if let Some(parent) = shape.parent(index, 20) {
                    assert!(ours.contains(&format!("gabion_data.r{parent}.id")), "{ours}");
                    assert!(
                        theirs.contains(&format!("terraform_data.r{parent}.id")),
                        "{theirs}"
                    );
                }
            }
            assert_ne!(ours, text(shape, 20, Change::One));
        }
        let blocks = |text: &str, start: &str| text.matches(start).count();
        assert_eq!(
            blocks(&text(Shape::Wide, 30, Change::None), "kind: gabion_data"),
            30
        );
        assert_eq!(blocks(&Shape::Wide.terraform(30), "resource "), 30);
        assert_eq!(blocks(&text(Shape::Wide, 300, Change::Percent), "input: w"), 4);
    }

    #[test]
    fn what_is_too_much_for_a_file_is_in_several() {
        let files = files(Shape::Wide, 250_000, Change::One);
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "gabion.yml",
                "part-000.gabion.yml",
                "part-001.gabion.yml",
                "part-002.gabion.yml"
            ]
        );
        let resources: Vec<usize> = files
            .iter()
            .map(|(_, text)| text.matches("---").count())
            .collect();
        assert_eq!(resources, [0, 100_000, 100_000, 50_000]);
        assert!(files.iter().all(|(_, text)| text.len() < 32 << 20));
        assert!(
            files[3]
                .1
                .contains("name: r249999\nproperties:\n  input: w249999\n")
        );
    }
}
