//! A file system of each node's own: its power can be cut, and it can be filled. All of it needs root.
//!
//! A power cut is ext4's shutdown without a flush of its journal (`EXT4_IOC_SHUTDOWN`) on a loop device: from then on
//! nothing reaches the medium, and what a remount finds is what was synced. kill -9 loses nothing and proves nothing.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate};

/// Where system tools are, also for a shell without them in its path.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Shuts the file systems down that its arguments lie on. 0x8004587d is `EXT4_IOC_SHUTDOWN`, 2 is "no journal flush".
const SHUT_DOWN: &str = r#"foreach my $path (@ARGV) {
    open(my $handle, "<", $path) or die "open $path: $!\n";
    my $flag = pack("L", 2);
    defined(ioctl($handle, 0x8004587d, $flag)) or die "ioctl $path: $!\n";
}"#;
/// Far more than a node writes in a run; the file below is sparse.
const VOLUME_MEBIBYTES: u64 = 512;
/// The smallest piece that a full disk is filled with: less than this is left.
const LAST_PIECE_BYTES: u64 = 4_096;

/// One node's file system, mounted in the place of its folder.
#[derive(Debug)]
pub(crate) struct Volume {
    device: String,
    at: PathBuf,
    is_mounted: bool,
}

impl Volume {
    /// Makes one in a sparse file, puts what lies in `folder` on it, and itself in the folder's place.
    ///
    /// # Errors
    /// Why this machine can not.
    pub(crate) fn take_over(image: &Path, folder: &Path) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("loop devices need root".to_owned());
        }
        tool("perl", ["-e", "exit 0"])?;
        let text = |error: std::io::Error| error.to_string();
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(image)
            .map_err(text)?;
        file.set_len(VOLUME_MEBIBYTES << 20).map_err(text)?;
        let quietly = ["-q", "-F", "-m", "0"].into_iter().map(OsStr::new);
        tool("mkfs.ext4", quietly.chain([image.as_os_str()]))?;
        let find = ["--find", "--show"].into_iter().map(OsStr::new);
        let device = tool("losetup", find.chain([image.as_os_str()]))?;
        let staging = image.with_extension("staging");
        fs::create_dir_all(&staging).map_err(text)?;
        let mut volume = Self {
            device: device.trim().to_owned(),
            at: staging.clone(),
            is_mounted: false,
        };
        volume.mount()?;
        // It would be the one thing in the folder that is not the node's.
        fs::remove_dir(staging.join("lost+found")).map_err(text)?;
        let all = folder.join(".");
        tool(
            "cp",
            [OsStr::new("-a"), all.as_os_str(), staging.as_os_str()],
        )?;
        volume.unmount()?;
        volume.at = folder.to_owned();
        volume.mount()?;
        Ok(volume)
    }

    /// Mounts it, for root alone (X6).
    ///
    /// # Errors
    /// What mount said.
    pub(crate) fn mount(&mut self) -> Result<(), String> {
        tool("mount", [OsStr::new(&self.device), self.at.as_os_str()])?;
        self.is_mounted = true;
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&self.at, private).map_err(|error| error.to_string())
    }

    /// Takes it off; whoever used it must have ended. The kernel may need a moment after that: then it can be repeated.
    ///
    /// # Errors
    /// What umount said.
    pub(crate) fn unmount(&mut self) -> Result<(), String> {
        if self.is_mounted {
            tool("umount", [self.at.as_os_str()])?;
            self.is_mounted = false;
        }
        Ok(())
    }

    /// Fills it to the last page.
    ///
    /// # Errors
    /// When not even an empty file can be made.
    pub(crate) fn fill(&self) -> Result<(), String> {
        let ballast = File::create(self.ballast()).map_err(|error| error.to_string())?;
        let (mut at, mut piece) = (0, VOLUME_MEBIBYTES << 20);
        while piece >= LAST_PIECE_BYTES {
            match fallocate(&ballast, FallocateFlags::empty(), at, piece) {
                Ok(()) => at += piece,
                Err(_) => piece /= 2,
            }
        }
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// When the file that fills it can not be removed.
    pub(crate) fn relieve(&self) -> Result<(), String> {
        fs::remove_file(self.ballast()).map_err(|error| error.to_string())
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.is_mounted {
            let _left_behind = tool("umount", [OsStr::new("--lazy"), self.at.as_os_str()]);
        }
        let _left_behind = tool("losetup", ["--detach", self.device.as_str()]);
    }
}

/// Cuts the power of all these, in this order.
///
/// # Errors
/// When ext4 can not be shut down.
pub(crate) fn cut_power(volumes: &[&Volume]) -> Result<(), String> {
    let places = volumes.iter().map(|volume| volume.at.as_os_str());
    let script = ["-e", SHUT_DOWN].into_iter().map(OsStr::new);
    tool("perl", script.chain(places)).map(|_| ())
}

/// What a command of the system printed.
fn tool<A: AsRef<OsStr>>(
    name: &'static str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, String> {
    let mut command = Command::new(name);
    match command.env("PATH", SYSTEM_PATH).args(arguments).output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{name}: {}", said.trim()))
        }
        Err(error) => Err(format!("{name}: {error}")),
    }
}
