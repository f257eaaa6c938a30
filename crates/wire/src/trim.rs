//! A trim's body: up to where (`POST {stream}/_trim`).

use serde::Deserialize;

use crate::{offset::OffsetArg, refused::BadRequest};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    offset: &'a str,
}

/// Reads the offset: what lies before it is to go.
pub fn parse(body: &[u8]) -> Result<OffsetArg, BadRequest> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|_| BadRequest::Trim)?;
    OffsetArg::parse(body.offset).ok_or(BadRequest::Trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_and_nothing_else() {
        for (text, want) in [
            (r#"{"offset":"now"}"#, Ok(OffsetArg::Now)),
            (r#"{"offset":"-1"}"#, Ok(OffsetArg::Start)),
            (r#"{"offset":"7"}"#, Err(BadRequest::Trim)),
            (r#"{"offset":7}"#, Err(BadRequest::Trim)),
            (r#"{"offset":"now","x":1}"#, Err(BadRequest::Trim)),
            ("{}", Err(BadRequest::Trim)),
            ("", Err(BadRequest::Trim)),
        ] {
            assert_eq!(parse(text.as_bytes()), want, "{text}");
        }
    }
}
