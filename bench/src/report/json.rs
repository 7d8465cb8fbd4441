//! Every figure of every round, for programs.

use serde_json::{Value, json};

use super::About;
use super::goals::GOALS;
use crate::Result;
use crate::proxy::Kind;
use crate::results::Results;

/// The whole run.
pub(crate) fn json(about: &About, results: &Results) -> Result<String> {
    let figures: Vec<Value> = results
        .figures()
        .map(|(scenario, kind, figure)| {
            let summary = results.summary(scenario, figure, kind);
            let ratio = results.ratio(scenario, figure, kind, Kind::Nginx);
            let busy = results.busy(scenario, kind);
            json!({
                "scenario": scenario,
                "proxy": kind.name(),
                "figure": figure.name(),
                "rounds": results.values(scenario, figure, kind),
                "median": summary.map(|all| all.median),
                "min": summary.map(|all| all.min),
                "max": summary.map(|all| all.max),
                "ratio_to_nginx": ratio.map(|all| [all.min, all.median, all.max]),
                "busy_proxy": busy.map(|busy| busy.0),
                "busy_generator": busy.map(|busy| busy.1),
            })
        })
        .collect();
    let goals: Vec<Value> = GOALS
        .iter()
        .map(|goal| {
            let verdict = goal.judge(results);
            json!({
                "goal": goal.what,
                "limit": goal.limit,
                "value": verdict.map(|verdict| verdict.value),
                "met": verdict.map(|verdict| verdict.met),
            })
        })
        .collect();
    let machine = &about.machine;
    let whole = json!({
        "machine": {
            "cpu": machine.cpu,
            "cores": machine.cores,
            "kernel": machine.kernel,
            "memory_gib": machine.memory_gib,
            "congestion_control": machine.congestion,
        },
        "versions": about.versions.iter().map(|(kind, version)| (kind.name(), version)).collect::<std::collections::BTreeMap<_, _>>(),
        "commit": about.commit,
        "arguments": about.command,
        "rounds": about.rounds,
        "seconds": about.seconds,
        "idle_seconds": about.idle_seconds,
        "figures": figures,
        "goals": goals,
        "failures": results.failures.iter().map(|(scenario, kind, error)| json!({
            "scenario": scenario, "proxy": kind.name(), "error": error,
        })).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&whole)? + "\n")
}

#[cfg(test)]
mod tests {
    use crate::results::tests::sample;

    #[test]
    fn all_rounds_are_there() {
        let about = crate::report::page::tests::about();
        let text = super::json(&about, &sample()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let echo = &value["figures"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["scenario"] == "echo-64-d1" && one["proxy"] == "nginx")
            .unwrap();
        assert_eq!(echo["rounds"], serde_json::json!([2.0, 3.0]));
        assert_eq!(echo["median"], 2.5);
        assert_eq!(value["failures"], serde_json::json!([]));
    }
}
