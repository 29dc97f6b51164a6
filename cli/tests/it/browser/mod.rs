//! What people open in a browser, in a real one: the page of a graph, and Markdown as GitHub would show it.

mod driver;
mod graph;
mod markdown;

/// Texts that would do something, were they read as anything but text. Each sets `window.ran`, or asks `leak` for something.
fn hostile(leak: &str) -> Vec<String> {
    let run = "window.ran=1";
    vec![
        format!("</script><script>{run}</script>"),
        format!("<img src=x onerror={run}>"),
        format!("<img src={leak}/image>"),
        format!("<svg onload={run}><script>{run}</script></svg>"),
        format!("\"><style>@import url({leak}/style)</style>"),
        format!("'><iframe src={leak}/frame></iframe>"),
        format!("<!--<script>{run}</script>-->"),
        format!("]]><script>{run}</script>"),
        format!("</title></style></noscript></svg><script>{run}</script>"),
        format!("[a](javascript:{run}) ![b]({leak}/markdown) <{leak}/auto>"),
        "```\n</details>\n```\n</details></details>\n\n# heading\n\n| a | b |\n| - | - |\n".to_owned(),
        "@org/team and me@example.org and #12".to_owned(),
        "\u{1b}[31mred\u{1b}[0m \u{202e}txt.exe\u{202c} \u{2066}x\u{2069} \u{200b}".to_owned(),
        "&lt;b&gt; &#x3c;script&#x3e; \\u003cscript\\u003e \u{2028}".to_owned(),
        "${alert(1)} {{constructor.constructor('window.ran=1')()}} `window.ran=1`".to_owned(),
    ]
}
