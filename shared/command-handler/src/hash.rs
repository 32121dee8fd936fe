use event_sourcing::StreamId;
use event_store::CommandHash;
use sha2::{Digest, Sha256};

/// SHA-256 over a command's method, its stream and its body in canonical form. Each part comes after its length, so that two
/// different triples never give the same bytes.
#[must_use]
pub fn command_hash(method: &str, stream: &StreamId, canonical_body: &[u8]) -> CommandHash {
    let mut sha = Sha256::new();
    for part in [method.as_bytes(), stream.as_str().as_bytes(), canonical_body] {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    CommandHash(sha.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_other_method_stream_or_body_has_another_hash() {
        let stream = |id| StreamId::parse(id).unwrap();
        let hash = command_hash("POST", &stream("ab"), b"{}");
        assert_eq!(hash, command_hash("POST", &stream("ab"), b"{}"));
        assert_ne!(hash, command_hash("DELETE", &stream("ab"), b"{}"));
        assert_ne!(hash, command_hash("POST", &stream("abc"), b"{}"));
        assert_ne!(hash, command_hash("POST", &stream("ab"), b""));
        assert_ne!(command_hash("POST", &stream("ab"), b"c"), command_hash("POST", &stream("abc"), b""));
    }
}
