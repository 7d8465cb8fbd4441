//! Medians and ratios.

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// Nothing for no values.
pub(crate) fn summary(values: impl IntoIterator<Item = f64>) -> Option<Summary> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    };
    Some(Summary { median, min, max })
}

/// What is to what in each round that has both.
pub(crate) fn ratios(these: &[Option<f64>], those: &[Option<f64>]) -> Option<Summary> {
    let both = these
        .iter()
        .zip(those)
        .filter_map(|(this, that)| match (this, that) {
            (Some(this), Some(that)) if *that > 0.0 => Some(this / that),
            _ => None,
        });
    summary(both)
}

/// The smallest value that `part` of all values do not exceed.
pub(crate) fn percentile(values: &mut [f64], part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * part).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two() {
        let of = |values: &[f64]| summary(values.iter().copied()).map(|all| (all.median, all.min, all.max));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some((3.0, 3.0, 3.0)));
        assert_eq!(of(&[9.0, 1.0, 2.0]), Some((2.0, 1.0, 9.0)));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some((2.5, 1.0, 4.0)));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let these = [Some(1.0), None, Some(6.0), Some(2.0)];
        let those = [Some(2.0), Some(1.0), Some(2.0), Some(0.0)];
        let found = ratios(&these, &those);
        assert_eq!(
            found,
            Some(Summary {
                median: 1.75,
                min: 0.5,
                max: 3.0
            })
        );
        assert_eq!(ratios(&these, &[None; 4]), None);
    }

    #[test]
    fn percentiles_are_values_that_were_there() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.99), Some(99.0));
        assert_eq!(percentile(&mut values, 0.5), Some(50.0));
        assert_eq!(percentile(&mut values, 1.0), Some(100.0));
        assert_eq!(percentile(&mut [7.0], 0.5), Some(7.0));
        assert_eq!(percentile(&mut [], 0.5), None);
    }
}
