//! Disks that a test may fill, or cut the power of. All of it needs root.
//!
//! A power cut is ext4's shutdown (`EXT4_IOC_SHUTDOWN` without a flush of the journal) on a loop device: from then on
//! nothing reaches the medium, and what a remount finds is what was synced. `kill -9` loses nothing and proves nothing.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::eventually;

/// Where system tools are, also for a shell without them in its path.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Shuts the file systems down that its arguments lie on. 0x8004587d is `EXT4_IOC_SHUTDOWN`, 2 is "no journal flush".
const SHUT_DOWN: &str = r#"foreach my $path (@ARGV) {
    open(my $handle, "<", $path) or die "open $path: $!\n";
    my $flag = pack("L", 2);
    defined(ioctl($handle, 0x8004587d, $flag)) or die "ioctl $path: $!\n";
}"#;

/// Bytes written at once while a disk is filled.
const FILL_CHUNK: usize = 64 * 1024;

/// Whether this process may mount.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A small disk in memory.
#[derive(Debug)]
pub struct MemoryDisk {
    /// Where it is mounted.
    pub at: PathBuf,
}

impl MemoryDisk {
    /// Mounts one.
    ///
    /// # Errors
    /// Why this machine can not.
    pub fn mount(at: PathBuf, mebibytes: u32) -> Result<Self, String> {
        if !is_root() {
            return Err("mounting needs root".to_owned());
        }
        fs::create_dir(&at).map_err(|error| error.to_string())?;
        let options = format!("size={mebibytes}m,mode=700");
        tool("mount")
            .args(["-t", "tmpfs", "-o", options.as_str(), "tmpfs"])
            .arg(&at)
            .run()?;
        Ok(Self { at })
    }

    /// Fills it but for so many bytes.
    pub fn fill(&self, leave: u64) {
        let mut file = File::create(self.ballast()).unwrap();
        while file.write_all(&[0; FILL_CHUNK]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(leave)).unwrap();
    }

    /// Makes room again.
    pub fn relieve(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for MemoryDisk {
    fn drop(&mut self) {
        let _ = tool("umount").arg("--lazy").arg(&self.at).run();
    }
}

/// An ext4 file system on a loop device, whose power can be cut.
#[derive(Debug)]
pub struct Volume {
    device: String,
    mounted_at: Option<PathBuf>,
}

impl Volume {
    /// Makes one in a sparse file, not mounted.
    ///
    /// # Errors
    /// Why this machine can not.
    pub fn make(image: &Path, mebibytes: u64) -> Result<Self, String> {
        if !is_root() {
            return Err("loop devices need root".to_owned());
        }
        tool("perl").args(["-e", "exit 0"]).run()?;
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(image)
            .map_err(|error| error.to_string())?;
        file.set_len(mebibytes << 20)
            .map_err(|error| error.to_string())?;
        tool("mkfs.ext4").args(["-q", "-F"]).arg(image).run()?;
        let device = tool("losetup")
            .args(["--find", "--show"])
            .arg(image)
            .run()?;
        Ok(Self {
            device: device.trim().to_owned(),
            mounted_at: None,
        })
    }

    /// Mounts it there, for root alone (X6).
    ///
    /// # Errors
    /// Why this machine can not.
    pub fn mount(&mut self, at: &Path) -> Result<(), String> {
        tool("mount").arg(&self.device).arg(at).run()?;
        self.mounted_at = Some(at.to_owned());
        fs::set_permissions(at, fs::Permissions::from_mode(0o700))
            .map_err(|error| error.to_string())
    }

    /// Takes it off; whoever used it must have ended.
    pub fn unmount(&mut self) {
        let Some(at) = self.mounted_at.take() else {
            return;
        };
        // The kernel may need a moment to let go of a killed process's files.
        let what = format!("{} can be unmounted", at.display());
        eventually(&what, || tool("umount").arg(&at).run().ok());
    }

    /// Puts what lies in a folder on it, and itself in the folder's place.
    ///
    /// # Errors
    /// Why this machine can not.
    pub fn take_over(&mut self, folder: &Path, staging: &Path) -> Result<(), String> {
        fs::create_dir(staging).map_err(|error| error.to_string())?;
        self.mount(staging)?;
        // It would be the one thing in the folder that is not the node's.
        fs::remove_dir(staging.join("lost+found")).map_err(|error| error.to_string())?;
        tool("cp")
            .arg("-a")
            .arg(folder.join("."))
            .arg(staging)
            .run()?;
        self.unmount();
        self.mount(folder)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Some(at) = self.mounted_at.take() {
            let _ = tool("umount").arg("--lazy").arg(&at).run();
        }
        let _ = tool("losetup").arg("--detach").arg(&self.device).run();
    }
}

/// Cuts the power of all these volumes, in this order.
pub fn cut_power(volumes: &[&Volume]) {
    let places = volumes.iter().map(|volume| {
        let place = volume.mounted_at.as_ref();
        place.expect("power is cut of mounted volumes")
    });
    let cut = tool("perl").args(["-e", SHUT_DOWN]).args(places).run();
    cut.expect("ext4 can be shut down");
}

/// A command of the system.
struct Tool {
    name: &'static str,
    command: Command,
}

fn tool(name: &'static str) -> Tool {
    let mut command = Command::new(name);
    command.env("PATH", SYSTEM_PATH);
    Tool { name, command }
}

impl Tool {
    fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// What it printed.
    fn run(mut self) -> Result<String, String> {
        match self.command.output() {
            Ok(output) if output.status.success() => {
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!("{}: {}", self.name, said.trim()))
            }
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }
}
