//! The console: plain files, compiled in, that ask for nothing from elsewhere. They hold no figure; what they show they ask for with
//! the token, as everybody does.

use hyper::StatusCode;

use super::serve::Answer;

/// Where it is.
pub(super) const PATH: &str = "/console/";

/// The page runs its own scripts and style, talks to its own origin, and can turn no string into markup or script.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                                 require-trusted-types-for 'script'; trusted-types 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// One file.
pub(super) struct Asset {
    name: &'static str,
    content_type: &'static str,
    body: &'static str,
}

/// Makes an [`Asset`] of a file beside this one.
macro_rules! asset {
    ($name:literal, $file:literal, $content_type:expr) => {
        Asset {
            name: $name,
            content_type: $content_type,
            body: include_str!(concat!("console/", $file)),
        }
    };
}

static ASSETS: &[Asset] = &[
    asset!("", "index.html", "text/html; charset=utf-8"),
    asset!("console.css", "console.css", "text/css; charset=utf-8"),
    asset!("icon.svg", "icon.svg", "image/svg+xml"),
    asset!("console.js", "console.js", SCRIPT),
    asset!("api.js", "api.js", SCRIPT),
    asset!("chart.js", "chart.js", SCRIPT),
    asset!("dom.js", "dom.js", SCRIPT),
    asset!("table.js", "table.js", SCRIPT),
    asset!("views.js", "views.js", SCRIPT),
    asset!("words.js", "words.js", SCRIPT),
];

/// The file at this path, if there is one.
pub(super) fn asset(path: &str) -> Option<&'static Asset> {
    let name = path.strip_prefix(PATH)?;
    ASSETS.iter().find(|asset| asset.name == name)
}

impl Asset {
    pub(super) fn answer(&self) -> Answer {
        Answer {
            status: StatusCode::OK,
            content_type: self.content_type,
            body: self.body.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn scripts() -> impl Iterator<Item = &'static Asset> {
        ASSETS.iter().filter(|asset| asset.content_type == SCRIPT)
    }

    /// What stands between a beginning and the next quotation mark.
    fn named(text: &'static str, before: &str) -> impl Iterator<Item = &'static str> {
        let found: Vec<_> = text
            .match_indices(before)
            .map(|(at, _)| at + before.len())
            .collect();
        found
            .into_iter()
            .map(move |at| text[at..].split('"').next().unwrap())
    }

    #[test]
    fn all_files_are_reached_from_the_page_and_nothing_is_elsewhere() {
        let mut wanted = BTreeSet::from([""]);
        let html = asset(PATH).unwrap().body;
        for attribute in ["src=\"", "href=\""] {
            let targets = named(html, attribute).filter(|target| !target.starts_with('#'));
            wanted.extend(targets.map(|target| target.strip_prefix(PATH).unwrap()));
        }
        for script in scripts() {
            wanted.extend(named(script.body, " from \"./"));
        }
        let there: BTreeSet<&str> = ASSETS.iter().map(|asset| asset.name).collect();
        assert_eq!(wanted, there);
        for asset in ASSETS {
            let elsewhere = asset.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains("://"), "{}", asset.name);
        }
    }

    #[test]
    fn the_page_keeps_its_own_policy() {
        let html = asset(PATH).unwrap().body;
        for inline in ["<style", " style=", " onclick=", "javascript:"] {
            assert!(!html.contains(inline), "{inline}");
        }
        assert_eq!(html.matches("<script").count(), 1);
        for script in scripts() {
            for sink in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "setHTML",
                "document.write",
                "eval(",
                "new Function",
                "\"style\"",
            ] {
                assert!(!script.body.contains(sink), "{sink} in {}", script.name);
            }
        }
    }

    #[test]
    fn ids_that_scripts_name_are_on_the_page_once() {
        let html = asset(PATH).unwrap().body;
        for script in scripts() {
            for id in named(script.body, "$(\"") {
                assert_eq!(html.matches(&format!(" id=\"{id}\"")).count(), 1, "#{id}");
            }
        }
    }
}
