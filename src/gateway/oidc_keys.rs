//! The public keys of the issuer, fetched by one task and read by everybody.
//!
//! Fetched only from the address that the issuer's own discovery document names (OpenID Connect Discovery 1.0),
//! never from one in a token: at the start, when they are old, and when a token names a key that is not among
//! them, that at most once in `[oidc] unknown_key_s`. No redirects, a deadline, a bound on every body.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::config::{Oidc, is_loopback};

/// Keys of the issuer. Cheap to clone.
#[derive(Clone)]
pub(super) struct IssuerKeys {
    known: Arc<ArcSwapOption<JwkSet>>,
    wishes: mpsc::Sender<oneshot::Sender<()>>,
}

/// Why keys could not be fetched. The names of hosts stay in the configuration.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no answer")]
    Request(#[from] reqwest::Error),
    #[error("answer {0}")]
    Status(u16),
    #[error("the answer is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the answer is not the document it should be")]
    Malformed,
    #[error("the discovery document is of another issuer")]
    OtherIssuer,
    #[error("the keys are offered without TLS")]
    WithoutTls,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

struct Fetcher {
    http: reqwest::Client,
    issuer: String,
    known: Arc<ArcSwapOption<JwkSet>>,
}

impl IssuerKeys {
    /// Begins to fetch, on the present runtime; ends when the last clone is dropped.
    pub(super) fn start(config: &Oidc, issuer: &str) -> Result<IssuerKeys, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .timeout(FETCH_DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")));
        if is_loopback(issuer) {
            builder = builder.no_proxy();
        }
        let known = Arc::new(ArcSwapOption::empty());
        let fetcher =
            Fetcher { http: builder.build()?, issuer: issuer.to_owned(), known: Arc::clone(&known) };
        let (wishes, wished) = mpsc::channel(WISHES_MAX);
        let seconds = Duration::from_secs;
        tokio::spawn(fetcher.run(wished, seconds(config.refresh_s), seconds(config.unknown_key_s)));
        Ok(IssuerKeys { known, wishes })
    }

    /// The keys, fetched again first when `kid` is not among them. None: none has ever been fetched.
    pub(super) async fn with(&self, kid: Option<&str>) -> Option<Arc<JwkSet>> {
        let known = self.known.load_full();
        let is_known = known.as_ref().is_some_and(|known| kid.is_none_or(|kid| known.find(kid).is_some()));
        if !is_known {
            let (done, fetched) = oneshot::channel();
            if self.wishes.try_send(done).is_ok() {
                drop(tokio::time::timeout(WISH_DEADLINE, fetched).await);
            }
            return self.known.load_full();
        }
        known
    }
}

impl Fetcher {
    async fn run(
        self,
        mut wished: mpsc::Receiver<oneshot::Sender<()>>,
        refresh: Duration,
        unknown_key: Duration,
    ) {
        let mut last = self.fetch_and_keep().await;
        loop {
            let pause = if self.known.load().is_some() { refresh } else { unknown_key.min(refresh) };
            let wish = tokio::time::timeout_at((last + pause).into(), wished.recv()).await;
            match wish {
                Ok(None) => return,
                Ok(Some(done)) => {
                    if last.elapsed() >= unknown_key {
                        last = self.fetch_and_keep().await;
                    }
                    // Who asked may have gone.
                    done.send(()).unwrap_or_default();
                }
                Err(_) => last = self.fetch_and_keep().await,
            }
        }
    }

    /// Fetches once; what was known stays when that fails. Returns when it was tried.
    async fn fetch_and_keep(&self) -> Instant {
        match self.fetch().await {
            Ok(keys) => self.known.store(Some(Arc::new(keys))),
            Err(error) => tracing::warn!(%error, "the keys of the issuer cannot be fetched"),
        }
        Instant::now()
    }

    async fn fetch(&self) -> Result<JwkSet, FetchError> {
        let base = self.issuer.trim_end_matches('/');
        let found: Discovery = self.document(&format!("{base}/.well-known/openid-configuration")).await?;
        if found.issuer != self.issuer {
            return Err(FetchError::OtherIssuer);
        }
        let plain_is_near = is_loopback(&self.issuer) && is_loopback(&found.jwks_uri);
        if !found.jwks_uri.starts_with("https://") && !plain_is_near {
            return Err(FetchError::WithoutTls);
        }
        let published: Value = self.document(&found.jwks_uri).await?;
        let published = published.get("keys").and_then(Value::as_array).ok_or(FetchError::Malformed)?;
        // A key of a kind that is not known here must not hide the others.
        let keys = published.iter().take(KEYS_MAX);
        Ok(JwkSet { keys: keys.filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok()).collect() })
    }

    async fn document<T: DeserializeOwned>(&self, url: &str) -> Result<T, FetchError> {
        let mut response = self.http.get(url).send().await?;
        if response.status().as_u16() != 200 {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            body.extend_from_slice(&piece);
            if body.len() > BODY_BYTES_MAX {
                return Err(FetchError::TooLarge);
            }
        }
        serde_json::from_slice(&body).map_err(|_| FetchError::Malformed)
    }
}

/// One fetch, from the connection to the last byte, and how long a request waits for one.
const FETCH_DEADLINE: Duration = Duration::from_secs(5);
const WISH_DEADLINE: Duration = Duration::from_secs(11);
const BODY_BYTES_MAX: usize = 256 << 10;
/// Keys of an issuer that are looked at.
const KEYS_MAX: usize = 100;
/// Requests that may wait for a fetch at a time; others take what is known.
const WISHES_MAX: usize = 64;
