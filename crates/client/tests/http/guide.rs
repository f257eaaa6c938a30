//! The Rust example of `docs/clients.md` is `examples/guide.rs`, and prints what stands under it.

use millrace_client::Client;

use crate::support::{TestServer, within};

#[allow(
    dead_code,
    clippy::missing_docs_in_private_items,
    reason = "its `main` needs a server"
)]
#[path = "../../examples/guide.rs"]
mod example;

const PAGE: &str = include_str!("../../../../docs/clients.md");
const EXAMPLE: &str = include_str!("../../examples/guide.rs");

/// What stands between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).expect(from);
    rest.split_once(to).expect(to).0
}

#[tokio::test]
async fn the_example_of_the_page_prints_what_stands_under_it() {
    let section = between(PAGE, "\n## Rust\n", "\n## ");
    let shown = between(section, "```rust\n", "```");
    assert!(EXAMPLE.contains(shown), "the page and the example differ");
    let printed = between(section, "```text\n", "```");
    let server = TestServer::start().await;
    let client = Client::new(&server.url(), None).unwrap();
    let mut out = Vec::new();
    within(example::guide(&client, &mut out)).await.unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), printed);
}
