//! Route 53: hosted zones, and their records, of which a batch of changes is made whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::question::Tags;
use super::region::fixed;
use super::xml::{Xml, plain};
use super::{Moment, Refused, timestamp};
use crate::aws::http::Asked;
use crate::aws::{all_between, between};

/// The zones of an account.
#[derive(Debug, Default)]
pub(super) struct Zones {
    zones: BTreeMap<String, Zone>,
    /// From when on the name servers know a change.
    changes: BTreeMap<String, Instant>,
    /// Of every zone that was ever made.
    references: BTreeSet<String>,
    made: u64,
}

#[derive(Debug)]
struct Zone {
    id: String,
    name: String,
    reference: String,
    comment: String,
    vpc: Option<(String, String)>,
    tags: Tags,
    sets: BTreeMap<Key, Set>,
}

/// By what record sets are told apart and sorted: the name from its end, and the type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    reversed: Vec<String>,
    kind: String,
}

/// A record set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Set {
    name: String,
    kind: String,
    answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Records {
        ttl: i64,
        values: BTreeSet<String>,
    },
    Alias {
        zone: String,
        name: String,
        health: bool,
    },
}

/// What is answered: a status, the name of the root element and what is in it.
pub(super) type Told = Result<(u16, &'static str, Xml), Refused>;

/// The most record sets of a page, and zones of one (Route 53 API).
const PAGE: (usize, usize) = (300, 100);

impl Key {
    fn new(name: &str, kind: &str) -> Self {
        Self {
            reversed: name.split('.').rev().map(str::to_owned).collect(),
            kind: kind.to_owned(),
        }
    }
}

impl Zones {
    pub(super) fn answer(&mut self, asked: &Asked, moment: &Moment) -> Told {
        let path = asked.parts.uri.path().to_owned();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).skip(1).collect();
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        match (asked.parts.method.as_str(), parts.as_slice()) {
            ("POST", ["hostedzone"]) => self.create(&body, moment),
            ("GET", ["hostedzone"]) => Ok(self.list(asked)),
            ("GET", ["hostedzone", id]) => self.get(id),
            ("DELETE", ["hostedzone", id]) => self.delete(id, moment),
            ("POST", ["hostedzone", id]) => self.comment(id, &body),
            ("GET", ["hostedzone", id, "rrset"]) => self.records(id, asked),
            ("POST", ["hostedzone", id, "rrset"]) => self.change(id, &body, moment),
            ("GET", ["change", id]) => self.get_change(id, moment),
            ("POST", ["tags", "hostedzone"]) => self.tags(&body),
            ("POST", ["tags", "hostedzone", id]) => self.change_tags(id, &body),
            _ => Err(Refused::new("InvalidAction", "The action is not known here.")),
        }
    }

    fn zone(&self, id: &str) -> Result<&Zone, Refused> {
        self.zones.get(id).ok_or_else(|| no_zone(id))
    }

    fn zone_mut(&mut self, id: &str) -> Result<&mut Zone, Refused> {
        self.zones.get_mut(id).ok_or_else(|| no_zone(id))
    }

    /// Notes a change, which the name servers know a moment later.
    fn note_change(&mut self, xml: &mut Xml, moment: &Moment) {
        self.made += 1;
        let id = format!("C{:016X}", fixed(&format!("change {}", self.made)));
        write_change(xml, &id, "PENDING");
        self.changes.insert(id, moment.now + moment.boot / 4);
    }

    fn create(&mut self, body: &str, moment: &Moment) -> Told {
        let text = |name: &str| between(body, &format!("<{name}>"), &format!("</{name}>")).map(plain);
        let reference = text("CallerReference").unwrap_or_default();
        if !self.references.insert(reference.clone()) {
            return Err(Refused::with_status(
                409,
                "HostedZoneAlreadyExists",
                "A hosted zone has already been created with the specified caller reference.",
            ));
        }
        let name = dns_name(&text("Name").unwrap_or_default());
        if name.is_empty() || name.contains(['*', ' ']) {
            return Err(Refused::new("InvalidDomainName", "The domain name is not valid."));
        }
        self.made += 1;
        let id = format!("Z{:016X}", fixed(&format!("{name} {} {reference}", self.made)));
        let mut zone = Zone {
            id: id.clone(),
            name: name.clone(),
            reference,
            comment: text("Comment").unwrap_or_default(),
            vpc: text("VPCId").map(|vpc| (vpc, text("VPCRegion").unwrap_or_default())),
            tags: Tags::new(),
            sets: BTreeMap::new(),
        };
        let servers = zone.servers();
        let soa = format!(
            "{}. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400",
            servers[0]
        );
        let dotted: BTreeSet<String> = servers.iter().map(|server| format!("{server}.")).collect();
        for (kind, ttl, values) in [("NS", 172_800, dotted), ("SOA", 900, BTreeSet::from([soa]))] {
            let set = Set {
                name: name.clone(),
                kind: kind.to_owned(),
                answer: Answer::Records { ttl, values },
            };
            zone.sets.insert(set.key(), set);
        }
        let mut xml = Xml::default();
        zone.write(&mut xml);
        self.note_change(&mut xml, moment);
        zone.write_delegation(&mut xml);
        self.zones.insert(id, zone);
        Ok((201, "CreateHostedZoneResponse", xml))
    }

    fn list(&self, asked: &Asked) -> (u16, &'static str, Xml) {
        let after = query(asked, "marker");
        let rest: Vec<&Zone> = self
            .zones
            .values()
            .filter(|zone| after.as_ref().is_none_or(|marker| zone.id >= *marker))
            .collect();
        let most = most(asked, PAGE.1);
        let mut xml = Xml::default();
        xml.within("HostedZones", |list| {
            for zone in rest.iter().take(most) {
                zone.write(list);
            }
        });
        xml.text("IsTruncated", rest.len() > most)
            .some("NextMarker", rest.get(most).map(|zone| &zone.id))
            .text("MaxItems", most);
        (200, "ListHostedZonesResponse", xml)
    }

    fn get(&self, id: &str) -> Told {
        let zone = self.zone(id)?;
        let mut xml = Xml::default();
        zone.write(&mut xml);
        match &zone.vpc {
            Some((vpc, region)) => {
                xml.within("VPCs", |list| {
                    list.within("VPC", |xml| {
                        xml.text("VPCRegion", region).text("VPCId", vpc);
                    });
                });
            }
            None => zone.write_delegation(&mut xml),
        }
        Ok((200, "GetHostedZoneResponse", xml))
    }

    fn delete(&mut self, id: &str, moment: &Moment) -> Told {
        let zone = self.zone(id)?;
        if zone.sets.values().any(|set| !zone.is_own(set)) {
            return Err(Refused::new(
                "HostedZoneNotEmpty",
                "The specified hosted zone contains non-required resource record sets and so cannot be deleted.",
            ));
        }
        self.zones.remove(id);
        let mut xml = Xml::default();
        self.note_change(&mut xml, moment);
        Ok((200, "DeleteHostedZoneResponse", xml))
    }

    fn comment(&mut self, id: &str, body: &str) -> Told {
        let zone = self.zone_mut(id)?;
        zone.comment = between(body, "<Comment>", "</Comment>")
            .map(plain)
            .unwrap_or_default();
        let mut xml = Xml::default();
        zone.write(&mut xml);
        Ok((200, "UpdateHostedZoneCommentResponse", xml))
    }

    fn records(&self, id: &str, asked: &Asked) -> Told {
        let zone = self.zone(id)?;
        let from = query(asked, "name")
            .map(|name| Key::new(&dns_name(&name), &query(asked, "type").unwrap_or_default()));
        let rest: Vec<&Set> = zone
            .sets
            .iter()
            .filter(|(key, _)| from.as_ref().is_none_or(|from| *key >= from))
            .map(|(_, set)| set)
            .collect();
        let most = most(asked, PAGE.0);
        let mut xml = Xml::default();
        xml.within("ResourceRecordSets", |list| {
            for set in rest.iter().take(most) {
                set.write(list);
            }
        });
        xml.text("IsTruncated", rest.len() > most);
        if let Some(next) = rest.get(most) {
            xml.text("NextRecordName", escaped_name(&next.name))
                .text("NextRecordType", &next.kind);
        }
        xml.text("MaxItems", most);
        Ok((200, "ListResourceRecordSetsResponse", xml))
    }

    fn change(&mut self, id: &str, body: &str, moment: &Moment) -> Told {
        let zone = self.zone_mut(id)?;
        let mut sets = zone.sets.clone();
        for change in all_between(body, "<Change>", "</Change>") {
            let action = between(change, "<Action>", "</Action>").unwrap_or_default();
            let set = Set::of(change)?;
            zone.check(&set)?;
            apply(&mut sets, action, set)?;
        }
        check_together(&zone.name, &sets)?;
        zone.sets = sets;
        let mut xml = Xml::default();
        self.note_change(&mut xml, moment);
        Ok((200, "ChangeResourceRecordSetsResponse", xml))
    }

    fn get_change(&self, id: &str, moment: &Moment) -> Told {
        let Some(known_from) = self.changes.get(id) else {
            return Err(Refused::with_status(
                404,
                "NoSuchChange",
                format!("A change with the specified change ID '{id}' does not exist."),
            ));
        };
        let status = if *known_from <= moment.now {
            "INSYNC"
        } else {
            "PENDING"
        };
        let mut xml = Xml::default();
        write_change(&mut xml, id, status);
        Ok((200, "GetChangeResponse", xml))
    }

    fn tags(&self, body: &str) -> Told {
        let ids = all_between(body, "<ResourceId>", "</ResourceId>");
        for id in &ids {
            self.zone(id)?;
        }
        let mut xml = Xml::default();
        xml.within("ResourceTagSets", |list| {
            for zone in ids.iter().filter_map(|id| self.zones.get(*id)) {
                list.within("ResourceTagSet", |set| {
                    set.text("ResourceType", "hostedzone")
                        .text("ResourceId", &zone.id)
                        .within("Tags", |tags| {
                            for (key, value) in &zone.tags {
                                tags.within("Tag", |tag| {
                                    tag.text("Key", key).text("Value", value);
                                });
                            }
                        });
                });
            }
        });
        Ok((200, "ListTagsForResourcesResponse", xml))
    }

    fn change_tags(&mut self, id: &str, body: &str) -> Told {
        let zone = self.zone_mut(id)?;
        for tag in all_between(body, "<Tag>", "</Tag>") {
            let part = |name: &str| {
                between(tag, &format!("<{name}>"), &format!("</{name}>"))
                    .map(plain)
                    .unwrap_or_default()
            };
            zone.tags.insert(part("Key"), part("Value"));
        }
        let gone = between(body, "<RemoveTagKeys>", "</RemoveTagKeys>").unwrap_or_default();
        for key in all_between(gone, "<Key>", "</Key>") {
            zone.tags.remove(&plain(key));
        }
        Ok((200, "ChangeTagsForResourceResponse", Xml::default()))
    }
}

impl Zone {
    /// Returns the name servers: four, one of each of the domains that AWS has for them.
    fn servers(&self) -> Vec<String> {
        let number = fixed(&self.id) % 400;
        ["com", "net", "org", "co.uk"]
            .iter()
            .zip(0_u64..)
            .map(|(domain, at)| format!("ns-{}.awsdns-{:02}.{domain}", number + at * 512, number % 64))
            .collect()
    }

    /// Returns whether a set came with the zone and goes with it.
    fn is_own(&self, set: &Set) -> bool {
        set.name == self.name && matches!(set.kind.as_str(), "NS" | "SOA")
    }

    fn write(&self, xml: &mut Xml) {
        xml.within("HostedZone", |xml| {
            xml.text("Id", format!("/hostedzone/{}", self.id))
                .text("Name", format!("{}.", self.name))
                .text("CallerReference", &self.reference)
                .within("Config", |xml| {
                    xml.text("Comment", &self.comment)
                        .text("PrivateZone", self.vpc.is_some());
                })
                .text("ResourceRecordSetCount", self.sets.len());
        });
    }

    fn write_delegation(&self, xml: &mut Xml) {
        xml.within("DelegationSet", |xml| {
            xml.within("NameServers", |list| {
                for server in self.servers() {
                    list.text("NameServer", server);
                }
            });
        });
    }

    /// Refuses a set that cannot be in the zone, or whose values are none of its type.
    fn check(&self, set: &Set) -> Result<(), Refused> {
        let inside = set.name == self.name || set.name.ends_with(&format!(".{}", self.name));
        if !inside {
            return Err(bad_batch(format!(
                "RRSet with DNS name {}. is not permitted in zone {}.",
                set.name, self.name
            )));
        }
        let Answer::Records { values, .. } = &set.answer else {
            return Ok(());
        };
        for value in values {
            let good = match set.kind.as_str() {
                "A" => value.parse::<std::net::Ipv4Addr>().is_ok(),
                "AAAA" => value.parse::<std::net::Ipv6Addr>().is_ok(),
                "TXT" => value.len() > 1 && value.starts_with('"') && value.ends_with('"'),
                _ => true,
            };
            if !good {
                return Err(bad_batch(format!(
                    "Invalid Resource Record: '{value}' is no value of type {}",
                    set.kind
                )));
            }
        }
        Ok(())
    }
}

impl Set {
    fn key(&self) -> Key {
        Key::new(&self.name, &self.kind)
    }

    fn of(text: &str) -> Result<Self, Refused> {
        let part = |name: &str| between(text, &format!("<{name}>"), &format!("</{name}>"));
        let missing = || bad_batch("A record set has a name, a type, and values or an alias.".to_owned());
        let answer = match part("AliasTarget") {
            Some(alias) => {
                let part = |name: &str| between(alias, &format!("<{name}>"), &format!("</{name}>"));
                Answer::Alias {
                    zone: part("HostedZoneId").ok_or_else(missing)?.to_owned(),
                    name: dns_name(part("DNSName").ok_or_else(missing)?),
                    health: part("EvaluateTargetHealth") == Some("true"),
                }
            }
            None => Answer::Records {
                ttl: part("TTL").and_then(|ttl| ttl.parse().ok()).ok_or_else(missing)?,
                values: all_between(text, "<Value>", "</Value>")
                    .into_iter()
                    .map(plain)
                    .collect(),
            },
        };
        if matches!(&answer, Answer::Records { values, .. } if values.is_empty()) {
            return Err(missing());
        }
        Ok(Self {
            name: dns_name(part("Name").ok_or_else(missing)?),
            kind: part("Type").ok_or_else(missing)?.to_owned(),
            answer,
        })
    }

    fn write(&self, xml: &mut Xml) {
        xml.within("ResourceRecordSet", |xml| {
            xml.text("Name", escaped_name(&self.name))
                .text("Type", &self.kind);
            match &self.answer {
                Answer::Records { ttl, values } => {
                    xml.text("TTL", ttl).within("ResourceRecords", |list| {
                        for value in values {
                            list.within("ResourceRecord", |xml| {
                                xml.text("Value", value);
                            });
                        }
                    });
                }
                Answer::Alias { zone, name, health } => {
                    xml.within("AliasTarget", |xml| {
                        xml.text("HostedZoneId", zone)
                            .text("DNSName", format!("{name}."))
                            .text("EvaluateTargetHealth", health);
                    });
                }
            }
        });
    }
}

/// Makes one change of a batch.
fn apply(sets: &mut BTreeMap<Key, Set>, action: &str, set: Set) -> Result<(), Refused> {
    let key = set.key();
    let tried = |why: &str| {
        bad_batch(format!(
            "[Tried to {} resource record set [name='{}.', type='{}'] but {why}]",
            action.to_lowercase(),
            set.name,
            set.kind
        ))
    };
    match (action, sets.get(&key)) {
        ("CREATE", Some(_)) => Err(tried("it already exists")),
        ("DELETE", None) => Err(tried("it was not found")),
        ("DELETE", Some(is)) if *is != set => {
            Err(tried("the values provided do not match the current values"))
        }
        ("DELETE", Some(_)) => {
            sets.remove(&key);
            Ok(())
        }
        ("CREATE" | "UPSERT", _) => {
            sets.insert(key, set);
            Ok(())
        }
        _ => Err(bad_batch(format!("'{action}' is no action"))),
    }
}

/// Refuses what cannot be beside each other when a batch is made.
fn check_together(zone: &str, sets: &BTreeMap<Key, Set>) -> Result<(), Refused> {
    for set in sets.values().filter(|set| set.kind == "CNAME") {
        let beside = sets
            .values()
            .any(|other| other.name == set.name && other.kind != "CNAME");
        if beside || set.name == zone {
            return Err(bad_batch(format!(
                "RRSet of type CNAME with DNS name {}. is not permitted as it conflicts with other records with the same \
                 DNS name in zone {zone}.",
                set.name
            )));
        }
    }
    for kind in ["NS", "SOA"] {
        if !sets.contains_key(&Key::new(zone, kind)) {
            return Err(bad_batch(format!(
                "A HostedZone must contain at least one {kind} record for the zone itself."
            )));
        }
    }
    Ok(())
}

fn bad_batch(message: String) -> Refused {
    Refused::new("InvalidChangeBatch", message)
}

fn no_zone(id: &str) -> Refused {
    Refused::with_status(
        404,
        "NoSuchHostedZone",
        format!("No hosted zone found with ID: {id}"),
    )
}

fn write_change(xml: &mut Xml, id: &str, status: &str) {
    xml.within("ChangeInfo", |xml| {
        xml.text("Id", format!("/change/{id}"))
            .text("Status", status)
            .text("SubmittedAt", timestamp());
    });
}

/// Returns a name as it is kept: lower case, no dot at its end.
fn dns_name(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase().replace("\\052", "*")
}

/// Returns a name as Route 53 tells it: with its dot, and the star of a wildcard as its octal code.
fn escaped_name(name: &str) -> String {
    format!("{}.", name.replace('*', "\\052"))
}

fn most(asked: &Asked, page: usize) -> usize {
    let wanted = query(asked, "maxitems").and_then(|text| text.parse().ok());
    wanted.unwrap_or(page).clamp(1, page)
}

/// Returns a part of the request's query.
fn query(asked: &Asked, name: &str) -> Option<String> {
    let query = asked.parts.uri.query()?;
    let pair = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(known, _)| *known == name)?;
    let decoded = percent_encoding::percent_decode_str(pair.1).decode_utf8_lossy();
    Some(decoded.into_owned())
}
