//! Rust: structs and enums with a `to_json` of their own. No dependency.

use super::model::{Kind, Model};

pub(super) const RESERVED: &[&str] = &[
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "Self",
    "static",
    "struct",
    "super",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    // Types the code names.
    "BTreeMap",
    "Box",
    "Option",
    "Some",
    "None",
    "String",
    "Vec",
    "WriteJson",
    "Bytes",
    "Clone",
    "Debug",
    "PartialEq",
];

const HEAD: &str = r#"#![allow(non_snake_case, non_camel_case_types, dead_code)]

use std::collections::BTreeMap;

/// Something that is written as JSON.
pub trait WriteJson {
    fn write(&self, out: &mut String);

    fn to_json(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Bytes, written as one character each.
#[derive(Clone, Debug, PartialEq)]
pub struct Bytes(pub Vec<u8>);

impl WriteJson for Bytes {
    fn write(&self, out: &mut String) {
        quote(&self.0.iter().map(|byte| *byte as char).collect::<String>(), out);
    }
}

impl WriteJson for String {
    fn write(&self, out: &mut String) {
        quote(self, out);
    }
}

macro_rules! write_plainly {
    ($($kind:ty),*) => {
        $(impl WriteJson for $kind {
            fn write(&self, out: &mut String) {
                out.push_str(&self.to_string());
            }
        })*
    };
}

write_plainly!(bool, i32, i64);

impl WriteJson for f32 {
    fn write(&self, out: &mut String) {
        assert!(self.is_finite(), "not a finite number");
        out.push_str(&format!("{self:?}"));
    }
}

impl WriteJson for f64 {
    fn write(&self, out: &mut String) {
        assert!(self.is_finite(), "not a finite number");
        out.push_str(&format!("{self:?}"));
    }
}

impl WriteJson for () {
    fn write(&self, out: &mut String) {
        out.push_str("null");
    }
}

impl<T: WriteJson> WriteJson for Box<T> {
    fn write(&self, out: &mut String) {
        (**self).write(out);
    }
}

impl<T: WriteJson> WriteJson for Option<T> {
    fn write(&self, out: &mut String) {
        match self {
            Some(value) => value.write(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: WriteJson> WriteJson for Vec<T> {
    fn write(&self, out: &mut String) {
        out.push('[');
        for (at, item) in self.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            item.write(out);
        }
        out.push(']');
    }
}

impl<T: WriteJson> WriteJson for BTreeMap<String, T> {
    fn write(&self, out: &mut String) {
        out.push('{');
        for (at, (key, value)) in self.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            quote(key, out);
            out.push(':');
            value.write(out);
        }
        out.push('}');
    }
}

"#;

pub(super) fn write(model: &Model) -> String {
    let mut out = format!("//! Events of schema {}. Made by sluice.\n{HEAD}", model.reference);
    let mut add = |line: String| out.push_str(&(line + "\n"));
    add(format!("pub const SCHEMA_REF: &str = \"{}\";", model.reference));
    add("/// The headers to send an event with.\npub const HEADERS: [(&str, &str); 2] =".to_owned());
    add("    [(\"Strm-Schema-Ref\", SCHEMA_REF), (\"Strm-Serialization-Type\", \"application/json\")];"
        .to_owned());
    for symbols in &model.enums {
        let name = &symbols.name;
        add(format!("\n#[derive(Clone, Copy, Debug, PartialEq)]\npub enum {name} {{"));
        symbols.symbols.iter().for_each(|(ident, _)| add(format!("    {ident},")));
        add(format!("}}\n\nimpl WriteJson for {name} {{\n    fn write(&self, out: &mut String) {{"));
        add("        out.push_str(match self {".to_owned());
        symbols
            .symbols
            .iter()
            .for_each(|(id, text)| add(format!("            {name}::{id} => \"\\\"{text}\\\"\",")));
        add("        });\n    }\n}".to_owned());
    }
    for record in &model.records {
        let name = &record.name;
        add(format!("\n#[derive(Clone, Debug, PartialEq)]\npub struct {name} {{"));
        record.fields.iter().for_each(|f| add(format!("    pub {}: {},", f.ident, text(&f.kind, model))));
        add(format!("}}\n\nimpl WriteJson for {name} {{\n    fn write(&self, out: &mut String) {{"));
        add("        out.push('{');".to_owned());
        for (at, field) in record.fields.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            add(format!("        out.push_str(\"{comma}\\\"{}\\\":\");", field.json));
            add(format!("        self.{}.write(out);", field.ident));
        }
        add("        out.push('}');\n    }\n}".to_owned());
    }
    out
}

fn text(kind: &Kind, model: &Model) -> String {
    match kind {
        Kind::Null => "()".to_owned(),
        Kind::Boolean => "bool".to_owned(),
        Kind::Int => "i32".to_owned(),
        Kind::Long => "i64".to_owned(),
        Kind::Float => "f32".to_owned(),
        Kind::Double => "f64".to_owned(),
        Kind::Text => "String".to_owned(),
        Kind::Bytes => "Bytes".to_owned(),
        Kind::Enum(at) => model.enums[*at].name.clone(),
        Kind::Record(at) => model.records[*at].name.clone(),
        Kind::List(items) => format!("Vec<{}>", text(items, model)),
        Kind::Map(values) => format!("BTreeMap<String, {}>", text(values, model)),
        // A record may hold itself.
        Kind::Optional(inner) if matches!(**inner, Kind::Record(_)) => {
            format!("Option<Box<{}>>", text(inner, model))
        }
        Kind::Optional(inner) => format!("Option<{}>", text(inner, model)),
    }
}
