//! Both ways over all charsets, compared with what encoding_rs makes of the whole at once.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// Every charset, with the characters of the first plane that it has and gives back.
static ALL: LazyLock<Vec<(Charset, Vec<char>)>> = LazyLock::new(|| {
    let all = NAMES.iter().map(|name| Charset::named(name).unwrap());
    all.map(|charset| {
        let plane = ('\0'..='\u{FFFF}').chain(['😀', '𠀀', '\u{10FFFF}']);
        let comes_back = |c: &char| {
            let text = c.to_string();
            encode(charset, Unmappable::Reject, &[text.as_bytes()])
                .is_ok_and(|(bytes, _)| decode(charset, false, &[&bytes]) == Ok((text, 0)))
        };
        (charset, plane.filter(comes_back).collect())
    })
    .collect()
});

/// A message's bytes and how many characters were substituted.
fn encode(
    charset: Charset,
    unmappable: Unmappable,
    pieces: &[&[u8]],
) -> Result<(Vec<u8>, u64), UnmappableCharacter> {
    let mut encoder = Encoder::new(charset, unmappable);
    let (mut bytes, mut ends) = (Vec::new(), 0);
    for (at, piece) in pieces.iter().enumerate() {
        encoder.encode(piece, at + 1 == pieces.len(), |chunk, end| {
            assert!(chunk.len() <= CHUNK && ends == 0);
            bytes.extend_from_slice(chunk);
            ends += u32::from(end);
            Ok::<(), UnmappableCharacter>(())
        })?;
    }
    assert_eq!(ends, 1, "a message has one end");
    Ok((bytes, encoder.take_substituted()))
}

/// A record's text and how often it was mended.
fn decode(charset: Charset, mend: bool, pieces: &[&[u8]]) -> Result<(String, u64), Malformed> {
    let mut decoder = Decoder::new(charset);
    let (mut bytes, mut ends) = (Vec::new(), 0);
    for (at, piece) in pieces.iter().enumerate() {
        decoder.decode(piece, at + 1 == pieces.len(), mend, |chunk, end| {
            assert!(chunk.len() <= CHUNK && ends == 0);
            bytes.extend_from_slice(chunk);
            ends += u32::from(end);
        })?;
    }
    assert_eq!(ends, 1, "a record has one end");
    Ok((String::from_utf8(bytes).unwrap(), decoder.take_mended()))
}

/// The same of a stream: each read gives text, and what is unfinished after it.
fn decode_stream(charset: Charset, mend: bool, pieces: &[&[u8]]) -> Result<(String, u64), Malformed> {
    let mut decoder = Decoder::new(charset);
    let mut text = String::new();
    for piece in pieces {
        let mut read = Vec::new();
        decoder.decode_stream(piece, mend, |chunk, _| read.extend_from_slice(chunk))?;
        text.push_str(std::str::from_utf8(&read).expect("each read gives whole characters"));
    }
    let mut read = Vec::new();
    decoder.decode(&[], true, mend, |chunk, _| read.extend_from_slice(chunk))?;
    text.push_str(std::str::from_utf8(&read).unwrap());
    Ok((text, decoder.take_mended()))
}

/// What encoding_rs makes of all of it at once.
fn oracle(charset: Charset, bytes: &[u8]) -> (String, bool) {
    match charset.0 {
        Table::Latin1 => (bytes.iter().map(|byte| char::from(*byte)).collect(), false),
        Table::Standard(table) => {
            let (text, broken) = table.decode_without_bom_handling(bytes);
            (text.into_owned(), broken)
        }
    }
}

fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// A text of each charset, with characters of each length that it has.
fn sample(characters: &[char]) -> String {
    let last = characters.len() - 1;
    let picked = [97, last, last / 2, 98, last / 3, last - 1, last / 2 + 1, 99];
    picked.into_iter().map(|at| characters[at.min(last)]).collect()
}

#[test]
fn names_are_those_of_the_standard_but_for_latin_1_and_ascii() {
    for (name, expected) in [
        ("gbk", Ok("GBK")),
        ("gb2312", Ok("GBK")),
        ("GB18030", Ok("gb18030")),
        ("Big5", Ok("Big5")),
        ("sjis", Ok("Shift_JIS")),
        ("Shift_JIS", Ok("Shift_JIS")),
        ("EUC-JP", Ok("EUC-JP")),
        ("iso-2022-jp", Ok("ISO-2022-JP")),
        ("euc-kr", Ok("EUC-KR")),
        ("windows-1252", Ok("windows-1252")),
        ("CP1252", Ok("windows-1252")),
        ("iso-8859-1", Ok("ISO-8859-1")),
        ("ISO_8859-1", Ok("ISO-8859-1")),
        ("latin1", Ok("ISO-8859-1")),
        ("Latin1", Ok("ISO-8859-1")),
        ("iso-8859-15", Ok("ISO-8859-15")),
        ("koi8-r", Ok("KOI8-R")),
        ("macintosh", Ok("macintosh")),
        ("utf8", Ok("UTF-8")),
        ("utf-16", Err(NameError::Utf16)),
        ("utf-16be", Err(NameError::Utf16)),
        ("us-ascii", Err(NameError::Ascii)),
        ("replacement", Err(NameError::NoTable)),
        ("iso-2022-kr", Err(NameError::NoTable)),
        ("x-user-defined", Err(NameError::NoTable)),
        ("cp437", Err(NameError::Unknown)),
        ("", Err(NameError::Unknown)),
    ] {
        assert_eq!(Charset::named(name).map(Charset::name), expected, "{name}");
    }
}

#[test]
fn latin_1_is_the_first_256_characters() {
    let latin1 = Charset::named("latin1").unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    let text: String = ('\0'..='\u{FF}').collect();
    assert_eq!(decode(latin1, false, &[&bytes]), Ok((text.clone(), 0)));
    assert_eq!(
        encode(latin1, Unmappable::Reject, &[text.as_bytes()]),
        Ok((bytes, 0))
    );
    assert_eq!(
        ALL.iter()
            .find(|(charset, _)| *charset == latin1)
            .unwrap()
            .1
            .len(),
        256
    );
}

#[test]
fn characters_that_a_charset_lacks_are_refused_replaced_or_escaped() {
    for (name, unmappable, expected) in [
        ("gbk", Unmappable::Reject, None),
        ("gbk", Unmappable::Replace, Some((&b"\xC4\xE3?!"[..], 1))),
        ("gbk", Unmappable::Escape, Some((b"\xC4\xE3&#128512;!", 1))),
        (
            "gb18030",
            Unmappable::Reject,
            Some((b"\xC4\xE3\x94\x39\xFC\x36!", 0)),
        ),
        ("latin1", Unmappable::Reject, None),
        ("latin1", Unmappable::Replace, Some((b"??!", 2))),
        ("latin1", Unmappable::Escape, Some((b"&#20320;&#128512;!", 2))),
        // It leaves the set of Japanese before it writes anything of ASCII.
        (
            "iso-2022-jp",
            Unmappable::Escape,
            Some((b"\x1B$B\x47\x21\x1B(B&#128512;!", 1)),
        ),
    ] {
        let text = if name == "iso-2022-jp" {
            "如😀!"
        } else {
            "你😀!"
        };
        let expected = expected.map(|(bytes, count)| (bytes.to_vec(), count));
        let charset = Charset::named(name).unwrap();
        for size in 1..=text.len() {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let got = encode(charset, unmappable, &pieces).ok();
            assert_eq!(got, expected, "{name} {unmappable:?} by {size}");
        }
    }
}

#[test]
fn an_encoder_and_a_decoder_start_anew_after_an_end_and_after_a_mistake() {
    let jis = Charset::named("iso-2022-jp").unwrap();
    let mut encoder = Encoder::new(jis, Unmappable::Reject);
    let mut decoder = Decoder::new(jis);
    for (text, good) in [("あ", true), ("あ😀", false), ("あ", true)] {
        let mut bytes = Vec::new();
        let result = encoder.encode(text.as_bytes(), true, |chunk, _| {
            bytes.extend_from_slice(chunk);
            Ok::<(), UnmappableCharacter>(())
        });
        assert_eq!(result.is_ok(), good);
        if good {
            assert_eq!(bytes, b"\x1B$B\x24\x22\x1B(B");
        }
    }
    for (bytes, expected) in [
        (&b"\x1B$B\x24\x22"[..], "あ"),
        (b"\x1B$B\xFF", ""),
        (b"abc", "abc"),
    ] {
        let mut text = Vec::new();
        let result = decoder.decode(bytes, true, false, |chunk, _| text.extend_from_slice(chunk));
        assert_eq!(result.is_ok(), !expected.is_empty());
        assert_eq!(text, expected.as_bytes());
    }
}

#[test]
fn every_two_cuts_of_a_text_are_without_trace() {
    for (charset, characters) in ALL.iter() {
        let text = sample(characters);
        let (bytes, _) = encode(*charset, Unmappable::Reject, &[text.as_bytes()]).unwrap();
        for_two_cuts(text.as_bytes(), |pieces| {
            let got = encode(*charset, Unmappable::Reject, pieces);
            assert_eq!(got, Ok((bytes.clone(), 0)), "{} {pieces:x?}", charset.name());
        });
        for_two_cuts(&bytes, |pieces| {
            for decode in [decode, decode_stream] {
                let got = decode(*charset, false, pieces);
                assert_eq!(got, Ok((text.clone(), 0)), "{} {pieces:x?}", charset.name());
            }
        });
    }
}

fn for_two_cuts(bytes: &[u8], check: impl Fn(&[&[u8]])) {
    for second in 0..=bytes.len() {
        for first in 0..=second {
            check(&[&bytes[..first], &bytes[first..second], &bytes[second..]]);
        }
    }
}

/// What a stream has not given as text by now is what stands at its end, byte for byte.
#[test]
fn the_bytes_of_a_cut_character_are_known() {
    for (charset, characters) in ALL.iter() {
        let text = sample(characters);
        let (bytes, _) = encode(*charset, Unmappable::Reject, &[text.as_bytes()]).unwrap();
        for end in 0..=bytes.len() {
            for cut in 0..=end {
                let mut decoder = Decoder::new(*charset);
                let mut given = Vec::new();
                for piece in [&bytes[..cut], &bytes[cut..end]] {
                    let read = decoder.decode_stream(piece, false, |chunk, _| given.extend_from_slice(chunk));
                    assert_eq!(read, Ok(()));
                }
                let has_unfinished = decoder.has_unfinished();
                let unfinished = decoder.take_unfinished();
                assert_eq!(has_unfinished, !unfinished.bytes().is_empty());
                let (seen, waits) = bytes[..end].split_at(end - unfinished.bytes().len());
                assert_eq!(unfinished.bytes(), waits);
                let given = String::from_utf8(given).unwrap();
                assert_eq!(
                    decode(*charset, false, &[seen]),
                    Ok((given, 0)),
                    "{}",
                    charset.name()
                );
            }
        }
    }
}

fn any_charset() -> impl Strategy<Value = Charset> {
    select(&**ALL).prop_map(|(charset, _)| charset)
}

/// A text that a charset has.
fn charset_and_text() -> impl Strategy<Value = (Charset, String)> {
    let places = prop::collection::vec(any::<Index>(), 0..40);
    // Now and then longer than a chunk.
    let repeat = prop_oneof![4 => Just(1usize), 1 => 1usize..200];
    (any::<Index>(), places, repeat).prop_map(|(at, places, repeat)| {
        let (charset, characters) = at.get(&ALL);
        let text: String = places.iter().map(|place| *place.get(characters)).collect();
        (*charset, text.repeat(repeat))
    })
}

/// Bytes that start characters, switch sets, or are anything.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        select(&b"\x1B\x1B\x1B$$$((@BBJI\x0E\x24\x22"[..]),
        select(&b"\x81\x30\x84\x31\x8F\xA1\xFE\x82\xE2\xAC\xF0\x9F\x80"[..]),
    ];
    (
        prop::collection::vec(byte, 0..60),
        prop_oneof![4 => Just(1usize), 1 => 1usize..100],
    )
        .prop_map(|(bytes, repeat)| bytes.repeat(repeat))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_text_comes_back_however_it_is_cut((charset, text) in charset_and_text(), cuts in prop::collection::vec(any::<Index>(), 0..6)) {
        let (bytes, substituted) = encode(charset, Unmappable::Reject, &cut(text.as_bytes(), &cuts)).unwrap();
        prop_assert_eq!(substituted, 0);
        for decode in [decode, decode_stream] {
            prop_assert_eq!(decode(charset, false, &cut(&bytes, &cuts)), Ok((text.clone(), 0)));
        }
    }

    #[test]
    fn any_bytes_are_mended_as_a_browser_does(charset in any_charset(), bytes in bytes(), cuts in prop::collection::vec(any::<Index>(), 0..6)) {
        let pieces = cut(&bytes, &cuts);
        let (expected, broken) = oracle(charset, &bytes);
        prop_assert!(expected.len() <= 3 * bytes.len());
        for decode in [decode, decode_stream] {
            let (text, mended) = decode(charset, true, &pieces).unwrap();
            prop_assert_eq!(&text, &expected);
            prop_assert_eq!(mended > 0, broken);
            let strict = decode(charset, false, &pieces);
            prop_assert_eq!(strict, if broken { Err(Malformed) } else { Ok((expected.clone(), 0)) });
        }
    }

    #[test]
    fn any_text_is_escaped_as_a_form_does(charset in any_charset(), text in "[\\PC\0-\x1F¥‾あa\\\\~]{0,60}", cuts in prop::collection::vec(any::<Index>(), 0..6)) {
        let pieces = cut(text.as_bytes(), &cuts);
        let (bytes, escaped) = encode(charset, Unmappable::Escape, &pieces).unwrap();
        // Three control characters of one byte become `&#65533;` in ISO-2022-JP; nothing else grows by as much as four.
        let shifts = text.chars().filter(|c| matches!(c, '\x0E' | '\x0F' | '\x1B')).count();
        prop_assert!(bytes.len() < 4 * text.len().max(1) + 8 * shifts, "a record grows too much");
        if let Table::Standard(table) = charset.0 {
            let (expected, _, lacking) = table.encode(&text);
            prop_assert_eq!(&bytes, &*expected);
            prop_assert_eq!(escaped > 0, lacking);
        }
        prop_assert_eq!(encode(charset, Unmappable::Reject, &pieces).is_ok(), escaped == 0);
        let (replaced, count) = encode(charset, Unmappable::Replace, &pieces).unwrap();
        prop_assert_eq!(count, escaped);
        prop_assert!(replaced.len() <= bytes.len());
    }
}
