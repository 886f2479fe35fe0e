//! DESIGN 10: what a script may rely on in `jarvis-secretsd dev`: its handle, its restarts, its end, its return, its
//! refusals, and that nothing outlives it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test program: real processes live in real time, and a panic is the verdict"
)]

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use jarvis_harness::{Caller, DevOptions, Programs, eventually, phase, programs, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const JARVIS: Programs = programs!();

/// The shipped example: 40 entries.
const TEAM_ENV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/team.env");
/// What `dev` promises after SIGTERM.
const END: Duration = Duration::from_secs(10);
/// A death is seen, and a start made, within a second each; the rest is for a busy machine.
const RESTART: Duration = Duration::from_secs(10);

#[test]
fn dev_is_a_handle_for_scripts() {
    let cluster = JARVIS.dev(&DevOptions {
        nodes: 1,
        ..DevOptions::default()
    });
    let (dir, port) = (cluster.dir(), cluster.api(0).port());

    phase("the handle is private and whole");
    let handle = handle_in(&dir);
    let mode = fs::metadata(dir.join("dev.json")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert_eq!(handle["ready"], true);
    let node = &handle["nodes"][0];
    for file in [&handle["ca_cert"], &node["config"], &node["log"]] {
        assert!(Path::new(file.as_str().unwrap()).is_file(), "{file}");
    }
    assert!(Path::new(node["data_dir"].as_str().unwrap()).is_dir());
    assert_eq!(node["api"], format!("http://127.0.0.1:{port}").as_str());
    let peer = format!("127.0.0.1:{}", port + 1_000);
    assert_eq!(node["peer"], peer.as_str());
    assert!(node["id"].is_u64() && node["pid"].is_u64(), "{node}");
    admin(&handle).write("kept", "example-not-a-secret");

    phase("a node that is killed is back, with its new process in the handle");
    let old = cluster.kill(0);
    within(RESTART, "the handle has a new process", || {
        (cluster.pid(0) != old).then_some(())
    });
    cluster.wait_until_restarted(0, old);
    let mut restarted = handle_in(&dir);
    restarted["nodes"][0]["pid"] = node["pid"].clone();
    assert_eq!(restarted, handle, "nothing but the process changes");

    phase("no node outlives a supervisor that is killed");
    let orphan = cluster.pid(0);
    let dev = Pid::from_raw(cluster.dev_pid()).unwrap();
    kill_process(dev, Signal::KILL).unwrap();
    within(RESTART, "the node is gone", || {
        fs::read(format!("/proc/{orphan}/cmdline"))
            .unwrap_or_default()
            .is_empty()
            .then_some(())
    });

    phase("the directory goes on: token, ports and data");
    let mut again = Dev::start(&dir.with_file_name("again.out"), &["--data", text(&dir)]);
    let found = again.ready(&dir);
    for same in ["root_token", "ca_cert"] {
        assert_eq!(found[same], handle[same]);
    }
    assert_eq!(found["nodes"][0]["api"], handle["nodes"][0]["api"]);
    let read = admin(&found).read("kept").done();
    assert_eq!(read["value"], "example-not-a-secret");
    // In dev the name alone is believed, at a loopback address.
    let by_name = Caller::stranger(api(&found)).with("x-jarvis-client", "admin");
    by_name.read("kept").done();

    phase("another dev on the same ports is refused by their names, and writes nothing");
    let elsewhere = dir.with_file_name("elsewhere");
    let first = port.to_string();
    let arguments = ["--nodes", "1", "--port", &first, "--data", text(&elsewhere)];
    let mut late = Dev::start(&dir.with_file_name("late.out"), &arguments);
    let status = eventually("it is refused", || late.ended());
    assert!(!status.success());
    for address in [format!("127.0.0.1:{port}"), peer] {
        assert!(late.said().contains(&address), "{}", late.said());
    }
    assert!(!elsewhere.exists());

    phase("SIGTERM ends all of it in time, and the handle says so");
    again.ends_in_time();
    let ended = handle_in(&dir);
    assert_eq!(ended["ready"], false);
    assert_eq!(ended["root_token"], handle["root_token"]);
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());

    phase("a directory with other files is no obstacle, and --import is done when it is ready");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("notes.txt"), "mine").unwrap();
    let with_import = [&arguments[..], &["--import", TEAM_ENV]].concat();
    let mut filled = Dev::start(&dir.with_file_name("filled.out"), &with_import);
    let handle = filled.ready(&elsewhere);
    let health = admin(&handle).get("/healthz").done();
    assert_eq!(health["secrets_count"], 40);
    filled.ends_in_time();
    let notes = fs::read_to_string(elsewhere.join("notes.txt")).unwrap();
    assert_eq!(notes, "mine");
}

/// A `dev` of the test's own; its nodes end with it.
struct Dev {
    process: Child,
    output: PathBuf,
}

impl Dev {
    fn start(output: &Path, arguments: &[&str]) -> Self {
        let log = File::create(output).unwrap();
        let process = Command::new(JARVIS.daemon)
            .arg("dev")
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            process,
            output: output.to_owned(),
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits until the handle in this directory is this process's, and ready.
    #[track_caller]
    fn ready(&mut self, dir: &Path) -> Value {
        eventually("dev says that the cluster serves", || {
            if let Some(status) = self.ended() {
                panic!("dev ended ({status}):\n{}", self.said());
            }
            // The file may still be the one of a dev that was killed.
            let is_told = self.said().contains("the cluster serves");
            is_told.then(|| handle_in(dir))
        })
    }

    #[track_caller]
    fn ends_in_time(&mut self) {
        let began = Instant::now();
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = eventually("dev ends after SIGTERM", || self.ended());
        assert!(status.success(), "{status}:\n{}", self.said());
        let took = began.elapsed();
        assert!(took <= END, "{} ms", took.as_millis());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- dev\n{}", self.said());
        }
        let _ended_already = self.process.kill();
        let _ended_already = self.process.wait();
    }
}

#[track_caller]
fn handle_in(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("dev.json")).unwrap()).unwrap()
}

fn api(handle: &Value) -> SocketAddr {
    let url = handle["nodes"][0]["api"].as_str().unwrap();
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

fn admin(handle: &Value) -> Caller {
    Caller::stranger(api(handle)).with_token(handle["root_token"].as_str().unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
