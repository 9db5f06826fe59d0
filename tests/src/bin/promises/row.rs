//! One promise, and what was measured of it.

use std::fmt::Write;

use serde_json::json;

/// A promise and its measurement.
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// Of each sample.
    unit: &'static str,
    bounds: Vec<Bound>,
    /// In order.
    samples: Vec<f64>,
}

/// One number to hold.
#[derive(Clone, Copy)]
pub enum Bound {
    /// The median is at most this.
    Median(f64),
    /// The 99th percentile is at most this.
    P99(f64),
    /// No sample is more than this.
    Most(f64),
    /// The median is at least this.
    Least(f64),
}

impl Bound {
    /// How far off: up to 1 it is held.
    fn off(self, row: &Row) -> f64 {
        match self {
            Self::Median(most) => row.quantile(0.5) / most,
            Self::P99(most) => row.quantile(0.99) / most,
            Self::Most(most) => row.quantile(1.0) / most,
            Self::Least(least) => least / row.quantile(0.5),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Median(most) => format!("p50 ≤ {most}"),
            Self::P99(most) => format!("p99 ≤ {most}"),
            Self::Most(most) => format!("max ≤ {most}"),
            Self::Least(least) => format!("p50 ≥ {least}"),
        }
    }
}

impl Row {
    /// A row of these samples; there must be one at least.
    pub fn new(name: &'static str, unit: &'static str, bounds: &[Bound], mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { name, unit, bounds: bounds.into(), samples }
    }

    /// By what factor the bound that is missed most is missed; up to 1 all are held.
    pub fn off(&self) -> f64 {
        let off = self.bounds.iter().map(|bound| bound.off(self));
        // Nothing measured is nothing held.
        off.fold(0.0, |worst: f64, off| if off.is_nan() { f64::INFINITY } else { worst.max(off) })
    }

    /// The smallest sample that `share` of all do not exceed.
    fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.samples.len() as f64).ceil() as usize;
        self.samples.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }

    fn promise(&self) -> String {
        self.bounds.iter().map(|bound| bound.text()).collect::<Vec<_>>().join(", ")
    }

    fn numbers(&self) -> [f64; 4] {
        [0.0, 0.5, 0.99, 1.0].map(|share| self.quantile(share))
    }
}

/// One object a line.
pub fn lines(rows: &[Row]) -> String {
    let line = |row: &Row| {
        // Six digits are more than was measured.
        let [min, p50, p99, max] = row.numbers().map(|number| (number * 1e6).round() / 1e6);
        let Row { name, unit, .. } = row;
        let (promise, n, met) = (row.promise(), row.samples.len(), row.off() <= 1.0);
        json!({
            "name": name, "promise": promise, "unit": unit, "n": n, "min": min, "p50": p50, "p99": p99, "max": max,
            "met": met,
        })
    };
    rows.iter().map(|row| format!("{}\n", line(row))).collect()
}

/// For people.
pub fn table(rows: &[Row]) -> String {
    let head = ["name", "promise", "unit", "n", "min", "p50", "p99", "max", "met"].map(str::to_owned);
    let cells = |row: &Row| {
        let [min, p50, p99, max] = row.numbers().map(short);
        let met =
            if row.off() <= 1.0 { "yes".into() } else { format!("no, by a factor of {:.2}", row.off()) };
        let (name, unit, n) = (row.name.to_owned(), row.unit.to_owned(), row.samples.len().to_string());
        [name, row.promise(), unit, n, min, p50, p99, max, met]
    };
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    let mut out = String::new();
    for line in &lines {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            // Numbers to the right, words to the left. Writing to a String cannot fail.
            let _ = match column {
                3..=7 => write!(out, "{gap}{cell:>width$}"),
                _ => write!(out, "{gap}{cell:<width$}"),
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// Three digits that matter.
fn short(number: f64) -> String {
    let digits = match number.abs() {
        big if big >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{number:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bounds: &[Bound], samples: impl IntoIterator<Item = u32>) -> Row {
        Row::new("x", "ms", bounds, samples.into_iter().map(f64::from).collect())
    }

    #[test]
    fn a_quantile_is_a_sample_by_nearest_rank() {
        assert_eq!(row(&[], (1..=200).rev()).numbers(), [1.0, 100.0, 198.0, 200.0]);
        assert_eq!(row(&[], [7]).numbers(), [7.0; 4]);
    }

    #[test]
    fn the_worst_bound_counts_and_nothing_measured_is_missed() {
        assert_eq!(row(&[Bound::Median(100.0), Bound::P99(99.0)], 1..=200).off(), 2.0);
        assert_eq!(row(&[Bound::Least(50.0)], 1..=200).off(), 0.5);
        assert_eq!(row(&[Bound::Most(1.0)], []).off(), f64::INFINITY);
    }

    #[test]
    fn a_line_is_json_with_the_nine_keys() {
        let text = lines(&[row(&[Bound::Median(1.0), Bound::P99(2.0)], [3])]);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["promise"], "p50 ≤ 1, p99 ≤ 2");
        assert_eq!((line["n"].as_u64(), line["met"].as_bool()), (Some(1), Some(false)));
        assert_eq!(line.as_object().unwrap().len(), 9);
    }
}
