//! The report: a page for people, and JSON.

use serde_json::{Value, json};

use super::about::About;
use super::goals::{MOST_PER_RESOURCE, goals};
use super::options::USAGE;
use super::results::{Engine, Results};
use super::tables;
use super::words::name_of;

/// How the page reads before any figure.
const HEAD: &str = "\
What gabion costs, as `cargo xtask bench --write` measured it: the release binary, a process for each command, medians.
Processor time is of all threads, memory the most that was resident at once. **Trust processor time on a machine that does
other work**: the wall's time contains whatever else ran, and the load average below says how much that was. Ratios with
Terraform are taken pair by pair, of runs that followed each other; it runs the same shapes with `terraform_data`. It is not
asked to apply more than 1,000 resources, whose time grows with the square of their number; plans with nothing to do of more
start from a state that was written for it, and where one run of it took more than a minute there is no second one.";

const REPEAT: &str = "\
## How to repeat it

```text
$ cargo xtask bench --full --write
```

";

const SHAPES: &str = "\
| shape | project |
| --- | --- |
| wide | `gabion_data`, each for itself |
| two-level | a tenth are parents, each of the others refers to one of them |
| chain | each refers to the one before it |
| for-each | one block with `for_each` |
| mix | what gateways (a network, a machine, a public address, a wildcard record) with four services each (a record, three replicas of a disk, a machine and a membership) come to, on the fake cloud |

The mix runs `gabion-over-fake-cloud`, the same command line built with one more provider: the program that is released has
no way to the fake cloud. The cloud is a process of its own, whose requests take 2 ms and whose machines 100 ms
to boot; neither is in gabion's processor time or memory.
";

const MICRO: &str = "\
## Micro-benchmarks

Parts by themselves, at 1,000 and 10,000 resources, with criterion:

```text
$ cargo bench -p gabion-engine --bench parts
$ cargo bench -p gabion --bench render
```

The first has parsing, lowering, graph, diff, plan and appending to the log, the second a plan as text, Markdown and JSON.
Arguments after `--` go to criterion: a part of a name chooses, `--save-baseline NAME` and `--baseline NAME` compare.
`cargo bench -p gabion-engine --bench apply` and `cargo bench -p gabion-inference --bench read` print whole applies and the
reading of services as JSON.
";

const DURABILITY: &str = "\
Applies of chains, where every resource waits for the one before. Commits and the bytes that each writes are taken from the
index of SQLite's write-ahead log. Right after the apply, as many bytes were written and made durable 301 times in the same
directory, over a file that has its size already; the medians are given. gabion's SQLite calls `fsync`. The wall's time is that of the
whole command, with reading and planning.";

const CACHES: &str = "\
Cold is the first run with an empty cache directory, warm the next; the kernel's page cache is left as it is, and its effect
is not told apart.";

/// Returns the page for the repository.
pub(super) fn page(about: &About, results: &Results) -> String {
    format!(
        "# Benchmarks\n\n{HEAD}\n\n{}{REPEAT}```text\n{USAGE}\n```\n\n{SHAPES}\n{MICRO}\n{}",
        summary(about, results),
        figures(results).trim_start()
    )
}

/// Returns what was measured: first what it was measured on, what failed, and the goals.
pub(super) fn body(about: &About, results: &Results) -> String {
    summary(about, results) + &figures(results)
}

fn summary(about: &About, results: &Results) -> String {
    let mut text = about.markdown() + "\n";
    let mut troubles = String::new();
    for (cell, failure) in results.failures() {
        troubles += &format!("{}:\n\n```text\n{failure}\n```\n\n", name_of(*cell));
    }
    for skipped in results.skipped() {
        troubles += &format!("* {skipped}\n");
    }
    if !troubles.is_empty() {
        part(&mut text, "What failed or was left out", "", &troubles);
    }
    part(&mut text, "Goals", "", &tables::goals_table(results));
    text
}

fn figures(results: &Results) -> String {
    let mut text = String::new();
    part(
        &mut text,
        "Cost of a resource",
        &format!(
            "Microseconds of processor time per resource by size; in brackets the ratio to that at 10,000, of which \
             {MOST_PER_RESOURCE}× is the bound."
        ),
        &tables::curves(results),
    );
    if let Some(table) = tables::durability(results) {
        part(&mut text, "Durability", DURABILITY, &table);
    }
    if let Some(table) = tables::calls(results) {
        part(
            &mut text,
            "API calls",
            "Requests that arrived at the fake cloud, by verb.",
            &table,
        );
    }
    let cached = results
        .cells()
        .into_iter()
        .filter_map(|cell| results.cached(cell));
    let nothing = match cached.max() {
        Some(0) => " gabion cached nothing for these projects: no file was there at the end of any.",
        _ => "",
    };
    part(
        &mut text,
        "Caches",
        &(CACHES.to_owned() + nothing),
        &tables::caches(results),
    );
    part(&mut text, "Commands", "", &tables::commands(results));
    text
}

fn part(text: &mut String, title: &str, words: &str, table: &str) {
    let words = match words {
        "" => String::new(),
        words => format!("{words}\n\n"),
    };
    *text += &format!("## {title}\n\n{words}{}\n\n", table.trim());
}

/// Returns all measurements on one line.
pub(super) fn json(about: &About, results: &Results) -> Value {
    let mut rows = Vec::new();
    for (cell, phase, runs) in results.all() {
        for engine in [Engine::Gabion, Engine::Terraform] {
            let (name, figures, runs) = match engine {
                Engine::Gabion => ("gabion", results.gabion(cell, phase), runs.gabion.len()),
                Engine::Terraform => ("terraform", results.terraform(cell, phase), runs.terraform.len()),
            };
            let Some(figures) = figures else { continue };
            let ours = engine == Engine::Gabion;
            let log = results.growth(cell, phase).filter(|_| ours);
            let durability = results
                .durability(cell)
                .filter(|_| ours && phase == super::results::Phase::Apply);
            rows.push(json!({
                "shape": cell.0.name(), "size": cell.1, "command": phase.name(), "engine": name, "runs": runs,
                "wall_seconds": figures.wall, "processor_seconds": figures.cpu, "peak_mib": figures.peak,
                "cut": figures.cut,
                "log_events": log.map(|log| log.events), "log_bytes": log.map(|log| log.bytes),
                "log_commits": log.map(|log| log.commits),
                "calls": results.calls(cell, phase).filter(|_| ours),
                "fsync_seconds": durability.map(|found| found.fsync),
                "fdatasync_seconds": durability.map(|found| found.fdatasync),
                "wall_over_fsyncs": durability.map(|found| found.over_fsync),
            }));
        }
    }
    let goals: Vec<Value> = goals(results)
        .into_iter()
        .map(|goal| {
            json!({
                "what": goal.what, "goal": goal.bound, "measured": goal.measured,
                "verdict": goal.verdict.words().replace("**", ""),
            })
        })
        .collect();
    let failures: Vec<Value> = results
        .failures()
        .iter()
        .map(|(cell, failure)| json!({"project": name_of(*cell), "failure": failure}))
        .collect();
    json!({
        "programs": about.programs, "machine": about.machine, "load": about.load, "commit": about.commit,
        "goals": goals, "failures": failures, "measured": rows,
    })
}
