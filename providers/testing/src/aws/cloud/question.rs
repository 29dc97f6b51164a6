//! What is asked of EC2: lists, filters, tags and pages, as every action has them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Refused;
use crate::aws::http::Asked;

/// The tags of an object.
pub(super) type Tags = BTreeMap<String, String>;

/// The most values that the filters of a call may have together (EC2 API, "Filter").
const FILTER_VALUES: usize = 200;

impl Asked {
    /// Returns a list: `Name.1`, `Name.2` and so on.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        (1..)
            .map_while(|number| self.parameter(&format!("{name}.{number}")))
            .collect()
    }

    /// Returns how many members a list of structures has.
    pub(super) fn count(&self, name: &str) -> usize {
        let one = |number: &usize| {
            let prefix = format!("{name}.{number}.");
            self.parameters
                .iter()
                .any(|(known, _)| known.starts_with(&prefix))
        };
        (1..).take_while(one).count()
    }

    /// Returns a parameter that must be there.
    pub(super) fn needed(&self, name: &str) -> Result<&str, Refused> {
        self.parameter(name).ok_or_else(|| {
            Refused::new(
                "MissingParameter",
                format!("The request must contain the parameter {name}"),
            )
        })
    }

    /// Returns a parameter that is a number.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.parameter(name)?.parse().ok()
    }

    /// Returns a parameter that is yes or no.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.parameter(name).map(|text| text.eq_ignore_ascii_case("true"))
    }

    /// Returns the tags that a creating call sets on what is of a type.
    pub(super) fn tags_for(&self, resource_type: &str) -> Result<Tags, Refused> {
        let mut tags = Tags::new();
        for number in 1..=self.count("TagSpecification") {
            let specification = format!("TagSpecification.{number}");
            if self.parameter(&format!("{specification}.ResourceType")) == Some(resource_type) {
                tags.extend(self.tags(&format!("{specification}.Tag"))?);
            }
        }
        Ok(tags)
    }

    /// Returns the tags of a list.
    pub(super) fn tags(&self, name: &str) -> Result<Tags, Refused> {
        let mut tags = Tags::new();
        for number in 1..=self.count(name) {
            let key = self.needed(&format!("{name}.{number}.Key"))?;
            let value = self.parameter(&format!("{name}.{number}.Value"));
            if key.starts_with("aws:") {
                return Err(Refused::new(
                    "InvalidParameterValue",
                    "Tag keys starting with 'aws:' are reserved for internal use",
                ));
            }
            tags.insert(key.to_owned(), value.unwrap_or_default().to_owned());
        }
        Ok(tags)
    }

    fn filters(&self) -> Result<Vec<(&str, Vec<&str>)>, Refused> {
        let filters: Vec<_> = (1..)
            .map_while(|number| {
                let name = self.parameter(&format!("Filter.{number}.Name"))?;
                Some((name, self.list(&format!("Filter.{number}.Value"))))
            })
            .collect();
        if filters.iter().map(|(_, values)| values.len()).sum::<usize>() > FILTER_VALUES {
            return Err(Refused::new(
                "FilterLimitExceeded",
                format!("The maximum number of filter values specified on a single call is {FILTER_VALUES}"),
            ));
        }
        Ok(filters)
    }

    /// Returns those objects that all filters take. `values` says what an object has for a filter's name; `None` is a
    /// filter that there is not.
    pub(super) fn filtered<'a, T>(
        &self,
        objects: impl IntoIterator<Item = &'a T>,
        tags: impl Fn(&T) -> Option<&'a Tags>,
        values: impl Fn(&T, &str) -> Option<Vec<String>>,
    ) -> Result<Vec<&'a T>, Refused> {
        let filters = self.filters()?;
        let mut taken = Vec::new();
        'objects: for object in objects {
            for (name, wanted) in &filters {
                let has: Vec<String> = match name.strip_prefix("tag:") {
                    Some(key) => tags(object)
                        .and_then(|tags| tags.get(key))
                        .cloned()
                        .into_iter()
                        .collect(),
                    None if *name == "tag-key" => tags(object)
                        .map(|tags| tags.keys().cloned().collect())
                        .unwrap_or_default(),
                    None => values(object, name).ok_or_else(|| {
                        Refused::new("InvalidParameterValue", format!("The filter '{name}' is invalid"))
                    })?,
                };
                let fits = wanted
                    .iter()
                    .any(|wanted| has.iter().any(|has| matches(wanted.as_bytes(), has.as_bytes())));
                if !fits {
                    continue 'objects;
                }
            }
            taken.push(object);
        }
        Ok(taken)
    }

    /// Returns a page of objects that are sorted by id, and what asks for the next one.
    pub(super) fn page<'a, T>(
        &self,
        objects: Vec<&'a T>,
        id: impl Fn(&T) -> &str,
    ) -> Result<(Vec<&'a T>, Option<String>), Refused> {
        let after = match self.parameter("NextToken") {
            None => None,
            Some(token) => {
                let decoded = STANDARD.decode(token).ok();
                let after = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
                Some(after.ok_or_else(|| {
                    Refused::new("InvalidParameterValue", "Unable to parse pagination token")
                })?)
            }
        };
        let mut rest: Vec<&T> = objects
            .into_iter()
            .filter(|object| after.as_deref().is_none_or(|after| id(object) > after))
            .collect();
        let Some(most) = self.number("MaxResults") else {
            return Ok((rest, None));
        };
        if !(5..=1000).contains(&most) {
            return Err(Refused::new(
                "InvalidParameterValue",
                format!(
                    "Value ( {most} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000."
                ),
            ));
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if rest.len() <= most {
            return Ok((rest, None));
        }
        rest.truncate(most);
        let last = rest.last().map(|object| STANDARD.encode(id(object)));
        Ok((rest, last))
    }
}

/// Returns whether a filter's value, with `*` and `?`, takes a text.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(_, shorter)| matches(pattern, shorter))
        }
        (Some((b'?', pattern)), Some((_, text))) => matches(pattern, text),
        (Some((wanted, pattern)), Some((is, text))) => wanted == is && matches(pattern, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_stars_and_question_marks() {
        for (pattern, text, fits) in [
            ("al2023-*-x86_64", "al2023-ami-1-x86_64", true),
            ("al2023-*-x86_64", "al2023-ami-1-arm64", false),
            ("t?.micro", "t3.micro", true),
            ("g5.*", "g5.xlarge", true),
            ("*", "", true),
            ("a", "", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                fits,
                "{pattern} {text}"
            );
        }
    }
}
