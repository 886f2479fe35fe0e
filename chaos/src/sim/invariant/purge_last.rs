//! Purge last (rule 7): the trail is durable before the snapshot that stands for it has its name, the snapshot before it has
//! its name, and both before the log behind it goes. Looked at by the disk itself, file by file.

use super::Invariant;
use crate::sim::scene::{Scene, Sight};

pub(super) struct PurgeLast;

impl Invariant for PurgeLast {
    fn name(&self) -> &'static str {
        "purge_last"
    }

    fn see(&mut self, sight: &Sight<'_>, scene: &Scene) -> Result<(), String> {
        match sight {
            Sight::Unsafe { host, what } => Err(format!("{}: {what}", scene.name(*host))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scene::tests::empty;

    #[test]
    fn what_the_disk_noticed_is_told() {
        let sight = Sight::Unsafe {
            host: 1,
            what: "a segment goes, and there is no snapshot",
        };
        let told = PurgeLast.see(&sight, &empty()).unwrap_err();
        assert_eq!(told, "node-b: a segment goes, and there is no snapshot");
        assert!(PurgeLast.see(&Sight::Settled, &empty()).is_ok());
    }
}
