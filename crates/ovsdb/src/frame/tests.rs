use proptest::prelude::*;

use super::*;

/// All messages of a stream that comes in these pieces.
fn scanned<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, limit: usize) -> Result<Vec<Bytes>, FrameError> {
    let mut scanner = Scanner::new(limit);
    let mut messages = Vec::new();
    for piece in pieces {
        scanner.space().extend_from_slice(piece);
        while let Some(message) = scanner.take()? {
            messages.push(message);
        }
    }
    Ok(messages)
}

#[test]
fn messages_end_where_their_object_ends() {
    let stream = br#" {"a":[1,{"b":"}"}]}{"c":"\"\\{"}
        {}"#;
    let found = scanned([&stream[..]], 100).unwrap();
    assert_eq!(found, [&br#"{"a":[1,{"b":"}"}]}"#[..], br#"{"c":"\"\\{"}"#, b"{}"]);
}

#[test]
fn what_begins_no_message_is_garbage_at_once() {
    for (stream, byte) in [("]", b']'), ("{} x", b'x'), ("17", b'1'), ("\"{}\"", b'"'), ("[{}]", b'[')] {
        assert_eq!(scanned([stream.as_bytes()], 100), Err(FrameError::Garbage(byte)), "{stream}");
    }
    assert_eq!(FrameError::Garbage(b'\0').to_string(), r"a message begins with `\x00`");
}

#[test]
fn a_message_may_be_as_long_as_the_limit_and_no_longer() {
    let stream = br#"{"a":1}"#;
    assert_eq!(scanned([&stream[..]], stream.len()).unwrap().len(), 1);
    assert_eq!(scanned([&stream[..]], stream.len() - 1), Err(FrameError::TooLong(stream.len() - 1)));
    // It is not waited for the end of one that is too long.
    assert_eq!(scanned([&b"{\"aaaaaaaa"[..]], 8), Err(FrameError::TooLong(8)));
}

#[test]
fn what_is_too_deep_is_refused_before_it_ends() {
    assert_eq!(scanned([format!("{{{}", "[".repeat(100)).as_bytes()], 1000), Err(FrameError::TooDeep));
    assert_eq!(scanned([format!("{{{}", "[".repeat(99)).as_bytes()], 1000), Ok(Vec::new()));
}

#[test]
fn it_is_amid_a_message_that_has_begun() {
    let mut scanner = Scanner::new(100);
    scanner.space().extend_from_slice(b"{} ");
    assert_eq!(scanner.take().unwrap().unwrap(), "{}");
    assert_eq!(scanner.take(), Ok(None));
    assert!(!scanner.is_amid());
    scanner.space().extend_from_slice(b"{\"a");
    assert_eq!(scanner.take(), Ok(None));
    assert!(scanner.is_amid());
    assert_eq!(scanner.held(), 3);
}

proptest! {
    #[test]
    fn the_same_is_found_however_the_bytes_come(
        stream in r#"[{}\[\]"\\ a1,:]{0,60}"#,
        cuts in prop::collection::vec(0usize..60, 0..8),
    ) {
        let bytes = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        prop_assert_eq!(scanned(pieces, 40), scanned([bytes], 40));
    }

    #[test]
    fn messages_of_any_text_come_out_as_they_went_in(texts in prop::collection::vec(any::<String>(), 0..6)) {
        let messages: Vec<String> = texts.iter().map(|text| serde_json::json!({"x": [text]}).to_string()).collect();
        let stream = messages.join("\n");
        prop_assert_eq!(scanned([stream.as_bytes()], 1 << 20).unwrap(), messages);
    }
}
