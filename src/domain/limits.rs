//! A limit on everything. What an operator may change is in `config`; these are fixed.

/// Deepest nesting of an event or a schema.
pub const DEPTH_MAX: usize = 64;
/// Consent levels in one event or one request, at most (the original's limit).
pub const CONSENT_LEVELS_MAX: usize = 50;
/// Bytes of a schema or contract document.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Fields of a schema, counted over all nested records.
pub const SCHEMA_FIELDS_MAX: usize = 4096;
/// Elements with no bytes of their own (null, empty record) in one Avro array or map block.
pub const EMPTY_ITEMS_MAX: u64 = 65_536;
/// Bytes of one validation pattern, and of the compiled automaton.
pub const PATTERN_BYTES_MAX: usize = 4096;
pub const PATTERN_COMPILED_BYTES_MAX: usize = 1 << 20;
/// Bytes of a key field's value and of a subject id.
pub const KEY_VALUE_BYTES_MAX: usize = 64 * 1024;
/// What decoding may add to a body (absent fields written as null, enum symbols, items without bytes of
/// their own): at most this many bytes, plus `EXPANSION_FACTOR` for every byte of the body.
pub const EXPANSION_BYTES: u64 = 1 << 20;
pub const EXPANSION_FACTOR: u64 = 64;
/// Bytes of one event body, at most. Positions are kept in 32 bits.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Decompressed bytes of one block of an Avro object container.
pub const CONTAINER_BLOCK_BYTES_MAX: usize = 16 << 20;
/// Bytes of the metadata of an Avro object container (writer schema included).
pub const CONTAINER_HEADER_BYTES_MAX: usize = 2 << 20;
