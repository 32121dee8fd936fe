//! Reads a datum by its schema's types.

use event_source_mapping::PAYLOAD_LIMIT;

use super::schema::{AvroType, Primitive};

/// The deepest nesting of types. A recursive type has no limit of its own.
const DEEPEST: usize = 128;
/// The most values within a value. Elements without content, such as null, need no bytes, so that a few bytes may claim any
/// number of them. In JSON each value has at least one byte, so that an invocation never takes more.
const MOST_VALUES: usize = PAYLOAD_LIMIT;

/// A datum, while it is read.
pub(super) struct Datum<'a> {
    types: &'a [AvroType],
    /// The bytes that are not read yet.
    bytes: &'a [u8],
    /// The JSON so far. `None` means that the datum is only checked.
    json: Option<&'a mut Vec<u8>>,
    values_left: usize,
}

impl<'a> Datum<'a> {
    pub(super) fn new(types: &'a [AvroType], bytes: &'a [u8], json: Option<&'a mut Vec<u8>>) -> Self {
        Self { types, bytes, json, values_left: MOST_VALUES }
    }

    /// Reads the datum as one of this type. Bytes behind it are ignored, as in Avro's own readers.
    pub(super) fn read(&mut self, root: usize) -> Result<(), String> {
        self.value(root, DEEPEST)
    }

    fn value(&mut self, place: usize, depth_left: usize) -> Result<(), String> {
        let types = self.types;
        let depth_left = depth_left.checked_sub(1).ok_or("it is nested too deep")?;
        self.values_left = self.values_left.checked_sub(1).ok_or("it has too many values")?;
        match &types[place] {
            AvroType::Union(branches) => {
                let branch = *self.index(branches, "types of the union")?;
                self.value(branch, depth_left)
            }
            AvroType::Array(items) => {
                self.write(b"[");
                self.blocks(|datum| datum.value(*items, depth_left))?;
                self.write(b"]");
                Ok(())
            }
            AvroType::Map(values) => {
                self.write(b"{");
                self.blocks(|datum| {
                    datum.text()?;
                    datum.write(b":");
                    datum.value(*values, depth_left)
                })?;
                self.write(b"}");
                Ok(())
            }
            AvroType::Record(fields) => self.record(fields, depth_left),
            AvroType::Enum(symbols) => {
                let symbol = self.index(symbols, "symbols of the enum")?;
                self.write(symbol.as_bytes());
                Ok(())
            }
            AvroType::Primitive(kind) => self.primitive(*kind),
        }
    }

    fn primitive(&mut self, kind: Primitive) -> Result<(), String> {
        match kind {
            Primitive::Null => self.write(b"null"),
            Primitive::Boolean => match self.take(1)? {
                [0] => self.write(b"false"),
                [1] => self.write(b"true"),
                other => return Err(format!("{} is not a boolean", other[0])),
            },
            Primitive::Int => {
                let number = self.long()?;
                let number = i32::try_from(number).map_err(|_| format!("{number} is not an int"))?;
                self.write(number.to_string().as_bytes());
            }
            Primitive::Long => {
                let number = self.long()?;
                self.write(number.to_string().as_bytes());
            }
            Primitive::Float => {
                let number = f32::from_le_bytes(self.array()?);
                self.number(number.into(), &number)?;
            }
            Primitive::Double => {
                let number = f64::from_le_bytes(self.array()?);
                self.number(number, &number)?;
            }
            Primitive::Bytes => {
                let bytes = self.with_length()?;
                self.latin1(bytes);
            }
            Primitive::Fixed(size) => {
                let bytes = self.take(size)?;
                self.latin1(bytes);
            }
            Primitive::String => self.text()?,
        }
        Ok(())
    }

    fn record(&mut self, fields: &[(String, usize)], depth_left: usize) -> Result<(), String> {
        self.write(b"{");
        for (place, (name, kind)) in fields.iter().enumerate() {
            if place > 0 {
                self.write(b",");
            }
            self.write(name.as_bytes());
            self.write(b":");
            self.value(*kind, depth_left).map_err(|problem| at_field(name, &problem))?;
        }
        self.write(b"}");
        Ok(())
    }

    /// Reads the blocks of an array or a map. Behind a negative count comes the block's size in bytes, which is not needed here.
    fn blocks(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let mut is_first = true;
        loop {
            let count = match self.long()? {
                0 => return Ok(()),
                count if count < 0 => {
                    self.long()?;
                    count.unsigned_abs()
                }
                count => count.unsigned_abs(),
            };
            for _ in 0..count {
                if !is_first {
                    self.write(b",");
                }
                is_first = false;
                element(self)?;
            }
        }
    }

    fn index<'t, T>(&mut self, all: &'t [T], what: &str) -> Result<&'t T, String> {
        let index = self.long()?;
        let found = usize::try_from(index).ok().and_then(|index| all.get(index));
        found.ok_or_else(|| format!("{index} is none of the {} {what}", all.len()))
    }

    fn text(&mut self) -> Result<(), String> {
        let text = std::str::from_utf8(self.with_length()?).map_err(|_| "a text is not UTF-8")?;
        self.quoted(text);
        Ok(())
    }

    pub(super) fn latin1(&mut self, bytes: &[u8]) {
        if self.json.is_some() {
            let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
            self.quoted(&text);
        }
    }

    fn quoted(&mut self, text: &str) {
        if let Some(json) = &mut self.json {
            // Writing a text into memory never fails.
            let _ = serde_json::to_writer(&mut **json, text);
        }
    }

    /// Writes a number. JSON has no infinities and no NaN, so these are texts, as in Avro's own encoder.
    fn number(&mut self, number: f64, as_written: &impl serde::Serialize) -> Result<(), String> {
        let Some(json) = &mut self.json else { return Ok(()) };
        if number.is_finite() {
            return serde_json::to_writer(&mut **json, as_written).map_err(|error| error.to_string());
        }
        let name = match number {
            number if number.is_nan() => "\"NaN\"",
            number if number > 0.0 => "\"Infinity\"",
            _ => "\"-Infinity\"",
        };
        json.extend_from_slice(name.as_bytes());
        Ok(())
    }

    fn write(&mut self, text: &[u8]) {
        if let Some(json) = &mut self.json {
            json.extend_from_slice(text);
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Reads a number in zigzag encoding: 7 bits a byte, the lowest first.
    fn long(&mut self) -> Result<i64, String> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()));
            }
        }
        Err("a number has more than 10 bytes".to_owned())
    }

    fn with_length(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| format!("{length} is not a length"))?;
        self.take(length)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("it ends too early")?;
        self.bytes = rest;
        Ok(taken)
    }
}

/// Adds the field's name to a problem. The name is in quotes already, and the problem may begin with a path.
fn at_field(name: &str, problem: &str) -> String {
    format!("{}: {problem}", name.trim_matches('"'))
}
