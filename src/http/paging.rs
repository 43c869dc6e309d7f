//! Lists in pages: `limit` and `pageToken` of a request, `nextPageToken` of an answer.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::ApiError;

/// One page of `items`, which are in the order of their keys, and the token of the next page.
///
/// # Errors
///
/// [`ApiError::Parameter`]: the limit is out of range, or the token was not made here.
pub(super) fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> &str,
    limit: Option<usize>,
    token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::Parameter("limit: 1 to 1000"));
    }
    let after = match token {
        None => String::new(),
        Some(token) => {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            text.ok_or(ApiError::Parameter("pageToken: the nextPageToken of the page before"))?
        }
    };
    let mut rest = items.into_iter().filter(|item| after.is_empty() || key(item) > after.as_str());
    let page: Vec<T> = rest.by_ref().take(limit).collect();
    let next = rest.next().and_then(|_| page.last()).map(|last| URL_SAFE_NO_PAD.encode(key(last)));
    Ok((page, next))
}

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_without_gap_or_repeat() {
        let all: Vec<String> = (0..25).map(|n| format!("stream-{n:02}")).collect();
        let (mut seen, mut token, mut pages) = (Vec::new(), None, 0);
        loop {
            let (page, next) = page(all.clone(), String::as_str, Some(10), token.as_deref()).unwrap();
            seen.extend(page);
            pages += 1;
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!((seen, pages), (all, 3));
        assert!(page(vec![String::new()], String::as_str, Some(0), None).is_err());
        assert!(page(vec![String::new()], String::as_str, None, Some("*")).is_err());
    }
}
