//! The fields of an encoded message of Protocol Buffers one after the other, nothing copied. Pure.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_varint, skip_field};

/// It is no message of this type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be read")]
pub struct Unreadable;

impl From<DecodeError> for Unreadable {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A variable-length integer.
    Number(u64),
    /// A length and that many bytes: text, bytes or a message.
    Bytes(&'a [u8]),
    /// Eight bytes.
    Double(f64),
    /// Anything else.
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
///
/// # Errors
/// [`Unreadable`]
#[inline]
pub fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(u32, Value<'a>)>, Unreadable> {
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
///
/// # Errors
/// [`Unreadable`]: no UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable)
}

/// The IP address and port of an `envoy.config.core.v3.Address`; `None`: it is of another sort.
///
/// # Errors
/// [`Unreadable`]
pub fn address(mut rest: &[u8]) -> Result<Option<SocketAddr>, Unreadable> {
    let mut found = None;
    while let Some((field, value)) = next(&mut rest)? {
        let (1, Value::Bytes(mut socket)) = (field, value) else {
            continue;
        };
        let (mut ip, mut port) = ("", 0);
        while let Some((field, value)) = next(&mut socket)? {
            match (field, value) {
                (2, Value::Bytes(bytes)) => ip = text(bytes)?,
                (3, Value::Number(number)) => port = number,
                _ => {}
            }
        }
        let ip = ip.parse::<IpAddr>().ok();
        let port = u16::try_from(port).ok();
        found = ip
            .zip(port)
            .map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port));
    }
    Ok(found)
}

/// A `google.protobuf.Duration`; what is negative, or longer than a day, is zero and its fraction.
///
/// # Errors
/// [`Unreadable`]
pub fn duration(mut rest: &[u8]) -> Result<Duration, Unreadable> {
    let (mut seconds, mut nanos) = (0, 0);
    while let Some((field, value)) = next(&mut rest)? {
        match (field, value) {
            (1, Value::Number(number)) => seconds = number,
            (2, Value::Number(number)) => nanos = number,
            _ => {}
        }
    }
    let seconds = Some(seconds).filter(|s| *s < 86_400).unwrap_or_default();
    Ok(Duration::from_secs(seconds) + Duration::from_nanos(nanos.min(999_999_999)))
}
