//! The configuration reference: Markdown pages written from the schemas, so that they cannot say anything else.

mod commands;
mod documents;
mod resource_types;

use std::collections::BTreeMap;

pub(crate) use commands::commands_page;
pub(crate) use documents::{DocumentPage, documents_page, settings_page};
pub(crate) use resource_types::{data_kinds_page, resource_types_page};

/// What every page says about itself.
const GENERATED: &str =
    "<!-- Written by `gabion schema --docs docs/reference`. Changes are made in the schemas. -->\n";

/// The pages of a reference, by file name.
pub(crate) type Pages = BTreeMap<&'static str, String>;

/// A table in Markdown.
struct Table {
    text: String,
}

impl Table {
    fn new(head: &[&str]) -> Self {
        let mut table = Self { text: String::new() };
        table.row(head.iter().map(|cell| (*cell).to_owned()));
        let lines = vec!["---".to_owned(); head.len()];
        table.row(lines);
        table
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        for cell in cells {
            self.text.push_str("| ");
            // A bar ends a cell, in code spans too.
            self.text.push_str(&cell.replace('|', "\\|"));
            self.text.push(' ');
        }
        self.text.push_str("|\n");
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}
