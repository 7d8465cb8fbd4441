//! What the pages say of the repository must be true: its layout, its dependencies, where links lead.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files and folders below `folder`, relative to it, to this depth. Folders end with a slash.
fn entries(folder: &Path, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !entry.file_type().unwrap().is_dir() {
            found.insert(name);
            continue;
        }
        if depth > 1 {
            let below = entries(&entry.path(), depth - 1);
            found.extend(below.into_iter().map(|below| format!("{name}/{below}")));
        }
        found.insert(format!("{name}/"));
    }
    found
}

#[test]
fn the_architecture_page_names_every_file() {
    let page = text("docs/ARCHITECTURE.md");
    let block = page
        .split("```text\n")
        .find(|block| block.starts_with("main.rs"))
        .unwrap();
    let mut folder = String::new();
    let mut named = BTreeSet::new();
    for line in block
        .split("```")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
    {
        let name = line.split_whitespace().next().unwrap();
        if line.starts_with("  ") {
            named.insert(format!("{folder}{name}"));
        } else {
            if name.ends_with('/') {
                name.clone_into(&mut folder);
            }
            named.insert(name.to_owned());
        }
    }
    let there = entries(&root().join("src"), 2);
    let differ: Vec<_> = named.symmetric_difference(&there).collect();
    assert!(
        differ.is_empty(),
        "on the page or in src/, but not both: {differ:?}"
    );
}

#[test]
fn every_dependency_has_its_reason() {
    let mut section = "";
    let manifest = text("Cargo.toml");
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if let ("[dependencies]" | "[dev-dependencies]", Some((name, _))) =
            (section, line.split_once(" ="))
        {
            names.insert(name);
        }
    }
    let page = text("docs/DESIGN.md");
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| crate |"))
        .skip(2);
    let reasons: BTreeSet<&str> = rows
        .take_while(|line| line.starts_with("| `"))
        .map(|line| line.split('`').nth(1).unwrap())
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let differ: Vec<_> = reasons.symmetric_difference(&names).collect();
    assert!(
        differ.is_empty(),
        "in the table or in Cargo.toml, but not both: {differ:?}"
    );
}

/// A row of a table, cell by cell.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_readme_quotes_the_page_of_figures() {
    let page = text("docs/PERFORMANCE.md");
    let measured: Vec<(&str, &str)> = page
        .lines()
        .skip_while(|line| *line != "| target | at most | measured | |")
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| (cells(line)[0], cells(line)[2]))
        .collect();
    let readme = text("README.md");
    let quoted: Vec<(&str, &str)> = readme
        .lines()
        .skip_while(|line| *line != "| what it costs | measured |")
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| (cells(line)[0], cells(line)[1]))
        .collect();
    assert!(quoted.len() > 5, "{quoted:?}");
    for row in quoted {
        assert!(
            measured.contains(&row),
            "{row:?} is not on the page: {measured:?}"
        );
    }
}

#[test]
fn the_oldest_compiler_is_the_one_of_the_manifest() {
    let manifest = text("Cargo.toml");
    let version = manifest
        .split("rust-version = \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    for page in ["README.md", "CONTRIBUTING.md", "docs/DESIGN.md"] {
        assert!(
            text(page).contains(&format!("Rust {version}")),
            "{page} does not name Rust {version}"
        );
    }
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading
        .to_lowercase()
        .chars()
        .filter(kept)
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let docs = entries(&root().join("docs"), 2)
        .into_iter()
        .filter(|name| name.ends_with(".md"));
    let mut pages: Vec<PathBuf> = docs.map(|name| Path::new("docs").join(name)).collect();
    pages.extend(
        [
            "README.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
            "deploy/README.md",
        ]
        .map(PathBuf::from),
    );
    let mut links = 0;
    for page in &pages {
        let source = text(page);
        for rest in source.split("](").skip(1) {
            let target = rest.split(')').next().unwrap();
            if target.contains("://") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            assert!(root().join(&file).exists(), "{}: {target}", page.display());
            if !fragment.is_empty() {
                let headings = text(&file);
                let mut headings = headings.lines().filter(|line| line.starts_with('#'));
                let found = headings.any(|line| anchor(line.trim_start_matches('#').trim()) == fragment);
                assert!(found, "{}: {target}", page.display());
            }
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}
