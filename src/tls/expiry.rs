//! From when to when a certificate is valid, and who has issued it (RFC 5280 §4.1). Everything else about it is rustls' business.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::der::{SEQUENCE, expect, next};

/// The version, which stands in front of the serial number unless it is the first.
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// What is read out of a certificate.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// Reads them out of a certificate in DER. None where they cannot be found.
pub(super) fn read(mut certificate: &[u8]) -> Option<Facts<'_>> {
    let mut certificate = expect(&mut certificate, SEQUENCE)?;
    let mut body = expect(&mut certificate, SEQUENCE)?;
    if body.first() == Some(&VERSION) {
        next(&mut body)?;
    }
    let _serial_number = next(&mut body)?;
    let _algorithm = next(&mut body)?;
    let issuer = expect(&mut body, SEQUENCE)?;
    let mut validity = expect(&mut body, SEQUENCE)?;
    let mut time = || {
        let (tag, time) = next(&mut validity)?;
        timestamp(tag, std::str::from_utf8(time).ok()?)
    };
    Some(Facts {
        issuer,
        not_before: time()?,
        not_after: time()?,
        subject: expect(&mut body, SEQUENCE)?,
    })
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
            assert_eq!(read(der).unwrap().not_after.to_string(), expected);
            assert_eq!(read(der).unwrap().not_before.to_string(), "1975-01-01T00:00:00Z");
            assert_eq!(read(der).unwrap().issuer, read(der).unwrap().subject);
            for cut in 0..80 {
                assert!(read(&der[..cut]).is_none(), "{cut}");
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
