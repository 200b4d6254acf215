use leakscope_common::heap::LiveBlock;

use super::*;

#[test]
fn rows_are_as_they_were() {
    let block = LiveBlock { size: 7, site: u64::MAX, at_ns: 3, base: 9 };
    let rows = Rows(vec![(1u64, block), (2, LiveBlock { size: 0, ..block })]);
    let text = serde_json::to_string(&rows).expect("JSON");
    assert!(text.starts_with(r#"{"key":8,"value":32,"rows":"01000000000000000700"#), "{text}");
    assert_eq!(serde_json::from_str::<Rows<u64, LiveBlock>>(&text).expect("rows"), rows);
    assert!(serde_json::from_str::<Rows<u32, LiveBlock>>(&text).is_err(), "of another layout");
    let cut = text.replace(r#"00"}"#, r#""}"#);
    assert!(serde_json::from_str::<Rows<u64, LiveBlock>>(&cut).is_err(), "{cut}");
    let odd = text.replace(r#""rows":"0"#, r#""rows":"x"#);
    assert!(serde_json::from_str::<Rows<u64, LiveBlock>>(&odd).is_err(), "{odd}");
}

#[test]
fn digits() {
    assert_eq!((hex::encode(&[0, 0xa7]), hex::decode("00A7")), ("00a7".to_owned(), Some(vec![0, 0xa7])));
    for wrong in ["0", "0g", "é0"] {
        assert_eq!(hex::decode(wrong), None, "{wrong}");
    }
}

/// What is asked for in another order than it was recorded in is not taken for the answer.
#[test]
fn answers_in_their_order() {
    let place = tempfile::tempdir().expect("a directory");
    let mut recorder = Recorder::create(&place.path().join("new")).expect("a recording");
    recorder.put("one thing", &1u32).expect("it is written");
    recorder.put("another", &"x").expect("it is written");
    recorder.finish().expect("it is whole");
    let mut player = Player::open(&place.path().join("new")).expect("a recording");
    assert_eq!(player.next::<u32>("one thing").expect("the answer"), 1);
    let error = player.next::<String>("one thing").expect_err("it is another").to_string();
    assert!(error.contains("line 2, where `one thing` is expected: `another` stands there"), "{error}");
    let error = player.next::<u32>("end").expect_err("there is no more").to_string();
    assert!(error.contains("ends at line 3"), "{error}");
}
