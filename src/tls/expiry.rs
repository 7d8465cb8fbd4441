//! When a certificate ends: the one thing that is read out of it here (RFC 5280 §4.1). Everything else about it is rustls' business.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
/// The version, which stands in front of the serial number unless it is the first.
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` of a certificate in DER. None where that cannot be found.
pub(super) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = sequence(certificate)?;
    let (mut rest, _) = sequence(certificate)?;
    if rest.first() == Some(&VERSION) {
        (_, _, rest) = element(rest)?;
    }
    // The serial number, the algorithm of the signature, the issuer.
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (validity, _) = sequence(rest)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    timestamp(tag, std::str::from_utf8(time).ok()?)
}

fn timestamp(tag: u8, time: &str) -> Option<Timestamp> {
    let time = match tag {
        // Years of two digits lie between 1950 and 2049.
        UTC_TIME => format!("{}{time}", if time < "50" { "20" } else { "19" }),
        GENERALIZED_TIME => time.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", &time).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, contents, rest) = element(der)?;
    (tag == SEQUENCE).then_some((contents, rest))
}

/// The tag and the contents of the first element, and what is behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = der else {
        return None;
    };
    let (length, rest) = match *length {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            // Four bytes are more than any certificate needs.
            let (digits, rest) = rest
                .split_at_checked(usize::from(long & 0x7F))
                .filter(|(digits, _)| digits.len() <= 4)?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, rest)
        }
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_found() {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        for (year, expected) in [
            (2031, "2031-02-03T00:00:00Z"),
            // Behind 2049 it is a GeneralizedTime.
            (2051, "2051-02-03T00:00:00Z"),
        ] {
            params.not_after = rcgen::date_time_ymd(year, 2, 3);
            let certificate = params.self_signed(&key).unwrap();
            let der: &[u8] = certificate.der();
            assert_eq!(not_after(der).unwrap().to_string(), expected);
            for cut in 0..80 {
                assert_eq!(not_after(&der[..cut]), None, "{cut}");
            }
        }
    }

    #[test]
    fn years_of_two_digits_have_a_century() {
        for (tag, time, expected) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20500101000000Z", Some("2050-01-01T00:00:00Z")),
            (UTC_TIME, "20500101000000Z", None),
            (UTC_TIME, "491331235959Z", None),
            (SEQUENCE, "491231235959Z", None),
        ] {
            let read = timestamp(tag, time).map(|time| time.to_string());
            assert_eq!(read.as_deref(), expected, "{time}");
        }
    }
}
