//! The canonical bytes of commands and events: fields in declaration order, little-endian, no padding.
//!
//! Every message is a kind byte followed by its fields. The layouts are pinned by golden-byte tests: a change of
//! one is a change of the journal's format.

use super::{
    AccountId, AirdropId, Amount, AssetId, ClientOrderId, Controls, Digest, ExternalId, FeeRate, Gate, LimitType,
    ManifestHash, MarketId, OperatorId, OrderId, Price, Quantity, Sequence, Side, Symbol, Timestamp, TradingStatus,
    WithdrawalId,
};

/// The longest message, kind byte included. A message never allocates.
pub const MESSAGE_BYTES_MAX: usize = 96;

/// Writes fields one after the other.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: [u8; MESSAGE_BYTES_MAX],
    length: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self { bytes: [0; MESSAGE_BYTES_MAX], length: 0 }
    }
}

impl Writer {
    /// Appends bytes as they are.
    #[inline]
    pub fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.length..self.length + N].copy_from_slice(&bytes);
        self.length += N;
    }

    /// What has been written.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Reads fields one after the other.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the first of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when there are fewer.
    #[inline]
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.bytes = tail;
        Ok(*head)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`WireError::TrailingBytes`] when something is.
    #[inline]
    pub const fn finish(self) -> Result<(), WireError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(WireError::TrailingBytes(self.bytes.len())) }
    }
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// Bytes follow the last field.
    #[error("{0} bytes follow the last field of the message")]
    TrailingBytes(usize),
    /// No message has this kind.
    #[error("no message has kind {0}")]
    UnknownKind(u8),
    /// A field's value has no meaning.
    #[error("{value} is no value of {field}")]
    InvalidValue {
        /// The type of the field.
        field: &'static str,
        /// What was read.
        value: u64,
    },
}

/// A value with canonical bytes.
pub trait Wire: Sized {
    /// Appends the value's bytes.
    fn put(&self, writer: &mut Writer);

    /// Reads a value.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are not one.
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError>;
}

macro_rules! wire_integer {
    ($($integer:ty),+) => {$(
        impl Wire for $integer {
            #[inline]
            fn put(&self, writer: &mut Writer) {
                writer.put(self.to_le_bytes());
            }
            #[inline]
            fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
                Ok(Self::from_le_bytes(reader.take()?))
            }
        }
    )+};
}
wire_integer!(u8, u16, u32, u64, i64);

macro_rules! wire_newtype {
    ($($name:ident($inner:ty)),+ $(,)?) => {$(
        impl Wire for $name {
            #[inline]
            fn put(&self, writer: &mut Writer) {
                writer.put(self.0.to_le_bytes());
            }
            #[inline]
            fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
                Ok(Self(<$inner>::from_le_bytes(reader.take()?)))
            }
        }
    )+};
}
wire_newtype!(
    AccountId(u32),
    AssetId(u16),
    MarketId(u16),
    OrderId(u64),
    ClientOrderId(u64),
    WithdrawalId(u64),
    OperatorId(u16),
    AirdropId(u32),
    Controls(u8),
    Sequence(u64),
    Timestamp(u64),
    Price(u64),
    Quantity(u64),
    Amount(u64),
    FeeRate(i16),
);

macro_rules! wire_enum {
    ($($name:ident),+ $(,)?) => {$(
        impl $crate::types::wire::Wire for $name {
            #[inline]
            fn put(&self, writer: &mut $crate::types::wire::Writer) {
                writer.put([*self as u8]);
            }
            #[inline]
            fn get(reader: &mut $crate::types::wire::Reader<'_>) -> Result<Self, $crate::types::wire::WireError> {
                let [number] = reader.take()?;
                Self::from_number(number).ok_or($crate::types::wire::WireError::InvalidValue {
                    field: stringify!($name),
                    value: number.into(),
                })
            }
        }
    )+};
}
pub(crate) use wire_enum;
wire_enum!(Side, LimitType, TradingStatus, Gate);

impl Wire for Symbol {
    fn put(&self, writer: &mut Writer) {
        writer.put(self.to_bytes());
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self::from_bytes(reader.take()?))
    }
}

macro_rules! wire_bytes {
    ($($name:ident),+ $(,)?) => {$(
        impl Wire for $name {
            fn put(&self, writer: &mut Writer) {
                writer.put(self.0);
            }
            fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
                Ok(Self(reader.take()?))
            }
        }
    )+};
}
wire_bytes!(ExternalId, Digest, ManifestHash);

/// Declares an enum of messages with fixed kind numbers and derives its canonical bytes from the field list.
macro_rules! messages {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $(
                $(#[$variant_meta:meta])*
                $variant:ident = $kind:literal { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }
            ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_meta])* $variant { $($(#[$field_meta])* $field: $type),* }),+
        }

        impl $name {
            /// All kinds: number and name, numbers ascending.
            pub const KINDS: &'static [(u8, &'static str)] = &[$(($kind, stringify!($variant))),+];

            /// The kind's number: fixed for ever, the first byte of the message.
            #[must_use]
            #[inline]
            pub const fn kind(&self) -> u8 {
                match self { $(Self::$variant { .. } => $kind),+ }
            }

            /// The kind's name.
            #[must_use]
            pub const fn kind_name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => stringify!($variant)),+ }
            }

            /// Appends the canonical bytes: the kind, then the fields in order.
            #[inline]
            pub fn encode(&self, writer: &mut $crate::types::wire::Writer) {
                use $crate::types::wire::Wire as _;
                match self {
                    $(Self::$variant { $($field),* } => {
                        writer.put([$kind]);
                        $($field.put(writer);)*
                    })+
                }
            }

            /// Reads a message that fills `bytes` exactly.
            ///
            /// # Errors
            /// [`WireError`](crate::types::wire::WireError) when the bytes are not one.
            #[inline]
            pub fn decode(bytes: &[u8]) -> Result<Self, $crate::types::wire::WireError> {
                use $crate::types::wire::{Reader, Wire as _, WireError};
                let mut reader = Reader::new(bytes);
                let [kind] = reader.take()?;
                let message = match kind {
                    $($kind => Self::$variant { $($field: <$type>::get(&mut reader)?),* },)+
                    _ => return Err(WireError::UnknownKind(kind)),
                };
                reader.finish()?;
                Ok(message)
            }

            /// As [`decode`](Self::decode), into a place where a message is already: nothing is moved about afterwards.
            /// After an error it holds whatever it does.
            ///
            /// # Errors
            /// As `decode`.
            #[inline]
            pub fn decode_into(bytes: &[u8], message: &mut Self) -> Result<(), $crate::types::wire::WireError> {
                use $crate::types::wire::{Reader, Wire as _, WireError};
                let mut reader = Reader::new(bytes);
                let [kind] = reader.take()?;
                match kind {
                    $($kind => *message = Self::$variant { $($field: <$type>::get(&mut reader)?),* },)+
                    _ => return Err(WireError::UnknownKind(kind)),
                }
                reader.finish()
            }
        }
    };
}
pub(crate) use messages;
