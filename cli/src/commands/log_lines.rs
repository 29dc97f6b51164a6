//! Printing and following the logs of programs.

use tokio::sync::mpsc;

use crate::context::Context;
use crate::wiring::Program;

/// Prints log text as it is, each line with its program's name when there are several.
pub(super) fn print(context: &Context, name: &str, text: &str, several: bool) {
    let printer = &context.printer;
    // Programs colour their logs also when nobody sees it.
    let stripped = anstream::adapter::strip_str(text).to_string();
    let text = if printer.data_theme().has_colour() {
        text
    } else {
        &stripped
    };
    if !several {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        printer.data(&format!("{text}{end}"));
        return;
    }
    let style = printer.data_theme().calm;
    let lines: String = text
        .lines()
        .map(|line| format!("{style}{name} |{style:#} {line}\n"))
        .collect();
    printer.data(&lines);
}

/// A program whose log is followed: its name, and how long the log was when it was read.
pub(super) struct Followed {
    pub(super) name: String,
    pub(super) program: Program,
    pub(super) from: Option<u64>,
}

/// What is heard of logs.
pub(super) enum Heard {
    /// Whole lines of a program, by its name.
    Lines(String, String),
    /// Nothing more can be heard of a program, and why.
    Lost(String, String),
}

/// Follows logs, until the receiver is dropped.
pub(super) fn follow(followed: Vec<Followed>) -> mpsc::Receiver<Heard> {
    let (sender, heard) = mpsc::channel(64);
    for Followed { name, program, from } in followed {
        let sender = sender.clone();
        tokio::spawn(async move {
            let mut lines = match program.follow(from).await {
                Ok(lines) => lines,
                Err(trouble) => {
                    let _ = sender.send(Heard::Lost(name, trouble.why)).await;
                    return;
                }
            };
            let mut rest = Vec::new();
            while let Some(bytes) = lines.next().await {
                rest.extend_from_slice(&bytes);
                // Whole lines only, so that the lines of two programs do not mix.
                let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
                    continue;
                };
                let text = String::from_utf8_lossy(&rest[..=end]).into_owned();
                rest.drain(..=end);
                if sender.send(Heard::Lines(name.clone(), text)).await.is_err() {
                    return;
                }
            }
            let why = "The connection to its machine was lost.".to_owned();
            let _ = sender.send(Heard::Lost(name, why)).await;
        });
    }
    heard
}
