//! The page about commands, from the command line's own definition.

use clap::Command;

use super::GENERATED;

/// Writes the page about a program and its commands, hidden ones left out.
pub(crate) fn commands_page(program: Command) -> String {
    // Without a width, help is as wide as the terminal.
    let mut program = program.term_width(100);
    program.build();
    let mut page = format!("{GENERATED}\n# Commands\n");
    section(&program, true, &mut page);
    page
}

fn section(command: &Command, is_program: bool, page: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    // What every command takes is said once, at the top.
    let mut shown = command.clone().mut_args(|argument| {
        let everywhere =
            argument.is_global_set() || ["help", "version"].contains(&argument.get_id().as_str());
        let hide = argument.is_hide_set() || (everywhere && !is_program);
        argument.hide(hide)
    });
    let help = shown.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    page.push_str(&format!(
        "\n## {name}\n\n```text\n{}\n```\n",
        lines.join("\n").trim_end()
    ));
    let visible = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    for inner in command.get_subcommands().filter(visible) {
        section(inner, false, page);
    }
}
