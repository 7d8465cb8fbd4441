//! The page of `sealock demo`: plain files, compiled in, that ask for nothing from elsewhere.

use crate::upgrade::Page;

/// The value of the `Content-Security-Policy` header that every asset is to be sent with. The page runs its own script and
/// style, talks to its own origin, and can turn no string into markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// The file for a request path (without its query), if the page has one.
pub fn page(path: &str) -> Option<Page> {
    let (content_type, body): (_, &[u8]) = match path {
        "/" => ("text/html; charset=utf-8", include_bytes!("page/index.html")),
        "/page.css" => ("text/css; charset=utf-8", include_bytes!("page/page.css")),
        "/page.js" => ("text/javascript; charset=utf-8", include_bytes!("page/page.js")),
        "/routes.js" => ("text/javascript; charset=utf-8", include_bytes!("page/routes.js")),
        "/favicon.svg" => ("image/svg+xml", include_bytes!("page/favicon.svg")),
        _ => return None,
    };
    Some(Page {
        content_type,
        body,
        policy: CONTENT_SECURITY_POLICY,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> &'static str {
        std::str::from_utf8(page(path).unwrap().body).unwrap()
    }

    #[test]
    fn everything_the_page_names_is_there_and_nothing_is_elsewhere() {
        let html = text("/");
        let mut named = 0;
        for attribute in ["src=\"", "href=\""] {
            for (at, _) in html.match_indices(attribute) {
                let rest = &html[at + attribute.len()..];
                let target = &rest[..rest.find('"').unwrap()];
                assert!(target.starts_with('#') || page(target).is_some(), "{target}");
                named += 1;
            }
        }
        assert!(named >= 3, "style, script and icon, at least");
        assert!(text("/page.js").contains(r#"from "./routes.js""#) && page("/routes.js").is_some());
        assert!(page("/nothing").is_none());
    }

    #[test]
    fn the_page_keeps_its_own_policy() {
        let html = text("/");
        for inline in ["<style", " style=", " onclick=", "javascript:"] {
            assert!(!html.contains(inline), "{inline}");
        }
        let script = html.find("<script").unwrap();
        assert!(html[script..].starts_with("<script type=\"module\" src=\"/page.js\"></script>"));
        assert_eq!(html.matches("<script").count(), 1);
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!text("/page.js").contains(sink), "{sink}");
        }
    }

    #[test]
    fn the_page_has_the_ids_that_its_script_and_the_browser_tests_use() {
        for id in [
            "route", "connect", "close", "message", "format", "send", "log", "state", "send-mib",
        ] {
            assert_eq!(text("/").matches(&format!("id=\"{id}\"")).count(), 1, "#{id}");
        }
    }
}
