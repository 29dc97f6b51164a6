//! `gabion graph`: what depends on what, and what a plan does to it.

use gabion_engine::graph::ResourceGraph;
use gabion_engine::plan::Mode;
use gabion_engine::plan::problem::Places;

use crate::args::{FormatArg, Graph as GraphArgs, Selection};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;
use crate::planning::{self, PlanRequest};
use crate::project::{About, LoadedProject, print_warnings};
use crate::render::catalogue::Catalogue;
use crate::render::graph::model::Graph;
use crate::render::graph::{dot, groups, json, layout, mermaid, page, svg};
use crate::render::markdown::fenced;
use crate::state_access::{StateAccess, existing_key};

/// Prints the graph of the configuration's resources, or of a plan.
pub(crate) async fn run(args: &GraphArgs, context: &Context) -> Outcome {
    let pictured = matches!(context.options.asked_format, FormatArg::Svg | FormatArg::Html);
    if args.changed_only || pictured {
        planned(args, context).await
    } else {
        configured(context).await
    }
}

/// Prints what is declared. Nothing of the world is read, and no secret.
async fn configured(context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let mut project = LoadedProject::read_with_state(options);
    let state = StateAccess::of(&project, options)?.load().await?;
    project.project.share_with(&state);
    let configuration = project.lower(options, printer, About::Nothing, &state)?;
    project.release_documents();
    let places = Places::new(&project.project.sources);
    let (edges, problems) = ResourceGraph::build(&configuration.resources, &places);
    if problems.has_errors() {
        return Err(problems.into());
    }
    print_warnings(printer, &problems);
    print(
        context,
        &Graph::of_configuration(&configuration, &edges),
        &Catalogue::default(),
    );
    Ok(Exit::Done)
}

/// Prints what a plan says. Takes no lease and writes nothing.
async fn planned(args: &GraphArgs, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    let mut project = LoadedProject::read_with_state(options);
    let access = StateAccess::of(&project, options)?;
    let selection = Selection::default();
    let (state, planned) = interrupts
        .unless(async {
            let state = access.load().await?;
            access.remind_to_pin(&state, printer);
            let request = PlanRequest {
                mode: Mode::Apply,
                selection: &selection,
                refresh: planning::refresh(args.refresh),
                unmanaged: false,
                import: None,
                in_flight: access.live_holder().await?,
                scale: None,
                events: None,
                key: existing_key(options)?,
            };
            let planned = planning::make_once(context, &mut project, &state, None, request).await?;
            Ok::<_, Failure>((state, planned))
        })
        .await??;
    let places = Places::new(&project.project.sources);
    // The planner has reported its problems already.
    let (edges, _) = ResourceGraph::build(&planned.configuration.resources, &places);
    let mut graph = Graph::of_plan(planned.plan, &planned.configuration, &edges, &state);
    if args.changed_only {
        graph = graph.changed_only();
    }
    print(context, &graph, &Catalogue::of(&planned.providers));
    Ok(Exit::Done)
}

fn print(context: &Context, graph: &Graph<'_>, catalogue: &Catalogue) {
    let text = match context.options.asked_format {
        FormatArg::Text | FormatArg::Github | FormatArg::Sarif | FormatArg::Dot => dot::write(graph),
        FormatArg::Json => json::write(graph),
        FormatArg::Mermaid => mermaid::write(graph),
        FormatArg::Markdown => {
            let mut text = String::new();
            // Writing to a string cannot fail.
            let _ = fenced(&mut text, "mermaid", &mermaid::write(graph));
            text
        }
        FormatArg::Svg | FormatArg::Html => {
            let groups = groups::of(graph);
            let layout = layout::of(graph, &groups);
            if context.options.asked_format == FormatArg::Svg {
                svg::write(graph, &groups, &layout)
            } else {
                page::write(graph, &groups, &layout, catalogue)
            }
        }
    };
    context.printer.data(&text);
}
