//! Python: dataclasses that are mappings as well, so that the original's driver sends them as they are.

use std::fmt::Write;

use super::model::{Kind, Model};

pub(super) const RESERVED: &[&str] = &[
    "False",
    "None",
    "True",
    "and",
    "as",
    "assert",
    "async",
    "await",
    "break",
    "class",
    "continue",
    "def",
    "del",
    "elif",
    "else",
    "except",
    "finally",
    "for",
    "from",
    "global",
    "if",
    "import",
    "in",
    "is",
    "lambda",
    "nonlocal",
    "not",
    "or",
    "pass",
    "raise",
    "return",
    "try",
    "while",
    "with",
    "yield",
    "print",
    "exec",
    // What the classes use themselves.
    "get",
    "keys",
    "items",
    "values",
    "to_dict",
    "to_json",
    "headers",
    "get_strm_schema_ref",
    "get_strm_schema_type",
    "get_strm_schema",
    "bool",
    "int",
    "float",
    "str",
    "bytes",
    "dict",
    "list",
    "field",
    "json",
    "dataclass",
    "Dict",
    "List",
    "Literal",
    "Mapping",
    "Optional",
];

const HEAD: &str = r#"from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Dict, List, Literal, Optional


def _plain(value):
    if isinstance(value, _Record):
        return {name: _plain(getattr(value, attribute)) for name, attribute in value._NAMES.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value


class _Record(dict):
    """A record; as a dict, as Avro writers want one, it goes by the names in the schema."""

    _NAMES: Dict[str, str] = {}

    __hash__ = None

    def __getitem__(self, name):
        return getattr(self, self._NAMES[name])

    def __contains__(self, name):
        return name in self._NAMES

    def __iter__(self):
        return iter(self._NAMES)

    def __len__(self):
        return len(self._NAMES)

    def __eq__(self, other):
        return type(self) is type(other) and _plain(self) == _plain(other)

    def get(self, name, default=None):
        return self[name] if name in self._NAMES else default

    def keys(self):
        return self._NAMES.keys()

    def values(self):
        return [self[name] for name in self._NAMES]

    def items(self):
        return [(name, self[name]) for name in self._NAMES]

    def to_dict(self):
        return _plain(self)

    def to_json(self):
        return json.dumps(_plain(self), ensure_ascii=False, allow_nan=False)

"#;

pub(super) fn write(model: &Model) -> String {
    let mut out = format!("\"\"\"Events of schema {}. Made by sluice.\"\"\"\n\n{HEAD}\n", model.reference);
    let add = |out: &mut String, line: String| out.push_str(&(line + "\n"));
    for symbols in &model.enums {
        let texts: Vec<_> = symbols.symbols.iter().map(|(_, text)| format!("\"{text}\"")).collect();
        add(&mut out, format!("{} = Literal[{}]\n", symbols.name, texts.join(", ")));
    }
    for (at, record) in model.records.iter().enumerate() {
        add(&mut out, format!("\n@dataclass(eq=False)\nclass {}(_Record):", record.name));
        // A field without a default cannot follow one that has one.
        let (required, optional): (Vec<_>, Vec<_>) =
            record.fields.iter().partition(|field| default(&field.kind).is_none());
        for field in required.into_iter().chain(optional) {
            let default = default(&field.kind).map(|d| format!(" = {d}")).unwrap_or_default();
            add(&mut out, format!("    {}: {}{default}", field.ident, text(&field.kind, model)));
        }
        let names: Vec<_> =
            record.fields.iter().map(|f| format!("\"{}\": \"{}\"", f.json, f.ident)).collect();
        add(&mut out, String::new());
        if at == 0 {
            out.push_str(DRIVER);
        }
        add(&mut out, format!("\n{}._NAMES = {{{}}}\n", record.name, names.join(", ")));
    }
    let quoted = serde_json::Value::String(model.definition.clone());
    let _infallible =
        write!(out, "\nSCHEMA_REF = \"{}\"\n_SCHEMA = {quoted}\n_PARSED = []\n", model.reference);
    out
}

const DRIVER: &str = r#"    @staticmethod
    def headers():
        return {"Strm-Schema-Ref": SCHEMA_REF, "Strm-Serialization-Type": "application/json"}

    def get_strm_schema_ref(self):
        return SCHEMA_REF

    def get_strm_schema_type(self):
        return "avro"

    def get_strm_schema(self):
        """The parsed schema, for strmprivacy-driver; needs its avro package."""
        if not _PARSED:
            import avro.schema

            parse = getattr(avro.schema, "parse", None) or avro.schema.Parse
            _PARSED.append(parse(_SCHEMA))
        return _PARSED[0]

"#;

fn default(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Optional(_) | Kind::Null => Some("None"),
        Kind::List(_) => Some("field(default_factory=list)"),
        Kind::Map(_) => Some("field(default_factory=dict)"),
        _ => None,
    }
}

fn text(kind: &Kind, model: &Model) -> String {
    match kind {
        Kind::Null => "None".to_owned(),
        Kind::Boolean => "bool".to_owned(),
        Kind::Int | Kind::Long => "int".to_owned(),
        Kind::Float | Kind::Double => "float".to_owned(),
        Kind::Text => "str".to_owned(),
        Kind::Bytes => "bytes".to_owned(),
        Kind::Enum(at) => model.enums[*at].name.clone(),
        Kind::Record(at) => model.records[*at].name.clone(),
        Kind::List(items) => format!("List[{}]", text(items, model)),
        Kind::Map(values) => format!("Dict[str, {}]", text(values, model)),
        Kind::Optional(inner) => format!("Optional[{}]", text(inner, model)),
    }
}
