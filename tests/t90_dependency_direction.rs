//! The house keeps its shape: which crate may depend on which, which module may name which, and how
//! long a file may be.
//!
//! Reads the manifests and the sources. An arrow that is not in the tables below fails the test; a
//! new crate needs a row there first.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crate → the crates of ours it may depend on. Dev-dependencies count too: a test that needs more
/// belongs higher up.
const CRATE_ARROWS: &[(&str, &[&str])] = &[
    ("jarvis-domain", &[]),
    ("jarvis-disk", &[]),
    ("jarvis-wire", &[]),
    ("jarvis-mutants", &[]),
    // It knows the programs from outside only.
    ("jarvis-harness", &[]),
    ("jarvis-crypto", &["jarvis-domain"]),
    ("jarvis-audit", &["jarvis-domain", "jarvis-disk"]),
    (
        "jarvis-cluster",
        &["jarvis-audit", "jarvis-domain", "jarvis-disk"],
    ),
    (
        "jarvis-secretsd",
        &[
            "jarvis-audit",
            "jarvis-cluster",
            "jarvis-crypto",
            "jarvis-disk",
            "jarvis-domain",
            "jarvis-harness",
            "jarvis-wire",
        ],
    ),
];

/// What every crate may depend on: in a program that is shipped nothing of it is left.
const ANYONES: &[&str] = &["jarvis-mutants"];

/// Crates for tests: nothing that is shipped may depend on them.
const TEST_ONLY: &[&str] = &["jarvis-harness"];

/// The tables of dependencies in a manifest, or in its `[target.…]`.
const SHIPPED_KINDS: &[&str] = &["dependencies", "build-dependencies"];
const TEST_KINDS: &[&str] = &["dev-dependencies"];

/// Module of the root package → what it must not name. `api → service → {crypto, cluster}`,
/// `rotation → service`; the command line talks to a server, it does not contain one.
const FORBIDDEN_NAMES: &[(&str, &[&str])] = &[
    (
        "api",
        &[
            "jarvis_cluster",
            "jarvis_crypto",
            "crate::cli",
            "crate::server",
            "crate::rotation",
        ],
    ),
    ("service", &["crate::api", "crate::cli", "crate::server"]),
    ("rotation", &["crate::api", "crate::cli", "crate::server"]),
    (
        "cli",
        &[
            "crate::api",
            "crate::service",
            "crate::server",
            "crate::rotation",
        ],
    ),
    (
        "config",
        &[
            "crate::api",
            "crate::service",
            "crate::server",
            "crate::cli",
            "jarvis_cluster",
        ],
    ),
    (
        "policy_file",
        &[
            "crate::api",
            "crate::service",
            "crate::server",
            "crate::cli",
        ],
    ),
];

/// A longer file is split.
const MAX_LINES: usize = 600;

/// Where product code lies, and what all tests stand on.
const SOURCE_FOLDERS: &[&str] = &["src", "cluster", "crates", "tests/harness"];

#[test]
fn manifests_have_no_new_arrow() {
    let mut problems = Vec::new();
    for manifest in manifests() {
        let text = fs::read_to_string(&manifest).unwrap();
        let table: toml::Table = text.parse().unwrap();
        problems.extend(new_arrows(&table));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_crate_of_the_workspace_has_its_row() {
    let named: BTreeSet<String> = manifests()
        .iter()
        .map(|manifest| fs::read_to_string(manifest).unwrap())
        .map(|text| package_name(&text.parse::<toml::Table>().unwrap()))
        .collect();
    let rows: BTreeSet<String> = CRATE_ARROWS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(named, rows);
}

#[test]
fn modules_name_only_what_lies_below_them() {
    let mut problems = Vec::new();
    for file in rust_files(&root().join("src")) {
        let inside = file.strip_prefix(root().join("src")).unwrap();
        let first = inside
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy();
        let module = first.trim_end_matches(".rs");
        let text = fs::read_to_string(&file).unwrap();
        for name in forbidden_names_in(module, &text) {
            problems.push(format!("{} names {name}", inside.display()));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Keys that a seed makes are for simulations: one place offers them, and nothing that is shipped takes them (X1).
#[test]
fn what_is_shipped_draws_from_the_operating_system() {
    let offers = Path::new("crates/crypto/src/random.rs");
    let mut found = BTreeSet::new();
    for folder in ["src", "cluster/src", "crates"] {
        for file in rust_files(&root().join(folder)) {
            let name = file.strip_prefix(root()).unwrap().to_owned();
            let is_test = name.components().any(|part| part.as_os_str() == "tests");
            let code = without_comments(&fs::read_to_string(&file).unwrap());
            if !is_test && code.contains("danger_seeded_for_simulation") {
                found.insert(name);
            }
        }
    }
    assert_eq!(found, BTreeSet::from([offers.to_owned()]));
}

#[test]
fn files_are_short_and_finished() {
    let mut problems = Vec::new();
    let mut seen = 0;
    for folder in SOURCE_FOLDERS {
        for file in rust_files(&root().join(folder)) {
            seen += 1;
            let text = fs::read_to_string(&file).unwrap();
            let name = file.strip_prefix(root()).unwrap().display().to_string();
            problems.extend(shape_problems(&name, &text));
        }
    }
    assert!(
        seen > 10,
        "only {seen} files found: this test looks at the wrong folder"
    );
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_checks_can_fail() {
    let table: toml::Table =
        "[package]\nname = \"jarvis-domain\"\n[dev-dependencies]\njarvis-disk = \"1\"\n"
            .parse()
            .unwrap();
    assert_eq!(
        new_arrows(&table),
        ["jarvis-domain must not depend on jarvis-disk"]
    );
    let everyone = "[package]\nname = \"jarvis-domain\"\n[dependencies]\njarvis-mutants = \"1\"\n";
    assert!(new_arrows(&everyone.parse().unwrap()).is_empty());
    let table: toml::Table = "[package]\nname = \"jarvis-new\"\n".parse().unwrap();
    assert_eq!(new_arrows(&table).len(), 1);
    for (kind, problems) in [("dependencies", 1), ("dev-dependencies", 0)] {
        let text =
            format!("[package]\nname = \"jarvis-secretsd\"\n[{kind}]\njarvis-harness = \"1\"\n");
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(new_arrows(&table).len(), problems, "{kind}");
    }

    let grouped = "use crate::{\n    config::Config,\n    service::{self, secrets},\n};\n";
    assert_eq!(forbidden_names_in("cli", grouped), ["crate::service"]);
    assert_eq!(
        forbidden_names_in("cli", "let x = crate::api::error::map(e);"),
        ["crate::api"]
    );
    assert_eq!(
        forbidden_names_in("api", "use jarvis_crypto::keyring::Keyring;"),
        ["jarvis_crypto"]
    );
    assert!(forbidden_names_in("api", "// jarvis_crypto is below\n//! crate::cli").is_empty());
    assert!(forbidden_names_in("cli", "use crate::api_client::Client;").is_empty());

    assert_eq!(shape_problems("src/a/mod.rs", "").len(), 1);
    assert_eq!(
        shape_problems("src/a.rs", &"\n".repeat(MAX_LINES + 1)).len(),
        1
    );
    assert_eq!(
        shape_problems("src/a.rs", concat!("fn f() { to", "do!() }")).len(),
        1
    );
    assert!(shape_problems("src/a.rs", "fn f() {}\n").is_empty());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The manifests of all members of the workspace.
fn manifests() -> Vec<PathBuf> {
    let workspace: toml::Table = fs::read_to_string(root().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|member| root().join(member.as_str().unwrap()).join("Cargo.toml"))
        .collect()
}

fn package_name(manifest: &toml::Table) -> String {
    manifest["package"]["name"].as_str().unwrap().to_owned()
}

fn new_arrows(manifest: &toml::Table) -> Vec<String> {
    let name = package_name(manifest);
    let arrows: BTreeMap<&str, &[&str]> = CRATE_ARROWS.iter().copied().collect();
    let Some(allowed) = arrows.get(name.as_str()) else {
        return vec![format!("{name} has no row in CRATE_ARROWS")];
    };
    let ours =
        |dependency: &&String| dependency.starts_with("jarvis-") && dependency.as_str() != name;
    let shipped = dependencies(manifest, SHIPPED_KINDS);
    let for_tests = dependencies(manifest, TEST_KINDS);
    let is_new = |dependency: &&String| {
        let dependency = dependency.as_str();
        !(allowed.contains(&dependency) || ANYONES.contains(&dependency))
            || TEST_ONLY.contains(&dependency) && shipped.contains(dependency)
    };
    shipped
        .union(&for_tests)
        .filter(ours)
        .filter(is_new)
        .map(|dependency| format!("{name} must not depend on {dependency}"))
        .collect()
}

/// The names in the tables of these kinds, those under `[target.…]` included.
fn dependencies(manifest: &toml::Table, kinds: &[&str]) -> BTreeSet<String> {
    let mut tables = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        tables.extend(targets.values().filter_map(toml::Value::as_table));
    }
    let mut names = BTreeSet::new();
    for table in tables {
        for kind in kinds {
            if let Some(dependencies) = table.get(*kind).and_then(toml::Value::as_table) {
                names.extend(dependencies.keys().cloned());
            }
        }
    }
    names
}

fn forbidden_names_in(module: &str, text: &str) -> Vec<&'static str> {
    let forbidden = FORBIDDEN_NAMES.iter().find(|(name, _)| *name == module);
    let Some((_, forbidden)) = forbidden else {
        return Vec::new();
    };
    let code = without_comments(text);
    let imported = imports(&code);
    forbidden
        .iter()
        .copied()
        .filter(|name| names(&code, name) || imported.iter().any(|path| names(path, name)))
        .collect()
}

/// Whether the path occurs as a whole: `crate::api` in `crate::api::error`, not in
/// `crate::api_client`.
fn names(code: &str, path: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    code.match_indices(path).any(|(start, _)| {
        let before = code[..start].bytes().next_back();
        let after = code[start + path.len()..].bytes().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every path that a `use` line imports, groups written out.
fn imports(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (start, _) in code.match_indices("use ") {
        let is_statement = code[..start]
            .bytes()
            .next_back()
            .is_none_or(|byte| byte.is_ascii_whitespace());
        if let Some(end) = code[start..].find(';').filter(|_| is_statement) {
            let tree: String = code[start + 4..start + end]
                .chars()
                .filter(|c| !c.is_whitespace())
                .collect();
            write_out("", &tree, &mut paths);
        }
    }
    paths
}

fn write_out(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some(open) = tree.find('{') else {
        paths.push(format!("{prefix}{tree}"));
        return;
    };
    let inner = tree[open + 1..]
        .strip_suffix('}')
        .unwrap_or(&tree[open + 1..]);
    let prefix = format!("{prefix}{}", &tree[..open]);
    let (mut depth, mut start) = (0_usize, 0);
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                write_out(&prefix, &inner[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    write_out(&prefix, &inner[start..], paths);
}

fn shape_problems(name: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let unfinished = concat!("to", "do!(");
    let mut problems = Vec::new();
    if name.ends_with("/mod.rs") {
        problems.push(format!(
            "{name}: write foo.rs beside foo/ instead of mod.rs"
        ));
    }
    if lines > MAX_LINES {
        problems.push(format!("{name}: {lines} lines; split it past {MAX_LINES}"));
    }
    if text.contains(unfinished) {
        problems.push(format!("{name}: something is left to do"));
    }
    problems
}

/// All Rust files below a folder, sorted; build results are left out.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && name != "target" {
                pending.push(path);
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
