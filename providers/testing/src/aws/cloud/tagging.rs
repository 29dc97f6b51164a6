//! Tags: set with the creating call or later, on whatever has an id.

use super::question::Tags;
use super::region::Region;
use super::xml::Xml;
use super::{Outcome, Refused};
use crate::aws::http::Asked;

/// The most tags of an object (EC2 User Guide, "Tag your Amazon EC2 resources").
const MOST: usize = 50;

/// Writes an object's tags.
pub(super) fn write(xml: &mut Xml, tags: Option<&Tags>) {
    xml.items("tagSet", tags.into_iter().flatten(), |item, (key, value)| {
        item.text("key", key).text("value", value);
    });
}

impl Region {
    /// Returns an object's tags.
    pub(super) fn tags_of(&self, id: &str) -> Option<&Tags> {
        self.tags.get(id)
    }

    pub(super) fn create_tags(&mut self, asked: &Asked) -> Outcome {
        let set = asked.tags("Tag")?;
        let ids = self.tagged(asked)?;
        for id in &ids {
            let mut all = self.tags.get(id).cloned().unwrap_or_default();
            all.extend(set.clone());
            if all.len() > MOST {
                return Err(Refused::new(
                    "TagLimitExceeded",
                    format!("The maximum number of tags for a resource is {MOST}"),
                ));
            }
        }
        for id in ids {
            self.tags.entry(id).or_default().extend(set.clone());
        }
        Ok(done())
    }

    pub(super) fn delete_tags(&mut self, asked: &Asked) -> Outcome {
        let gone: Vec<(String, Option<String>)> = (1..=asked.count("Tag"))
            .filter_map(|number| {
                let key = asked.parameter(&format!("Tag.{number}.Key"))?;
                let value = asked.parameter(&format!("Tag.{number}.Value"));
                Some((key.to_owned(), value.map(str::to_owned)))
            })
            .collect();
        for id in self.tagged(asked)? {
            let tags = self.tags.entry(id).or_default();
            for (key, value) in &gone {
                if value.as_ref().is_none_or(|value| tags.get(key) == Some(value)) {
                    tags.remove(key);
                }
            }
        }
        Ok(done())
    }

    /// Returns the ids that tags are to be set on, if all of them are there.
    fn tagged(&self, asked: &Asked) -> Result<Vec<String>, Refused> {
        let ids = asked.list("ResourceId");
        for id in &ids {
            if self.has(id) {
                continue;
            }
            let code = match id.split_once('-').map(|(kind, _)| kind) {
                Some("i") => "InvalidInstanceID.NotFound",
                Some("vol") => "InvalidVolume.NotFound",
                Some("sg") => "InvalidGroup.NotFound",
                Some("sgr") => "InvalidSecurityGroupRuleId.NotFound",
                Some("eipalloc") => "InvalidAllocationID.NotFound",
                Some("key") => "InvalidKeyPair.NotFound",
                Some("pg") => "InvalidPlacementGroup.Unknown",
                _ => "InvalidID",
            };
            return Err(Refused::new(code, format!("The ID '{id}' does not exist")));
        }
        Ok(ids.into_iter().map(str::to_owned).collect())
    }
}

/// What is answered when there is nothing to tell.
pub(super) fn done() -> Xml {
    let mut xml = Xml::default();
    xml.text("return", true);
    xml
}
