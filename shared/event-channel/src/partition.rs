//! The partition of a record, as Kafka's default partitioner chooses it. So a key has the same partition in memory and on Kafka.

/// The partition of a key: `(murmur2(key) & 0x7fffffff) % partitions`, as in `BuiltInPartitioner.partitionForKey` of the Apache
/// Kafka clients.
pub(crate) fn of_key(key: &[u8], partitions: usize) -> usize {
    // A u32 fits a usize on every platform that tokio runs on.
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

/// 32-bit `MurmurHash2` by Austin Appleby with Kafka's seed (`Utils.murmur2` of the Apache Kafka clients).
fn murmur2(bytes: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;

    // Kafka hashes an `int` length, so no key is longer than 2^32 bytes.
    let mut hash = SEED ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut mixed = little_endian(word).wrapping_mul(MIX);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MIX) ^ mixed.wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash = (hash ^ little_endian(rest)).wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafkas_own_tests() {
        // `UtilsTest.testMurmur2` of the Apache Kafka clients.
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "murmur2 of {key:?}");
        }
    }

    #[test]
    fn the_sign_of_a_hash_is_dropped_and_not_its_bits_turned() {
        // -973932308 & 0x7fffffff = 1173551340.
        assert_eq!(of_key(b"21", 1000), 340);
        assert_eq!(of_key(b"21", 1), 0);
    }
}
