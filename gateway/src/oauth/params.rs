//! Parameters of a query or form: each at most once, decoded exactly, bounded.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use http_body_util::{LengthLimitError, Limited};

use super::OAuthError;
use crate::{pieces, upload};

/// The longest query that is read.
pub const MAX_QUERY: usize = 12 * 1024;
/// More parameters than this are not read.
const MAX_PARAMS: usize = 64;

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

/// The parameters cannot be read without guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A parameter stands there more than once (RFC 6749 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated;

impl From<Malformed> for OAuthError {
    fn from(_: Malformed) -> Self {
        Self::InvalidRequest("the parameters are not valid application/x-www-form-urlencoded UTF-8".into())
    }
}

impl From<Repeated> for OAuthError {
    fn from(_: Repeated) -> Self {
        Self::InvalidRequest("a parameter must not be repeated".into())
    }
}

impl Params {
    /// Reads `application/x-www-form-urlencoded`. What does not decode to UTF-8 is refused rather than repaired.
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let pairs = text.split(|b| *b == b'&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
            let value = pair.get(at + 1..).unwrap_or_default();
            Ok((decode(&pair[..at]).ok_or(Malformed)?, decode(value).ok_or(Malformed)?))
        });
        let pairs: Vec<_> = pairs.take(MAX_PARAMS + 1).collect::<Result<_, _>>()?;
        if pairs.len() > MAX_PARAMS { Err(Malformed) } else { Ok(Self(pairs)) }
    }

    /// The value of `name`.
    ///
    /// # Errors
    /// When it stands there more than once.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(Repeated) } else { Ok(first) }
    }

    /// As [`Params::one`], where an empty value is as an absent one (RFC 6749 section 3.1).
    pub fn some(&self, name: &str) -> Result<Option<&str>, Repeated> {
        Ok(self.one(name)?.filter(|value| !value.is_empty()))
    }

    /// Every value of `name`.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether any name stands there more than once.
    pub fn check_repeated(&self) -> Result<(), Repeated> {
        let repeated = |i: usize| self.0[..i].iter().any(|(name, _)| *name == self.0[i].0);
        if (0..self.0.len()).any(repeated) { Err(Repeated) } else { Ok(()) }
    }
}

/// Reads a form that carries secrets. Queries are logged on the way: whatever stands there is not for us.
pub async fn form_only(query: Option<&str>, headers: &HeaderMap, body: Body) -> Result<Params, OAuthError> {
    if query.is_some_and(|query| !query.is_empty()) {
        return Err(OAuthError::InvalidRequest("parameters must be in the body, not in the URL".into()));
    }
    form(headers, body).await
}

/// Reads a form body.
pub async fn form(headers: &HeaderMap, body: Body) -> Result<Params, OAuthError> {
    if media_type(headers).as_deref() != Some("application/x-www-form-urlencoded") {
        let wrong = "the Content-Type must be application/x-www-form-urlencoded";
        return Err(OAuthError::InvalidRequest(wrong.into()));
    }
    Ok(Params::parse(&read(headers, body).await?)?)
}

/// Reads a body of at most [`super::MAX_BODY`] that is not encoded.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, OAuthError> {
    if is_encoded(headers) {
        return Err(OAuthError::Encoded);
    }
    match pieces::read(Limited::new(body, super::MAX_BODY)).await {
        Ok(body) => Ok(body),
        Err(error) if error.is::<LengthLimitError>() => Err(OAuthError::TooLarge),
        Err(error) => Err(upload::refusal(error.as_ref()).map_or_else(
            || OAuthError::InvalidRequest("the body could not be read".into()),
            OAuthError::from,
        )),
    }
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let plain = |coding: &[u8]| {
        coding.trim_ascii().is_empty() || coding.trim_ascii().eq_ignore_ascii_case(b"identity")
    };
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    !values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).all(plain)
}

/// The media type without parameters, in lower case; `None` when absent, repeated or unreadable.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Decodes one name or value: `+` is a space, `%XX` a byte.
pub fn decode(text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (bytes.next()?, bytes.next()?);
                let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
                digit(high)? * 16 + digit(low)?
            }
            byte => *byte,
        });
    }
    String::from_utf8(out).ok()
}

/// Adds parameters to a URI's query, leaving what stands there byte for byte.
pub fn append(uri: &str, params: &[(&str, &str)]) -> String {
    let mut out = uri.to_owned();
    for (name, value) in params {
        match out.find('?') {
            None => out.push('?'),
            Some(_) if out.ends_with(['?', '&']) => {}
            Some(_) => out.push('&'),
        }
        out.push_str(&encode(name));
        out.push('=');
        out.push_str(&encode(value));
    }
    out
}

/// Encodes for a query; a space is `%20`, which every decoder understands.
fn encode(text: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let encoded: Cow<'_, str> = encoded.into();
    encoded.replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact_and_stand_there_once() {
        let params = Params::parse(b"a=1&b=%C3%A4+%2B&a=2&c&d=").unwrap();
        assert_eq!(params.one("a"), Err(Repeated));
        assert_eq!(params.one("b"), Ok(Some("ä +")));
        assert_eq!(params.one("c"), Ok(Some("")));
        assert_eq!(params.some("d"), Ok(None));
        assert_eq!(params.check_repeated(), Err(Repeated));
        for bad in [&b"a=%"[..], b"a=%4", b"a=%zz", b"a=%ff", b"%+=1"] {
            assert_eq!(Params::parse(bad).err(), Some(Malformed), "{bad:?}");
        }
        assert!(Params::parse("a&".repeat(1000).as_bytes()).is_err());
    }

    #[test]
    fn appending_keeps_what_stands_there() {
        assert_eq!(
            append("cursor://h/cb", &[("a", "1 +&%\r\n"), ("b", "")]),
            "cursor://h/cb?a=1%20%2B%26%25%0D%0A&b="
        );
        assert_eq!(append("https://h/cb?x=y%20z", &[("a", "1")]), "https://h/cb?x=y%20z&a=1");
        assert_eq!(append("https://h/cb?", &[("a", "1")]), "https://h/cb?a=1");
    }
}
