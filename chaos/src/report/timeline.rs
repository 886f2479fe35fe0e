//! The run over time: a lane for each kind of fault, a lane for each node with its operations and its terms as leader.
//!
//! ```text
//!            0 s        10 s       20 s
//! process      ▆kill_one▆      ▆pause▆
//! cuts               ▆bridge▆
//! weather    ▆latency▆     ▆clock_step▆
//! node 1     ▂▂▂▁ ▂▂▂▂▂▂    operations, stacked: done, refused, failed, unknown; behind them who leads
//! node 2     ▂▂▂▂▂▂▂▂▂▂▂
//! ```

use std::collections::BTreeMap;

use super::html::escaped;
use crate::blackbox::{FaultKind, is_served};
use crate::history::{Fault, FaultResult, History, Operation, Outcome};

/// Wide enough to tell operations a quarter of a second apart.
const PIXELS_PER_S: f64 = 14.0;
const MIN_WIDTH: f64 = 900.0;
/// A wider picture is drawn by no browser; longer runs get fewer pixels for a second.
const MAX_WIDTH: f64 = 16_000.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 24.0;
const FAULT_ROW: f64 = 22.0;
const NODE_ROW: f64 = 64.0;
const BAR: f64 = 44.0;
/// Operations of this long are one bar.
const BUCKET_NS: u64 = 250_000_000;
const NS_PER_S: f64 = 1e9;

/// What came of operations: how it is called, its colour.
const OUTCOMES: [(&str, &str); 4] = [
    ("done", "#3a9d3a"),
    ("refused as it had to be", "#3b78c4"),
    ("failed", "#d98a1f"),
    ("unknown", "#cc3333"),
];
const LEADS: &str = "#e8c94d";
const NO_MAJORITY: &str = "#cc3333";
/// By lane.
const FAULTS: [(&str, &str); 3] = [
    ("process", "#7d4fb3"),
    ("cuts", "#b34f6e"),
    ("weather", "#4f8fb3"),
];

/// What the colours mean.
pub(super) fn legend() -> String {
    let mut text = String::from("<p class=\"legend\">");
    let extra = [("leads", LEADS), ("no majority (band)", NO_MAJORITY)];
    for (what, colour) in OUTCOMES.into_iter().chain(FAULTS).chain(extra) {
        text.push_str(&format!(
            "<span><span class=\"swatch\" style=\"background:{colour}\"></span>{}</span>",
            escaped(what)
        ));
    }
    text.push_str("<span>outlined: did not happen. Point at anything for what it is.</span></p>\n");
    text
}

/// The picture.
pub(super) fn draw(history: &History, lost: &[(u64, u64)]) -> String {
    let end_ns = history.end_ns().max(1);
    let seconds = end_ns as f64 / NS_PER_S;
    let width = (seconds * PIXELS_PER_S).clamp(MIN_WIDTH, MAX_WIDTH);
    let nodes = &history.header.nodes;
    let faults_height = FAULT_ROW * FAULTS.len() as f64;
    let height = TOP + faults_height + NODE_ROW * nodes.len() as f64 + 8.0;
    let mut picture = Picture {
        text: String::new(),
        end_ns,
        width,
        height,
    };
    picture.axis(seconds);
    for (from_ns, to_ns) in lost {
        picture.band(*from_ns, *to_ns);
    }
    for (row, (name, colour)) in FAULTS.iter().enumerate() {
        let top = TOP + FAULT_ROW * row as f64;
        picture.label(name, top + 15.0);
        let faults = history.faults.iter();
        for fault in faults.filter(|fault| lane_of(fault) == row) {
            picture.fault(fault, top, colour);
        }
    }
    for (row, node) in nodes.iter().enumerate() {
        let top = TOP + faults_height + NODE_ROW * row as f64;
        picture.label(&format!("node {node}"), top + 30.0);
        picture.terms(history, *node, top);
        picture.operations(history, *node, top);
        picture.struck(history, *node, top);
    }
    let total = width + LEFT + 20.0;
    format!(
        "<div class=\"scroll\"><svg width=\"{total:.0}\" height=\"{height:.0}\" role=\"img\">\n{}</svg></div>\n",
        picture.text
    )
}

fn lane_of(fault: &Fault) -> usize {
    FaultKind::parse(&fault.kind).map_or(2, FaultKind::lane_number)
}

struct Picture {
    text: String,
    end_ns: u64,
    width: f64,
    height: f64,
}

impl Picture {
    fn x(&self, at_ns: u64) -> f64 {
        LEFT + self.width * (at_ns.min(self.end_ns) as f64 / self.end_ns as f64)
    }

    fn axis(&mut self, seconds: f64) {
        // A label each 10 s, or more where there is no room for that.
        let step = (10.0 * (60.0 * seconds / self.width / 10.0).ceil()).max(10.0) as u64;
        let mut at_s = 0;
        while (at_s as f64) <= seconds {
            let x = self.x(at_s * 1_000_000_000);
            let bottom = self.height;
            self.text.push_str(&format!(
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom:.0}\" stroke=\"currentColor\" stroke-opacity=\"0.12\"/>\
                 <text x=\"{x:.1}\" y=\"14\">{at_s} s</text>\n"
            ));
            at_s += step;
        }
    }

    fn label(&mut self, text: &str, y: f64) {
        let text = escaped(text);
        self.text
            .push_str(&format!("<text x=\"4\" y=\"{y:.0}\">{text}</text>\n"));
    }

    fn band(&mut self, from_ns: u64, to_ns: u64) {
        let (left, right) = (self.x(from_ns), self.x(to_ns));
        let (width, height) = ((right - left).max(1.0), self.height - TOP);
        self.text.push_str(&format!(
            "<rect x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height:.0}\" fill=\"{NO_MAJORITY}\" fill-opacity=\"0.12\"><title>no majority, {}</title></rect>\n",
            span(from_ns, to_ns)
        ));
    }

    fn fault(&mut self, fault: &Fault, top: f64, colour: &str) {
        let end_ns = fault.end_ns.unwrap_or(self.end_ns);
        let (left, right) = (self.x(fault.start_ns), self.x(end_ns));
        let width = (right - left).max(3.0);
        let is_installed = fault.result == FaultResult::Installed;
        let fill = if is_installed { colour } else { "none" };
        let (y, height) = (top + 3.0, FAULT_ROW - 6.0);
        self.text.push_str(&format!(
            "<rect x=\"{left:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{height:.0}\" rx=\"2\" fill=\"{fill}\" stroke=\"{colour}\"><title>{}</title></rect>\n",
            escaped(&in_words(fault))
        ));
        // About six pixels for a letter.
        if width > 6.0 * fault.kind.len() as f64 {
            let (x, y, kind) = (left + 3.0, top + 15.0, escaped(&fault.kind));
            self.text.push_str(&format!(
                "<text x=\"{x:.1}\" y=\"{y:.0}\" style=\"fill:#fff\" pointer-events=\"none\">{kind}</text>\n"
            ));
        }
    }

    /// While the node led: from when it was seen to, until somebody else was.
    fn terms(&mut self, history: &History, node: u64, top: f64) {
        let mut leaders = history.leaders.clone();
        leaders.sort_by_key(|leader| leader.at_ns);
        for (place, leader) in leaders.iter().enumerate() {
            if leader.node != node {
                continue;
            }
            let until_ns = leaders
                .get(place + 1)
                .map_or(self.end_ns, |next| next.at_ns);
            let (left, right) = (self.x(leader.at_ns), self.x(until_ns));
            let (width, y, height) = ((right - left).max(1.0), top + 4.0, BAR + 4.0);
            let term = leader.term;
            self.text.push_str(&format!(
                "<rect x=\"{left:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{height:.0}\" fill=\"{LEADS}\" fill-opacity=\"0.35\"><title>node {node} leads in term {term}, {}</title></rect>\n",
                span(leader.at_ns, until_ns)
            ));
        }
    }

    /// One path for each colour: thousands of bars.
    fn operations(&mut self, history: &History, node: u64, top: f64) {
        let mut buckets: BTreeMap<u64, [u64; 4]> = BTreeMap::new();
        let operations = history.operations.iter();
        for operation in operations.filter(|operation| operation.node == node) {
            let bucket = operation.start_ns / self.bucket_ns();
            buckets.entry(bucket).or_default()[colour_of(operation)] += 1;
        }
        let highest = buckets
            .values()
            .map(|counts| counts.iter().sum::<u64>())
            .max();
        let highest = highest.unwrap_or(1).max(1) as f64;
        let width = (self.width * self.bucket_ns() as f64 / self.end_ns as f64 - 0.5).max(0.5);
        let base = top + BAR + 8.0;
        for (which, (_, colour)) in OUTCOMES.iter().enumerate() {
            let mut path = String::new();
            for (bucket, counts) in &buckets {
                if counts[which] == 0 {
                    continue;
                }
                let below: u64 = counts[..which].iter().sum();
                let x = self.x(bucket * self.bucket_ns()) + width / 2.0;
                let y = base - BAR * below as f64 / highest;
                let height = BAR * counts[which] as f64 / highest;
                path.push_str(&format!("M{x:.1} {y:.1}v-{height:.1}"));
            }
            if !path.is_empty() {
                self.text.push_str(&format!(
                    "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"{width:.1}\" fill=\"none\" pointer-events=\"none\"/>\n"
                ));
            }
        }
    }

    /// A line below the node's operations while something was done to it.
    fn struck(&mut self, history: &History, node: u64, top: f64) {
        let installed = history.faults.iter();
        let installed = installed.filter(|fault| fault.result == FaultResult::Installed);
        for fault in installed.filter(|fault| fault.nodes.contains(&node)) {
            let end_ns = fault.end_ns.unwrap_or(self.end_ns);
            let (left, right) = (self.x(fault.start_ns), self.x(end_ns));
            let lane = lane_of(fault);
            let (width, colour) = ((right - left).max(2.0), FAULTS[lane].1);
            let y = top + BAR + 9.0 + 3.0 * lane as f64;
            self.text.push_str(&format!(
                "<rect x=\"{left:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"2\" fill=\"{colour}\"><title>{}</title></rect>\n",
                escaped(&in_words(fault))
            ));
        }
    }

    /// A bar is at least a pixel wide.
    fn bucket_ns(&self) -> u64 {
        let per_pixel = self.end_ns as f64 / self.width;
        BUCKET_NS.max(per_pixel as u64)
    }
}

fn colour_of(operation: &Operation) -> usize {
    match operation.outcome {
        Outcome::Ok => 0,
        Outcome::Fail if is_served(operation) => 1,
        Outcome::Fail => 2,
        Outcome::Info => 3,
    }
}

fn in_words(fault: &Fault) -> String {
    let result = match fault.result {
        FaultResult::Installed => "",
        FaultResult::Skipped => ", skipped",
        FaultResult::Indeterminate => ", indeterminate",
    };
    let mut text = format!("{}{result}, nodes {:?}", fault.kind, fault.nodes);
    if let Some(end_ns) = fault.end_ns {
        text.push_str(", ");
        text.push_str(&span(fault.start_ns, end_ns));
    }
    if let Some(note) = &fault.note {
        text.push_str(", ");
        text.push_str(note);
    }
    text
}

fn span(from_ns: u64, to_ns: u64) -> String {
    let (from, to) = (from_ns as f64 / NS_PER_S, to_ns as f64 / NS_PER_S);
    format!("{from:.1} to {to:.1} s")
}
