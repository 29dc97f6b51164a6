//! `gabion offer`: which machines a cloud offers, and what they cost.

use std::fmt::Write;

use gabion_engine::config::SurveyFailure;
use gabion_inference::offers::{self, Offer, OfferRequest, Offers, RegionFacts, Words};
use serde_json::{Value, json};

use crate::args::{Format, Offer as OfferArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::LoadedProject;
use crate::render::markdown::{cell_code, prose};
use crate::wiring;

/// A request, and what its region says.
struct Answer {
    request: OfferRequest,
    facts: Result<RegionFacts, SurveyFailure>,
}

/// Lists offers. Makes nothing and reads no state.
pub(crate) async fn run(args: &OfferArgs, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read(options);
    let requests = requests(args, &project)?;
    let mut answers = Vec::new();
    for request in requests {
        let Some(survey) = request.survey(&project.project) else {
            return Err(Failure::new("no such region").detail(format!("`{}` is no region.", request.region)));
        };
        let mut found = wiring::look_at_regions(options, vec![survey])
            .await?
            .into_values();
        let facts = match found.next() {
            Some(answer) => answer.map(|attributes| RegionFacts::of(&attributes)),
            None => continue,
        };
        answers.push(Answer { request, facts });
    }
    if let Some(failure) = answers.iter().find_map(|answer| answer.facts.as_ref().err()) {
        let problem = Failure::new("nothing known of a region").detail(failure.message.clone());
        return Err(match &failure.hint {
            Some(hint) => problem.hint(hint.clone()),
            None => problem,
        });
    }
    printer.data(&match options.format {
        Format::Json => to_json(&answers, args.limit),
        Format::Markdown => to_markdown(&answers, args.limit),
        Format::Text => to_text(&answers, args.limit),
    });
    Ok(Exit::Done)
}

fn requests(args: &OfferArgs, project: &LoadedProject) -> Result<Vec<OfferRequest>, Failure> {
    let is_asked = args.region.is_some() || args.gpu.is_some() || args.cpu.is_some() || args.memory.is_some();
    if !is_asked {
        let files = project.select(&args.files)?;
        let requests = OfferRequest::of_project(&project.project, files.as_ref());
        if requests.is_empty() {
            return Err(Failure::new("nothing to look for")
                .detail("No service here has a gateway on AWS, in whose region its machines would be.")
                .hint("say what to look for:\n    gabion offer --region eu-west-1 --gpu 24GB..:1"));
        }
        return Ok(requests);
    }
    let regions = match &args.region {
        Some(region) => vec![region.clone()],
        None => offers::regions(&project.project),
    };
    if regions.is_empty() {
        return Err(Failure::new("no region")
            .detail("The project has no gateway on AWS, and its settings name no regions.")
            .hint("add `--region REGION`"));
    }
    let words = Words {
        gpu: args.gpu.clone(),
        cpu: args.cpu.clone(),
        memory: args.memory.clone(),
        spot_policy: args.spot_policy.clone(),
        max_price: args.max_price,
        instance_types: args.instance_type.clone(),
    };
    let of = |region: &String| {
        OfferRequest::of_words(&words, region).map_err(|why| Failure::new("bad request").detail(why))
    };
    regions.iter().map(of).collect()
}

/// Returns each request with its region's facts and what it offers.
fn found(answers: &[Answer]) -> impl Iterator<Item = (&OfferRequest, &RegionFacts, Offers<'_>)> {
    answers.iter().filter_map(|answer| {
        let facts = answer.facts.as_ref().ok()?;
        Some((
            &answer.request,
            facts,
            offers::find(facts, &answer.request.need()),
        ))
    })
}

fn title(request: &OfferRequest) -> String {
    match request.what.as_str() {
        "" => format!("{} in {}", request.wish, request.region),
        what => format!("{what} in {}: {}", request.region, request.wish),
    }
}

fn count(shown: usize, all: usize, facts: &RegionFacts) -> String {
    format!(
        "{shown} of {all} offers. List prices of {}.",
        offers::price_date(facts)
    )
}

fn to_text(answers: &[Answer], limit: usize) -> String {
    let mut text = String::new();
    for (request, facts, offers) in found(answers) {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{}", title(request));
        if offers.offers.is_empty() {
            let _ = writeln!(text, "  Nothing meets it. What comes closest:");
            for miss in &offers.closest {
                let price = miss
                    .price
                    .map_or_else(|| "price unknown".to_owned(), |price| price.to_string());
                let _ = writeln!(
                    text,
                    "  {} ({price}): {}",
                    miss.instance_type.name,
                    miss.lacks.join(", ")
                );
            }
            continue;
        }
        let shown: Vec<&Offer<'_>> = offers.offers.iter().take(limit).collect();
        let wide =
            |of: fn(&Offer<'_>) -> String| shown.iter().map(|offer| of(offer).len()).max().unwrap_or(0);
        let names = wide(|offer| offer.instance_type.name.clone());
        let machines = wide(|offer| offer.describe());
        for (number, offer) in shown.iter().enumerate() {
            let (name, machine) = (&offer.instance_type.name, offer.describe());
            let _ = writeln!(
                text,
                "{:3}  {name:names$}  {machine:machines$}  {}",
                number + 1,
                offer.cost()
            );
        }
        let _ = writeln!(text, "  {}", count(shown.len(), offers.offers.len(), facts));
    }
    text
}

fn to_markdown(answers: &[Answer], limit: usize) -> String {
    let mut text = String::new();
    for (request, facts, offers) in found(answers) {
        let _ = writeln!(text, "**{}**\n", prose(&title(request)));
        if offers.offers.is_empty() {
            let _ = writeln!(text, "Nothing meets it. What comes closest:\n");
            for miss in &offers.closest {
                let _ = writeln!(
                    text,
                    "* {}: {}",
                    miss.instance_type.name,
                    prose(&miss.lacks.join(", "))
                );
            }
            text.push('\n');
            continue;
        }
        let _ = writeln!(text, "| # | type | machine | price |\n| --- | --- | --- | --- |");
        let shown = offers.offers.iter().take(limit);
        let mut lines = 0;
        for (number, offer) in shown.enumerate() {
            lines += 1;
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                number + 1,
                cell_code(&offer.instance_type.name),
                offer.describe(),
                offer.cost()
            );
        }
        let _ = writeln!(text, "\n{}\n", count(lines, offers.offers.len(), facts));
    }
    text
}

fn to_json(answers: &[Answer], limit: usize) -> String {
    let requests: Vec<Value> = found(answers)
        .map(|(request, facts, offers)| {
            let listed = offers.offers.iter().take(limit).map(|offer| {
                json!({
                    "instance_type": offer.instance_type.name,
                    "vcpus": offer.instance_type.vcpus,
                    "memory_mib": offer.instance_type.memory_mib,
                    "gpus": offer.instance_type.gpus,
                    "spot": offer.market == offers::Market::Spot,
                    "price_per_hour": offer.price.map(offers::Price::dollars),
                    "price_region": offer.price.map(|_| offer.price_of.unwrap_or(&facts.region)),
                })
            });
            let closest = offers
                .closest
                .iter()
                .map(|miss| json!({"instance_type": miss.instance_type.name, "lacks": miss.lacks}));
            json!({
                "for": (!request.what.is_empty()).then_some(&request.what),
                "region": request.region,
                "asked": request.wish.replace('`', ""),
                "total": offers.offers.len(),
                "offers": listed.collect::<Vec<_>>(),
                "closest": closest.collect::<Vec<_>>(),
                "prices_date": offers::price_date(facts),
            })
        })
        .collect();
    format!("{:#}\n", json!({ "requests": requests }))
}
