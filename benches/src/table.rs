//! The table of figures. A row has a name, the ratio to the raw limit if there is one, and both figures.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The figures of one run.
#[derive(Serialize)]
pub(crate) struct Table {
    title: String,
    /// The time of the measurement, RFC 3339.
    at: String,
    processors: usize,
    /// The names of the two sides that are compared.
    #[serde(skip)]
    columns: [&'static str; 2],
    /// The environment of the measurement, if it is noted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<String, String>,
    rows: Vec<Row>,
    /// Measurements that failed, figures that are not as they must be, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    what: String,
    /// Our figure divided by the raw limit, if they were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    ours: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<f64>,
    unit: &'static str,
    /// The bound that the row must keep, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<Bound>,
}

/// A bound that fails the run when a row does not keep it.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// The ratio must be this much at least.
    Ratio(f64),
    /// Our figure must be less than this.
    Below(f64),
}

impl Bound {
    fn holds(self, row: &Row) -> bool {
        match self {
            Self::Ratio(least) => row.ratio.is_some_and(|ratio| ratio >= least),
            Self::Below(limit) => row.ours < limit,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(least) => f.pad(&format!("≥ {least:.2}")),
            Self::Below(limit) => f.pad(&format!("< {}", number(*limit))),
        }
    }
}

impl Table {
    /// Returns a table of our figures against a raw limit.
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self::of(title, ["orders", "raw"])
    }

    /// Returns a table of the first column against the second.
    pub(crate) fn of(title: impl Into<String>, columns: [&'static str; 2]) -> Self {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        Self {
            title: title.into(),
            at: jiff::Timestamp::now().to_string(),
            processors,
            columns,
            environment: BTreeMap::new(),
            rows: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Notes the environment of the measurement.
    pub(crate) fn note(&mut self, environment: &BTreeMap<String, String>) {
        self.environment.clone_from(environment);
    }

    /// Notes a measurement that failed, or a figure that is not as it must be.
    pub(crate) fn failed(&mut self, what: String) {
        self.failed.push(what);
    }

    /// Returns whether everything could be measured and is as it must be.
    pub(crate) fn is_whole(&self) -> bool {
        self.failed.is_empty()
    }

    pub(crate) fn compared(&mut self, what: impl Into<String>, ours: f64, raw: f64, unit: &'static str) {
        let what = what.into();
        self.rows.push(Row { what, ratio: Some(ours / raw), ours, raw: Some(raw), unit, bound: None });
    }

    pub(crate) fn alone(&mut self, what: impl Into<String>, ours: f64, unit: &'static str) {
        self.rows.push(Row { what: what.into(), ratio: None, ours, raw: None, unit, bound: None });
    }

    /// Gives the last row a bound. A row that does not keep it fails the run.
    pub(crate) fn bound(&mut self, bound: Bound) {
        let Some(row) = self.rows.last_mut() else { return };
        row.bound = Some(bound);
        if !bound.holds(row) {
            let failed = format!("{}: {bound} is the bound", row.what);
            self.failed.push(failed);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}, {} processors)", self.title, self.at, self.processors)?;
        let width = self.rows.iter().map(|row| row.what.chars().count()).fold(44, usize::max);
        let [ours, raw] = self.columns;
        let bounded = self.rows.iter().any(|row| row.bound.is_some());
        write!(f, "\n| {:width$} | {:>6} | {ours:>10} | {raw:>10} | {:8} |", "", "ratio", "unit")?;
        if bounded {
            write!(f, " {:>8} |", "bound")?;
        }
        write!(f, "\n|{0:-<1$}|{0:-<8}|{0:-<12}|{0:-<12}|{0:-<10}|", "", width + 2)?;
        if bounded {
            write!(f, "{:-<10}|", "")?;
        }
        for Row { what, ratio, ours, raw, unit, bound } in &self.rows {
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let raw = raw.map_or_else(String::new, number);
            write!(f, "\n| {what:width$} | {ratio:>6} | {:>10} | {raw:>10} | {unit:8} |", number(*ours))?;
            if bounded {
                write!(f, " {:>8} |", bound.map_or_else(String::new, |bound| bound.to_string()))?;
            }
        }
        for failed in &self.failed {
            write!(f, "\n\nFAILED: {failed}")?;
        }
        Ok(())
    }
}

/// Returns a number with three digits at least: 36,012; 85.3; 0.214.
fn number(value: f64) -> String {
    match value {
        v if v >= 1000.0 => {
            let digits = format!("{v:.0}");
            let thousands: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
            thousands.join(",")
        }
        v if v >= 100.0 || v.fract() == 0.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

/// Returns the middle of several measurements; of an even number, the lower one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_thousands_are_set_apart() {
        let texts = [36_012.4, 1_000_000.0, 999.6, 85.31, 0.2143, 0.0].map(number);
        assert_eq!(texts, ["36,012", "1,000,000", "1000", "85.3", "0.214", "0"]);
    }

    #[test]
    fn a_row_that_does_not_keep_its_bound_fails_the_run() {
        let fails = |ours: f64, raw: f64, bound| {
            let mut table = Table::new("");
            table.compared("rate", ours, raw, "a second");
            table.bound(bound);
            !table.is_whole()
        };
        assert!(!fails(13.0, 10.0, Bound::Ratio(1.3)));
        assert!(fails(12.9, 10.0, Bound::Ratio(1.3)));
        assert!(!fails(59.9, 1.0, Bound::Below(60.0)));
        assert!(fails(60.0, 1.0, Bound::Below(60.0)));
    }

    #[test]
    fn a_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).total_cmp(&2.0), std::cmp::Ordering::Equal);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]).total_cmp(&2.0), std::cmp::Ordering::Equal);
    }
}
