//! What a bench found, as a table for people and as JSON for programs.

use std::{collections::BTreeMap, fs};

use serde_json::json;

/// Figures in the order in which they were found.
pub struct Report {
    title: String,
    figures: Vec<(String, f64)>,
}

impl Report {
    /// A report that begins with this line.
    pub fn new(title: String) -> Self {
        println!("{title}");
        Self { title, figures: Vec::new() }
    }

    /// Adds a figure, its unit in the name, and prints it at once: a long run shows how far it is.
    pub fn add(&mut self, name: &str, figure: f64) {
        println!("  {name:<64} {figure:>12.2}");
        self.figures.push((name.to_owned(), figure));
    }

    /// Adds the middle and the two ends of many measurements of the same thing.
    pub fn add_spread(&mut self, name: &str, measured: &[f64]) {
        for (which, share) in [("median", 0.5), ("lowest", 0.0), ("highest", 1.0)] {
            self.add(&format!("{name}, {which}"), percentile(measured, share));
        }
    }

    /// Writes it to `target/bench/<name>.json`.
    pub fn write(self, name: &str) {
        let folder = devcluster::target_dir().join("bench");
        fs::create_dir_all(&folder).unwrap();
        let figures: BTreeMap<_, _> = self.figures.into_iter().collect();
        let document = json!({ "title": self.title, "figures": figures });
        fs::write(folder.join(name).with_extension("json"), serde_json::to_string_pretty(&document).unwrap()).unwrap();
    }
}

/// The measurement below which this share of all lies.
pub fn percentile(measured: &[f64], share: f64) -> f64 {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into what was measured")]
    let index = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// A number that the environment may set.
pub fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
