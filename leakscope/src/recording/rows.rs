//! Rows of a map, as the kernel side has them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::hex;
use crate::bpf::{Pod, bytes_of, value_of};

/// Keys and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows<K, V>(pub Vec<(K, V)>);

/// The same as it stands on the tape.
#[derive(Serialize, Deserialize)]
struct Bytes {
    key: usize,
    value: usize,
    rows: String,
}

impl<K: Pod, V: Pod> Serialize for Rows<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.0.len() * (size_of::<K>() + size_of::<V>()));
        for (key, value) in &self.0 {
            bytes.extend_from_slice(bytes_of(key));
            bytes.extend_from_slice(bytes_of(value));
        }
        Bytes { key: size_of::<K>(), value: size_of::<V>(), rows: hex::encode(&bytes) }.serialize(serializer)
    }
}

impl<'de, K: Pod, V: Pod> Deserialize<'de> for Rows<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Bytes { key, value, rows } = Bytes::deserialize(deserializer)?;
        // Values only ever get more members, at their end: those of older recordings have zeros there.
        let grown = value < size_of::<V>() && value > 0 && value.is_multiple_of(8);
        if key != size_of::<K>() || !(grown || value == size_of::<V>()) {
            return Err(D::Error::custom(format!(
                "keys and values have {key} and {value} bytes, not {} and {}",
                size_of::<K>(),
                size_of::<V>()
            )));
        }
        let bytes = hex::decode(&rows).ok_or_else(|| D::Error::custom("not hexadecimal digits"))?;
        let row = |row: &[u8]| {
            let mut of_value = row.get(key..).filter(|bytes| bytes.len() == value)?.to_vec();
            of_value.resize(size_of::<V>(), 0);
            Some((value_of(row.get(..key)?)?, value_of(&of_value)?))
        };
        let rows = bytes.chunks(key + value).map(row).collect::<Option<_>>();
        rows.map(Self).ok_or_else(|| D::Error::custom("the last row is not whole"))
    }
}
