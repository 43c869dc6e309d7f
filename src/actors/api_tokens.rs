//! Orders about the API tokens of a principal, which keeps them. Called by `actors::registry`, one at a time.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    RegistryHandle,
    principal_orders::{PrincipalOrder, PrincipalOrderError, known, put},
    registry::{ControlError, RegistryState},
};
use crate::{
    clock::DAY_MS,
    crypto::{ClientSecret, secret_hash},
    domain::{ApiToken, PrincipalId, Who, limits, principal::PrincipalError},
};

/// A token somebody wants.
pub struct NewToken {
    pub name: String,
    /// None: `[tokens] api_days`.
    pub days: Option<u32>,
}

/// A token that was made. Its text is told only here.
pub struct CreatedToken {
    pub token: ApiToken,
    pub text: zeroize::Zeroizing<String>,
}

/// Which tokens of a principal.
pub enum TokenChoice {
    One(String),
    All,
}

impl RegistryHandle {
    /// Makes an API token.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn create_token(
        &self,
        by: Who,
        id: PrincipalId,
        new: NewToken,
    ) -> Result<CreatedToken, ControlError> {
        self.ask_principal(|reply| PrincipalOrder::CreateToken { by, id, new, reply }).await
    }

    /// Revokes API tokens: they open nothing from the moment this returns.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn revoke_tokens(
        &self,
        by: Who,
        id: PrincipalId,
        which: TokenChoice,
    ) -> Result<(), ControlError> {
        self.ask_principal(|reply| PrincipalOrder::RevokeTokens { by, id, which, reply }).await
    }
}

pub(super) async fn create(
    state: &RegistryState,
    by: &Who,
    id: &PrincipalId,
    new: NewToken,
) -> Result<CreatedToken, ControlError> {
    let workshop = &state.args.workshop;
    let before = known(&state.args.inventory.load(), id)?;
    let (days, days_max) = (new.days.unwrap_or(workshop.api_days.0), workshop.api_days.1);
    if !(1..=days_max).contains(&days) {
        return Err(PrincipalError::TokenDays(days_max).into());
    }
    if new.name.chars().count() > limits::TITLE_CHARS_MAX || new.name.chars().any(char::is_control) {
        return Err(PrincipalError::Name.into());
    }
    let now = workshop.clock.now();
    let mut after = before.principal.clone();
    if after.tokens.iter().filter(|token| token.is_good(now)).count() >= limits::PRINCIPAL_TOKENS_MAX {
        return Err(PrincipalError::TooManyTokens.into());
    }
    // Those that are no longer good are kept to be seen, but not for ever.
    while after.tokens.len() >= 2 * limits::PRINCIPAL_TOKENS_MAX {
        let oldest = after.tokens.iter().position(|token| !token.is_good(now));
        after.tokens.remove(oldest.expect("less than half of them are good"));
    }
    let token_id = format!("{:016x}", rand::random::<u64>());
    let text = zeroize::Zeroizing::new(format!("slt_{token_id}_{}", ClientSecret::generate().text()));
    let token = ApiToken {
        id: token_id,
        hash: STANDARD.encode(secret_hash(&text)),
        name: new.name,
        created: now,
        expires: now.plus_ms(i64::from(days) * DAY_MS),
        revoked: None,
    };
    after.tokens.push(token.clone());
    put(state, by, &after, before.version, ("API token created", Some(token.id.clone()))).await?;
    Ok(CreatedToken { token, text })
}

pub(super) async fn revoke(
    state: &RegistryState,
    by: &Who,
    id: &PrincipalId,
    which: &TokenChoice,
) -> Result<(), ControlError> {
    let before = known(&state.args.inventory.load(), id)?;
    let mut after = before.principal.clone();
    let now = state.args.workshop.clock.now();
    let mut found = matches!(which, TokenChoice::All);
    for token in &mut after.tokens {
        if matches!(which, TokenChoice::All) || matches!(which, TokenChoice::One(one) if *one == token.id) {
            found = true;
            token.revoked.get_or_insert(now);
        }
    }
    if !found {
        return Err(PrincipalOrderError::TokenUnknown.into());
    }
    let which = match which {
        TokenChoice::All => "all".to_owned(),
        TokenChoice::One(token) => token.clone(),
    };
    put(state, by, &after, before.version, ("API token revoked", Some(which))).await?;
    Ok(())
}
