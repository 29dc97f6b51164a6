//! Rules in CEL.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use cel::{Context, ExecutionError, Program, Value};
use gabion_engine::address::ResourceAddress;
use gabion_engine::config::Rule;
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use gabion_engine::plan::Plan;
use gabion_engine::plan::policy::Ruling;
use serde_json::Value as Json;

use super::facts;
use crate::failure::Failure;

/// How long a condition may be: with the stack below it can be nested as deeply as it is long.
const LONGEST: usize = 2_000;

/// The stack of the thread that reads and evaluates rules; only what is used of it takes memory.
const STACK: usize = 256 << 20;

/// How long all rules of a plan may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a condition may refer to.
const NAMES: [&str; 2] = ["change", "plan"];

/// A condition that was read.
struct Condition {
    program: Program,
    of_each_change: bool,
}

/// Reports conditions that cannot be read.
pub(super) fn problems(rules: &[Rule]) -> Diagnostics {
    let mut problems = Diagnostics::new();
    if rules.is_empty() {
        return problems;
    }
    let texts: Vec<String> = rules.iter().map(|rule| rule.condition.value.clone()).collect();
    let read = bounded(move || {
        texts
            .iter()
            .map(|text| read(text).map(|_| ()))
            .collect::<Vec<_>>()
    });
    let read = read.unwrap_or_else(|why| vec![Err(why.to_owned()); rules.len()]);
    for (rule, read) in rules.iter().zip(read) {
        if let Err(why) = read {
            problems.push(
                Diagnostic::error("bad-condition", "condition that cannot be read")
                    .detail(format!("The rule `{}`: {why}", rule.name.value))
                    .at(rule.condition.span.clone())
                    .hint("conditions are CEL expressions over `change` and `plan`, such as `change.action == \"destroy\"`"),
            );
        }
    }
    problems
}

fn read(text: &str) -> Result<Condition, String> {
    if text.len() > LONGEST {
        return Err(format!("It is longer than {LONGEST} bytes."));
    }
    let program = catch_unwind(AssertUnwindSafe(|| Program::compile(text)))
        .map_err(|_| "It cannot be read.".to_owned())?
        .map_err(|errors| format!("{}.", first_line(&errors.to_string())))?;
    let references = program.references();
    let mut unknown: Vec<&str> = references
        .variables()
        .into_iter()
        .filter(|name| !NAMES.contains(name))
        .collect();
    unknown.sort_unstable();
    if let Some(name) = unknown.first() {
        return Err(format!("It refers to `{name}`; there is `change` and `plan`."));
    }
    let of_each_change = references.variables().contains(&"change");
    Ok(Condition {
        program,
        of_each_change,
    })
}

fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_owned()
}

/// Returns what the rules object to.
pub(super) fn evaluate(rules: &[Rule], plan: &Plan) -> Result<Vec<Ruling>, Failure> {
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<String> = rules.iter().map(|rule| rule.condition.value.clone()).collect();
    let whole = facts::plan(plan);
    let changes: Vec<(ResourceAddress, Json)> = plan
        .effective_changes()
        .map(|change| (change.address.clone(), facts::change(change)))
        .collect();
    let found = bounded(move || decide(&texts, &whole, &changes)).map_err(|why| {
        Failure::new("the policy cannot be decided")
            .detail(format!("{why} Nothing was changed."))
            .hint("make the rules under `policy` in gabion.yml simpler")
    })?;
    Ok(found
        .into_iter()
        .map(|(position, address, undecided)| {
            let rule = &rules[position];
            Ruling {
                effect: rule.effect,
                rule: rule.name.value.as_str().into(),
                address,
                message: match undecided {
                    None => rule.message.clone(),
                    Some(why) => format!("cannot be decided: {why}"),
                },
                place: rule.condition.span.place(),
            }
        })
        .collect())
}

/// An objection: the rule's position, what it is about, and why it cannot be decided, if it cannot.
type Objection = (usize, Option<ResourceAddress>, Option<String>);

fn decide(texts: &[String], plan: &Json, changes: &[(ResourceAddress, Json)]) -> Vec<Objection> {
    let mut found = Vec::new();
    let conditions: Vec<Result<Condition, String>> = texts.iter().map(|text| read(text)).collect();
    let mut base = Context::default();
    base.add_variable_from_value("plan", value(plan));
    let mut judge = |position: usize,
                     condition: &Condition,
                     context: &Context<'_, '_>,
                     address: Option<&ResourceAddress>| {
        match holds(condition, context) {
            Ok(false) => {}
            Ok(true) => found.push((position, address.cloned(), None)),
            Err(why) => found.push((position, address.cloned(), Some(why))),
        }
    };
    for (position, condition) in conditions.iter().enumerate() {
        if let Ok(condition) = condition
            && !condition.of_each_change
        {
            judge(position, condition, &base, None);
        }
    }
    for (address, change) in changes {
        let mut context = base.new_inner_scope();
        context.add_variable_from_value("change", value(change));
        for (position, condition) in conditions.iter().enumerate() {
            if let Ok(condition) = condition
                && condition.of_each_change
            {
                judge(position, condition, &context, Some(address));
            }
        }
    }
    for (position, condition) in conditions.into_iter().enumerate() {
        if let Err(why) = condition {
            found.push((position, None, Some(why)));
        }
    }
    found
}

/// Returns JSON as CEL has it. Whole numbers are all of one type, so that they can be calculated with.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => items.iter().map(value).collect::<Vec<_>>().into(),
        Json::Object(entries) => {
            let entries = entries.iter().map(|(name, item)| (name.clone(), value(item)));
            entries.collect::<HashMap<_, _>>().into()
        }
    }
}

fn holds(condition: &Condition, context: &Context<'_, '_>) -> Result<bool, String> {
    let answer = catch_unwind(AssertUnwindSafe(|| condition.program.execute(context)))
        .map_err(|_| "its evaluation failed".to_owned())?;
    match answer {
        Ok(Value::Bool(truth)) => Ok(truth),
        Ok(_) => Err("it says neither true nor false".to_owned()),
        Err(ExecutionError::NoSuchKey(name)) => Err(format!(
            "there is no `{name}`, or only apply knows it; ask with `has(…)` first"
        )),
        Err(ExecutionError::NoSuchOverload(error)) => {
            let types = error.argument_types().join(" and ");
            Err(match error.function() {
                "_._" => format!("a field is asked of what has none ({types})"),
                function => format!("`{function}` does not go with {types}"),
            })
        }
        Err(error) => Err(first_line(&error.to_string())),
    }
}

/// Runs something on a thread with a large stack, and does not wait for it longer than [`PATIENCE`].
fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, &'static str> {
    let (done, result) = channel();
    let worker = std::thread::Builder::new()
        .name("policy".into())
        .stack_size(STACK)
        .spawn(move || {
            // Nobody listens any more when it took too long.
            let _ = done.send(work());
        });
    if worker.is_err() {
        return Err("There is no thread to evaluate the rules on.");
    }
    match result.recv_timeout(PATIENCE) {
        Ok(answer) => Ok(answer),
        Err(RecvTimeoutError::Timeout) => Err("The rules take too long."),
        Err(RecvTimeoutError::Disconnected) => Err("The rules cannot be evaluated."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_every_depth_and_kind_end() {
        let deep = |open: &str, close: &str| {
            let number = LONGEST / (open.len() + close.len()) - 4;
            format!("{}1{}", open.repeat(number), close.repeat(number))
        };
        for text in [
            deep("(", ")"),
            deep("!", ""),
            deep("-", ""),
            deep("[", "]"),
            deep("true ? 1 : ", ""),
            deep("{1:", "}"),
            deep("1+", ""),
            deep("size(", ")"),
            "\u{0}".into(),
            "'".into(),
            "a.b.c".into(),
            "1 / 0 == 1".into(),
            "9223372036854775807 + 1 > 0".into(),
            "x".repeat(LONGEST + 1),
            "'a'.matches('((a+)+)+$')".into(),
        ] {
            let plan = serde_json::json!({});
            bounded(move || decide(&[text], &plan, &[])).unwrap();
        }
    }

    #[test]
    fn what_takes_too_long_is_given_up() {
        let list = format!("[{}]", vec!["1"; 60].join(","));
        let text = (0..9).fold("true".to_owned(), |inner, depth| {
            format!("{list}.all(x{depth}, {inner})")
        });
        assert!(text.len() <= LONGEST, "{}", text.len());
        let plan = serde_json::json!({});
        let answer = bounded(move || decide(&[text], &plan, &[]));
        assert_eq!(answer.unwrap_err(), "The rules take too long.");
    }
}
