//! A graph as a page that needs nothing but a browser: search, folding, and what a plan does to each resource.
//!
//! The page asks nobody for anything, and says so to the browser: its policy allows the one script and the one style that
//! stand in it, by their digests, and no connection. Values stand in it as data, which the script sets as text.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gabion_engine::plan::change::Summary;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::groups::Group;
use super::layout::Layout;
use super::model::Graph;
use super::page_data;
use super::svg::{self, escaped};
use crate::render::catalogue::Catalogue;
use crate::render::view;
use crate::render::words::{self, count, plain};

const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// Returns the graph as a page.
pub(crate) fn write(graph: &Graph<'_>, groups: &[Group], layout: &Layout, catalogue: &Catalogue) -> String {
    let style = format!("\n{STYLE}{}", svg::STYLE);
    let script = format!("\n{SCRIPT}");
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; base-uri 'none'; form-action 'none'",
        digest(&script),
        digest(&style)
    );
    let name = escaped(graph.project);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"{policy}\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta \
         name=\"referrer\" content=\"no-referrer\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" \
         href=\"data:,\">\n<title>gabion graph {name}</title>\n<style>{style}</style>\n</head>\n<body>\n"
    );
    header(&mut page, graph);
    page.push_str(TOOLS);
    page.push_str("<main>\n<div id=\"canvas\">\n");
    svg::picture(&mut page, graph, groups, layout, None);
    page.push_str(PANEL);
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<script type=\"application/json\" id=\"data\">{}</script>\n<script>{script}</script>\n</body>\n</html>\n",
        inert_json(&page_data::of(graph, groups, layout, catalogue))
    );
    page
}

/// What people search and fold with. The script fills and moves it.
const TOOLS: &str = "\
<div id=\"tools\">
<input id=\"search\" type=\"search\" placeholder=\"Search resources, attributes, actions\" aria-label=\"Search resources\" \
autocomplete=\"off\" spellcheck=\"false\">
<span id=\"looks\" role=\"group\" aria-label=\"Show only\"></span>
<span class=\"buttons\">
<button id=\"fold-all\" type=\"button\">Fold all</button>
<button id=\"unfold-all\" type=\"button\">Unfold all</button>
<button id=\"smaller\" type=\"button\" aria-label=\"Smaller\">−</button>
<button id=\"larger\" type=\"button\" aria-label=\"Larger\">+</button>
</span>
</div>
<noscript><p class=\"notice\">Without scripts this page is a picture: search, folding and details need one.</p></noscript>
";

/// What stands beside the picture.
const PANEL: &str = "
</div>
<aside id=\"panel\" aria-label=\"Details\">
<section id=\"found\" aria-live=\"polite\" hidden></section>
<section id=\"details\" aria-live=\"polite\" tabindex=\"-1\"><p class=\"dim\">Choose a resource to see its plan and its \
attributes. Arrows lead from a resource to what it needs.</p></section>
</aside>
</main>
<footer><kbd>/</kbd> search · <kbd>↑</kbd> <kbd>↓</kbd> move · <kbd>→</kbd> to what it needs, or unfold · <kbd>←</kbd> to what needs \
it, or fold · <kbd>Enter</kbd> show · <kbd>Esc</kbd> close</footer>
";

fn header(page: &mut String, graph: &Graph<'_>) {
    let _ = writeln!(
        page,
        "<header>\n<h1>gabion graph <b>{}</b></h1>",
        escaped(graph.project)
    );
    let Some(plan) = graph.plan else {
        let _ = writeln!(page, "<p>{}</p>\n</header>", count(graph.nodes.len(), "resource"));
        return;
    };
    let basis = &plan.basis;
    if let Some(stack) = &basis.stack {
        let _ = writeln!(page, "<p>stack <b>{}</b></p>", escaped(stack));
    }
    let danger = plan.changes.iter().any(view::is_dangerous);
    let class = if danger { " class=\"danger\"" } else { "" };
    let _ = writeln!(
        page,
        "<p id=\"verdict\"{class}>{}</p>",
        escaped(&view::verdict(plan))
    );
    let state = match basis.lineage {
        None => "no state yet".to_owned(),
        Some(_) => format!("state serial {}", basis.serial),
    };
    let shown = if plan.summary() == Summary::default() || plan.changes.len() == graph.nodes.len() {
        count(graph.nodes.len(), "resource")
    } else {
        format!(
            "{} of {}",
            graph.nodes.len(),
            count(plan.changes.len(), "resource")
        )
    };
    let _ = writeln!(
        page,
        "<p class=\"dim\">{} · {state} · read {:.0}{}</p>",
        escaped(&shown),
        basis.gathered_at,
        view::how_read(basis)
    );
    page.push_str("</header>\n");
    for ruling in plan.denials() {
        let _ = writeln!(
            page,
            "<p class=\"notice\">The policy forbids this plan: {}</p>",
            escaped(&words::ruling(ruling))
        );
    }
    for address in &plan.blocked {
        let _ = writeln!(
            page,
            "<p class=\"notice\">This plan cannot be applied: {} is protected.</p>",
            escaped(&address.to_string())
        );
    }
    for note in &plan.notes {
        let at = view::at_place(note.place.as_ref());
        let _ = writeln!(
            page,
            "<p class=\"note\">{}{}</p>",
            escaped(&plain(&note.message)),
            escaped(&at)
        );
    }
}

/// Returns the digest by which a page's policy allows a script or a style.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// Returns JSON that may stand in a script element: no character in it ends the element or begins anything else.
fn inert_json(data: &impl Serialize) -> String {
    // It holds nothing but texts and numbers.
    let json = serde_json::to_string(data).unwrap_or_default();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\'' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            other => out.push(other),
        }
    }
    out
}
