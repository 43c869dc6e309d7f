//! Object containers: as other writers make them, cut, damaged and inflated.

use std::io::Write;

use super::{
    super::container::{Block, Container, ContainerError},
    *,
};

const SYNC: [u8; 16] = [7; 16];

fn long(number: usize) -> Vec<u8> {
    let (mut rest, mut out) = (number << 1, Vec::new());
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

fn text(text: &[u8]) -> Vec<u8> {
    [long(text.len()), text.to_vec()].concat()
}

fn header(codec: &str) -> Vec<u8> {
    let metadata = [text(b"avro.schema"), text(DEMO.as_bytes()), text(b"avro.codec"), text(codec.as_bytes())];
    [b"Obj\x01".to_vec(), long(2), metadata.concat(), long(0), SYNC.to_vec()].concat()
}

fn block(count: usize, data: &[u8]) -> Vec<u8> {
    [long(count), long(data.len()), data.to_vec(), SYNC.to_vec()].concat()
}

fn pack(codec: &str, plain: &[u8]) -> Vec<u8> {
    match codec {
        "deflate" => {
            let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        "zstandard" => zstd::stream::encode_all(plain, 3).unwrap(),
        "snappy" => {
            let mut crc = flate2::Crc::new();
            crc.update(plain);
            [snap::raw::Encoder::new().compress_vec(plain).unwrap(), crc.sum().to_be_bytes().to_vec()]
                .concat()
        }
        _ => plain.to_vec(),
    }
}

fn read(file: &[u8], piece: usize, limit: usize) -> Result<Vec<Block>, ContainerError> {
    let mut container = Container::new(limit);
    let mut blocks = Vec::new();
    for bytes in file.chunks(piece) {
        container.push(bytes);
        while let Some(block) = container.next_block()? {
            blocks.push(block);
        }
    }
    container.finish()?;
    assert!(schema_plan(SchemaKind::Avro, DEMO).is_written_by(container.writer_schema().unwrap()));
    Ok(blocks)
}

#[test]
fn every_codec_is_read_in_pieces_of_any_size() {
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let file =
            [header(codec), block(2, &pack(codec, b"abc")), block(1, &pack(codec, &[0; 5000]))].concat();
        for piece in [1, 7, 100, file.len()] {
            let blocks = read(&file, piece, 5000).unwrap();
            assert_eq!(blocks[0], Block { count: 2, bytes: b"abc".to_vec() }, "{codec}");
            assert_eq!((blocks[1].count, blocks[1].bytes.len()), (1, 5000));
        }
        assert_eq!(read(&file, 64, 4999), Err(ContainerError::BlockTooLarge));
        let mut cut = Container::new(5000);
        cut.push(&file[..file.len() - 1]);
        while cut.next_block().unwrap().is_some() {}
        assert_eq!(cut.finish(), Err(ContainerError::Truncated));
    }
}

#[test]
fn bombs_damage_and_strangers_are_refused() {
    for codec in ["deflate", "snappy", "zstandard"] {
        let bomb = [header(codec), block(1, &pack(codec, &vec![0; 64 << 20]))].concat();
        assert_eq!(read(&bomb, 1 << 20, 1 << 20).unwrap_err(), ContainerError::BlockTooLarge, "{codec}");
    }
    assert_eq!(read(b"Obj\x02", 4, 100), Err(ContainerError::Header));
    assert_eq!(read(&header("bzip2"), 4, 100), Err(ContainerError::Codec));
    let huge = [header("null"), long(1), long(1 << 60)].concat();
    assert_eq!(read(&huge, 4, 100), Err(ContainerError::BlockTooLarge));
    let good = [header("snappy"), block(1, &pack("snappy", b"hello hello"))].concat();
    for at in header("snappy").len() + 2..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 0x55;
        assert!(read(&damaged, 64, 1 << 20).is_err(), "{at}");
    }
}
