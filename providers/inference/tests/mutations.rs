//! Documents that are damaged at random: reading one never panics, takes no long time, and says of every error where it is.
//!
//! The test command runs a bounded number; `cargo xtask fuzz --mutations 1000000` runs as many as one likes, over the
//! files of a directory too, and prints figures.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot read its files has failed; how long to search is for whoever runs it to say, who gets figures"
)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use support::{errors, resolve, validate, validate_with};

/// How many are read in the test command.
const MUTATIONS: u64 = 2000;
/// How many to read instead.
const COUNT: &str = "GABION_MUTATIONS";
/// A directory with more documents to damage.
const SEEDS: &str = "GABION_MUTATION_SEEDS";
/// How much memory reading all of them may take at any time.
const MEMORY_KB: u64 = 512 * 1024;
/// How much time of processors one may take. Unoptimised builds are many times slower, and other tests of this process
/// count too.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 1 });

/// A generator of numbers that gives the same ones in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count.max(1)).unwrap()).unwrap()
    }
}

/// Pieces that documents are made of, and some that break them.
const PIECES: [&str; 40] = [
    ":",
    "- ",
    "  ",
    "\n",
    "'",
    "\"",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: *a",
    "|",
    ">",
    "#",
    "---\n",
    "off",
    "null",
    "-1",
    "0",
    "..",
    "1..",
    "..4",
    "4..1",
    "3.10",
    "80:22",
    "99999999999999999999",
    "1e400",
    ".inf",
    "16GiB",
    "A100:40GB:2",
    "nvidia:amd",
    "${{ env.X }}",
    "${{",
    "}}",
    "${{ groups[9].nodes[0].IP_ADDRESS }}",
    "é",
    "\u{0}",
    "\t",
];

fn mutated(text: &str, others: &[String], random: &mut Random) -> String {
    let mut text = text.to_owned();
    for _ in 0..=random.below(3) {
        let mut at = random.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        match random.below(7) {
            0 => text.insert_str(at, PIECES[random.below(PIECES.len())]),
            1 => {
                let end = text[at..]
                    .char_indices()
                    .nth(1 + random.below(6))
                    .map_or(text.len(), |(end, _)| at + end);
                text.replace_range(at..end, "");
            }
            2 => {
                // A word becomes another.
                let start = text[..at]
                    .rfind(|c: char| c.is_whitespace())
                    .map_or(0, |start| start + 1);
                let end = text[at..]
                    .find(|c: char| c.is_whitespace())
                    .map_or(text.len(), |end| at + end);
                let start = (start..=at)
                    .find(|start| text.is_char_boundary(*start))
                    .unwrap_or(at);
                text.replace_range(start..end, PIECES[random.below(PIECES.len())]);
            }
            3 => {
                // A line goes, or comes twice.
                let lines: Vec<&str> = text.lines().collect();
                let line = random.below(lines.len());
                let times = 2 * random.below(2);
                let kept = lines.iter().enumerate().flat_map(|(index, text)| {
                    std::iter::repeat_n(*text, if index == line { times } else { 1 })
                });
                text = kept.collect::<Vec<_>>().join("\n");
            }
            4 => {
                // A line of another document comes in.
                let other = &others[random.below(others.len())];
                let lines: Vec<&str> = other.lines().collect();
                let line = lines.get(random.below(lines.len())).copied().unwrap_or_default();
                let at = text[at..].find('\n').map_or(text.len(), |end| at + end);
                text.insert_str(at, &format!("\n{line}"));
            }
            5 => {
                // A line moves to another depth.
                let start = text[..at].rfind('\n').map_or(0, |start| start + 1);
                if random.below(2) == 0 {
                    text.insert_str(start, "  ");
                } else if text[start..].starts_with("  ") {
                    text.replace_range(start..start + 2, "");
                }
            }
            _ => text.truncate(at),
        }
    }
    text
}

/// The repository's own documents.
fn seeds() -> Vec<String> {
    texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutations"))
}

/// The documents of a directory, in the order of their names.
fn texts(directory: &Path) -> Vec<String> {
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

#[test]
fn the_documents_to_damage_are_good_ones() {
    for text in seeds() {
        assert_eq!(errors(&validate("a", &text)), Vec::<String>::new(), "{text}");
        assert!(!resolve("a", &text).is_empty());
    }
}

/// Returns the most memory that this process has had, where the system says.
fn peak_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Returns how long this process has had a processor: what a busy machine adds does not count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

#[test]
fn damaged_documents_are_read_or_refused_at_a_place() {
    let count = std::env::var(COUNT)
        .map(|count| count.parse().unwrap())
        .unwrap_or(MUTATIONS);
    let mut seeds = seeds();
    if let Some(directory) = std::env::var_os(SEEDS) {
        seeds.extend(texts(Path::new(&directory)));
    }
    let mut random = Random(4);
    let (mut good, mut bad, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    let begun = Instant::now();
    for number in 0..count {
        let seed = &seeds[random.below(seeds.len())];
        let text = mutated(seed, &seeds, &mut random);
        let start = processor_time();
        let problems = if random.below(8) == 0 {
            // Profiles are read too.
            validate_with(&[("a.dstack.yml", seed), ("profiles.yml", &text)])
        } else {
            validate("a", &text)
        };
        let took = processor_time() - start;
        slowest = slowest.max(took);
        assert!(took < LIMIT, "number {number} took {took:?}:\n{text}");
        for problem in problems.iter().filter(|problem| problem.is_error()) {
            assert!(problem.primary.is_some(), "number {number}: {problem:?}:\n{text}");
        }
        if problems.has_errors() {
            bad += 1;
            continue;
        }
        good += 1;
        // What is read can be written back.
        for (yaml, _) in resolve("a", &text) {
            assert_eq!(
                resolve("a", &yaml).first().map(|(yaml, _)| yaml),
                Some(&yaml),
                "number {number}:\n{text}"
            );
        }
    }
    assert!(good > count / 50 && bad > count / 50, "{good} good, {bad} bad");
    let peak = peak_kb();
    assert!(peak.is_none_or(|peak| peak < MEMORY_KB), "{peak:?} kB");
    println!(
        "{{\"mutations\": {count}, \"seeds\": {}, \"read\": {good}, \"refused_at_a_place\": {bad}, \"seconds\": {:.1}, \
         \"slowest_ms\": {:.1}, \"peak_mb\": {}}}",
        seeds.len(),
        begun.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1000.0,
        peak.map_or_else(|| "null".to_owned(), |peak| (peak / 1024).to_string()),
    );
}
