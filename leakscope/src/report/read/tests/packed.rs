//! Reports in Zstandard, and long ones.

use super::*;
use crate::zstandard::compress;

fn packed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(&mut out, &mut |out| out.write_all(text)).expect("memory takes all");
    out
}

/// Reads a file so.
fn read(bytes: &[u8], reading: &Reading<'_>) -> Result<Vec<Report>, ReadError> {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("x.json.zst");
    std::fs::write(&path, bytes).expect("write");
    let mut reports = Vec::new();
    each(&path, reading, &mut |report| {
        reports.push(report);
        ControlFlow::Continue(())
    })?;
    Ok(reports)
}

fn lines() -> Vec<Vec<u8>> {
    let line = |report: &Report| {
        let mut line = Vec::new();
        jsonl::write(report, &mut line).expect("memory takes all");
        line
    };
    [samples::heap(), samples::idle(), samples::attached()].iter().map(line).collect()
}

#[test]
fn what_was_written_packed_is_read() {
    let whole = packed(&saved(&samples::heap()));
    assert_eq!(parse("x", &whole).expect("a report"), [samples::heap()]);
    assert_eq!(read(&whole, &Reading::default()).expect("a report"), [samples::heap()]);
    let frames: Vec<u8> = lines().iter().flat_map(|line| packed(line)).collect();
    let all = [samples::heap(), samples::idle(), samples::attached()];
    assert_eq!(parse("x", &frames).expect("reports"), all);
}

/// What is too long to be held is read bit by bit, to the same reports.
#[test]
fn long_texts() {
    let reading = Reading { held_bytes: 1000, ..Reading::default() };
    let all = [samples::heap(), samples::idle(), samples::attached()];
    let plain = lines().concat();
    for bytes in [packed(&plain), plain.clone(), [&plain[..], &[0; 100_000]].concat()] {
        let mut reports = read(&bytes, &reading).expect("reports");
        let zeros = reports[2].unread.drain(..).any(|said| said.contains("ends in zeros"));
        assert_eq!(zeros, bytes.ends_with(&[0; 100_000]));
        reports[2].summary = all[2].summary.clone();
        assert_eq!(reports, all);
    }
    for end in (1..plain.len()).step_by(1009) {
        let (cut, short) = (read(&plain[..end], &reading), read(&plain[..end], &Reading::default()));
        match (cut, short) {
            (Ok(cut), Ok(short)) => assert_eq!(cut.len(), short.len(), "{end}"),
            (Err(cut), Err(short)) => {
                assert!(
                    cut.to_string().contains("ends in the middle")
                        && matches!(short, ReadError::Truncated { .. })
                );
            }
            other => panic!("{end}: {other:?}"),
        }
    }
    let why = read(b"{\"schema\": \0\0 1}", &reading).expect_err("no JSON").to_string();
    assert!(why.contains("is not JSON"), "{why}");
}

#[test]
fn cut_and_damaged() {
    let frames: Vec<Vec<u8>> = lines().iter().map(|line| packed(line)).collect();
    let all = frames.concat();
    let first = frames[0].len();
    for held_bytes in [1000, 1 << 20] {
        let reading = Reading { held_bytes, ..Reading::default() };
        for end in (5..first - 20).step_by(31) {
            let why = read(&all[..end], &reading).expect_err("cut").to_string();
            assert!(why.contains("ends in the middle") || why.contains("is empty"), "{end}: {why}");
        }
        assert_eq!(read(&all[..first], &reading).expect("whole").len(), 1);
        let mut wrong = all.clone();
        wrong[first / 2..first / 2 + 40].fill(0xff);
        let why = read(&wrong, &reading).expect_err("damaged").to_string();
        assert!(why.contains("damaged") || why.contains("not JSON"), "{why}");
    }
}

#[test]
fn bombs() {
    let spaces = vec![b' '; 1 << 20];
    let mut bomb = Vec::new();
    compress(&mut bomb, &mut |out| (0..200).try_for_each(|_| out.write_all(&spaces)))
        .expect("memory takes all");
    assert!(bomb.len() < 200 << 10, "{} bytes", bomb.len());
    for held_bytes in [1000, 1 << 30] {
        let reading = Reading { held_bytes, ..Reading::default() };
        let why = read(&bomb, &reading).expect_err("a bomb").to_string();
        assert!(why.contains("more than 1000 times as long"), "{why}");
    }
}

#[test]
fn memory_is_bounded() {
    let mut text = b"{\"schema\": \"leakscope.report/2\", \"tables\": {\"stacks\": [[]".to_vec();
    text.extend(b",[]".repeat(4 << 20));
    let reading = Reading { held_bytes: 1000, memory_bytes: 1 << 20, ..Reading::default() };
    for bytes in [text.clone(), packed(&text)] {
        let why = read(&bytes, &reading).expect_err("too large").to_string();
        assert!(why.contains("takes more than 1.0 MiB of memory"), "{why}");
    }
    assert!(Text::of_stream("x", &reading, &text[..]).is_err());
}
