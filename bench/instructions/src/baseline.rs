//! The file that is committed: the count of each case, and the tools that it was taken with.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Display};
use std::path::Path;

use crate::tools::Tools;

const HEAD: &str = "\
# The instructions that each case takes, written by `bench/instructions.sh --update`.
# A commit that changes a count says in its message why.
";

/// The counts of all cases, and what they were taken with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Baseline {
    pub(crate) tools: Tools,
    pub(crate) counts: BTreeMap<String, u64>,
}

impl Baseline {
    pub(crate) fn read(file: &Path) -> Result<Self, Box<dyn Error>> {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
        let parsed = text.and_then(|text| Self::parse(&text));
        parsed.map_err(|error| format!("{}: {error}", file.display()).into())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
        let table = |key| {
            let value = file.get(key).and_then(toml::Value::as_table);
            value.ok_or_else(|| format!("no table {key}"))
        };
        let count = |(case, value): (&String, &toml::Value)| {
            let count = value.as_integer().and_then(|count| u32::try_from(count).ok());
            Ok((
                case.clone(),
                count.ok_or_else(|| format!("{case} is no count"))?.into(),
            ))
        };
        let counts = table("instructions")?.iter().map(count);
        Ok(Self {
            tools: Tools::read(table("tools")?)?,
            counts: counts.collect::<Result<_, String>>()?,
        })
    }

    pub(crate) fn write(&self, file: &Path) -> Result<(), Box<dyn Error>> {
        Ok(std::fs::write(file, self.to_string())?)
    }
}

impl Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}\n[tools]")?;
        for (key, value) in self.tools.rows() {
            writeln!(f, "{key} = {value:?}")?;
        }
        writeln!(f, "\n[instructions]")?;
        for (case, count) in &self.counts {
            writeln!(f, "{case} = {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tests::tools;

    fn baseline() -> Baseline {
        Baseline {
            tools: tools("rustc 1.95.0 (\"quoted\")"),
            counts: [("a-1x1".to_owned(), 1), ("b-1x1".to_owned(), 4_000_000_000)].into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Baseline::parse(&baseline().to_string()), Ok(baseline()));
    }

    #[test]
    fn a_file_that_is_no_baseline_is_refused_with_its_reason() {
        for (from, to, error) in [
            ("[tools]", "[toolz]", "no table tools"),
            ("libc", "clib", "no text libc"),
            ("a-1x1 = 1", "a-1x1 = -1", "a-1x1 is no count"),
        ] {
            let text = baseline().to_string().replace(from, to);
            assert_eq!(Baseline::parse(&text).unwrap_err(), error);
        }
        assert!(Baseline::parse("a-1x1").is_err());
    }
}
