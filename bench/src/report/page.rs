//! The page of the documentation.

use super::goals::GOALS;
use super::{About, PLOTS, number, spread};
use crate::proxy::Kind;
use crate::results::Results;
use crate::scenario::Group;

/// What is between these is written by this program; the rest of the page is left as it is.
const BEGIN: &str = "<!-- sealock-bench: begin. Written by bench/run.sh; do not edit. -->";
const END: &str = "<!-- sealock-bench: end -->";

/// The page with the results of this run in their place.
pub(crate) fn page(old: &str, about: &About, results: &Results) -> String {
    let made = format!("{BEGIN}\n\n{}\n{END}", body(about, results));
    match old
        .split_once(BEGIN)
        .map(|(before, rest)| (before, rest.split_once(END)))
    {
        Some((before, Some((_, after)))) => format!("{before}{made}{after}"),
        _ if old.is_empty() => format!("# Performance\n\n{made}\n"),
        // Whoever wrote a page without a place for results meant something by it.
        _ => format!("{}\n\n{made}\n", old.trim_end()),
    }
}

fn body(about: &About, results: &Results) -> String {
    let mut out = String::new();
    method(&mut out, about);
    targets(&mut out, results);
    for group in Group::ALL {
        if results.rows(group).next().is_some() {
            section(&mut out, results, group);
        }
    }
    if !results.failures.is_empty() {
        out += "## Failed\n\n";
        for (scenario, kind, error) in &results.failures {
            line!(
                out,
                "- `{scenario}`, {}: {}",
                kind.name(),
                error.replace('\n', " ")
            );
        }
        out.push('\n');
    }
    out.trim_end().to_owned() + "\n"
}

fn method(out: &mut String, about: &About) {
    let machine = &about.machine;
    *out += "What the *proxy* costs: its processor time (`/proc/PID/task/*/schedstat`) and memory (`smaps_rollup`, `VmHWM`), as the \
             kernel counts them. One process, pinned to one processor, is client and backend; the proxy, pinned to another, is between \
             them; all on loopback. TLS 1.3, AES-128-GCM, X25519, an ECDSA P-256 certificate. Both ends check every byte and boundary. \
             sealock runs as it is released, with its default configuration and routes; nginx and HAProxy only end TLS before the same \
             backend, so their clients frame the stream themselves and the same payload passes. On loopback sealock does without \
             pacing, as the system would have it where its congestion control is BBR; this is its default, and `docs/DESIGN.md` says \
             what it is worth.\n\n";
    line!(
        out,
        "Medians (min–max) over {} rounds of {} s after a warm-up, idle sessions watched for {} s; in each round the proxies take turns, and \
         ratios are taken round by round. The whole run took {:.0} minutes.\n",
        about.rounds,
        about.seconds,
        about.idle_seconds,
        about.minutes.ceil()
    );
    line!(
        out,
        "Machine: {}, {} processors, {:.0} GiB, Linux {}, TCP congestion control {}.\n",
        machine.cpu,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.congestion
    );
    *out += "| proxy | version | what it does |\n|---|---|---|\n";
    let measured = |(kind, version): &&(Kind, Option<String>)| version.is_some() || *kind != Kind::Baseline;
    for (kind, version) in about.versions.iter().filter(measured) {
        let commit = about.commit.as_ref().filter(|_| *kind == Kind::Sealock);
        let commit = commit.map_or_else(String::new, |commit| format!(" ({commit})"));
        let version = version.as_deref().unwrap_or("not installed");
        line!(out, "| {} | {version}{commit} | {} |", kind.name(), kind.about());
    }
    line!(
        out,
        "\nTo repeat it: `bench/run.sh`, which installs what is missing (Debian), builds, and runs\n\n```sh\nsealock-bench {}\n```\n",
        about.command
    );
}

fn targets(out: &mut String, results: &Results) {
    *out += "## Targets\n\n| target | at most | measured | |\n|---|---|---|---|\n";
    for goal in GOALS {
        let (measured, verdict) = match goal.judge(results) {
            None => ("–".to_owned(), "not measured".to_owned()),
            Some(verdict) if verdict.met => (number(verdict.value), "met".to_owned()),
            Some(verdict) => {
                let by = format!("**missed by {:.0} %**", goal.excess(verdict.value));
                (number(verdict.value), by)
            }
        };
        line!(
            out,
            "| {} | {} | {measured} | {verdict} |",
            goal.what,
            number(goal.limit)
        );
    }
    out.push('\n');
}

fn section(out: &mut String, results: &Results, group: Group) {
    let (name, title) = (group.name(), group.title());
    line!(
        out,
        "## {title}\n\n{}\n\n![{title}]({PLOTS}/{name}.svg)\n",
        group.about()
    );
    let has = |kind: &Kind| {
        let mut rows = results.rows(group);
        rows.any(|row| results.summary(&row.scenario.name, row.figure, *kind).is_some())
    };
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(has).collect();
    let names: String = kinds.iter().map(|kind| format!(" {} |", kind.name())).collect();
    line!(
        out,
        "| scenario | figure |{names} sealock × nginx | busy: proxy, load |"
    );
    line!(out, "|---|---|{}---|---|", "---|".repeat(kinds.len()));
    for row in results.rows(group) {
        let name = &row.scenario.name;
        let cell = |kind: &Kind| {
            results
                .summary(name, row.figure, *kind)
                .map_or_else(String::new, spread)
        };
        let cells: String = kinds.iter().map(|kind| format!(" {} |", cell(kind))).collect();
        let ratio = results.ratio(name, row.figure, Kind::Sealock, Kind::Nginx);
        let ratio = ratio.map_or_else(String::new, |ratio| format!("**{}**", spread(ratio)));
        let busy = results
            .busy(name, Kind::Sealock)
            .map_or_else(String::new, |(proxy, own)| {
                format!("{:.0} %, {:.0} %", proxy * 100.0, own * 100.0)
            });
        line!(
            out,
            "| `{name}` | {} |{cells} {ratio} | {busy} |",
            row.figure.title()
        );
    }
    out.push('\n');
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::measure::Machine;
    use crate::results::tests::sample;

    pub(in crate::report) fn about() -> About {
        About {
            machine: Machine::read(),
            versions: Kind::ALL.map(|kind| (kind, Some("1".to_owned()))).to_vec(),
            commit: Some("abc".to_owned()),
            rounds: 2,
            seconds: 0.5,
            idle_seconds: 1.0,
            minutes: 1.0,
            command: "run".to_owned(),
        }
    }

    #[test]
    fn every_scenario_and_target_is_on_the_page() {
        let results = sample();
        let text = page("", &about(), &results);
        for scenario in &results.scenarios {
            assert!(
                text.contains(&format!("| `{}` |", scenario.name)),
                "{}",
                scenario.name
            );
        }
        for goal in GOALS {
            assert!(text.contains(goal.what), "{}", goal.what);
        }
        let table = text.lines().filter(|line| line.starts_with('|'));
        let mut columns = 0;
        for line in table {
            let now = line.matches('|').count();
            if line.starts_with("|---") {
                assert_eq!(now, columns, "{line}");
            }
            columns = now;
        }
    }

    #[test]
    fn what_people_wrote_stays() {
        let results = sample();
        let first = page("", &about(), &results);
        let own = format!("{}\nOur remarks.\n", first.replace("# Performance", "# Ours"));
        let second = page(&own, &about(), &results);
        assert_eq!(second, own);
        let without = page("# Ours\n", &about(), &results);
        assert!(without.starts_with("# Ours\n\n<!--"));
    }
}
