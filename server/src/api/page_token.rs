//! The token that continues a list: where it stands, at which revision, and of which query. Opaque to clients, checked on return.

use super::error::ApiError;
use shoal_store::port::Revision;
use uuid::Uuid;

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken {
    /// All pages show this revision.
    pub revision: Revision,
    /// Which of the query's key ranges comes next.
    pub source: usize,
    /// The last key read in that range; empty at its start.
    pub last_key: String,
    /// Of the query that began the list; another query cannot go on with its token.
    pub query: Uuid,
}

impl PageToken {
    /// As text.
    pub fn encode(&self) -> String {
        let text = format!("{}\n{}\n{}\n{}", self.revision, self.source, self.query, self.last_key);
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    /// From text. `query` is that of the request it came with.
    pub fn decode(text: &str, query: Uuid) -> Result<PageToken, ApiError> {
        let token = unhex(text).and_then(|plain| parse(&plain));
        match token {
            None => Err(ApiError::field("page_token", "must be a next_page_token as it was returned")),
            Some(token) if token.query != query => Err(ApiError::field(
                "page_token",
                "must come with the same states, user and order as the page before",
            )),
            Some(token) => Ok(token),
        }
    }
}

fn parse(plain: &str) -> Option<PageToken> {
    let mut parts = plain.splitn(4, '\n');
    Some(PageToken {
        revision: parts.next()?.parse().ok().filter(|revision| *revision > 0)?,
        source: parts.next()?.parse().ok()?,
        query: Uuid::parse_str(parts.next()?).ok()?,
        last_key: parts.next()?.to_owned(),
    })
}

fn unhex(text: &str) -> Option<String> {
    let bytes = text.as_bytes().chunks(2).map(|pair| {
        let digits = std::str::from_utf8(pair).ok().filter(|digits| digits.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    });
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_round_trips_and_only_with_its_query() {
        let query = Uuid::from_u128(5);
        let token = PageToken { revision: 7, source: 1, last_key: "/task/é".into(), query };
        assert_eq!(PageToken::decode(&token.encode(), query).expect("its own"), token);
        assert!(PageToken::decode(&token.encode(), Uuid::from_u128(6)).is_err());
    }

    #[test]
    fn hostile_tokens_are_refused() {
        for text in ["x", "0", "zz", "ff", "310a", "+1+1", "é", "300a300a300a"] {
            assert!(PageToken::decode(text, Uuid::nil()).is_err(), "{text}");
        }
    }
}
