//! What counts depend on besides the code.

use std::error::Error;
use std::fmt::{self, Display};
use std::process::Command;

use crate::count;

/// Where, and with what, counts were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tools {
    /// Counts of another target, or of a processor without this one's vector code, have nothing to do with these.
    pub(crate) target: String,
    pub(crate) cpu: String,
    /// Counts with other versions of the following are about the same.
    pub(crate) rustc: String,
    pub(crate) libc: String,
    pub(crate) valgrind: String,
}

impl Tools {
    /// Those of this program and this machine.
    pub(crate) fn here() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            target: env!("BUILT_FOR").to_owned(),
            cpu: vector_code().to_owned(),
            rustc: env!("BUILT_WITH").to_owned(),
            libc: said(Command::new("getconf").arg("GNU_LIBC_VERSION"))?,
            valgrind: said(Command::new(count::valgrind()?).arg("--version"))?,
        })
    }

    pub(crate) fn read(table: &toml::Table) -> Result<Self, String> {
        let text = |key| {
            let value = table.get(key).and_then(toml::Value::as_str);
            value.map(str::to_owned).ok_or_else(|| format!("no text {key}"))
        };
        Ok(Self {
            target: text("target")?,
            cpu: text("cpu")?,
            rustc: text("rustc")?,
            libc: text("libc")?,
            valgrind: text("valgrind")?,
        })
    }

    /// True when counts taken with `other` can be compared with ours.
    pub(crate) fn like(&self, other: &Self) -> bool {
        (&self.target, &self.cpu) == (&other.target, &other.cpu)
    }

    pub(crate) fn rows(&self) -> [(&'static str, &str); 5] {
        [
            ("target", &self.target),
            ("cpu", &self.cpu),
            ("rustc", &self.rustc),
            ("libc", &self.libc),
            ("valgrind", &self.valgrind),
        ]
    }
}

impl Display for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rows().map(|(_, value)| value).join(", "))
    }
}

/// The vector code that libraries choose when they run: callgrind shows a processor with AVX2 and nothing wider, where there is one.
fn vector_code() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return "avx2";
    }
    "baseline"
}

fn said(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn tools(rustc: &str) -> Tools {
        Tools {
            target: "x86_64-unknown-linux-gnu".to_owned(),
            cpu: "avx2".to_owned(),
            rustc: rustc.to_owned(),
            libc: "glibc 2.36".to_owned(),
            valgrind: "valgrind-3.19.0".to_owned(),
        }
    }

    #[test]
    fn other_machines_are_not_compared_other_versions_are() {
        let here = tools("rustc 1.95.0");
        let like = |change: fn(&mut Tools)| {
            let mut other = here.clone();
            change(&mut other);
            here.like(&other)
        };
        assert!(like(|other| other.rustc.push('1')));
        assert!(like(|other| other.valgrind.push('1')));
        assert!(!like(|other| other.target.push('1')));
        assert!(!like(|other| other.cpu.push('1')));
    }
}
