//! `policy` in `gabion.yml`: what it says about plans, in every format, and what follows.

use gabion::wire::PlanJson;

use crate::harness::{Project, assert_said};

fn data(name: &str, input: &str) -> String {
    format!("type: resource\nkind: gabion_data\nname: {name}\nproperties: {{input: {input}}}\n---\n")
}

fn settings(policy: &str) -> String {
    format!("project: demo\npolicy:\n{policy}")
}

const RULES: &str = "  rules:
    - name: no-telnet
      deny: change.action == 'create' && has(change.after.input.port) && change.after.input.port == 23
      message: Telnet is not encrypted. Use port 22.
    - name: names-are-short
      warn: size(change.name) > 12
      message: Names of more than 12 letters do not fit the dashboard.
";

#[test]
fn a_denied_plan_is_shown_and_not_applied() {
    let project = Project::with(&format!(
        "{}{}",
        data("door", "{port: 23}"),
        data("a-name-that-is-long", "{a: 1}")
    ));
    project.write("gabion.yml", settings(RULES));
    let said = project.exits(5, &["plan", "--out", "plan.gabion"]);
    assert_said("cli/plan-denied.txt", &said.all());
    let markdown = project.exits(5, &["plan", "--format", "markdown"]);
    assert_said("cli/plan-denied.md", &markdown.out);
    let json: PlanJson = serde_json::from_str(&project.exits(5, &["plan", "--format", "json"]).out).unwrap();
    let policy = json.gabion.policy.unwrap();
    assert_eq!((policy.rules, policy.rulings.len()), (2, 2));
    assert_eq!(policy.rulings[0].effect, "deny");
    assert_eq!(policy.rulings[0].address.as_deref(), Some("gabion_data.door"));
    assert_eq!(policy.rulings[0].place, "gabion.yml:5:13");
    assert!(!json.applyable);

    // The saved plan can be looked at, and carries what was said about it.
    assert_eq!(project.exits(0, &["show", "plan.gabion"]).out, said.out);
    let said = project.exits(5, &["apply", "plan.gabion"]);
    assert!(said.err.contains("no-telnet"), "{}", said.all());
    project.exits(5, &["apply", "-y"]);
    assert_eq!(
        project.entries(),
        ["gabion.yml", "main.gabion.yml", "plan.gabion"]
    );

    project.write("main.gabion.yml", data("door", "{port: 22}"));
    let said = project.exits(0, &["plan"]);
    assert!(
        said.out.contains("Policy: 2 rules, and no objection"),
        "{}",
        said.all()
    );
    project.apply();
}

#[test]
fn counts_and_protected_kinds_need_no_expression() {
    let all = format!("{}{}{}", data("a", "1"), data("b", "2"), data("c", "3"));
    let project = Project::with(&all);
    project.write(
        "gabion.yml",
        settings("  max_destroy: 1\n  protected: [gabion_data.a*]\n"),
    );
    project.apply();
    project.write("main.gabion.yml", data("d", "4"));
    let said = project.exits(5, &["plan"]);
    assert!(
        said.out
            .contains("3 objects would be destroyed, and 1 may be at once."),
        "{}",
        said.all()
    );
    assert!(
        said.out
            .contains("gabion_data.a: `gabion_data.a*` may not be destroyed."),
        "{}",
        said.all()
    );
    // Destroying everything is said by its command; what is protected is so all the same.
    let said = project.exits(5, &["plan", "--destroy"]);
    assert!(!said.out.contains("may be at once"), "{}", said.all());
    project.write("gabion.yml", "project: demo\n");
    project.apply();
}

#[test]
fn open_ports_and_regions_are_found_by_the_names_that_providers_use() {
    let project = Project::with(&format!(
        "{}{}{}",
        data(
            "ssh",
            "{region: eu-west-1, ingress: [{from_port: 22, to_port: 22, cidr_blocks: ['0.0.0.0/0']}]}"
        ),
        data(
            "web",
            "{ingress: [{from_port: 443, to_port: 443, cidr_blocks: ['0.0.0.0/0']}], egress: [{from_port: 0, to_port: 0, protocol: '-1', cidr_blocks: ['0.0.0.0/0']}]}"
        ),
        data(
            "all",
            "{ingress: [{from_port: 0, to_port: 0, protocol: '-1', ipv6_cidr_blocks: ['::/0']}]}"
        )
    ));
    project.write(
        "gabion.yml",
        settings("  open_ports: [80, 443]\n  regions: [eu-west-1]\n"),
    );
    let said = project.exits(5, &["plan"]);
    assert!(
        said.out.contains("gabion_data.ssh: Port 22 would be open"),
        "{}",
        said.all()
    );
    assert!(
        said.out.contains("gabion_data.all: Every port would be open"),
        "{}",
        said.all()
    );
    assert!(!said.out.contains("gabion_data.web:"), "{}", said.all());
}

#[test]
fn a_condition_that_cannot_be_read_is_a_problem_with_its_place() {
    let project = Project::with(&data("a", "1"));
    for (condition, why) in [
        ("change.action ==", "rule `x`"),
        ("changes.size() > 3", "refers to `changes`"),
    ] {
        project.write(
            "gabion.yml",
            settings(&format!(
                "  rules:\n    - {{name: x, deny: \"{condition}\", message: m}}\n"
            )),
        );
        let said = project.exits(1, &["validate"]);
        assert!(
            said.err.contains(why) && said.err.contains("gabion.yml:4:"),
            "{}",
            said.all()
        );
    }
    project.write("gabion.yml", settings("  rules:\n    - {name: x, message: m}\n"));
    let said = project.exits(1, &["plan"]);
    assert!(said.err.contains("neither `deny` nor `warn`"), "{}", said.all());
}

#[test]
fn what_cannot_be_decided_is_not_allowed() {
    let project = Project::with(&format!(
        "{}{}",
        data("a", "1"),
        data("b", "{id: '${{ gabion_data.a.id }}'}")
    ));
    project.write(
        "gabion.yml",
        settings("  rules:\n    - {name: ids, deny: \"change.after.input.id == 'x'\", message: m}\n"),
    );
    let said = project.exits(5, &["plan"]);
    assert!(
        said.out
            .contains("gabion_data.b: cannot be decided: there is no `id`"),
        "{}",
        said.all()
    );
}

#[cfg(feature = "aws")]
fn machine(name: &str, instance_type: &str) -> String {
    format!(
        "type: resource\nkind: aws_instance\nname: {name}\nproperties: {{region: eu-west-1, ami: ami-0123456789abcdef0, instance_type: {instance_type}}}\n---\n"
    )
}

#[cfg(feature = "aws")]
#[test]
fn what_a_plan_costs_is_told_and_has_ceilings() {
    let project = Project::with(&format!(
        "{}{}",
        machine("a", "g4dn.xlarge"),
        machine("b", "g4dn.xlarge")
    ));
    project.write(
        "gabion.yml",
        settings("  max_price: {per_hour: 1, per_month: 1000}\n  max_price_increase: {per_month: 800}\n"),
    );
    let said = project.exits(5, &["plan", "--out", "plan.gabion"]);
    assert_said("cli/plan-price.txt", &said.all());
    assert_said(
        "cli/plan-price.md",
        &project.exits(5, &["plan", "--format", "markdown"]).out,
    );
    let json: PlanJson = serde_json::from_str(&project.exits(5, &["plan", "--format", "json"]).out).unwrap();
    let price = json.gabion.price.unwrap();
    assert_eq!((price.before.per_hour, price.after.per_hour), (0.0, 1.174));
    assert_eq!((price.increase_per_hour, price.after.unknown), (1.174, 0));
    let rules: Vec<_> = json.gabion.policy.unwrap().rulings;
    let named = |name: &str| rules.iter().filter(|ruling| ruling.rule == name).count();
    assert_eq!((named("max_price"), named("max_price_increase")), (1, 1));
    // The saved plan is judged by the prices that it was made with.
    project.exits(5, &["apply", "plan.gabion"]);

    project.write(
        "gabion.yml",
        settings("  max_price: {per_hour: 1.174, per_month: 1000}\n"),
    );
    let said = project.exits(0, &["plan"]);
    assert!(
        said.out
            .contains("Cost: $1.174/h, $857.02 a month (+$1.174/h, +$857.02 a month); machines alone"),
        "{}",
        said.all()
    );
    // Rules of one's own know it too.
    project.write(
        "gabion.yml",
        settings("  rules:\n    - {name: dear, deny: plan.price_increase > 1.0, message: Ask first.}\n"),
    );
    assert!(project.exits(5, &["plan"]).out.contains("dear: Ask first."));
}

#[cfg(feature = "aws")]
#[test]
fn what_nobody_knows_the_price_of_gets_past_no_ceiling() {
    let project = Project::with(&format!(
        "{}{}",
        machine("a", "g4dn.xlarge"),
        machine("b", "p5.48xlarge")
    ));
    project.write("gabion.yml", settings("  max_price: {per_hour: 100}\n"));
    let said = project.exits(5, &["plan"]);
    assert!(
        said.out
            .contains("max_price: aws_instance.b: Its price is not known, so this cannot be decided.")
            && said.out.contains("1 machine of unknown price not counted"),
        "{}",
        said.all()
    );
    project.write(
        "gabion.yml",
        settings("  max_price: {per_hour: 100, unknown: warn}\n"),
    );
    let said = project.exits(0, &["plan"]);
    assert!(
        said.out
            .contains("warn  max_price: aws_instance.b: Its price is not known and not counted."),
        "{}",
        said.all()
    );
    for (limit, why) in [
        ("{}", "neither `per_hour` nor `per_month`"),
        ("{per_hour: -1}", "0 or more"),
        ("{per_hour: 1, unknown: allow}", "gabion.yml:3:"),
    ] {
        project.write("gabion.yml", settings(&format!("  max_price: {limit}\n")));
        let said = project.exits(1, &["validate"]);
        assert!(said.err.contains(why), "{}", said.all());
    }
}
