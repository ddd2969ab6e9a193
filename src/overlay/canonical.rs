//! A message as bytes, the same each time: entries of maps in the order of their keys, also inside of `Any`.

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};

/// Deeper nobody nests: the text that it was read from has a bound of its own.
const DEEPEST: usize = 100;

/// Why a message cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeError {
    /// It is nested too deep.
    #[error("it is nested more than {DEEPEST} deep")]
    Deep,
    /// What stands in an `Any` is not of the type that it names.
    #[error("reading a {0}")]
    Any(String, #[source] prost::DecodeError),
}

pub(super) fn encode(message: &DynamicMessage) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    put(message, &mut bytes, 0)?;
    Ok(bytes)
}

fn put(message: &DynamicMessage, into: &mut Vec<u8>, depth: usize) -> Result<(), EncodeError> {
    if depth > DEEPEST {
        return Err(EncodeError::Deep);
    }
    if message.descriptor().full_name() == "google.protobuf.Any" {
        return any(message, into, depth);
    }
    let mut fields: Vec<(FieldDescriptor, &Value)> = message.fields().collect();
    fields.sort_by_key(|(field, _)| field.number());
    for (field, value) in fields {
        match value {
            Value::Map(entries) => {
                let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
                entries.sort_by(|(a, _), (b, _)| order(a, b));
                for (key, value) in entries {
                    entry(message, &field, (key, value), into, depth)?;
                }
            }
            Value::Message(inner) => nested(field.number(), inner, into, depth)?,
            Value::List(items) if matches!(field.kind(), Kind::Message(_)) => {
                for item in items {
                    if let Value::Message(inner) = item {
                        nested(field.number(), inner, into, depth)?;
                    }
                }
            }
            plain => {
                let mut one = DynamicMessage::new(message.descriptor());
                one.set_field(&field, plain.clone());
                into.extend(one.encode_to_vec());
            }
        }
    }
    Ok(())
}

fn order(a: &MapKey, b: &MapKey) -> std::cmp::Ordering {
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => a.cmp(b),
        // Envoy's messages have no other keys that overlays could hold several of; numbers go by their digits.
        _ => format!("{a:?}").cmp(&format!("{b:?}")),
    }
}

fn nested(number: u32, inner: &DynamicMessage, into: &mut Vec<u8>, depth: usize) -> Result<(), EncodeError> {
    let mut bytes = Vec::new();
    put(inner, &mut bytes, depth + 1)?;
    delimited(number, &bytes, into);
    Ok(())
}

fn delimited(number: u32, bytes: &[u8], into: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, into);
    encode_varint(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}

/// One entry of a map is a message with a key and a value.
fn entry(
    message: &DynamicMessage,
    field: &FieldDescriptor,
    (key, value): (&MapKey, &Value),
    into: &mut Vec<u8>,
    depth: usize,
) -> Result<(), EncodeError> {
    let Value::Message(inner) = value else {
        let mut one = DynamicMessage::new(message.descriptor());
        one.set_field(field, Value::Map([(key.clone(), value.clone())].into()));
        into.extend(one.encode_to_vec());
        return Ok(());
    };
    let mut bytes = Vec::new();
    if let Some(text) = key.as_str() {
        delimited(1, text.as_bytes(), &mut bytes);
        nested(2, inner, &mut bytes, depth)?;
        delimited(field.number(), &bytes, into);
    } else {
        let mut one = DynamicMessage::new(message.descriptor());
        one.set_field(field, Value::Map([(key.clone(), value.clone())].into()));
        into.extend(one.encode_to_vec());
    }
    Ok(())
}

fn any(message: &DynamicMessage, into: &mut Vec<u8>, depth: usize) -> Result<(), EncodeError> {
    let text = |name: &str| message.get_field_by_name(name);
    let url = text("type_url")
        .and_then(|url| url.as_str().map(str::to_owned))
        .unwrap_or_default();
    let bytes = text("value")
        .and_then(|value| value.as_bytes().cloned())
        .unwrap_or_default();
    let pool = message.descriptor().parent_pool().clone();
    let inner = match pool.get_message_by_name(url.rsplit('/').next().unwrap_or_default()) {
        Some(descriptor) => {
            let inner =
                DynamicMessage::decode(descriptor, bytes).map_err(|e| EncodeError::Any(url.clone(), e))?;
            let mut sorted = Vec::new();
            put(&inner, &mut sorted, depth + 1)?;
            sorted
        }
        None => bytes.to_vec(),
    };
    if !url.is_empty() {
        delimited(1, url.as_bytes(), into);
    }
    if !inner.is_empty() {
        delimited(2, &inner, into);
    }
    Ok(())
}
