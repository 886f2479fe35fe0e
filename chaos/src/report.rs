//! A run as one page that a person can read in a browser, without a network: verdict, time line, tables, stories.

use crate::blackbox::{Gate, Outcome};
use crate::checker::{Report, Verdict};
use crate::history::History;
use crate::verdict::ExitVerdict;

mod html;
mod timeline;

use html::{Cell, escaped, table};

/// What a run of this kind can not show.
const GAPS: &[&str] = &[
    "All nodes are processes of one machine: they share its clock hardware, kernel and, without --faults all, its disk.",
    "kill -9 and failing syncs leave what the kernel already had; only power cuts (root) lose it.",
    "Faults happen in real time: the same seed draws the same faults, not the same interleaving. The simulation repeats.",
    "Rotation, membership changes, backups and mixed versions are not exercised: those features do not exist yet.",
    "What clients never asked is not judged.",
];

/// The whole page. `lost`: when no majority could go on, ns.
pub(crate) fn page(history: &History, outcome: &Outcome, lost: &[(u64, u64)]) -> String {
    let mut body = String::new();
    summary(&mut body, outcome);
    body.push_str("<h2>Time line</h2>\n");
    body.push_str(&timeline::legend());
    body.push_str(&timeline::draw(history, lost));
    body.push_str("<h2>Checkers</h2>\n");
    body.push_str(&reports(&outcome.reports));
    stories(&mut body, history, &outcome.reports);
    body.push_str("<h2>Gates</h2>\n");
    body.push_str(&gates(&outcome.gates));
    body.push_str("<h2>Faults</h2>\n");
    body.push_str(&faults(outcome));
    body.push_str("<h2>Operations</h2>\n");
    body.push_str(&operations(outcome));
    body.push_str("<h2>Nodes</h2>\n");
    body.push_str(&nodes(outcome));
    body.push_str("<h2>Known gaps</h2>\n<ul>\n");
    for gap in GAPS {
        body.push_str(&format!("<li>{}</li>\n", escaped(gap)));
    }
    body.push_str("</ul>\n");
    let title = format!("jarvis-chaos: seed {}, {}", outcome.seed, outcome.verdict);
    html::document(&title, &body)
}

fn summary(body: &mut String, outcome: &Outcome) {
    let verdict = outcome.verdict;
    let class = class_of(verdict);
    body.push_str(&format!(
        "<h1>jarvis-chaos run <span class=\"{class}\">{verdict}</span></h1>\n"
    ));
    let explanation = match verdict {
        ExitVerdict::Held => {
            "What was promised is what was seen, and enough happened for that to mean something."
        }
        ExitVerdict::Violated => "A promise was broken: see the stories and the gates below.",
        ExitVerdict::Vacuous => {
            "Nothing can be said: too little happened, or a checker could not tell."
        }
    };
    body.push_str(&format!("<p>{explanation}</p>\n"));
    let rows = [
        ("command", outcome.command.clone()),
        ("commit", outcome.commit.clone()),
        ("nodes", format!("{:?}", outcome.nodes)),
        ("seconds of faults", format!("{:.0}", outcome.seconds)),
        (
            "operations",
            format!("{}, of them {} served", outcome.operations, outcome.served),
        ),
        (
            "bound",
            format!(
                "no violation in {} operations: fewer than 1 in {} with 95 % confidence, for operations such as these",
                outcome.operations,
                outcome.operations / 3
            ),
        ),
        (
            "latency",
            format!(
                "p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms",
                outcome.latency.p50_ms, outcome.latency.p99_ms, outcome.latency.max_ms
            ),
        ),
        (
            "without a majority",
            format!(
                "{:.1} s, by what was done to the cluster",
                outcome.without_quorum_s
            ),
        ),
        (
            "between peers",
            format!("{} KiB through the proxies", outcome.peer_bytes / 1_024),
        ),
    ];
    let rows = rows.into_iter().filter(|(what, _)| {
        // A bound on what happened would be nonsense.
        *what != "bound" || verdict == ExitVerdict::Held
    });
    let rows: Vec<Vec<Cell>> = rows
        .map(|(what, value)| vec![Cell::text(what), Cell::text(value)])
        .collect();
    body.push_str(&table(&[], &rows));
}

fn reports(reports: &[Report]) -> String {
    let row = |report: &Report| {
        let counts = report.counts.iter();
        let counts: Vec<String> = counts
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        let verdict = ExitVerdict::from(report.verdict);
        let word = match report.verdict {
            Verdict::Held => "held",
            Verdict::Unknown => "unknown",
            Verdict::Violated => "violated",
        };
        let mut notes = report.doubts.clone();
        if report.more_stories > 0 {
            notes.push(format!("and {} more violations", report.more_stories));
        }
        vec![
            Cell::text(report.checker),
            Cell::marked(word, class_of(verdict)),
            Cell::text(counts.join(", ")),
            Cell::text(notes.join("; ")),
        ]
    };
    let rows: Vec<Vec<Cell>> = reports.iter().map(row).collect();
    table(
        &["checker", "verdict", "looked at", "could not tell"],
        &rows,
    )
}

fn stories(body: &mut String, history: &History, reports: &[Report]) {
    for report in reports {
        for story in &report.stories {
            let text = story.on_the_time_line(history);
            body.push_str(&format!(
                "<h3>{}: {}</h3>\n<pre>{}</pre>\n",
                escaped(report.checker),
                escaped(&story.what),
                escaped(&text)
            ));
        }
    }
}

fn gates(gates: &[Gate]) -> String {
    let row = |gate: &Gate| {
        vec![
            Cell::text(gate.name),
            Cell::marked(gate.verdict.word(), class_of(gate.verdict)),
            Cell::text(gate.note.clone()),
        ]
    };
    let rows: Vec<Vec<Cell>> = gates.iter().map(row).collect();
    table(&["gate", "verdict", ""], &rows)
}

fn faults(outcome: &Outcome) -> String {
    let mut rows = Vec::new();
    for (kind, count) in &outcome.faults {
        rows.push(vec![
            Cell::text(kind.clone()),
            Cell::number(count.installed),
            Cell::number(count.skipped),
            Cell::number(count.indeterminate),
            Cell::text(count.reasons.join("; ")),
        ]);
    }
    for (kind, reason) in &outcome.left_out {
        rows.push(vec![
            Cell::text(kind.clone()),
            Cell::number(0),
            Cell::number(0),
            Cell::number(0),
            Cell::text(format!("not planned: {reason}")),
        ]);
    }
    let head = ["class", "installed", "skipped", "indeterminate", "why not"];
    table(&head, &rows)
}

fn operations(outcome: &Outcome) -> String {
    let mut rows = Vec::new();
    for (kind, outcomes) in &outcome.operations_by_kind {
        for (what, count) in outcomes {
            rows.push(vec![
                Cell::text(kind.clone()),
                Cell::text(what.clone()),
                Cell::number(*count),
            ]);
        }
    }
    table(&["kind", "came of it", "how often"], &rows)
}

fn nodes(outcome: &Outcome) -> String {
    let mut rows = Vec::new();
    for (node, snapshots) in &outcome.snapshots {
        let purged = if snapshots.log_is_purged { "yes" } else { "no" };
        let deaths = outcome.deaths.iter().filter(|death| death.node == *node);
        let deaths: Vec<String> = deaths
            .map(|death| format!("{}: {}", death.how, death.last_words))
            .collect();
        rows.push(vec![
            Cell::number(*node),
            Cell::number(snapshots.files),
            Cell::text(purged),
            Cell::text(deaths.join("\n")),
        ]);
    }
    let head = ["node", "snapshot files", "log purged", "ended by itself"];
    let mut text = table(&head, &rows);
    if let Some(agreed) = &outcome.agreed {
        text.push_str(&format!(
            "<p>All nodes agree at index {}: state {}, event {} with head {}; {} ms after they were asked. {} names were written or read once more through every node.</p>\n",
            agreed.index,
            escaped(&agreed.state_hash),
            agreed.audit_seq,
            escaped(&agreed.audit_head),
            agreed.after_ms,
            outcome.keys_at_the_end
        ));
    }
    text
}

const fn class_of(verdict: ExitVerdict) -> &'static str {
    match verdict {
        ExitVerdict::Held => "held",
        ExitVerdict::Vacuous => "vacuous",
        ExitVerdict::Violated => "violated",
    }
}

#[cfg(test)]
mod tests;
