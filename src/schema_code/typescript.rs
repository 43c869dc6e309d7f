//! TypeScript: interfaces, and a function that writes an event as JSON.

use std::fmt::Write;

use super::model::{Kind, Model};

/// Property names may be any word; classes and enums may not be these.
pub(super) const RESERVED: &[&str] = &[
    "Array",
    "Boolean",
    "Date",
    "Error",
    "Function",
    "JSON",
    "Map",
    "Number",
    "Object",
    "Promise",
    "Record",
    "Set",
    "String",
    "Symbol",
    "Uint8Array",
    "__proto__",
];

pub(super) fn write(model: &Model) -> String {
    let mut out = format!("// Events of schema {}. Made by sluice.\n\n", model.reference);
    let mut add = |line: String| out.push_str(&(line + "\n"));
    for symbols in &model.enums {
        let texts: Vec<_> = symbols.symbols.iter().map(|(_, text)| format!("\"{text}\"")).collect();
        add(format!("export type {} = {};\n", symbols.name, texts.join(" | ")));
    }
    for record in &model.records {
        add(format!("export interface {} {{", record.name));
        for field in &record.fields {
            let optional = if matches!(field.kind, Kind::Optional(_) | Kind::Null) { "?" } else { "" };
            add(format!("  {}{optional}: {};", field.json, text(&field.kind, model)));
        }
        add("}\n".to_owned());
    }
    let root = &model.root().name;
    let _infallible = write!(
        out,
        r#"export const schemaRef = "{}";

/** The headers to send the event with. */
export const headers: {{ [name: string]: string }} = {{
  "Strm-Schema-Ref": schemaRef,
  "Strm-Serialization-Type": "application/json",
}};

/** The event as JSON. A bigint is written as a number, bytes as one character each. */
export function toJson(event: {root}): string {{
  const write = (value: unknown): string => {{
    if (value === null || value === undefined) return "null";
    if (typeof value === "bigint") return value.toString();
    if (typeof value === "number" && !Number.isFinite(value)) throw new RangeError("not a finite number");
    if (value instanceof Uint8Array) return JSON.stringify(String.fromCharCode(...value));
    if (Array.isArray(value)) return "[" + value.map(write).join(",") + "]";
    if (typeof value === "object") {{
      const entries = Object.entries(value as object).filter(([, entry]) => entry !== undefined);
      return "{{" + entries.map(([key, entry]) => JSON.stringify(key) + ":" + write(entry)).join(",") + "}}";
    }}
    return JSON.stringify(value);
  }};
  return write(event);
}}
"#,
        model.reference
    );
    out
}

fn text(kind: &Kind, model: &Model) -> String {
    match kind {
        Kind::Null => "null".to_owned(),
        Kind::Boolean => "boolean".to_owned(),
        Kind::Long => "number | bigint".to_owned(),
        Kind::Int | Kind::Float | Kind::Double => "number".to_owned(),
        Kind::Text => "string".to_owned(),
        Kind::Bytes => "Uint8Array".to_owned(),
        Kind::Enum(at) => model.enums[*at].name.clone(),
        Kind::Record(at) => model.records[*at].name.clone(),
        Kind::List(items) => format!("({})[]", text(items, model)),
        Kind::Map(values) => format!("{{ [key: string]: {} }}", text(values, model)),
        Kind::Optional(inner) => format!("{} | null", text(inner, model)),
    }
}
