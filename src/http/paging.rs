//! Pages of a list: `limit` and `pageToken` in, `nextPageToken` out.
//!
//! A token is the name or the place of the last entry of its page, so that what is added or deleted meanwhile shifts
//! nothing. It is opaque to clients.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiError;

/// What a client asks of a list without filters.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    page_token: Option<String>,
}

impl PageQuery {
    /// The page of `sorted`, which is in order of `place`, and the token of the next one.
    ///
    /// # Errors
    ///
    /// See [`page`].
    pub(super) fn of<T>(
        &self,
        sorted: Vec<T>,
        place: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        page_at(sorted, self.limit, self.page_token.as_deref(), place)
    }
}

/// The page of `sorted` that begins after `token`, and the token of the next one.
///
/// # Errors
///
/// [`ApiError::Parameter`]: a limit out of range, or a token that was not given out.
pub(super) fn page<T>(
    sorted: Vec<T>,
    limit: Option<usize>,
    token: Option<&str>,
    name: impl Fn(&T) -> &str,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    page_at(sorted, limit, token, |entry| name(entry).to_owned())
}

fn page_at<T>(
    mut sorted: Vec<T>,
    limit: Option<usize>,
    token: Option<&str>,
    place: impl Fn(&T) -> String,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::Parameter("limit: 1 to 1000"));
    }
    if let Some(token) = token {
        let wrong = ApiError::Parameter("pageToken: not one that was given out");
        let Some(after) = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok())
        else {
            return Err(wrong);
        };
        sorted.drain(..sorted.partition_point(|entry| place(entry) <= after));
    }
    let more = sorted.len() > limit;
    sorted.truncate(limit);
    let next = sorted.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(place(last)));
    Ok((sorted, next))
}

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_also_when_entries_come_and_go() {
        let all = |names: &[&'static str]| names.to_vec();
        let (first, token) = page(all(&["a", "b", "c", "d"]), Some(2), None, |name| name).unwrap();
        assert_eq!(first, ["a", "b"]);
        let (rest, end) = page(all(&["a", "aa", "c", "d"]), Some(2), token.as_deref(), |name| name).unwrap();
        assert_eq!((rest, end), (vec!["c", "d"], None));
        assert!(page(all(&["a"]), Some(0), None, |name| name).is_err());
        assert!(page(all(&["a"]), Some(1001), None, |name| name).is_err());
        assert!(page(all(&["a"]), None, Some("%%"), |name| name).is_err());
    }
}
