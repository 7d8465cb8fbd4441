//! Every piece of configuration that the documentation shows must be good.

use std::path::PathBuf;

use super::*;

/// The one that is meant to be wrong: what it gets stands below it.
const BAD: &str = "shutdown_timeout = 30\n";

/// The pages of the repository, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_docs = ["docs", "docs/framings"]
        .into_iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path());
    let named = ["README.md", "SECURITY.md", "deploy/README.md"].map(|page| root.join(page));
    in_docs
        .chain(named)
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// What stands between "```toml" and "```".
fn examples(page: &str) -> impl Iterator<Item = &str> {
    page.split("\n```toml\n")
        .skip(1)
        .map(|rest| rest.split_once("\n```").unwrap().0)
}

/// An example as whole files: what it leaves out is put around it.
fn whole(example: &str) -> Vec<String> {
    let has = |table: &str| example.lines().any(|line| line.trim_end() == table);
    match (has("[[listener]]"), has("[[route]]")) {
        (true, true) => vec![example.to_owned()],
        (false, true) => vec![format!("{LISTENER}{example}")],
        (true, false) => vec![format!("{example}\n{ROUTE}framing = \"raw\"\n")],
        (false, false) if has("[admin]") => vec![format!("{example}\n{LISTENER}{ROUTE}framing = \"raw\"\n")],
        (false, false) => example
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(with_line)
            .collect(),
    }
}

/// A file with this line in its route, which says the rest in the plainest way.
fn with_line(line: &str) -> String {
    let key = |line: &str| {
        line.split_once(" =")
            .map_or(String::new(), |(key, _)| key.to_owned())
    };
    let usual = format!("{ROUTE}framing = \"lines\"\n");
    let others = usual.lines().filter(|other| key(other) != key(line));
    let route: String = others.map(|other| format!("{other}\n")).collect();
    format!("{LISTENER}{route}{line}\n")
}

fn environment(name: &str) -> Option<String> {
    (name == "CREDENTIALS_DIRECTORY").then(|| "/run/credentials/sealock.service".to_owned())
}

#[test]
fn every_example_of_the_documentation_is_good() {
    let mut seen = 0;
    for (path, page) in pages() {
        for example in examples(&page).filter(|example| !example.starts_with(BAD)) {
            for file in whole(example) {
                let name = path.display().to_string();
                let loaded = parse(&file, &name, Path::new(""), &environment)
                    .unwrap_or_else(|problems| panic!("{problems}"));
                assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
                seen += 1;
            }
        }
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn every_kind_of_framing_has_an_example_on_a_page_of_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/framings");
    for kind in framing::KINDS {
        let page = folder.join(format!("{kind}.md"));
        let page = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let written = [format!("{{ kind = \"{kind}\""), format!("framing = \"{kind}\"")];
        let shown = examples(&page).any(|example| written.iter().any(|one| example.contains(one)));
        assert!(shown, "{kind}");
    }
}

#[test]
fn the_file_of_the_pod_is_good() {
    const POD: &str = include_str!("../../../deploy/kubernetes/sidecar.yaml");
    let (_, rest) = POD.split_once("  sealock.toml: |\n").unwrap();
    let lines = rest
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    let file: String = lines.map(|line| format!("{}\n", line.trim_start())).collect();
    let config = good(&file);
    assert_eq!((config.listeners.len(), config.routes.len()), (1, 1), "{file}");
    let admin = config.admin.unwrap();
    assert!(POD.contains(&format!("containerPort: {}", admin.bind.port())));
}
