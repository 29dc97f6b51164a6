//! What regions have, from a file: for plans without an account.

use std::collections::BTreeMap;
use std::path::Path;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Survey, SurveyFailure, SurveyResult};
use gabion_engine::value::Value;

use crate::failure::Failure;
use crate::options::Options;

/// Names a file with what AWS's regions have, by region, to plan from instead of asking AWS.
const VARIABLE: &str = "GABION_AWS_FACTS";

/// Answers surveys from the file that is named, if one is.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn recorded(
    options: &Options,
    surveys: &[Survey],
) -> Result<Option<BTreeMap<ResourceAddress, SurveyResult>>, Failure> {
    let Some(path) = options.environment.set(VARIABLE).filter(|_| !surveys.is_empty()) else {
        return Ok(None);
    };
    let regions = read(Path::new(path))?;
    let answer = |survey: &Survey| {
        let region = survey.inputs.get("region").and_then(Value::as_str);
        let region = region.unwrap_or_default();
        match regions.get(region) {
            Some(Value::Map(facts)) => Ok(facts.clone()),
            _ => Err(SurveyFailure {
                message: format!("The file that {VARIABLE} names has nothing about the region `{region}`."),
                hint: Some(format!(
                    "unset {VARIABLE} to ask AWS, or add the region to the file"
                )),
            }),
        }
    };
    let answers = surveys
        .iter()
        .map(|survey| (survey.address.clone(), answer(survey)));
    Ok(Some(answers.collect()))
}

/// Reads recorded facts: a map from region to what it has.
fn read(path: &Path) -> Result<BTreeMap<String, Value>, Failure> {
    let unreadable = |why: String| {
        Failure::new("facts of AWS's regions cannot be read")
            .detail(format!("`{}`: {why}.", path.display()))
            .hint(format!("{VARIABLE} names a JSON file: {{\"eu-west-1\": {{…}}}}"))
    };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    match Value::from_json(&json) {
        Value::Map(regions) => Ok(regions
            .into_iter()
            .map(|(name, facts)| (name.to_string(), facts))
            .collect()),
        _ => Err(unreadable("it is no map".to_owned())),
    }
}
