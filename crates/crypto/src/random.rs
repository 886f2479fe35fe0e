//! The one random source of this crate: the operating system's.

/// The operating system gave no random bytes. Nothing was encrypted or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the operating system gave no random bytes, so no key can be made: \
     check that the getrandom system call is allowed here, then try again"
)]
pub struct RandomError {
    source: getrandom::Error,
}

/// Fills `bytes` from the operating system. On error the content of `bytes` must not be used.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(bytes).map_err(|source| RandomError { source })
}

/// `N` public random bytes: a salt, an id.
pub(crate) fn array<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}
