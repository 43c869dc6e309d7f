//! The switch that stops the node: tripped where going on would break a promise.

use std::sync::Arc;

use tokio::sync::watch;

/// Trips once; the first reason stays. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FatalSwitch(Arc<watch::Sender<Option<String>>>);

impl Default for FatalSwitch {
    fn default() -> FatalSwitch {
        FatalSwitch(Arc::new(watch::Sender::new(None)))
    }
}

impl FatalSwitch {
    /// Stops the node because of `reason`, which must hold nothing personal.
    pub fn trip(&self, reason: &str) {
        self.0.send_if_modified(|tripped| {
            let first = tripped.is_none();
            if first {
                tracing::error!(reason, "the node stops");
                *tripped = Some(reason.to_owned());
            }
            first
        });
    }

    /// Why the node stops, if it does.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until the switch is tripped.
    pub async fn tripped(&self) -> String {
        let mut watch = self.0.subscribe();
        match watch.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }
}
