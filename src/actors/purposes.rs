//! Orders about the purpose map.

use std::collections::BTreeMap;

use super::{
    Inventory, RegistryHandle,
    audited::{change, changed},
    inventory_store,
    order_error::OrderError,
    registry::ControlError,
    workshop::document,
};
use crate::domain::{ConsentRule, Purpose, Who, limits::PURPOSE_LEVEL_MAX};

/// A purpose and the version of its registry document.
#[derive(Clone, Debug)]
pub struct KnownPurpose {
    pub purpose: Purpose,
    pub version: u64,
}

/// A purpose somebody wants.
#[derive(Clone, Debug)]
pub struct NewPurpose {
    /// None: the first free one above those that are taken, from 1.
    pub level: Option<i32>,
    pub name: String,
    pub description: String,
}

impl RegistryHandle {
    /// Gives a level a name.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn create_purpose(&self, by: Who, new: NewPurpose) -> Result<Purpose, ControlError> {
        self.order(move |workshop, inventory| async move {
            let level = match new.level {
                Some(level) => level,
                None => next_level(inventory.purposes())?,
            };
            let purpose = Purpose { level, name: new.name, description: new.description };
            purpose.validate().map_err(OrderError::from)?;
            let taken =
                |known: &KnownPurpose| known.purpose.level == level || known.purpose.is_called(&purpose.name);
            if inventory.purposes().values().any(taken) {
                return Err(OrderError::PurposeExists.into());
            }
            let name = level.to_string();
            let change = change(inventory_store::PURPOSE, &name, 0, Some(document(&purpose)));
            let action = changed("purpose", &name, "named", Some(purpose.name.clone()));
            workshop.apply(&by, None, action, vec![change]).await?;
            Ok(purpose)
        })
        .await
    }

    /// Takes the name of a level away, unless a derived stream opens it.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn delete_purpose(&self, by: Who, named: String) -> Result<(), ControlError> {
        self.order(move |workshop, inventory| async move {
            let level = inventory.purpose_level(&named)?;
            let known = inventory.purposes().get(&level).ok_or(OrderError::PurposeUnknown(named))?;
            let users = users(&inventory, level);
            if !users.is_empty() {
                return Err(OrderError::PurposeInUse(users).into());
            }
            let name = level.to_string();
            let change = change(inventory_store::PURPOSE, &name, known.version, None);
            workshop.apply(&by, None, changed("purpose", &name, "deleted", None), vec![change]).await?;
            Ok(())
        })
        .await
    }
}

impl Inventory {
    /// The purpose map, by level.
    #[must_use]
    pub fn purposes(&self) -> &BTreeMap<i32, KnownPurpose> {
        &self.purposes
    }

    /// The level that `named` is: a number is a level, with a name in the map or not.
    ///
    /// # Errors
    ///
    /// [`OrderError::PurposeUnknown`]: the map has no such name.
    pub fn purpose_level(&self, named: &str) -> Result<i32, OrderError> {
        if let Ok(level) = named.trim().parse() {
            return Ok(level);
        }
        let found = self.purposes.values().find(|known| known.purpose.is_called(named.trim()));
        let printable = named.chars().filter(|c| !c.is_control()).take(100).collect();
        found.map(|known| known.purpose.level).ok_or(OrderError::PurposeUnknown(printable))
    }
}

/// Names of the streams that open fields of `level`.
fn users(inventory: &Inventory, level: i32) -> String {
    let opens = |rule: &ConsentRule| match rule {
        ConsentRule::Granular(levels) => levels.contains(&level),
        ConsentRule::Cumulative(highest) => level <= *highest,
    };
    let derived =
        inventory.streams().filter(|s| s.definition.derived.as_ref().is_some_and(|d| opens(&d.rule)));
    let mut names: Vec<_> = derived.map(|known| known.definition.name.as_str()).collect();
    names.sort_unstable();
    names.join(", ")
}

fn next_level(purposes: &BTreeMap<i32, KnownPurpose>) -> Result<i32, OrderError> {
    let highest = purposes.keys().next_back().copied().unwrap_or(0);
    if highest < PURPOSE_LEVEL_MAX {
        return Ok(highest.max(0) + 1);
    }
    let free = (1..=PURPOSE_LEVEL_MAX).find(|level| !purposes.contains_key(level));
    free.ok_or(OrderError::PurposesFull)
}
