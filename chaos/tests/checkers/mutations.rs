//! Histories made wrong: what a server with a bug would have told. Not every change makes a history wrong; the
//! exhaustive search says which ones did.

use jarvis_chaos::history::{Answer, Kind, Operation};

use crate::dice::Dice;
use crate::tale::Told;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mutation {
    /// A read answers with another version that there was.
    StaleRead,
    /// Two reads answer with each other's.
    SwappedReads,
    /// A write is told the version of another one.
    LostWrite,
    /// A read shows the value of a write that was refused, or that nobody made.
    FromNowhere,
    /// Two operations change places in time.
    Reordered,
    /// An operation is over sooner.
    EarlierEnd,
    /// A refused compare-and-set is told another version.
    WrongConflict,
    /// A read finds nothing.
    NotFound,
}

impl Mutation {
    pub(crate) const ALL: [Self; 8] = [
        Self::StaleRead,
        Self::SwappedReads,
        Self::LostWrite,
        Self::FromNowhere,
        Self::Reordered,
        Self::EarlierEnd,
        Self::WrongConflict,
        Self::NotFound,
    ];

    /// Changes the history; `false` if it has nothing to change.
    pub(crate) fn apply(self, dice: &mut Dice, operations: &mut [Operation]) -> bool {
        let is_read = |operation: &Operation| operation.kind == Kind::Read && operation.is_ok();
        let is_write = |operation: &Operation| {
            operation.is_ok() && matches!(operation.kind, Kind::Write | Kind::Cas)
        };
        let is_refused = |operation: &Operation| operation.failed_with("conflict");
        match self {
            Self::StaleRead => {
                let pair = (
                    pick(dice, operations, is_read),
                    pick(dice, operations, is_write),
                );
                let (Some(read), Some(write)) = pair else {
                    return false;
                };
                operations[read].answer.version = operations[write].answer.version;
                operations[read].answer.value = operations[write].value.clone();
                operations[read].key = operations[write].key.clone();
            }
            Self::SwappedReads => {
                let pair = (
                    pick(dice, operations, is_read),
                    pick(dice, operations, is_read),
                );
                let (Some(one), Some(other)) = pair else {
                    return false;
                };
                if operations[one].key != operations[other].key {
                    return false;
                }
                let answer = operations[one].answer.clone();
                operations[one].answer = operations[other].answer.clone();
                operations[other].answer = answer;
            }
            Self::LostWrite => {
                let pair = (
                    pick(dice, operations, is_write),
                    pick(dice, operations, is_write),
                );
                let (Some(one), Some(other)) = pair else {
                    return false;
                };
                operations[one].answer.version = operations[other].answer.version;
            }
            Self::FromNowhere => {
                let Some(read) = pick(dice, operations, is_read) else {
                    return false;
                };
                let refused = pick(dice, operations, is_refused);
                let value = refused.and_then(|refused| operations[refused].value.clone());
                operations[read].answer.value =
                    Some(value.unwrap_or_else(|| "nobody's".to_owned()));
            }
            Self::Reordered => {
                let (one, other) = (dice.place(operations.len()), dice.place(operations.len()));
                let times = |operation: &Operation| (operation.start_ns, operation.end_ns);
                let (first, second) = (times(&operations[one]), times(&operations[other]));
                (operations[one].start_ns, operations[one].end_ns) = second;
                (operations[other].start_ns, operations[other].end_ns) = first;
            }
            Self::EarlierEnd => {
                let operation = &mut operations[dice.place(operations.len())];
                let end_ns = operation.end_ns.unwrap_or(operation.start_ns);
                let shorter = dice.below(end_ns - operation.start_ns + 1);
                operation.end_ns = Some(operation.start_ns + shorter);
            }
            Self::WrongConflict => {
                let pair = (
                    pick(dice, operations, is_refused),
                    pick(dice, operations, is_write),
                );
                let (Some(refused), Some(write)) = pair else {
                    return false;
                };
                operations[refused].answer.actual_version = operations[write].answer.version;
            }
            Self::NotFound => {
                let Some(read) = pick(dice, operations, is_read) else {
                    return false;
                };
                let found = operations[read].clone();
                let found = Operation {
                    answer: Answer::default(),
                    ..found
                };
                operations[read] = found.absent();
            }
        }
        true
    }
}

fn pick(
    dice: &mut Dice,
    operations: &[Operation],
    is_right: impl Fn(&Operation) -> bool,
) -> Option<usize> {
    let right = operations.iter().enumerate();
    let right = right.filter(|(_, operation)| is_right(operation));
    let places: Vec<usize> = right.map(|(place, _)| place).collect();
    (!places.is_empty()).then(|| places[dice.place(places.len())])
}
