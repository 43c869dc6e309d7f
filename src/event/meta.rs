//! `strmMeta` of an Avro schema: where its parts are, and what their types must be.

use super::{
    error::SchemaError,
    shape::{Node, NodeId, Nodes},
};

/// Name of the section every event begins with.
pub(super) const META: &str = "strmMeta";
pub(super) const CONTRACT_REF: &str = "eventContractRef";
pub(super) const CONSENT_LEVELS: &str = "consentLevels";
pub(super) const NONCE: &str = "nonce";
pub(super) const TIMESTAMP: &str = "timestamp";
pub(super) const KEY_LINK: &str = "keyLink";
const BILLING_ID: &str = "billingId";

/// A nullable field of `strmMeta` that the gateway writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamped {
    /// Number of the field in `strmMeta`.
    pub field: usize,
    /// Branch of its union that is not null.
    pub branch: u32,
}

/// Field numbers within `strmMeta`.
#[derive(Clone, Copy, Debug)]
pub(super) struct MetaShape {
    pub contract: usize,
    pub consent: usize,
    pub nonce: Stamped,
    pub timestamp: Stamped,
    pub key_link: Stamped,
}

/// Finds `strmMeta` in a compiled schema.
///
/// # Errors
///
/// It is not the first field, or one of its fields is missing, unknown or of another type than
/// `eventContractRef` string, `nonce` null|int, `timestamp` null|long, `keyLink` null|string,
/// `billingId` null|string (may be absent), `consentLevels` array of int.
pub(super) fn find(nodes: &Nodes, root: NodeId) -> Result<MetaShape, SchemaError> {
    let refuse = |path: &str, rule: &str| SchemaError { path: path.to_owned(), rule: rule.to_owned() };
    let Node::Record(event) = nodes.get(root) else { return Err(refuse("", "an event must be a record")) };
    let first = event.fields.first().filter(|field| &*field.name == META);
    let Some(Node::Record(meta)) = first.map(|field| nodes.get(field.node)) else {
        return Err(refuse(META, "must be the first field, and a record"));
    };
    let optional = |name: &str, is: fn(&Node) -> bool, wanted: &str| {
        let path = format!("{META}/{name}");
        let Some(field) = meta.position(name.as_bytes()) else { return Err(refuse(&path, "is missing")) };
        if let Node::Union(union) = nodes.get(meta.fields[field].node)
            && union.null.is_some()
            && let Some((branch, node)) = union.sole
            && is(nodes.get(node))
        {
            return Ok(Stamped { field, branch });
        }
        Err(refuse(&path, wanted))
    };
    let required = |name: &str, is: &dyn Fn(&Node) -> bool, wanted: &str| {
        let path = format!("{META}/{name}");
        let Some(field) = meta.position(name.as_bytes()) else { return Err(refuse(&path, "is missing")) };
        if is(nodes.get(meta.fields[field].node)) { Ok(field) } else { Err(refuse(&path, wanted)) }
    };
    let is_levels =
        |node: &Node| matches!(node, Node::Array(items) if matches!(nodes.get(*items), Node::Int));
    let is_text = |node: &Node| matches!(node, Node::Text);
    let shape = MetaShape {
        contract: required(CONTRACT_REF, &is_text, "must be a string")?,
        consent: required(CONSENT_LEVELS, &is_levels, "must be an array of int")?,
        nonce: optional(NONCE, |node| matches!(node, Node::Int), "must be a union of null and int")?,
        timestamp: optional(
            TIMESTAMP,
            |node| matches!(node, Node::Long),
            "must be a union of null and long",
        )?,
        key_link: optional(KEY_LINK, is_text, "must be a union of null and string")?,
    };
    if meta.position(BILLING_ID.as_bytes()).is_some() {
        optional(BILLING_ID, is_text, "must be a union of null and string")?;
    }
    let known = [CONTRACT_REF, CONSENT_LEVELS, NONCE, TIMESTAMP, KEY_LINK, BILLING_ID];
    match meta.fields.iter().find(|field| !known.contains(&&*field.name)) {
        Some(field) => Err(refuse(&format!("{META}/{}", field.name), "is not a field of strmMeta")),
        None => Ok(shape),
    }
}
