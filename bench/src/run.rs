//! A run: the rounds, and what is written in the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use crate::cell::{Env, Found, measure};
use crate::cli::Options;
use crate::load::Identity;
use crate::measure::Machine;
use crate::proxy::{Kind, Programs, version, write_identity};
use crate::report::{self, About};
use crate::results::Results;
use crate::scenario::{Scenario, all};
use crate::{Result, cpu};

/// Two descriptors a session in each of the two processes, and some for other things.
const FILES: u64 = 2 * 9000 + 200;

/// Measures, prints and writes what was asked for. False when anything failed.
pub(crate) async fn run(options: Options) -> Result<bool> {
    let scenarios = chosen(&options.only)?;
    let files = cpu::raise_file_limit()?;
    if files < FILES {
        eprintln!("note: only {files} open files are allowed; scenarios of 9,000 sessions will fail");
    }
    let folder = tempfile::tempdir()?;
    let env = Env {
        programs: Programs {
            sealock: build(&options.sealock)?,
            baseline: options.baseline.as_deref().map(build).transpose()?,
            own: std::env::current_exe()?,
            folder: folder.path().to_owned(),
        },
        identity: Identity::make()?,
        seconds: if options.quick { 0.25 } else { options.seconds },
        idle_seconds: if options.quick { 2.0 } else { options.idle_seconds },
    };
    write_identity(folder.path(), &env.identity.cert_pem, &env.identity.key_pem)?;
    let rounds = if options.quick {
        1
    } else {
        usize::from(options.rounds)
    };
    let versions: Vec<(Kind, Option<String>)> = Kind::ALL
        .iter()
        .map(|kind| (*kind, version(*kind, &env.programs)))
        .collect();
    let optional = |kind: Kind| kind == Kind::Baseline && options.baseline.is_none();
    for (kind, _) in versions
        .iter()
        .filter(|(kind, version)| version.is_none() && !optional(*kind))
    {
        eprintln!("note: {} is not installed: left out", kind.name());
    }
    // Only now: what was started so far may run anywhere.
    cpu::pin()?;

    let start = Instant::now();
    let mut results = Results::new(scenarios.clone());
    for scenario in &scenarios {
        let installed = |kind: &&Kind| {
            versions
                .iter()
                .any(|(one, version)| one == *kind && version.is_some())
                && (options.proxy.is_empty() || options.proxy.contains(*kind))
        };
        for round in 0..scenario.rounds.unwrap_or(rounds).min(rounds) {
            for kind in scenario.kinds.iter().filter(installed) {
                let begin = Instant::now();
                let found = measure(scenario, *kind, &env).await;
                tell(scenario, *kind, round, begin.elapsed(), &found);
                results.add(&scenario.name, *kind, found);
            }
        }
    }
    let about = About {
        machine: Machine::read(),
        versions,
        commit: commit(),
        rounds,
        seconds: env.seconds,
        idle_seconds: env.idle_seconds,
        minutes: start.elapsed().as_secs_f64() / 60.0,
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
    };
    print!("{}", report::table(&results));
    if let Some(file) = &options.json {
        write(file, &report::json(&about, &results)?)?;
    }
    if let Some(file) = &options.report {
        let plots = file.with_file_name(report::PLOTS);
        fs::create_dir_all(&plots)?;
        for (name, plot) in report::plots(&results) {
            write(&plots.join(name), &plot)?;
        }
        let old = fs::read_to_string(file).unwrap_or_default();
        write(file, &report::page(&old, &about, &results))?;
    }
    Ok(results.failures.is_empty())
}

/// The whole path of a build.
fn build(file: &Path) -> Result<PathBuf> {
    let path = file.canonicalize();
    Ok(path.map_err(|error| format!("{}: {error}: build it with cargo build --release", file.display()))?)
}

fn write(file: &Path, text: &str) -> Result<()> {
    Ok(fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?)
}

/// The scenarios whose names start with one of these; all for none.
fn chosen(only: &[String]) -> Result<Vec<Scenario>> {
    if let Some(unknown) = only
        .iter()
        .find(|prefix| !all().iter().any(|one| one.name.starts_with(*prefix)))
    {
        return Err(format!("no scenario starts with {unknown:?}; `sealock-bench list` names them").into());
    }
    let is_chosen =
        |one: &Scenario| only.is_empty() || only.iter().any(|prefix| one.name.starts_with(prefix));
    Ok(all().into_iter().filter(is_chosen).collect())
}

/// One line of progress.
fn tell(scenario: &Scenario, kind: Kind, round: usize, took: Duration, found: &Result<Found>) {
    let what = match found {
        Err(error) => format!("FAILED: {error}"),
        Ok(found) => scenario
            .shows
            .iter()
            .filter_map(|figure| found.figures.iter().find(|(one, _)| one == figure))
            .map(|(_, value)| report::number(*value))
            .collect::<Vec<_>>()
            .join("  "),
    };
    let (name, kind, round, took) = (&scenario.name, kind.name(), round + 1, took.as_secs_f64());
    eprintln!("{name:<20} {kind:<10} round {round}, {took:>4.1} s: {what}");
}

/// The commit that is checked out, if git knows.
fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude=*"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_how_their_names_start() {
        let names = |only: &[&str]| -> Vec<String> {
            let only: Vec<String> = only.iter().map(|&one| one.to_owned()).collect();
            chosen(&only).unwrap().into_iter().map(|one| one.name).collect()
        };
        assert_eq!(
            names(&["echo", "handshake-f"]),
            ["echo-64-d1", "echo-64-d32", "handshake-full"]
        );
        assert_eq!(names(&[]).len(), all().len());
        assert!(chosen(&["nonsense".to_owned()]).is_err());
    }
}
