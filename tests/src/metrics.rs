//! The samples of `/metrics`, in the text format of Prometheus.

/// Samples as they were at one moment.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Reads the text format, strictly.
    ///
    /// # Panics
    /// When a line is neither empty, nor a comment, nor `name{label="value",…} number`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
        let sample = |line| sample(line).unwrap_or_else(|| panic!("not a sample: {line:?}"));
        Self { samples: lines.map(sample).collect() }
    }

    /// Returns the sum of the samples with this name and at least these labels; 0 when there are none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &Sample, (label, value): &(&str, &str)| {
            sample.labels.iter().any(|(l, v)| l == label && v == value)
        };
        let wanted = self
            .samples
            .iter()
            .filter(|sample| sample.name == name && labels.iter().all(|label| has(sample, label)));
        wanted.map(|sample| sample.value).sum()
    }

    /// Returns whether there is a sample with this name.
    #[must_use]
    pub fn tells(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(valid) {
        return None;
    }
    let labels = labels.split_terminator(',').map(label).collect::<Option<_>>()?;
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

/// Parses `name="value"`. None of our values has a comma or a quote.
fn label(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let value = value.strip_prefix('"')?.strip_suffix('"')?;
    Some((name.to_owned(), value.to_owned()))
}
