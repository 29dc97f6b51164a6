//! Asking the person at the terminal.

use crate::failure::Failure;
use crate::interrupt::Interrupts;
use crate::output::Printer;

/// Asks a question that only `y` or `yes` answers with yes.
///
/// # Errors
/// When the answer is no, or an interrupt comes first.
pub(crate) async fn approve(
    question: &str,
    printer: &Printer,
    interrupts: &Interrupts,
) -> Result<(), Failure> {
    printer.ask(&format!(
        "\n{0}{question}{0:#} [y/N] ",
        printer.status_theme().strong
    ));
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    match interrupts.unless(answer).await? {
        Ok(Ok(line)) if matches!(line.trim().to_lowercase().as_str(), "y" | "yes") => Ok(()),
        _ => Err(Failure::new("not approved").detail("Nothing was changed.")),
    }
}

/// Returns the failure of a command that must ask and cannot.
pub(crate) fn nobody_to_ask(hint: String) -> Failure {
    Failure::new("nobody to ask")
        .detail("This is no terminal, so nobody can approve this. Nothing was changed.")
        .hint(hint)
}
