//! Java 17: one public final class that holds a record for each record of the schema. No dependency.

use super::model::{Kind, Model};

pub(super) const RESERVED: &[&str] = &[
    "abstract",
    "assert",
    "boolean",
    "break",
    "byte",
    "case",
    "catch",
    "char",
    "class",
    "const",
    "continue",
    "default",
    "do",
    "double",
    "else",
    "enum",
    "extends",
    "final",
    "finally",
    "float",
    "for",
    "goto",
    "if",
    "implements",
    "import",
    "instanceof",
    "int",
    "interface",
    "long",
    "native",
    "new",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "short",
    "static",
    "strictfp",
    "super",
    "switch",
    "synchronized",
    "this",
    "throw",
    "throws",
    "transient",
    "try",
    "void",
    "volatile",
    "while",
    "true",
    "false",
    "null",
    "var",
    "yield",
    "record",
    "sealed",
    "permits",
    "_",
    // Methods that a record has or inherits, and classes the code names.
    "clone",
    "finalize",
    "getClass",
    "hashCode",
    "notify",
    "notifyAll",
    "toString",
    "wait",
    "equals",
    "toJson",
    "Boolean",
    "Double",
    "Float",
    "Integer",
    "Long",
    "List",
    "Map",
    "Object",
    "Override",
    "Record",
    "String",
    "StringBuilder",
    "Void",
    "Iterable",
    "Sluice",
    "Json",
];

const HEAD: &str = r#"import java.util.List;
import java.util.Map;

public final class Sluice {
    private Sluice() {}

    /** Something that is written as JSON. */
    public interface Json {
        void write(StringBuilder out);

        default String toJson() {
            StringBuilder out = new StringBuilder();
            write(out);
            return out.toString();
        }
    }

    private static void write(Object value, StringBuilder out) {
        if (value instanceof Json json) {
            json.write(out);
        } else if (value instanceof String text) {
            quote(text, out);
        } else if (value instanceof byte[] bytes) {
            quote(new String(bytes, java.nio.charset.StandardCharsets.ISO_8859_1), out);
        } else if (value instanceof Double number && !Double.isFinite(number)
                || value instanceof Float other && !Float.isFinite(other)) {
            throw new IllegalArgumentException("not a finite number");
        } else if (value instanceof List<?> list) {
            out.append('[');
            String comma = "";
            for (Object item : list) {
                out.append(comma);
                write(item, out);
                comma = ",";
            }
            out.append(']');
        } else if (value instanceof Map<?, ?> map) {
            out.append('{');
            String comma = "";
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                out.append(comma);
                quote((String) entry.getKey(), out);
                out.append(':');
                write(entry.getValue(), out);
                comma = ",";
            }
            out.append('}');
        } else {
            out.append(value);
        }
    }

    private static void quote(String text, StringBuilder out) {
        out.append('"');
        for (int at = 0; at < text.length(); at++) {
            char c = text.charAt(at);
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < 0x20) {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        out.append('"');
    }

"#;

pub(super) fn write(model: &Model) -> String {
    let mut out =
        format!("// Events of schema {}. Made by sluice. Save as Sluice.java.\n{HEAD}", model.reference);
    let mut add = |line: String| out.push_str(&(line + "\n"));
    add(format!("    public static final String SCHEMA_REF = \"{}\";", model.reference));
    add("    /** The headers to send an event with. */\n    public static final Map<String, String> HEADERS = Map.of(".to_owned());
    add("            \"Strm-Schema-Ref\", SCHEMA_REF, \"Strm-Serialization-Type\", \"application/json\");\n"
        .to_owned());
    for symbols in &model.enums {
        let constants: Vec<_> =
            symbols.symbols.iter().map(|(id, text)| format!("{id}(\"{text}\")")).collect();
        add(format!(
            "    public enum {} implements Json {{\n        {};\n",
            symbols.name,
            constants.join(", ")
        ));
        add(format!(
            "        private final String text;\n\n        {}(String text) {{\n            this.text = text;\n        }}\n",
            symbols.name
        ));
        add("        @Override\n        public void write(StringBuilder out) {\n            quote(text, out);\n        }\n    }\n".to_owned());
    }
    for record in &model.records {
        let fields: Vec<_> =
            record.fields.iter().map(|f| format!("{} {}", text(&f.kind, model), f.ident)).collect();
        let head = format!("    public record {}(", record.name);
        add(format!("{head}{}) implements Json {{", fields.join(", ")));
        add(
            "        @Override\n        public void write(StringBuilder out) {\n            out.append('{');"
                .to_owned(),
        );
        for (at, field) in record.fields.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            add(format!("            out.append(\"{comma}\\\"{}\\\":\");", field.json));
            add(format!("            Sluice.write(this.{}, out);", field.ident));
        }
        add("            out.append('}');\n        }\n    }\n".to_owned());
    }
    add("}".to_owned());
    out
}

fn text(kind: &Kind, model: &Model) -> String {
    match kind {
        Kind::Null => "Void".to_owned(),
        Kind::Boolean => "Boolean".to_owned(),
        Kind::Int => "Integer".to_owned(),
        Kind::Long => "Long".to_owned(),
        Kind::Float => "Float".to_owned(),
        Kind::Double => "Double".to_owned(),
        Kind::Text => "String".to_owned(),
        Kind::Bytes => "byte[]".to_owned(),
        Kind::Enum(at) => model.enums[*at].name.clone(),
        Kind::Record(at) => model.records[*at].name.clone(),
        Kind::List(items) => format!("List<{}>", text(items, model)),
        Kind::Map(values) => format!("Map<String, {}>", text(values, model)),
        Kind::Optional(inner) => text(inner, model),
    }
}
