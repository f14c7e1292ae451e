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
