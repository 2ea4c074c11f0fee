use super::{holds, same};
use crate::{ErrorKind, Result, SecretProvider};

/// Runs the suite over a provider that knows one secret by `(name, value)`, and none by `unknown`.
pub async fn secrets(provider: &dyn SecretProvider, known: (&str, &str), unknown: &str) -> Result<()> {
    let (name, value) = known;
    for _ in 0..2 {
        let read = provider.read(name).await?;
        holds(
            "a stored secret is read as it was stored",
            read.expose() == value,
            &name,
        )?;
    }
    holds(
        "a provider's own form shows no value",
        !format!("{provider:?}").contains(value),
        &name,
    )?;
    let Err(error) = provider.read(unknown).await else {
        return holds("an unknown name is an error", false, &unknown);
    };
    same(
        "an unknown name is not found",
        &error.kind(),
        &ErrorKind::NotFound,
    )?;
    holds(
        "the error says what to do next",
        error.next_step().is_some(),
        &error,
    )?;
    holds(
        "the error names what was asked for",
        error.to_string().contains(unknown)
            || error.context().iter().any(|(_, value)| value.contains(unknown)),
        &error,
    )
}
