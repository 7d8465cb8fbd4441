//! The part of a request's target behind the question mark.

/// The parameters of a request, each of which is taken once.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `name=value&…`, percent-encoded. None when a name stands there twice, or something is not UTF-8.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut read: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if read.iter().any(|(known, _)| *known == name) {
                return None;
            }
            read.push((name, decode(value)?));
        }
        Some(Self(read))
    }

    /// Takes a parameter.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// The name of one that nobody has taken.
    pub(super) fn rest(&self) -> Option<&str> {
        self.0.first().map(|(name, _)| name.as_str())
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        bytes.push(match (byte, behind) {
            (b'+', _) => b' ',
            (b'%', [high, low, behind @ ..]) => {
                rest = behind;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?
            }
            (b'%', _) => return None,
            (byte, _) => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_taken_once() {
        let mut query = Query::parse("route=a%20b+c&limit=5&x&").unwrap();
        assert_eq!(query.take("route").as_deref(), Some("a b c"));
        assert_eq!(query.take("route"), None);
        assert_eq!(query.take("limit").as_deref(), Some("5"));
        assert_eq!(query.rest(), Some("x"));
        assert_eq!(query.take("x").as_deref(), Some(""));
        assert_eq!(query.rest(), None);
        for bad in ["a=1&a=2", "a=%", "a=%2", "a=%zz", "a=%ff", "%e2%82=x", "a=%+1"] {
            assert!(Query::parse(bad).is_none(), "{bad}");
        }
    }
}
