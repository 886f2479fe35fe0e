//! What a node wrote into its audit trail, read from its own disk.

use std::collections::BTreeMap;
use std::path::Path;

use jarvis_audit::reader::Trail;
use serde_json::Value;

/// Every event that a node has on its disk, oldest first.
///
/// # Panics
/// When the trail can not be read.
pub(crate) fn events(data_dir: &Path) -> Vec<Value> {
    let lines = Trail::from_seq(&data_dir.join("audit"), 1).expect("the trail opens");
    lines
        .map(|line| line.expect("the trail reads on"))
        .map(|line| serde_json::from_str(&line.json).expect("an event is JSON"))
        .collect()
}

/// The events of each request.
pub(crate) fn by_request(events: &[Value]) -> BTreeMap<&str, Vec<&Value>> {
    let mut requests: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in events {
        if let Some(id) = event["request_id"].as_str() {
            requests.entry(id).or_default().push(event);
        }
    }
    requests
}

/// How many events of this name the request left.
pub(crate) fn count(events: &[Value], name: &str, request_id: &str) -> usize {
    events
        .iter()
        .filter(|event| event["event"] == name && event["request_id"] == request_id)
        .count()
}
