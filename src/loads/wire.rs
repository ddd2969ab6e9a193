//! The fields of an encoded message one after the other, nothing copied. Pure.

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_varint, skip_field};

/// It is no message of this type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the load report cannot be read")]
pub struct Unreadable;

impl From<DecodeError> for Unreadable {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Double(f64),
    Other,
}

/// Nearly all keys and lengths have one byte.
#[inline]
fn varint(rest: &mut &[u8]) -> Result<u64, Unreadable> {
    match rest.split_first() {
        Some((byte, after)) if *byte < 0x80 => {
            *rest = after;
            Ok(u64::from(*byte))
        }
        _ => Ok(decode_varint(rest)?),
    }
}

/// Number and wire type of a field.
#[inline]
fn key(rest: &mut &[u8]) -> Result<(u32, WireType), Unreadable> {
    let key = varint(rest)?;
    let wire = WireType::try_from(key & 7)?;
    let field = u32::try_from(key >> 3).map_err(|_| Unreadable)?;
    if field == 0 {
        Err(Unreadable)
    } else {
        Ok((field, wire))
    }
}

/// The next field and its value; `None` at the end.
#[inline]
pub(super) fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(u32, Value<'a>)>, Unreadable> {
    if rest.is_empty() {
        return Ok(None);
    }
    let (field, wire) = key(rest)?;
    let value = match wire {
        WireType::Varint => Value::Number(varint(rest)?),
        WireType::LengthDelimited => {
            let length = usize::try_from(varint(rest)?).map_err(|_| Unreadable)?;
            let (value, after) = rest.split_at_checked(length).ok_or(Unreadable)?;
            *rest = after;
            Value::Bytes(value)
        }
        WireType::SixtyFourBit => {
            let (value, after) = rest.split_first_chunk().ok_or(Unreadable)?;
            *rest = after;
            Value::Double(f64::from_le_bytes(*value))
        }
        other => {
            skip_field(other, field, rest, DecodeContext::default())?;
            Value::Other
        }
    };
    Ok(Some((field, value)))
}

/// Text of a field.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable)
}
