//! Splitting: nothing lost, nothing torn, places as a person counts them.

use std::io::Cursor;

use super::*;

fn all(text: impl Into<Vec<u8>>, chunk_bytes: usize) -> Result<Vec<Chunk>, ChunkError> {
    let mut chunks = Chunks::open(Cursor::new(text.into()), chunk_bytes)?;
    let mut found = Vec::new();
    while let Some(chunk) = chunks.next()? {
        found.push(chunk);
    }
    Ok(found)
}

fn long(value: i64) -> Vec<u8> {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

const SYNC: [u8; 16] = *b"0123456789abcdef";

fn header() -> Vec<u8> {
    let entry = |key: &str, value: &str| {
        [long(key.len() as i64), key.into(), long(value.len() as i64), value.into()].concat()
    };
    let entries = [entry("avro.schema", "\"string\""), entry("avro.codec", "null")].concat();
    // The second form of a map block: a negative count and the block's size.
    let map = [long(-2), long(entries.len() as i64), entries, long(0)].concat();
    [MAGIC.to_vec(), map, SYNC.to_vec()].concat()
}

fn block(count: i64, bytes: usize) -> Vec<u8> {
    [long(count), long(bytes as i64), vec![7; bytes], SYNC.to_vec()].concat()
}

#[test]
fn lines_are_split_between_events_and_keep_their_numbers() {
    let chunks = all("{\"a\":1}\n\n{\"a\":2}\r\n  \n{\"a\":3}", 18).unwrap();
    let bodies: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.body.as_slice()).collect();
    assert_eq!(bodies, [&b"{\"a\":1}\n{\"a\":2}\r\n"[..], b"{\"a\":3}\n"]);
    assert_eq!([chunks[0].place(0), chunks[0].place(1), chunks[1].place(0)], ["line 1", "line 3", "line 5"]);
    assert_eq!(chunks[0].place(9), "an event");
    assert!(all("", 10).unwrap().is_empty() && all("\n\n", 10).unwrap().is_empty());
}

#[test]
fn a_line_longer_than_a_chunk_travels_alone() {
    let chunks = all("aaaaaaaaaaaaaaaa\nb\nc\n", 4).unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.events).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn every_chunk_of_a_container_is_a_container() {
    let file = [header(), block(2, 100), block(3, 100), block(1, 400)].concat();
    let chunks = all(file, header().len() + 300).unwrap();
    assert_eq!(chunks[0].body, [header(), block(2, 100), block(3, 100)].concat());
    assert_eq!(chunks[1].body, [header(), block(1, 400)].concat());
    assert_eq!([chunks[0].events, chunks[1].events], [5, 1]);
    assert_eq!([chunks[0].place(4), chunks[1].place(0)], ["event 5", "event 6"]);
    assert!(all(header(), 1000).unwrap().is_empty());
}

#[test]
fn a_damaged_container_is_refused_wherever_it_is_cut() {
    let file = [header(), block(2, 100)].concat();
    for length in MAGIC.len()..file.len() {
        let outcome = all(&file[..length], 1000);
        let whole = length == header().len();
        assert_eq!(outcome.is_ok(), whole, "cut at {length}");
    }
    let mut wrong_sync = file;
    *wrong_sync.last_mut().unwrap() ^= 1;
    assert!(matches!(all(wrong_sync, 1000), Err(ChunkError::Container(1))));
    let huge = [header(), long(1), long(i64::MAX)].concat();
    assert!(matches!(all(huge, 1000), Err(ChunkError::BlockTooLarge(1))));
}
