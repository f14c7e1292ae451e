//! Holds the generated parts of docs/ to what the code says. `GYRE_WRITE_DOCS=1` writes them anew.

use gyre::commands::docs;

/// Replaces what stands between `<!-- generated: name -->` and `<!-- end -->`.
fn replaced(text: &str, name: &str, generated: &str) -> String {
    let begin = format!("<!-- generated: {name} -->\n");
    let (head, rest) = text
        .split_once(&begin)
        .unwrap_or_else(|| panic!("no mark for {name}"));
    let (_, tail) = rest
        .split_once("<!-- end -->")
        .unwrap_or_else(|| panic!("no end of {name}"));
    format!(
        "{head}{begin}\n{}\n\n<!-- end -->{tail}",
        generated.trim_end()
    )
}

#[test]
fn the_compatibility_document_says_what_the_server_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
    let text = std::fs::read_to_string(path).expect("docs/compatibility.md");
    let wanted = replaced(&text, "commands", &docs::compatibility_table());
    let wanted = replaced(&wanted, "refused", &docs::directives_refused());
    let wanted = replaced(&wanted, "directives", &docs::directives_without_effect());
    if std::env::var_os("GYRE_WRITE_DOCS").is_some() {
        std::fs::write(path, wanted).expect("a writable file");
        return;
    }
    assert!(
        text == wanted,
        "docs/compatibility.md is not what the code says: run `make docs`"
    );
}

/// Tags and version of recordings, as the code spells them and as the page does.
#[test]
fn the_page_on_formats_knows_every_entry_of_a_recording() {
    let read = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    };
    let code = read("src/event_loop/recording/format.rs");
    let page = read("docs/formats.md");
    let tags = code.lines().filter_map(|line| {
        let (_, number) = line
            .trim()
            .strip_prefix("pub const ")?
            .split_once(": u8 = ")?;
        number.trim_end_matches(';').parse::<u8>().ok()
    });
    let mut tags: Vec<u8> = tags.collect();
    tags.sort_unstable();
    assert!(tags.len() > 20, "{tags:?}");
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| tag |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let numbers = rows.flat_map(|row| row.split('|').nth(1).unwrap_or("").split(','));
    let described: Vec<u8> = numbers
        .map(|number| number.trim().parse().expect("a tag"))
        .collect();
    assert_eq!(described, tags);
    let version = code
        .split_once("const VERSION: u8 = b'")
        .and_then(|(_, rest)| rest.chars().next())
        .expect("a version");
    assert!(page.contains(&format!("then one byte of version: `{version}`")));
}
