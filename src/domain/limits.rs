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
/// Patterns in one JSON Schema.
pub const SCHEMA_PATTERNS_MAX: usize = 32;
/// Bytes of a key field's value and of a subject id.
pub const KEY_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Nesting of a schema or contract document; one record of an Avro schema takes three levels of it.
pub const DOCUMENT_DEPTH_MAX: usize = 120;
/// Nodes within nodes of a Simple Schema. Repeated ones take two levels of `DEPTH_MAX` each.
pub const SIMPLE_SCHEMA_DEPTH_MAX: usize = 30;
/// Characters of a `doc` in a Simple Schema (the original's limit).
pub const DOC_CHARS_MAX: usize = 5000;
/// Highest purpose level.
pub const PURPOSE_LEVEL_MAX: i32 = 999;
/// Personal fields, validations, labels and further schema references of one contract.
pub const PERSONAL_FIELDS_MAX: usize = 256;
pub const VALIDATIONS_MAX: usize = 256;
pub const LABELS_MAX: usize = 64;
pub const SCHEMA_REFS_MAX: usize = 16;
/// Bytes of an equality class.
pub const EQUALITY_CLASS_BYTES_MAX: usize = 64;
/// Characters of a title, of a label's key or value, and of a stream's tag.
pub const TITLE_CHARS_MAX: usize = 100;
/// Characters of a contract's description (Markdown).
pub const CONTRACT_DESCRIPTION_CHARS_MAX: usize = 20_000;
/// Characters of a stream's description, and its tags (the original's limits).
pub const STREAM_DESCRIPTION_CHARS_MAX: usize = 1000;
pub const STREAM_TAGS_MAX: usize = 20;
/// Days a stream's events are kept, at most.
pub const RETENTION_DAYS_MAX: u32 = 3650;
/// Credentials of one stream.
pub const STREAM_CREDENTIALS_MAX: usize = 32;
/// Bytes of a mask's seed (the original's limit), contracts of a mask and fields per contract.
pub const MASK_SEED_BYTES_MAX: usize = 1000;
pub const MASK_CONTRACTS_MAX: usize = 64;
pub const MASK_FIELDS_MAX: usize = 256;
/// What decoding may add to a body (absent fields written as null, enum symbols, items without bytes of
/// their own): at most this many bytes, plus `EXPANSION_FACTOR` for every byte of the body.
pub const EXPANSION_BYTES: u64 = 64 << 10;
pub const EXPANSION_FACTOR: u64 = 64;
/// Bytes of one event body, at most. Positions are kept in 32 bits.
pub const BODY_BYTES_MAX: usize = 256 << 20;
/// Decompressed bytes of one block of an Avro object container.
pub const CONTAINER_BLOCK_BYTES_MAX: usize = 16 << 20;
/// Bytes of the metadata of an Avro object container (writer schema included).
pub const CONTAINER_HEADER_BYTES_MAX: usize = 256 << 10;
/// Characters of an e-mail address (RFC 5321: 254), and tokens of a principal that are good at a time.
pub const EMAIL_CHARS_MAX: usize = 254;
pub const PRINCIPAL_TOKENS_MAX: usize = 50;
/// Characters of a project's description (the original's limit), and its members.
pub const PROJECT_DESCRIPTION_CHARS_MAX: usize = 5000;
pub const PROJECT_MEMBERS_MAX: usize = 1000;
