//! Key epochs (X2): a value that is written is under the epoch that is current at its entry. One under an older epoch is
//! refused, so that an epoch can be retired once its versions have moved.

use jarvis_domain::command::{Change, Command};
use jarvis_domain::outcome::{Outcome, Reply};

use super::Invariant;
use crate::sim::scene::{Scene, Sight};

pub(super) struct Epochs;

impl Invariant for Epochs {
    fn name(&self) -> &'static str {
        "epochs"
    }

    fn see(&mut self, sight: &Sight<'_>, _scene: &Scene) -> Result<(), String> {
        let Sight::Committed { entry } = sight else {
            return Ok(());
        };
        let id = entry.standing.id;
        let mut current = entry.epoch_before;
        for (command, reply) in entry.commands.iter().zip(&entry.replies) {
            match written_under(command, reply, id.index) {
                Some(epoch) if epoch != current => {
                    return Err(format!(
                        "entry {id} writes a value under epoch {epoch} while epoch {current} is current"
                    ));
                }
                _ => {}
            }
            current = begun(command, reply).unwrap_or(current);
        }
        Ok(())
    }
}

/// The first epoch that this command writes a value under, if it takes effect here: a repeated request is answered with what
/// its first attempt did elsewhere. (Re-encryption always goes to the current epoch, by the same check.)
fn written_under(command: &Command, reply: &Reply, index: u64) -> Option<u32> {
    let Command::Mutate(mutation) = command else {
        return None;
    };
    if reply.log.index != index || matches!(reply.outcome, Outcome::Rejected(_)) {
        return None;
    }
    match &mutation.change {
        Change::Write(writes) => writes.iter().map(|write| write.value.epoch).min(),
        Change::Rewrap { value, .. } => Some(value.epoch),
        _ => None,
    }
}

/// The epoch that this command begins.
fn begun(command: &Command, reply: &Reply) -> Option<u32> {
    let Command::Mutate(mutation) = command else {
        return None;
    };
    match (&mutation.change, &reply.outcome) {
        (_, Outcome::Rejected(_)) => None,
        (Change::AddEpoch { number, .. }, _) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jarvis_domain::command::{Caller, Mutation, Write};
    use jarvis_domain::name::{ClientId, SecretName};
    use jarvis_domain::outcome::{LogRef, Rejection};
    use jarvis_domain::secret::{About, SealedValue};
    use jarvis_domain::token::Credential;

    use super::*;
    use crate::sim::replica::{Committed, standing};
    use crate::sim::scene::tests::empty;

    fn command(change: Change) -> Command {
        Command::Mutate(Mutation {
            caller: Caller {
                client: ClientId::parse("admin").unwrap(),
                credential: Credential::System,
                request_id: "r".to_owned(),
            },
            idempotency: None,
            change,
        })
    }

    fn write(epoch: u32) -> Command {
        let value = SealedValue {
            version_id: [0; 32],
            epoch,
            ciphertext: Vec::new(),
            binary: false,
        };
        command(Change::Write(vec![Write {
            name: SecretName::parse("a").unwrap(),
            value,
            cas: None,
            about: About::default(),
        }]))
    }

    fn add(number: u32) -> Command {
        command(Change::AddEpoch {
            number,
            wrapped: Vec::new(),
        })
    }

    fn see(commands: Vec<(Command, Outcome)>) -> Result<(), String> {
        let scene = empty();
        let standing = standing(scene.replica.state());
        let (commands, outcomes): (Vec<_>, Vec<_>) = commands.into_iter().unzip();
        let replies = outcomes.into_iter().map(|outcome| Reply {
            log: LogRef::default(),
            audit_seq: 0,
            time: 0,
            outcome,
        });
        let entry = Committed {
            standing,
            time_before: 0,
            epoch_before: 1,
            envelope: None,
            commands,
            replies: replies.collect(),
            was_skipped: false,
        };
        Epochs.see(&Sight::Committed { entry: &entry }, &scene)
    }

    #[test]
    fn a_value_under_an_old_epoch_is_noticed() {
        let done = || Outcome::Done;
        assert!(
            see(vec![
                (write(1), done()),
                (add(2), done()),
                (write(2), done())
            ])
            .is_ok()
        );
        assert!(see(vec![(add(2), done()), (write(1), done())]).is_err());
        let refused = Outcome::Rejected(Rejection::StaleEpoch { current: 2 });
        assert!(see(vec![(add(2), done()), (write(1), refused)]).is_ok());
        let not_added = Outcome::Rejected(Rejection::NotFound);
        assert!(see(vec![(add(2), not_added), (write(1), done())]).is_ok());
    }
}
