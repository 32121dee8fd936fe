//! The header by which a key or a value names its schema. Each kind of registry has its own.

use std::fmt;
use std::io::Read as _;

use bytes::Bytes;
use flate2::read::ZlibDecoder;
use uuid::Uuid;

/// The largest size of a decompressed value, in bytes. It is more than any invocation takes.
const MOST_BYTES: u64 = 64 << 20;

/// The header that serializers put before the payload. It has the schema's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Byte 0, and then 4 bytes with a number.
    Confluent,
    /// Byte 3, a byte that names the compression, and 16 bytes with a UUID.
    Glue,
}

/// A registry's id of a schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum SchemaId {
    Number(u32),
    Version(Uuid),
}

/// A key or a value without its header.
#[derive(Debug, PartialEq)]
pub(super) struct FramedPayload {
    pub(super) id: SchemaId,
    /// The decompressed rest. A Protobuf message still begins with the index of its type, as on AWS.
    pub(super) payload: Bytes,
}

impl Framing {
    pub(super) fn open(self, bytes: &Bytes) -> Result<FramedPayload, String> {
        match (self, bytes.first_chunk::<5>(), bytes.first_chunk::<18>()) {
            (Self::Confluent, Some([0, id @ ..]), _) => {
                Ok(FramedPayload { id: SchemaId::Number(u32::from_be_bytes(*id)), payload: bytes.slice(5..) })
            }
            (Self::Glue, _, Some([3, compression, id @ ..])) => {
                let payload = match compression {
                    0 => bytes.slice(18..),
                    5 => inflated(&bytes[18..])?,
                    other => {
                        return Err(format!(
                            "its compression is byte {other}; there are 0 for none and 5 for zlib"
                        ));
                    }
                };
                Ok(FramedPayload { id: SchemaId::Version(Uuid::from_bytes(*id)), payload })
            }
            _ => Err(self.refusal(bytes)),
        }
    }

    fn refusal(self, bytes: &Bytes) -> String {
        let begins: Vec<String> = bytes.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
        let found = match (self, bytes.first(), bytes.len()) {
            (_, None, _) => "it is empty".to_owned(),
            (Self::Confluent, Some(3), 18..) => {
                "it begins with 03, as from a serializer of AWS Glue's registry".to_owned()
            }
            (Self::Glue, Some(0), 5..) => {
                "it begins with 00, as from a serializer of a Confluent registry".to_owned()
            }
            _ => format!("it begins with {}", begins.join(" ")),
        };
        let wanted = match self {
            Self::Confluent => {
                "a serializer of a Confluent registry begins with 00 and 4 bytes of the schema's id"
            }
            Self::Glue => {
                "a serializer of AWS Glue's registry begins with 03, the compression and 16 bytes of the schema's version"
            }
        };
        format!("{found}; {wanted}")
    }
}

fn inflated(bytes: &[u8]) -> Result<Bytes, String> {
    let mut payload = Vec::new();
    let read = ZlibDecoder::new(bytes).take(MOST_BYTES + 1).read_to_end(&mut payload);
    match read {
        Ok(size) if size as u64 > MOST_BYTES => Err(format!("it is more than {} MiB", MOST_BYTES >> 20)),
        Ok(_) => Ok(payload.into()),
        Err(error) => Err(format!("it says that it is compressed by zlib, and is not: {error}")),
    }
}

/// The id as events write it.
impl fmt::Display for SchemaId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(formatter),
            Self::Version(version) => version.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn opened(framing: Framing, bytes: &[u8]) -> Result<FramedPayload, String> {
        framing.open(&Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn confluents_header_is_a_zero_and_a_number() {
        let framed = opened(Framing::Confluent, &[0, 0, 0, 1, 2, 7, 8]).unwrap();
        assert_eq!(framed, FramedPayload { id: SchemaId::Number(258), payload: Bytes::from_static(&[7, 8]) });
        assert_eq!(framed.id.to_string(), "258");
        assert!(opened(Framing::Confluent, &[0, 0, 0, 0, 1]).unwrap().payload.is_empty());
    }

    #[test]
    fn glues_header_is_a_three_the_compression_and_a_uuid() {
        let version: Uuid = "b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63".parse().unwrap();
        let header = |compression| [&[3, compression], version.as_bytes().as_slice()].concat();
        let plain = opened(Framing::Glue, &[header(0), b"abc".to_vec()].concat()).unwrap();
        assert_eq!((plain.id.to_string(), &*plain.payload), (version.to_string(), b"abc".as_slice()));
        let mut zlib = ZlibEncoder::new(header(5), Compression::default());
        zlib.write_all(b"abc").unwrap();
        let compressed = zlib.finish().unwrap();
        assert_eq!(opened(Framing::Glue, &compressed).unwrap(), plain);
        for (bytes, said) in [
            ([header(5), b"abc".to_vec()].concat(), "compressed by zlib, and is not"),
            (header(7), "its compression is byte 7"),
        ] {
            assert!(opened(Framing::Glue, &bytes).unwrap_err().contains(said));
        }
    }

    #[test]
    fn what_no_serializer_wrote_is_said_with_how_it_begins() {
        for (framing, bytes, said) in [
            (
                Framing::Confluent,
                &b"{\"a\":1}"[..],
                "it begins with 7b 22 61 22 3a; a serializer of a Confluent",
            ),
            (Framing::Confluent, &[], "it is empty"),
            (Framing::Confluent, &[0, 0, 0], "it begins with 00 00 00"),
            (Framing::Confluent, &[3; 20], "as from a serializer of AWS Glue's registry"),
            (Framing::Glue, &[0; 20], "as from a serializer of a Confluent registry"),
            (Framing::Glue, &[3; 17], "it begins with 03 03 03 03 03; a serializer of AWS Glue's"),
        ] {
            let error = opened(framing, bytes).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
