//! Tests of the counters.

use super::*;

/// The families of REQUIREMENTS M.
const FAMILIES: [&str; 25] = [
    "http_requests_total",
    "http_requests_success",
    "http_request_duration_seconds",
    "secrets_total",
    "secrets_created_total",
    "secrets_retrieved_total",
    "secrets_rotated_total",
    "rbac_allowed_total",
    "rbac_denied_total",
    "encryption_ops_total",
    "decryption_ops_total",
    "decryption_errors_total",
    "audit_events_total",
    "requests_refused_total",
    "jarvis_http_requests_by_route_total",
    "jarvis_raft_role",
    "jarvis_raft_term",
    "jarvis_raft_last_log",
    "jarvis_raft_applied",
    "jarvis_raft_peer_lag",
    "jarvis_commit_seconds",
    "jarvis_fsync_seconds",
    "jarvis_sealed",
    "jarvis_certificate_expiry_seconds",
    "jarvis_next_rotation_due_seconds",
];

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

#[test]
fn m_every_family_is_there_from_the_first_scrape() {
    let text = Metrics::new().render();
    for family in FAMILIES {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#') && line.starts_with(family));
        assert!(samples.count() > 0, "{family}\n{text}");
    }
    assert!(has(&text, "http_requests_total 0"), "{text}");
    assert!(
        has(&text, "requests_refused_total{reason=\"sealed\"} 0"),
        "{text}"
    );
    assert!(has(&text, "jarvis_raft_role{role=\"leader\"} 0"), "{text}");
}

#[test]
fn m_the_old_names_have_no_labels_and_count() {
    let metrics = Metrics::new();
    let took = Duration::from_millis(3);
    metrics.http_request("GET", Some("/secret/{name}"), 200, took);
    metrics.http_request("GET", Some("/secret/{name}"), 403, took);
    metrics.secrets_created(2);
    metrics.decrypted(false);
    metrics.rbac(true);
    metrics.set_secrets(7);
    let text = metrics.render();
    for line in [
        "http_requests_total 2",
        "http_requests_success 1",
        "http_request_duration_seconds_count 2",
        "secrets_created_total 2",
        "decryption_ops_total 1",
        "decryption_errors_total 1",
        "rbac_allowed_total 1",
        "rbac_denied_total 0",
        "secrets_total 7",
    ] {
        assert!(has(&text, line), "{line}\n{text}");
    }
}

#[test]
fn a6_no_text_of_a_caller_becomes_a_label() {
    let metrics = Metrics::new();
    metrics.http_request("EXAMPLE", None, 404, Duration::ZERO);
    let text = metrics.render();
    assert!(!text.contains("EXAMPLE"), "{text}");
    assert!(
        text.contains("method=\"other\",route=\"unmatched\",status=\"4xx\"} 1"),
        "{text}"
    );
}

#[test]
fn a6_requests_are_counted_by_method_route_and_class() {
    let metrics = Metrics::new();
    for (method, route, status) in [
        ("GET", Some("/secret/{name}"), 200),
        ("GET", Some("/secret/{name}"), 204),
        ("GET", Some("/secret/{name}"), 404),
        ("DELETE", Some("/secret/{name}"), 200),
        ("GET", None, 404),
    ] {
        metrics.http_request(method, route, status, Duration::ZERO);
    }
    let text = metrics.render();
    for (labels, count) in [
        (r#"method="GET",route="/secret/{name}",status="2xx""#, 2),
        (r#"method="GET",route="/secret/{name}",status="4xx""#, 1),
        (r#"method="DELETE",route="/secret/{name}",status="2xx""#, 1),
        (r#"method="GET",route="unmatched",status="4xx""#, 1),
    ] {
        let line = format!("jarvis_http_requests_by_route_total{{{labels}}} {count}");
        assert!(has(&text, &line), "{line}\n{text}");
    }
}

#[test]
fn rule_10_the_number_of_routes_is_bounded() {
    let metrics = Metrics::new();
    for number in 0..2 * MAX_ROUTES {
        let route = format!("/route/{number}");
        metrics.http_request("GET", Some(&route), 200, Duration::ZERO);
    }
    let text = metrics.render();
    assert_eq!(text.matches("route=\"/route/").count(), MAX_ROUTES);
    assert!(text.contains("route=\"other\""), "{text}");
}

#[test]
fn m_a_peer_that_left_is_no_longer_shown() {
    let metrics = Metrics::new();
    assert!(has(
        &metrics.render(),
        "jarvis_raft_peer_lag{peer=\"none\"} 0"
    ));
    metrics.set_peer_lags(&[(2, 10), (3, 0)]);
    metrics.set_peer_lags(&[(3, 4)]);
    let text = metrics.render();
    assert!(has(&text, "jarvis_raft_peer_lag{peer=\"3\"} 4"), "{text}");
    assert!(!text.contains("peer=\"2\""), "{text}");
    assert!(!text.contains("peer=\"none\""), "{text}");
}

#[test]
fn m_one_role_at_a_time_and_events_never_go_back() {
    let metrics = Metrics::new();
    let mut numbers = RaftNumbers {
        role: "follower",
        term: 3,
        last_log: 20,
        applied: 19,
    };
    metrics.set_raft(numbers);
    numbers.role = "leader";
    metrics.set_raft(numbers);
    metrics.audit_events_up_to(5);
    metrics.audit_events_up_to(4);
    let text = metrics.render();
    for line in [
        "jarvis_raft_role{role=\"leader\"} 1",
        "jarvis_raft_role{role=\"follower\"} 0",
        "jarvis_raft_term 3",
        "jarvis_raft_last_log 20",
        "jarvis_raft_applied 19",
        "audit_events_total 5",
    ] {
        assert!(has(&text, line), "{line}\n{text}");
    }
}
