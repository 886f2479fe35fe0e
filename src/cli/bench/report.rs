//! What a run found, for people and for scripts.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::LoadArgs;
use super::clock::rounded_milliseconds;
use super::histogram::{Histogram, Quantile};
use super::load::LoadRecord;
use super::mix::Operation;
use crate::cli::Target;
use crate::cli::error::CliError;

/// The result of one load run; its JSON form is described in `benches/README.md`.
#[derive(Debug, Serialize)]
pub(super) struct LoadReport {
    engine: &'static str,
    addresses: Vec<String>,
    clients: u32,
    duration_secs: f64,
    /// Requests per second asked for; `null` in a closed loop.
    rate: Option<u32>,
    mix: String,
    consistency: &'static str,
    value_bytes: u32,
    keys: u32,
    operations: Vec<OperationReport>,
    /// Failed requests by status and error code, or by what happened to the connection.
    errors: BTreeMap<String, u64>,
    /// Requests of an open loop that the connections never came to.
    unsent: u64,
}

/// The result of one operation; latencies are those of requests that succeeded.
#[derive(Debug, Serialize)]
struct OperationReport {
    operation: &'static str,
    succeeded: u64,
    failed: u64,
    per_second: f64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
}

impl LoadReport {
    pub(super) fn new(args: &LoadArgs, target: &Target, record: &LoadRecord) -> Self {
        let operations = Operation::ALL
            .into_iter()
            .filter(|operation| args.mix.contains(*operation))
            .map(|operation| {
                let latencies = &record.latencies[operation.index()];
                let failed = record.failures[operation.index()];
                OperationReport::new(operation, latencies, failed, args.duration)
            })
            .collect();
        Self {
            engine: args.engine.name(),
            addresses: target.urls.clone(),
            clients: args.clients,
            duration_secs: args.duration.as_secs_f64(),
            rate: args.rate,
            mix: args.mix.to_string(),
            consistency: args.consistency.name(),
            value_bytes: args.value_bytes,
            keys: args.keys,
            operations,
            errors: record.errors.clone(),
            unsent: record.unsent,
        }
    }

    /// False for a run that measured nothing.
    pub(super) fn every_operation_succeeded(&self) -> bool {
        self.operations
            .iter()
            .all(|operation| operation.succeeded > 0)
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// `Other` when a number has no JSON form.
    pub(super) fn to_json(&self) -> Result<String, CliError> {
        json_line(self)
    }
}

impl OperationReport {
    fn new(operation: Operation, latencies: &Histogram, failed: u64, duration: Duration) -> Self {
        let quantile = |quantile| rounded_milliseconds(latencies.quantile(quantile));
        let per_second = latencies.count() as f64 / duration.as_secs_f64();
        Self {
            operation: operation.name(),
            succeeded: latencies.count(),
            failed,
            per_second: (per_second * 10.0).round() / 10.0,
            p50_ms: quantile(Quantile::P50),
            p90_ms: quantile(Quantile::P90),
            p99_ms: quantile(Quantile::P99),
            p999_ms: quantile(Quantile::P999),
            max_ms: rounded_milliseconds(latencies.max()),
        }
    }
}

/// Any report as one line of JSON.
///
/// # Errors
/// `Other` when a number has no JSON form.
pub(super) fn json_line(report: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string(report)
        .map_err(|error| CliError::Other(format!("the report can not be written: {error}")))
}

impl fmt::Display for LoadReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = match self.rate {
            Some(rate) => format!("{rate} requests/s (open loop)"),
            None => "closed loop".to_owned(),
        };
        writeln!(
            formatter,
            "{}: {} connections over {} addresses, {} s, {pace}, {}, {} reads, {} keys of {} bytes",
            self.engine,
            self.clients,
            self.addresses.len(),
            self.duration_secs,
            self.mix,
            self.consistency,
            self.keys,
            self.value_bytes,
        )?;
        write!(
            formatter,
            "{:<9} {:>10} {:>8} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "OPERATION", "OK", "FAILED", "OK/S", "P50 MS", "P90 MS", "P99 MS", "P99.9 MS", "MAX MS"
        )?;
        for line in &self.operations {
            write!(
                formatter,
                "\n{:<9} {:>10} {:>8} {:>10.1} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}",
                line.operation,
                line.succeeded,
                line.failed,
                line.per_second,
                line.p50_ms,
                line.p90_ms,
                line.p99_ms,
                line.p999_ms,
                line.max_ms,
            )?;
        }
        for (label, count) in &self.errors {
            write!(formatter, "\nerror: {count} x {label}")?;
        }
        if self.unsent > 0 {
            write!(formatter, "\nnot sent in time: {}", self.unsent)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LoadReport {
        let mut latencies = Histogram::new();
        for milliseconds in 1..=100 {
            latencies.record(Duration::from_millis(milliseconds));
        }
        let read = OperationReport::new(Operation::Read, &latencies, 2, Duration::from_secs(10));
        LoadReport {
            engine: "jarvis",
            addresses: vec!["http://127.0.0.1:8081".to_owned()],
            clients: 1,
            duration_secs: 10.0,
            rate: None,
            mix: "read=1".to_owned(),
            consistency: "linearizable",
            value_bytes: 256,
            keys: 10,
            operations: vec![read],
            errors: BTreeMap::from([("503 no_leader".to_owned(), 2)]),
            unsent: 0,
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_operation_and_each_error() {
        let text = report().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[2].starts_with("read "), "{text}");
        assert_eq!(lines[3], "error: 2 x 503 no_leader");
    }

    #[test]
    fn the_json_form_names_its_units() {
        let value: serde_json::Value = serde_json::from_str(&report().to_json().unwrap()).unwrap();
        assert_eq!(value["operations"][0]["operation"], "read");
        assert_eq!(value["operations"][0]["per_second"], 10.0);
        assert_eq!(value["operations"][0]["max_ms"], 100.0);
        assert_eq!(value["errors"]["503 no_leader"], 2);
        assert_eq!(value["rate"], serde_json::Value::Null);
    }

    #[test]
    fn a_run_without_success_is_no_success() {
        assert!(report().every_operation_succeeded());
        let mut empty = report();
        empty.operations[0].succeeded = 0;
        assert!(!empty.every_operation_succeeded());
    }
}
