//! The page of a graph.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::driver::{Browser, Trap, url};
use super::hostile;
use crate::harness::Project;

/// Keys that have no letter, as WebDriver writes them.
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const DOWN: &str = "\u{e015}";
const LEFT: &str = "\u{e012}";
const RIGHT: &str = "\u{e014}";

/// Nothing of the page ran that is not the page's own, and nobody was asked for anything.
#[track_caller]
fn is_inert(browser: &Browser, page: &Path, trap: &Trap) {
    assert_eq!(browser.run("return window.ran ?? null"), Value::Null);
    assert_eq!(
        browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)"),
        json!([])
    );
    let elsewhere: Vec<String> = browser
        .requests()
        .into_iter()
        .filter(|asked| asked.split('#').next() != Some(&url(page)))
        .collect();
    assert_eq!(elsewhere, Vec::<String>::new());
    trap.is_untouched();
}

fn page(project: &Project, arguments: &[&str]) -> PathBuf {
    let arguments: Vec<&str> = ["graph", "--format", "html"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    let path = project.home().join("graph.html");
    std::fs::create_dir_all(project.home()).unwrap();
    std::fs::write(&path, project.exits(0, &arguments).out).unwrap();
    path
}

/// Returns a thousand resources: 40 files of 25 each, every one but the first of a file needing the one before it.
fn thousand(project: &Project) {
    for file in 0..40 {
        let mut documents = String::new();
        for item in 0..25 {
            let needs = match item {
                0 => "nothing".to_owned(),
                item => format!("${{{{ gabion_data.part-{file:02}-{:02}.id }}}}", item - 1),
            };
            documents += &format!(
                "type: resource\nkind: gabion_data\nname: part-{file:02}-{item:02}\nproperties:\n  input: {{needs: '{needs}', \
                 mark: mark-{file}-{item}}}\n---\n"
            );
        }
        project.write(&format!("part-{file:02}.gabion.yml"), documents);
    }
}

#[test]
fn a_thousand_resources_can_be_searched_folded_and_looked_into() {
    let Some(browser) = Browser::start() else { return };
    let project = Project::new();
    thousand(&project);
    let trap = Trap::set();
    let page = page(&project, &[]);
    browser.open(&page);
    browser.until("document.querySelectorAll('.head[aria-expanded]').length === 40");
    assert_eq!(
        browser.run("return document.querySelectorAll('.node').length"),
        1000
    );
    assert_eq!(
        browser.run("return document.querySelectorAll('.edge').length"),
        960
    );

    // So many are folded at first; a click opens one group, and the others make room.
    let seen = "[...document.querySelectorAll('.node')].filter((node) => node.getBoundingClientRect().width > 0).length";
    browser.until(&format!("{seen} === 0"));
    let top = "return document.querySelectorAll('.group')[1].getBoundingClientRect().top";
    let before = browser.run(top).as_f64().unwrap();
    browser.click(".group[data-group='0'] .head .title");
    browser.until(&format!("{seen} === 25"));
    assert!(browser.run(top).as_f64().unwrap() > before + 30.0);
    browser.click(".group[data-group='0'] .head .title");
    browser.until(&format!("{seen} === 0"));
    browser.click("#unfold-all");
    browser.until(&format!("{seen} === 1000"));
    browser.click("#fold-all");
    browser.until(&format!("{seen} === 0"));

    // Search finds by name and by what attributes hold, and leads to the resource.
    browser.press("/");
    browser.until("document.activeElement.id === 'search'");
    browser.press("part-17-2");
    browser.until("document.querySelector('#count').textContent === '5 of 1,000 found'");
    assert_eq!(
        browser.run("return [...document.querySelectorAll('.head .hits')].map((hits) => hits.textContent)"),
        json!(["5 found"])
    );
    browser.press(ESCAPE);
    browser.until("document.querySelector('#found').hidden");
    browser.press("mark-31-7");
    browser.until("document.querySelectorAll('#found button').length === 1");
    browser.press(ENTER);
    browser.until("document.querySelector('#details h2')?.textContent === 'gabion_data.part-31-07'");
    assert_eq!(browser.run(&format!("return {seen}")), 25);
    let details = browser.run("return document.querySelector('#details').innerText");
    let details = details.as_str().unwrap();
    for part in [
        "+ create",
        "part-31.gabion.yml:43:7",
        "input.mark: \"mark-31-7\"",
        "input.needs: ${{ gabion_data.part-31-06.id }}",
        "known after apply: id",
        "ATTRIBUTES",
        "NEEDS 1",
        "NEEDED BY 1",
    ] {
        assert!(details.contains(part), "{part}\n{details}");
    }
    assert_eq!(browser.run("return location.hash"), "#gabion_data.part-31-07");

    // The keyboard leads to what a resource needs, and what needs it; groups fold with it too.
    browser.press(ESCAPE);
    browser.until("document.querySelector('#found').hidden");
    let focus = |name: &str| {
        browser.until(&format!(
            "document.activeElement.getAttribute('aria-label') === {}",
            json!(name)
        ));
    };
    browser.press(RIGHT);
    focus("gabion_data.part-31-06: create");
    browser.press(ENTER);
    browser.until("document.querySelector('#details h2')?.textContent === 'gabion_data.part-31-06'");
    browser.press(LEFT);
    focus("gabion_data.part-31-07: create");
    browser.press(DOWN);
    focus("gabion_data.part-31-08: create");
    is_inert(&browser, &page, &trap);

    // A link to a resource opens it.
    browser.open(&page.with_file_name("graph.html#gabion_data.part-09-03"));
    browser.until("document.querySelector('#details h2')?.textContent === 'gabion_data.part-09-03'");
    is_inert(&browser, &page, &trap);
}

#[test]
fn what_values_say_is_text_and_a_plan_can_be_read_resource_by_resource() {
    let Some(browser) = Browser::start() else { return };
    let trap = Trap::set();
    let texts = hostile(&trap.url());
    let document = |name: &str, input: &Value| {
        format!("type: resource\nkind: gabion_data\nname: {name}\nproperties: {{input: {input}}}\n---\n")
    };
    let project = Project::with(&format!(
        "{}{}{}",
        document(
            "base",
            &json!({ "port": 80, "token": "${{ secrets.TOKEN }}", "text": "calm" })
        ),
        document("user", &json!("${{ gabion_data.base.id }}")),
        document("goes", &json!(texts)),
    ))
    .set("MY_TOKEN", "correct-horse");
    project.write(
        "gabion.yml",
        "project: demo\nsecrets:\n  TOKEN: {env: MY_TOKEN}\n",
    );
    project.apply();
    let mut map = serde_json::Map::new();
    for text in &texts {
        map.insert(text.clone(), json!({ "in a map": text }));
    }
    let mut documents = document(
        "base",
        &json!({ "port": 81, "token": "${{ secrets.TOKEN }}", "text": texts.concat() }),
    );
    documents += &document("user", &json!("${{ gabion_data.base.id }}"));
    documents += &document("new", &json!({ "list": texts, "map": map }));
    documents += "type: resource\nkind: gabion_data\nname: kept\nproperties: {input: 1}\n---\n";
    project.write(
        "main.gabion.yml",
        documents.replacen("}}\n---", "}, triggers_replace: [1]}\n---", 1),
    );
    // A file's name is text too.
    project.write(
        "<img src=x onerror=window.ran=1>.gabion.yml",
        document("odd", &json!(texts[0])),
    );
    let page = page(&project, &[]);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(!html.contains("correct-horse"), "a secret got through");
    browser.open(&page);
    browser.until("document.querySelectorAll('.head[aria-expanded]').length > 0");
    assert_eq!(
        browser.run(
            "return ['script', 'style', 'img', 'iframe', 'a', 'svg'].map((name) => document.querySelectorAll(name).length)"
        ),
        json!([2, 1, 0, 0, 0, 1])
    );
    let read = |address: &str| {
        let script = format!(
            "document.querySelector('#search').value = ''; \
             const box = [...document.querySelectorAll('.node')].find((box) => box.getAttribute('aria-label').split(': ')[0] === {}); \
             box.dispatchEvent(new MouseEvent('click')); return document.querySelector('#details').innerText",
            json!(address)
        );
        browser.run(&script).as_str().unwrap().to_owned()
    };
    let base = read("gabion_data.base");
    for part in [
        "+/- replace, new one comes first",
        "input.port: 80 → 81",
        "`triggers_replace` cannot be changed in place",
        "(secret: ${{ secrets.TOKEN }})",
        "NEEDED BY 1",
    ] {
        assert!(base.contains(part), "{part}\n{base}");
    }
    let user = read("gabion_data.user");
    assert!(user.contains("follows gabion_data.base.id"), "{user}");
    let new = read("gabion_data.new");
    assert!(new.contains("</script><script>window.ran=1</script>"), "{new}");
    assert!(new.contains("\\u{202e}txt.exe"), "{new}");
    let goes = read("gabion_data.goes");
    assert!(goes.contains("- destroy"), "{goes}");
    assert!(goes.contains("no document declares it any more"), "{goes}");
    assert!(goes.contains("<img src=x onerror=window.ran=1>"), "{goes}");
    assert!(read("gabion_data.odd").contains("<img src=x onerror=window.ran=1>.gabion.yml"));
    is_inert(&browser, &page, &trap);

    // Without scripts, and alone: the picture.
    let picture = page.with_file_name("graph.svg");
    std::fs::write(
        &picture,
        project
            .exits(0, &["graph", "--format", "svg", "--changed-only"])
            .out,
    )
    .unwrap();
    browser.open(&picture);
    browser.until("document.querySelectorAll('.node').length === 6");
    assert_eq!(
        browser.run("return document.querySelectorAll('script, image, foreignObject, a').length"),
        0
    );
    is_inert(&browser, &picture, &trap);
}
