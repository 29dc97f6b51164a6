//! What AWS does and moto does not.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::Ipv4Addr;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::http::{Answer, Asked, to_form};
use super::{World, all_between, between, placement_groups, record_sets};

/// Answers a request as AWS would.
pub(super) async fn apply(world: &World, asked: &Asked) -> Answer {
    if let Some(answer) = placement_groups::answer(world, asked) {
        return answer;
    }
    if let Some(answer) = console(world, asked) {
        return answer;
    }
    if let Some(answer) = seen_before(world, asked) {
        return answer;
    }
    if let Some(answer) = not_now(world, asked).await {
        return answer;
    }
    if let Some(answer) = record_sets::refused(world, asked).await {
        return answer;
    }
    let mut answer = world.upstream_answer(&completed(asked)).await;
    if answer.status < 300 {
        remember(world, asked, &answer);
        describe_rule(world, asked, &answer).await;
    }
    if asked.operation.starts_with("Describe") {
        answer = lagging(world, asked, answer).await;
        if asked.operation == "DescribeInstances" {
            answer.body = passing(world, &answer.text()).into_bytes();
        }
    }
    if asked.route53 {
        records(world, asked, &mut answer);
    }
    answer
}

/// Adds what AWS knows and moto wants to be told: of a root volume the size of the image's own; and leaves out of a
/// question about offers the patterns that moto takes for names.
fn completed(asked: &Asked) -> Asked {
    let mut completed = asked.clone();
    match asked.operation.as_str() {
        "RunInstances" => {
            for number in 1..=10 {
                let ebs = format!("BlockDeviceMapping.{number}.Ebs.");
                let size = format!("{ebs}VolumeSize");
                let named = asked.parameters.iter().any(|(name, _)| name.starts_with(&ebs));
                if named && asked.parameter(&size).is_none() {
                    completed.parameters.push((size, "8".to_owned()));
                }
            }
        }
        "AllocateAddress" if asked.parameter("Address").is_none() => {
            completed
                .parameters
                .push(("Address".to_owned(), free_address().to_string()));
        }
        "ChangeResourceRecordSets" => {
            // Judged above; moto does not see that what one change of a batch deletes another one may make.
            let text = String::from_utf8_lossy(&asked.body);
            let body = text.replace("<Action>CREATE</Action>", "<Action>UPSERT</Action>");
            completed.body = body.into();
            return completed;
        }
        // Moto decodes it and takes what comes out for encoded still.
        "ModifyInstanceAttribute" => {
            for (name, value) in &mut completed.parameters {
                if name == "UserData.Value" {
                    *value = STANDARD.encode(&*value);
                }
            }
        }
        "DescribeInstanceTypeOfferings" => {
            completed
                .parameters
                .retain(|(name, _)| !name.starts_with("Filter."));
        }
        _ => return completed,
    }
    completed.body = to_form(&completed.parameters).into();
    completed
}

/// An address that is no machine's: moto's own are loopback ones, which no two machines can use with each other. The block
/// is one of those that are routed nowhere on the Internet, and large enough for accounts that are open at once.
fn free_address() -> Ipv4Addr {
    let random = RandomState::new().build_hasher().finish();
    Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 0).to_bits() | (random & 0x003f_ffff) as u32)
}

/// Gives the rule that was just made for a group its description: moto keeps it with the group, and shows none.
async fn describe_rule(world: &World, asked: &Asked, answer: &Answer) {
    let of_rule = |name: &str| asked.parameter(&format!("IpPermissions.1.{name}"));
    let (true, Some(group), Some(described)) = (
        asked.operation.starts_with("AuthorizeSecurityGroup"),
        of_rule("Groups.1.GroupId"),
        of_rule("Groups.1.Description"),
    ) else {
        return;
    };
    let text = answer.text();
    // Of several rules moto does not tell which is which.
    let ids = all_between(&text, "<securityGroupRuleId>", "</securityGroupRuleId>");
    let (Some(owner), [id], None) = (
        asked.parameter("GroupId"),
        ids.as_slice(),
        asked.parameter("IpPermissions.2.IpProtocol"),
    ) else {
        return;
    };
    let rule = |name: &str| format!("SecurityGroupRule.1.SecurityGroupRule.{name}");
    let ports = ["FromPort", "ToPort"].map(|name| (rule(name), of_rule(name).unwrap_or("-1")));
    let parameters = [
        ("GroupId".to_owned(), owner),
        ("SecurityGroupRule.1.SecurityGroupRuleId".to_owned(), *id),
        (rule("IpProtocol"), of_rule("IpProtocol").unwrap_or("-1")),
        (rule("ReferencedGroupId"), group),
        (rule("Description"), described),
    ];
    let all: Vec<(&str, &str)> = parameters
        .iter()
        .chain(&ports)
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    ask(world, asked, "ModifySecurityGroupRules", &all).await;
}

/// The token of a request, and what else it says.
fn token(asked: &Asked) -> Option<(String, String)> {
    if asked.operation == "CreateHostedZone" {
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        return Some((
            between(&body, "<CallerReference>", "</CallerReference>")?.to_owned(),
            body,
        ));
    }
    if !matches!(asked.operation.as_str(), "RunInstances" | "CreateVolume") {
        return None;
    }
    let token = asked.parameter("ClientToken")?.to_owned();
    let mut rest: Vec<String> = asked
        .parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    rest.sort();
    Some((token, rest.join("&")))
}

fn seen_before(world: &World, asked: &Asked) -> Option<Answer> {
    let (token, rest) = token(asked)?;
    let state = world.state();
    let (before, body) = state.tokens.get(&(asked.operation.clone(), token))?;
    if asked.route53 {
        return Some(Answer::refused(
            true,
            409,
            "HostedZoneAlreadyExists",
            "A hosted zone has already been created with the specified caller reference.",
        ));
    }
    if *before == rest {
        return Some(Answer::ok(body.clone()));
    }
    Some(Answer::refused(
        false,
        400,
        "IdempotentParameterMismatch",
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
    ))
}

/// Shows the console of a machine, in the form of the API.
fn console(world: &World, asked: &Asked) -> Option<Answer> {
    if asked.operation != "GetConsoleOutput" {
        return None;
    }
    let id = asked.parameter("InstanceId")?;
    let state = world.state();
    let boots = state
        .passing
        .get(id)
        .is_some_and(|(shown, until)| *shown == "pending" && *until > Instant::now());
    let output = match state.console_of(id) {
        "" => String::new(),
        _ if boots => String::new(),
        text => format!("<output>{}</output>", STANDARD.encode(text)),
    };
    Some(Answer::ok(format!(
        "<GetConsoleOutputResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>test-request</requestId>\
         <instanceId>{id}</instanceId><timestamp>2026-01-01T00:00:00.000Z</timestamp>{output}</GetConsoleOutputResponse>"
    )))
}

/// Refuses what moto would do although something is in use.
async fn not_now(world: &World, asked: &Asked) -> Option<Answer> {
    let refused = |code: &str, message: &str| Some(Answer::refused(false, 400, code, message));
    match asked.operation.as_str() {
        "DeleteSecurityGroup" => {
            let id = asked.parameter("GroupId")?;
            let text = ask(world, asked, "DescribeInstances", &[]).await;
            let used = items(&text)
                .into_iter()
                .any(|item| item.contains(id) && !item.contains("<name>terminated</name>"));
            // Of an instance that shuts down, the group is in use still.
            let shutting = world
                .state()
                .passing
                .values()
                .any(|(shown, until)| *shown == "shutting-down" && *until > Instant::now());
            if used || (shutting && text.contains(id)) {
                return refused(
                    "DependencyViolation",
                    &format!("resource {id} has a dependent object"),
                );
            }
            None
        }
        "ReleaseAddress" => {
            let id = asked.parameter("AllocationId")?;
            let filter = [("AllocationId.1", id)];
            let text = ask(world, asked, "DescribeAddresses", &filter).await;
            if between(&text, "<associationId>", "</associationId>").is_some_and(|id| !id.is_empty()) {
                return refused("InvalidIPAddress.InUse", &format!("Address {id} is in use."));
            }
            None
        }
        "ModifyInstanceAttribute"
            if asked.parameter("InstanceType.Value").is_some()
                || asked.parameter("UserData.Value").is_some() =>
        {
            let id = asked.parameter("InstanceId")?;
            let text = ask(world, asked, "DescribeInstances", &[("InstanceId.1", id)]).await;
            if !text.contains("<name>stopped</name>") {
                return refused(
                    "IncorrectInstanceState",
                    &format!("The instance '{id}' is not in the 'stopped' state."),
                );
            }
            None
        }
        _ => None,
    }
}

/// Asks moto something else with the same credentials.
async fn ask(world: &World, asked: &Asked, action: &str, parameters: &[(&str, &str)]) -> String {
    let mut other = asked.clone();
    other.parameters = vec![
        ("Action".to_owned(), action.to_owned()),
        ("Version".to_owned(), "2016-11-15".to_owned()),
    ];
    other.parameters.extend(
        parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    other.body = to_form(&other.parameters).into();
    world.upstream_answer(&other).await.text()
}

/// Notes what a call did.
fn remember(world: &World, asked: &Asked, answer: &Answer) {
    let text = answer.text();
    let mut state = world.state();
    if let Some((token, rest)) = token(asked) {
        state
            .tokens
            .insert((asked.operation.clone(), token), (rest, answer.body.clone()));
    }
    let until = Instant::now() + state.boot;
    let mut pass = |shown: &'static str| {
        for id in all_between(&text, "<instanceId>", "</instanceId>") {
            state.passing.insert(id.to_owned(), (shown, until));
        }
    };
    match asked.operation.as_str() {
        "RunInstances" => {
            pass("pending");
            let bought = bought(asked);
            for id in all_between(&text, "<instanceId>", "</instanceId>") {
                state.bought.insert(id.to_owned(), bought.clone());
            }
        }
        "StartInstances" => {
            pass("pending");
            let now = jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
                .to_string();
            for id in all_between(&text, "<instanceId>", "</instanceId>") {
                state.launched.insert(id.to_owned(), now.clone());
            }
        }
        "StopInstances" => pass("stopping"),
        "TerminateInstances" => pass("shutting-down"),
        "AllocateAddress" => {
            let ip = between(&text, "<publicIp>", "</publicIp>").map(str::to_owned);
            state.elastic.extend(ip);
        }
        _ => {}
    }
    let makes = ["Run", "Create", "Allocate", "Import", "Authorize"];
    if !state.lag.is_zero() && makes.iter().any(|verb| asked.operation.starts_with(verb)) {
        let until = Instant::now() + state.lag;
        for tag in [
            "instanceId",
            "groupId",
            "volumeId",
            "allocationId",
            "securityGroupRuleId",
            "keyName",
        ] {
            // What is made in a group does not hide the group.
            if tag == "groupId" && asked.operation != "CreateSecurityGroup" {
                continue;
            }
            let ids: Vec<String> = all_between(&text, &format!("<{tag}>"), &format!("</{tag}>"))
                .into_iter()
                .map(str::to_owned)
                .collect();
            state.hidden.extend(ids.into_iter().map(|id| (id, until)));
        }
    }
}

/// Does not show what was just made.
async fn lagging(world: &World, asked: &Asked, answer: Answer) -> Answer {
    let text = answer.text();
    let hides = {
        let state = world.state();
        let now = Instant::now();
        state
            .hidden
            .iter()
            .any(|(id, until)| *until > now && text.contains(&format!(">{id}<")))
    };
    if !hides || asked.operation == "DescribeImages" {
        return answer;
    }
    // The same question about nothing has the right form.
    let mut other = asked.clone();
    other
        .parameters
        .retain(|(name, _)| !name.starts_with("Filter.") && !name.starts_with("NextToken"));
    other.parameters.extend(
        [("Filter.1.Name", "tag:nothing"), ("Filter.1.Value.1", "nothing")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    other.body = to_form(&other.parameters).into();
    world.upstream_answer(&other).await
}

/// The first that moto tells of an instance, and of nothing else.
const INSTANCE: &str = "<architecture>";

/// Cuts a listing of instances into one text for each.
fn items(text: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = text.match_indices(INSTANCE).map(|(at, _)| at).collect();
    starts.push(text.len());
    starts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// Shows instances on their way between states, and whose their addresses are.
fn passing(world: &World, text: &str) -> String {
    let state = world.state();
    let now = Instant::now();
    let head = text.find(INSTANCE).unwrap_or(text.len());
    let mut shown = text[..head].to_owned();
    for item in items(text) {
        let id = between(item, "<instanceId>", "</instanceId>").unwrap_or_default();
        let mut item = item.to_owned();
        if let Some((name, until)) = state.passing.get(id)
            && *until > now
            && let Some(is) = between(&item, "<instanceState>", "</instanceState>")
        {
            let code = match *name {
                "pending" => 0,
                "shutting-down" => 32,
                _ => 64,
            };
            let other = format!("<code>{code}</code><name>{name}</name>");
            item = item.replacen(is, &other, 1);
        }
        let named = format!("<instanceId>{id}</instanceId>");
        if let Some(bought) = state.bought.get(id) {
            item = item.replacen(&named, &format!("{named}{bought}"), 1);
        }
        if let Some(launched) = state.launched.get(id)
            && let Some(before) = between(&item, "<launchTime>", "</launchTime>")
        {
            item = item.replacen(before, launched, 1);
        }
        if let Some(ip) = between(&item, "<publicIp>", "</publicIp>")
            && !state.elastic.contains(ip)
            && let Some(owner) = between(&item, "<ipOwnerId>", "</ipOwnerId>")
        {
            item = item.replace(&format!("<ipOwnerId>{owner}<"), "<ipOwnerId>amazon<");
        }
        shown.push_str(&item);
    }
    shown
}

/// Says how an instance was bought, as descriptions tell it.
fn bought(asked: &Asked) -> String {
    let mut told = String::new();
    if asked.parameter("InstanceMarketOptions.MarketType") == Some("spot") {
        told.push_str("<instanceLifecycle>spot</instanceLifecycle>");
    }
    let said = |name: &str, tag: &str| {
        asked
            .parameter(&format!("CapacityReservationSpecification.{name}"))
            .map(|value| format!("<{tag}>{value}</{tag}>"))
    };
    let target = said(
        "CapacityReservationTarget.CapacityReservationId",
        "capacityReservationId",
    );
    let preference = said("CapacityReservationPreference", "capacityReservationPreference");
    let within = match (target, preference) {
        (Some(id), _) => format!("<capacityReservationTarget>{id}</capacityReservationTarget>"),
        (None, Some(preference)) => preference,
        (None, None) => "<capacityReservationPreference>open</capacityReservationPreference>".to_owned(),
    };
    told.push_str(&format!(
        "<capacityReservationSpecification>{within}</capacityReservationSpecification>"
    ));
    told
}

/// Changes of records take a moment, and a deletion that does not match has a code of its own.
fn records(world: &World, asked: &Asked, answer: &mut Answer) {
    let text = answer.text();
    match asked.operation.as_str() {
        "ChangeResourceRecordSets" if answer.status >= 400 && text.contains("<Code>InvalidInput<") => {
            answer.body = text
                .replace("<Code>InvalidInput<", "<Code>InvalidChangeBatch<")
                .into_bytes();
        }
        "GetChange" => {
            let mut state = world.state();
            let path = asked.parts.uri.path().to_owned();
            let asked_before = state.changes.entry(path).or_default();
            *asked_before += 1;
            // Moto calls all changes the same, so that every other look shows this one on its way.
            if *asked_before % 2 == 1 {
                answer.body = text.replace("INSYNC", "PENDING").into_bytes();
            }
        }
        _ => {}
    }
}
