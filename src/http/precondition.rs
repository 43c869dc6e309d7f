//! Optimistic concurrency (RFC 9110, 8.8.3 and 13.1.1): a document's version is its strong `ETag`.

use actix_web::http::header::{HeaderMap, HeaderValue, IF_MATCH};

use super::{ApiError, ingest::text};
use crate::actors::Expected;

/// The `ETag` of a version.
pub(super) fn etag(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes")
}

/// The versions that `If-Match` names; none: any. A weak or foreign tag matches no version.
///
/// # Errors
///
/// [`ApiError::HeaderInvalid`]: given twice, or not a list of tags.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Expected, ApiError> {
    let Some(value) = text(headers, IF_MATCH.as_str())? else { return Ok(None) };
    if value.trim() == "*" {
        return Ok(None);
    }
    let mut versions = Vec::new();
    for tag in value.split(',').map(str::trim) {
        let strong = tag.strip_prefix("W/").unwrap_or(tag);
        let inner = strong.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let inner = inner.filter(|inner| !inner.contains('"')).ok_or(ApiError::HeaderInvalid)?;
        if strong.len() == tag.len()
            && let Ok(version) = inner.parse()
        {
            versions.push(version);
        }
    }
    Ok(Some(versions))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderMap;

    use super::*;

    #[test]
    fn tags_are_read_as_versions() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, HeaderValue::from_str(value).unwrap());
            if_match(&headers)
        };
        assert_eq!(read("\"7\"").unwrap(), Some(vec![7]));
        assert_eq!(read("\"7\", \"9\"").unwrap(), Some(vec![7, 9]));
        assert_eq!(read("*").unwrap(), None);
        assert_eq!(read("W/\"7\"").unwrap(), Some(vec![]), "a weak tag never matches");
        assert_eq!(read("\"abc\"").unwrap(), Some(vec![]));
        for wrong in ["7", "", "\"7", "\"7\" \"8\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
    }
}
