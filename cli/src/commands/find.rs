//! Which programs a name means.

use gabion_engine::diagnostic::did_you_mean;
use gabion_engine::state::State;
use gabion_engine::state::record::Record;

use crate::failure::Failure;
use crate::wiring::is_unit;

/// Returns the programs that a name means: an address, the name of a resource or its beginning, or a document's name; of
/// these with a number only the replica or node that has it.
pub(super) fn find<'a>(
    state: &'a State,
    name: &str,
    replica: Option<u32>,
) -> Result<Vec<&'a Record>, Failure> {
    let programs: Vec<&Record> = state.current_records().filter(|record| is_unit(record)).collect();
    let exact =
        |record: &&&Record| record.address.to_string() == name || record.address.name.as_str() == name;
    if let (Some(record), None) = (programs.iter().find(exact), replica) {
        return Ok(vec![record]);
    }
    let below = format!("{name}/");
    let found: Vec<&Record> = programs
        .iter()
        .filter(|record| {
            let document = record.declaration.document.as_ref();
            record.address.name.as_str().starts_with(&below)
                || document.is_some_and(|document| &*document.name == name)
        })
        .copied()
        .collect();
    if let (Some(number), false) = (replica, found.is_empty()) {
        return of_number(found, name, number);
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<String> = programs
        .iter()
        .map(|record| record.address.name.to_string())
        .collect();
    let documents = programs
        .iter()
        .filter_map(|record| Some(&*record.declaration.document.as_ref()?.name));
    let hint = match did_you_mean(name, names.iter().map(String::as_str).chain(documents)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "nothing runs; see `gabion ps`".to_owned(),
        None => format!("there are:\n    {}", names.join("\n    ")),
    };
    Err(Failure::new("no such program")
        .detail(format!("Nothing that runs is called `{name}`."))
        .hint(hint))
}

/// Keeps the replicas or nodes with a number, one of each group.
fn of_number<'a>(found: Vec<&'a Record>, name: &str, number: u32) -> Result<Vec<&'a Record>, Failure> {
    let number_of = |record: &Record| {
        let (_, last) = record.address.name.as_str().rsplit_once('/')?;
        last.parse::<u32>().ok()
    };
    let (of_number, others): (Vec<&Record>, Vec<&Record>) = found
        .into_iter()
        .partition(|record| number_of(record) == Some(number));
    if !of_number.is_empty() {
        return Ok(of_number);
    }
    let mut numbers: Vec<u32> = others.into_iter().filter_map(number_of).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    Err(Failure::new("no such replica")
        .detail(format!("`{name}` has no replica or node {number}."))
        .hint(match numbers.as_slice() {
            [] => "leave `--replica` out: it has none".to_owned(),
            _ => format!("it has: {}", numbers.join(", ")),
        }))
}
